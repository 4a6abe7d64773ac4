"""``closedwon doctor``: checks the mapping against Stigg's catalogue as it is now, before a deal fails because of it.

Reads the products that are mapped, the deals of the last days as closed-won itself reads them, and Stigg's catalogue;
`closedwon.operations.doctor` judges. It writes nothing.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.text import Text

from closedwon.aws.event_register import WAYS, EventRegister
from closedwon.domain.errors import SalesforceRefused, StiggRefused, StiggUnauthorized
from closedwon.domain.instants import iso_of
from closedwon.domain.links import salesforce_record_url
from closedwon.domain.order import Problem
from closedwon.intake.deal import line_number
from closedwon.intake.requests import Intake, NotNow
from closedwon.operations.doctor import SEVERITIES, Finding, judge
from closedwon.operations.on_sale import InStigg, Product, Sale, Unmapped
from closedwon.reconciliation.views import given_of
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.deal_records import trigger_of
from closedwon.salesforce.mapping_records import MAPPINGS_SOQL, LineSource, Mapped, Unreadable, mapped, value_at
from closedwon.salesforce.package import PROVISIONING, UNTIL_DEPLOYED, Package
from closedwon.stack import Stack as Parts
from closedwon.stigg.client import Stigg
from closedwon.words.counted import counted
from ops.show import as_json as print_json
from ops.show import json_option, progress, say, table
from ops.stack import Chosen

Json = dict[str, Any]

DAYS = 90
DEALS_AT_ONCE = 200
"""Deals read together: a query travels in the address, which holds 16,000 bytes."""

QUIET_DAYS = 30
"""Days without an event of Stigg's after which something may be wrong: subscriptions change more often than that."""

TITLES = {"error": "Errors", "warning": "Warnings", "note": "Notes"}

COLUMNS = ("severity", "productId", "product", "stiggType", "stiggId", "words", "fix", "opportunities", "link")


# What is for sale


class Shelf:
    """Where the lines of one Stigg Mapping say what they are in Stigg: on the object that a lookup leads to.

    object: that object; way: the lookup's path on the line.
    """

    def __init__(self, source: LineSource, object_name: str, way: str, schema: Json) -> None:
        self.source, self.object, self.way = source, object_name, way
        # People type these names into a Stigg Mapping, and Salesforce ignores their case.
        self._fields = {field["name"].lower(): field for field in schema["fields"]}

    @property
    def title(self) -> str:
        # Not every object has a field called Name.
        return next((field["name"] for field in self._fields.values() if field.get("nameField")), "Id")

    def local(self, path: str) -> str:
        """A path of a line as a field of the object; "" where it leads elsewhere."""
        way, _, name = path.rpartition(".")
        return name if way.lower() == self.way.lower() else ""

    def soql(self) -> str:
        """All that is active and mapped, or half mapped."""
        source = self.source
        paths = (source.stigg_type, source.stigg_id, source.unlimited, source.price_override, source.reset_period)
        # Each once: Salesforce refuses a query that selects a field twice.
        names = {name.lower(): name for name in ("Id", self.title, *filter(None, map(self.local, paths)))}
        # Half mapped counts too: just that is refused when it is sold.
        mapped_ones = f"({self.local(source.stigg_type)} != NULL OR {self.local(source.stigg_id)} != NULL)"
        # An object of the organisation's own may have no such field, and a query that names it would be refused.
        active = " AND IsActive = TRUE" if "isactive" in self._fields else ""
        # Every name was looked at by `LineSource.of`, or is Salesforce's own.
        return f"SELECT {', '.join(names.values())} FROM {self.object} WHERE {mapped_ones}{active}"  # nosec B608

    def product(self, row: Json) -> Product:
        def at(path: str) -> Any:
            name = self.local(path)
            return value_at(row, name) if name else None

        source = self.source
        return Product(
            id=row["Id"],
            name=str(row.get(self.title) or ""),
            type=at(source.stigg_type),
            stigg_id=at(source.stigg_id),
            unlimited=at(source.unlimited) is True,
            price_override=at(source.price_override) is True,
            reset_period=at(source.reset_period),
        )

    def unmapped_soql(self) -> str:
        """What is sold on the lines of the parents in ``{parents}`` and not mapped."""
        source = self.source
        paths = f"{source.parent}, {self.way}.Id, {self.way}.{self.title}"
        where = f"{source.parent} IN {{parents}} AND {source.stigg_type} = NULL AND {source.stigg_id} = NULL"
        return f"SELECT {paths} FROM {source.object} WHERE {where}"  # nosec B608 - as in `soql`


