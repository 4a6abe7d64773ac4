"""What Stigg, Salesforce and the user's own application answer, read by the product's clients."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import requests
from hypothesis import strategies as st

from closedwon.domain.errors import ClosedWonError
from closedwon.domain.order import Problem
from closedwon.intake.answers import Result, invalid
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import compile_deal
from closedwon.own_application import client as own_application
from closedwon.preview.answers import PreviewedInvoice
from closedwon.reconciliation import views
from closedwon.salesforce import reading
from closedwon.salesforce.answers import error_of, records_of
from closedwon.salesforce.bulk import BulkQueries
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.mapping_records import COLUMNS, QUOTE_LINE
from closedwon.salesforce.package import Package
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import customer_difference
from closedwon.stigg.catalogue import fetch_catalogue
from closedwon.stigg.client import Stigg
from proof.bench import Bench, Keys, Recording, Scripted, scripted
from proof.fuzz import any_scalar, any_text, json_texts, spoilt

Json = dict[str, Any]

Answer = tuple[int, dict[str, str], bytes]


def answers(good: Mapping[str, bytes], headers: Mapping[str, st.SearchStrategy[str]] = {}) -> Any:
    """What a service may answer where it answers this as a rule. Out: tuples of what was asked and the answer."""
    statuses = st.sampled_from([200, 200, 200, 200, 200, 201, 204, 302, 400, 404, 409, 429, 500, 503])

    def answer(name: str) -> Any:
        value = json.loads(good[name]) if good[name] else None
        bodies = json_texts(spoilt(st.just(value))).map(lambda text: text.encode(errors="surrogatepass"))
        # nothing but JSON, and not even that: a proxy's page, a compressed text, half a character
        bodies |= st.sampled_from([b"", b"<html>no</html>", b"\xff\xfe\x00", b"null", b"[]", b'{"data":[null]}', b"1"])
        given = st.fixed_dictionaries({}, optional=dict(headers))
        return st.tuples(st.just(name), st.tuples(statuses, given, bodies))

    return st.sampled_from(sorted(good)).flatmap(answer)


def stigg_answers(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    recording, session = Recording(bench.stigg_app), requests.Session()
    session.trust_env = False
    session.mount("https://", recording)
    client = Stigg("https://api.stigg.io", Keys(), session=session)
    customer, order = bench.account_id, compile_deal(Deal.model_validate(bench.deals[0]), bench.rules)
    body = {"customerId": customer, "planId": "plan-enterprise", "id": "sub-1"}
    client.provision_customer({"id": customer, "name": "Northwind", "email": "a@b.example"}, "1")
    catalogue = fetch_catalogue(client, 0)
    calls: dict[str, tuple[str, Callable[[Stigg], object]]] = {
        "make a customer": ("POST customers", lambda stigg: stigg.provision_customer({"id": "other"}, "2")),
        "read a customer": (
            f"GET customers/{customer}",
            lambda stigg: (
                customer_difference(found, order, bench.stack.settings.backlinks(customer))
                if (found := stigg.get_customer(customer))
                else None
            ),
        ),
        "change a customer": (f"PATCH customers/{customer}", lambda stigg: stigg.update_customer(customer, {})),
        "make a subscription": ("POST subscriptions", lambda stigg: _made(stigg.provision_subscription(body, "3"))),
        "list subscriptions": (
            "GET subscriptions",
            lambda stigg: [actual_of(one, catalogue) for one in stigg.list_subscriptions(customer)],
        ),
        "read a subscription": ("GET subscriptions/sub-1", lambda stigg: stigg.get_subscription("sub-1")),
        "change a subscription": (
            "PATCH subscriptions/sub-1",
            lambda stigg: stigg.update_subscription("sub-1", {})["status"],
        ),
        "preview": (
            "POST subscriptions/preview",
            lambda stigg: [
                PreviewedInvoice.from_stigg(answer.get(name))
                for answer in [stigg.preview_subscription(body)]
                for name in ("immediateInvoice", "recurringInvoice")
            ],
        ),
        "entitlements": (
            f"GET customers/{customer}/entitlements",
            lambda stigg: views.amounts_of(stigg.entitlements(customer)),
        ),
        "list grants": ("GET credits/grants", lambda stigg: stigg.list_grants(customer)),
        "end a subscription": (
            "POST subscriptions/sub-1/cancel",
            lambda stigg: stigg.cancel_subscription("sub-1", {"cancellationTime": "IMMEDIATE"}, "4")["status"],
        ),
    }
    good = {}
    for name, (path, call) in calls.items():
        try:
            call(client)
        except ClosedWonError:
            pass
        method, _, rest = path.partition(" ")
        good[name] = recording.bodies.get(f"{method} /api/v1/{rest}", b"{}")
    for kind in ("plans", "addons", "features", "credits/custom-currencies"):
        calls[f"catalogue: {kind}"] = ("", lambda stigg: fetch_catalogue(stigg, 0).to_json())
        good[f"catalogue: {kind}"] = recording.bodies[f"GET /api/v1/{kind}"]
    adapter, answered = scripted()
    hostile = Stigg("https://api.stigg.io", Keys(), session=answered)

    def feed(given: tuple[str, Answer]) -> None:
        name, adapter.answer = given
        calls[name][1](hostile)

    return answers(good, {"x-request-id": any_text.map(_header)}), feed


def _made(answer: Json) -> None:
    """What is read of the answer to a new subscription."""
    _ = answer["subscription"]["status"] if answer["status"] == "SUCCESS" else answer["id"]


def _header(text: str) -> str:
    """A text as a header can carry it."""
    return text.encode("latin-1", errors="ignore").decode("latin-1").replace("\r", "").replace("\n", "")


def salesforce_answers(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    adapter, session = scripted()
    client = SalesforceClient("https://northwind.my.salesforce.com", Keys(), "66.0", session=session)
    wish = [{"method": "PATCH", "url": "/x", "referenceId": "a", "body": {}} for _ in range(2)]
    record = {"id": "a05", "success": True, "created": True, "errors": []}
    refused = {"success": False, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "x", "fields": ["Name"]}]}
    result = {"body": [record, refused], "httpHeaders": {}, "httpStatusCode": 200, "referenceId": "a"}
    status = {"name": "Status__c", "createable": True, "updateable": True, "restrictedPicklist": True}
    status["picklistValues"] = [{"value": "Ended", "active": True}]
    good: dict[str, Any] = {
        "query": {"totalSize": 1, "done": True, "records": [{"attributes": {"type": "Account"}, "Id": "001"}]},
        "count": {"totalSize": 7, "done": True, "records": []},
        "describe": {"fields": [{"name": "Id", "type": "id", "referenceTo": [], "relationshipName": None}, status]},
        "composite": {"compositeResponse": [result, {**result, "body": None, "httpStatusCode": 204}]},
        "limits": {"DailyApiRequests": {"Max": 15000, "Remaining": 14998}},
        "log in": {"access_token": "00D!x", "instance_url": "https://x", "error": "e", "error_description": "why"},
        "refusal": [{"errorCode": "INVALID_FIELD", "message": "No such column", "fields": ["Name"]}],
        "bulk job": {"id": "750", "state": "JobComplete", "object": "Account", "numberRecordsProcessed": 3},
    }

    def composite() -> None:
        for one in client.composite(wish):
            error_of(one)
            for each in records_of(one):
                error_of(each)

    def log_in() -> None:
        adapter.logs_in = False
        try:
            SalesforceClient("https://northwind.my.salesforce.com", Keys(), "66.0", session=session).query("SELECT Id")
        finally:
            adapter.logs_in = True

    calls: dict[str, Callable[[], object]] = {
        "query": lambda: client.query("SELECT Id FROM Account"),
        "count": lambda: client.count("SELECT COUNT() FROM Account"),
        "describe": lambda: Package.of(client.describe("Account")).to_json(),
        "composite": composite,
        "limits": lambda: _Anew(client).budget(),
        "log in": log_in,
        "refusal": lambda: client.query("SELECT Id FROM Account"),
        "bulk job": lambda: BulkQueries(client).finished("750"),
    }

    def feed(given: tuple[str, Answer]) -> None:
        name, adapter.answer = given
        calls[name]()

    usage = st.sampled_from(["api-usage=1/15000", "api-usage=15001/15000", "api-usage=1/0"]) | any_text.map(_header)
    return answers(
        {name: json.dumps(value).encode() for name, value in good.items()}, {"Sforce-Limit-Info": usage}
    ), feed


def _Anew(client: SalesforceClient) -> SalesforceClient:
    """The client, without what it was told of its budget."""
    client._budget = None
    return client


class Rows:
    """A Salesforce that answers each query with the rows it was given."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given

    def query(self, soql: str, **_: Any) -> list[Json]:
        place = next(name for name in self.given if f"FROM {name}" in soql)
        rows: list[Json] = self.given[place]
        return rows

    def describe(self, object_name: str) -> Json:
        return {"fields": self.given["fields"]}


