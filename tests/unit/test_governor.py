"""The governor: rate slots and writes go as fast as Stigg's limits allow, and never faster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Lock
from typing import Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from benchmarks import burst
from benchmarks.burst import Table
from closedwon.domain.acceptance import Acceptance, Arrival
from closedwon.domain.errors import GovernorBusy, LedgerContended
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.order import Revision
from closedwon.provisioning import accepting
from closedwon.stigg.rate_limit import CALL, ENTITY, INLINE, TRIES, Booking, Governor, Rate
from unit.aws import make_ledger
from unit.domain import ACCOUNT, a_deal, opportunity_id, order_of, plan

OTHER = "0015g00000XyZaCAAV"
NOW = 1_795_338_931_000
MINUTE = 60_000
LIMIT = 250
RATE = Rate.within(LIMIT, 80)
RATES: Any = {"executions": RATE, "update": RATE, "list subscriptions": Rate.within(1500, 80)}


class Clock:
    """A clock that is moved by whoever waits for it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += round(seconds * 1000)


class Counting:
    """A client that counts updates. One at a time, as DynamoDB does those of one item; moto's checks and writes are not
    one.
    """

    def __init__(self, client: Any) -> None:
        self.exceptions = client.exceptions
        self.updates = 0
        self._client = client
        self._lock = Lock()

    def update_item(self, **request: Any) -> Any:
        with self._lock:
            self.updates += 1
            return self._client.update_item(**request)


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-central-1")
        make_ledger(client)
        yield client


@pytest.fixture
def client(dynamodb: Any) -> Counting:
    return emptied(dynamodb)


def emptied(dynamodb: Any) -> Counting:
    for item in dynamodb.scan(TableName="ledger")["Items"]:
        dynamodb.delete_item(TableName="ledger", Key={name: item[name] for name in ("pk", "sk")})
    return Counting(dynamodb)


def governor(client: Any, clock: Clock) -> Governor:
    return Governor("ledger", client, RATES, ENTITY, clock, clock.pause)


def tat(dynamodb: Any, bucket: str) -> int:
    """A budget as the table has it."""
    key = {"pk": {"S": f"GOVERNOR#{bucket}"}, "sk": {"S": "GOVERNOR"}}
    return int(dynamodb.get_item(TableName="ledger", Key=key)["Item"]["tat"]["N"])


def most_in_a_minute(times: list[int]) -> int:
    """The most that go in any sliding minute."""
    times = sorted(times)
    return max((sum(start <= other < start + MINUTE for other in times) for start in times), default=0)


@given(st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 120)), max_size=12))
@settings(max_examples=40)
def test_whatever_arrives_no_minute_has_more_than_the_limit_and_a_queue_drains_at_the_share(
    dynamodb: Any, arrivals: list[tuple[int, int]]
) -> None:
    clock, client = Clock(), emptied(dynamodb)
    one, other = governor(client, clock), governor(client, clock)
    times: list[int] = []
    for number, (later, count) in enumerate(arrivals):
        clock.now += later
        given = (one, other)[number % 2].rate_slots(count)
        assert len(given) == count
        assert all(time >= clock.now for time in given)
        assert list(given) == sorted(given)
        times += given
    assert most_in_a_minute(times) <= LIMIT
    waiting = sorted(time for time in times if time > clock.now)
    gaps = {after - before for before, after in pairwise(waiting)}
    assert gaps <= {300}, "a queue goes at 200 a minute: the share, and no less"


def test_a_share_is_computed_exactly() -> None:
    assert Rate(interval=300_000, burst=25) == RATE
    assert Rate(interval=21_052_632, burst=1) == Rate.within(3, 95), "never faster than the share; one may always go"


@given(
    st.integers(1, 3000),
    st.integers(1, 95),
    st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 60)), min_size=1, max_size=12),
)
def test_no_limit_and_no_share_that_the_template_takes_is_exceeded(
    limit: int, percent: int, arrivals: list[tuple[int, int]]
) -> None:
    clock = Clock()
    rate_slots = Governor("", Table(), {"executions": Rate.within(limit, percent)}, ENTITY, clock, clock.pause)
    times: list[int] = []
    for later, count in arrivals:
        clock.now += later
        times += rate_slots.rate_slots(count)
    assert most_in_a_minute(times) <= limit


@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 300), st.none() | st.integers(0, 90_000))))
def test_within_a_horizon_all_that_fits_is_given_and_who_comes_next_finds_nothing_else_reserved(
    requests: list[tuple[int, int, int | None]],
) -> None:
    clock, table = Clock(), Table()
    one, other = governor(table, clock), governor(table, clock)
    expected = 0.0
    for number, (later, count, horizon) in enumerate(requests):
        clock.now += later
        given = (one, other)[number % 2].rate_slots(count, horizon)
        start = max(expected, clock.now)
        all_of_them = [max(clock.now, start + 300 * (place - RATE.burst + 1)) for place in range(count)]
        fitting = [time for time in all_of_them if horizon is None or time <= clock.now + horizon]
        assert list(given) == fitting
        if given:
            expected = start + 300 * len(given)


