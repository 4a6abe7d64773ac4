"""Deals that come without lines: read from Salesforce, with or without CPQ.

Where lines are is said once, in the organisation: the records of the custom metadata type Stigg Mapping, which the
package's Apex reads too. An active mapping that names a field of CPQ (``SBQQ__``) says that CPQ is in use. All deals of
a request are read together: one query for the mappings, one for the opportunities, one for the lines of each active
mapping; with CPQ one more for opportunities without a quote. What deals without lines name as contracts takes another.

The first part is pure: what to ask, and how the rows become the deal as a callout would have sent it, so that it is
judged like any other. The second part asks.

Reconciliation reads the same deals by the thousand, in bulk (`bulk_queries`, `deal_from_rows`), and works out what a
callout would say of each (`trigger_of`). What to select and what rows mean is one for both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, NamedTuple, Protocol

from closedwon.domain.errors import Permanent, SalesforceLimitExceeded, SalesforceRefused
from closedwon.domain.instants import iso_utc
from closedwon.domain.order import Problem
from closedwon.salesforce.write_back import ACCOUNT_FIELDS, SHOWN_FIELDS

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*")

_WHERE = re.compile(r".*ERROR at Row:\d+:Column:\d+\s*", re.DOTALL)
_ADVICE = re.compile(r"\s*If you are attempting to use a custom .*", re.DOTALL)
_NO_CURRENCY = re.compile(r"No such column 'CurrencyIsoCode'", re.IGNORECASE)


class Unreadable(Exception):
    """One deal, or every deal there is, cannot be read, for this reason."""

    def __init__(self, field: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(line, field, message)


# Where lines are

QUOTE_LINE = "SBQQ__QuoteLine__c"
_OPPORTUNITY_PRODUCT = "OpportunityLineItem"

# What a quote line itself says, whatever the mapping's fields are.
_EFFECTIVE, _PRIOR, _TOTAL = "SBQQ__EffectiveQuantity__c", "SBQQ__PriorQuantity__c", "SBQQ__Quantity__c"
_UPGRADED, _OPTIONAL, _PRICING = "SBQQ__UpgradedSubscription__c", "SBQQ__Optional__c", "SBQQ__PricingMethod__c"
_STARTS, _ENDS = "SBQQ__EffectiveStartDate__c", "SBQQ__EffectiveEndDate__c"

_LOOKUPS = {
    ("opportunitylineitem", "opportunityid"): "Id",
    ("quotelineitem", "quoteid"): "SyncedQuoteId",
    ("sbqq__quoteline__c", "sbqq__quote__c"): "SBQQ__PrimaryQuote__c",
}
"""The opportunity's field that holds what the lines' parent field points at, where it needs no looking up."""

_ORDERS = {"opportunitylineitem": "SortOrder", "sbqq__quoteline__c": "SBQQ__Number__c"}
"""The field that lines are sorted by, those without a value last; lines of one place by their ID."""

_COLUMNS = {
    "object": ("Line_Object__c", "Line Object", True),
    "parent": ("Parent_Field__c", "Parent Field", True),
    "stigg_type": ("Stigg_Type_Field__c", "Stigg Type Field", True),
    "stigg_id": ("Stigg_ID_Field__c", "Stigg ID Field", True),
    "quantity": ("Quantity_Field__c", "Quantity Field", True),
    "price": ("Price_Field__c", "Price Field", False),
    "price_override": ("Price_Override_Field__c", "Price Override Field", False),
    "unlimited": ("Unlimited_Field__c", "Unlimited Field", False),
    "reset_period": ("Reset_Period_Field__c", "Reset Period Field", False),
    "start": ("Start_Date_Field__c", "Start Date Field", False),
    "end": ("End_Date_Field__c", "End Date Field", False),
    "prior": ("Prior_Quantity_Field__c", "Prior Quantity Field", False),
    "total": ("Total_Quantity_Field__c", "Total Quantity Field", False),
}
"""A mapping's fields in Stigg Mapping: API name, label, whether it must be filled."""

MAPPINGS_SOQL = (
    f"SELECT MasterLabel, Active__c, {', '.join(column for column, _, _ in _COLUMNS.values())} "  # nosec B608 - names above
    "FROM Stigg_Mapping__mdt"
)


