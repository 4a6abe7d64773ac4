"""Telling engineering of what only it can mend: once for each cause, however many deals fail of it.

What sales can mend is on the deal in Salesforce. A key that is not accepted, a secret without its field or a bug fails
every deal alike: whoever meets such a cause first claims it in the ledger's table, by one conditional write, and
publishes one message; the others are quiet for `QUIET`. A notice never fails what it tells of.

| pk | sk | what |
|---|---|---|
| ``NOTICE#<cause>`` | ``NOTICE`` | since and again, epoch seconds: told first, and when it may be told again; expires |
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from closedwon.domain import errors
from closedwon.domain.links import execution_url

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
    "SettingMissing": "The deployment is not whole: deploy the stack again with the setting that the message names.",
    "SalesforceRefused": "Salesforce refuses what closed-won writes there. Look at the permission set, the package's "
    "version, and validation rules and flows on the objects it writes.",
    "SalesforceLimitExceeded": "The organisation's API calls of 24 hours are used up. See who uses them (Setup, System "
    "Overview), or buy more; closed-won goes on when there are some again.",
    "StiggRefused": "Stigg refuses what closed-won asks. The message holds Stigg's reason.",
    "CustomerTaken": "The customer's ID in Stigg is linked to another Salesforce account. Say in Stigg whose it is.",
}
"""By cause, for people who run the stack; other causes are unexpected."""

UNEXPECTED = (
    "This is nothing closed-won knows. The function's log has the traceback; it may be a bug: please report it."
)


@dataclass(frozen=True)
class Failure:
    """What failed. cause: the error's class name; said: a sentence that is safe to show; execution: its name, and arn
    where it is known; deals: how many deals of this customer wait for it to be mended.
    """

    cause: str
    said: str
    execution: str
    arn: str
    deals: int


def is_for_engineering(cause: str) -> bool:
    """Whether a failure is told: not what passes by itself, nor what is on the deal."""
    known = getattr(errors, cause, None)
    passing = isinstance(known, type) and issubclass(known, errors.Transient)
    return not passing and cause != "DealRefused"  # a bug has no class in `errors`, and is told


class Notices:
    """Who was told of what.

    In: the ledger's table; a boto3 DynamoDB client; clock, epoch seconds.
    """

    def __init__(self, table: str, client: Any, clock: Callable[[], int] = lambda: int(time.time())) -> None:
        self._table = table
        self._client = client
        self._clock = clock

    def claim(self, cause: str) -> int | None:
        """Claim the right to tell of a cause. Out: since when it has stood, in epoch seconds; None where it was told
        already, which is one refused write.
        """
        now = self._clock()
        # Not heard of for so long after it could be told again, it is another occurrence, with another since.
        anew = "attribute_not_exists(again) OR again < :before"
        there = self._put(cause, "since = :now, ", now, now + QUIET, anew, before=now - QUIET)
        if there is None:
            return now
        again, since = (int(there[name]["N"]) for name in ("again", "since"))
        if again > now:
            return None
        # It was told lately, and still stands. On what was read: of several that see the quiet end, one tells.
        return since if self._put(cause, "", now, now + QUIET, "again = :before", before=again) is None else None

    def release(self, cause: str) -> None:
        """Give a claim back: nobody could be told."""
        now = self._clock()
        # Since stays: when it is told at last, the cause has stood from the first failure on.
        self._put(cause, "", now, now, "again > :before", before=now)

    def _put(self, cause: str, more: str, now: int, again: int, condition: str, before: int) -> dict[str, Any] | None:
        """Out: None where it was written, else what is there."""
        # Kept past the quiet, so that `since` survives it. DynamoDB refuses a value that no expression uses.
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
    """ASCII, one line."""
    # SNS refuses a subject with line breaks or anything but ASCII.
    said = f"closed-won ({stack}): deals fail, {failure.cause}".encode("ascii", "replace").decode()
    return said if len(said) <= SUBJECT else f"{said[: SUBJECT - 3]}..."


def message(failure: Failure, stack: str, since: int, customers: int, zone: ZoneInfo) -> str:
    """What happened, since when, how much waits, what to do.

    In: the failure; the stack's name; since when, in epoch seconds; how many customers are due within the hour;
    the zone in which times are told.
    """
    told = datetime.fromtimestamp(since, zone)
    replayed = datetime.fromtimestamp(since - 60, UTC)  # the first failure was recorded before it was told
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


class Notifier:
    """Tells who subscribed.

    In: who was told of what; what gives a client of SNS; the topic's ARN, "" where nobody is told; the stack's name;
    the time zone in which times are told.
    """

    def __init__(self, notices: Notices, sns: Callable[[], Any], topic: str, stack: str, time_zone: str) -> None:
        self._notices = notices
        self._sns = sns
        self._topic = topic
        self._stack = stack
        self._zone = ZoneInfo(time_zone)

    def notify(self, failure: Failure, customers: Callable[[], int]) -> bool:
        """Send a notice to the topic's subscribers, unless this cause was sent lately. Out: whether it was sent.

        customers: counts the customers that are due within the hour; called only where a notice is sent.
        """
        # Without a topic nothing is claimed: a topic that is added later gets the next failure.
        if not self._topic or not is_for_engineering(failure.cause):
            return False
        since = self._notices.claim(failure.cause)
        if since is None:
            return False
        try:
            self._sns().publish(
                TopicArn=self._topic,
                Subject=subject(failure, self._stack),
                Message=message(failure, self._stack, since, customers(), self._zone),
                MessageAttributes={"cause": {"DataType": "String", "StringValue": failure.cause}},
            )
        except Exception:
            # Unreleased, a message that SNS refused would silence the cause for six hours.
            self._notices.release(failure.cause)
            raise
        return True
