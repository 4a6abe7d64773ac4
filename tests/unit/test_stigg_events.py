"""Stigg's events: what is read of them, when they lead to a look, and that nothing else of them is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from closedwon.aws import metrics
from closedwon.aws.ledger import Claim
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Slot
from closedwon.domain.due import QUIET, START_GRACE, claim, heard, is_made_by, only_looks
from closedwon.domain.errors import SecretInvalid, StiggUnavailable
from closedwon.domain.identifiers import CustomerId
from closedwon.domain.lease import Current, acquire_lease
from closedwon.domain.records import SlotRecord
from closedwon.domain.results import Failed, record_result
from closedwon.domain.subscription_ids import subscription_id
from closedwon.provisioning import hearing
from closedwon.provisioning.hearing import Hearing
from closedwon.stack import Stack
from closedwon.stigg.events import MOST_BYTES, Event, event_in
from closedwon.stigg.queue import LEFT, EventQueue
from closedwon.wire.private import redacted
from functions.authorizer.app import lambda_handler as authorizer
from functions.stigg_events.app import lambda_handler as webhook
from functions.stigg_queue.app import listen
from unit.aws import Invocation, make_ledger
from unit.test_customer import (
    ACCEPTED,
    ACCOUNT,
    LEASE,
    NO_KEY,
    NOW,
    A,
    outcome,
    provisioned,
    taken,
    written,
)

SETTLED = provisioned(ACCEPTED)
SLOT = Slot("product-platform", None)
OURS = str(subscription_id(CustomerId(ACCOUNT), SLOT, 1))
METHOD = "arn:aws:execute-api:eu-central-1:123456789012:api/callout"


def flat(**more: Any) -> dict[str, Any]:
    """An event as Stigg's API reference shows one."""
    return {
        "type": "subscription.updated",
        "messageId": "0d8f7e3a",
        "entityId": "customer-1-plan-1",
        "id": "customer-1-plan-1",
        "status": "ACTIVE",
        "customer": {"id": "customer-1", "crmId": None},
        "plan": {"id": "plan-1"},
        "metadata": {},
        **more,
    }


def slot() -> int | None:
    return NOW


def no_slot() -> int | None:
    return None


def never() -> int | None:
    raise AssertionError("no rate slot is needed")


# What is read of an event


@pytest.mark.parametrize(
    ("told", "customer_id"),
    [
        pytest.param(flat(), "customer-1", id="flat, as the API reference has it"),
        pytest.param(
            {"type": "subscription.updated", "data": flat()}, "customer-1", id="inside data, as the skills do"
        ),
        pytest.param(flat(customer=None, customerId="c-2"), "c-2", id="by its ID alone"),
        pytest.param({"type": "customer.updated", "entityId": "c-3"}, "c-3", id="a customer's own"),
        pytest.param({"type": "customer.updated", "id": "c-3"}, "c-3", id="a customer's own, by the other name"),
        pytest.param({"type": "subscription.updated", "id": "c-3"}, None, id="a subscription's ID is no customer's"),
        pytest.param(flat(customer={"id": 7}), None, id="a number"),
        pytest.param(flat(customer={"id": "x" * 256}), None, id="too long for an ID"),
        pytest.param(flat(customer={"id": "a#b"}), None, id="what would be part of another key"),
        pytest.param(flat(customer={"id": ""}), None, id="empty"),
        pytest.param({"type": ["a"], "customer": {"id": "customer-1"}}, "customer-1", id="of a type that is none"),
        pytest.param({"customer": {"id": "customer-1"}}, "customer-1", id="of no type"),
    ],
)
def test_of_an_event_its_customer_is_read_wherever_stigg_may_say_it(told: Any, customer_id: str | None) -> None:
    event = event_in(json.dumps(told))
    assert event is not None
    assert event.customer_id == customer_id


@pytest.mark.parametrize("text", [None, "", "{", "[]", "7", "null", '"a"', "[" * 100_000, "x" * (MOST_BYTES + 1)])
def test_what_is_no_event_is_none(text: str | None) -> None:
    assert event_in(text) is None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_no_json_breaks_the_reader(told: Any) -> None:
    event_in(json.dumps({"type": told, "customer": told, "data": told, "messageId": told, "id": told}))


