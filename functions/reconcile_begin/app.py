"""reconcile_begin: enters a run of reconciliation, unless another is under way, and says how large it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import clients, metrics
from closedwon.domain.errors import RunInputInvalid
from closedwon.domain.instants import iso_utc
from closedwon.reconciliation import run_register, runs
from closedwon.reconciliation.run_register import Registered
from closedwon.reconciliation.runs import Mode, Run
from closedwon.salesforce.export_queries import Scope
from closedwon.salesforce.reading import salesforce
from closedwon.settings import trial_stages

logger = Logger()

OVERLAP = timedelta(minutes=15)
"""How far a run goes back before the last good one began: for transactions that were under way then, and clocks."""

DEALS_A_PARTITION = 2000
MOST_PARTITIONS = 400

SECRETS = {
    "CalloutKey": "CALLOUT_KEY_SECRET_ARN",
    "Stigg": "STIGG_SECRET_ARN",
    "Salesforce": "SALESFORCE_SECRET_ARN",
    "OwnApplication": "OWN_APPLICATION_SECRET_ARN",
}
"""The settings that name the stack's secrets; the last is empty where there is no such application."""


def begin(event: Mapping[str, Any]) -> Run:
    """The run of an execution. In: `input`, what the execution was started with; `execution`, its ARN; `startedAt`.

    Raises RunInputInvalid, RunUnderWay and what `closedwon.salesforce.client` does.
    """
    mode, deep, approved = wanted(event["input"])
    began = datetime.fromisoformat(event["startedAt"])
    execution = str(event["execution"])
    id = f"{began:%Y%m%dT%H%M%SZ}-{mode}-{hashlib.sha256(execution.encode()).hexdigest()[:8]}"
    day = began.date().isoformat()
    registered = run_register.enter(id, execution, day, os.environ.get("DEALS_SINCE", ""), is_under_way)
    since = changed_since(registered) if mode == "changed" else ""
    run = Run(
        id=id,
        mode=mode,
        deep=deep,
        approved=approved,
        since=since,
        started_at=iso_utc(began),
        deals_since=registered.deals_since,
        partitions=partitions_for(deals_in(Scope(since or None, trial_stages()))),
    )
    runs.put_partitions(run)
    return run


def wanted(given: Any) -> tuple[Mode, bool, bool]:
    """What an execution was started with: mode, deep, approved. Raises RunInputInvalid."""
    if not isinstance(given, dict):
        raise RunInputInvalid('the input must be an object, such as {"mode": "all"}')
    if unknown := sorted(set(given) - {"mode", "deep", "approved"}):
        raise RunInputInvalid(f"the input has no field {', '.join(unknown)}; there are mode, deep and approved")
    if given.get("mode") not in ("changed", "all"):
        raise RunInputInvalid('mode must be "changed" or "all"')
    for name in ("deep", "approved"):
        if not isinstance(given.get(name, False), bool):
            raise RunInputInvalid(f"{name} must be true or false")
    return given["mode"], given.get("deep", False), given.get("approved", False)


def changed_since(registered: Registered) -> str:
    """From when on changes count: from the last good run on, with an overlap; before the first one all of them, from
    the day on that deals are closed-won's business.
    """
    if not registered.last_good:
        return f"{registered.deals_since}T00:00:00Z"
    return iso_utc(datetime.fromisoformat(registered.last_good) - OVERLAP)


def deals_in(scope: Scope) -> int:
    """How many opportunities there are to look at."""
    return salesforce().count(f"SELECT COUNT() FROM Opportunity WHERE {scope.condition()}")  # nosec B608 - ours


def partitions_for(deals: int) -> int:
    """So many that each can be compared at once, and no more."""
    return min(max(1, -(-deals // DEALS_A_PARTITION)), MOST_PARTITIONS)


def is_under_way(execution: str) -> bool:
    """Whether an execution runs. One that Step Functions has forgotten does not."""
    client = stepfunctions()
    try:
        return bool(client.describe_execution(executionArn=execution)["status"] in ("RUNNING", "PENDING_REDRIVE"))
    except client.exceptions.ExecutionDoesNotExist:
        return False


@cache
def stepfunctions() -> Any:
    return clients.client("stepfunctions")


@cache
def secretsmanager() -> Any:
    return clients.client("secretsmanager", connect_timeout=2, read_timeout=5)


def measure_secrets() -> None:
    """Note how old the secrets are, here because this runs every hour. What cannot be read stops no run."""
    for name, variable in SECRETS.items():
        if not (arn := os.environ.get(variable)):
            continue
        try:
            changed = secretsmanager().describe_secret(SecretId=arn)["LastChangedDate"]
        except Exception:
            logger.exception("the secret's age is not known", extra={"secret": name})
        else:
            age = datetime.now(UTC) - changed
            metrics.note("SecretAgeDays", round(age / timedelta(days=1), 1), Secret=name)


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    measure_secrets()
    run = begin(event)
    logger.info("begun", extra=run.to_json())
    return run.to_json()