@dataclass(frozen=True)
class LineSource:
    """One Stigg Mapping: where lines are, and what their fields mean.

    object: the API name of the lines' object; parent: the lookup that leads to the opportunity, or to what the
    opportunity has its one lookup to (a quote). The others are paths of fields, dots across lookups, "" where there is
    none.
    """

    object: str = _OPPORTUNITY_PRODUCT
    parent: str = "OpportunityId"
    stigg_type: str = "Product2.Stigg_Type__c"
    stigg_id: str = "Product2.Stigg_ID__c"
    quantity: str = "Quantity"
    price: str = "UnitPrice"
    price_override: str = "Product2.Stigg_Price_Override__c"
    unlimited: str = "Product2.Stigg_Unlimited__c"
    reset_period: str = "Product2.Stigg_Reset_Period__c"
    start: str = ""
    end: str = ""
    prior: str = ""
    total: str = ""

    @classmethod
    def of(cls, record: Json) -> LineSource:
        """In: a record of Stigg Mapping. Raises Unreadable where a name in it is none: they all get into queries."""
        given: dict[str, str] = {}
        for name, (column, label, required) in _COLUMNS.items():
            value = record.get(column)
            path = value.strip() if isinstance(value, str) else str(value or "")
            if not path and not required:
                given[name] = ""
                continue
            if not (_NAME if name == "object" else _PATH).fullmatch(path):
                said = f"{label} {'holds no name of a field' if path else 'is empty'}"
                raise _unusable(str(record.get("MasterLabel")), said)
            given[name] = path
        return cls(**given)

    @property
    def uses_cpq(self) -> bool:
        return any("sbqq__" in getattr(self, field.name).lower() for field in fields(self))

    @property
    def quotes(self) -> bool:
        """Whether its lines are CPQ's quote lines."""
        return self.object.lower() == QUOTE_LINE.lower()

    @property
    def opportunity_products(self) -> bool:
        return self.object.lower() == _OPPORTUNITY_PRODUCT.lower()

    @property
    def lookup(self) -> str | None:
        """The opportunity's field that holds what `parent` points at; None where the schema has to be asked."""
        return _LOOKUPS.get((self.object.lower(), self.parent.lower()))

    @property
    def order(self) -> str | None:
        """The field its lines are sorted by before their ID, those without a value last; None for the ID alone."""
        return _ORDERS.get(self.object.lower())

    def paths(self) -> list[str]:
        """What is selected of a line."""
        paths = [getattr(self, name) for name in _COLUMNS if name != "object"]
        if self.quotes:
            paths += [_EFFECTIVE, _PRIOR, _TOTAL, _UPGRADED, _OPTIONAL, _PRICING, _STARTS, _ENDS]
        return paths

    def soql(self) -> str:
        """The query for all lines of the parents in ``{parents}``."""
        paths, order = _distinct(self.paths()), f"{self.order} NULLS LAST, Id" if self.order else "Id"
        # Nothing in it comes from a user: every name has been looked at (`of`), and the IDs are quoted by the client.
        return f"SELECT {paths} FROM {self.object} WHERE {self.parent} IN {{parents}} ORDER BY {order}"  # nosec B608


def _distinct(paths: Iterable[str]) -> str:
    """Fields to select. Salesforce refuses a field that is named twice, in whatever case."""
    return ", ".join({path.lower(): path for path in paths if path}.values())


def value_at(row: Json, path: str) -> Any:
    """The value a path leads to in a row; None where the way ends. Names match in any case, as in a query."""
    found: Any = row
    for step in path.split("."):
        if not isinstance(found, dict):
            return None
        if step in found:  # as a rule: looking at all of them takes its time where there are a million rows
            found = found[step]
        else:
            found = next((value for name, value in found.items() if name.lower() == step.lower()), None)
    return found


# From rows to the deal

_OPPORTUNITY = (
    "Id",
    "Name",
    "SystemModstamp",
    "ContractId",
    "AccountId",
    "Account.Name",
    "Account.Stigg_Customer_ID__c",
    "Stigg_Amends__c",
    "IsWon",
    "IsClosed",
)

_TERMS = {
    "Stigg_Start_Date__c": "start",
    "Stigg_End_Date__c": "end",
    "Stigg_Billing_Period__c": "billingPeriod",
    "Stigg_Payment_Collection__c": "paymentCollection",
    "Stigg_Trial_End_Date__c": "trialEnd",
    "Stigg_Trial_End_Behavior__c": "trialEndBehavior",
    "Stigg_Coupon_ID__c": "coupon",
    "Stigg_Budget__c": "budget",
    "Stigg_Minimum_Spend__c": "minimumSpend",
    "Stigg_Paying_Customer_ID__c": "payingCustomerId",
}
"""The opportunity's fields that are terms, by what the deal calls them."""

