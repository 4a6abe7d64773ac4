"""The ledger, in DynamoDB and in memory: each verb happens at one moment or not at all, and nothing is lost or
overwritten.

A test that asks for DynamoDB (`client`, `dynamodb`, `elsewhere`) is about its items and conflicts; all others hold for
both. What the verbs decide is test_customer.py's matter. moto's DynamoDB is not atomic under threads, as the real
one is: one call at a time reaches it.
"""

from __future__ import annotations

import json
import random
import string
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.dynamodb.models import dynamo_type

from closedwon.aws.ledger import Claim, Control, Ledger
from closedwon.aws.ledger_items import catalogue_items, size_of, snapshot_of, text_of
from closedwon.aws.ledger_table import TRIES
from closedwon.domain.acceptance import Acceptance, Arrival
from closedwon.domain.application import Application
from closedwon.domain.contract.facts import Contribution
from closedwon.domain.customer import Customer, Outcome, SubscriptionLink
from closedwon.domain.desired import Entitlement, Price, Slot, Subscription
from closedwon.domain.due import START_GRACE
from closedwon.domain.errors import LedgerContended
from closedwon.domain.identifiers import AccountId, CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.instants import Never, from_iso
from closedwon.domain.lease import Busy, Work
from closedwon.domain.order import Item, Order, Revision
from closedwon.domain.records import SlotRecord
from closedwon.domain.results import Applied, Ensured, Intended, LeaseLost, Prepared, Written
from sandbox.ledger import MemoryLedger
from unit.domain import plain_order, settling

TABLE = "ledger"
ACCOUNT = AccountId("0015g00000XyZaBAAV")
OTHER_ACCOUNT = AccountId("0015g00000XyZaCAAV")
A = OpportunityId("0065g00000ABCdEAAX")
B = "0065g00000ABCdFAAX"
C = "0065g00000ABCdGAAX"
NOW = 1_795_338_931_000
LEASE = 120_000
Either = Ledger | MemoryLedger
MOST = 400 * 1024
"""Bytes of a DynamoDB item."""
MOST_TOGETHER = 4 * 1024 * 1024
"""Bytes of a DynamoDB transaction."""


class Client:
    """A DynamoDB client that makes one call at a time, remembers it, and lets something happen right before.

    meanwhile: called with a call's name before it is made.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.RLock()
        self.exceptions = client.exceptions
        self.calls: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda call: None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*named: str, **given: Any) -> Any:
            self.calls.append(name)
            self.meanwhile(name)
            with self._lock:
                return getattr(self._client, name)(*named, **given)

        return call

    def before(self, name: str, happens: Callable[[], object], times: int = 1) -> None:
        """Let something happen before a call, as often as is said."""
        left = [happens] * times

        def meanwhile(call: str) -> None:
            if call == name and left:
                left.pop()()

        self.meanwhile = meanwhile


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # moto copies every item before a transaction, to roll back: seconds for 200 deals. The ledger only ever
    # puts whole items, so that those before need no copy.
    for kind in (dynamo_type.Item, dynamo_type.DynamoType):
        monkeypatch.setattr(kind, "__deepcopy__", lambda self, memo: self)
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        client.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
                {"AttributeName": "due", "AttributeType": "S"},
                {"AttributeName": "due_at", "AttributeType": "N"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "due",
                    "KeySchema": [
                        {"AttributeName": "due", "KeyType": "HASH"},
                        {"AttributeName": "due_at", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        yield client


@pytest.fixture
def client(dynamodb: Any) -> Client:
    return Client(dynamodb)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whatever does not ask for DynamoDB is tried on both ledgers."""
    if "ledger" in metafunc.fixturenames:
        of_dynamodb = {"client", "dynamodb", "elsewhere"} & {*metafunc.fixturenames}
        metafunc.parametrize("ledger", ["DynamoDB"] if of_dynamodb else ["DynamoDB", "memory"], indirect=True)


@pytest.fixture
def ledger(request: pytest.FixtureRequest, clock: Clock) -> Either:
    if request.param == "memory":
        return MemoryLedger(clock)
    return Ledger(TABLE, request.getfixturevalue("client"), clock, pause=lambda seconds: None)


@pytest.fixture
def elsewhere(dynamodb: Any, clock: Clock) -> Ledger:
    """The ledger as somebody else uses it, in between."""
    return Ledger(TABLE, dynamodb, clock)


def order(quantity: int = 1, opportunity: str = A, account: str = ACCOUNT, **given: Any) -> Order:
    return plain_order(opportunity, account, quantity, **{"account_email": "billing@northwind.example", **given})


def arrival(quantity: int = 1, at: int = 1, opportunity: str = A, **given: Any) -> Arrival:
    return Arrival(order(quantity, opportunity, **given), Revision(at, 0))