@pytest.mark.parametrize(
    ("type", "concerns"),
    [
        ("subscription.updated", True),
        ("subscription.canceled", True),
        ("customer.updated", True),
        ("customer.created", False),
        ("trial.expired", True),
        ("something.new", True),
        ("", True),
        ("entitlement.usage_exceeded", False),
        ("credit.balance.low", False),
        ("plan.updated", False),
    ],
)
def test_names_that_are_not_known_may_concern_a_subscription(type: str, concerns: bool) -> None:
    assert Event(type, "1", "customer-1").concerns is concerns


# When a look is started


def test_an_event_starts_one_look_after_a_quiet_moment() -> None:
    customer, name = heard(SETTLED, NOW, slot)
    assert (customer.heard_at, customer.due_at) == (NOW + QUIET, NOW + QUIET + START_GRACE)
    assert name is not None
    assert name.startswith(A)
    assert name != SETTLED.opportunities[A].execution


def test_what_comes_before_the_look_begins_is_seen_by_it() -> None:
    customer, _ = heard(SETTLED, NOW, slot)
    assert heard(customer, NOW + QUIET - 1, never) == (customer, None)


def test_what_comes_once_the_look_has_begun_leads_to_another() -> None:
    customer, name = heard(SETTLED, NOW, slot)
    again, second = heard(customer, NOW + QUIET, slot)
    assert second is not None
    assert second != name
    assert again.heard_at == NOW + 2 * QUIET


def test_a_look_waits_for_its_rate_slot() -> None:
    customer, _ = heard(SETTLED, NOW, lambda: NOW + 30_000)
    assert (customer.heard_at, customer.due_at) == (NOW + 30_000, NOW + 30_000 + START_GRACE)


def test_where_no_rate_slot_comes_soon_the_sweep_starts_it() -> None:
    customer, name = heard(SETTLED, NOW, no_slot)
    assert name is None
    assert customer.due_at == NOW + QUIET
    assert claim(customer, NOW + QUIET)[1] is not None


def test_what_is_due_sooner_stays_due_sooner() -> None:
    waiting = replace(SETTLED, due_at=NOW + 1, look_again_at=NOW + 1)
    assert heard(waiting, NOW, no_slot)[0].due_at == NOW + 1


def test_a_start_that_is_lost_is_made_up_for_by_the_sweep() -> None:
    customer, _ = heard(SETTLED, NOW, slot)
    assert claim(customer, NOW + QUIET)[1] is None
    assert claim(customer, NOW + QUIET + START_GRACE)[1] is not None


def test_a_customer_that_waits_for_its_own_execution_needs_no_other() -> None:
    customer, name = heard(ACCEPTED, NOW, never)
    assert name is None
    assert customer.due_at == ACCEPTED.due_at


def test_what_is_said_while_an_execution_works_is_looked_at_once_it_is_done() -> None:
    customer, work = taken(replace(SETTLED, look_again_at=NOW, due_at=NOW))
    customer, name = heard(customer, NOW + 1, never)
    assert name is None
    assert customer.due_at == work.lease.until
    customer, _ = record_result(customer, work, outcome(customer), NOW + 2)
    assert customer.heard_at == NOW + 1 + QUIET, "Stigg was read before it was said"
    customer, follows = record_result(customer, work, written(replace(work, customer=customer)), NOW + 3)
    assert (follows, customer.lease, customer.due_at) == ("done", None, NOW + 1 + QUIET)


def test_what_is_said_after_stigg_was_read_is_looked_at_even_where_a_look_was_to_come() -> None:
    customer, _ = heard(SETTLED, NOW, slot)
    customer, work = taken(customer, now=NOW + 1)  # the sweep's, which has come first
    customer, name = heard(customer, NOW + 2, never)
    assert (name, customer.heard_at) == (None, NOW + 2 + QUIET)
    assert heard(customer, NOW + 3, never) == (customer, None), "a flood of events writes once"
    customer, _ = record_result(customer, work, outcome(customer), NOW + 4)
    assert customer.heard_at == NOW + 2 + QUIET


