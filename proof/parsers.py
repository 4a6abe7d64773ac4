"""Every place where the product reads what others wrote, with what its input usually looks like.

All of it runs in this process, without a network: the API's handlers over a table in memory that is as strict as
DynamoDB, and the product's own clients, which are answered with whatever was made up.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import requests
from hypothesis import strategies as st
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from benchmarks.table import MemoryTable
from closedwon import settings
from closedwon.aws.ledger import Ledger
from closedwon.aws.ledger_items import accepted_order, customer_of, exported
from closedwon.aws.secrets import Secret
from closedwon.domain.errors import ClosedWonError, failure_text
from closedwon.domain.order import Order, Problem
from closedwon.intake.deal import Approval, Deal, DealToRead, Result, errors_of, problems_of
from closedwon.intake.mapping import MappingRules, compile_deal, revision_of, unrecordable
from closedwon.own_application import client as own_application
from closedwon.preview.answers import PreviewedInvoice
from closedwon.preview.preview import preview
from closedwon.provisioning import approvals, callout
from closedwon.provisioning.step import Step
from closedwon.reconciliation import report_page, views
from closedwon.reconciliation.finding import Finding, Repair
from closedwon.reconciliation.runs import Run
from closedwon.salesforce import reading
from closedwon.salesforce.answers import error_of, records_of
from closedwon.salesforce.bulk import BulkQueries
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.mapping_records import COLUMNS, QUOTE_LINE
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import customer_difference
from closedwon.stigg.catalogue import fetch_catalogue
from closedwon.stigg.client import Stigg
from proof.fuzz import Attack, any_scalar, any_text, any_value, json_texts, spoilt
from sandbox.flow import deal_of
from sandbox.sales import Sales, Sold
from sandbox.salesforce.app import Salesforce as SalesforceApp
from sandbox.sandbox import ROOT, packaged_configuration
from sandbox.stigg.app import Stigg as StiggApp
from unit import reports
from unit.in_process import InProcess, session_to

Json = dict[str, Any]

ITEM_LIMIT, TRANSACTION_LIMIT = 400 * 1024, 4 * 1024 * 1024
"""Bytes of one item and of one transaction (DynamoDB's quotas)."""

RULES = MappingRules("")


class BrokenPromise(AssertionError):
    """What came out is not what the API promises."""


def promise(held: bool, said: str) -> None:
    if not held:
        raise BrokenPromise(said)


class StrictTable(MemoryTable):
    """The ledger's table, which refuses what DynamoDB refuses: no item over 400 KB, no transaction over 4 MB or 100
    items, no text that is no UTF-8, no key that is empty or too long.
    """

    exceptions = SimpleNamespace(
        TransactionCanceledException=type("TransactionCanceledException", (Exception,), {}),
        TransactionInProgressException=type("TransactionInProgressException", (Exception,), {}),
    )

    def put_item(self, **wanted: Any) -> Json:
        _fits(wanted["Item"])
        return super().put_item(**wanted)

    def transact_write_items(self, **wanted: Any) -> Json:
        puts = wanted["TransactItems"]
        promise(len(puts) <= 100, "a transaction of more than 100 items")
        sizes = [_fits(write["Put"]["Item"]) for write in puts]
        promise(sum(sizes) <= TRANSACTION_LIMIT, f"a transaction of {sum(sizes)} bytes")
        return super().transact_write_items(**wanted)

    def get_item(self, **wanted: Any) -> Json:
        _key(wanted["Key"])
        return super().get_item(**wanted)

    def batch_get_item(self, **wanted: Any) -> Json:
        ((_, keys),) = wanted["RequestItems"].items()
        promise(0 < len(keys["Keys"]) <= 100, "a read of no or too many keys")
        for key in keys["Keys"]:
            _key(key)
        return super().batch_get_item(**wanted)


def _key(key: Mapping[str, Any]) -> None:
    for name, most in (("pk", 2048), ("sk", 1024)):
        promise(0 < len(key[name]["S"].encode()) <= most, f"a {name} of {len(key[name]['S'])} characters")


def _fits(item: Mapping[str, Any]) -> int:
    _key(item)
    size = 0
    for name, value in item.items():
        ((kind, text),) = value.items()
        promise(isinstance(text, str), "a value that is no text")
        promise(kind != "N" or len(text) <= 38, f"a number of {len(text)} digits")
        size += len(name) + len(text.encode())
    promise(size <= ITEM_LIMIT, f"an item of {size} bytes")
    return size


class Scripted(BaseAdapter):
    """Answers every request with one made-up answer; logging in always works."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        self.logs_in = True

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        status, headers, body = self.answer
        if self.logs_in and "/oauth2/token" in str(request.url):
            status, headers, body = 200, {}, b'{"access_token": "00D!token"}'
        raw = HTTPResponse(io.BytesIO(body), HTTPHeaderDict(headers), status, preload_content=False)
        return HTTPAdapter().build_response(request, raw)

    def close(self) -> None:
        """Nothing is open."""


class Recording(InProcess):
    """Keeps the last answer's body of each path: what a good answer looks like."""

    def __init__(self, application: Any) -> None:
        super().__init__(application)
        self.bodies: dict[str, bytes] = {}

    def send(self, request: requests.PreparedRequest, *given: Any, **more: Any) -> requests.Response:
        response = super().send(request, *given, **more)
        self.bodies[f"{request.method} {str(request.path_url).partition('?')[0]}"] = response.content
        return response


class Keys:
    """A secret that is as it should be."""

    def json(self, *required: str) -> dict[str, Any]:
        return {"apiKey": "key-of-the-proof", "clientId": "closed-won", "clientSecret": "hush-1"}

    def again(self) -> str:
        return ""


def scripted() -> tuple[Scripted, requests.Session]:
    adapter, session = Scripted(), requests.Session()
    session.trust_env = False
    session.mount("https://", adapter)
    return adapter, session


class Bench:
    """What the parsers are fed in: a stack's settings, a ledger in memory, Stigg and Salesforce in this process."""

    def __init__(self) -> None:
        self.salesforce_app = SalesforceApp("closed-won", "hush-1")
        self.salesforce_app.load(packaged_configuration())
        self.stigg_app = StiggApp("key-of-the-proof", rate_limits=False)
        sales = Sales(self.salesforce_app)
        self.account_id = sales.account("Northwind Traders")
        sold = (Sold("plan-enterprise", 1, 48000), Sold("addon-extra-workspace", 2, 1200), Sold("feature-seats", 250))
        self.deals = [deal_of(self.salesforce_app, sales.close(self.account_id, "A deal", *sold)) for _ in range(2)]
        other = sales.account("Southwind")
        self.deals.append(deal_of(self.salesforce_app, sales.close(other, "Another", *sold)))
        for deal in self.deals:  # the same in every run, so that a seed makes the same inputs
            deal["opportunity"] |= {"systemModstamp": "2026-01-15T09:15:31.000Z", "readAt": "2026-01-15T09:15:32.118Z"}
        self.deals[0]["terms"] = {"billingPeriod": "ANNUALLY", "start": "2026-01-01", "end": "2026-12-31"}
        self.deals[0]["account"]["email"] = "billing@northwind.example"
        self.deals.append(self._full())
        self.organization_id = self.salesforce_app.organization_id
        self.rules = MappingRules(self.organization_id)
        self.table = StrictTable()
        self.ledger = Ledger("ledger", self.table)
        self._exits = contextlib.ExitStack()

    def _full(self) -> Json:
        """A deal with every field there is."""
        deal = copy.deepcopy(self.deals[0])
        deal["terms"] |= {"coupon": "COUPON-10", "budget": {"limit": 5000, "softLimit": True}, "minimumSpend": 100.0}
        deal["terms"] |= {"payingCustomerId": "holding", "paymentCollection": "CHARGE"}
        deal |= {"customerId": "northwind", "resourceId": "site-1", "contractId": "8005g00000ABCdEAAX"}
        deal["account"]["stiggCustomerId"] = "northwind"
        dates = {"start": "2026-02-01", "end": "2026-06-30T12:00:00+02:00"}
        deal["lines"][1] |= {"planId": "plan-enterprise", **dates}
        deal["lines"][2] |= {"planId": "plan-enterprise", "resetPeriod": "MONTH", "softLimit": True}
        credits = {
            "stiggType": "Credit entitlement",
            "stiggId": "currency-ai-credits",
            "quantity": 5,
            "cadence": "YEAR",
        }
        grant = {"stiggType": "Credit grant", "stiggId": "currency-ai-credits", "quantity": 500, "price": 0.01}
        sso = {"stiggType": "Entitlement", "stiggId": "feature-sso", "unlimited": True, "quantity": None}
        deal["lines"] += [{"line": 4, **credits}, {"line": 5, **grant, "end": "2026-09-30"}, {"line": 6, **sso}]
        return deal

    def __enter__(self) -> Bench:
        environment = {
            "SALESFORCE_ORGANIZATION_ID": self.organization_id,
            "SALESFORCE_URL": "https://northwind.my.salesforce.com",
            "SALESFORCE_API_VERSION": "66.0",
            "STIGG_APP_URL": "https://app.stigg.io/production",
            "PLAN_PREFIX": "plan-",
            "ADDON_PREFIX": "addon-",
            "FEATURE_PREFIX": "feature-",
            "TIME_ZONE": "Europe/Berlin",
            "END_OF_TERM_POLICY": "keep",
            "GRACE_DAYS": "30",
            "REOPENED_DEAL_POLICY": "end",
            "FOREIGN_SUBSCRIPTION_POLICY": "hold",
            "REMOVAL_GUARD_PERCENT": "50",
            "LEDGER_TABLE": "ledger",
            "POWERTOOLS_SERVICE_NAME": "closed-won",
            "POWERTOOLS_METRICS_NAMESPACE": "ClosedWon",
            "LOG_LEVEL": "CRITICAL",
            "STACK_NAME": "proof",
        }
        enter = self._exits.enter_context
        enter(mock.patch.dict(os.environ, environment))
        logging.disable(logging.CRITICAL)
        self._exits.callback(logging.disable, logging.NOTSET)
        for cached in (settings.mapping_rules, settings.policy):
            cached.cache_clear()
        self._exits.callback(settings.mapping_rules.cache_clear)
        self._exits.callback(settings.policy.cache_clear)
        reads = SalesforceClient(environment["SALESFORCE_URL"], Keys(), "66.0", session=session_to(self.salesforce_app))
        asks = Stigg("https://api.stigg.io", Keys(), session=session_to(self.stigg_app))
        rate_slots = SimpleNamespace(
            rate_slots=lambda count, *_: (0,) * count, book=lambda orders: _Booked(orders), give_back=lambda *_: None
        )
        here: dict[str, Any] = {"ledger": lambda: self.ledger, "governor": lambda: rate_slots}
        enter(mock.patch.multiple(callout, start=lambda: lambda claim: None, **here))
        enter(mock.patch.multiple(approvals, **here))
        enter(mock.patch.multiple(preview, ledger=lambda: self.ledger, stigg=lambda: asks))
        enter(mock.patch.object(reading, "salesforce", return_value=reads))
        self.flow_callout, self.preview = _function("flow_callout"), _function("preview")
        enter(mock.patch.object(self.flow_callout, "ledger", return_value=self.ledger))
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    # The API's handlers

    def post(self, event: Json) -> None:
        """POST /v1/provisionings: answered as the API promises, each deal recorded whole or not at all."""
        if len(self.table.items) > 2_000:
            self.table.clear()
        before = dict(self.table.items)
        answer = self._ask(self.flow_callout, event)
        changed = {key for key, item in self.table.items.items() if before.get(key) != item}
        if answer["statusCode"] != 202:
            promise(answer["statusCode"] in (400, 404, 503), f"answers {answer['statusCode']}")
            promise(not changed, "a refused request left something in the ledger")
            return
        results = json.loads(answer["body"])["results"]
        promise(len(results) == len(json.loads(event["body"])["deals"]), "not one answer for each deal")
        known = {result["opportunityId"] for result in results if result["execution"]}
        touched = {sk.partition("#")[2] for pk, sk in changed if sk.startswith("OPPORTUNITY#")}
        touched |= {pk.partition("#")[2] for pk, sk in changed if pk.startswith("OPPORTUNITY#")}
        promise(touched <= known, "a deal that was not accepted left something in the ledger")
        for id in known:
            found = self.ledger.find(id)
            promise(found is not None, "an accepted deal is not in the ledger")
            promise(bool(self.ledger.orders(id)), "an accepted deal has no history")
            self.get({"opportunityId": id}, expected=(200,))

    def get(self, parameters: Any, expected: tuple[int, ...] = (200, 400, 404)) -> None:
        event = {"httpMethod": "GET", "resource": "/v1/provisionings/{opportunityId}", "pathParameters": parameters}
        answer = self._ask(self.flow_callout, event)
        promise(answer["statusCode"] in expected, f"answers {answer['statusCode']}")

    def post_approvals(self, event: Json) -> None:
        before = dict(self.table.items)
        answer = self._ask(self.flow_callout, event)
        promise(answer["statusCode"] in (202, 400), f"answers {answer['statusCode']}")
        promise(before == self.table.items, "an approval of nothing left something in the ledger")

    def post_preview(self, event: Json) -> None:
        before = dict(self.table.items)
        answer = self._ask(self.preview, event)
        promise(answer["statusCode"] in (200, 400, 503), f"answers {answer['statusCode']}")
        promise(before == self.table.items, "a preview left something in the ledger")

    def _ask(self, function: ModuleType, event: Json) -> Json:
        with contextlib.redirect_stdout(io.StringIO()):
            answer: Json = function.lambda_handler(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 29_000))
        promise(isinstance(json.loads(answer["body"].encode()), dict), "the answer is no JSON object")
        return answer


