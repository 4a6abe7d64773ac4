"""The governor: each request to Stigg reserves a rate slot first, so that Stigg's limits are never reached.

One budget for each kind of request, shared by all executions, and one for the writes to each entity (GCRA, the generic
cell rate algorithm). A budget is one number in the ledger's table, the theoretical arrival time: when the next request
would go if requests came exactly at the rate. Reserving moves it on, by one conditional update, and says when to go: a
request that waits does not ask again, which keeps the table's load at one write a request.

Executions are started by rate slots: a budget of its own at the rate of writes, so that there is almost never anything
to wait for once an execution runs. The state machine waits for the rate slot (WaitForRateSlot), not a function. What
is due (repairs, the backfill, dates) takes rate slots only as far as they come within the sweep's period, so that
callouts never wait for longer than that behind it.

| pk | sk | what |
|---|---|---|
| ``GOVERNOR#<kind>`` | ``GOVERNOR`` | tat, epoch microseconds; expires |
| ``GOVERNOR#<entity>`` | ``GOVERNOR`` | the same for the writes to one entity (``customer acme``) |
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import accumulate, takewhile
from typing import Any, Literal, NamedTuple

from closedwon.aws import metrics
from closedwon.domain.errors import GovernorBusy, LedgerContended

Kind = Literal[
    "executions",
    "provision customer",
    "provision subscription",
    "update",
    "cancel",
    "grant",
    "list subscriptions",
    "read",
]
"""The kinds of requests, as Stigg's limits count them; and the rate slots of executions."""

MINUTE = 60_000_000
"""In microseconds."""

EXPIRES = 86_400
"""Seconds after which an unused budget is deleted: an empty one and none are the same."""

INLINE = 5_000
"""Milliseconds that a function waits for a rate slot itself. For a longer time the state machine waits."""

CALL = 20_000
"""Milliseconds that a function keeps free for the answer to a write: as long as it waits for one."""

TRIES = 10


