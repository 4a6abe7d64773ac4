"""The life of deals, case by case: what Salesforce sends, and what the customer has on a day.

Each case is played in every order in which its deals could arrive (late ones included): one by one; and what arrives
together at once, with deals repeated and with steps that die after their writes. Whatever happens, nothing is left to
do afterwards. A day is looked at at noon; `until` names the instant at which access ends: ``until 2027-12-01`` is
through November.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

import pytest

from closedwon.domain.desired import Policy
from unit.domain import (
    CALLS,
    POLICY,
    SEATS,
    SUPPORT,
    Json,
    a_line,
    addon,
    amended,
    at_noon,
    cancelled,
    contract,
    credits,
    entitlement,
    on_trial,
    opportunity_id,
    plan,
    renewed,
    restated,
    won,
)
from unit.world import World

MOST_ORDERS = 24 if os.environ.get("HYPOTHESIS_PROFILE") else 3  # make prove says one, make test none


class Look(NamedTuple):
    """What there should be on a day: a line for each subscription, credits granted so far; and what the deals say."""

    day: str
    access: tuple[str, ...]
    says: Mapping[int, str]


class Approval(NamedTuple):
    """Somebody approves what holds a deal."""

    day: str
    number: int


@dataclass(frozen=True)
class Case:
    name: str
    deals: tuple[Json, ...]
    looks: tuple[Look | Approval, ...]
    policy: Policy
    as_sent: bool
    refused: bool


CASES: list[Case] = []


def case(
    name: str,
    *events: Json | Look | Approval,
    policy: Policy = POLICY,
    as_sent: bool = False,
    refused: bool = False,
) -> None:
    """as_sent: who came first is the point, so the deals arrive as they are written down. refused: Stigg says no."""
    deals = tuple(event for event in events if isinstance(event, dict))
    looks = tuple(event for event in events if not isinstance(event, dict))
    CASES.append(Case(name, deals, looks, policy, as_sent, refused))


def on(day: str, *access: str, says: Mapping[int, str] | None = None) -> Look:
    """says: by a deal's number its status and, after a colon, the code of its reason, with the day it names."""
    return Look(day, access, says or {})


def seats(quantity: Any, **more: Any) -> Json:
    return entitlement(SEATS, quantity, **more)


NOTHING: tuple[str, ...] = ()

# Amendments