class _Booked:
    """Rate slots at once, for whoever asks."""

    def __init__(self, orders: Mapping[str, Any]) -> None:
        self.starts = dict.fromkeys(orders, 0)


def _function(name: str) -> ModuleType:
    """A function's app.py, as Lambda loads it."""
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", ROOT / "functions" / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def event(path: str, body: Any) -> Json:
    return {"httpMethod": "POST", "resource": path, "body": body, "pathParameters": None, "headers": {}}


# Deals, pure


def compiled(bench: Bench, content: Any) -> None:
    """What a deal is judged to be, recorded and read again; every refusal can be told."""
    try:
        deal = Deal.model_validate(content)
    except ValueError as error:
        problems = problems_of(content, error)  # type: ignore[arg-type]
        promise(bool(problems), "refused without a reason")
        answer = callout.invalid(callout.opportunity_id_of(content), problems)
    else:
        problems = unrecordable(deal, bench.rules, datetime.now(UTC))
        if problems:  # it goes no farther
            callout.invalid(deal.opportunity.id, problems).model_dump_json(by_alias=True).encode()
            return
        order = compile_deal(deal, bench.rules)
        revision_of(deal)
        text = json.dumps(order.to_json())
        promise(Order.from_json(json.loads(text)).digest == order.digest, "an order changes when it is read again")
        promise(len(text) < ITEM_LIMIT // 3, f"an order of {len(text)} characters")
        answer = Result(opportunity_id=deal.opportunity.id, status="invalid", errors=errors_of(order.problems))
    json.loads(answer.model_dump_json(by_alias=True).encode())


def readable(content: Any) -> None:
    """A deal without lines, as far as it is looked at before it is read."""
    try:
        DealToRead.model_validate(content).model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    except ValueError as error:
        callout.invalid(None, problems_of(content, error)).model_dump_json(by_alias=True)  # type: ignore[arg-type]


def approved(content: Any) -> None:
    try:
        Approval.model_validate(content)
    except ValueError as error:
        said = "; ".join(str(problem) for problem in problems_of(content, error))  # type: ignore[arg-type]
        approvals.unknown(None, said).model_dump_json(by_alias=True)


# What Stigg, Salesforce and the user's own application answer

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
                customer_difference(found, order, settings.backlinks(customer))
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
    good: dict[str, Any] = {
        "query": {"totalSize": 1, "done": True, "records": [{"attributes": {"type": "Account"}, "Id": "001"}]},
        "count": {"totalSize": 7, "done": True, "records": []},
        "describe": {"fields": [{"name": "Id", "type": "id", "referenceTo": [], "relationshipName": None}]},
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
        "describe": lambda: client.describe("Account"),
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
        for found in reading.read([scene["deal"]], rows):
            if isinstance(found, Problem):
                callout.invalid(None, [found]).model_dump_json(by_alias=True)
            else:
                judged = callout.valid_deal(found)
                if not isinstance(judged, Result):
                    callout.compiled(judged)

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


# What closed-won wrote itself, and somebody else may have changed


def ledger_items(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    bench.table.clear()
    bench.post(event("/v1/provisionings", json.dumps({"deals": bench.deals})))
    items = [copy.deepcopy(item) for item in bench.table.items.values()]
    heads = [item for item in items if item["sk"]["S"] == "CUSTOMER"]
    opportunities = [item for item in items if item["sk"]["S"].startswith("OPPORTUNITY#")]
    orders = [item for item in items if item["sk"]["S"].startswith("ORDER#")]
    bench.table.clear()

    @st.composite
    def corrupt(draw: st.DrawFn) -> tuple[str, Any]:
        kind = draw(st.sampled_from(["head", "opportunity", "order", "export", "control"]))
        item = copy.deepcopy(draw(st.sampled_from({"head": heads, "opportunity": opportunities}.get(kind, orders))))
        if kind == "control":
            item = {"pk": {"S": "CONTROL"}, "sk": {"S": "CONTROL"}, "body": {"S": '{"mode": "run", "since": 0}'}}
        item["body"]["S"] = draw(json_texts(spoilt(st.just(json.loads(item["body"]["S"])))))
        if kind == "export":
            text = json.dumps({"Item": draw(spoilt(st.just(item)))}) if draw(st.booleans()) else draw(any_text)
            return kind, text.encode(errors="surrogatepass") + b' "ACCOUNT#'
        return kind, item

    def feed(given: tuple[str, Any]) -> None:
        kind, item = given
        match kind:
            case "head":
                customer_of("001", 1, item["body"]["S"], {})
            case "opportunity":
                customer_of("001", 1, heads[0]["body"]["S"], {"006": item["body"]["S"]})
            case "order":
                accepted_order(item)
            case "export":
                exported(item)
            case "control":
                table = MemoryTable()
                table.put_item(Item=item)
                Ledger("ledger", table).control()

    return corrupt(), feed


def snapshots(bench: Bench) -> tuple[Any, Callable[[Any], None]]:
    """The kept catalogue, damaged: it is read anew."""
    client = Stigg("https://api.stigg.io", Keys(), session=session_to(bench.stigg_app))
    good = json.loads(fetch_catalogue(client, 0).to_json())

    def feed(text: str) -> None:
        from closedwon.stigg.catalogue import kept_catalogue

        kept_catalogue(SimpleNamespace(snapshot=lambda: text), 1000)

    return json_texts(spoilt(st.just(good))), feed


def secrets() -> tuple[Any, Callable[[Any], None]]:
    good = {"apiKey": "server-1", "clientId": "c", "clientSecret": "s", "username": "u", "privateKey": "-----BEGIN"}

    def feed(text: str) -> None:
        client = SimpleNamespace(get_secret_value=lambda **_: {"SecretString": text})
        secret = Secret("arn", client)
        _, session = scripted()
        for use in (
            lambda: Stigg("https://api.stigg.io", secret, session=session).list_plans(),
            lambda: SalesforceClient("https://x.my.salesforce.com", secret, "66.0", session=session).query("SELECT Id"),
        ):
            with contextlib.suppress(ClosedWonError):
                use()

    some = spoilt(st.just(good)) | spoilt(
        st.just({name: good[name] for name in ("clientId", "username", "privateKey")})
    )
    return json_texts(some) | any_text, feed


def steps() -> tuple[Any, Callable[[Any], None]]:
    """What the state machines hand to functions, where somebody starts an execution with an input of their own."""
    from functions.reconcile_begin import app as reconcile_begin

    step = {"accountId": "0015g00000XyZaBAAV", "token": 0, "execution": "0015g00000XyZaBAAV-1"}
    run = reports.RUN.to_json()
    failure = {"Error": "StiggRefused", "Cause": json.dumps({"errorMessage": "no", "errorType": "StiggRefused"})}
    wish = {"mode": "all", "deep": False, "approved": False}

    def feed(given: tuple[str, Any]) -> None:
        kind, value = given
        match kind:
            case "step":
                Step.of(value)
            case "run":
                Run.of(value)
            case "failure":
                failure_text(value)
            case "wish":
                reconcile_begin.wanted(value)

    def some(kind: str, good: Any) -> Any:
        return st.tuples(st.just(kind), spoilt(st.just(good)) | any_value)

    texts = st.fixed_dictionaries({"Error": any_text, "Cause": json_texts(spoilt(st.just(failure)))})
    return st.one_of(
        some("step", step), some("run", run), some("wish", wish), st.tuples(st.just("failure"), texts)
    ), feed


def findings() -> tuple[Any, Callable[[Any], None]]:
    """The report, where what was found holds any text: nothing of it is markup or a formula."""
    good = reports.finding().to_json()
    repair = Repair("0015g00000XyZaBAAV", 1, (("0065g00000ABCdEAAX", "closed_won"),)).to_json()
    names = st.sampled_from(["words", "should", "is_now", "why", "customer_id", "subscription_id"])

    def feed(given: Mapping[str, str]) -> None:
        files = reports.Files()
        told = reports.report([Finding.from_json({**good, **given})], files=files)
        "".join(report_page.page(told, reports.PLACES)).encode()
        files.rows.encode()
        for line in files.lines.splitlines():
            json.loads(line)
        Repair.from_json(repair)

    return st.dictionaries(names, any_text, max_size=4), feed


# All of them


def differing(deal: Json) -> Json:
    """A deal as an amendment that says differences."""
    lines = [{**line, "priorQuantity": 3, "totalQuantity": 5} for line in deal["lines"]]
    return {
        **deal,
        "trigger": "amendment",
        "quantities": "differences",
        "amends": "8005g00000ABCdEAAX",
        "lines": lines,
    }


def attacks(bench: Bench) -> list[Attack]:
    """Every parser. Where a parser answers instead of raising, it has no designed error."""
    deal = st.sampled_from(bench.deals)
    without_lines = deal.map(lambda one: {**{k: v for k, v in one.items() if k != "lines"}, "trigger": "closed_won"})
    ends = deal.map(lambda one: {**one, "trigger": "cancellation", "amends": one["opportunity"]["id"]})
    amends = deal.map(differing)
    trials = deal.map(lambda one: {**one, "trigger": "trial", "terms": {"trialEnd": "2026-12-01"}})
    any_deal = deal | deal | ends | amends | trials
    bodies = st.lists(any_deal, min_size=1, max_size=3).map(lambda some: {"deals": some})
    read = without_lines.map(lambda one: {"deals": [one]})
    approval = {"organizationId": bench.organization_id, "opportunityId": "0065g00000ABCdEAAX", "approval": "abc123"}
    ids = any_text | st.sampled_from(["0065g00000ABCdEAAX", "0065g00000ABCdE"])

    def posts(path: str, some: Any) -> Any:
        return json_texts(spoilt(some)).map(lambda body: event(path, body))

    made: list[Any] = [
        ("callout", posts("/v1/provisionings", bodies), bench.post, (), 16.0),
        ("callout, to be read", posts("/v1/provisionings", read), bench.post, (), 4.0),
        ("callout, any body", json_texts(any_value).map(lambda b: event("/v1/provisionings", b)), bench.post, (), 4.0),
        ("preview", posts("/v1/previews", bodies), bench.post_preview, (), 3.0),
        ("approvals", posts("/v1/approvals", st.just({"approvals": [approval]})), bench.post_approvals, (), 4.0),
        ("status", st.fixed_dictionaries({"opportunityId": ids}), bench.get, (), 4.0),
        ("deal", spoilt(any_deal), lambda one: compiled(bench, one), (), 18.0),
        ("deal without lines", spoilt(without_lines), readable, (), 4.0),
        ("approval", spoilt(st.just(approval)), approved, (), 2.0),
        ("answers of Stigg", *stigg_answers(bench), (ClosedWonError,), 10.0),
        ("answers of Salesforce", *salesforce_answers(bench), (ClosedWonError,), 7.0),
        ("records of Salesforce", *salesforce_rows(bench), (ClosedWonError,), 7.0),
        ("results in bulk", *bulk_results(bench), (ClosedWonError,), 4.0),
        ("answers of the own application", *application_answers(), (ClosedWonError,), 4.0),
        ("items of the ledger", *ledger_items(bench), (ClosedWonError,), 4.0),
        ("kept catalogue", *snapshots(bench), (ClosedWonError,), 1.0),
        ("secrets", *secrets(), (ClosedWonError,), 1.0),
        ("inputs of steps", *steps(), (ClosedWonError,), 2.0),
        ("report", *findings(), (ClosedWonError,), 1.0),
    ]
    return [Attack(name, inputs, feed, designed, share) for name, inputs, feed, designed, share in made]
