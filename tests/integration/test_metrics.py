"""What alarms and the dashboard watch is what the functions really emit, with these dimensions; and people are told
once of what only engineering can mend.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from closedwon.aws.metrics import METRICS, NAMESPACE
from integration.scenes import (
    COMPOSITE,
    CUSTOMERS,
    Json,
    opportunity_of,
    provision,
    revised,
    sell,
    shown,
    stigg_requests,
    sweep,
)
from integration.test_reconciliation import by_hand, reconciled
from sandbox.aws.stack import STACK_NAME
from sandbox.sandbox import Sandbox


class Series(NamedTuple):
    """A metric as CloudWatch keeps it. by: its dimensions but the stack, by name; a value of None is any."""

    name: str
    by: frozenset[tuple[str, str | None]]

    @property
    def kind(self) -> tuple[str, frozenset[str]]:
        return self.name, frozenset(name for name, _ in self.by)

    def covers(self, other: Series) -> bool:
        """Whether it is, or a search for it finds, the other."""
        theirs = dict(other.by)
        return self.kind == other.kind and all(value in (None, theirs[name]) for name, value in self.by)


def series(name: str, dimensions: Iterable[tuple[str, str | None]]) -> Series:
    by = dict(dimensions)
    assert by.pop("Stack") == STACK_NAME
    return Series(name, frozenset(by.items()))


def emitted(sandbox: Sandbox, since: dict[str, int]) -> dict[Series, list[float]]:
    """What CloudWatch would read off the functions' logs, from these lines on."""
    found: dict[Series, list[float]] = {}
    for function, printed in sandbox.aws.functions.logs.items():
        for text in printed[since.get(function, 0) :]:
            if '"_aws"' not in text:
                continue
            line = json.loads(text)
            for about in line["_aws"]["CloudWatchMetrics"]:
                assert about["Namespace"] == NAMESPACE
                for dimensions in about["Dimensions"]:
                    for metric in about["Metrics"]:
                        one = series(metric["Name"], ((name, line[name]) for name in dimensions))
                        value = line[metric["Name"]]
                        found.setdefault(one, []).extend(value if isinstance(value, list) else [value])
    return found


def summed(told: dict[Series, list[float]], name: str) -> dict[str | None, float]:
    """The sums of a metric, by its dimension's value."""
    return {value: sum(numbers) for one, numbers in told.items() if one.name == name for _, value in one.by}


def watched_by_alarms(sandbox: Sandbox) -> set[Series]:
    found = set()
    for alarm in sandbox.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]:
        stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", ()) if "MetricStat" in query]
        for metric in stats or [alarm]:
            if metric["Namespace"] == NAMESPACE:
                found.add(series(metric["MetricName"], ((d["Name"], d["Value"]) for d in metric["Dimensions"])))
    return found


SEARCH = re.compile(r"SEARCH\('\{ClosedWon,([\w,]+)\} MetricName=\"(\w+)\" Stack=\"(\w+)\"")


def dashboard(sandbox: Sandbox) -> list[Json]:
    """The dashboard's widgets."""
    cloudwatch = sandbox.aws.client("cloudwatch")
    body = cloudwatch.get_dashboard(DashboardName=sandbox.aws.outputs["DashboardName"])["DashboardBody"]
    widgets: list[Json] = json.loads(body)["widgets"]
    return widgets


def shown_on_dashboard(sandbox: Sandbox) -> set[Series]:
    found = set()
    for widget in dashboard(sandbox):
        for metric in widget["properties"].get("metrics", ()):
            if isinstance(metric[0], str):
                namespace, name, *dimensions = metric[:-1]
                if namespace == NAMESPACE:
                    found.add(series(name, zip(dimensions[::2], dimensions[1::2], strict=True)))
            elif (search := SEARCH.match(metric[0]["expression"])) is not None:
                names, name, stack = search.groups()
                found.add(series(name, ((n, stack if n == "Stack" else None) for n in names.split(","))))
            else:
                assert "SEARCH" not in metric[0]["expression"], metric
    return found


@pytest.fixture
def lines_before(sandbox: Sandbox) -> dict[str, int]:
    """How much each function had printed before this test."""
    return {function: len(printed) for function, printed in sandbox.aws.functions.logs.items()}