def deal_of_200_lines(opportunity: str, account: str = ACCOUNT, longest: int = 70, at: int = 1) -> Arrival:
    """As large as a deal can be, with IDs as long as is said: by default longer than people give. They have nothing in
    common, so that deflating saves little.
    """
    any_text = random.Random(f"{opportunity} {at}")

    def id_of(kind: str, n: int) -> str:
        begins = f"{kind}-{n:03}-"
        return begins + "".join(any_text.choices(string.ascii_letters + string.digits, k=longest - len(begins)))

    items = tuple(
        Item(
            "Entitlement",
            id_of("feature", n),
            5_000_000 + at,
            (n,),
            12.5,
            reset_period="MONTH",
            plan_id=id_of("plan", n),
        )
        for n in range(2, 201)
    )
    return arrival(at=at, opportunity=opportunity, account=account, items=(*order().items, *items))


def items_of(dynamodb: Any, pk: str) -> dict[str, dict[str, Any]]:
    """The items of a partition by sort key."""
    given = {":pk": {"S": pk}}
    pages = dynamodb.get_paginator("query").paginate(
        TableName=TABLE, KeyConditionExpression="pk = :pk", ExpressionAttributeValues=given
    )
    return {item["sk"]["S"]: item for page in pages for item in page["Items"]}


def at_once(count: int) -> list[int]:
    """Rate slots where there is no queue."""
    return [NOW] * count


def one(answers: list[Acceptance]) -> Acceptance:
    (answer,) = answers
    return answer


# Once, whoever is first


def test_of_many_who_send_one_order_at_once_one_has_it_accepted_and_all_hear_of_one_execution(
    ledger: Either,
) -> None:
    senders = 16
    together = threading.Barrier(senders)

    def send(_: int) -> Acceptance:
        together.wait()
        return one(ledger.accept([arrival()]))

    with ThreadPoolExecutor(senders) as pool:
        answers = list(pool.map(send, range(senders)))
    assert sorted(answer.status for answer in answers) == ["accepted"] + ["duplicate"] * (senders - 1)
    assert len({answer.execution for answer in answers}) == 1
    found = ledger.find(A)
    assert found is not None
    assert (found[0].version, found[0].rev) == (1, 1)


def test_orders_of_one_account_that_arrive_at_once_are_all_there_afterwards(ledger: Either) -> None:
    senders = TRIES - 2  # whoever loses a try lost it to somebody who then is done
    together = threading.Barrier(senders)

    def send(number: int) -> Acceptance:
        together.wait()
        return one(ledger.accept([arrival(opportunity=f"0065g00000ABC{number:02}AAX")]))

    with ThreadPoolExecutor(senders) as pool:
        assert {answer.status for answer in pool.map(send, range(senders))} == {"accepted"}
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    assert len(work.customer.opportunities) == work.customer.version == senders


def test_who_was_written_in_between_is_read_again(ledger: Ledger, client: Client, elsewhere: Ledger) -> None:
    client.before("transact_write_items", lambda: elsewhere.accept([arrival(2, at=2)]))
    assert one(ledger.accept([arrival(1, at=1)])).status == "superseded"
    found = ledger.find(A)
    assert found is not None
    assert found[1].order == order(2)


def test_who_loses_every_try_says_so_after_growing_pauses(
    client: Client, clock: Clock, elsewhere: Ledger, dynamodb: Any
) -> None:
    pauses: list[float] = []
    numbers = iter(range(2, 100))
    client.before("transact_write_items", lambda: elsewhere.accept([arrival(n := next(numbers), at=n)]), times=TRIES)
    ledger = Ledger(TABLE, client, clock, pauses.append)
    with pytest.raises(LedgerContended):
        ledger.accept([arrival(opportunity=B)])
    assert len(pauses) == TRIES
    assert all(0 <= pause <= min(0.4, 0.01 * 2**n) for n, pause in enumerate(pauses))
    assert ledger.find(B) is None, "what is not accepted leaves nothing behind"
    assert items_of(dynamodb, f"OPPORTUNITY#{B}") == {}


@pytest.mark.parametrize(
    ("reason", "again"),
    [("TransactionConflict", True), ("ThrottlingError", True), ("ItemCollectionSizeLimitExceeded", False)],
)
def test_only_what_passes_is_tried_again(ledger: Ledger, client: Client, reason: str, again: bool) -> None:
    def refuse() -> None:
        answer = {
            "Error": {"Code": "TransactionCanceledException"},
            "CancellationReasons": [{"Code": reason}, {"Code": "None"}],
        }
        raise client.exceptions.TransactionCanceledException(answer, "TransactWriteItems")

    client.before("transact_write_items", refuse)
    if again:
        assert one(ledger.accept([arrival()])).status == "accepted"
    else:
        with pytest.raises(ClientError):
            ledger.accept([arrival()])
        assert ledger.find(A) is None


# One moment


