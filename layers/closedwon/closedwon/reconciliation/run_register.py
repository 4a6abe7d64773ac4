"""The register of runs: one item of the ledger's table, so that one run is under way at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from closedwon.aws import clients
from closedwon.domain.errors import RunUnderWay
from closedwon.reconciliation.runs import Run
from closedwon.settings import setting


class Registered(NamedTuple):
    """What the register says. last_good: when the last good run began, an ISO instant, "" before the first.
    deals_since: the date of the first deals that are closed-won's business.
    """

    last_good: str
    deals_since: str


def enter(run_id: str, execution: str, today: str, deals_since: str, under_way: Callable[[str], bool]) -> Registered:
    """Enter a run into the register, unless another is under way. Entering it again changes nothing.

    In: the run's ID; its execution's ARN; its day; since when deals count, "" for what the register says, or today
    where it says nothing; whether an execution is still under way: one that was aborted or died holds up nobody.
    Raises RunUnderWay.
    """
    key = {"pk": {"S": "RECONCILIATION"}, "sk": {"S": "RUN"}}
    table = setting("LEDGER_TABLE")
    known = clients.dynamodb().get_item(TableName=table, Key=key, ConsistentRead=True).get("Item", {})
    holder = known.get("execution", {}).get("S")
    if holder is not None and holder != execution and under_way(holder):
        raise RunUnderWay(f"another run is under way: {known['run']['S']}")
    since = deals_since or known.get("deals_since", {}).get("S") or today
    values = {":run": {"S": run_id}, ":execution": {"S": execution}, ":since": {"S": since}}
    try:
        clients.dynamodb().update_item(
            TableName=table,
            Key=key,
            UpdateExpression="SET run = :run, execution = :execution, deals_since = :since",
            ConditionExpression="execution = :holder" if holder else "attribute_not_exists(execution)",
            ExpressionAttributeValues={**values, ":holder": {"S": holder}} if holder else values,
        )
    except clients.dynamodb().exceptions.ConditionalCheckFailedException:
        raise RunUnderWay("another run has just begun") from None
    return Registered(known.get("last_good", {}).get("S", ""), since)


class Register(NamedTuple):
    """What the register holds. run: the ID of the last run that was entered; execution: its ARN while it is entered.
    Each is "" where there is none, and so are the others, as in `Registered`.
    """

    run: str = ""
    execution: str = ""
    last_good: str = ""
    deals_since: str = ""


def register() -> Register:
    """Read the register."""
    key = {"pk": {"S": "RECONCILIATION"}, "sk": {"S": "RUN"}}
    known = clients.dynamodb().get_item(TableName=setting("LEDGER_TABLE"), Key=key, ConsistentRead=True).get("Item", {})
    return Register(*(known.get(name, {}).get("S", "") for name in Register._fields))


def finish(run: Run, good: bool) -> None:
    """Strike a run from the register, and remember a good one: the next one in mode ``changed`` goes on from there.

    In: the run; whether it looked at everything it was to look at. Nothing happens where it is not the one entered.
    """
    values = {":run": {"S": run.id}}
    change = "REMOVE execution"
    if good:
        change += " SET last_good = :began"
        values[":began"] = {"S": run.started_at}
    try:
        clients.dynamodb().update_item(
            TableName=setting("LEDGER_TABLE"),
            Key={"pk": {"S": "RECONCILIATION"}, "sk": {"S": "RUN"}},
            UpdateExpression=change,
            ConditionExpression="run = :run AND attribute_exists(execution)",
            ExpressionAttributeValues=values,
        )
    except clients.dynamodb().exceptions.ConditionalCheckFailedException:
        return
