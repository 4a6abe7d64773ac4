"""reconcile_begin: registers a run of reconciliation, unless another is under way, and counts what it will compare."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.errors import RunInputInvalid
from closedwon.domain.instants import from_milliseconds, iso_utc
from closedwon.reconciliation.run_register import Registered
from closedwon.reconciliation.runs import Mode, Run
from closedwon.salesforce.export_queries import Scope
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context
    from closedwon.salesforce.client import SalesforceClient

logger = Logger()

OVERLAP = timedelta(minutes=15)
"""How far before the last good run a run starts: for transactions that were open then, and for clocks that differ."""

DEALS_A_PARTITION = 2000
# Not more, because an export holds up to a block (64 KB) of each in memory.
MOST_PARTITIONS = 400

SECRETS = {
    "CalloutKey": "CALLOUT_KEY_SECRET_ARN",
    "Stigg": "STIGG_SECRET_ARN",
    "StiggEvents": "STIGG_EVENTS_SECRET_ARN",
    "Salesforce": "SALESFORCE_SECRET_ARN",
    "OwnApplication": "OWN_APPLICATION_SECRET_ARN",
}
"""The settings that name the stack's secrets; the last is empty where there is no such application."""


def begin(event: Mapping[str, Any], stack: Stack) -> Run:
    """The run of an execution. In: `input`, what the execution was started with; `execution`, its ARN; `startedAt`.

    Raises RunInputInvalid, RunUnderWay and what `closedwon.salesforce.client` does.
    """
    mode, deep, approved = wanted(event["input"])
    began = datetime.fromisoformat(event["startedAt"])
    execution = str(event["execution"])
    # Made of what the execution is known by, so that a retry of this step enters the same run, not a second one.
    id = f"{began:%Y%m%dT%H%M%SZ}-{mode}-{hashlib.sha256(execution.encode()).hexdigest()[:8]}"
    day = began.date().isoformat()

    def under_way(other: str) -> bool:
        return is_under_way(other, stack.stepfunctions)

    # Before anything is counted: a run that finds another under way costs Salesforce no call.
    registered = stack.register.enter(id, execution, day, stack.settings.get("DEALS_SINCE"), under_way)
    since = changed_since(registered) if mode == "changed" else ""
    deals = deals_in(Scope(since or None, stack.settings.trial_stages), stack.quick_salesforce)
    run = Run(
        id=id,
        mode=mode,
        deep=deep,
        approved=approved,
        since=since,
        # The beginning: what changes while the run goes on is looked at by the next one.
        started_at=iso_utc(began),
        deals_since=registered.deals_since,
        partitions=partitions_for(deals),
    )
    stack.storage.put_partitions(run)
    return run


def wanted(given: Any) -> tuple[Mode, bool, bool]:
    """The checked input of an execution: mode, deep, approved. Raises RunInputInvalid."""
    if not isinstance(given, dict):
        raise RunInputInvalid('the input must be an object, such as {"mode": "all"}')
    if unknown := sorted(set(given) - {"mode", "deep", "approved"}):
        raise RunInputInvalid(f"the input has no field {', '.join(unknown)}; there are mode, deep and approved")
    if given.get("mode") not in ("changed", "all"):
        raise RunInputInvalid('mode must be "changed" or "all"')
    for name in ("deep", "approved"):
        # The text "false" would count as true.
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


def deals_in(scope: Scope, salesforce: SalesforceClient) -> int:
    """How many opportunities the run will compare."""
    return salesforce.count(f"SELECT COUNT() FROM Opportunity WHERE {scope.condition()}")  # nosec B608 - ours


def partitions_for(deals: int) -> int:
    """The number of partitions: so many that one function can compare each in one invocation."""
    return min(max(1, -(-deals // DEALS_A_PARTITION)), MOST_PARTITIONS)


def is_under_way(execution: str, client: Any) -> bool:
    """Whether an execution runs, by a boto3 Step Functions client. One that Step Functions has forgotten does not."""
    try:
        return bool(client.describe_execution(executionArn=execution)["status"] in ("RUNNING", "PENDING_REDRIVE"))
    except client.exceptions.ExecutionDoesNotExist:
        return False


def measure_secrets(stack: Stack) -> None:
    """Note how old the secrets are, here because this runs every hour. What cannot be read stops no run."""
    for name, variable in SECRETS.items():
        if not (arn := stack.settings.get(variable)):
            continue
        try:
            told = stack.secretsmanager.describe_secret(SecretId=arn)
            if not told.get("VersionIdsToStages"):  # nobody ever gave it a value: nothing has an age
                continue
            changed = told["LastChangedDate"]
        except Exception:
            logger.exception("the secret's age is not known", extra={"secret": name})
        else:
            age = from_milliseconds(stack.now()) - changed
            metrics.note("SecretAgeDays", round(age / timedelta(days=1), 1), Secret=name)


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    measure_secrets(stack)
    run = begin(event, stack)
    logger.info("begun", extra=run.to_json())
    return run.to_json()