def shelf_of(source: LineSource, client: SalesforceClient) -> Shelf | None:
    """Where a mapping's products are; None where each line says by itself what it is."""
    way, _, _ = source.stigg_type.rpartition(".")
    # By two ways, type and ID lie on two objects, and only a line brings them together.
    if not way or way.lower() != source.stigg_id.rpartition(".")[0].lower():
        return None
    at = source.object
    for step in way.lower().split("."):
        fields = client.describe(at)["fields"]
        lookup = next((f for f in fields if (f["relationshipName"] or "").lower() == step and f["referenceTo"]), None)
        if lookup is None:
            words = f"Stigg Mapping {source.object}: there is no lookup {way} on {at}, or the user may not see it"
            raise click.ClickException(words)
        at = lookup["referenceTo"][0]
    return Shelf(source, at, way, client.describe(at))


def products_of(shelves: Iterable[Shelf], client: SalesforceClient) -> list[Product]:
    # By ID, for two mappings may lead to the same product.
    found = {row["Id"]: shelf.product(row) for shelf in shelves for row in client.query(shelf.soql())}
    return sorted(found.values(), key=lambda product: (product.name, product.id))


# What was sold


def won_since(day: str, mappings: Mapped, client: SalesforceClient) -> list[Json]:
    """The rows of the opportunities that were won from a day on, the newest first."""
    lookups = [each.lookup for each in mappings.active if each.lookup not in (None, "Id")]
    cpq = ("SBQQ__AmendedContract__c", "SBQQ__RenewedContract__c", "SBQQ__PrimaryQuote__c") if mappings.cpq else ()
    # What `trigger_of` and `given_of` read of a row, and below the lookups by which the lines are found.
    names = ("Id", "AccountId", "SystemModstamp", "IsWon", "IsClosed", "StageName", "Type", "CloseDate")
    paths = dict.fromkeys((*names, "Stigg_Amends__c", *cpq, *map(str, lookups)))
    soql = f"SELECT {', '.join(paths)} FROM Opportunity WHERE IsWon = TRUE AND AccountId != NULL AND CloseDate >= {day}"  # nosec B608
    return sorted(client.query(soql), key=lambda row: (row["CloseDate"], row["Id"]), reverse=True)


def sales_of(rows: Sequence[Json], intake: Intake) -> list[Sale]:
    """The deals of some opportunities, read and compiled as if each was sent now."""
    given = [{**given_of(row, str(trigger_of(row, None)), intake), "account": {"id": row["AccountId"]}} for row in rows]
    compiled, refused = intake.compile_all(given)

    def sale(index: int, id: str) -> Sale:
        if index not in compiled:
            problems = tuple(Problem(e.line, e.field, e.message) for e in refused[index].errors or ())
            return Sale(id, None, problems)
        deal, arrival = compiled[index]
        lines = {
            line_number(line, place): (line.stigg_type, line.stigg_id) for place, line in enumerate(deal.lines or ())
        }
        return Sale(id, arrival.order, lines=lines)

    return [sale(index, row["Id"]) for index, row in enumerate(rows)]


def unmapped_of(
    rows: Sequence[Json], shelves: Iterable[Shelf], client: SalesforceClient
) -> Iterator[tuple[str, str, str]]:
    """What was sold and is not mapped: ID, name and opportunity of each."""
    for shelf in shelves:
        lookup = shelf.source.lookup
        # A renewal that is only forecast has no quote yet.
        parents = {value_at(row, lookup): row["Id"] for row in rows if lookup and value_at(row, lookup)}
        if not parents:
            continue
        for line in client.query(shelf.unmapped_soql(), parents=sorted(parents)):
            if product := value_at(line, shelf.way):
                yield product["Id"], str(product.get(shelf.title) or ""), parents[value_at(line, shelf.source.parent)]


# What Stigg has


def in_stigg(ids: set[str], client: Stigg, now: int) -> InStigg:
    """Stigg's catalogue, with the prices of these plans and add-ons."""
    plans, addons = client.list_plans(), client.list_addons()
    # A request for each, so only for those that are mapped or were sold.
    charges = {plan["id"]: client.list_charges("plans", plan["id"]) for plan in plans if plan["id"] in ids}
    charges |= {addon["id"]: client.list_charges("addons", addon["id"]) for addon in addons if addon["id"] in ids}
    included = {
        plan["id"]: client.list_plan_entitlements(plan["id"])
        for plan in plans
        if plan["id"] in ids and any(one.get("type") == "CREDIT" for one in plan.get("entitlements") or ())
    }
    return InStigg.of(plans, addons, client.list_features(), client.list_custom_currencies(), charges, now, included)


