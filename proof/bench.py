"""The product in this process, without a network: what the parsers are fed on.

The API's handlers run over a table in memory that is as strict as DynamoDB, and the product's own clients are answered
with whatever was made up.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import json
import logging
import os
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest import mock

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse

from benchmarks.table import MemoryTable
from closedwon.aws.ledger import Ledger
from closedwon.intake.mapping import MappingRules
from closedwon.salesforce.client import SalesforceClient
from closedwon.stack import Stack
from closedwon.stigg.client import Stigg
from sandbox.flow import deal_of
from sandbox.sales import Sales, Sold
from sandbox.salesforce.app import Salesforce as SalesforceApp
from sandbox.sandbox import ROOT, packaged_configuration
from sandbox.stigg.app import Stigg as StiggApp
from sandbox.wsgi_session import InProcess, session_to

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
        promise(isinstance(text, bytes if kind == "B" else str), "a value that is no text, and no binary one")
        promise(kind != "N" or len(text) <= 38, f"a number of {len(text)} digits")
        size += len(name) + len(text if kind == "B" else text.encode())
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
        }
        of_the_process = {
            "POWERTOOLS_SERVICE_NAME": "closed-won",
            "POWERTOOLS_METRICS_NAMESPACE": "ClosedWon",
            "LOG_LEVEL": "CRITICAL",
            "STACK_NAME": "proof",
        }
        enter = self._exits.enter_context
        enter(mock.patch.dict(os.environ, of_the_process))
        logging.disable(logging.CRITICAL)
        self._exits.callback(logging.disable, logging.NOTSET)
        stack = self.stack = Stack(environment)
        stack.ledger = self.ledger
        stack.quick_salesforce = SalesforceClient(
            environment["SALESFORCE_URL"], Keys(), "66.0", session=session_to(self.salesforce_app)
        )
        stack.quick_stigg = Stigg("https://api.stigg.io", Keys(), session=session_to(self.stigg_app))
        rate_slots = SimpleNamespace(
            rate_slots=lambda count, *_: (0,) * count, book=lambda orders: _Booked(orders), give_back=lambda *_: None
        )
        stack.governor, stack.start = cast(Any, rate_slots), cast(Any, lambda claim: None)
        self.flow_callout, self.preview = function_of("flow_callout"), function_of("preview")
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
            context = SimpleNamespace(get_remaining_time_in_millis=lambda: 29_000)
            answer: Json = function.lambda_handler(event, context, self.stack)
        promise(isinstance(json.loads(answer["body"].encode()), dict), "the answer is no JSON object")
        return answer


class _Booked:
    """Rate slots at once, for whoever asks."""

    def __init__(self, orders: Mapping[str, Any]) -> None:
        self.starts = dict.fromkeys(orders, 0)


def function_of(name: str) -> ModuleType:
    """A function's app.py, as Lambda loads it."""
    spec = importlib.util.spec_from_file_location(f"hostile_{name}", ROOT / "functions" / name / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def event(path: str, body: Any) -> Json:
    return {"httpMethod": "POST", "resource": path, "body": body, "pathParameters": None, "headers": {}}