@pytest.mark.parametrize("older", ["CUSTOMER", f"OPPORTUNITY#{A}", f"OPPORTUNITY#{B}"])
@pytest.mark.parametrize("left_out", [False, True])
def test_nobody_works_with_a_customer_half_from_before_and_half_from_after(
    ledger: Ledger, client: Client, dynamodb: Any, older: str, left_out: bool
) -> None:
    """A query may find some items as they were before a transaction, or not yet, and others as they are after it."""
    ledger.accept([arrival(1, at=1), arrival(1, opportunity=B)])
    before = items_of(dynamodb, f"ACCOUNT#{ACCOUNT}")
    ledger.accept([arrival(2, at=2), arrival(3, at=2, opportunity=B)])
    after = items_of(dynamodb, f"ACCOUNT#{ACCOUNT}")
    torn = {sk: before[sk] if sk == older else item for sk, item in after.items() if not left_out or sk != older}
    reads: list[bool] = []

    def query(**asked: Any) -> Any:
        reads.append(asked["ConsistentRead"])
        found = torn if len(reads) < 3 else after
        return {"Items": list(found.values())}

    client.query = query  # type: ignore[attr-defined]
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    assert reads == [False, True, True], "read once more consistently, and then in the midst of the transaction"
    assert work.customer.version == 2
    assert {id: state.order for id, state in work.customer.opportunities.items()} == {
        A: order(2),
        B: order(3, B),
    }


def test_what_was_decided_by_an_older_state_is_decided_again(
    ledger: Ledger, client: Client, dynamodb: Any, clock: Clock
) -> None:
    """Reads that are not consistent may find the customer whole, and as it was a moment ago."""
    ledger.accept([arrival()])
    older = items_of(dynamodb, f"ACCOUNT#{ACCOUNT}")
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    ledger.record_result(work, Applied({}, {A: Outcome("Provisioned")}, settling(work.customer, A), ensured=False))
    query = client.query

    def stale(**asked: Any) -> Any:
        return query(**asked) if asked["ConsistentRead"] else {"Items": list(older.values())}

    client.query = stale  # type: ignore[attr-defined]
    assert ledger.acquire_lease(ACCOUNT, "two", 0, LEASE) == Busy(NOW + LEASE), "the lease that it does not show"
    known = ledger.customer(ACCOUNT)
    assert not ledger.make_due(ACCOUNT, known.rev - 1, True, (), False), "as it was, it would have been made due"
    older = {}
    assert ledger.acquire_lease(ACCOUNT, "two", 0, LEASE) == Busy(NOW + LEASE), "nothing is there yet"


def test_a_result_is_recorded_on_what_the_lease_holds_and_read_again_only_when_others_wrote(
    ledger: Ledger, client: Client, elsewhere: Ledger
) -> None:
    ledger.accept([arrival()])
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    client.calls.clear()
    ledger.record_result(work, Intended({"product|": 1}))
    ledger.record_result(work, Ensured())
    assert client.calls == ["transact_write_items"] * 2
    elsewhere.accept([arrival(2, at=2), arrival(3, opportunity=B)])
    client.calls.clear()
    outcomes: dict[str, Outcome] = {A: Outcome("Provisioned")}
    customer, _ = ledger.record_result(work, Applied({}, outcomes, settling(work.customer, A), ensured=True))
    assert client.calls == ["transact_write_items", "query", "transact_write_items"]
    assert (customer.applied, customer.version, sorted(customer.opportunities)) == (1, 2, [A, B])
    assert customer.slots["product|"].generation == 1
    assert ledger.record_result(work, Written({}, account=False))[1] == "again", "what came meanwhile is to be done"


def test_a_result_that_changes_nothing_is_recorded_by_the_holder_of_the_lease_alone(
    ledger: Ledger, client: Client, elsewhere: Ledger, clock: Clock
) -> None:
    ledger.accept([arrival()])
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    ledger.record_result(work, Ensured())
    clock.now += LEASE
    assert isinstance(elsewhere.acquire_lease(ACCOUNT, "two", 0, LEASE), Work)
    with pytest.raises(LeaseLost):
        ledger.record_result(work, Ensured())


def test_the_lease_has_one_holder_however_many_ask_at_once(ledger: Either) -> None:
    ledger.accept([arrival()])
    executions = 8
    together = threading.Barrier(executions)

    def ask(number: int) -> object:
        together.wait()
        return ledger.acquire_lease(ACCOUNT, f"execution-{number}", 0, LEASE)

    with ThreadPoolExecutor(executions) as pool:
        answers = list(pool.map(ask, range(executions)))
    assert sum(isinstance(answer, Work) for answer in answers) == 1
    assert answers.count(Busy(NOW + LEASE)) == executions - 1


def test_a_whole_provisioning_is_in_the_ledger_as_it_was_reported(ledger: Either, clock: Clock) -> None:
    ledger.accept([arrival()])
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    ledger.record_result(work, Intended({"product|": 1}))
    subscription = Subscription(
        slot=Slot("product", None),
        plan_id="plan-enterprise",
        unit_quantity=1,
        addons=(("addon-premium-support", 1),),
        entitlements=(Entitlement("FEATURE", "feature-seats", 250),),
        prices=(Price(None, 48000.0, "usd"),),
        billing_period="ANNUALLY",
        payment_collection="INVOICE",
        start=from_iso("2026-12-01T00:00:00.000Z"),
        cancellation=Never(),
        opportunities=(A,),
    )
    record = SlotRecord(1, True, SubscriptionId("sub-1"), "ACTIVE", None, subscription)
    outcome = Outcome("Provisioned", "", (SubscriptionLink("plan-enterprise", SubscriptionId("sub-1"), "ACTIVE"),))
    ledger.record_result(work, Applied({"product|": record}, {A: outcome}, settling(work.customer, A), ensured=True))
    clock.now += 1
    following = ledger.acquire_lease(ACCOUNT, "one", work.lease.token, LEASE)
    assert isinstance(following, Work)
    work = following
    assert work.needs == "write_back"
    assert work.customer.slots == {"product|": record}
    mark = work.customer.opportunities[A].mark(ACCOUNT)
    _, follows = ledger.record_result(work, Written({A: mark}, account=True))
    assert follows == "done"
    found = ledger.find(A)
    assert found is not None
    customer, state = found
    assert (customer.applied, customer.lease, customer.due_at, customer.account_written) == (
        1,
        None,
        None,
        ACCOUNT,
    )
    assert (state.outcome, state.settled, state.written) == (outcome, Contribution(order()), mark)
    with pytest.raises(LeaseLost):
        ledger.record_result(work, Written({}, account=True))


