"""Stigg's events through the real template, gateway, functions and state machine: what they lead to, and what they do
not. The stand-in sends them; nobody runs the sweep.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from closedwon.domain.due import QUIET
from integration.conftest import hurried_sandbox
from integration.scenes import (
    SUBSCRIPTIONS,
    Json,
    addons,
    due,
    executions,
    head,
    provision,
    sell,
    shown,
    stigg_requests,
    stigg_writes,
    subscriptions,
    sweep,
    time_passes,
)
from integration.test_reconciliation import reconciled
from sandbox.aws.runtime import Outcome
from sandbox.sales import Sold
from sandbox.sandbox import QUEUE_URL, Sandbox

CARD = {"billingPeriod": "ANNUALLY", "paymentCollection": "CHARGE"}
PAID = (Sold("plan-team", 1, 300),)
EVENTS = "/v1/stigg-events"


@pytest.fixture(scope="module")
def telling() -> Iterator[Sandbox]:
    with hurried_sandbox(events=True, events_scale=0.05) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(telling: Sandbox) -> Iterator[Sandbox]:
    """A running sandbox in which nothing was sold yet, and whose Stigg tells what changes."""
    telling.stigg.events.calm()
    telling.reset()
    yield telling
    telling.aws.throttle_dynamodb(None)
    telling.stigg_server.heal()
    settled(telling)


def settled(sandbox: Sandbox) -> None:
    """Wait until everything was told, and what it led to is done."""
    sandbox.stigg.events.wait_until_told()
    sandbox.wait_until_idle()


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "not seen"
        time.sleep(0.05)


def waiting_for_payment(sandbox: Sandbox) -> tuple[Json, Json]:
    """A deal that waits to be paid for. Out: it, and its subscription."""
    deal = sell(sandbox, sandbox.sales.account("Northwind Traders"), *PAID, terms=CARD)
    provision(sandbox, deal)
    settled(sandbox)
    assert status_of(sandbox, deal) == "Payment required"
    [subscription] = subscriptions(sandbox, deal["account"]["id"])
    return deal, subscription


def sold(sandbox: Sandbox) -> tuple[Json, Json]:
    """A deal that went through. Out: it, and its subscription."""
    deal = sell(sandbox, sandbox.sales.account("Northwind Traders"))
    provision(sandbox, deal)
    settled(sandbox)
    assert shown(sandbox, deal) == ("Provisioned", None)
    [subscription] = subscriptions(sandbox, deal["account"]["id"])
    return deal, subscription


def status_of(sandbox: Sandbox, deal: Json) -> str | None:
    seen = shown(sandbox, deal)
    return seen[0] if seen else None


def an_event(subscription: Json, **more: Any) -> Json:
    """An event about a subscription, as somebody else might send it too."""
    return {
        "type": "subscription.updated",
        "messageId": f"message-{time.monotonic_ns()}",
        "id": subscription["id"],
        "customer": {"id": subscription["customerId"], "crmId": None},
        **more,
    }


def became(sandbox: Sandbox) -> Counter[str]:
    """The answers that Stigg got, by status."""
    return Counter(str(status) for one in sandbox.stigg.events.sent for _, status in one.attempts)


# What changed is seen


def test_a_new_deal_is_one_execution_although_stigg_tells_of_all_it_makes(sandbox: Sandbox) -> None:
    sold(sandbox)
    told = [one.event["type"] for one in sandbox.stigg.events.sent]
    assert sorted(told) == ["customer.created", "subscription.created"]
    assert became(sandbox) == {"202": 2}
    assert len(executions(sandbox)) == 1


def test_paid_is_shown_without_the_sweep(sandbox: Sandbox) -> None:
    deal, subscription = waiting_for_payment(sandbox)
    assert len(executions(sandbox)) == 1
    sandbox.stigg.pay(subscription["id"])
    until(lambda: status_of(sandbox, deal) == "Provisioned")
    settled(sandbox)
    assert not due(sandbox, deal["account"]["id"])


def test_a_payment_that_is_told_while_an_execution_works_is_shown_as_well(sandbox: Sandbox) -> None:
    deal = sell(sandbox, sandbox.sales.account("Northwind Traders"), *PAID, terms=CARD)
    fault = sandbox.stigg_server.fail("delay_after", "POST", SUBSCRIPTIONS, seconds=2)
    sandbox.call(deal)
    until(lambda: bool(sandbox.stigg.subscriptions()))
    [subscription] = subscriptions(sandbox, deal["account"]["id"])
    sandbox.stigg.pay(subscription["id"])
    settled(sandbox)
    assert fault.times == 0
    assert status_of(sandbox, deal) == "Payment required", "as Stigg answered before it was paid"
    time_passes(sandbox, deal["account"]["id"])
    assert sweep(sandbox) == 1
    assert status_of(sandbox, deal) == "Provisioned"


def test_the_trial_of_a_deal_ends_once_stigg_says_that_it_is_paid_for(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind Traders")
    opportunity = sandbox.sales.close(account, "Northwind", *PAID, StageName="Proposal/Price Quote")
    in_two_weeks = (datetime.now(UTC) + timedelta(days=14)).date().isoformat()
    provision(sandbox, sandbox.deal(opportunity, trigger="trial", terms={"trialEnd": in_two_weeks}))
    won = sandbox.deal(opportunity, terms=CARD)
    provision(sandbox, won)
    settled(sandbox)
    assert status_of(sandbox, won) == "Payment required"
    [paid] = [one for one in subscriptions(sandbox, account) if one["status"] == "PAYMENT_PENDING"]
    sandbox.stigg.pay(paid["id"])
    until(lambda: status_of(sandbox, won) == "Provisioned")
    settled(sandbox)
    assert [one["status"] for one in subscriptions(sandbox, account)] == ["ACTIVE"]


# What others changed stays, and is reported


def test_what_somebody_changed_in_stigg_stays_and_the_next_run_reports_it(sandbox: Sandbox) -> None:
    deal, subscription = sold(sandbox)
    reconciled(sandbox, mode="all")  # from here on, runs look at what changed
    sandbox.salesforce.backdate("Opportunity", deal["opportunity"]["id"], 3 * 3600)
    writes = stigg_writes(sandbox)
    sandbox.stigg.change_subscription(subscription["id"], addons=[{"id": "addon-extra-workspace", "quantity": 7}])
    until(lambda: len(executions(sandbox)) == 2)
    settled(sandbox)
    assert stigg_writes(sandbox) == writes, "a look writes nothing"
    assert shown(sandbox, deal) == ("Provisioned", None)
    _, found = reconciled(sandbox, mode="changed")
    assert [(one["kind"], one["remedy"], one["by_hand"]) for one in found] == [("wrong_addon", "report", True)]
    assert addons(subscriptions(sandbox, deal["account"]["id"])[0]) == {"addon-extra-workspace": 7}


def test_what_somebody_ended_in_stigg_is_not_made_again_by_a_look(sandbox: Sandbox) -> None:
    deal, subscription = sold(sandbox)
    writes = stigg_writes(sandbox)
    sandbox.stigg.cancel_subscription(subscription["id"])
    until(lambda: len(executions(sandbox)) == 2)
    settled(sandbox)
    assert stigg_writes(sandbox) == writes
    assert subscriptions(sandbox, deal["account"]["id"]) == []


def test_a_look_that_finds_nothing_ends_quietly(sandbox: Sandbox) -> None:
    deal, subscription = sold(sandbox)
    asked, written = stigg_requests(sandbox), len(sandbox.salesforce_server.exchanges)
    sandbox.tell(an_event(subscription))
    until(lambda: len(executions(sandbox)) == 2)
    settled(sandbox)
    assert stigg_requests(sandbox) - asked == 1, "one list of the customer's subscriptions"
    assert len(sandbox.salesforce_server.exchanges) == written
    assert not due(sandbox, deal["account"]["id"])


# However they come


def test_a_hundred_events_of_one_customer_are_one_look(sandbox: Sandbox) -> None:
    deal, subscription = sold(sandbox)
    with sandbox.aws.waiting_less(1.0):  # a look waits as long as it does in AWS
        began = time.monotonic()
        for number in range(100):
            sandbox.stigg.events.tell(an_event(subscription, messageId=f"flood-{number}"))
        sandbox.stigg.events.wait_until_told()
        seconds = time.monotonic() - began
        settled(sandbox)
    assert became(sandbox)["202"] >= 100
    # One, unless this machine is too slow to tell them all before it begins.
    assert 2 <= len(executions(sandbox)) <= 2 + int(seconds * 1000 // QUIET)
    assert shown(sandbox, deal) == ("Provisioned", None)


def test_a_duplicate_leads_to_nothing(sandbox: Sandbox) -> None:
    _, subscription = sold(sandbox)
    event = an_event(subscription)
    for _ in range(3):
        assert sandbox.tell(event).status_code == 202
        settled(sandbox)
    assert len(executions(sandbox)) == 2


@pytest.mark.parametrize("trouble", ["twice", "late", "shuffled"])
def test_late_twice_and_out_of_order_come_to_the_same(sandbox: Sandbox, trouble: Any) -> None:
    sandbox.stigg.events.disturb("a test", 1.0, trouble)
    deal, subscription = waiting_for_payment(sandbox)
    sandbox.stigg.pay(subscription["id"])
    until(lambda: status_of(sandbox, deal) == "Provisioned")


def test_a_lost_event_changes_nothing_but_the_time(sandbox: Sandbox) -> None:
    deal, subscription = waiting_for_payment(sandbox)
    sandbox.stigg.events.disturb("a test", 1.0, "never")
    sandbox.stigg.pay(subscription["id"])
    settled(sandbox)
    assert status_of(sandbox, deal) == "Payment required"
    time_passes(sandbox, deal["account"]["id"])
    assert sweep(sandbox) == 1
    assert status_of(sandbox, deal) == "Provisioned"


def test_what_could_not_be_dealt_with_is_sent_again_and_dealt_with_then(sandbox: Sandbox) -> None:
    deal, subscription = waiting_for_payment(sandbox)
    left = [30]

    def throttled(target: str) -> bool:
        left[0] -= 1
        return left[0] > 0

    sandbox.aws.throttle_dynamodb(throttled)
    sandbox.stigg.pay(subscription["id"])
    until(lambda: status_of(sandbox, deal) == "Provisioned")
    sandbox.stigg.events.wait_until_told()
    assert {one.outcome for one in sandbox.stigg.events.sent} == {"delivered"}


# Whoever sends them


def test_an_unknown_customer_and_an_unknown_event_are_answered_and_lead_to_nothing(sandbox: Sandbox) -> None:
    _, subscription = sold(sandbox)
    theirs = an_event({"id": "theirs", "customerId": "somebody-else"})
    for event in (
        theirs,
        {"type": "something.new"},
        "{",
        "",
        "[" * 50_000,
        b"\xff\xfe",
        an_event(subscription) | {"customer": 7},
    ):
        assert sandbox.tell(event).status_code == 202, event
    settled(sandbox)
    assert len(executions(sandbox)) == 1


def test_a_body_beyond_what_stigg_can_send_is_refused(sandbox: Sandbox) -> None:
    assert sandbox.tell(json.dumps({"type": "x" * 300_000})).status_code == 413


def test_who_has_no_secret_gets_nowhere(sandbox: Sandbox) -> None:
    deal, subscription = waiting_for_payment(sandbox)
    sandbox.stigg.events.disturb("a test", 1.0, "never")
    sandbox.stigg.pay(subscription["id"])
    event = an_event(subscription)
    answers = [
        sandbox.tell(event, secret="").status_code,
        sandbox.tell(event, secret="short").status_code,
        sandbox.tell(event, secret=sandbox.stigg_events_secret[::-1]).status_code,
        sandbox.tell(event, secret=sandbox.callout_key).status_code,
        sandbox.post(event, path=EVENTS).status_code,
        sandbox.post({"deals": [deal]}, key=sandbox.stigg_events_secret).status_code,
    ]
    assert answers == [401, 401, 403, 403, 401, 403]
    settled(sandbox)
    assert status_of(sandbox, deal) == "Payment required"


def test_the_secret_can_be_changed_without_an_event_being_refused(sandbox: Sandbox) -> None:
    _, subscription = sold(sandbox)
    former = sandbox.stigg_events_secret
    try:
        sandbox.aws.put_secret("StiggEventsSecret", "the-new-secret-of-the-webhook")
        assert sandbox.aws.gateway is not None
        sandbox.aws.gateway.forget_verdicts()
        assert sandbox.tell(an_event(subscription), secret=former).status_code == 202
    finally:
        sandbox.aws.put_secret("StiggEventsSecret", former)


def test_a_paused_stack_takes_events_and_starts_nothing(sandbox: Sandbox) -> None:
    deal, subscription = waiting_for_payment(sandbox)
    table = sandbox.aws.resources["LedgerTable"]
    body = {"S": json.dumps({"mode": "pause", "since": 1, "why": "a test"})}
    item = {"pk": {"S": "CONTROL"}, "sk": {"S": "CONTROL"}, "body": body}
    sandbox.aws.client("dynamodb").put_item(TableName=table, Item=item)
    sandbox.stigg.pay(subscription["id"])
    settled(sandbox)
    assert len(executions(sandbox)) == 1
    assert head(sandbox, deal["account"]["id"])[1]["heard_at"] is not None


# By the durable queue


@pytest.fixture(scope="module")
def queueing() -> Iterator[Sandbox]:
    with hurried_sandbox(queue=True) as sandbox:
        yield sandbox


@pytest.fixture
def queued(queueing: Sandbox) -> Iterator[Sandbox]:
    """A running sandbox whose Stigg has a durable queue and no webhook."""
    queueing.reset()
    yield queueing
    queueing.aws.throttle_dynamodb(None)
    queueing.wait_until_idle()


def waiting_in(sandbox: Sandbox) -> int:
    """How many messages are in the queue, seen by somebody or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    told = sandbox.aws.client("sqs").get_queue_attributes(QueueUrl=QUEUE_URL, AttributeNames=names)["Attributes"]
    return sum(int(told[name]) for name in names)


