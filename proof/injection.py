"""Canaries in every field of a deal and in every record it is read from: no query and no path is made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlsplit

import requests

from closedwon.domain import errors
from closedwon.intake.deal import Deal
from closedwon.salesforce.client import formatted
from closedwon.salesforce.export_queries import Scope
from closedwon.salesforce.mapping_records import LineSource, Unreadable
from closedwon.stigg.client import Stigg
from proof.bench import Bench, Keys, Scripted
from proof.fuzz import INJECTIONS, TEXTS
from proof.hostile_requests import Found, a_deal, ask
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox
from sandbox.stand_in import Exchange

Json = dict[str, Any]

LITERAL = re.compile(r"'(?:\\.|[^'\\])*'")


def statement(soql: str) -> str:
    """A query without its values: two with the same statement ask for the same."""
    return re.sub(r"\(\?(?:,\s*\?)*\)", "(?)", LITERAL.sub("?", soql))


def escapes(bench: Bench) -> Iterator[str]:
    """In this process: whatever a value is, queries and paths stay what they are. Out: what does not hold."""
    for text in (*INJECTIONS, *TEXTS):
        if statement(formatted("WHERE Id IN {ids}", {"ids": [text]})) != "WHERE Id IN (?)":
            yield f"a value in a query: {text!r}"
        if statement(Scope(None, (text,)).condition()) != statement(Scope(None, ("Trial",)).condition()):
            yield f"a trial stage in a query: {text!r}"
        mapping = {"MasterLabel": "M", "Active__c": True, **NAMES}
        for column in NAMES:
            try:
                soql = LineSource.of({**mapping, column: text}).soql()
            except Unreadable:
                continue
            if not re.fullmatch(r"SELECT [\w., ]+ FROM \w+ WHERE [\w.]+ IN \{parents\} ORDER BY [\w. ,]+", soql):
                yield f"{column} of a Stigg Mapping in a query: {soql!r}"
        yield from paths_stay(text)


NAMES = {
    "Line_Object__c": "OpportunityLineItem",
    "Parent_Field__c": "OpportunityId",
    "Stigg_Type_Field__c": "Product2.Stigg_Type__c",
    "Stigg_ID_Field__c": "Product2.Stigg_ID__c",
    "Quantity_Field__c": "Quantity",
    "Price_Field__c": "UnitPrice",
    "Total_Quantity_Field__c": "",
}


def paths_stay(text: str) -> Iterator[str]:
    """Every ID that Stigg's client puts into a path or a query arrives there as itself, or is refused."""
    adapter, asked = Scripted(), []
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", adapter)
    answer = adapter.send

    def send(request: requests.PreparedRequest, *given: Any, **more: Any) -> requests.Response:
        asked.append(str(request.url))
        return answer(request, *given, **more)

    adapter.send = send  # type: ignore[method-assign]
    stigg = Stigg("https://api.stigg.io", Keys(), session=session)
    calls: list[tuple[list[str], Callable[[], object]]] = [
        (["customers", text], lambda: stigg.get_customer(text)),
        (["customers", text, "entitlements"], lambda: stigg.entitlements(text, text)),
        (["customers", text], lambda: stigg.update_customer(text, {})),
        (["subscriptions", text], lambda: stigg.get_subscription(text)),
        (["subscriptions", text, "cancel"], lambda: stigg.cancel_subscription(text, {}, "key")),
        (["subscriptions"], lambda: stigg.list_subscriptions(text)),
        (["credits", "grants"], lambda: stigg.list_grants(text, text)),
        (["plans", text, "charges"], lambda: stigg.list_charges("plans", text)),
    ]
    for wanted, call in calls:
        asked.clear()
        with suppress(errors.ClosedWonError, ValueError):  # refused, or the made-up answer was no good
            call()
        for url in asked:
            yield from _led_astray(url, ["", "api", "v1", *wanted], text)


