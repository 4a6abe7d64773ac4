"""What bringing in deals from before closed-won would do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from closedwon.domain.acceptance import Arrival
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import revision_of
from closedwon.reconciliation.backfill import Outlook, outlook
from closedwon.reconciliation.drift import Allowed, CustomerView, DealSeen
from sandbox.stigg import models, provisioning
from unit.domain import (
    ACCOUNT,
    CATALOGUE,
    POLICY,
    SEATS,
    Json,
    addon,
    at_noon,
    cancelled,
    entitlement,
    opportunity_id,
    order_of,
    plan,
    renewed,
    won,
)
from unit.world import LINKS, World

DAY = "2026-11-20"
SINCE, UNTIL = "2025-01-01", DAY
SOLD = (plan(), entitlement(SEATS, 10), addon(quantity=2))


def looked_at(*deals: Json, world: World | None = None, closed: str = "2026-03-01", used: int | None = None) -> Outlook:
    """The outlook on won deals that the ledger does not know. used: how many seats may be used, where that was read."""
    world = world or World(now=at_noon(DAY))
    held = [one.json(datetime.fromtimestamp(world.now / 1000, UTC)) for one in world.stigg.book.subscriptions.values()]
    view = CustomerView(
        world.customer,
        tuple(seen(deal, closed) for deal in deals),
        subscriptions=tuple(json.loads(json.dumps(held))),
        customer_in_stigg=True,
        allowed={one["id"]: Allowed({SEATS: float(used)}, alone=False) for one in held} if used is not None else None,
    )
    return outlook(view, SINCE, UNTIL, CATALOGUE, POLICY, LINKS, world.now)


def seen(deal: Json, closed: str) -> DealSeen:
    order = order_of(deal)
    arrival = Arrival(order, revision_of(Deal.model_validate(deal)))
    id = order.opportunity_id
    return DealSeen(id, ACCOUNT, 0, won=True, closed=True, closed_on=closed, trigger=order.trigger, arrival=arrival)


def old(number: int, *lines: Json, **terms: str) -> Json:
    return won(number, *(lines or SOLD), **{"start": "2026-03-01", "end": "2027-02-28", **terms})


def self_served(world: World, seats: int) -> None:
    """Somebody made the subscription in Stigg by hand, long ago."""
    body = {
        "customerId": ACCOUNT,
        "planId": "plan-enterprise",
        "addons": [{"id": "addon-extra-workspace", "quantity": 2}],
        "entitlements": [{"type": "FEATURE", "id": SEATS, "usageLimit": seats}],
    }
    provisioning.provision(world.stigg, models.read(models.SubscriptionProvision, json.dumps(body).encode()))


def test_what_stands_in_stigg_already_is_adopted() -> None:
    world = World(now=at_noon(DAY))
    self_served(world, seats=10)
    found = looked_at(old(1), world=world)
    assert (found.verdict, found.deals, found.words) == ("adopt", ((opportunity_id(1), "closed_won"),), ())


def test_what_is_missing_would_be_made() -> None:
    found = looked_at(old(1))
    assert (found.verdict, found.words) == ("create", ("would make a subscription to plan-enterprise",))


def test_what_ended_in_stigg_during_its_term_is_not_given_back() -> None:
    world = World(now=at_noon(DAY))
    self_served(world, seats=10)
    [made] = world.stigg.book.subscriptions.values()
    made.end("CANCELED", "CANCELLED_BY_BILLING", world._clock)
    found = looked_at(old(1), world=world)
    assert found.verdict == "held"
    assert "ended in Stigg" in found.words[0]
    made.end("CANCELED", "UPGRADE_OR_DOWNGRADE", world._clock)  # something else was to stand there then
    assert looked_at(old(1), world=world).verdict == "create"


def test_what_stands_there_and_is_something_else_waits_for_somebody() -> None:
    world = World(now=at_noon(DAY))
    self_served(world, seats=10)
    found = looked_at(old(1, plan("plan-enterprise-plus")), world=world)
    assert found.verdict == "held"
    assert found.words[0].startswith(opportunity_id(1))


def test_a_term_that_ended_long_ago_is_brought_in_only_where_access_went_on() -> None:
    past = old(1, start="2025-03-01", end="2026-02-28")
    assert POLICY.end_of_term == "keep"
    gone = looked_at(past)
    assert (gone.verdict, gone.deals) == ("over", ())
    assert gone.words == (f"{opportunity_id(1)}: its term ended on 2026-02-28 and nothing renews it; left out",)
    world = World(now=at_noon(DAY))
    self_served(world, seats=10)
    assert looked_at(past, world=world).verdict == "adopt"


def test_beside_a_deal_in_force_one_whose_term_ended_is_left_out() -> None:
    found = looked_at(old(1, start="2025-03-01", end="2026-02-28"), old(2))
    assert (found.verdict, found.deals) == ("create", ((opportunity_id(2), "closed_won"),))
    assert "left out" in found.words[-1]


def test_a_contract_that_was_cancelled_is_not_brought_back() -> None:
    lost = seen(cancelled(2, of=1, end="2026-05-31"), "2026-05-01")
    world = World(now=at_noon(DAY))
    view = CustomerView(world.customer, (seen(old(1), "2026-03-01"), replace(lost, won=False)), subscriptions=())
    found = outlook(view, SINCE, UNTIL, CATALOGUE, POLICY, LINKS, world.now)
    assert (found.verdict, found.deals) == ("over", ())


def test_what_adopting_would_change_is_told() -> None:
    world = World(now=at_noon(DAY))
    self_served(world, seats=500)
    found = looked_at(old(1), world=world, used=500)
    assert found.verdict == "change"
    [words] = found.words
    assert "set feature-seats to 10 (it is 500 now" in words
    assert looked_at(old(1), world=world, used=10).verdict == "adopt"


def test_a_term_that_is_over_brings_nothing_back_but_its_renewal_is_brought_in() -> None:
    ended = replace(POLICY, end_of_term="end")
    view = CustomerView(
        World(now=at_noon(DAY)).customer, (seen(old(1, start="2025-03-01", end="2026-02-28"), "2025-03-01"),)
    )
    now = at_noon(DAY)
    assert outlook(view, SINCE, UNTIL, CATALOGUE, ended, LINKS, now) == Outlook(ACCOUNT, "over")
    base = seen(old(1, start="2025-03-01", end="2026-02-28"), "2025-03-01")
    renewal = seen(renewed(2, *SOLD, of=1, end="2027-02-28"), "2026-02-20")
    both = outlook(replace(view, deals=(renewal, base)), SINCE, UNTIL, CATALOGUE, ended, LINKS, now)
    assert both.verdict == "create"
    assert both.deals == ((opportunity_id(1), "closed_won"), (opportunity_id(2), "renewal"))


def test_a_mapping_mistake_is_told_before_anything_is_brought_in() -> None:
    found = looked_at(old(1), old(2, plan("plan-unknown")))
    assert found.verdict == "refused"
    assert found.words == (f"{opportunity_id(2)}: line 1, stiggId: Stigg has no plan plan-unknown",)


def test_only_deals_of_that_time_that_are_not_known_yet_are_brought_in() -> None:
    assert looked_at(old(1), closed="2024-12-31").verdict == "none"
    world = World(now=at_noon(DAY))
    world.send(old(1))
    known = replace(seen(old(1), "2026-03-01"), known_to=ACCOUNT)
    view = CustomerView(world.customer, (known,), subscriptions=(), customer_in_stigg=True)
    assert outlook(view, SINCE, UNTIL, CATALOGUE, POLICY, LINKS, world.now).verdict == "known"