# One owner


def test_an_opportunity_belongs_to_one_account_whoever_is_first(
    ledger: Ledger, client: Client, elsewhere: Ledger
) -> None:
    client.before("transact_write_items", lambda: elsewhere.accept([arrival(account=OTHER_ACCOUNT)]))
    moved, stays = ledger.accept([arrival(1), arrival(2, opportunity=B)])
    assert (moved.status, moved.execution) == ("invalid", None)
    assert [problem.field for problem in moved.problems] == ["account.id"]
    assert OTHER_ACCOUNT in moved.problems[0].message
    assert stays.status == "accepted", "one bad deal does not refuse the others"
    found = ledger.find(A)
    assert found is not None
    assert found[0].account_id == OTHER_ACCOUNT


def test_a_customer_in_stigg_belongs_to_one_account_whoever_is_first(
    ledger: Ledger, client: Client, elsewhere: Ledger
) -> None:
    theirs = arrival(account=OTHER_ACCOUNT, opportunity=B, customer_id="northwind")
    client.before("transact_write_items", lambda: elsewhere.accept([theirs]))
    refused = one(ledger.accept([arrival(customer_id="northwind")]))
    assert refused.status == "invalid"
    assert [problem.field for problem in refused.problems] == ["customerId"]
    found = ledger.find(A)
    assert found is not None
    assert found[0].customer_id is None
    assert one(ledger.accept([arrival(2, at=2, customer_id="northwind-traders")])).status == "accepted"


def test_a_customer_the_users_application_names_belongs_to_one_account_whoever_is_first(
    ledger: Ledger, client: Client, elsewhere: Ledger
) -> None:
    named = Application(NOW, answered=True, customer_id=CustomerId("org-7"))
    ours, theirs = arrival(), arrival(account=OTHER_ACCOUNT, opportunity=B)
    works = []
    for one_arrival in (ours, theirs):
        ledger.accept([one_arrival])
        works.append(ledger.acquire_lease(one_arrival.order.account_id, "one", 0, LEASE))
    mine, other = works
    assert isinstance(mine, Work)
    assert isinstance(other, Work)
    client.before("transact_write_items", lambda: elsewhere.record_result(other, Prepared({B: named})))
    customer, _ = ledger.record_result(mine, Prepared({A: named}))
    application = customer.opportunities[A].application
    assert application is not None
    assert application.problem.endswith(f"customerId org-7 is bound to another account, {OTHER_ACCOUNT}")
    assert customer.customer_id == ACCOUNT
    late = arrival(account="0015g00000XyZbBAAV", opportunity="0065g00000ABCdGAAX", customer_id="org-7")
    assert one(ledger.accept([late])).status == "invalid", "what an application named is taken"
    mended, _ = ledger.record_result(
        mine, Prepared({A: Application(NOW, answered=True, customer_id=CustomerId("org-8"))})
    )
    assert mended.customer_id == "org-8"


# Due


def test_what_is_due_is_claimed_once_the_longest_due_first_and_gone_when_it_is_done(
    ledger: Either, clock: Clock
) -> None:
    ledger.accept([arrival()])
    clock.now += 1
    ledger.accept([arrival(account=OTHER_ACCOUNT, opportunity=B)])
    assert ledger.due(at_once) == []
    clock.now += START_GRACE
    assert [claim.account_id for claim in ledger.due(at_once, most=1)] == [ACCOUNT]
    assert [claim.account_id for claim in ledger.due(at_once)] == [OTHER_ACCOUNT]
    assert ledger.due(at_once) == []
    clock.now += START_GRACE
    claims = ledger.due(at_once)
    assert {claim.account_id for claim in claims} == {ACCOUNT, OTHER_ACCOUNT}, "their starts were lost"
    for account_id, execution, _ in claims:
        work = ledger.acquire_lease(account_id, execution, 0, LEASE)
        assert isinstance(work, Work)
        held = dict.fromkeys(work.customer.opportunities, Outcome("Held", "The plan is gone."))
        customer, _ = ledger.record_result(work, Applied({}, held, {}, ensured=False))
        marks = {id: state.mark(None) for id, state in customer.opportunities.items()}
        assert ledger.record_result(work, Written(marks, account=False))[1] == "done"
    clock.now += 365 * 86_400_000
    assert ledger.due(at_once) == []