case(
    "seats are added in the middle of the term: CPQ says how many more",
    won(1, plan(price=48000), seats(10), contract=1),
    amended(2, seats(5, priorQuantity=10), of=contract(1), start="2027-03-01"),
    on("2026-11-20", "from 2026-12-01: enterprise at 48000, 10 seats", says={1: "Scheduled: starts 2026-12-01"}),
    on("2027-02-28", "enterprise at 48000, 10 seats", says={1: "Provisioned", 2: "Scheduled: takes_effect 2027-03-01"}),
    on("2027-03-01", "enterprise at 48000, 15 seats", says={1: "Provisioned", 2: "Provisioned"}),
)
case(
    "the same, without CPQ: the amendment says all there is",
    won(1, plan(price=48000), seats(10)),
    restated(2, plan(price=48000), seats(15), of=1, start="2027-03-01"),
    on("2027-02-28", "enterprise at 48000, 10 seats"),
    on("2027-03-01", "enterprise at 48000, 15 seats", says={1: "Superseded: replaced 2027-03-01", 2: "Provisioned"}),
)
case(
    "an add-on is reduced: a negative quantity",
    won(1, plan(), seats(10), addon(quantity=4)),
    amended(2, addon(quantity=-1, priorQuantity=4), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise, 10 seats, 3 extra-workspace"),
)
case(
    "an add-on is taken out and another put in",
    won(1, plan(), seats(10), addon(quantity=1)),
    amended(2, addon(quantity=-1, priorQuantity=1), addon(SUPPORT), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise, 10 seats, 1 premium-support"),
)
case(
    "a new price: CPQ takes the old line out and puts the product in again",
    won(1, plan(price=48000), addon(quantity=5, price=1200)),
    amended(2, addon(quantity=-5, price=1200), addon(quantity=5, price=900), of=1, start="2027-03-01"),
    on("2027-02-28", "enterprise at 48000, 5 extra-workspace at 1200"),
    on("2027-03-01", "enterprise at 48000, 5 extra-workspace at 900"),
)
case(
    "more at another price: one subscription has one price, that charges the same together",
    won(1, plan(price=48000), addon(quantity=10, price=100)),
    amended(2, addon(quantity=10, price=80), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise at 48000, 20 extra-workspace at 90"),
)
case(
    "an amendment takes off more money than there is: it waits",
    won(1, plan(), addon(quantity=3, price=100)),
    amended(2, addon(quantity=-2, price=250), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise, 3 extra-workspace at 100", says={1: "Provisioned", 2: "Held: price_conflict"}),
)
case(
    "a block-priced line: its quantity says 1 whatever changed, its totals count",
    won(1, plan(), entitlement(CALLS, 50_000, resetPeriod="MONTH")),
    amended(2, entitlement(CALLS, 1, priorQuantity=50_000, totalQuantity=80_000), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise, 80000 api-calls"),
)
case(
    "another plan by an amendment of differences",
    won(1, plan(price=48000), seats(10)),
    amended(2, plan(quantity=-1, price=48000), plan("plan-enterprise-plus", price=60000), of=1, start="2027-03-01"),
    on("2027-02-28", "enterprise at 48000, 10 seats"),
    on("2027-03-01", "enterprise-plus at 60000, 10 seats"),
)
case(
    "another plan by an amendment that says all",
    won(1, plan(), seats(10), addon()),
    restated(2, plan("plan-enterprise-plus"), seats(10), addon(), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise-plus, 10 seats, 1 extra-workspace"),
)
case(
    "a plan sold by the unit grows",
    won(1, plan("plan-per-seat", 10, price=100)),
    amended(2, plan("plan-per-seat", 5, price=70, priorQuantity=10), of=1, start="2027-03-01"),
    on("2027-02-28", "per-seat x10 at 100"),
    on("2027-03-01", "per-seat x15 at 90"),
)
case(
    "seats that the plan charges are added at another price, and taken away again",
    won(1, plan("plan-growth", price=3000), seats(10, price=300)),
    amended(2, seats(5, price=240, priorQuantity=10), of=1, start="2027-03-01"),
    amended(3, seats(-5, price=240, priorQuantity=15), of=1, start="2027-05-01", saved="2026-11-21"),
    on("2027-02-28", "growth at 3000, 10 seats charged at 300"),
    on("2027-03-01", "growth at 3000, 15 seats charged at 280"),
    on("2027-05-01", "growth at 3000, 10 seats charged at 300"),
)
case(
    "a renewal sells no seats any more: the plan goes on with none",
    won(1, plan("plan-growth"), seats(10)),
    renewed(2, plan("plan-growth"), of=1),
    on("2027-11-30", "growth, 10 seats charged"),
    on("2027-12-01", "growth"),
)
case(
    "an amendment comes before what it amends",
    amended(2, seats(5, priorQuantity=10), of=1),
    on("2026-11-20", says={2: "Held: no_base"}),
    won(1, plan(), seats(10), saved="2026-11-21"),
    on("2026-12-02", "enterprise, 15 seats", says={1: "Provisioned", 2: "Provisioned"}),
)
case(
    "a renewal that goes by a term nobody knows yet gives nothing before it",
    renewed(2, plan(), seats(50), addon(quantity=4), credits(3000), of=1),
    on("2026-11-20", says={2: "Held: reference_unknown"}),
    won(1, plan(), seats(10), saved="2026-11-21"),
    on("2026-12-02", "enterprise, 10 seats", says={1: "Provisioned", 2: "Scheduled"}),
    as_sent=True,
)
case(
    "an amendment takes away more than there is, until another makes it fit",
    won(1, plan(), seats(10), addon(quantity=2)),
    amended(2, addon(quantity=-3), of=1, start="2026-12-15"),
    on("2026-12-20", "enterprise, 10 seats, 2 extra-workspace", says={2: "Held: below_zero 2026-12-15"}),
    amended(3, addon(quantity=2), of=1, start="2026-12-10", saved="2026-12-21"),
    on("2026-12-22", "enterprise, 10 seats, 1 extra-workspace", says={2: "Provisioned", 3: "Provisioned"}),
)
case(
    "a base is corrected after an amendment was quoted on it: nothing is lowered until they agree",
    won(1, plan(), seats(10)),
    amended(2, seats(5, priorQuantity=10), of=1, start="2026-12-10"),
    won(1, plan(), seats(8), saved="2027-01-10"),
    on("2027-01-11", "enterprise, 15 seats", says={1: "Held: prior_mismatch 2026-12-10", 2: "Provisioned"}),
    amended(2, seats(5, priorQuantity=8), of=1, start="2026-12-10", saved="2027-01-12"),
    on("2027-01-13", "enterprise, 13 seats", says={1: "Provisioned", 2: "Provisioned"}),
    as_sent=True,
)
case(
    "two amendments of one day, quoted on the same ten seats",
    won(1, plan(), seats(10)),
    amended(2, seats(5, priorQuantity=10), of=1, start="2027-03-01"),
    amended(3, seats(3, priorQuantity=10), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise, 18 seats", says={2: "Provisioned", 3: "Provisioned"}),
)
case(
    "two amendments, the second quoted on what the first made",
    won(1, plan(), seats(10)),
    amended(2, seats(5, priorQuantity=10), of=1, start="2027-03-01"),
    amended(3, seats(-3, priorQuantity=15), of=1, start="2027-04-01"),
    on("2027-03-01", "enterprise, 15 seats"),
    on("2027-04-01", "enterprise, 12 seats"),
)
case(
    "an amendment and its exact reverse",
    won(1, plan(price=48000), seats(10), addon(quantity=5, price=1200)),
    amended(2, seats(1), addon(quantity=2, price=1000), addon(SUPPORT, price=5000), of=1, start="2027-03-01"),
    amended(3, seats(-1), addon(quantity=-2, price=1000), addon(SUPPORT, -1, price=5000), of=1, start="2027-04-01"),
    on("2027-02-28", "enterprise at 48000, 10 seats, 5 extra-workspace at 1200"),
    on("2027-03-01", "enterprise at 48000, 11 seats, 7 extra-workspace at 1142.86, 1 premium-support at 5000"),
    on("2027-04-01", "enterprise at 48000, 10 seats, 5 extra-workspace at 1200"),
)
case(
    "units at another price, taken back: the price is as it was",
    won(1, plan(), addon(quantity=5, price=1200)),
    amended(2, addon(quantity=1, price=1200), of=1, start="2027-02-01"),
    amended(3, addon(quantity=1, price=1000), of=1, start="2027-03-01"),
    amended(4, addon(quantity=-1, price=1000), of=1, start="2027-04-01"),
    on("2027-02-01", "enterprise, 6 extra-workspace at 1200"),
    on("2027-03-01", "enterprise, 7 extra-workspace at 1171.43"),
    on("2027-04-01", "enterprise, 6 extra-workspace at 1200"),
)
case(
    "units with a price beside units at the catalogue's price: nobody said what one of them costs, so it waits",
    won(1, plan(), addon(quantity=5)),
    amended(2, addon(quantity=1, price=1200), of=1, start="2027-02-01"),
    on("2027-02-01", "enterprise, 5 extra-workspace", says={1: "Provisioned", 2: "Held: price_unknown 2027-02-01"}),
)
case(
    "no limit at all is added, and taken away again, once somebody has approved that",
    won(1, plan(), seats(10)),
    amended(2, seats(None, unlimited=True), of=1, start="2027-03-01"),
    amended(3, seats(-1, unlimited=True), of=1, start="2027-04-01", saved="2027-03-02"),
    on("2027-03-01", "enterprise, unlimited seats"),
    on("2027-03-03", "enterprise, unlimited seats", says={3: "Held: removal_guard 2027-04-01"}),
    Approval("2027-03-04", 3),
    on("2027-04-01", "enterprise, 10 seats", says={3: "Provisioned"}),
)
case(
    "a bundle: its components come without saying their plan, and grow the same way",
    won(1, plan(), plan("plan-analytics"), addon(quantity=2), addon("addon-data-export"), entitlement(CALLS, 1000)),
    amended(2, addon(quantity=1), addon("addon-data-export", 2), of=1, start="2027-03-01"),
    on("2027-02-28", "analytics, 1 data-export", "enterprise, 1000 api-calls, 2 extra-workspace"),
    on("2027-03-01", "analytics, 3 data-export", "enterprise, 1000 api-calls, 3 extra-workspace"),
)
case(
    "a bundle is added: the components of another product come without naming their plan",
    won(1, plan(), seats(10, planId="plan-enterprise")),
    amended(2, plan("plan-analytics"), addon("addon-data-export", 2), of=1, start="2027-03-01"),
    on("2027-03-01", "analytics, 2 data-export", "enterprise, 10 seats"),
)
case(
    "an amendment of an amendment belongs to the contract too",
    won(1, plan(), seats(10)),
    amended(2, seats(5), of=1, start="2027-03-01"),
    amended(3, seats(2), of=2, start="2027-04-01"),
    on("2027-04-01", "enterprise, 17 seats"),
)
case(
    "an amendment in another currency waits",
    won(1, plan(price=48000), seats(10)),
    amended(2, seats(5), of=1, start="2027-03-01", currency="EUR"),
    on("2027-03-01", "enterprise at 48000, 10 seats", says={2: "Held: currency_conflict"}),
)
case(
    "an amendment adds what the plan does not take",
    won(1, plan(), seats(10)),
    amended(2, addon("addon-legacy-import"), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise, 10 seats", says={2: "Held: not_compatible 2027-03-01"}),
)

# Renewals

case(
    "a renewal with fewer seats: less is what was agreed, nobody needs to approve it",
    won(1, plan(price=48000), seats(100), contract=1),
    renewed(2, plan(price=30000), seats(20), of=contract(1), start="2027-12-01", end="2028-11-30"),
    on("2027-11-30", "enterprise at 48000, 100 seats", says={2: "Scheduled: takes_effect 2027-12-01"}),
    on("2027-12-01", "enterprise at 30000, 20 seats", says={1: "Superseded: replaced 2027-12-01", 2: "Provisioned"}),
)
case(
    "another plan at the renewal",
    won(1, plan(), seats(10)),
    renewed(2, plan("plan-enterprise-plus"), seats(12), of=1, start="2027-12-01", end="2028-11-30"),
    on("2027-11-30", "enterprise, 10 seats"),
    on("2027-12-01", "enterprise-plus, 12 seats"),
)
case(
    "an early renewal, in the middle of the term",
    won(1, plan(), seats(10)),
    renewed(2, plan(), seats(30), of=1, start="2027-06-01", end="2029-05-31"),
    on("2027-05-31", "enterprise, 10 seats"),
    on("2027-06-01", "enterprise, 30 seats", says={1: "Superseded", 2: "Provisioned"}),
    on("2027-12-02", "enterprise, 30 seats", says={2: "Provisioned"}),
)
case(
    "a renewal without a start takes over where the term ends",
    won(1, plan(), seats(10)),
    renewed(2, plan(), seats(12), of=1),
    on("2027-11-30", "enterprise, 10 seats"),
    on("2027-12-01", "enterprise, 12 seats"),
)
case(
    "a renewal leaves an add-on out: that part churned",
    won(1, plan(), seats(10), addon(quantity=5), addon(SUPPORT)),
    renewed(2, plan(), seats(10), of=1, start="2027-12-01"),
    on("2027-12-01", "enterprise, 10 seats"),
)
case(
    "a renewal ends what amendments added; one made after it counts on it",
    won(1, plan(), seats(10), contract=1),
    amended(2, seats(5, priorQuantity=10), of=contract(1), start="2027-03-01"),
    renewed(3, plan(), seats(12), of=contract(1), start="2027-12-01", end="2028-11-30", contract=2),
    amended(4, seats(3, priorQuantity=12), of=contract(2), start="2028-03-01", end="2028-11-30"),
    on("2027-03-01", "enterprise, 15 seats"),
    on("2027-12-01", "enterprise, 12 seats", says={1: "Superseded", 2: "Superseded"}),
    on("2028-03-01", "enterprise, 15 seats", says={3: "Provisioned", 4: "Provisioned"}),
)
case(
    "an old base is touched after its renewal: nothing changes",
    won(1, plan(), seats(10)),
    renewed(2, plan(), seats(20), of=1, start="2027-12-01", end="2028-11-30"),
    won(1, plan("plan-enterprise-plus"), seats(500), addon(quantity=3), saved="2028-01-10"),
    on("2028-01-11", "enterprise, 20 seats", says={1: "Superseded", 2: "Provisioned"}),
)
for end_of_term, after in (("keep", "enterprise, 10 seats"), ("grace", "until 2027-12-15: enterprise, 10 seats")):
    case(
        f"no renewal comes, and the policy is {end_of_term}: access goes on",
        won(1, plan(), seats(10)),
        on("2027-12-10", after, says={1: "Provisioned: past_term 2027-12-01"}),
        policy=Policy(end_of_term=end_of_term),  # type: ignore[arg-type]
    )
case(
    "no renewal comes, and the policy is grace: access ends with the days of grace",
    won(1, plan(), seats(10)),
    on("2027-12-14", "until 2027-12-15: enterprise, 10 seats"),
    on("2027-12-16", says={1: "Ended: term_over 2027-12-15"}),
    policy=Policy(end_of_term="grace", grace_days=14),
)
case(
    "no renewal comes, and the policy is end: access ends with the term",
    won(1, plan(), seats(10)),
    on("2027-11-30", "until 2027-12-01: enterprise, 10 seats"),
    on("2027-12-02", says={1: "Ended: term_over 2027-12-01"}),
    policy=Policy(end_of_term="end"),
)
case(
    "the renewal is late, after the days of grace: there is a gap, and access again",
    won(1, plan(), seats(10)),
    on("2027-12-16", says={1: "Ended: term_over 2027-12-15"}),
    renewed(2, plan(), seats(10), of=1, start="2028-01-10", end="2029-01-09", saved="2028-01-05"),
    on("2028-01-06", "from 2028-01-10 until 2029-01-24: enterprise, 10 seats", says={2: "Scheduled"}),
    on("2028-01-11", "until 2029-01-24: enterprise, 10 seats", says={2: "Provisioned"}),
    policy=Policy(end_of_term="grace", grace_days=14),
)
case(
    "an upsell for the same term, later: the contract's end is the end of all",
    won(1, plan(), seats(10)),
    amended(2, seats(5), of=1, start="2027-06-01", end="2027-11-30"),
    on("2027-06-01", "until 2027-12-01: enterprise, 15 seats"),
    on("2027-12-02"),
    policy=Policy(end_of_term="end"),
)

# Dated lines

case(
    "a ramp: a line a year, each with its price and quantity",
    won(
        1,
        plan(price=10000, end="2027-11-30"),
        plan(price=20000, start="2027-12-01", end="2028-11-30"),
        plan(price=30000, start="2028-12-01"),
        seats(10, end="2027-11-30"),
        seats(20, start="2027-12-01", end="2028-11-30"),
        seats(30, start="2028-12-01"),
        end="2029-11-30",
    ),
    on("2026-12-02", "enterprise at 10000, 10 seats"),
    on("2027-12-01", "enterprise at 20000, 20 seats"),
    on("2028-12-01", "enterprise at 30000, 30 seats"),
)
case(
    "an add-on for a while: a dated line of the deal",
    won(1, plan(), seats(10), addon(quantity=3, start="2027-03-01", end="2027-04-30")),
    on("2027-02-28", "enterprise, 10 seats"),
    on("2027-03-01", "enterprise, 10 seats, 3 extra-workspace"),
    on("2027-05-01", "enterprise, 10 seats"),
)
case(
    "more seats for a while: an amendment that ends before the term does",
    won(1, plan(), seats(10)),
    amended(2, seats(50), of=1, start="2027-03-01", end="2027-04-30"),
    on("2027-03-01", "enterprise, 60 seats"),
    on("2027-05-01", "enterprise, 10 seats"),
)
case(
    "a start that is moved, before the day",
    won(1, plan(), seats(10)),
    on("2026-11-21", "from 2026-12-01: enterprise, 10 seats"),
    won(1, plan(), seats(10), start="2027-01-01", end="2027-12-31", saved="2026-11-22"),
    on("2026-11-23", "from 2027-01-01: enterprise, 10 seats", says={1: "Scheduled: starts 2027-01-01"}),
    on("2027-01-01", "enterprise, 10 seats", says={1: "Provisioned"}),
)
case(
    "a start that is moved once access has begun: it is not taken back",
    won(1, plan(), seats(10), start="2026-11-01"),
    won(1, plan(), seats(10), start="2026-10-01", saved="2026-11-25"),
    on("2026-11-26", "enterprise, 10 seats", says={1: "Provisioned"}),
)

# Cancellations

case(
    "an add-on is cancelled singly",
    won(1, plan(), seats(10), addon(SUPPORT), addon(quantity=2)),
    cancelled(2, addon(SUPPORT, None), of=1, end="2027-05-31"),
    on(
        "2027-05-31",
        "enterprise, 10 seats, 2 extra-workspace, 1 premium-support",
        says={2: "Scheduled: access_ends 2027-06-01"},
    ),
    on("2027-06-01", "enterprise, 10 seats, 2 extra-workspace", says={1: "Provisioned", 2: "Provisioned"}),
)
case(
    "one of two products is cancelled",
    won(1, plan(), seats(10, planId="plan-enterprise"), plan("plan-analytics"), addon("addon-data-export")),
    cancelled(2, plan("plan-analytics", None), addon("addon-data-export", None), of=1, end="2027-05-31"),
    on("2027-05-31", "enterprise, 10 seats", "until 2027-06-01: analytics, 1 data-export"),
    on("2027-06-01", "enterprise, 10 seats", says={2: "Provisioned"}),
)
case(
    "something is cancelled that the contract does not have",
    won(1, plan(), seats(10)),
    cancelled(2, addon(SUPPORT, None), of=1, end="2027-05-31"),
    on("2027-06-01", "enterprise, 10 seats", says={2: "Held: nothing_to_end 2027-06-01"}),
)
case(
    "a contract is cancelled for a day: its last day of access",
    won(1, plan(), seats(10), contract=1),
    cancelled(2, of=contract(1), end="2027-06-30"),
    on("2027-06-30", "until 2027-07-01: enterprise, 10 seats", says={2: "Scheduled: access_ends 2027-07-01"}),
    on("2027-07-02", says={1: "Superseded: cancelled 2027-07-01", 2: "Provisioned: access_ended 2027-07-01"}),
)
case(
    "a contract is cancelled at once",
    won(1, plan(), seats(10)),
    on("2027-02-28", "enterprise, 10 seats"),
    cancelled(2, of=1, cancel="now", saved="2027-03-01"),
    on("2027-03-01", says={1: "Superseded: cancelled 2027-03-01", 2: "Provisioned: access_ended 2027-03-01"}),
)
case(
    "the renewal is lost: access ends with the term, whatever the policy",
    won(1, plan(), seats(10)),
    cancelled(2, of=1),
    on("2027-11-30", "until 2027-12-01: enterprise, 10 seats", says={2: "Scheduled: access_ends 2027-12-01"}),
    on("2027-12-02", says={2: "Provisioned: access_ended 2027-12-01"}),
)
case(
    "a plan sold by the month without an end is cancelled: it ends with its billing period",
    won(1, plan("plan-team"), start="2026-11-01", end=None, billingPeriod="MONTHLY"),
    cancelled(2, of=1, saved="2026-11-25"),
    on("2026-11-26", "until 2026-12-01: team", says={2: "Scheduled: access_ends 2026-12-01"}),
    on("2026-12-02", says={1: "Superseded: cancelled 2026-12-01", 2: "Provisioned: access_ended 2026-12-01"}),
    as_sent=True,
)
case(
    "the same of a plan to measure, billed by the year: Stigg says when its billing period ends",
    won(1, plan(), seats(10), start="2026-11-01", end=None),
    on("2026-11-24", "enterprise, 10 seats"),
    cancelled(2, of=1, saved="2026-11-25"),
    on(
        "2026-11-26",
        "until 2027-11-01: enterprise, 10 seats",
        says={1: "Provisioned", 2: "Scheduled: access_ends 2027-11-01"},
    ),
    on("2027-11-02", says={1: "Superseded: cancelled 2027-11-01", 2: "Provisioned: access_ended 2027-11-01"}),
    as_sent=True,
)
case(
    "Stigg refuses what it does not know: the deal says so, and the other deal goes on",
    won(1, plan(), seats(10), start="2026-11-01"),
    won(2, plan("plan-analytics"), start="2026-11-01", coupon="coupon-nobody-knows"),
    on("2026-11-21", "enterprise, 10 seats", says={1: "Provisioned", 2: "Failed: refused_by_stigg"}),
    refused=True,
)
case(
    "won back after a cancellation",
    won(1, plan(), seats(10)),
    cancelled(2, of=1, cancel="now", saved="2027-03-01"),
    on("2027-03-02"),
    won(3, plan("plan-enterprise-plus"), seats(4), start="2027-06-01", end="2028-05-31", saved="2027-05-20"),
    on("2027-06-01", "enterprise-plus, 4 seats", says={1: "Superseded", 2: "Provisioned", 3: "Provisioned"}),
)
case(
    "a contract is cancelled, and the next one with another plan is sold for later: there is a gap",
    won(1, plan(), seats(10), start="2026-11-01"),
    won(3, plan("plan-enterprise-plus"), seats(8), start="2027-03-01", end="2028-02-29", saved="2026-12-20"),
    on("2026-12-20", "enterprise, 10 seats", says={1: "Provisioned", 3: "Held: two_plans"}),
    cancelled(2, of=1, cancel="now", saved="2026-12-31"),
    on("2027-01-01", "from 2027-03-01: enterprise-plus, 8 seats", says={2: "Provisioned", 3: "Scheduled"}),
    on("2027-03-01", "enterprise-plus, 8 seats", says={3: "Provisioned"}),
    as_sent=True,
)
case(
    "the last contract is cancelled, the other goes on",
    won(1, plan(price=1000), seats(10)),
    won(2, plan(price=500), seats(5), start="2027-01-01", end="2027-12-31"),
    cancelled(3, of=1, end="2027-05-31"),
    on("2027-05-31", "enterprise at 1500, 15 seats"),
    on("2027-06-01", "enterprise at 500, 5 seats", says={1: "Superseded", 2: "Provisioned", 3: "Provisioned"}),
)
case(
    "a won deal is not won any more: that is reported, and access stays",
    won(1, plan(), seats(10), start="2026-11-01"),
    cancelled(1, saved="2026-12-10"),
    on("2026-12-11", "enterprise, 10 seats", says={1: "Held: reopened"}),
    as_sent=True,
)
case(
    "a won deal is not won any more, where the policy is to revoke",
    won(1, plan(), seats(10), start="2026-11-01"),
    cancelled(1, saved="2026-12-10"),
    on("2026-12-11", says={1: "Provisioned: unwon"}),
    policy=Policy(reopened_deal="revoke"),
)
case(
    "a reopened deal is won again",
    won(1, plan(), seats(10), start="2026-11-01"),
    cancelled(1, saved="2026-12-10"),
    won(1, plan(), seats(12), start="2026-11-01", saved="2026-12-12"),
    on("2026-12-13", "enterprise, 12 seats", says={1: "Provisioned"}),
)
case(
    "a deal is cancelled with a day by itself",
    won(1, plan(), seats(10), start="2026-11-01"),
    cancelled(1, end="2026-12-31", saved="2026-12-10"),
    on("2026-12-31", "until 2027-01-01: enterprise, 10 seats"),
    on("2027-01-02", says={1: "Provisioned: access_ended 2027-01-01"}),
    as_sent=True,
)

# Trials

case(
    "a trial that nobody wins ends",
    on_trial(1, plan(), seats(20), trialEnd="2026-12-04"),
    on("2026-12-04", "trial until 2026-12-05: enterprise, 20 seats", says={1: "Provisioned"}),
    on("2026-12-06", says={1: "Ended: trial_over 2026-12-05"}),
)
case(
    "a trial is extended, then won: no day without access",
    on_trial(1, plan(), seats(20), trialEnd="2026-12-04"),
    on_trial(1, plan(), seats(20), trialEnd="2026-12-20", saved="2026-12-01"),
    on("2026-12-06", "trial until 2026-12-21: enterprise, 20 seats"),
    won(1, plan(price=48000), seats(50), start="2026-12-10", saved="2026-12-10"),
    on("2026-12-10", "enterprise at 48000, 50 seats", says={1: "Provisioned"}),
    on("2026-12-22", "enterprise at 48000, 50 seats"),
)
case(
    "a trial is won for later: it lasts until the subscription starts",
    on_trial(1, plan(), seats(20), trialEnd="2026-12-04"),
    won(1, plan(), seats(50), start="2027-01-01", end="2027-12-31", saved="2026-12-01"),
    on("2026-12-20", "from 2027-01-01: enterprise, 50 seats", "trial until 2027-01-01: enterprise, 20 seats"),
    on("2027-01-01", "enterprise, 50 seats", says={1: "Provisioned"}),
    as_sent=True,
)
case(
    "a trial turns into a paid subscription by itself, and is won afterwards",
    on_trial(
        1, plan(), seats(20), trialEnd="2026-12-04", trialEndBehavior="CONVERT_TO_PAID", paymentCollection="INVOICE"
    ),
    on("2026-12-06", "enterprise, 20 seats", says={1: "Provisioned"}),
    won(1, plan(), seats(50), start="2026-12-10", saved="2026-12-10"),
    on("2026-12-11", "enterprise, 50 seats", says={1: "Provisioned"}),
    as_sent=True,
)
case(
    "a trial that would have turned into a paid subscription is heard of when it is over",
    on_trial(1, plan(), seats(20), trialEnd="2026-12-04", trialEndBehavior="CONVERT_TO_PAID", saved="2026-12-10"),
    on("2026-12-10", says={1: "Held: trial_missed"}),
    won(1, plan(), seats(50), start="2026-12-10", saved="2026-12-11"),
    on("2026-12-12", "enterprise, 50 seats", says={1: "Provisioned"}),
    as_sent=True,
)
case(
    "a trial that would turn into a paid subscription is won for later",
    on_trial(1, plan(), seats(20), trialEnd="2026-12-04", trialEndBehavior="CONVERT_TO_PAID"),
    won(1, plan(), seats(50), start="2027-01-01", end="2027-12-31", saved="2026-12-01"),
    on("2026-12-20", "from 2027-01-01: enterprise, 50 seats", "trial until 2027-01-02: enterprise, 20 seats"),
    on("2027-01-03", "enterprise, 50 seats", says={1: "Provisioned"}),
    as_sent=True,
)
case(
    "a trial that would turn into a paid subscription is cancelled before: nothing is left to start",
    on_trial(1, plan(), seats(20), trialEnd="2026-12-31", trialEndBehavior="CONVERT_TO_PAID"),
    on("2026-11-21", "trial until 2027-01-01: enterprise, 20 seats"),
    cancelled(2, of=1, end="2026-12-10", saved="2026-12-01"),
    on("2026-12-02", "trial until 2027-01-01: enterprise, 20 seats", says={2: "Scheduled: access_ends 2026-12-11"}),
    on("2026-12-12", says={1: "Superseded: cancelled 2026-12-11", 2: "Provisioned: access_ended 2026-12-11"}),
    on("2027-01-02"),
)
case(
    "a trial is lost",
    on_trial(1, plan(), seats(20), trialEnd="2026-12-04"),
    cancelled(1, saved="2026-11-25"),
    on("2026-11-26", says={1: "Provisioned: access_ended 2026-11-25"}),
    as_sent=True,
)
case(
    "a trial beside a paid contract of the same product",
    won(1, plan(), seats(10), start="2026-11-01"),
    on_trial(2, plan("plan-enterprise-plus"), trialEnd="2026-12-04"),
    on("2026-12-04", "enterprise, 10 seats", "trial until 2026-12-05: enterprise-plus"),
    on("2026-12-06", "enterprise, 10 seats", says={2: "Ended: trial_over 2026-12-05"}),
)

# Several deals and revisions

case(
    "X, then Y, then X again",
    won(1, plan(), seats(10), start="2026-11-01"),
    won(1, plan(), seats(12), start="2026-11-01", saved="2026-11-21"),
    won(1, plan(), seats(10), start="2026-11-01", saved="2026-11-22"),
    on("2026-11-23", "enterprise, 10 seats", says={1: "Provisioned"}),
)
case(
    "two opportunities closed in the same minute add up",
    won(1, plan(price=1000), seats(10), start="2026-11-01"),
    won(2, plan(price=500), seats(5), start="2026-11-01"),
    on("2026-11-21", "enterprise at 1500, 15 seats", says={1: "Provisioned", 2: "Provisioned"}),
)
case(
    "two contracts in one slot, each with its amendment and its end",
    won(1, plan(), seats(10), contract=1),
    won(2, plan(), seats(100), contract=2, start="2027-01-01", end="2027-12-31"),
    amended(3, seats(1, priorQuantity=10), of=contract(1), start="2027-02-01"),
    amended(4, seats(2, priorQuantity=100), of=contract(2), start="2027-02-01"),
    renewed(5, plan(), seats(50), of=contract(1), start="2027-12-01"),
    on("2026-12-15", "enterprise, 10 seats"),
    on("2027-01-15", "enterprise, 110 seats"),
    on("2027-02-01", "enterprise, 113 seats"),
    on("2027-12-01", "enterprise, 152 seats"),
)
case(
    "contracts on two resources have nothing to do with each other",
    won(1, plan(), seats(10), resource="eu"),
    won(2, plan("plan-enterprise-plus"), seats(20), resource="us"),
    cancelled(3, of=1, end="2027-05-31"),
    on("2027-05-31", "[eu] until 2027-06-01: enterprise, 10 seats", "[us] enterprise-plus, 20 seats"),
    on("2027-06-02", "[us] enterprise-plus, 20 seats"),
)
case(
    "another plan of the same product, as a new deal, waits for somebody to say what it is",
    won(1, plan(), seats(10), start="2026-11-01"),
    won(2, plan("plan-enterprise-plus"), seats(20), start="2026-11-01", saved="2026-11-21"),
    on("2026-11-22", "enterprise, 10 seats", says={2: "Held: two_plans"}),
    renewed(2, plan("plan-enterprise-plus"), seats(20), of=1, start="2026-11-23", saved="2026-11-23"),
    on("2026-11-24", "enterprise-plus, 20 seats", says={1: "Superseded", 2: "Provisioned"}),
    as_sent=True,
)
case(
    "a deal of several products, amended in one of them",
    won(1, plan(), plan("plan-analytics"), seats(10, planId="plan-enterprise"), seats(3, planId="plan-analytics")),
    amended(2, seats(4, planId="plan-analytics"), of=1, start="2027-03-01"),
    on("2027-02-28", "analytics, 3 seats", "enterprise, 10 seats"),
    on("2027-03-01", "analytics, 7 seats", "enterprise, 10 seats"),
)
case(
    "more is taken away than is usual: it waits for somebody's approval",
    won(1, plan(), seats(500), start="2026-11-01"),
    amended(2, seats(-450), of=1, saved="2026-12-01"),
    on("2026-12-02", "enterprise, 500 seats", says={1: "Provisioned", 2: "Held: removal_guard"}),
    Approval("2026-12-03", 2),
    on("2026-12-03", "enterprise, 50 seats", says={1: "Provisioned", 2: "Provisioned"}),
    as_sent=True,
)

# Money and credits


def grant(quantity: int, **more: Any) -> Json:
    return a_line("Credit grant", "currency-ai-credits", quantity, **more)


case(
    "credits are granted once; what was granted is never corrected by itself",
    won(1, plan(), grant(5000, price=0.01), start="2026-11-01"),
    won(1, plan(), grant(6000, price=0.01), start="2026-11-01", saved="2026-11-25"),
    on("2026-11-26", "enterprise", "granted 5000", says={1: "Held: credits_differ"}),
    as_sent=True,
)
case(
    "credits of an amendment are granted on its day, and by the renewal again",
    won(1, plan(), grant(100)),
    amended(2, grant(50), of=1, start="2027-03-01"),
    renewed(3, plan(), grant(100), of=1, start="2027-12-01"),
    on("2026-12-02", "enterprise", "granted 100"),
    on("2027-03-01", "enterprise", "granted 100", "granted 50"),
    on("2027-12-02", "enterprise", "granted 100", "granted 100", "granted 50"),
)
case(
    "recurring credits grow with an amendment",
    won(1, plan("plan-enterprise-plus"), credits(1000)),
    amended(2, credits(500), of=1, start="2027-03-01"),
    on("2027-03-01", "enterprise-plus, 1500 ai-credits"),
)
case(
    "coupon, budget, minimum spend and who pays; an amendment changes what it says and keeps the rest",
    won(
        1,
        plan(),
        addon(),
        coupon="coupon-partner-20",
        budget={"limit": 5000},
        minimumSpend=100,
        payingCustomerId="holding",
    ),
    amended(2, addon(), of=1, start="2027-03-01", budget={"limit": 9000}),
    on(
        "2027-02-28",
        "enterprise, 1 extra-workspace, coupon coupon-partner-20, budget 5000, at least 100, paid by holding",
    ),
    on(
        "2027-03-01",
        "enterprise, 2 extra-workspace, coupon coupon-partner-20, budget 9000, at least 100, paid by holding",
    ),
)

# What waits, and time that settles it

case(
    "what was held against a subscription is done once that has ended by itself",
    won(1, plan(), start="2026-11-01", end="2027-01-31"),
    won(1, plan(), start="2026-11-01", end="2027-11-30", paymentCollection="CHARGE", saved="2026-12-01"),
    on("2026-12-02", "until 2027-02-01: enterprise", says={1: "Held: cannot_change"}),
    on("2027-02-02", "until 2027-12-01: enterprise", says={1: "Provisioned"}),
    policy=Policy(end_of_term="end"),
    as_sent=True,
)
case(
    "a deal that is held waits for people, whatever day comes: no later day decides anything anew",
    won(1, plan(), start="2026-11-01", end=None),
    won(2, plan(), start="2026-11-01", end="2027-01-31", billingPeriod="MONTHLY", saved="2026-12-01"),
    on("2026-12-02", "enterprise", says={1: "Provisioned", 2: "Held: terms_conflict"}),
    on("2027-02-02", "enterprise", says={1: "Provisioned", 2: "Held: terms_conflict"}),
    policy=Policy(end_of_term="end"),
    as_sent=True,
)


def _orders(case: Case) -> Iterator[tuple[Json, ...]]:
    """The orders in which the deals may arrive: all of them, or a good number."""
    if case.as_sent:
        return iter([case.deals])
    found = list(permutations(case.deals))
    return iter([found[0], found[-1], *random.Random(case.name).sample(found, min(len(found), MOST_ORDERS))])


def _play(case: Case, deals: tuple[Json, ...], *, dies: bool, together: bool) -> None:
    world = World(case.policy, now=min(_saved(deal) for deal in deals), dies=dies)
    sent: list[Json] = []
    waiting = list(deals)
    arrives = 0
    for look in case.looks:
        at = at_noon(look.day)
        while waiting and max(arrives, _saved(waiting[0])) <= at:
            deal = waiting.pop(0)
            if _saved(deal) > arrives:
                world.provision()
                arrives = _saved(deal)
            world.until(arrives)
            sent.append(deal)
            # What came before comes again.
            world.send(deal, *sent[:: max(1, len(sent) // 2)])
            if not together:
                world.provision()
        world.provision()
        world.until(at)
        if any(_saved(deal) <= at for deal in waiting):
            continue  # a deal is late: this day cannot be as it should
        if isinstance(look, Approval):
            world.approve(look.number)
            continue
        shown = [*world.access(), *(f"granted {amount}" for _, amount in sorted(world.granted()))]
        assert sorted(shown) == sorted(look.access), look.day
        for number, expected in look.says.items():
            outcome = world.customer.opportunities[opportunity_id(number)].outcome
            status, _, why = expected.partition(": ")
            code, _, day = why.partition(" ")
            told = (outcome.status, outcome.code if code else "", outcome.facts.get("day", "") if day else "")
            assert told == (status, code, day), (look.day, number, world.said(number))
            assert "?" not in world.said(number)
    assert not waiting
    assert bool(world.refusals) == case.refused


def _saved(deal: Json) -> int:
    return at_noon(deal["opportunity"]["systemModstamp"])


@pytest.mark.proof
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case) -> None:
    for deals in _orders(case):
        _play(case, deals, dies=False, together=False)
        _play(case, deals, dies=True, together=True)