# Stigg's own Salesforce app

ACTIVE_FLOWS = (
    "SELECT ApiName, Label, NamespacePrefix, InstalledPackageName FROM FlowDefinitionView WHERE ActiveVersionId != NULL"
)


def other_senders(client: SalesforceClient) -> Iterator[Finding]:
    """Whether Stigg's own app provisions the same deals, as far as closed-won's user may see that."""
    fix = "Deactivate it (Setup > Flows) before closed-won's own flow is active: both would provision each deal."
    try:
        for flow in client.query(ACTIVE_FLOWS):
            # closed-won's own flows are deployed from source: they have neither.
            package = f"{flow['NamespacePrefix'] or ''} {flow['InstalledPackageName'] or ''}".lower()
            if "stigg" in package:
                words = f"the flow {flow['NamespacePrefix']}__{flow['ApiName']} of Stigg's own app is active"
                yield Finding("warning", words, fix)
    except SalesforceRefused:  # who may not view the setup is told that there is no such object
        theirs = fields_of_stiggs_app(client)
        words = "whether a flow of Stigg's own app is active could not be looked at: the user may not view the setup"
        if theirs:
            words += f". The app is installed ({theirs[0]})"
        look = "Look in Setup > Flows for another Opportunity - Stigg Subscription Template that is active."
        yield Finding("warning" if theirs else "note", words, look)


def fields_of_stiggs_app(client: SalesforceClient) -> list[str]:
    """The fields that Stigg's own app adds: where there are any, it is installed."""
    fields = [field["name"] for name in ("Account", "Product2") for field in client.describe(name)["fields"]]
    # A managed package's fields have its prefix too, prefix__Name__c; closed-won's own have none.
    return [name for name in fields if name.count("__") == 2 and name.lower().startswith("stigg")]


# closed-won's own package


def package_behind(client: SalesforceClient) -> Iterator[Finding]:
    """Whether the organisation's package is too old for what the stack would show."""
    if lacking := Package.of(client.describe(PROVISIONING)).lacking():
        words = f"the Salesforce package is older than the stack: Stigg Provisioning lacks {lacking}"
        fix = "Deploy the package with its permission sets (docs/salesforce.md, step 2)."
        yield Finding("warning", words, f"{fix} {UNTIL_DEPLOYED}")


# Stigg's events


def events_heard(register: EventRegister, now: int) -> Iterator[Finding]:
    """Whether Stigg tells what changes, and did so lately, by its webhook or its queue. now: epoch milliseconds."""
    last = max((at for way in WAYS if (at := register.last(way)) is not None), default=None)
    if last is None:
        words = "Stigg has never told closed-won that anything changed: a payment shows up to an hour later"
        yield Finding("note", words, "./closedwon connect says what to click in Stigg.")
    elif now - last > QUIET_DAYS * 86_400_000:
        words = f"Stigg told something last on {iso_of(last)[:10]}, more than {QUIET_DAYS} days ago"
        fix = "Is the webhook still there, and enabled? Send a test event in Stigg; see docs/runbook.md."
        yield Finding("warning", words, fix)


# Contracts in Stigg


def contracts_there(client: Stigg, on: bool) -> Iterator[Finding]:
    """Whether the account in Stigg has contracts. on: whether the stack is to keep deals' contracts there."""
    if not on:
        return
    try:
        client.first_contracts()
    except (StiggRefused, StiggUnauthorized) as refusal:
        words = f"StiggContracts is on, and Stigg lets closed-won have no contracts: {refusal}"
        fix = "Have Stigg enable contracts for the account and the API key; or deploy with StiggContracts off."
        yield Finding("error", words, fix)


# Showing