def won_now(sandbox: Sandbox, name: str) -> Json:
    """A deal that was saved this second."""
    deal = sell(sandbox, sandbox.sales.account(name))
    deal["opportunity"]["systemModstamp"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    return deal


def test_alarms_and_the_dashboard_watch_what_is_emitted_and_nothing_is_emitted_unwatched(
    sandbox: Sandbox, lines_before: dict[str, int]
) -> None:
    dynamodb, table = sandbox.aws.client("dynamodb"), sandbox.aws.resources["LedgerTable"]
    # A deal, which both sides and the governor make wait.
    sandbox.stigg_server.fail("answer", "POST", CUSTOMERS, status=429)
    sandbox.salesforce_server.fail("answer", path=COMPOSITE, status=429)
    ahead = time.time_ns() // 1000 + 10_500_000  # three seconds beyond what may go at once
    budget = {"pk": {"S": "GOVERNOR#provision customer"}, "sk": {"S": "GOVERNOR"}, "tat": {"N": str(ahead)}}
    dynamodb.put_item(TableName=table, Item=budget)
    sold = won_now(sandbox, "Northwind Traders")
    provision(sandbox, sold)
    assert shown(sandbox, sold) == ("Provisioned", None)
    # One that is held, one that is refused.
    less = revised(sold, 1, feature_seats=1, addon_extra_workspace=1)
    less["opportunity"]["systemModstamp"] = less["opportunity"]["readAt"] = datetime.now(UTC).isoformat()
    provision(sandbox, less)
    assert (shown(sandbox, less) or [""])[0] == "Held"
    refused = won_now(sandbox, "Fabrikam")
    refused["lines"][0]["stiggId"] = "plan-nobody-knows"
    provision(sandbox, refused)
    # A sweep, somebody without the key, and a reconciliation that finds something.
    sweep(sandbox)
    assert sandbox.call(sold, key="somebody-else-s-key").status_code == 403
    # What was changed in Stigg, which an event says, and somebody without its secret.
    by_hand(sandbox, sold, addons=[])
    event = {"type": "subscription.updated", "customer": {"id": sold["account"]["id"]}}
    assert sandbox.tell(event).status_code == 202
    sandbox.wait_until_idle()
    assert sandbox.tell(event, secret="somebody-else-s-secret").status_code == 403
    _, found = reconciled(sandbox)
    assert found

    told = emitted(sandbox, lines_before)
    watched = watched_by_alarms(sandbox) | shown_on_dashboard(sandbox)
    unemitted = {one for one in watched if not any(one.covers(other) for other in told)}
    assert not unemitted
    unwatched = {one.name for one in told if not any(other.covers(one) for other in watched)}
    assert not unwatched
    assert {one.name for one in told} == set(METRICS)
    assert summed(told, "Deals") == {"Provisioned": 1, "Held": 1, "Failed": 1}
    assert summed(told, "Held") == {"Approval": 1}
    assert summed(told, "DealsByCode") == {"removal_guard": 1, "not_in_catalogue": 1}
    assert summed(told, "Failures") == {"DealRefused": 1}
    assert summed(told, "Throttled") == {"Stigg": 1, "Salesforce": 1}
    assert summed(told, "Denied") == {"WrongKey": 1, "WrongEventsSecret": 1}
    assert summed(told, "StiggEvents") == {"look": 1}
    assert set(summed(told, "SecretAgeDays")) == {"CalloutKey", "Stigg", "StiggEvents", "Salesforce"}
    [seconds] = told[Series("SecondsToProvisioned", frozenset())]
    assert 0 < seconds < 60


def test_the_dashboard_shows_every_alarm_and_each_says_where_to_read_on(sandbox: Sandbox) -> None:
    alarms = sandbox.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    [all_alarms] = [widget for widget in dashboard(sandbox) if widget["type"] == "alarm"]
    assert set(all_alarms["properties"]["alarms"]) == {alarm["AlarmArn"] for alarm in alarms}
    for alarm in alarms:
        logical = alarm["AlarmName"].split("-")[1]
        assert alarm["AlarmDescription"].endswith(f" See docs/runbook.md#{logical.lower()}."), alarm
    assert STACK_NAME in sandbox.aws.outputs["DashboardName"]


@pytest.fixture
def notifications(sandbox: Sandbox) -> Iterator[Any]:
    """A topic that the function knows, and what it was told."""
    sns, sqs, function = sandbox.aws.client("sns"), sandbox.aws.client("sqs"), "AccountWriteBackFunction"
    topic = sns.create_topic(Name="told")["TopicArn"]
    queue = sqs.create_queue(QueueName="told")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)["SubscriptionArn"]
    deployed = sandbox.aws.functions.find(function)
    before = deployed.environment
    deployed.environment = {**before, "NOTIFICATION_TOPIC": topic}
    sandbox.aws.functions.kill(function)

    def read() -> list[Json]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", ())
        return [json.loads(one["Body"]) for one in found]

    yield read
    sandbox.wait_until_idle()
    deployed.environment = before
    sandbox.aws.functions.kill(function)
    sns.unsubscribe(SubscriptionArn=subscription)
    sqs.delete_queue(QueueUrl=queue)