_DATES = ("start", "end")
"""The contract's and its lines': a trial has none of them."""

_CPQ_OPPORTUNITY = (
    "SBQQ__AmendedContract__c",
    "SBQQ__AmendedContract__r.SBQQ__Opportunity__c",
    "SBQQ__RenewedContract__c",
    "SBQQ__RenewedContract__r.SBQQ__Opportunity__c",
    "SBQQ__PrimaryQuote__c",
    "SBQQ__PrimaryQuote__r.SBQQ__StartDate__c",
    "SBQQ__PrimaryQuote__r.SBQQ__EndDate__c",
    "SBQQ__PrimaryQuote__r.SBQQ__SubscriptionTerm__c",
)


def opportunities_soql(cpq: bool, currencies: bool, lookups: Iterable[str] = ()) -> str:
    """The query for all opportunities in ``{ids}``.

    cpq: with CPQ's fields. currencies: whether the organisation has more than one; otherwise there is no such field.
    lookups: further fields that lead to lines.
    """
    paths = _opportunity_paths(cpq, currencies, lookups)
    return f"SELECT {_distinct(paths)} FROM Opportunity WHERE Id IN {{ids}}"  # nosec B608 - see LineSource.soql


def _opportunity_paths(cpq: bool, currencies: bool, lookups: Iterable[str]) -> list[str]:
    paths = [*_OPPORTUNITY, *_TERMS, *(["CurrencyIsoCode"] if currencies else ())]
    return [*paths, *(_CPQ_OPPORTUNITY if cpq else ()), *lookups]


class Row(NamedTuple):
    """A line as it was found, and how to read it. mapping: the place of its source among all (`Mapped.sources`)."""

    source: LineSource
    content: Json
    mapping: int = 0

    def get(self, path: str) -> Any:
        return value_at(self.content, path) if path else None


def deal_of(given: Json, opportunity: Json, rows: Sequence[Row], read_at: datetime) -> Json:
    """One deal, whole.

    In: what the callout said of it; its opportunity's row; the rows of its lines, in their order; when they were asked
    for. Out: the deal as the callout takes it. What was read stands instead of what was said of the opportunity, its
    account, what it amends and the lines; terms, customer and resource that were said stay.
    Raises Unreadable where the rows contradict what was said, or cannot be said in a deal.
    """
    account = opportunity.get("Account")
    if not opportunity.get("AccountId"):
        raise Unreadable("account.id", "is missing: the opportunity has no account in Salesforce")
    if not account:
        raise Unreadable("account.id", "closed-won's user may not see the opportunity's account in Salesforce")
    deal = {**given, **_links(given, opportunity)}
    lines = lines_of(rows, differences=deal.get("quantities") == "differences")
    if deal["trigger"] == "trial":
        lines = [{name: value for name, value in line.items() if name not in _DATES} for line in lines]
    return {
        **deal,
        "opportunity": {
            **_filled(given["opportunity"], currencyIsoCode=opportunity.get("CurrencyIsoCode")),
            "id": opportunity["Id"],
            "name": opportunity.get("Name") or "",
            "systemModstamp": opportunity["SystemModstamp"],
            "readAt": iso_utc(read_at),
        },
        "account": {
            **_filled({}, email=(given.get("account") or {}).get("email")),
            "id": opportunity["AccountId"],
            "name": account.get("Name"),
            "stiggCustomerId": account.get("Stigg_Customer_ID__c"),
        },
        "terms": {**_terms(opportunity, deal["trigger"], lines), **(given.get("terms") or {})},
        "lines": lines,
    }


def _filled(said: Json, **read: Any) -> Json:
    return {**said, **{name: value for name, value in read.items() if value is not None}}


def _links(given: Json, opportunity: Json) -> Json:
    """What kind of deal it is and what it amends: the fields of the deal that Salesforce knows better.

    CPQ names the contract. Where that was made from an opportunity, the opportunity is named instead: that is what the
    ledger knows the base deal by, while a contract comes into being after the deal it is made from was won.
    """
    trigger = given["trigger"]
    links: Json = {"trigger": trigger}
    for kind, field in (("amendment", "SBQQ__AmendedContract"), ("renewal", "SBQQ__RenewedContract")):
        contract = opportunity.get(f"{field}__c")
        if not contract:
            continue
        if trigger not in ("closed_won", kind):
            does = "amends" if kind == "amendment" else "renews"
            raise Unreadable(
                "trigger", f"is {trigger}, but in Salesforce this opportunity {does} a contract ({field}__c)"
            )
        links["trigger"] = kind
        links["amends"] = value_at(opportunity, f"{field}__r.SBQQ__Opportunity__c") or contract
        links["quantities"] = "differences" if kind == "amendment" else "whole"
        break
    else:
        if trigger in ("amendment", "renewal") and opportunity.get("Stigg_Amends__c"):
            links["amends"] = opportunity["Stigg_Amends__c"]
    _still_so(trigger, opportunity)
    return _filled(links, contractId=opportunity.get("ContractId"))