def test_a_look_that_was_done_leaves_nothing_due() -> None:
    customer, _ = heard(SETTLED, NOW, slot)
    customer = provisioned(customer, NOW + QUIET)
    assert (customer.heard_at, customer.due_at) == (None, None)
    assert isinstance(acquire_lease(customer, "late", 0, NOW + QUIET, LEASE)[1], Current)


def test_a_look_that_fails_is_tried_again() -> None:
    customer, work = taken(heard(SETTLED, NOW, slot)[0], now=NOW + QUIET)
    customer, _ = record_result(customer, work, Failed(NO_KEY), NOW + QUIET)
    customer, _ = record_result(customer, work, written(work, failed=True), NOW + QUIET)
    assert customer.heard_at is not None
    assert customer.due_at is not None
    assert customer.due_at > NOW + QUIET
    assert customer.opportunities[A].outcome == SETTLED.opportunities[A].outcome


# What is only looked at


def test_what_an_event_alone_led_to_is_only_looked_at() -> None:
    customer, _ = heard(SETTLED, NOW, slot)
    assert only_looks(customer, NOW + QUIET)
    assert not only_looks(SETTLED, NOW)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"version": 2}, id="a deal came"),
        pytest.param({"look_again_at": NOW}, id="a date has come"),
        pytest.param({"slots": {SLOT.key: SlotRecord(status="PAYMENT_PENDING")}}, id="somebody may have paid"),
    ],
)
def test_what_the_deals_themselves_are_due_for_is_done(more: Any) -> None:
    customer, _ = heard(SETTLED, NOW, slot)
    assert not only_looks(replace(customer, **more), NOW + QUIET)


def test_a_look_does_not_vouch_for_the_rules_of_this_version() -> None:
    former = replace(heard(SETTLED, NOW, slot)[0], rules=1)
    customer, work = taken(former, now=NOW + QUIET)
    assert record_result(customer, work, replace(outcome(customer), looked=True), NOW)[0].rules == 1
    assert record_result(customer, work, outcome(customer), NOW)[0].rules == 2


def test_a_subscription_of_our_own_that_was_made_tells_nothing_new() -> None:
    customer = replace(SETTLED, slots={SLOT.key: SlotRecord(generation=1)})
    assert is_made_by(customer, OURS)
    assert not is_made_by(customer, "somebody-elses")
    assert not is_made_by(SETTLED, OURS)


# The ledger, the register and the functions


class House:
    """A stack in moto, whose starts are kept."""

    def __init__(self) -> None:
        given = {"LEDGER_TABLE": "ledger", "STIGG_SHARE_PERCENT": "80", "STIGG_WRITES_PER_MINUTE": "250"}
        more = {"STIGG_LISTS_PER_MINUTE": "1500", "STIGG_READS_PER_MINUTE": "3000"}
        self.now = NOW
        stack: Any = Stack({**given, **more})
        stack.now = lambda: self.now
        make_ledger(stack.dynamodb)
        self.started: list[Claim] = []
        stack.start = self.started.append
        self.stack: Stack = stack
        self.hearing: Hearing = stack.hearing
        self.put(SETTLED)

    def put(self, customer: Customer) -> None:
        self.stack.ledger._table.change(ACCOUNT, lambda known: (replace(customer, rev=known.rev), None))

    def tell(self, **more: Any) -> str:
        """What became of an event about the customer."""
        return self.hearing.hear(json.dumps(flat(customer={"id": ACCOUNT}, **more)), "WEBHOOK")

    def post(self, body: Any) -> dict[str, Any]:
        """What the webhook's function answers."""
        return webhook({"body": body}, Invocation(), self.stack)


@pytest.fixture
def house() -> Iterator[House]:
    with mock_aws():
        yield House()


