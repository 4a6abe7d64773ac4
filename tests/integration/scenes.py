"""What the tests of the whole do and see: deals are sold and sent, time passes, things break, both sides are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from moto.core.exceptions import AWSError
from moto.stepfunctions.parser.models import StepFunctionsParserBackend

from closedwon.aws.ledger_items import text_of
from sandbox.in_process import InProcess
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

Json = dict[str, Any]
House = Sandbox | InProcess
"""Where a scene plays that tests neither AWS nor DynamoDB."""

ENTERPRISE = (
    Sold("plan-enterprise", 1, 48000),
    Sold("addon-extra-workspace", 2, 1200),
    Sold("feature-seats", 250),
)
"""What is sold where a test does not care."""

LIVE = ("ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING")

CUSTOMERS, SUBSCRIPTIONS, SUBSCRIPTION = (
    "/api/v1/customers",
    "/api/v1/subscriptions",
    "/api/v1/subscriptions/.+",
)
COMPOSITE = "/services/data/.*/composite"


# Selling


def sell(
    sandbox: House,
    account: str,
    *sold: Sold,
    name: str = "A deal",
    fields: Mapping[str, Any] = {},
    **more: Any,
) -> Json:
    """Win an opportunity. fields: of the opportunity; more: fields of the deal. Out: the deal as the flow sends it."""
    return sandbox.deal(sandbox.sales.close(account, name, *(sold or ENTERPRISE), **fields), **more)


def revised(deal: Json, later: int, **quantities: float) -> Json:
    """The deal as it reads some seconds later (or earlier); quantities: others, by Stigg ID with underscores."""
    revision: Json = json.loads(json.dumps(deal))
    second = (50 + later) % 60
    revision["opportunity"]["systemModstamp"] = f"2026-01-15T09:15:{second:02d}.000Z"
    revision["opportunity"]["readAt"] = f"2026-01-15T09:15:{second:02d}.500Z"
    for line in revision["lines"]:
        line["quantity"] = quantities.get(line["stiggId"].replace("-", "_"), line["quantity"])
    return revision


def call(sandbox: House, *deals: Json) -> list[Json]:
    """Send deals as Salesforce does. Out: what each was answered."""
    answer = sandbox.call(*deals)
    assert answer.status_code == 202, answer.text
    results: list[Json] = answer.json()["results"]
    return results


def provision(sandbox: House, *deals: Json) -> list[Json]:
    """Send deals and wait until nothing runs any more."""
    results = call(sandbox, *deals)
    sandbox.wait_until_idle()
    return results


def opportunity_of(deal: Json) -> str:
    return str(deal["opportunity"]["id"])


# Looking


def subscriptions(sandbox: House, customer_id: str, *, live: bool = True) -> list[Json]:
    """A customer's subscriptions in Stigg; with live=False those that ended too."""
    return [s for s in sandbox.stigg.subscriptions(customer_id) if s["status"] in LIVE or not live]


def limits(subscription: Json) -> dict[str, Any]:
    """What a subscription's own entitlements allow, by feature."""
    return {
        e["id"]: "unlimited" if e.get("hasUnlimitedUsage") else e.get("usageLimit")
        for e in subscription["entitlements"]
    }


def addons(subscription: Json) -> dict[str, int]:
    return {addon["id"]: addon["quantity"] for addon in subscription["addons"]}


def access(sandbox: House, customer_id: str) -> list[Json]:
    """What a customer stands for in Stigg, as far as deals decide it."""
    return [
        {
            "id": s["id"],
            "plan": s["planId"],
            "addons": addons(s),
            "limits": limits(s),
            "prices": {p.get("addonId"): p["amount"] for p in s["priceOverrides"]},
            "opportunities": set(s["metadata"].get("salesforceOpportunityIds", "").split(",")),
        }
        for s in subscriptions(sandbox, customer_id)
    ]


def shown(sandbox: House, deal: Json) -> tuple[str, str | None] | None:
    """Status and reason that Salesforce shows on a deal."""
    record = sandbox.provisioning(opportunity_of(deal))
    return None if record is None else (record["Status__c"], record["Reason__c"])