def _still_so(trigger: str, opportunity: Json) -> None:
    """What is read is the newest there is, whenever the callout was sent. One that comes late must not say of a deal
    that was won or lost since what it was before: the later save has a callout of its own. Raises Unreadable.
    """
    won, closed = opportunity.get("IsWon"), opportunity.get("IsClosed")
    if trigger == "trial" and won:
        raise Unreadable("trigger", "is trial, but in Salesforce this opportunity is won")
    if trigger != "trial" and closed and not won:
        raise Unreadable("trigger", f"is {trigger}, but in Salesforce this opportunity is lost")


def _terms(opportunity: Json, trigger: str, lines: Sequence[Json]) -> Json:
    """The opportunity's terms; with CPQ the quote's dates where the opportunity says none.

    An opportunity's dates are the contract's, and its quote's too: a trial comes before that, and stays on it after.
    """
    terms = {name: opportunity[field] for field, name in _TERMS.items() if opportunity.get(field) is not None}
    quote = opportunity.get("SBQQ__PrimaryQuote__r") or {}
    start, end = quote.get("SBQQ__StartDate__c"), quote.get("SBQQ__EndDate__c")
    months = quote.get("SBQQ__SubscriptionTerm__c")
    # CPQ works out each line's last day itself; the term is its last resort, and taken for months, as CPQ's default is.
    if start and months and not end and not all(line.get("end") for line in lines):
        end = _last_day(date.fromisoformat(start), months)
    terms = {**_filled({}, start=start, end=end), **terms}
    if "budget" in terms:
        terms["budget"] = {"limit": terms["budget"]}
    apart = _DATES if trigger == "trial" else ("trialEnd", "trialEndBehavior")
    return {name: value for name, value in terms.items() if name not in apart}


def _last_day(start: date, months: float) -> str:
    from dateutil.relativedelta import relativedelta

    after: date = start + relativedelta(months=int(months))
    return (after - timedelta(days=1)).isoformat()


def lines_of(rows: Sequence[Row], differences: bool) -> list[Json]:
    """The lines of one deal, numbered by their place among all of its lines.

    Left out is what says nothing about Stigg, and what sells or changes nothing. Of a product that changes on one line,
    the lines that stay as they are are kept: together they are what the customer had before.
    Raises Unreadable for a block price that would have to be sent as a difference.
    """
    read = [(row, line) for number, row in enumerate(rows, 1) if (line := _line(row, number, differences))]
    changed = [_product(line) for _, line in read if _units(line) != 0]
    lines = []
    for row, line in read:
        product = _product(line)
        if product not in changed or (_units(line) == 0 and not differences):
            continue
        if row.source.quotes and row.get(_PRICING) == "Block" and line.get("price") is not None:
            _price_block(row, line, differences, alone=changed.count(product) == 1)
        lines.append(line)
    return lines


def _line(row: Row, number: int, differences: bool) -> Json | None:
    """One line; None for one that says nothing about Stigg, or was quoted as an option and not bought."""
    source = row.source
    if not (row.get(source.stigg_type) or row.get(source.stigg_id)) or (source.quotes and row.get(_OPTIONAL)):
        return None
    quantity, prior, total = row.get(source.quantity), row.get(source.prior), row.get(source.total)
    start, end = row.get(source.start), row.get(source.end)
    if source.quotes:
        start, end = start or row.get(_STARTS), end or row.get(_ENDS)
        quantity = row.get(_EFFECTIVE if differences else _TOTAL)
        # Each line's total is sent, not only where the effective quantity tells nothing (block and slab prices).
        total = row.get(_TOTAL)
        prior = row.get(_PRIOR) if row.get(_UPGRADED) else None
    line = {
        "line": number,
        "stiggType": row.get(source.stigg_type),
        "stiggId": row.get(source.stigg_id),
        "quantity": quantity,
        "price": row.get(source.price) if row.get(source.price_override) is True else None,
        "unlimited": True if row.get(source.unlimited) is True else None,
        "resetPeriod": row.get(source.reset_period),
        "start": start,
        "end": end,
        "priorQuantity": prior if differences else None,
        "totalQuantity": total if differences else None,
    }
    return {name: value for name, value in line.items() if value is not None}


