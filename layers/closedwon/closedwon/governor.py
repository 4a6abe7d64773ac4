"""The governor: whoever asks something of Stigg reserves its turn first, so that its limits are kept, not run into.

One budget for each kind of request, shared by all executions, and one for the writes to each entity (GCRA, the generic
cell rate algorithm). A budget is one number in the ledger's table, the theoretical arrival time: when the next request
would go if requests came exactly at the rate. Reserving moves it on, by one conditional update, and says when to go:
who waits does not ask again.

Executions are started by turns: a budget of its own at the rate of writes, so that there is almost never anything to
wait for once an execution runs. The state machine waits for the turn (ItsTurn), not a function. What is due (repairs,
the backfill, dates) takes turns only as far as they come within the sweep's period, so that callouts never wait for
longer than that behind it.

| pk | sk | what |
|---|---|---|
| ``GOVERNOR#<kind>`` | ``GOVERNOR`` | tat, epoch microseconds; expires |
| ``GOVERNOR#<entity>`` | ``GOVERNOR`` | the same for the writes to one entity (``customer acme``) |
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from closedwon import aws, metrics
from closedwon.errors import GovernorBusy, LedgerContended
from closedwon.settings import setting

Kind = Literal[
    "turns", "provision customer", "provision subscription", "update", "cancel", "grant", "list subscriptions", "read"
]
"""What is asked of Stigg, as its limits count it; and the turns of executions."""

MINUTE = 60_000_000
"""In microseconds."""

EXPIRES = 86_400
"""Seconds after which a budget that nobody used is forgotten: an empty one and none are the same."""

INLINE = 5_000
"""Milliseconds that a function waits for a turn itself. For a longer time the state machine waits."""

TRIES = 10


class Rate(NamedTuple):
    """A rate that is kept. interval: microseconds between requests; burst: how many may go at once."""

    interval: int
    burst: int

    @classmethod
    def within(cls, limit: float, share: float) -> Rate:
        """A share of a limit a minute.

        Half of what the share leaves over may go at once: any sliding minute then has at most the burst and a minute's
        worth at the rate, which is within the limit, with the other half for clocks and networks.
        """
        return cls(math.ceil(MINUTE / (limit * share)), max(1, int(limit * (1 - share) / 2)))

    @property
    def tolerance(self) -> int:
        return self.interval * (self.burst - 1)

    def times(self, tat: int, now: int, count: int) -> tuple[int, ...]:
        """When so many requests may go. In: the theoretical arrival time of the first, and now. Microseconds."""
        return tuple(max(now, tat + place * self.interval - self.tolerance) for place in range(count))

    def fitting(self, tat: int, latest: int) -> int:
        """How many may go until then, from that theoretical arrival time on."""
        return max(0, (latest + self.tolerance - tat) // self.interval + 1)


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

    def turns(self, count: int, horizon: int | None = None) -> tuple[int, ...]:
        """When so many executions may begin, in epoch milliseconds: of those that may within the horizon (milliseconds
        from now), where there is one. Raises LedgerContended.
        """
        return self._reserve("turns", self._rates["turns"], count, horizon)

    def reserve(self, kind: Kind, count: int = 1) -> int:
        """When the last of so many requests may go, in epoch milliseconds. Raises LedgerContended."""
        metrics.note("StiggReserved", count, Kind=kind)
        return self._reserve(kind, self._rates[kind], count)[-1]

    def wait(self, kind: Kind, count: int) -> None:
        """Wait until so many requests may go, however long: for work that has time. Raises LedgerContended."""
        if count and (ahead := self.reserve(kind, count) - self._clock()) > 0:
            self._pause(ahead / 1000)

    def write(self, kind: Kind, entity: str) -> None:
        """Wait for the turn of one write. entity: what it changes, such as ``customer acme``.

        Raises GovernorBusy, before it is sent, when that is too long for a function to wait; LedgerContended.
        """
        for bucket, rate in ((entity, self._entity), (str(kind), self._rates[kind])):
            times = self._reserve(bucket, rate, 1, INLINE)
            if not times:
                metrics.note("GovernorWaits")
                raise GovernorBusy(f"closed-won's share of Stigg's limit is used up for now: {kind}")
            if (wait := times[0] - self._clock()) > 0:
                metrics.note("GovernorWaits")
                self._pause(wait / 1000)
        metrics.note("StiggReserved", Kind=kind)

    def _reserve(self, bucket: str, rate: Rate, count: int, horizon: int | None = None) -> tuple[int, ...]:
        """Reserve, as a rule by one conditional update: a budget with a queue moves on from wherever it is, one without
        starts anew from now. Where it is the other of the two, or less fits, the refusal tells.
        """
        for _ in range(TRIES):
            now = 1000 * self._clock()
            latest = None if horizon is None else now + 1000 * horizon
            known = max(self._tat.get(bucket, 0), now)
            if latest is not None:
                count = min(count, rate.fitting(known, latest))
            if count == 0:
                # nothing was ever given back: what was seen is at most too early
                return ()
            moved = self._move(bucket, now, count * rate.interval, self._last_start(rate, count, latest), known > now)
            self._tat[bucket] = moved.tat
            if moved.done:
                start = moved.tat - count * rate.interval
                return tuple(time // 1000 for time in rate.times(start, now, count))
        raise LedgerContended(f"others kept reserving the same, {TRIES} times over")

    @staticmethod
    def _last_start(rate: Rate, count: int, latest: int | None) -> int | None:
        """The latest theoretical arrival time from which so many fit."""
        return None if latest is None else latest + rate.tolerance - (count - 1) * rate.interval

    def _move(self, bucket: str, now: int, cost: int, last: int | None, queue: bool) -> _Moved:
        """Move a budget on. queue: whether it is believed to lie ahead of now."""
        values = {":now": {"N": str(now)}, ":expires": {"N": str(now // 1_000_000 + EXPIRES)}}
        if queue:
            change, condition = "tat + :cost", "tat >= :now"
            values[":cost"] = {"N": str(cost)}
            if last is not None:
                condition += " AND tat <= :last"
                values[":last"] = {"N": str(last)}
        else:
            change, condition = ":fresh", "attribute_not_exists(tat) OR tat <= :now"
            values[":fresh"] = {"N": str(now + cost)}
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key={"pk": {"S": f"GOVERNOR#{bucket}"}, "sk": {"S": "GOVERNOR"}},
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


class _Moved(NamedTuple):
    """Whether a budget was moved on, and its theoretical arrival time now."""

    done: bool
    tat: int


ENTITY = Rate.within(30, 0.5)
"""Of Stigg's 30 writes a minute to one customer, subscription, or customer and resource. A deal needs few; half of the
limit may go at once or nearly so (a third), the rest at its pace.
"""


@cache
def governor() -> Governor:
    """The stack's governor."""
    share = int(setting("STIGG_SHARE_PERCENT")) / 100
    writes = Rate.within(int(setting("STIGG_WRITES_PER_MINUTE")), share)
    rates: dict[Kind, Rate] = {
        "turns": writes,
        "provision customer": writes,
        "provision subscription": writes,
        "update": writes,
        "cancel": writes,
        "grant": writes,
        "list subscriptions": Rate.within(int(setting("STIGG_LISTS_PER_MINUTE")), share),
        "read": Rate.within(int(setting("STIGG_READS_PER_MINUTE")), share),
    }
    return Governor(setting("LEDGER_TABLE"), aws.client("dynamodb"), rates, ENTITY)
