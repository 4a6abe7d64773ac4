"""Drift: what three systems that agree never show, what each kind of disagreement is called, and what a repair does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from closedwon.customer import Arrival
from closedwon.deal import Deal
from closedwon.desired import Policy
from closedwon.drift import AccountSeen, Compared, DealSeen, Finding, Sides, Watch, compare
from closedwon.mapping import compile_deal, revision_of
from closedwon.plan import LIVE
from closedwon.projection import account_fields, provisioning_record
from unit.domain import ACCOUNT, CATALOGUE, RULES, Json, at_noon
from unit.test_life import AFTER, DAYS, POLICIES, _saved, histories, tried
from unit.world import LINKS, World

APP = "https://app.stigg.io/production"
WATCH = Watch(held_too_long_days=100_000, app_url=APP)


def seen(deal: Json, **changes: Any) -> DealSeen:
    """An opportunity as Salesforce has it, of which a callout would say what this deal says."""
    read = Deal.model_validate(deal)
    arrival = Arrival(compile_deal(read, RULES), revision_of(read))
    known = DealSeen(
        opportunity_id=read.opportunity.id,
        account_id=read.account.id,
        modified=arrival.revision.modified,
        won=read.trigger not in ("trial", "cancellation"),
        closed=read.trigger != "trial",
        closed_on=str(read.opportunity.system_modstamp.date()),
        trigger=read.trigger,
        arrival=arrival,
    )
    return replace(known, **changes)


def sides(world: World, deals: Iterable[Json], *, live: bool = True, deep: bool = True) -> Sides:
    """What the three systems say of the world's customer. deals: what was saved in Salesforce, by its revisions."""
    newest = {deal["opportunity"]["id"]: seen(deal) for deal in sorted(deals, key=_saved)}
    customer = world.customer
    held = world.stigg.book.subscriptions.values()
    listed = [json.loads(json.dumps(one.json(world._clock))) for one in held if live or one.status in LIVE]
    shown = account_fields(customer, APP) if customer.ensured else {}
    return Sides(
        customer=customer,
        deals=tuple(newest.values()),
        account=AccountSeen(
            customer_id=shown.get("Stigg_Customer_ID__c"), customer_url=shown.get("Stigg_Customer_URL__c")
        ),
        provisionings={
            id: json.loads(json.dumps(provisioning_record(customer, state, APP)))
            for id, state in customer.opportunities.items()
        },
        subscriptions=tuple(listed),
        customer_in_stigg=ACCOUNT in world.stigg.book.customers if live else None,
        overrides={one.id: tuple(one.entitlements) for one in held if one.status in LIVE} if deep else None,
        live=live,
    )


def compared(world: World, of: Sides, watch: Watch = WATCH) -> Compared:
    return compare(of, CATALOGUE, world.policy, LINKS, watch, world.now)


def agree(world: World, deals: Iterable[Json]) -> None:
    for live in (True, False):
        found = compared(world, sides(world, deals, live=live))
        assert not found.findings, found
        assert not found.suspect


MOMENTS = sorted({at_noon(f"{day}T{time}") for day in (*DAYS, *AFTER) for time in ("00:00:00", "00:00:30", "12:00")})


@given(histories(), st.sampled_from(POLICIES), st.booleans())
@tried(40)
def test_systems_that_agree_never_differ_at_any_moment(deals: list[Json], policy: Policy, dies: bool) -> None:
    world = World(policy, now=min(map(_saved, deals)), dies=dies)
    sent: list[Json] = []

    def passes(moment: int) -> None:
        while (due := world.customer.look_again_at) is not None and due <= moment:
            for at in (due - 1, due, due + 59_000):  # before the sweep takes it, too
                if world.now <= at:
                    world.now = at
                    world.stigg.catch_up(world._clock)
                    agree(world, sent)
            world.until(due + 59_000)
            agree(world, sent)
        world.until(max(world.now, moment))
        agree(world, sent)

    for deal in deals:
        passes(max(world.now, _saved(deal)))
        sent.append(deal)
        world.send(deal)
        agree(world, sent)
        world.provision()
        agree(world, sent)
    for moment in MOMENTS:
        if moment > world.now:
            passes(moment)