def _product(line: Json) -> tuple[Any, Any]:
    return line.get("stiggType"), line.get("stiggId")


def _units(line: Json) -> float | None:
    """How many units a line sells, or changes; None where it does not say."""
    total = line.get("totalQuantity")
    units: float | None = line.get("quantity") if total is None else total - (line.get("priorQuantity") or 0)
    return units


def _price_block(row: Row, line: Json, differences: bool, alone: bool) -> None:
    """A block price is for all units together: the price of one is worked out, which a mere difference has not.

    alone: no other line changes the same product, so that taking all of it away needs no price.
    """
    if differences and row.get(_UPGRADED):
        if row.get(_TOTAL) != 0 or not alone:
            said = "a block price cannot be sent as a difference: untick Stigg Price Override on the product"
            raise Unreadable("price", said, line["line"])
        del line["price"]
    elif row.get(_TOTAL):
        line["price"] = round(line["price"] / row.get(_TOTAL), 6)


def deal_from_rows(given: Json, opportunity: Json, rows: Iterable[Row], read_at: datetime) -> Json:
    """One deal, whole, from rows that were read in bulk: what `read` makes of the same records.

    In: as in `deal_of`, but for the rows: those of the opportunity's lines from all mappings, in any order. Lines that
    hang on something the opportunity does not (any more) point at, such as another quote than its primary one, are left
    out. A line's number is its place among those that were read: in bulk, only what says something about Stigg.
    """
    own = [row for row in rows if row.get(row.source.parent) == value_at(opportunity, row.source.lookup or "Id")]
    return deal_of(given, opportunity, sorted(own, key=_place), read_at)


def _place(row: Row) -> tuple[int, bool, float, str]:
    at = row.get(row.source.order or "")
    return row.mapping, at is None, at or 0, row.get("Id")


# Which deals there are


@dataclass(frozen=True)
class Scope:
    """Which opportunities reconciliation looks at.

    since: an ISO instant: all that changed from then on, whatever they are, because one that is not won any more counts
    as well; None for all that a callout may be due for. trial_stages: the stages of open opportunities that give a
    trial.
    """

    since: str | None = None
    trial_stages: Sequence[str] = ()

    def condition(self, opportunity: str = "") -> str:
        """The scope as a condition of a query. opportunity: the path that leads to the opportunity, "" from itself.

        Opportunities without an account are out of it: a callout is refused for them, and says so in Salesforce.
        """
        at = f"{opportunity}." if opportunity else ""
        if self.since:
            since = iso_utc(datetime.fromisoformat(self.since))
            return f"{at}AccountId != NULL AND {at}SystemModstamp >= {since}"
        kinds = [f"{at}IsWon = TRUE", f"({at}IsClosed = TRUE AND {at}Stigg_Amends__c != NULL)"]
        if self.trial_stages:
            from closedwon.salesforce.client import formatted

            stages = formatted("{stages}", {"stages": list(self.trial_stages)})
            kinds.append(f"({at}IsClosed = FALSE AND {at}StageName IN {stages})")
        return f"{at}AccountId != NULL AND ({' OR '.join(kinds)})"


def trigger_of(row: Json, known: str | None, trial_stages: Sequence[str] = ()) -> str | None:
    """What a callout would say of an opportunity as it is now, as the flow templates in ``salesforce/`` decide it.

    In: its row, with IsWon, IsClosed, StageName, Type, Stigg_Amends__c and, with CPQ, the contracts it amends and
    renews; the trigger of the ledger's newest order of it, None where it has none; the stages that give a trial.
    Out: one of `intake.deal.Trigger`; None where no flow would send it.
    """
    if row["IsWon"]:
        if any(row.get(field) for field in ("SBQQ__AmendedContract__c", "SBQQ__RenewedContract__c")):
            return "closed_won"  # which of the two it is, the quote says (`_links`)
        if not row.get("Stigg_Amends__c"):
            return "closed_won"
        return "renewal" if "Renewal" in (row.get("Type") or "") else "amendment"
    if row["IsClosed"] and row.get("Stigg_Amends__c"):
        return "cancellation"
    if known in ("closed_won", "amendment", "renewal"):
        return "cancellation"  # won no more; a trial that is not won ends as its own terms say
    if not row["IsClosed"] and row.get("StageName") in trial_stages:
        return "trial"
    return None


