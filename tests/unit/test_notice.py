"""Engineering is told once of each cause, however many deals fail of it, and nothing private; against moto."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from closedwon.aws import notices
from closedwon.aws.notices import QUIET, Failure, Notices, Notifier, is_for_engineering
from closedwon.stack import Stack
from unit.aws import make_ledger, make_topic, told

ARN = "arn:aws:states:eu-central-1:123456789012:execution:provision:006A-1-1"
UNAUTHORIZED = Failure("StiggUnauthorized", "Stigg read customer: the API key is not accepted (HTTP 401)", "a", ARN, 2)


@pytest.fixture(autouse=True)
def topic() -> Iterator[str]:
    """A ledger's table, and a topic whose messages go to a queue."""
    with mock_aws():
        make_ledger(boto3.client("dynamodb"))
        yield make_topic()


@pytest.fixture
def notifier(topic: str) -> Notifier:
    return notifier_of(topic)


def notifier_of(topic: str) -> Notifier:
    environment = {"LEDGER_TABLE": "ledger", "STACK_NAME": "prod", "TIME_ZONE": "Europe/Berlin"}
    return Stack({**environment, "NOTIFICATION_TOPIC": topic}).notifier


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1_795_000_000

    def __call__(self) -> int:
        return self.now


def test_of_one_cause_people_are_told_once_and_of_another_again(notifier: Notifier) -> None:
    for deal in range(5):
        assert notifier.notify(UNAUTHORIZED, lambda: 17) is (deal == 0)
    assert notifier.notify(Failure("SettingMissing", "the setting X is missing", "b", ARN, 1), lambda: 17)
    assert sorted(one["MessageAttributes"]["cause"]["Value"] for one in told()) == [
        "SettingMissing",
        "StiggUnauthorized",
    ]


def test_the_message_says_what_happened_since_when_what_waits_and_what_to_do() -> None:
    text = notices.message(UNAUTHORIZED, "prod", 1_795_000_000, 17, ZoneInfo("Europe/Berlin"))
    assert text.splitlines() == [
        "Deals cannot be provisioned: Stigg read customer: the API key is not accepted (HTTP 401)",
        "",
        "Cause:     StiggUnauthorized",
        "Since:     2026-11-18 12:06 (Europe/Berlin)",
        "Waiting:   2 deals of the customer that failed now; customers due within the hour, for this or another "
        "reason: 17",
        "Execution: https://eu-central-1.console.aws.amazon.com/states/home?region=eu-central-1"
        f"#/v2/executions/details/{ARN}",
        "",
        "Stigg does not accept the API key, or the key lacks a scope. Make one with full access in Stigg and put it "
        "into the Stigg secret (stack output StiggSecretArn).",
        "",
        "Nothing is lost: closed-won tries each of them again by itself, every hour at the latest. To have all of them",
        "tried at once when this is mended:",
        "  ./closedwon --stack prod replay --failed-since 2026-11-18T11:05:40Z",
        "",
        "See docs/runbook.md#provisioningfailedalarm. While it stands, this is told every 6 hours.",
    ]
    assert notices.subject(UNAUTHORIZED, "prod") == "closed-won (prod): deals fail, StiggUnauthorized"
    assert len(notices.subject(Failure("E" * 200, "", "", "", 0), "prod")) == 100


def test_nothing_private_is_in_it() -> None:
    failure = Failure("StiggRefused", "Stigg: ada@example.com is taken\nby bob@example.com", "e", "", 1)
    text = notices.message(failure, "prod", 0, 0, ZoneInfo("UTC"))
    assert "@example.com" not in text
    assert text.startswith("Deals cannot be provisioned: Stigg: ***@*** is taken by ***@***\n")


def test_what_passes_by_itself_or_is_on_the_deal_is_told_to_nobody(notifier: Notifier) -> None:
    mended_by_engineering = {"StiggUnauthorized", "SecretInvalid", "SettingMissing", "SalesforceRefused", "KeyError"}
    others = {"StiggUnavailable", "StiggThrottled", "WriteUnanswered", "LedgerContended", "DealRefused"}
    assert {cause for cause in mended_by_engineering | others if is_for_engineering(cause)} == mended_by_engineering
    assert not notifier.notify(Failure("StiggUnavailable", "", "", "", 1), lambda: 0)
    assert told() == []


def test_what_still_stands_after_six_hours_is_told_again_with_when_it_began() -> None:
    clock = Clock()
    began = clock.now
    kept = Notices("ledger", boto3.client("dynamodb"), clock)
    assert kept.claim("KeyError") == began
    clock.now += QUIET - 1
    assert kept.claim("KeyError") is None
    clock.now += 2
    assert kept.claim("KeyError") == began
    assert kept.claim("KeyError") is None
    clock.now += 2 * QUIET + 1  # it was mended, and is here again
    assert kept.claim("KeyError") == clock.now
    item = boto3.client("dynamodb").get_item(
        TableName="ledger", Key={"pk": {"S": "NOTICE#KeyError"}, "sk": {"S": "NOTICE"}}
    )["Item"]
    assert int(item["expires"]["N"]) == clock.now + 2 * QUIET


def test_who_could_not_be_told_is_told_by_the_next(notifier: Notifier, topic: str) -> None:
    with pytest.raises(ClientError, match="NotFound"):
        notifier_of(f"{topic}-gone").notify(UNAUTHORIZED, lambda: 0)
    assert notifier.notify(UNAUTHORIZED, lambda: 0)
    assert len(told()) == 1


def test_without_a_topic_nothing_is_written() -> None:
    assert not notifier_of("").notify(UNAUTHORIZED, lambda: 0)
    assert boto3.client("dynamodb").scan(TableName="ledger")["Items"] == []