def test_of_several_deals_that_fail_of_one_cause_people_are_told_once(
    sandbox: Sandbox, notifications: Any, lines_before: dict[str, int]
) -> None:
    person = "Zephyrine Quux-Sorensen"
    deals = [sell(sandbox, sandbox.sales.account(f"{person} {number}")) for number in range(3)]
    try:
        sandbox.stigg.change_api_key("server-of-tomorrow")
        results = provision(sandbox, *deals)
    finally:
        sandbox.stigg.change_api_key(sandbox.stigg_api_key)
    [told] = notifications()
    assert told["Subject"] == f"closed-won ({STACK_NAME}): deals fail, StiggUnauthorized"
    text = told["Message"]
    assert "Stigg" in text.splitlines()[0]
    assert f"./closedwon --stack {STACK_NAME} replay --failed-since 20" in text
    assert any(f":{result['execution']}\n" in text for result in results)  # the whole ARN, in a link
    assert "1 deal of the customer that failed now" in text
    assert not re.search("Zephyrine|Quux|@|" + re.escape(sandbox.stigg_api_key), text)

    # Salesforce refuses what is written: another cause, which no record can show.
    errors = [{"message": "no", "errorCode": "INVALID_FIELD", "fields": []}]
    sandbox.salesforce_server.fail("answer", "POST", COMPOSITE, status=400, body=errors)
    provision(sandbox, sell(sandbox, sandbox.sales.account("Contoso")))
    [told] = notifications()
    assert told["MessageAttributes"]["cause"]["Value"] == "SalesforceRefused"

    # What sales can mend is on the deal, and nobody else is told.
    refused = sell(sandbox, sandbox.sales.account("Fabrikam"))
    refused["lines"][0]["stiggId"] = "plan-nobody-knows"
    provision(sandbox, refused)
    assert notifications() == []
    assert summed(emitted(sandbox, lines_before), "Failures") == {
        "StiggUnauthorized": 3,
        "SalesforceRefused": 1,
        "DealRefused": 1,
    }


def test_a_notice_that_cannot_be_sent_fails_nothing(sandbox: Sandbox, notifications: Any) -> None:
    function = sandbox.aws.functions.find("AccountWriteBackFunction")
    function.environment = {**function.environment, "NOTIFICATION_TOPIC": "arn:aws:sns:us-east-1:123456789012:gone"}
    sandbox.aws.functions.kill("AccountWriteBackFunction")
    deal = sell(sandbox, sandbox.sales.account("Northwind Traders"))
    try:
        sandbox.stigg.change_api_key("server-of-tomorrow")
        [result] = provision(sandbox, deal)
    finally:
        sandbox.stigg.change_api_key(sandbox.stigg_api_key)
    [ended] = sandbox.wait([result["execution"]])
    assert ended["error"] == "StiggUnauthorized"  # not what happened to the notice
    record = sandbox.provisioning(opportunity_of(deal))
    assert record is not None
    assert record["Status__c"] == "Failed"
    assert stigg_requests(sandbox) > 0
