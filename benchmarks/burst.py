"""A burst of deals, drained through the governor: on a simulated clock, with the product's own governor; and a short
one in the sandbox, with Stigg's limits and the stack's parameter scaled alike.

Callouts of 1 to 200 deals arrive together, while repairs are due; each deal is an execution that waits for its rate
slots, then makes one customer and its subscriptions, one or up to four, as a new deal does. Stigg is the stand-in's
own rate limits, on the same clock. What is made up are the latencies and how many plans a deal has, by a seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from closedwon.domain.errors import GovernorBusy
from closedwon.stigg.rate_limit import ENTITY, Governor, Kind, Rate
from sandbox.stigg.errors import Refused
from sandbox.stigg.limits import LIMITS, RateLimits

DEALS = 5_000
MOST_PLANS = 4
REPAIRS = 1_000
SHARE = 80
"""Percent of Stigg's limits."""

SWEEP = 60_000
"""Milliseconds from one sweep to the next."""

DUE_AT_ONCE = 300
RETRIES = 8
"""Attempts of the state machine's patient retry, with growing, jittered waits."""


class Drained(NamedTuple):
    """What became of the burst. share: of the pace that closed-won may go at, in subscriptions; throttled: share of
    the writes that were answered 429; transitions: extra ones a deal; behind: the longest that a callout waited for
    rate slots of repairs, in seconds.
    """

    deals: int
    subscriptions: int
    minutes: float
    share: float
    throttled: float
    transitions: float
    lost: int
    behind: float


class Table:
    """DynamoDB, as far as the governor uses it: one number an item, moved by conditional updates."""

    class exceptions:  # noqa: N801 - botocore's name
        class ConditionalCheckFailedException(Exception):
            def __init__(self, item: dict[str, Any]) -> None:
                self.response = {"Item": item}

    def __init__(self) -> None:
        self.tat: dict[str, int] = {}

    def update_item(self, Key: Any, ExpressionAttributeValues: Any, **_: Any) -> Any:
        name, values = Key["pk"]["S"], {k: int(v["N"]) for k, v in ExpressionAttributeValues.items()}
        known = self.tat.get(name)
        if ":left" in values:
            holds, new = known == values[":tat"], values[":left"]
        elif ":fresh" in values:
            holds, new = known is None or known <= values[":now"], values[":fresh"]
        else:
            holds = known is not None and values[":now"] <= known <= values.get(":last", known)
            new = (known or 0) + values[":cost"]
        if not holds:
            raise self.exceptions.ConditionalCheckFailedException({} if known is None else {"tat": {"N": str(known)}})
        self.tat[name] = new
        return {"Attributes": {"tat": {"N": str(new)}}}


class Simulation:
    """Events in their order on one clock. now: milliseconds."""

    def __init__(self, seed: int) -> None:
        self.now = 0
        self.random = random.Random(seed)  # nosec B311 - a simulation
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        limits = LIMITS
        rates: dict[Kind, Rate] = {
            "executions": Rate.within(limits["provision subscription"], SHARE),
            "provision customer": Rate.within(limits["provision customer"], SHARE),
            "provision subscription": Rate.within(limits["provision subscription"], SHARE),
        }
        self.table = Table()
        self.governor = Governor("", self.table, rates, ENTITY, lambda: self.now, self._wait)
        self.stigg = RateLimits(lambda: self.now / 1000)
        self.waited = 0
        self.writes = self.throttled = self.retries = self.lost = 0
        self.done: list[int] = []

    def at(self, time: int, event: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (max(time, self.now), self._count, event))

    def run(self) -> None:
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()

    def _wait(self, seconds: float) -> None:
        self.waited += round(seconds * 1000)  # a function's own short wait: what follows comes as much later

    def execution(self, name: str, plans: int = 1) -> None:
        """One execution after its rate slot: a customer, then its subscriptions."""
        subscriptions: list[Kind] = ["provision subscription"]
        self.step(name, ("provision customer", *subscriptions * plans))

    def step(self, name: str, kinds: tuple[Kind, ...], attempt: int = 0) -> None:
        if not kinds:
            self.done.append(self.now)
            return
        latency = round(self.random.lognormvariate(5.5, 0.5))  # a quarter of a second, sometimes seconds
        self.at(self.now + latency, lambda: self.write(name, kinds, attempt))

    def write(self, name: str, kinds: tuple[Kind, ...], attempt: int) -> None:
        self.waited = 0
        try:
            self.governor.write(kinds[0], f"customer {name}")
        except GovernorBusy:
            self.again(name, kinds, attempt)
            return
        if self.waited:
            self.at(self.now + self.waited, lambda: self.send(name, kinds, attempt))
        else:
            self.send(name, kinds, attempt)

    def send(self, name: str, kinds: tuple[Kind, ...], attempt: int) -> None:
        self.writes += 1
        try:
            self.stigg.count(kinds[0], f"customer {name}")
        except Refused:
            self.throttled += 1
            self.again(name, kinds, attempt)
            return
        same_step = kinds[1:2] == kinds[:1]  # of the state machine: its retries are counted together
        self.step(name, kinds[1:], attempt if same_step else 0)

    def again(self, name: str, kinds: tuple[Kind, ...], attempt: int) -> None:
        """The state machine's retry: full jitter, up to a minute."""
        self.retries += 1
        if attempt == RETRIES:
            self.lost += 1
            return
        wait = self.random.uniform(0, min(60.0, 2.0 * 2**attempt))
        self.at(self.now + round(1000 * wait), lambda: self.write(name, kinds, attempt + 1))