def test_what_nobody_starts_is_due_at_once(ledger: Either) -> None:
    ledger.accept([arrival()], starts=False)
    assert [claim.account_id for claim in ledger.due(at_once)] == [ACCOUNT]


def test_only_as_many_are_claimed_as_get_a_turn_and_none_is_started_again_before_its_turn(
    ledger: Either, clock: Clock
) -> None:
    rate_slot = NOW + 3_600_000
    ledger.accept([arrival(), arrival(account=OTHER_ACCOUNT, opportunity=B)], {OTHER_ACCOUNT: rate_slot})
    clock.now += START_GRACE
    assert ledger.due(lambda count: []) == [], "no room: it stays due"
    [claim] = ledger.due(lambda count: [rate_slot])
    assert (claim.account_id, claim.rate_slot) == (ACCOUNT, rate_slot)
    clock.now = rate_slot
    assert ledger.due(at_once) == [], "both wait for their rate slot in the state machine"
    clock.now = rate_slot + START_GRACE
    assert {claim.account_id for claim in ledger.due(at_once)} == {ACCOUNT, OTHER_ACCOUNT}


def test_a_customer_that_is_due_takes_a_turn_for_each_plan_and_begins_with_the_last(
    ledger: Either, clock: Clock
) -> None:
    plans = tuple(Item("Plan", f"plan-{n}", 1, (n,)) for n in range(3))
    third = OTHER_ACCOUNT.replace("C", "D", 1)
    for account, opportunity, items in ((ACCOUNT, A, plans), (OTHER_ACCOUNT, B, plans[:1]), (third, C, plans)):
        ledger.accept([arrival(account=account, opportunity=opportunity, items=items)], starts=False)
        clock.now += 1
    there = iter(range(100))
    asked: list[int] = []

    def rate_slots(count: int) -> list[int]:
        asked.append(count)
        return [NOW + next(there) for _ in range(min(count, 6 - sum(asked[:-1])))]

    claims = ledger.due(rate_slots)
    assert asked == [3, 2, 2], "for those that are left, and what one needs besides"
    assert [claim.rate_slot - NOW for claim in claims] == [2, 3, 5], "the last one takes what is left of 6"


def test_two_sweeps_at_once_claim_a_customer_once(
    ledger: Ledger, client: Client, elsewhere: Ledger, clock: Clock
) -> None:
    ledger.accept([arrival()])
    clock.now += START_GRACE
    theirs: list[Claim] = []
    client.before("transact_write_items", lambda: theirs.extend(elsewhere.due(at_once)))
    assert ledger.due(at_once) == []
    assert len(theirs) == 1


def test_a_customer_nobody_can_claim_just_now_keeps_no_other_one_waiting(
    ledger: Ledger, client: Client, elsewhere: Ledger, clock: Clock
) -> None:
    ledger.accept([arrival()])
    clock.now += 1
    ledger.accept([arrival(account=OTHER_ACCOUNT, opportunity=B)])
    clock.now += START_GRACE
    numbers = iter(range(2, 100))
    client.before("transact_write_items", lambda: elsewhere.accept([arrival(n := next(numbers), at=n)]), times=TRIES)
    assert [claim.account_id for claim in ledger.due(at_once)] == [OTHER_ACCOUNT]
    assert [claim.account_id for claim in ledger.due(at_once)] == [ACCOUNT]


# For good


def test_the_history_holds_every_accepted_order_and_is_never_changed(
    ledger: Ledger, clock: Clock, dynamodb: Any
) -> None:
    history: dict[str, dict[str, Any]] = {}
    for quantity, at in ((1, 1), (1, 1), (1, 2), (2, 3), (2, 1), (1, 4)):
        ledger.accept([arrival(quantity, at=at)])
        clock.now += 1000
        work = ledger.acquire_lease(ACCOUNT, f"execution-{clock.now}", 0, 1)
        assert isinstance(work, Work)
        outcomes: dict[str, Outcome] = {A: Outcome("Provisioned", f"quantity {quantity}")}
        ledger.record_result(work, Applied({}, outcomes, settling(work.customer, A), ensured=True))
        items = items_of(dynamodb, f"OPPORTUNITY#{A}")
        orders = {sk: item for sk, item in items.items() if sk.startswith("ORDER#")}
        assert history.items() <= orders.items()
        history = orders
    kept = [Order.from_json(json.loads(text_of(item))) for _, item in sorted(history.items())]
    assert kept == [order(1), order(2), order(1)]


# Many and large