def salesforce_rows(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    """Records as anybody in the organisation may have filled them, and Stigg Mappings that lead to any field."""
    mappings = bench.salesforce_app.query(
        "SELECT MasterLabel, Active__c, "
        + ", ".join(column for column, *_ in COLUMNS.values())
        + " FROM Stigg_Mapping__mdt"
    )
    lookups = {
        "Id": "0065g00000ABCdEAAX",
        "Name": "A deal",
        "SystemModstamp": "2026-01-15T09:15:31.000+0000",
        "ContractId": None,
        "AccountId": "0015g00000XyZaBAAV",
        "Account": {"Name": "Northwind", "Stigg_Customer_ID__c": None},
        "Stigg_Amends__c": None,
        "CurrencyIsoCode": "EUR",
        "SBQQ__PrimaryQuote__c": "a0q5g000000001AAAA",
        "SBQQ__AmendedContract__c": None,
        "SBQQ__PrimaryQuote__r": {
            "SBQQ__StartDate__c": "2026-01-01",
            "SBQQ__EndDate__c": None,
            "SBQQ__SubscriptionTerm__c": 12.0,
        },
        "Stigg_Budget__c": 5.0,
        "Stigg_Start_Date__c": None,
    }
    line = {
        "Id": "00k5g00000ABCdEAAX",
        "OpportunityId": "0065g00000ABCdEAAX",
        "SBQQ__Quote__c": "a0q5g000000001AAAA",
        "Quantity": 2.0,
        "UnitPrice": 48000.0,
        "SBQQ__Quantity__c": 2.0,
        "SBQQ__EffectiveQuantity__c": 2.0,
        "SBQQ__PriorQuantity__c": 1.0,
        "SBQQ__UpgradedSubscription__c": "a0s",
        "SBQQ__PricingMethod__c": "Block",
        "SBQQ__NetPrice__c": 10.0,
        "Product2": {
            "Stigg_Type__c": "Plan",
            "Stigg_ID__c": "plan-enterprise",
            "Stigg_Price_Override__c": True,
            "Stigg_Unlimited__c": False,
            "Stigg_Reset_Period__c": None,
        },
        "SBQQ__Product__r": {
            "Stigg_Type__c": "Plan",
            "Stigg_ID__c": "plan-enterprise",
            "Stigg_Price_Override__c": True,
        },
    }
    cpq = [{**one, "Active__c": one["Line_Object__c"] == QUOTE_LINE} for one in mappings]
    given = {"organizationId": bench.organization_id, "opportunity": {"id": lookups["Id"]}, "terms": {"end": None}}

    def scene(trigger: str, some: Any) -> Json:
        amended = {"SBQQ__AmendedContract__c": "8005g00000ABCdEAAX"} if trigger == "amendment" else {}
        return {
            "deal": {**given, "trigger": trigger},
            "rows": {
                "Stigg_Mapping__mdt": copy.deepcopy(some),
                "Opportunity": [{**copy.deepcopy(lookups), **amended}],
                "OpportunityLineItem": [copy.deepcopy(line)],
                "SBQQ__QuoteLine__c": [copy.deepcopy(line), copy.deepcopy(line)],
                "fields": [{"name": "AccountId", "referenceTo": ["Account"], "relationshipName": "Account"}],
            },
        }

    def feed(scene: Json) -> None:
        rows = Rows({"Stigg_Mapping__mdt": [], "Opportunity": [], **scene["rows"]})
        for found in reading.read([scene["deal"]], rows, datetime.now(UTC)):
            if isinstance(found, Problem):
                invalid(None, [found]).model_dump_json(by_alias=True)
            else:
                judged = bench.stack.intake.valid_deal(found)
                if not isinstance(judged, Result):
                    bench.stack.intake.compiled(judged)

    # A mapping's names are anybody's; what Salesforce answers to a query has its fields, filled with anything.
    known = st.sampled_from(["closed_won", "amendment", "renewal", "trial"]).flatmap(
        lambda trigger: st.sampled_from([mappings, cpq]).map(lambda some: scene(trigger, some))
    )
    return _filled_anyhow(known), feed


@st.composite
def _filled_anyhow(draw: st.DrawFn, scenes: st.SearchStrategy[Json]) -> Json:
    """A scene whose records are filled with anything; their fields are those that were asked for."""
    scene = draw(scenes)
    rows = scene["rows"]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["Stigg_Mapping__mdt", "Opportunity", "OpportunityLineItem", "SBQQ__QuoteLine__c"]))
        row = draw(st.sampled_from(rows[kind]))
        name = draw(st.sampled_from([name for name in row if name not in ("Id", "SystemModstamp")] or ["Name"]))
        inner = row.get(name)
        if isinstance(inner, dict) and draw(st.booleans()):
            inner[draw(st.sampled_from(sorted(inner)))] = draw(any_scalar)
        elif name not in ("Account", "Product2", "SBQQ__PrimaryQuote__r", "SBQQ__Product__r"):
            fields = ["Product2.Name", "Quantity", "Id", "Product2", "OpportunityId", "SBQQ__Quantity__c", "UnitPrice"]
            row[name] = draw(
                st.sampled_from(fields) if kind == "Stigg_Mapping__mdt" and draw(st.booleans()) else any_scalar
            )
        elif draw(st.booleans()):
            row[name] = None
    return scene