# In bulk


class BulkQuery(NamedTuple):
    """One query of an export.

    source: what its rows are. mapping: of lines, the place of their source in `Mapped.sources`. account, opportunity:
    the paths that lead in a row to the 18-character IDs of the account and the opportunity it belongs to.
    """

    source: Literal["opportunities", "lines", "provisionings"]
    soql: str
    account: str
    opportunity: str
    mapping: int | None = None


class Bulk(NamedTuple):
    """The queries of an export. unreachable: the mappings whose lines no path leads up from to an opportunity, so that
    they are in none of the queries: deals have to be read one by one (`read`) in an organisation that has such.
    """

    queries: tuple[BulkQuery, ...]
    unreachable: tuple[int, ...]


class _Way(NamedTuple):
    """The way up from a line: to its opportunity's ID, to the opportunity; only: which of the lines have gone it."""

    id: str
    record: str
    only: str = ""


_QUOTE = "SBQQ__Quote__r."
_WAYS = {
    ("opportunitylineitem", "opportunityid"): _Way("OpportunityId", "Opportunity"),
    ("quotelineitem", "quoteid"): _Way("Quote.OpportunityId", "Quote.Opportunity", "Quote.IsSyncing = TRUE"),
    ("sbqq__quoteline__c", "sbqq__quote__c"): _Way(
        f"{_QUOTE}SBQQ__Opportunity2__c", f"{_QUOTE}SBQQ__Opportunity2__r", f"{_QUOTE}SBQQ__Primary__c = TRUE"
    ),
}
"""The ways up that need no looking up: the reverse of `_LOOKUPS`."""

_SEEN = (
    "IsDeleted",
    "StageName",
    "CloseDate",
    "Type",
    "Account.Stigg_Customer_URL__c",
    "Stigg_Cancel_Date__c",
)
"""What is looked at of an opportunity besides its deal."""


def _opportunities_in_bulk(mappings: Mapped, currencies: bool, scope: Scope) -> BulkQuery:
    lookups = [each.lookup for each in mappings.active if each.lookup]
    paths = [*_opportunity_paths(mappings.cpq, currencies, lookups), *_SEEN]
    soql = f"SELECT {_distinct(paths)} FROM Opportunity WHERE {scope.condition()}"  # nosec B608 - see LineSource.soql
    return BulkQuery("opportunities", soql, account="AccountId", opportunity="Id")


def _lines_in_bulk(number: int, each: LineSource, way: _Way, scope: Scope, unquoted: bool) -> BulkQuery:
    account = f"{way.record}.AccountId"
    paths = ["Id", each.order or "", way.id, account, *each.paths()]
    conditions = [
        f"({each.stigg_type} != NULL OR {each.stigg_id} != NULL)",
        way.only,
        f"{way.record}.SBQQ__PrimaryQuote__c = NULL" if unquoted else "",
        scope.condition(way.record),
    ]
    where = " AND ".join(filter(None, conditions))
    soql = f"SELECT {_distinct(paths)} FROM {each.object} WHERE {where}"  # nosec B608 - see LineSource.soql
    return BulkQuery("lines", soql, account=account, opportunity=way.id, mapping=number)


_PROVISIONINGS = BulkQuery(
    "provisionings",
    f"SELECT {', '.join(SHOWN_FIELDS)} FROM Stigg_Provisioning__c WHERE Account__c != NULL",  # nosec B608 - names above
    account="Account__c",
    opportunity="Opportunity_ID__c",
)


def paths_read(mappings: Mapped) -> dict[str, tuple[str, ...]]:
    """What is read of each object, one by one and in bulk: paths of fields, dots across lookups."""
    lookups = [each.lookup for each in mappings.active if each.lookup]
    paths: dict[str, list[str]] = {"Opportunity": [*_opportunity_paths(mappings.cpq, False, lookups), *_SEEN]}
    paths["Account"] = [*ACCOUNT_FIELDS, "MasterRecordId"]
    paths["Stigg_Provisioning__c"] = list(SHOWN_FIELDS)
    paths["Stigg_Mapping__mdt"] = ["MasterLabel", "Active__c", *(column for column, _, _ in _COLUMNS.values())]
    for each in mappings.sources:
        way = _WAYS.get((each.object.lower(), each.parent.lower()))
        up = (way.id, f"{way.record}.AccountId", way.only.partition(" ")[0]) if way else ()
        paths.setdefault(each.object, []).extend(filter(None, ("Id", each.order, *up, *each.paths())))
    if mappings.cpq:
        paths["Contract"] = ["Id", "SBQQ__Opportunity__c"]
    return {name: tuple({path.lower(): path for path in some if path}.values()) for name, some in paths.items()}