def test_a_hundred_events_of_one_customer_are_one_look(house: House) -> None:
    became = [house.tell(messageId=str(number)) for number in range(100)]
    assert became == ["look"] + 99 * ["none"]
    [claimed] = house.started
    assert (claimed.account_id, claimed.rate_slot) == (ACCOUNT, NOW + QUIET)


def test_an_event_that_comes_again_after_its_look_is_a_duplicate(house: House) -> None:
    assert house.tell() == "look"
    house.now += 2 * QUIET
    assert house.tell() == "duplicate"
    assert house.tell(messageId="another") == "look"
    assert len(house.started) == 2


def test_without_an_id_every_event_is_a_new_one(house: House) -> None:
    assert house.tell(messageId=None) == "look"
    house.now += 2 * QUIET
    assert house.tell(messageId=None) == "look"


def test_an_event_whose_customer_could_not_be_made_due_is_none_that_was_dealt_with(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("the ledger does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(house.stack.ledger, "hear", fails)
        with pytest.raises(RuntimeError):
            house.tell()
    assert house.tell() == "look"


def test_a_start_that_fails_leaves_the_customer_due(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Claim) -> None:
        raise RuntimeError("no more executions")

    monkeypatch.setattr(house.stack, "start", fails)
    assert house.tell() == "look"
    assert house.stack.ledger.customer(ACCOUNT).due_at == NOW + QUIET + START_GRACE


def test_while_the_stack_is_paused_nothing_starts_and_the_customer_stays_due(house: House) -> None:
    house.stack.ledger.set_control("pause", "a test")
    assert house.tell() == "look"
    assert house.started == []
    assert house.stack.ledger.customer(ACCOUNT).due_at == NOW + QUIET


@pytest.mark.parametrize(
    ("told", "became"),
    [
        pytest.param({"customer": {"id": "somebody"}}, "unknown", id="a customer that is not in the ledger"),
        pytest.param({"type": "credit.balance.low"}, "unconcerned", id="what was used"),
        pytest.param({"type": "subscription.created", "id": OURS}, "own", id="what closed-won has just made"),
        pytest.param({"type": "subscription.created", "id": "by-hand"}, "look", id="what somebody else made"),
        pytest.param({"type": "subscription.updated", "id": OURS}, "look", id="a change of our own subscription"),
    ],
)
def test_what_an_event_leads_to(house: House, told: Any, became: str) -> None:
    house.put(replace(house.stack.ledger.customer(ACCOUNT), slots={SLOT.key: SlotRecord(generation=1)}))
    assert house.hearing.hear(json.dumps({**flat(customer={"id": ACCOUNT}), **told}), "WEBHOOK") == became
    assert len(house.started) == (became == "look")


def test_every_event_is_counted_by_what_became_of_it_and_its_time_is_known(house: House) -> None:
    metrics.take()
    assert house.stack.event_register.last("WEBHOOK") is None
    house.tell()
    house.hearing.hear("{", "QUEUE")
    assert [(one.name, dict(one.by)) for one in metrics.take() if one.name == "StiggEvents"] == [
        ("StiggEvents", {"Became": "look"}),
        ("StiggEvents", {"Became": "unreadable"}),
    ]
    assert house.stack.event_register.last("WEBHOOK") == house.stack.event_register.last("QUEUE") == NOW


@pytest.mark.parametrize("body", [None, "", "{", "[]", json.dumps({"type": "new"}), json.dumps(flat()), "\ud800"])
def test_the_webhook_answers_202_whatever_is_in_it(house: House, body: Any) -> None:
    assert house.post(body)["statusCode"] == 202


def test_a_body_that_is_too_large_is_refused_unread(house: House) -> None:
    assert house.post("x" * (MOST_BYTES + 1))["statusCode"] == 413
    assert house.stack.event_register.last("WEBHOOK") is None


def test_nothing_that_was_sent_is_logged(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(hearing.logger, "info", lambda *told, **more: logged.append((told, more)))
    house.post(json.dumps(flat(customer={"id": "ada@example.com"}, metadata={"name": "Ada"}, messageId="secret-id")))
    said = f"{logged} {capsys.readouterr().out}"
    assert "unknown" in said
    assert not any(text in said for text in ("ada@", "Ada", "secret-id"))


# Who may tell


class Key:
    """A secret with its versions; none where nobody stored one."""

    def __init__(self, *versions: str) -> None:
        self._versions = list(versions)

    def value(self) -> str:
        if not self._versions:
            raise SecretInvalid("there is none")
        return self._versions[0]

    def versions(self) -> list[str]:
        return self._versions


class Gate:
    def __init__(self, *secrets: str) -> None:
        self.callout_key = Key("the-key-of-salesforce")
        self.stigg_events_secret = Key(*secrets)

    def verdict(self, token: str, path: str = "/POST/v1/stigg-events") -> tuple[str, str]:
        """Effect and resource of the policy for a token."""
        event = {"type": "TOKEN", "methodArn": f"{METHOD}{path}", "authorizationToken": token}
        statement, *_ = self.statements(event)
        return statement["Effect"], statement["Resource"]

    def statements(self, event: Any) -> list[dict[str, str]]:
        """The statements of the policy."""
        answer: Any = authorizer(event, Invocation(), self)  # type: ignore[arg-type]
        return list(answer["policyDocument"]["Statement"])


@pytest.mark.parametrize("token", ["current-secret", "former-secret"])
def test_stigg_gets_in_by_its_current_and_its_former_secret_and_to_its_own_route_only(token: str) -> None:
    gate = Gate("current-secret", "former-secret")
    assert gate.verdict(token) == ("Allow", f"{METHOD}/POST/v1/stigg-events")


@pytest.mark.parametrize("token", ["wrong", "the-key-of-salesforce", "current-secre", "\ud800"])
def test_nobody_else_gets_in_there(token: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert Gate("current-secret").verdict(token)[0] == "Deny"
    assert '"Reason":"WrongEventsSecret","Denied":1' in capsys.readouterr().out


def test_while_nobody_has_stored_the_secret_nothing_gets_in() -> None:
    assert Gate().verdict("anything-at-all")[0] == "Deny"


def test_stiggs_secret_opens_no_route_of_salesforces() -> None:
    assert Gate("current-secret").verdict("current-secret", "/POST/v1/provisionings")[0] == "Deny"
    assert Gate("current-secret").verdict("the-key-of-salesforce", "/POST/v1/provisionings") == ("Allow", f"{METHOD}/*")


def test_salesforces_key_opens_every_route_but_stiggs_wherever_the_answer_is_kept() -> None:
    event = {"methodArn": f"{METHOD}/GET/v1/provisionings/1", "authorizationToken": "the-key-of-salesforce"}
    told = [(one["Effect"], one["Resource"]) for one in Gate("current-secret").statements(event)]
    assert told == [("Allow", f"{METHOD}/*"), ("Deny", f"{METHOD}/POST/v1/stigg-events")]


# The durable queue


class Edge:
    """Stigg's edge API, as far as its client shows it. seconds: for how long its credentials are good."""

    def __init__(self, clock: Any, seconds: int = 3600) -> None:
        self.clock = clock
        self.seconds = seconds
        self.asked: list[tuple[str, int]] = []

    def queue_credentials(self, url: str, seconds: int) -> dict[str, str]:
        self.asked.append((url, seconds))
        until = datetime.fromtimestamp(self.clock() + self.seconds, UTC)
        named = {name: f"{name}-{len(self.asked)}" for name in ("accessKeyId", "secretAccessKey", "sessionToken")}
        return {**named, "expiration": until.isoformat().replace("+00:00", "Z")}


class Sqs:
    """SQS, by what was asked of it."""

    exceptions = SimpleNamespace(ClientError=ClientError)

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.given: list[dict[str, Any]] = []
        self.fails: Exception | None = None

    def client(self, service: str, **given: Any) -> Sqs:
        assert service == "sqs"
        self.given.append(given)
        return self

    def receive_message(self, **asked: Any) -> dict[str, Any]:
        if self.fails is not None:
            raise self.fails
        assert 0 <= asked["WaitTimeSeconds"] <= 20
        return {"Messages": [{"Body": text, "ReceiptHandle": text} for text in self.messages[:10]]}

    def delete_message_batch(self, QueueUrl: str, Entries: list[dict[str, str]]) -> None:
        gone = {entry["ReceiptHandle"] for entry in Entries}
        self.messages = [text for text in self.messages if text not in gone]


class Listening:
    """What hears messages; text "bad" it cannot deal with."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def hear(self, text: str, way: str) -> None:
        assert way == "QUEUE"
        if text == "bad":
            raise RuntimeError("the ledger does not answer")
        self.heard.append(text)


URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/events"


def a_queue(url: str = URL, seconds: int = 3600) -> tuple[EventQueue, Edge, Sqs, list[float]]:
    now = [1_796_000_000.0]
    edge, sqs = Edge(lambda: now[0], seconds), Sqs()
    return EventQueue(edge, url, lambda: now[0], sqs.client), edge, sqs, now  # type: ignore[arg-type]


def rounds(count: int) -> Any:
    """The time an invocation has left: so many rounds."""
    left = iter([1000 * n for n in range(count, 0, -1)])
    return lambda: next(left, 0)


def test_the_queue_is_read_where_it_is_with_the_credentials_that_stigg_gave() -> None:
    queue, edge, sqs, _ = a_queue()
    queue.receive(20)
    assert edge.asked == [(URL, 3600)]
    [given] = sqs.given
    assert given["region_name"] == "eu-west-1"
    assert given["credentials"]["aws_session_token"] == "sessionToken-1"


def test_at_an_address_of_another_form_it_is_where_the_stack_is() -> None:
    queue, _, sqs, _ = a_queue("http://localhost:4566/000000000000/events")
    queue.receive(20)
    assert "region_name" not in sqs.given[0]


@pytest.mark.parametrize("seconds", [900, 3600])
def test_credentials_are_renewed_before_they_end_and_not_sooner(seconds: int) -> None:
    queue, edge, _, now = a_queue(seconds=seconds)
    queue.receive(20)
    now[0] += seconds - LEFT - 1
    queue.receive(20)
    assert len(edge.asked) == 1
    now[0] += 1
    queue.receive(20)
    assert len(edge.asked) == 2


def test_credentials_that_are_refused_are_asked_for_anew() -> None:
    queue, edge, sqs, _ = a_queue()
    sqs.fails = ClientError({"Error": {"Code": "ExpiredToken"}}, "ReceiveMessage")
    with pytest.raises(ClientError):
        queue.receive(20)
    sqs.fails = None
    queue.receive(20)
    assert len(edge.asked) == 2


def test_credentials_without_a_field_are_an_answer_that_cannot_be_used() -> None:
    queue, edge, _, _ = a_queue()
    edge.queue_credentials = lambda *_: {"accessKeyId": "a"}  # type: ignore[method-assign]
    with pytest.raises(StiggUnavailable, match="KeyError"):
        queue.receive(20)


def test_the_credentials_are_shown_in_no_error() -> None:
    queue, edge, _, _ = a_queue()
    edge.queue_credentials(URL, 3600)
    queue.receive(20)
    assert redacted("it said sessionToken-2 and secretAccessKey-2") == "it said *** and ***"


def test_messages_are_deleted_once_they_were_dealt_with_ten_at_a_time() -> None:
    queue, _, sqs, _ = a_queue()
    sqs.messages = [str(number) for number in range(25)]
    listening = Listening()
    assert listen(queue, listening, rounds(9)) == 25  # type: ignore[arg-type]
    assert listening.heard == [str(number) for number in range(25)]
    assert sqs.messages == []


def test_a_message_that_cannot_be_dealt_with_stays_and_the_others_do_not() -> None:
    queue, _, sqs, _ = a_queue()
    sqs.messages = ["one", "bad", "two"]
    with pytest.raises(RuntimeError):
        listen(queue, Listening(), rounds(9))  # type: ignore[arg-type]
    assert sqs.messages == ["bad"]