@pytest.mark.parametrize("deals", [50, pytest.param(200, marks=pytest.mark.long)])
def test_deals_of_one_account_are_one_customers_work_from_the_callout_to_the_write_back(
    ledger: Ledger, client: Client, clock: Clock, deals: int
) -> None:
    """More than a transaction holds: a claim and a report that touch them all are written in pieces."""
    arrivals = [arrival(n, opportunity=f"0065g0000{n:06}AAX", at=n) for n in range(1, deals + 1)]
    answers = ledger.accept(arrivals)
    assert {answer.status for answer in answers} == {"accepted"}
    assert [answer.opportunity_id for answer in answers] == [a.order.opportunity_id for a in arrivals]
    assert client.calls.count("transact_write_items") == -(-deals // 32)
    assert len({answer.execution for answer in answers}) == 1, "one bulk save, one execution"
    assert {answer.status for answer in ledger.accept(arrivals)} == {"duplicate"}
    clock.now += START_GRACE
    ((_, execution, _),) = ledger.due(at_once)
    work = ledger.acquire_lease(ACCOUNT, execution, 0, LEASE)
    assert isinstance(work, Work)
    states = work.customer.opportunities
    assert {id: state.order for id, state in states.items()} == {a.order.opportunity_id: a.order for a in arrivals}
    assert {state.execution for state in states.values()} == {execution}
    customer, _ = ledger.record_result(
        work, Applied({}, dict.fromkeys(states, Outcome("Provisioned")), settling(work.customer), ensured=True)
    )
    marks = {id: state.mark(ACCOUNT) for id, state in customer.opportunities.items()}
    assert ledger.record_result(work, Written(marks, account=True))[1] == "done"
    found = ledger.find(arrivals[-1].order.opportunity_id)
    assert found is not None
    customer, state = found
    assert (customer.applied, customer.lease, customer.due_at) == (customer.version, None, None)
    assert (state.settled, state.written) == (Contribution(arrivals[-1].order), state.mark(ACCOUNT))


def test_the_parts_of_a_request_that_bring_nothing_new_name_no_execution_for_the_others(ledger: Ledger) -> None:
    """The execution of what was known before may have ended: its name would start nothing."""
    arrivals = [arrival(n, opportunity=f"0065g0000{n:06}AAX", at=n) for n in range(1, 101)]
    first = ledger.accept(arrivals[:40])
    both = ledger.accept(arrivals)
    assert [answer.status for answer in both] == ["duplicate"] * 40 + ["accepted"] * 60
    [known], [new] = ({answer.execution for answer in some} for some in (both[:40], both[40:]))
    assert (known == first[0].execution, known != new) == (True, True)
    assert all(answer.start for answer in both)


def test_a_request_that_ends_between_its_transactions_is_due_and_sent_again_it_is_whole(
    ledger: Ledger, client: Client, clock: Clock
) -> None:
    arrivals = [arrival(n, opportunity=f"0065g0000{n:06}AAX", at=n) for n in range(1, 101)]

    def die(call: str) -> None:
        if client.calls.count("transact_write_items") > 2:
            raise ConnectionError

    client.meanwhile = die
    with pytest.raises(ConnectionError):
        ledger.accept(arrivals)
    client.meanwhile = lambda call: None
    known = ledger.customer(ACCOUNT)
    assert (known.version, known.due_at, len(known.opportunities)) == (2, NOW + START_GRACE, 64)
    statuses = [answer.status for answer in ledger.accept(arrivals)]
    assert statuses == ["duplicate"] * 64 + ["accepted"] * 36
    clock.now += START_GRACE
    [claim] = ledger.due(at_once)
    states = ledger.customer(ACCOUNT).opportunities.values()
    assert {state.execution for state in states} == {claim.execution}, "one execution does what is due of all parts"


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_report_that_ends_between_its_pieces_was_not_made_and_is_made_again(
    ledger: Ledger, client: Client, pieces: int
) -> None:
    ledger.accept([arrival(n, opportunity=f"0065g0000{n:06}AAX", at=n) for n in range(1, 210)])
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    report = Applied({}, dict.fromkeys(work.customer.opportunities, Outcome("Held", "why")), {}, ensured=True)
    client.calls.clear()

    def die(call: str) -> None:
        if client.calls.count("transact_write_items") > pieces:
            raise ConnectionError

    client.meanwhile = die
    with pytest.raises(ConnectionError):
        ledger.record_result(work, report)
    client.meanwhile = lambda call: None
    busy = ledger.acquire_lease(ACCOUNT, "two", 0, LEASE)
    assert busy == Busy(NOW + LEASE), "it still holds the lease, and nothing is applied"
    again, _ = ledger.record_result(work, report)
    assert again.applied == work.customer.version
    assert {state.outcome.status for state in again.opportunities.values()} == {"Held"}


def test_deals_of_many_accounts_are_answered_in_turn_and_started_by_as_many_sweeps_as_it_takes(
    ledger: Either, clock: Clock
) -> None:
    arrivals = [
        arrival(n, account=f"0015g0000{n:06}AAX", opportunity=f"0065g0000{n:06}AAX", at=n) for n in range(1, 61)
    ]
    answers = ledger.accept(arrivals)
    assert [answer.opportunity_id for answer in answers] == [a.order.opportunity_id for a in arrivals]
    assert {answer.status for answer in answers} == {"accepted"}
    clock.now += START_GRACE
    claims = [*ledger.due(at_once, most=50), *ledger.due(at_once, most=50)]
    assert {claim.account_id for claim in claims} == {a.order.account_id for a in arrivals}


def test_the_largest_usual_deals_stay_far_below_what_an_item_holds(ledger: Ledger, dynamodb: Any) -> None:
    arrivals = [deal_of_200_lines(f"0065g0000{n:06}AAX") for n in range(1, 31)]
    ledger.accept(arrivals)
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    assert len(work.customer.opportunities) == 30
    done = dict.fromkeys(work.customer.opportunities, Outcome("Provisioned"))
    ledger.record_result(
        work, Applied({}, done, settling(work.customer), ensured=True)
    )  # now each order is there twice
    newest = items_of(dynamodb, f"ACCOUNT#{ACCOUNT}")[f"OPPORTUNITY#{arrivals[0].order.opportunity_id}"]
    assert size(newest) < MOST / 2


@pytest.mark.parametrize("deals", [24, pytest.param(40, marks=pytest.mark.long)])
def test_deals_with_the_longest_ids_take_as_many_transactions_as_their_bytes_need(
    ledger: Ledger, client: Client, deals: int
) -> None:
    written: list[int] = []
    accepting: list[int] = []
    transact = client.transact_write_items

    def counted(**given: Any) -> Any:
        assert len(given["TransactItems"]) <= 100
        written.append(sum(size(write["Put"]["Item"]) for write in given["TransactItems"]))
        return transact(**given)

    client.transact_write_items = counted  # type: ignore[attr-defined]
    opportunities = [f"0065g0000{n:06}AAX" for n in range(1, deals + 1)]
    for revision in (1, 2):  # the second time the order that was provisioned is there as well
        arrivals = [deal_of_200_lines(opportunity, longest=200, at=revision) for opportunity in opportunities]
        before = len(written)
        answers = ledger.accept([arrival._replace(revision=Revision(revision, 0)) for arrival in arrivals])
        accepting.append(len(written) - before)
        assert len({answer.execution for answer in answers}) == 1
        assert [(answer.opportunity_id, answer.status) for answer in answers] == [
            (id, "accepted") for id in opportunities
        ]
        work = ledger.acquire_lease(ACCOUNT, str(revision), 0, LEASE)
        assert isinstance(work, Work)
        assert sorted(work.customer.opportunities) == opportunities
        done = dict.fromkeys(opportunities, Outcome("Provisioned"))
        applied, _ = ledger.record_result(work, Applied({}, done, settling(work.customer), ensured=True))
        marks = {id: state.mark(applied.shown_id) for id, state in applied.opportunities.items()}
        ledger.record_result(work, Written(marks, account=True))
    assert max(written) < MOST_TOGETHER < sum(written)
    assert accepting[1] > -(-deals // 32), "more than their number alone would take"
    assert {ledger.find(id)[1].outcome.status for id in opportunities} == {"Provisioned"}  # type: ignore[index]


def size(item: dict[str, Any]) -> int:
    """Bytes of an item, a little more than DynamoDB counts. What is written here is ASCII."""
    return sum(len(name) + len(one) for name, value in item.items() for one in value.values())


def test_every_order_of_an_opportunity_is_told_in_the_order_in_which_it_was_accepted(
    ledger: Either, clock: Clock
) -> None:
    for quantity, at in ((3, 10), (1, 20), (2, 15)):  # the last one is superseded
        clock.now += 1000
        ledger.accept([arrival(quantity, at)])
    told = ledger.orders(A)
    assert [(one.at, one.revision.modified, one.order.items[0].quantity) for one in told] == [
        (NOW + 1000, 10, 3),
        (NOW + 2000, 20, 1),
    ]
    assert ledger.orders("0065g00000NOBODYAA") == []


def test_the_account_of_a_customer_in_stigg_is_found(ledger: Either) -> None:
    ledger.accept([arrival(customer_id="customer-acme")])
    assert ledger.bound_to("customer-acme") == ACCOUNT
    assert ledger.bound_to("somebody-else") is None


def test_what_is_held_is_let_through_once_and_only_what_it_says(ledger: Either, clock: Clock) -> None:
    assert ledger.approve(A, "removal", 0) == ("unknown", None)
    ledger.accept([arrival()])
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    held = Outcome("Held", "Half of it would go.", approval="removal")
    customer, _ = ledger.record_result(work, Applied({}, {A: held}, {}, ensured=False))
    ledger.record_result(work, Written({A: customer.opportunities[A].mark(None)}, account=False))
    assert ledger.approve(A, "something else", 0) == ("unknown", None)
    status, claim = ledger.approve(A, "removal", NOW + 5)
    assert status == "approved"
    assert claim is not None
    assert (claim.account_id, claim.rate_slot) == (ACCOUNT, NOW + 5)
    status, same = ledger.approve(A, "removal", 0)
    assert (status, same and same.execution) == ("approved", claim.execution)
    known = ledger.customer(ACCOUNT)
    assert (known.approved, known.version, known.opportunities[A].execution) == (("removal",), 2, claim.execution)


def test_who_is_made_due_is_looked_at_again_unless_it_was_written_since(ledger: Either, clock: Clock) -> None:
    ledger.accept([arrival()])
    work = ledger.acquire_lease(ACCOUNT, "one", 0, LEASE)
    assert isinstance(work, Work)
    customer, _ = ledger.record_result(
        work, Applied({}, {A: Outcome("Provisioned")}, settling(work.customer, A), ensured=True)
    )
    ledger.record_result(work, Written({A: customer.opportunities[A].mark(ACCOUNT)}, account=True))
    clock.now += 1000
    known = ledger.customer(ACCOUNT)
    assert (known.due_at, ledger.waiting(0)) == (None, 0)
    assert not ledger.make_due(ACCOUNT, known.rev - 1, True, (), False), "what was seen may be mended already"
    assert ledger.make_due(ACCOUNT, known.rev, True, (A,), True)
    due = ledger.customer(ACCOUNT)
    assert (due.due_at, due.look_again_at, due.account_written) == (clock.now, clock.now, None)
    assert (due.opportunities[A].written, due.rev) == (None, known.rev + 1)
    clock.now += 60_000
    assert (ledger.waiting(0), list(ledger.overdue(60_000)), list(ledger.overdue(60_001))) == (1, [ACCOUNT], [])


def test_who_is_erased_is_named_nowhere_and_nothing_becomes_due(ledger: Either, clock: Clock) -> None:
    for at in (1, 2):
        ledger.accept([arrival(at, at=at), arrival(at, at=at, opportunity=B)])
    before = ledger.customer(ACCOUNT)
    assert ledger.erase(ACCOUNT) == [A, B]
    after = ledger.customer(ACCOUNT)
    kept = [one.order for id in (A, B) for one in ledger.orders(id)]
    assert {(known.opportunity_id, known.items[0].quantity) for known in kept} == {(A, 1), (A, 2), (B, 1), (B, 2)}
    for text in (str(after), str(kept)):
        assert "Northwind" not in text
        assert "billing@" not in text
    assert (after.version, after.due_at) == (before.version, before.due_at)
    assert ledger.erase(ACCOUNT) == [A, B]
    assert ledger.erase(OTHER_ACCOUNT) == []


def test_what_is_foreseen_is_what_accepting_does_and_nothing_is_written(ledger: Either) -> None:
    ledger.accept([arrival(opportunity=B, account=OTHER_ACCOUNT)])
    arrivals = [arrival(), arrival(opportunity=B), arrival(opportunity=C, customer_id=OTHER_ACCOUNT)]
    known, foreseen, answers = ledger.foresee(ACCOUNT, arrivals)
    assert (known, ledger.customer(ACCOUNT)) == (known, known)
    assert (known.version, ledger.find(A), ledger.owners([A, B])) == (0, None, {B: OTHER_ACCOUNT})
    assert ledger.accept(arrivals) == answers
    assert [answer.status for answer in answers] == ["accepted", "invalid", "invalid"]
    assert [answer.problems[0].field for answer in answers[1:]] == ["account.id", "customerId"]
    now = ledger.customer(ACCOUNT)
    assert now.opportunities == foreseen.opportunities
    assert (now.version, now.customer_id) == (foreseen.version, foreseen.customer_id)
    assert ledger.owners([A, B, C, "0065g00000NOBODYAA"]) == {A: ACCOUNT, B: OTHER_ACCOUNT, C: ACCOUNT}


def test_a_deal_is_found_with_its_customer_but_without_the_others(ledger: Either) -> None:
    ledger.accept([arrival(), arrival(2, opportunity=B)])
    found = ledger.find(B)
    assert found is not None
    customer, state = found
    assert (set(customer.opportunities), state.order.items[0].quantity) == ({B}, 2)
    assert set(ledger.customer(ACCOUNT).opportunities) == {A, B}
    assert ledger.find(C) is None
    assert ledger.customer(OTHER_ACCOUNT) == Customer(OTHER_ACCOUNT)


def test_the_catalogue_and_what_the_operator_lets_happen_are_kept(ledger: Either, clock: Clock) -> None:
    assert (ledger.snapshot(), ledger.control()) == (None, Control())
    ledger.keep_snapshot('{"plans": []}')
    clock.now += 1
    ledger.set_control("pause", "Stigg moves the environment")
    assert ledger.snapshot() == '{"plans": []}'
    assert ledger.control() == Control("pause", NOW + 1, "Stigg moves the environment")


# The snapshot of the catalogue: a cache of any size


def of_some_size(bytes_: int) -> str:
    """A text that does not become smaller when it is deflated."""
    return random.Random(1).randbytes(bytes_ // 2).hex()


@pytest.mark.parametrize("size", [10, 100_000, 1_500_000])
def test_a_snapshot_of_any_size_is_kept(ledger: Either, size: int) -> None:
    for text in (of_some_size(size), of_some_size(size + 200_000), of_some_size(10)):
        ledger.keep_snapshot(text)
        assert ledger.snapshot() == text


def test_a_snapshot_that_two_wrote_at_one_time_is_none() -> None:
    first, second = (list(catalogue_items(of_some_size(size))) for size in (1_500_000, 1_700_000))
    assert snapshot_of(second) == of_some_size(1_700_000)
    assert snapshot_of([*second[:2], *first[2:]]) is None
    assert snapshot_of(second[:-2] + second[-1:]) is None
    assert snapshot_of([{"pk": {"S": "CATALOGUE"}, "sk": {"S": "CATALOGUE"}, "elsewhere": {"S": "x"}}]) is None
    assert snapshot_of([]) is None
    assert all(size_of(item) <= MOST for item in second)