# Asking


class Source(Protocol):
    """What is asked: the client of `closedwon.salesforce.client`."""

    def query(self, soql: str, **values: Any) -> list[Json]: ...

    def describe(self, object_name: str) -> Json: ...


def read(deals: Sequence[Json], source: Source) -> list[Json | Problem]:
    """Read deals that came without lines.

    In: what the callout said of each, IDs in 18 characters; whom to ask.
    Out: for each the whole deal, or why it cannot be read.
    Raises what is nobody's fault, because it concerns them all and passes: the Transient errors of the client, and
    SalesforceLimitExceeded.
    """
    try:
        return _read(deals, source)
    except SalesforceLimitExceeded:
        raise
    except Permanent as error:
        return [Problem(None, "lines", f"could not be read from Salesforce: {in_words(error)}")] * len(deals)
    except Unreadable as error:
        return [error.problem] * len(deals)


CONTRACTS_SOQL = (
    "SELECT Id, SBQQ__Opportunity__c FROM Contract WHERE Id IN {contracts} AND SBQQ__Opportunity__c != NULL"
)


def opportunities_of(contracts: Iterable[str], source: Source) -> dict[str, str]:
    """The opportunities that contracts were made from, which CPQ notes on them.

    In: contracts' IDs in 18 characters; whom to ask.
    Out: opportunities by contract; without contracts that are not there, or that no opportunity made.
    Raises what the client raises: SalesforceRefused where CPQ is not installed, or closed-won's user may not see it.
    """
    rows = source.query(CONTRACTS_SOQL, contracts=sorted(set(contracts)))
    return {row["Id"]: row["SBQQ__Opportunity__c"] for row in rows}


def in_words(error: Permanent) -> str:
    """What Salesforce said, without the statement it said it about and its advice to programmers."""
    return _ADVICE.sub("", _WHERE.sub("", error.message))


def _read(deals: Sequence[Json], source: Source) -> list[Json | Problem]:
    mappings = mapped(source.query(MAPPINGS_SOQL))
    lookups = [each.lookup or _asked_for_lookup(each, source) for each in mappings.active]
    read_at = datetime.now(UTC)  # before the rows: what changes while they are read makes a later revision
    ids = sorted({deal["opportunity"]["id"] for deal in deals})
    opportunities = {row["Id"]: row for row in _opportunities(source, ids, mappings.cpq, lookups)}
    rows: dict[str, list[Row]] = {id: [] for id in opportunities}
    for each, lookup in zip(mappings.active, lookups, strict=True):
        _find_lines(each, {id: value_at(row, lookup) for id, row in opportunities.items()}, rows, source)
    if mappings.without_quote:
        unquoted = [id for id, row in opportunities.items() if not row.get("SBQQ__PrimaryQuote__c")]
        _find_lines(mappings.without_quote, dict(zip(unquoted, unquoted, strict=True)), rows, source)

    def whole(deal: Json) -> Json | Problem:
        id = deal["opportunity"]["id"]
        if id not in opportunities:
            return Problem(None, "opportunity.id", "does not exist in Salesforce, or closed-won's user may not see it")
        try:
            return deal_of(deal, opportunities[id], rows[id], read_at)
        except Unreadable as error:
            return error.problem

    return [whole(deal) for deal in deals]


def bulk_queries(mappings: Mapped, scope: Scope, source: Source) -> Bulk:
    """What to ask in bulk for the deals in a scope, whole, and for what Salesforce shows of them.

    In: the mappings; the scope; whom to ask for schemas. Where the scope is what changed since a moment, the
    opportunities are all that is asked for: their accounts are looked at one by one.
    Raises Unreadable for a mapping that is no good, and what the client raises.
    """
    fields_of = source.describe("Opportunity")["fields"]
    currencies = any(field["name"] == "CurrencyIsoCode" for field in fields_of)
    opportunities = _opportunities_in_bulk(mappings, currencies, scope)
    if scope.since:
        return Bulk((opportunities,), ())
    queries, unreachable = [opportunities], []
    for number, each in enumerate(mappings.sources):
        if way := _way_up(each, source):
            queries.append(_lines_in_bulk(number, each, way, scope, unquoted=number == len(mappings.active)))
        else:
            unreachable.append(number)
    return Bulk((*queries, _PROVISIONINGS), tuple(unreachable))