requests_of_a_budget = st.lists(
    st.tuples(
        st.integers(0, 30_000),
        st.integers(0, 1),
        st.integers(1, 250),
        st.none() | st.integers(0, 60_000) | st.just("given back"),
    ),
    max_size=12,
)


@given(requests_of_a_budget)
@settings(max_examples=25)
def test_the_table_of_the_benchmark_answers_as_dynamodb_does(
    dynamodb: Any, requests: list[tuple[int, int, int, int | str | None]]
) -> None:
    def answers(client: Any) -> list[tuple[int, ...]]:
        clock = Clock()
        both = governor(client, clock), governor(client, clock)
        given: list[tuple[int, ...]] = []
        booked: list[Booking] = []
        for later, which, count, horizon in requests:
            clock.now += later
            if isinstance(horizon, str):
                booked.append(both[which].book({str(n): 1 for n in range(count)}))
                both[which].give_back(booked[len(booked) // 2], {"0"})  # that one, or an earlier one
                given.append(tuple(booked[-1].starts.values()))
            else:
                given.append(both[which].rate_slots(count, horizon))
        return given

    assert answers(Table()) == answers(emptied(dynamodb))


def test_a_few_go_at_once_and_a_burst_in_its_turn(client: Counting) -> None:
    clock = Clock()
    few = governor(client, clock).rate_slots(RATE.burst)
    assert few == (NOW,) * RATE.burst
    later = governor(client, clock).rate_slots(3)
    assert later == (NOW + 300, NOW + 600, NOW + 900)


def test_turns_within_a_horizon_are_those_that_fit_and_nothing_more_is_reserved(client: Counting) -> None:
    clock = Clock()
    within = governor(client, clock)
    assert len(within.rate_slots(1000, MINUTE)) == RATE.burst + 200
    assert within.rate_slots(1000, MINUTE) == ()
    assert governor(client, clock).rate_slots(1000, MINUTE) == (), "another process learns it from the table"
    assert governor(client, clock).rate_slots(1) == (NOW + MINUTE + 300,), "a callout goes right after it"
    clock.now += 30_000
    assert len(within.rate_slots(1000, MINUTE)) == 99


def test_reserving_takes_one_update_wherever_the_queue_is(client: Counting) -> None:
    clock = Clock()
    busy = governor(client, clock)
    busy.rate_slots(100)
    client.updates = 0
    for _ in range(5):
        busy.rate_slots(10)
    assert client.updates == 5
    clock.now += 3_600_000
    busy.rate_slots(1)
    assert client.updates == 6


def test_nobody_gets_a_turn_twice_however_many_ask_at_once(client: Counting) -> None:
    clock = Clock()

    def ask(_: int) -> tuple[int, ...]:
        return governor(client, clock).rate_slots(7)

    with ThreadPoolExecutor(8) as pool:
        given = [time for times in pool.map(ask, range(40)) for time in times]
    assert sorted(given)[RATE.burst :] == [NOW + 300 * place for place in range(1, 280 - RATE.burst + 1)]


def test_a_write_waits_for_a_short_while_itself_and_else_is_refused_before_it_is_sent(
    client: Counting, dynamodb: Any
) -> None:
    clock = Clock()
    writing = governor(client, clock)
    for number in range(RATE.burst + 10):
        writing.write("update", f"subscription {number}")
    assert clock.now == NOW + 10 * 300
    writing.reserve("update", 100)
    before, queue = clock.now, tat(dynamodb, "update")
    for _ in range(5):
        with pytest.raises(GovernorBusy):
            governor(client, clock).write("update", "subscription of another")
    assert clock.now == before
    assert tat(dynamodb, "update") == queue, "however often it is tried: who is refused takes nobody's place"


def test_turns_that_are_given_back_are_there_for_the_next_unless_somebody_waits_behind_them(client: Counting) -> None:
    clock = Clock()
    ours, theirs = governor(client, clock), governor(client, clock)
    ours.rate_slots(RATE.burst)
    booking = ours.book({"a": 1, "b": 3, "c": 2})
    assert booking.starts == {"a": NOW + 300, "b": NOW + 1200, "c": NOW + 1800}, "each begins with its last"
    ours.give_back(booking, {"b"})
    assert theirs.rate_slots(1) == (NOW + 1500,), "what lies before a rate slot that is used is lost"
    ours.give_back(booking, set())
    assert theirs.rate_slots(1) == (NOW + 1800,), "others have reserved since"


def test_the_sweep_finds_room_again_once_turns_were_given_back(client: Counting) -> None:
    clock = Clock()
    callouts, sweep = governor(client, clock), governor(client, clock)
    booking = callouts.book({str(n): 1 for n in range(1000)})
    assert sweep.rate_slots(10, MINUTE) == ()
    callouts.give_back(booking, set())
    assert len(sweep.rate_slots(10, MINUTE)) == 10


def test_a_write_does_not_begin_where_its_answer_could_come_after_the_functions_end(
    client: Counting, dynamodb: Any
) -> None:
    clock = Clock()
    writing = governor(client, clock)
    with writing.ending_in(60_000):
        while clock.now <= NOW + 60_000 - CALL:
            writing.write("update", "subscription one")
            clock.now += 3_000
        queue = tat(dynamodb, "subscription one")
        with pytest.raises(GovernorBusy):
            writing.write("update", "subscription one")
        with pytest.raises(GovernorBusy):
            writing.write("update", "subscription two")
    assert clock.now < NOW + 60_000 - CALL + 4_000, "nor does it wait until it would be too late"
    assert tat(dynamodb, "subscription one") == queue, "nothing is reserved for it"
    with writing.ending_in(5_000):
        writing.write("update", "subscription two")


def test_an_entity_that_is_busy_costs_the_others_nothing(client: Counting, dynamodb: Any) -> None:
    clock = Clock()
    writing = governor(client, clock)
    for _ in range(ENTITY.burst + 1):
        writing.write("update", "subscription one")
    clock.now = NOW  # another function, at the same time: it would have to wait for 8 seconds
    queue = tat(dynamodb, "update")
    with pytest.raises(GovernorBusy):
        governor(client, clock).write("update", "subscription one")
    assert clock.now == NOW
    assert tat(dynamodb, "update") == queue


def test_who_never_gets_through_says_so_and_has_reserved_nothing() -> None:
    class Elsewhere(Table):
        """Every update is refused: somebody else was faster, with a queue and without one in turn."""

        tries = 0

        def update_item(self, Key: Any, ExpressionAttributeValues: Any, **_: Any) -> Any:
            self.tries += 1
            now = int(ExpressionAttributeValues[":now"]["N"])
            there = now - 1 if ":cost" in ExpressionAttributeValues else now + 1
            raise self.exceptions.ConditionalCheckFailedException({"tat": {"N": str(there)}})

    table = Elsewhere()
    with pytest.raises(LedgerContended):
        governor(table, Clock()).rate_slots(1)
    assert table.tries == TRIES
    assert table.tat == {}


def test_one_entity_is_written_no_more_than_thirty_times_a_minute(client: Counting) -> None:
    clock, times = Clock(), []
    writing = governor(client, clock)
    for _ in range(60):
        try:
            writing.write("update", "subscription one")
            times.append(clock.now)
        except GovernorBusy:
            clock.now += INLINE
    assert most_in_a_minute(times) <= 30
    assert len(times) > 20


def test_a_budget_that_nobody_used_for_a_day_is_forgotten(client: Counting, dynamodb: Any) -> None:
    governor(client, Clock()).rate_slots(1)
    [item] = dynamodb.scan(TableName="ledger")["Items"]
    assert item["pk"]["S"] == "GOVERNOR#executions"
    assert int(item["expires"]["N"]) == NOW // 1000 + 86_400


def test_an_execution_takes_a_turn_for_each_subscription_it_makes(client: Counting) -> None:
    rate_slots = governor(client, Clock())
    rate_slots.rate_slots(RATE.burst)
    both = a_deal(plan(), plan("plan-analytics"), changes={"account.id": OTHER})
    arrivals = [Arrival(order_of(deal), Revision(1, 1)) for deal in (a_deal(plan()), both)]
    assert accepting.rate_slots_of(arrivals, rate_slots).starts == {ACCOUNT: NOW + 300, OTHER: NOW + 900}


@pytest.mark.parametrize(
    ("status", "start", "next_rate_slot"),
    [("accepted", True, 900), ("duplicate", True, 300), ("superseded", False, 300)],
)
def test_a_callout_that_is_sent_twice_takes_its_rate_slots_once(
    client: Counting, status: Any, start: bool, next_rate_slot: int
) -> None:
    rate_slots = governor(client, Clock())
    rate_slots.rate_slots(RATE.burst)
    arrival = Arrival(order_of(a_deal(plan(), plan("plan-analytics"))), Revision(1, 1))
    booking = accepting.rate_slots_of([arrival], rate_slots)
    acceptance = Acceptance(OpportunityId(opportunity_id(1)), status, "execution", start=start)
    accepting.give_back(booking, [(ACCOUNT, acceptance)], rate_slots)
    assert rate_slots.rate_slots(1) == (NOW + next_rate_slot,)


@pytest.mark.parametrize("most_plans", [1, burst.MOST_PLANS])
def test_a_burst_goes_at_the_share_of_the_limits_whatever_is_due_besides(most_plans: int) -> None:
    drained = burst.drain(most_plans=most_plans)
    assert drained.share > 0.95
    assert drained.throttled < 0.01
    assert drained.transitions <= 2
    assert drained.lost == 0
    assert drained.behind <= 60
