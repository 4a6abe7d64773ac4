"""``closedwon connect``: whether Stigg tells the stack what changes, and what to click so that it does.

Stigg's REST API has no call that makes a webhook (its official SDK has none): it is made in Stigg's app, which shows
its secret once it is there.
"""

from __future__ import annotations

from collections.abc import Callable

from closedwon.aws.event_register import EventRegister, Way
from closedwon.domain.instants import from_milliseconds
from ops.checks import Checks
from ops.credentials import STORED, Fields, Vault, asking
from ops.stack import Stack

SECRET = "StiggEventsSecretArn"  # nosec B105 - the name of an output
EVENTS = "/v1/stigg-events"
NAMES = "all that begin with subscription, and customer.updated"


def look_at_events(checks: Checks, stack: Stack, offered: Callable[[Fields | None], Fields | None]) -> None:
    """In: as in `look_at_salesforce`. Without a webhook nothing is wrong: what changed is seen later."""
    checks.begin("Stigg's events")
    if SECRET not in stack.outputs:
        checks.skip("This stack is older than events: deploy it anew.")
        return
    with checks.going_on("Stigg's webhook"):
        look_at_webhook(checks, stack, Vault(stack, SECRET, plain=True), offered)
    with checks.going_on("Stigg's queue"):
        look_at_queue(checks, stack)


def look_at_webhook(
    checks: Checks, stack: Stack, vault: Vault, offered: Callable[[Fields | None], Fields | None]
) -> None:
    held = vault.read()
    new = offered(held)
    if new is not None and not usable(new.get("secret", "")):
        checks.bad("What was given is no secret of a webhook: 8 to 256 visible characters. Nothing was stored.")
        return
    if new is not None:
        vault.put(new)
        checks.ok(f"The webhook's secret is stored, {STORED}")
    if held is None and new is None:
        remedy = f"Make one as said below, and store its secret: {asking('--events', '--events-secret-file')}"
        checks.warn("No webhook of Stigg's is let in: there is no secret for it. Paid is shown an hour later", remedy)
        return
    remedy = "Stigg's app > Settings > Integrations > Webhooks > the event's menu > Send test event, then look again."
    tell_last(checks, stack, "WEBHOOK", "Stigg's webhook", remedy)


def look_at_queue(checks: Checks, stack: Stack) -> None:
    if stack.parameters.get("StiggEventQueueUrl"):
        remedy = f"See the log group /aws/lambda/{stack.name}-stigg-queue in CloudWatch."
        tell_last(checks, stack, "QUEUE", "Stigg's queue", remedy)


def tell_last(checks: Checks, stack: Stack, way: Way, what: str, remedy: str) -> None:
    last = register_of(stack).last(way)
    if last is None:
        checks.warn(f"{what} has told nothing yet", remedy)
    else:
        checks.ok(f"{what} told something last at {from_milliseconds(last):%Y-%m-%d %H:%M} UTC")


def register_of(stack: Stack) -> EventRegister:
    return stack.parts().event_register


def usable(secret: str) -> bool:
    """Whether API Gateway lets a secret through to the authorizer at all."""
    return 8 <= len(secret) <= 256 and all("!" <= character <= "~" for character in secret)


def clicks(stack: Stack) -> str:
    """What to click in Stigg's app so that it tells what changes."""
    return (
        "Stigg's app > Settings > Integrations > Webhooks > New webhook: the endpoint URL below; events to send: "
        f"{NAMES}. Open it: its secret goes into this stack with ./closedwon --stack {stack.name} connect --events."
    )