class Mapped(NamedTuple):
    """The mappings that are active.

    cpq: whether CPQ is in use. without_quote: where the lines of an opportunity without a quote are, as those of a
    forecast renewal; None where there are no quotes.
    """

    active: list[LineSource]
    cpq: bool
    without_quote: LineSource | None

    @property
    def sources(self) -> list[LineSource]:
        """All that lines are read by, in their order."""
        return [*self.active, *([self.without_quote] if self.without_quote else [])]

    def row(self, mapping: int, content: Json) -> Row:
        """A line that was read in bulk, by the number of its mapping."""
        return Row(self.sources[mapping], content, mapping)


def mapped(records: Sequence[Json]) -> Mapped:
    """What the records of Stigg Mapping say together. Raises Unreadable where they say nothing that can be used."""
    active = [LineSource.of(record) for record in records if record.get("Active__c") is True]
    if not active:
        said = "no Stigg Mapping is active, so it is not known where a deal's lines are"
        raise Unreadable("lines", f"could not be read from Salesforce: {said}")
    if not any(each.quotes for each in active):
        return Mapped(active, any(each.uses_cpq for each in active), None)
    # CPQ keeps the opportunity's products in step with its quote: if they counted too, every line would count twice. A
    # record that is not active still says which fields they have; without one they are the package's.
    products = [record for record in records if record.get("Line_Object__c") == _OPPORTUNITY_PRODUCT]
    products.sort(key=lambda record: record.get("Active__c") is not True)
    without_quote = LineSource.of(products[0]) if products else LineSource()
    return Mapped([each for each in active if not each.opportunity_products], True, without_quote)


def _opportunities(source: Source, ids: Sequence[str], cpq: bool, lookups: Sequence[str]) -> list[Json]:
    try:
        return source.query(opportunities_soql(cpq, True, lookups), ids=ids)
    except SalesforceRefused as refused:
        if not _NO_CURRENCY.search(refused.message):
            raise
    # An organisation with one currency has no such field; the deal says which it is.
    return source.query(opportunities_soql(cpq, False, lookups), ids=ids)


def _find_lines(
    each: LineSource, parents: Mapping[str, str | None], rows: dict[str, list[Row]], source: Source
) -> None:
    """Add the lines below these parents to the rows of their opportunities."""
    opportunities: dict[str, list[str]] = {}
    for id, parent in parents.items():
        if parent:
            opportunities.setdefault(parent, []).append(id)
    if not opportunities:
        return
    for content in source.query(each.soql(), parents=sorted(opportunities)):
        for id in opportunities.get(value_at(content, each.parent), ()):
            rows[id].append(Row(each, content))


def _asked_for_lookup(each: LineSource, source: Source) -> str:
    """The opportunity's field that holds what a mapping's parent field points at, by the organisation's schema."""
    at, _ = _target(each, source)
    if at == "Opportunity":
        return "Id"
    found = [f["name"] for f in source.describe("Opportunity")["fields"] if at in f["referenceTo"]]
    if len(found) != 1:
        lookups = "several lookups" if found else "no lookup"
        raise _unusable(each.object, f"{each.parent} leads to {at}, and the opportunity has {lookups} to it")
    return str(found[0])


def _way_up(each: LineSource, source: Source) -> _Way | None:
    """The way from a mapping's lines up to their opportunities; None where their parent field leads elsewhere."""
    if known := _WAYS.get((each.object.lower(), each.parent.lower())):
        return known
    at, relationship = _target(each, source)
    *before, _ = each.parent.split(".")
    return _Way(each.parent, ".".join([*before, relationship])) if at == "Opportunity" else None


def _target(each: LineSource, source: Source) -> tuple[str, str]:
    """What a mapping's parent field points at, and the name of that relationship, by the organisation's schema."""
    at, relationship = each.object, ""
    *way, last = each.parent.lower().split(".")
    for name, step in [("relationshipName", step) for step in way] + [("name", last)]:
        known = source.describe(at)["fields"]
        found = next((f for f in known if (f[name] or "").lower() == step and f["referenceTo"]), None)
        if not found:
            raise _unusable(each.object, f"there is no lookup {each.parent} on {each.object}")
        targets = found["referenceTo"]
        at, relationship = "Opportunity" if "Opportunity" in targets else targets[0], found["relationshipName"]
    return at, relationship


def _unusable(mapping: str, reason: str) -> Unreadable:
    return Unreadable("lines", f"could not be read from Salesforce: Stigg Mapping {mapping}: {reason}")