class Rate(NamedTuple):
    """A rate. interval: microseconds between requests; burst: how many may go at once."""

    interval: int
    burst: int

    @classmethod
    def within(cls, limit: int, percent: int) -> Rate:
        """A share of a limit a minute. In: the limit, from 1; the share in percent, 1 to 99.

        Half of what the share leaves over may go at once: any sliding minute then has at most the burst and a minute's
        worth at the rate, which is within the limit, with the other half for clocks and networks.
        """
        # Rounded up: an interval that is a fraction too short would in the end go beyond the share.
        return cls(-(-100 * MINUTE // (limit * percent)), max(1, limit * (100 - percent) // 200))

    @property
    def tolerance(self) -> int:
        return self.interval * (self.burst - 1)

    def times(self, tat: int, now: int, count: int) -> tuple[int, ...]:
        """When so many requests may go. In: the theoretical arrival time of the first, and now. Microseconds."""
        return tuple(max(now, tat + place * self.interval - self.tolerance) for place in range(count))

    def fitting(self, tat: int, latest: int) -> int:
        """How many may go until then, from that theoretical arrival time on."""
        return max(0, (latest + self.tolerance - tat) // self.interval + 1)


class Booking(NamedTuple):
    """Rate slots that were reserved for several executions, by name. starts: when each may begin, in epoch
    milliseconds, in the order they were requested; needs: how many rate slots each took; tat: the budget's theoretical
    arrival time after them.
    """

    starts: dict[str, int]
    needs: Mapping[str, int]
    tat: int


class Governor:
    """The budgets, in one DynamoDB table.

    In: the table's name; a boto3 DynamoDB client; the rates by kind; that of the writes to one entity; clock, epoch
    milliseconds; pause, which waits for seconds.
    """

    def __init__(
        self,
        table: str,
        client: Any,
        rates: Mapping[Kind, Rate],
        entity: Rate,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._table = table
        self._client = client
        self._rates = rates
        self._entity = entity
        self._clock = clock
        self._pause = pause
        self._tat: dict[str, int] = {}  # as it was last seen: which of the two updates to try first
        self._latest: int | None = None  # when a write may begin at the latest, epoch milliseconds

    def rate_slots(self, count: int, horizon: int | None = None) -> tuple[int, ...]:
        """When so many executions may begin, in epoch milliseconds: of those that may within the horizon (milliseconds
        from now), where there is one. Raises LedgerContended.
        """
        return self._reserve("executions", self._rates["executions"], count, horizon)

    def book(self, needs: Mapping[str, int]) -> Booking:
        """Reserve rate slots for several executions that need one or more each, which begin with their last.

        In: how many each needs, at least 1, by any name. Raises LedgerContended.
        """
        times = self.rate_slots(sum(needs.values())) if needs else ()
        starts = {name: times[end - 1] for name, end in zip(needs, accumulate(needs.values()), strict=True)}
        return Booking(starts, needs, self._tat.get("executions", 0))

    def give_back(self, booking: Booking, used: Collection[str]) -> None:
        """Give back unused rate slots, from the last one on. In: the names of those that use theirs.

        Slots before the last used one are lost, and so are all of them where somebody reserved since: those that wait
        behind have been told when to go, and do not ask again.
        """
        unused = sum(booking.needs[name] for name in takewhile(lambda name: name not in used, reversed(booking.starts)))
        if not unused:
            return
        left = booking.tat - unused * self._rates["executions"].interval
        with suppress(self._client.exceptions.ConditionalCheckFailedException):
            self._client.update_item(
                TableName=self._table,
                Key=_key("executions"),
                UpdateExpression="SET tat = :left",
                ConditionExpression="tat = :tat",
                ExpressionAttributeValues={":left": {"N": str(left)}, ":tat": {"N": str(booking.tat)}},
            )

    def reserve(self, kind: Kind, count: int = 1) -> int:
        """When the last of so many requests may go, in epoch milliseconds. Raises LedgerContended."""
        metrics.note("StiggReserved", count, Kind=kind)
        return self._reserve(kind, self._rates[kind], count)[-1]

    def wait(self, kind: Kind, count: int) -> None:
        """Wait until so many requests may go, however long: for work that has time. Raises LedgerContended."""
        if count and (ahead := self.reserve(kind, count) - self._clock()) > 0:
            self._pause(ahead / 1000)

    def write(self, kind: Kind, entity: str) -> None:
        """Wait for the rate slot of one write. entity: what it changes, such as ``customer acme``.

        The entity's rate slot is reserved first. If the common budget is full then, only a place in this entity's own
        queue is lost. The other way round, each try for a busy entity would cost everybody a place.

        Raises GovernorBusy, before anything is sent, when the slot comes later than a function waits, or too late for
        this function to see the answer (see `ending_in`); LedgerContended.
        """
        for bucket, rate in ((entity, self._entity), (str(kind), self._rates[kind])):
            longest = INLINE if self._latest is None else min(INLINE, self._latest - self._clock())
            if longest < 0:
                raise GovernorBusy(f"the function's time is nearly over; the next try writes the rest: {kind}")
            # Nothing is reserved beyond what this function may wait: its retry comes with a new reservation.
            times = self._reserve(bucket, rate, 1, longest)
            if not times:
                metrics.note("GovernorWaits")
                raise GovernorBusy(f"closed-won's share of Stigg's limit is used up for now: {kind}")
            if (wait := times[0] - self._clock()) > 0:
                metrics.note("GovernorWaits")
                self._pause(wait / 1000)
        metrics.note("StiggReserved", Kind=kind)

    @contextmanager
    def ending_in(self, milliseconds: int) -> Iterator[None]:
        """Wraps the writes of a function that has so many milliseconds left: no write begins, or waits for its rate
        slot, that could be cut off before its answer. A third of the time is kept free for that answer, but no more
        than the longest answer takes.
        """
        self._latest = self._clock() + milliseconds - min(CALL, milliseconds // 3)
        try:
            yield
        finally:
            # The process lives on: its next invocation has a time of its own.
            self._latest = None

    def _reserve(self, bucket: str, rate: Rate, count: int, horizon: int | None = None) -> tuple[int, ...]:
        """Reserve rate slots, as a rule by one conditional update: a budget with a queue moves on from where it is, one
        without starts from now. Where the guess was wrong, or less fits, the refused update says how the budget stands.
        """
        wanted = count
        for attempt in range(TRIES):
            now = 1000 * self._clock()
            latest = None if horizon is None else now + 1000 * horizon
            known = max(self._tat.get(bucket, 0), now)
            if latest is not None:
                count = min(wanted, rate.fitting(known, latest))
            if count == 0 and attempt == 0:
                count = wanted  # the budget may have been given back since it was last seen: ask
            if count == 0:
                return ()
            moved = self._move(bucket, now, count * rate.interval, self._last_start(rate, count, latest), known > now)
            self._tat[bucket] = moved.tat
            if moved.done:
                start = moved.tat - count * rate.interval
                return tuple(time // 1000 for time in rate.times(start, now, count))
        raise LedgerContended(f"others kept reserving rate slots of the same budget, {TRIES} times over")

    @staticmethod
    def _last_start(rate: Rate, count: int, latest: int | None) -> int | None:
        """The latest theoretical arrival time from which so many fit."""
        return None if latest is None else latest + rate.tolerance - (count - 1) * rate.interval

    def _move(self, bucket: str, now: int, cost: int, last: int | None, queue: bool) -> _Moved:
        """Move a budget on. queue: whether it is believed to lie ahead of now."""
        values = {":now": {"N": str(now)}, ":expires": {"N": str(now // 1_000_000 + EXPIRES)}}
        if queue:
            # DynamoDB adds to what is there, so that of several who reserve at one moment each gets slots of its own.
            change, condition = "tat + :cost", "tat >= :now"
            values[":cost"] = {"N": str(cost)}
            if last is not None:
                # What does not fit is not reserved: a slot that nobody uses would keep others waiting.
                condition += " AND tat <= :last"
                values[":last"] = {"N": str(last)}
        else:
            # From now on, not from where it was: unused time is not saved up, or a long pause would allow any burst.
            change, condition = ":fresh", "attribute_not_exists(tat) OR tat <= :now"
            values[":fresh"] = {"N": str(now + cost)}
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=_key(bucket),
                UpdateExpression=f"SET tat = {change}, expires = :expires",
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
                ReturnValues="UPDATED_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            there = error.response.get("Item", {}).get("tat", {}).get("N", "0")
            return _Moved(False, int(there))
        return _Moved(True, int(answer["Attributes"]["tat"]["N"]))


def _key(bucket: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": f"GOVERNOR#{bucket}"}, "sk": {"S": "GOVERNOR"}}


class _Moved(NamedTuple):
    """Whether a budget was moved on, and its theoretical arrival time now."""

    done: bool
    tat: int


ENTITY = Rate.within(30, 50)
"""Of Stigg's 30 writes a minute to one customer, subscription, or customer and resource. A deal needs few; half of the
limit may go at once or nearly so (a third), the rest at its pace.
"""


def rates_of(percent: int, writes: int, lists: int, reads: int) -> dict[Kind, Rate]:
    """The rates of all kinds. In: the share of Stigg's limits in percent; those limits, requests a minute."""
    rate = Rate.within(writes, percent)
    return {
        # An execution mostly makes one write of each kind, so at this pace there is almost never a wait within it
        # (decision 40).
        "executions": rate,
        "provision customer": rate,
        "provision subscription": rate,
        "update": rate,
        "cancel": rate,
        # Stigg's documentation names no limit for grants; they are taken to have that of other writes.
        "grant": rate,
        "list subscriptions": Rate.within(lists, percent),
        "read": Rate.within(reads, percent),
    }
