"""``closedwon connect``: what is right and wrong with the stack itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from closedwon.words.counted import counted
from ops.checks import Checks
from ops.connect_stigg import NO_OPPORTUNITY
from ops.stack import Chosen, Stack

SWEPT_MINUTES = 15
"""How far back the sweep is looked for: it runs every minute, and CloudWatch tells it with some delay."""

GOOD_STATES = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


def look_at_stack(checks: Checks, stack: Stack) -> bool:
    """Whether there is a stack to go on with."""
    checks.begin("AWS")
    found = False
    with checks.going_on("The stack"):
        state = str(stack.described["StackStatus"])
        where = f"stack {stack.name} in account {stack.account}, {stack.region}"
        if state in GOOD_STATES:
            checks.ok(f"Logged in; {where}: {state}")
        # What was deployed before is complete again and runs.
        elif state == "UPDATE_ROLLBACK_COMPLETE":
            checks.warn(
                f"Logged in; {where}: {state}", "The last update was undone: its events in CloudFormation say why."
            )
        else:
            checks.bad(f"{where} is {state}", "Wait until it is complete, or see its events in CloudFormation.")
        found = True  # in whatever state: the rest can be looked at
    return found


def look_at_callout(checks: Checks, chosen: Chosen) -> None:
    checks.begin("closed-won")
    api, path = chosen.api, f"/v1/provisionings/{NO_OPPORTUNITY}"
    with checks.going_on("The callout"):
        # Without a key first: an API that lets everybody in would pass the second test.
        status, _ = api.looks(path, with_key=False)
        if status in (401, 403):  # without the header API Gateway answers 401 by itself
            checks.ok("The callout refuses who has no key")
        else:
            checks.bad(f"The callout answered {status} to a request without a key", "See the API's log in CloudWatch.")
        status, message = api.looks(path)
        if status == 404 and message:  # closed-won says what it does not know
            checks.ok(f"The callout takes the key: {api.url}")
        elif status in (401, 403):
            remedy = "A changed key is known within five minutes; with --key, that one is tried."
            checks.bad("The callout does not take the key", remedy)
        else:
            checks.bad(f"What answers at {api.url} (HTTP {status}) is not closed-won", "Deploy the stack again.")


def look_at_sweep(checks: Checks, stack: Stack) -> None:
    with checks.going_on("The sweep"):
        runs, failed = invocations(stack, "Invocations"), invocations(stack, "Errors")
        if not runs:
            remedy = "It runs every minute, which AWS tells some minutes later: look again soon."
            checks.warn(f"The sweep was not seen to run in the last {SWEPT_MINUTES} minutes", remedy)
        elif failed:
            remedy = f"See the log group /aws/lambda/{stack.name}-sweep in CloudWatch."
            checks.warn(
                f"The sweep failed {failed} of {counted(runs, 'time')} in the last {SWEPT_MINUTES} minutes", remedy
            )
        else:
            checks.ok(f"The sweep ran {counted(runs, 'time')} in the last {SWEPT_MINUTES} minutes")


def invocations(stack: Stack, metric: str) -> int:
    now = datetime.now(UTC)
    # Lambda's own metrics: a function that does not run writes none.
    found = stack.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName=metric,
        Dimensions=[{"Name": "FunctionName", "Value": stack.physical("SweepFunction")}],
        StartTime=now - timedelta(minutes=SWEPT_MINUTES),
        EndTime=now,
        Period=60,
        Statistics=["Sum"],
    )
    return sum(round(point["Sum"]) for point in found["Datapoints"])


def look_at_topics(checks: Checks, stack: Stack) -> None:
    # Both may be empty, so a stack without them deploys, and nobody would notice.
    for parameter, when in (("AlarmTopic", "when something fails"), ("NotificationTopic", "what reconciliation finds")):
        if stack.parameters.get(parameter):
            checks.ok(f"{parameter}: {stack.parameters[parameter]}")
        else:
            remedy = f"Deploy with {parameter}, the ARN of an SNS topic that somebody subscribed to."
            checks.warn(f"Nobody is told {when}: {parameter} is empty", remedy)