def examine(days: int, quiet: bool, parts: Parts) -> tuple[list[Finding], int, int]:
    """Out: what was found; how many products and how many deals were looked at."""
    client = parts.salesforce  # not the quick one: what is asked here is searched for, not found by ID
    try:
        mappings = mapped(client.query(MAPPINGS_SOQL))
    except Unreadable as error:
        raise click.ClickException(f"Stigg Mapping: {error}. See docs/salesforce.md, step 7.") from None
    shelves = [shelf for source in mappings.sources if (shelf := shelf_of(source, client))]
    products = products_of(shelves, client)
    day = (datetime.now(UTC) - timedelta(days=days)).date().isoformat()
    rows = won_since(day, mappings, client)
    sales: list[Sale] = []
    unmapped: dict[tuple[str, str], list[str]] = defaultdict(list)
    with progress() as bar:
        reads = bar.add_task("Reading deals", total=len(rows), visible=not quiet)
        for start in range(0, len(rows), DEALS_AT_ONCE):
            some = rows[start : start + DEALS_AT_ONCE]
            sales += sales_of(some, parts.intake)
            for id, name, opportunity in unmapped_of(some, shelves, client):
                unmapped[id, name].append(opportunity)
            bar.advance(reads, len(some))
    sold = {item.stigg_id for sale in sales if sale.order for item in sale.order.items}
    # Read now, not the snapshot: somebody may just have corrected the catalogue.
    has = in_stigg(sold | {str(product.stigg_id) for product in products}, parts.stigg, parts.now())
    others = [Unmapped(id, name, tuple(dict.fromkeys(ids))) for (id, name), ids in unmapped.items()]
    found = judge(products, sales, others, has, parts.settings.mapping_rules)
    found = [*found, *other_senders(client), *package_behind(client), *events_heard(parts.event_register, parts.now())]
    found += contracts_there(parts.stigg, parts.settings.stigg_contracts)
    # Within each severity the order of `judge` stays: sorting is stable.
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity)), len(products), len(sales)


def link_to(finding: Finding, salesforce_url: str) -> str:
    """The page in Salesforce where it is mended, as far as there is one."""
    id = finding.product.id if finding.product else ""
    id = id or (finding.opportunities[0] if finding.opportunities else "")
    return salesforce_record_url(salesforce_url, id) if id else ""


def show(found: Sequence[Finding], products: int, deals: int, days: int, salesforce_url: str) -> None:
    for severity in SEVERITIES:
        some = [one for one in found if one.severity == severity]
        if some:
            table(
                ("Product", "Deals", "What, and what to do"),
                [_row(one, salesforce_url) for one in some],
                title=TITLES[severity],
            )
    errors = sum(one.severity == "error" for one in found)
    looked = f"{counted(products, 'mapped product')} and {counted(deals, 'deal')} won in the last {days} days"
    if errors:
        say(f"{looked} were looked at: {counted(errors, 'error')}, by which deals are refused.")
    else:
        say(f"{looked} were looked at: nothing by which a deal would be refused.")


def _row(one: Finding, salesforce_url: str) -> tuple[str, str, Text]:
    product = one.product or Product("", "", None, None)
    named = [product.name, f"{product.type or ''} {product.stigg_id or ''}".strip()]
    begins = one.words[0]
    if not product.stigg_id or not one.words.startswith(product.stigg_id):  # an ID stays as it is written
        begins = begins.upper()
    told = [f"{begins}{one.words[1:]}.", one.fix, link_to(one, salesforce_url)]
    if one.opportunities and product.id:  # else the link leads to the first of them
        told.append(f"On {', '.join(one.opportunities[:3])}{' ...' if len(one.opportunities) > 3 else ''}")
    shown = Text("\n".join([*filter(None, told), ""]), overflow="fold")  # a link is broken, but never cut short
    return "\n".join(filter(None, named)), str(len(one.opportunities) or ""), shown


def write_csv(found: Iterable[Finding], salesforce_url: str) -> None:
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for one in found:
        row = one.to_json(link_to(one, salesforce_url))
        row["opportunities"] = " ".join(row["opportunities"])
        writer.writerow({name: _as_text(str(cell)) for name, cell in row.items()})


def _as_text(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: names are what somebody typed."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t") else cell


@click.command()
@click.option(
    "--days",
    type=click.IntRange(min=1),
    default=DAYS,
    show_default=True,
    help="Check the deals won in the last so many days.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for spreadsheets.")
@json_option
@click.pass_obj
def doctor(chosen: Chosen, days: int, as_csv: bool, as_json: bool) -> None:
    """Check the mapping against Stigg's catalogue, before a deal fails because of it.

    Checks every active product that is mapped, and the deals won lately, by the same rules as a deal that arrives: do
    the IDs exist, are they of the type they claim, do they fit together, are there prices in the currencies in use?
    Is the Salesforce package as new as the stack? Nothing is written. Exit code 1 when there are errors.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv or --json, not both")
    parts = chosen.stack.parts()
    salesforce_url = parts.settings["SALESFORCE_URL"]
    try:
        found, products, deals = examine(days, as_csv or as_json, parts)
    except NotNow as error:
        raise click.ClickException(f"{error}. Try again in {error.seconds} seconds.") from None
    if as_json:
        findings = [one.to_json(link_to(one, salesforce_url)) for one in found]
        print_json({"days": days, "products": products, "deals": deals, "findings": findings})
    elif as_csv:
        write_csv(found, salesforce_url)
    else:
        show(found, products, deals, days, salesforce_url)
    if any(one.severity == "error" for one in found):
        raise SystemExit(1)
