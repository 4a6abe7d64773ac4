"""Notices to engineering about causes that only it can remove: one for each cause, however many deals fail.

What sales can correct is on the deal in Salesforce. A key that is not accepted, a secret without its field or a bug
fails every deal alike: the first execution that fails of such a cause claims it in the ledger's table, by one
conditional write, and publishes one message; the others say nothing for `QUIET` seconds. A notice that cannot be sent
never fails the step that sends it.

| pk | sk | what |
|---|---|---|
| ``NOTICE#<cause>`` | ``NOTICE`` | since, again: epoch seconds, first sent and when it may be sent again; expires |
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from closedwon.aws import clients
from closedwon.domain import errors
from closedwon.domain.links import execution_url
from closedwon.settings import setting

QUIET = 21_600
"""Seconds for which no second notice of a cause is sent: six hours."""

SUBJECT = 100
"""The most characters of a subject (SNS, API reference: Publish)."""

WHAT_TO_DO = {
    "StiggUnauthorized": "Stigg does not accept the API key, or the key lacks a scope. Make one with full access in "
    "Stigg and put it into the Stigg secret (stack output StiggSecretArn).",
    "SalesforceUnauthorized": "Salesforce does not accept the credentials. Look at the external client app and its "
    "user in Salesforce, and at the Salesforce secret (stack output SalesforceSecretArn).",
    "SecretInvalid": "Correct the secret that the message names (stack outputs StiggSecretArn, SalesforceSecretArn, "
    "OwnApplicationSecretArn).",
    "SettingMissing": "The deployment is incomplete: deploy the stack again with the setting that the message names.",
    "SalesforceRefused": "Salesforce refuses what closed-won writes there. Look at the permission set, the package's "
    "version, and validation rules and flows on the objects it writes.",
    "SalesforceLimitExceeded": "The organisation's API calls of 24 hours are used up. See who uses them (Setup, System "
    "Overview), or buy more; closed-won goes on when there are some again.",
    "StiggRefused": "Stigg refuses what closed-won asks. The message holds Stigg's reason.",
    "CustomerTaken": "The customer's ID in Stigg is linked to another Salesforce account. Say in Stigg whose it is.",
}
"""What to do, by cause, for the people who operate the stack; other causes are unexpected."""

UNEXPECTED = (
    "closed-won does not know this error. The function's log has the traceback; it may be a bug: please report it."
)


@dataclass(frozen=True)
class Failure:
    """What failed. cause: the error's class name; said: a sentence that is safe to show; execution: its name, and arn
    where it is known; deals: how many deals of this customer wait until it is corrected.
    """

    cause: str
    said: str
    execution: str
    arn: str
    deals: int


def is_for_engineering(cause: str) -> bool:
    """Whether a failure is worth a notice: not one that passes by itself, nor one that the deal itself shows."""
    known = getattr(errors, cause, None)
    passing = isinstance(known, type) and issubclass(known, errors.Transient)
    return not passing and cause != "DealRefused"


class Notices:
    """The claims of causes, so that each is sent once.

    In: the ledger's table; a boto3 DynamoDB client; clock, epoch seconds.
    """

    def __init__(self, table: str, client: Any, clock: Callable[[], int] = lambda: int(time.time())) -> None:
        self._table = table
        self._client = client
        self._clock = clock

    def claim(self, cause: str) -> int | None:
        """Claim the right to send a notice of a cause.

        Out: since when the cause has stood, in epoch seconds; None where somebody has claimed it, which costs one
        refused write.
        """
        now = self._clock()
        anew = "attribute_not_exists(again) OR again < :before"
        there = self._put(cause, "since = :now, ", now, now + QUIET, anew, before=now - QUIET)
        if there is None:
            return now
        again, since = (int(there[name]["N"]) for name in ("again", "since"))
        if again > now:
            return None
        # Its quiet time ended less than another one ago: it is the same incident, so `since` stays.
        return since if self._put(cause, "", now, now + QUIET, "again = :before", before=again) is None else None

    def release(self, cause: str) -> None:
        """Give a claim back: the notice could not be sent, so the next failure may try."""
        now = self._clock()
        self._put(cause, "", now, now, "again > :before", before=now)

    def _put(self, cause: str, more: str, now: int, again: int, condition: str, before: int) -> dict[str, Any] | None:
        """Write a claim on a condition. Out: None where it was written, else the item that is there."""
        values = {":again": again, ":expires": again + QUIET, ":before": before, **({":now": now} if more else {})}
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"NOTICE#{cause}"}, "sk": {"S": "NOTICE"}},
                UpdateExpression=f"SET {more}again = :again, expires = :expires",
                ConditionExpression=condition,
                ExpressionAttributeValues={name: {"N": str(value)} for name, value in values.items()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as refused:
            there: dict[str, Any] = refused.response.get("Item", {})
            return there
        return None


def subject(failure: Failure, stack: str) -> str:
    """The subject of the message: SNS takes one line of ASCII."""
    said = f"closed-won ({stack}): deals fail, {failure.cause}".encode("ascii", "replace").decode()
    return said if len(said) <= SUBJECT else f"{said[: SUBJECT - 3]}..."


def message(failure: Failure, stack: str, since: int, customers: int, zone: ZoneInfo) -> str:
    """What happened, since when, how much waits, what to do.

    In: the failure; the stack's name; since when, in epoch seconds; how many customers are due within the hour;
    the zone in which times are shown.
    """
    told = datetime.fromtimestamp(since, zone)
    replayed = datetime.fromtimestamp(since - 60, UTC)  # the first failure was recorded before its notice
    waiting = f"{failure.deals} {'deal' if failure.deals == 1 else 'deals'} of the customer that failed now"
    waiting += f"; customers due within the hour, for this or another reason: {customers}"
    lines = [
        f"Deals cannot be provisioned: {errors.safe_text(failure.said)}",
        "",
        f"Cause:     {failure.cause}",
        f"Since:     {told:%Y-%m-%d %H:%M} ({zone.key})",
        f"Waiting:   {waiting}",
        f"Execution: {execution_url(failure.arn) if failure.arn else failure.execution}",
        "",
        WHAT_TO_DO.get(failure.cause, UNEXPECTED),
        "",
        "Nothing is lost: closed-won tries each of them again by itself, every hour at the latest. To have all of them",
        "tried at once when this is mended:",
        f"  ./closedwon --stack {stack} replay --failed-since {replayed:%Y-%m-%dT%H:%M:%SZ}",
        "",
        f"See docs/runbook.md#provisioningfailedalarm. While it stands, this is told every {QUIET // 3600} hours.",
    ]
    return "\n".join(lines) + "\n"


@cache
def notices() -> Notices:
    return Notices(setting("LEDGER_TABLE"), clients.dynamodb())


@cache
def sns() -> Any:
    retries = {"mode": "standard", "total_max_attempts": 2}
    return clients.client("sns", connect_timeout=2, read_timeout=5, retries=retries)


def notify(failure: Failure, customers: Callable[[], int]) -> bool:
    """Send a notice to the topic's subscribers, unless this cause was sent lately. Out: whether it was sent.

    customers: counts the customers that are due within the hour; called only where a notice is sent.
    """
    topic = os.environ.get("NOTIFICATION_TOPIC")
    if not topic or not is_for_engineering(failure.cause):
        return False
    since = notices().claim(failure.cause)
    if since is None:
        return False
    stack = setting("STACK_NAME")
    try:
        sns().publish(
            TopicArn=topic,
            Subject=subject(failure, stack),
            Message=message(failure, stack, since, customers(), ZoneInfo(setting("TIME_ZONE"))),
            MessageAttributes={"cause": {"DataType": "String", "StringValue": failure.cause}},
        )
    except Exception:
        notices().release(failure.cause)
        raise
    return True