def listened(sandbox: Sandbox) -> Outcome:
    """The queue's function runs once. Out: how it ended."""
    outcome = sandbox.aws.run_schedule("StiggQueueFunctionSchedule")
    sandbox.wait_until_idle()
    return outcome


def test_paid_is_shown_by_what_the_queue_tells(queued: Sandbox) -> None:
    deal = sell(queued, queued.sales.account("Northwind Traders"), *PAID, terms=CARD)
    provision(queued, deal)
    [subscription] = subscriptions(queued, deal["account"]["id"])
    queued.stigg.pay(subscription["id"])
    assert waiting_in(queued) == 4
    assert listened(queued).value() == {"heard": 4}
    assert status_of(queued, deal) == "Provisioned"
    assert waiting_in(queued) == 0


def test_credentials_are_asked_for_once_while_they_are_good(queued: Sandbox) -> None:
    assert queued.stigg.queue is not None
    listened(queued)
    asked = queued.stigg.queue.asked
    listened(queued)
    assert queued.stigg.queue.asked == asked <= 2  # one for each process that there is


def test_a_message_that_could_not_be_dealt_with_stays_in_the_queue(queued: Sandbox) -> None:
    deal = sell(queued, queued.sales.account("Northwind Traders"))
    provision(queued, deal)
    assert listened(queued).value() == {"heard": 2}
    [subscription] = subscriptions(queued, deal["account"]["id"])
    queued.stigg.events.tell(an_event(subscription))
    queued.aws.throttle_dynamodb(lambda target: True)
    assert listened(queued).error_type is not None
    assert waiting_in(queued) == 1