def _led_astray(url: str, wanted: list[str], text: str) -> Iterator[str]:
    split = urlsplit(url)
    if [unquote(part) for part in split.path.split("/")] != wanted or split.fragment:
        yield f"a path of Stigg's: {url!r} for {text!r}"
    values = [v for k, v in parse_qsl(split.query, keep_blank_values=True) if k in ("customerId", "resourceId")]
    if any(value != text for value in values) or len(values) > 2:
        yield f"a query of Stigg's: {url!r} for {text!r}"


def text_fields(model: Any = Deal, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field of a deal that holds one value, by the model itself: none is forgotten."""
    from pydantic import BaseModel

    for field in model.model_fields.values():
        here = (*path, field.alias)
        inner = [kind for kind in _kinds(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner:
            yield from text_fields(inner[0], here)
        else:
            yield here


def _kinds(annotation: Any) -> Iterator[Any]:
    arguments = getattr(annotation, "__args__", ())
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _kinds(argument)


def injected(sandbox: Sandbox, count: int, found: Found) -> None:
    """Canaries in every field of a deal, and in the records a deal is read from: what Stigg and Salesforce are asked
    is what they are asked without them.
    """
    sandbox.reset()
    benign = read_deals(sandbox, ["x"])
    send(sandbox, [a_deal(sandbox, 900), *benign])
    statements = {statement(soql) for soql in queries(sandbox)}
    sandbox.reset()
    chosen = tuple(dict.fromkeys(("..", *INJECTIONS[:: max(1, len(INJECTIONS) // count)])))
    deals = spoilt_deals(sandbox, chosen)
    found.asked["injections"] += send(sandbox, deals)
    read = read_deals(sandbox, chosen)
    found.asked["injections"] += send(sandbox, read)
    for canary in chosen:
        target = f"/v1/provisionings/{quote(canary, safe='')}"
        status, text = ask(sandbox, "GET", target, b"", {})
        found.answered("injections", status, 0, f"GET {target}: {text[:200]}")
    for soql in queries(sandbox):
        if statement(soql) not in statements:
            found.fail("injections", f"a query nobody wrote: {soql[:600]}")
    for exchange in sandbox.salesforce_server.exchanges:
        found.failures["injections"] += unexpected(exchange, SALESFORCE_PATHS)
    named = customers_named([*deals, *read])
    for exchange in sandbox.stigg_server.exchanges:
        found.failures["injections"] += unexpected(exchange, STIGG_PATHS)
        for fault in misdirected(exchange.target, named):
            found.fail("injections", fault)


def spoilt_deals(sandbox: Sandbox, canaries: Iterable[str]) -> list[Json]:
    """A deal for each canary and each field of a deal, with the one in the other."""
    deals: list[Json] = []
    for canary in canaries:
        for way in text_fields():
            deal = a_deal(sandbox, 1_000 + len(deals))
            put(deal, way, canary)
            deals.append(deal)
    return deals


def customers_named(deals: Iterable[Json]) -> set[str]:
    """The customers in Stigg that deals name, in any of the fields that can."""
    named: set[Any] = {deal.get("customerId") for deal in deals}
    for deal in deals:
        if isinstance(deal["account"], dict):
            named |= {deal["account"]["id"], deal["account"].get("stiggCustomerId")}
    return set(filter(None, named))


def misdirected(target: str, customers: Container[str]) -> Iterator[str]:
    """What a request to Stigg asks for that no deal named, and that nobody wrote."""
    split = urlsplit(target)
    parts = [unquote(part) for part in split.path.split("/")]
    if parts[3] == "customers" and len(parts) > 4 and parts[4] not in customers:
        yield f"a customer nobody named: {target}"
    for name, values in parse_qs(split.query, keep_blank_values=True).items():
        if len(values) != 1 or name not in ("customerId", "resourceId", "limit", "after", "status"):
            yield f"a parameter nobody wrote: {target}"


SALESFORCE_PATHS = (
    r"/services/oauth2/token",
    r"/services/data/v66\.0/query(?:All)?/\?q=[^&#]*",
    r"/services/data/v66\.0/sobjects/\w+/describe",
    r"/services/data/v66\.0/composite",
    r"/services/data/v66\.0/limits",
)
_SEGMENT = r"[A-Za-z0-9_.:|@~%-]+"
STIGG_PATHS = (
    rf"/api/v1/customers(?:/{_SEGMENT}(?:/entitlements)?)?(?:\?[^#]*)?",
    rf"/api/v1/subscriptions(?:/{_SEGMENT}(?:/cancel)?)?(?:\?[^#]*)?",
    rf"/api/v1/(?:plans|addons|features)(?:/{_SEGMENT}/charges)?(?:\?[^#]*)?",
    r"/api/v1/credits/(?:grants|custom-currencies)(?:\?[^#]*)?",
)
_SUB_REQUESTS = (
    r"/services/data/v66\.0/sobjects/Account/[A-Za-z0-9]{18}",
    r"/services/data/v66\.0/composite/sobjects/Stigg_Provisioning__c/Opportunity_ID__c",
)


def unexpected(exchange: Exchange, known: tuple[str, ...]) -> list[str]:
    """What of a request is none of the paths that are asked."""
    targets = [] if any(re.fullmatch(one, exchange.target) for one in known) else [exchange.target]
    if exchange.path.endswith("/composite"):
        wishes = json.loads(exchange.body)["compositeRequest"]
        targets += [w["url"] for w in wishes if not any(re.fullmatch(one, w["url"]) for one in _SUB_REQUESTS)]
    for target in targets:
        print(f"  injections: a path nobody wrote: {target[:300]}", flush=True)
    return [f"a path nobody wrote: {target}" for target in targets]


def queries(sandbox: Sandbox) -> Iterator[str]:
    """Every query that Salesforce was asked."""
    for exchange in sandbox.salesforce_server.exchanges:
        yield from parse_qs(urlsplit(exchange.target).query).get("q", ())


def send(sandbox: Sandbox, deals: list[Json]) -> int:
    """Deals are sent and previewed, 100 at a time, and provisioned."""
    for start in range(0, len(deals), 100):
        some = deals[start : start + 100]
        for answer in (sandbox.preview(*some), sandbox.call(*some)):
            if answer.status_code not in (200, 202):
                raise RuntimeError(f"a request of canaries was answered {answer.status_code}: {answer.text[:300]}")
    sandbox.wait_until_idle(600)
    return 2 * len(deals)


def read_deals(sandbox: Sandbox, canaries: Any) -> list[Json]:
    """Opportunities whose records say such things, as callouts without lines."""
    deals = []
    for canary in canaries:
        text = canary.replace("\r", "").replace("\n", "")
        sales = sandbox.sales
        for fields in (
            {"Name": text},
            {"Stigg_Coupon_ID__c": text},
            {"Stigg_Amends__c": text[:18]},
            {"Stigg_Paying_Customer_ID__c": text},
        ):
            account = sales.account(f"{text} & sons")
            name = fields.get("Name", "A deal")
            more = {field: value for field, value in fields.items() if field != "Name"}
            opportunity = sales.close(account, name, Sold("plan-enterprise", 1, 48000), **more)
            triggers = ("closed_won", "amendment", "cancellation") if "Stigg_Amends__c" in fields else ("closed_won",)
            for trigger in triggers:
                deal: Json = {
                    "organizationId": sandbox.salesforce.organization_id,
                    "trigger": trigger,
                    "opportunity": {
                        "id": opportunity,
                        "systemModstamp": "2026-01-15T09:15:31Z",
                        "readAt": "2026-01-15T09:15:31Z",
                    },
                    "account": {"id": account, "name": "x"},
                }
                if trigger == "cancellation":
                    deal["amends"] = "8005g00000ABCdEAAX"  # the contract's opportunity is asked for
                deals.append(deal)
    return deals


def put(deal: Json, way: tuple[str, ...], value: str) -> None:
    """Put a value where a field is; into the deal's line where the field is a line's."""
    place: Any = deal
    for step in way[:-1]:
        place = place.setdefault(step, {})
        place = place[0] if isinstance(place, list) else place
    place[way[-1]] = value