def callouts(rng: random.Random, deals: int) -> Iterator[int]:
    """Sizes of callouts that make so many deals together."""
    while deals:
        size = min(deals, rng.choice([1, 1, 5, 20, 200, 200]))
        deals -= size
        yield size


def drain(seed: int = 1, most_plans: int = 1) -> Drained:
    """Drain one burst of deals with 1 to so many plans, repairs due all the while; then measure what callouts wait
    behind repairs.
    """
    world = Simulation(seed)
    rate_slots: list[int] = []
    subscriptions = 0
    number = 0
    for size in callouts(world.random, DEALS):
        needs = {f"deal {number + place}": world.random.randint(1, most_plans) for place in range(size)}
        number += size
        for name, rate_slot in world.governor.book(needs).starts.items():
            plans = needs[name]
            subscriptions += plans
            rate_slots.append(rate_slot)
            world.at(rate_slot, lambda name=name, plans=plans: world.execution(name, plans))  # type: ignore[misc]
    left = REPAIRS

    def sweep() -> None:
        nonlocal left
        given = world.governor.rate_slots(min(left, DUE_AT_ONCE), SWEEP) if left else ()
        for place, rate_slot in enumerate(given):
            world.at(rate_slot, lambda name=f"repair {left - place}": world.execution(name))  # type: ignore[misc]
        left -= len(given)
        if left:
            world.at(world.now + SWEEP, sweep)

    behind: list[int] = []

    def a_late_deal() -> None:
        [rate_slot] = world.governor.rate_slots(1)
        behind.append(rate_slot - world.now)
        world.at(rate_slot, lambda: world.execution(f"late {world.now}"))

    world.at(0, sweep)
    last = max(rate_slots)
    for late in range(10):  # while repairs are drained, after the burst
        world.at(last + 30_000 + late * 17_000, a_late_deal)
    world.run()
    finished = sorted(world.done)
    everything = DEALS + REPAIRS + len(behind)
    subscriptions += REPAIRS + len(behind)
    minutes = finished[-1] / 60_000
    pace = LIMITS["provision subscription"] * SHARE / 100
    return Drained(
        deals=everything,
        subscriptions=subscriptions,
        minutes=minutes,
        share=subscriptions / minutes / pace,
        throttled=world.throttled / world.writes,
        transitions=1 + world.retries / everything,  # WaitForRateSlot, and each retry
        lost=everything - len(finished),
        behind=max(behind) / 1000,
    )


REAL_DEALS = 36
REAL_OF_TWO_PLANS = 8
REAL_SCALE = 0.16
"""Down, not up: Stigg counts a minute, so only with more subscriptions than its limit can any be answered 429. For the
same reason the burst takes more than a minute: that many go only then.
"""


class Run(NamedTuple):
    """What became of a burst in the sandbox. queued: seconds the last one's rate slot was away when it was given."""

    provisioned: int
    subscriptions: int
    throttled: int
    transitions: int
    seconds: float
    queued: float


def real() -> Run:
    """Send a burst to the sandbox in one callout, and wait for the last."""
    import time

    from sandbox.sales import Sold
    from sandbox.sandbox import Sandbox

    limit = round(LIMITS["update"] * REAL_SCALE)
    parameters = {
        "StiggWritesPerMinute": str(limit),
        "StiggSharePercent": str(SHARE),
    }
    with Sandbox(parameters, rate_scale=REAL_SCALE) as sandbox:
        both = [Sold("plan-enterprise"), Sold("plan-analytics")]
        deals = [
            sandbox.deal(
                sandbox.sales.close(
                    sandbox.sales.account(f"Customer {n}"), "A deal", *both[: 2 if n < REAL_OF_TWO_PLANS else 1]
                )
            )
            for n in range(REAL_DEALS)
        ]
        began = time.monotonic()
        answer = sandbox.call(*deals)
        answer.raise_for_status()
        executions = [result["execution"] for result in answer.json()["results"]]
        sandbox.wait_until_idle(300)
        seconds = time.monotonic() - began
        records = [sandbox.provisioning(deal["opportunity"]["id"]) for deal in deals]
        states = {len(sandbox.aws.states_entered(sandbox.execution_arn(name))) for name in executions}
        queue = Rate.within(limit, SHARE)
        return Run(
            provisioned=sum(record is not None and record["Status__c"] == "Provisioned" for record in records),
            subscriptions=len(sandbox.stigg.subscriptions()),
            throttled=sum(exchange.status == 429 for exchange in sandbox.stigg_server.exchanges),
            transitions=max(states) + 1,
            seconds=seconds,
            queued=queue.times(0, 0, REAL_DEALS + REAL_OF_TWO_PLANS)[-1] / 1e6,
        )