def bulk_results(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    """Pages of CSV, with any bytes and headers."""
    adapter, session = scripted()
    client = SalesforceClient("https://northwind.my.salesforce.com", Keys(), "66.0", session=session)
    columns = [("Id", "id"), ("Name", "string"), ("Amount", "currency"), ("IsWon", "boolean"), ("Count", "int")]
    columns += [("SystemModstamp", "datetime")]
    schema = {"fields": [{"name": name, "type": kind} for name, kind in columns]}
    good = ["Id,Name,Amount,IsWon,Count,SystemModstamp", '006,"a ""b"", c",1.5,true,3,2026-01-01T00:00:00.000Z']

    @st.composite
    def pages(draw: st.DrawFn) -> tuple[dict[str, str], bytes]:
        rows = [*good, *draw(st.lists(st.lists(any_text, min_size=6, max_size=6).map(",".join), max_size=3))]
        body = "\n".join(rows).encode(errors="surrogatepass")
        match draw(st.sampled_from(("as it is", "as it is", "cut", "bytes", "header", "cell"))):
            case "cut":
                body = body[: draw(st.integers(0, len(body)))]
            case "bytes":
                body = draw(st.binary(max_size=60)) + body
            case "header":
                body = body.replace(b"Name", draw(any_text).encode(errors="replace"), 1)
            case "cell":
                cell = draw(any_text).encode(errors="replace")
                body = body.replace(draw(st.sampled_from([b"1.5", b"true", b",3,", b"2026-01"])), cell, 1)
        headers = {"Sforce-Locator": "null", "Sforce-NumberOfRecords": draw(st.sampled_from(["1", "", "x", "-1"]))}
        return draw(st.sampled_from([headers, headers, {}, {"Sforce-Locator": "null"}])), body

    def feed(given: tuple[dict[str, str], bytes]) -> None:
        adapter.answer = (200, *given)
        queries = BulkQueries(client)
        queries._objects["750"] = "Opportunity"
        with mock.patch.object(client, "describe", return_value=schema):
            for page in queries.pages("750"):
                for _ in page.rows:
                    pass

    return pages(), feed


def application_answers() -> tuple[Any, Callable[[Any], None]]:
    good = {"customerId": "northwind", "resourceId": "workspace-1", "metadata": {"region": "eu"}, "message": "no"}
    good["askAgainAt"] = "2026-12-01T09:00:00Z"
    after = st.sampled_from(["60", "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT", "-1", "٣"]) | any_text.map(_header)
    statuses = st.sampled_from([200, 200, 201, 202, 202, 204, 301, 400, 401, 429, 500])
    body = {"account": {"name": "Northwind Traders"}}
    adapter = Scripted()

    def post(url: str, **given: Any) -> requests.Response:
        request = requests.Request("POST", "https://own.example", data=given["data"]).prepare()
        return adapter.send(request)

    def feed(given: tuple[int, dict[str, str], bytes]) -> None:
        adapter.answer = given
        keys = SimpleNamespace(json=lambda *_: {"signingKey": "a-signing-key"}, again=lambda: "")
        with mock.patch.object(requests, "post", post):
            own_application.OwnApplication("https://own.example", keys).ask(body, "key")

    texts = json_texts(spoilt(st.just(good))).map(lambda text: text.encode(errors="surrogatepass"))
    headers = st.fixed_dictionaries({}, optional={"Retry-After": after})
    return st.tuples(statuses, headers, texts | st.binary(max_size=40)), feed