def status(sandbox: House, deal: Json) -> Json:
    """What GET tells of a deal."""
    answer = sandbox.status(opportunity_of(deal))
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


def executions(sandbox: Sandbox, since: int = 0) -> list[Json]:
    """The executions there are, oldest first, without the first `since`."""
    found: list[Json] = list(reversed(sandbox.aws.executions("ProvisionStateMachine")))
    return found[since:]


def failures(sandbox: Sandbox, execution: str) -> set[str]:
    """The names of the errors an execution met in its tasks, retried or not."""
    events = sandbox.aws.history(sandbox.execution_arn(execution))
    details = [event.get("lambdaFunctionFailedEventDetails") or event.get("taskFailedEventDetails") for event in events]
    return {told["error"] for told in details if told}


def stigg_requests(sandbox: House, method: str = ".*", path: str = ".*") -> int:
    return len(sandbox.stigg_server.asked(method, path))


def stigg_writes(sandbox: House) -> int:
    return stigg_requests(sandbox, "POST|PATCH|PUT|DELETE")


def everything(sandbox: House) -> Json:
    """Both sides, whole: what a deal that is refused must leave as it was."""
    return {
        "customers": sandbox.stigg.customers,
        "subscriptions": sandbox.stigg.subscriptions(),
        "accounts": sandbox.salesforce.find("Account"),
        "opportunities": sandbox.salesforce.find("Opportunity"),
        "provisionings": sandbox.salesforce.find("Stigg_Provisioning__c"),
    }


# Time, and the sweep


def head(sandbox: Sandbox, account: str) -> tuple[Json, Json]:
    """A customer's head in the ledger: the item, and its body."""
    key = {"pk": {"S": f"ACCOUNT#{account}"}, "sk": {"S": "CUSTOMER"}}
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
    return item, json.loads(text_of(item))


def put_head(sandbox: Sandbox, item: Json, body: Json) -> None:
    """Change a customer's head behind the ledger's back."""
    item = {**item, "body": {"S": json.dumps(body)}}
    sandbox.aws.client("dynamodb").put_item(TableName=sandbox.aws.resources["LedgerTable"], Item=item)


def due(sandbox: House, account: str) -> bool:
    """Whether something is left for the sweep to do, now or later."""
    if isinstance(sandbox, InProcess):
        return sandbox.due(account)
    return "due_at" in head(sandbox, account)[0]


def time_passes(sandbox: House, *accounts: str) -> None:
    """What waits for its time in the ledger has waited long enough: leases, backoffs, payments, starts."""
    if isinstance(sandbox, InProcess):
        return sandbox.time_passes(*accounts)
    for account in accounts:
        item, body = head(sandbox, account)
        assert "due_at" in item, "nothing waits"
        item["due_at"] = {"N": "1"}
        body["due_at"] = 1
        if body["look_again_at"] is not None:
            body["look_again_at"] = 1
        if body["lease"] is not None:
            owner, token, _, *rest = body["lease"]
            body["lease"] = [owner, token, 1, *rest]
        put_head(sandbox, item, body)


def sweep(sandbox: House) -> int:
    """Run the sweep and wait until nothing runs any more. Out: how many it started."""
    if isinstance(sandbox, InProcess):
        return sandbox.sweep()
    outcome = sandbox.aws.run_schedule("SweepFunctionSchedule")
    assert outcome.error_type is None, outcome.value()
    sandbox.wait_until_idle()
    return int(outcome.value()["started"])


# Breaking


@contextmanager
def no_execution_starts() -> Iterator[None]:
    """Step Functions takes no execution, as it does beyond its quota."""

    class ExecutionLimitExceeded(AWSError):  # type: ignore[misc]  # moto's is untyped
        TYPE = "ExecutionLimitExceeded"
        STATUS = 400

    def refuse(*_: Any, **__: Any) -> None:
        raise ExecutionLimitExceeded("the maximum number of running executions has been reached")

    with mock.patch.object(StepFunctionsParserBackend, "start_execution", refuse):
        yield


def seen(sandbox: House, what: Callable[[], bool]) -> None:
    """Wait until something is so."""
    sandbox.stigg_server.wait_for(what)
