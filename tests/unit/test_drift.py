"""Drift: what three systems that agree never show, what each kind of disagreement is called, and what a repair does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from closedwon.domain.acceptance import Arrival, accept, bound
from closedwon.domain.changes import LIVE
from closedwon.domain.customer import Customer, Lease, OpportunityState
from closedwon.domain.desired import Policy
from closedwon.domain.identifiers import CustomerId
from closedwon.domain.marks import TERMS_KEY
from closedwon.domain.order import Item, Order, Revision
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import compile_deal, revision_of
from closedwon.reconciliation import recorded_orders
from closedwon.reconciliation.drift import AccountSeen, Allowed, CustomerView, DealSeen, Watch, compare
from closedwon.reconciliation.finding import DEFAULT_POLICIES, KINDS, Compared, Finding, Remedy, Repair, repair_of
from closedwon.reconciliation.recorded_orders import as_recorded
from closedwon.reconciliation.views import Live
from closedwon.salesforce.write_back import account_fields, provisioning_record
from sandbox.stigg.entitlements import json as in_effect
from sandbox.stigg.state import Subscription as Held
from unit.domain import (
    ACCOUNT,
    AT,
    CALLS,
    CATALOGUE,
    PLATFORM,
    RULES,
    SEATS,
    SUPPORT,
    WORKSPACE,
    Json,
    a_line,
    addon,
    amended,
    at_noon,
    cancelled,
    entitlement,
    on_trial,
    opportunity_id,
    orders,
    plan,
    won,
)
from unit.test_life import AFTER, DAYS, POLICIES, _saved, histories, lived, tried
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


def view(world: World, deals: Iterable[Json], *, live: bool = True, deep: bool = True) -> CustomerView:
    """What the three systems say of the world's customer. deals: what was saved in Salesforce, by its revisions."""
    customer = world.customer
    newest = {deal["opportunity"]["id"]: seen(deal) for deal in sorted(deals, key=_saved)}
    for id, deal in newest.items():
        assert deal.arrival is not None
        if deal.trigger == "cancellation" and not deal.arrival.order.amends and id not in customer.opportunities:
            newest[id] = replace(deal, trigger=None, arrival=None)  # lost before anybody heard of it
    held = world.stigg.book.subscriptions.values()
    listed = [json.loads(json.dumps(one.json(world._clock))) for one in held if live or one.status in LIVE]
    shown = account_fields(customer, APP) if customer.ensured else {}
    return CustomerView(
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
        allowed=allowed(world, listed) if deep else None,
        live=live,
    )


def allowed(world: World, listed: Iterable[Json]) -> dict[str, Allowed]:
    """What the customer may use, as a deep run reads it."""

    def entitlements(customer_id: str, resource_id: str | None = None) -> list[Json]:
        effective = world.stigg.allowances(customer_id, resource_id)
        return in_effect(world.stigg.catalogue, effective, world._clock)

    stigg: Any = SimpleNamespace(entitlements=entitlements)
    nobody: Any = None
    return Live(nobody, stigg, nobody, nobody, (), lambda *_: None, nobody).allowed(listed)


def compared(world: World, of: CustomerView, watch: Watch = WATCH) -> Compared:
    return compare(of, CATALOGUE, world.policy, LINKS, watch, world.now)


def agree(world: World, deals: Iterable[Json]) -> None:
    for live in (True, False):
        found = compared(world, view(world, deals, live=live))
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


def test_an_end_of_a_trial_written_by_a_step_that_died_is_nobodys_change_by_hand() -> None:
    sold = (plan(), entitlement(SEATS, 1))
    deals = [
        on_trial(1, *sold, trialEnd="2026-12-01", trialEndBehavior="CANCEL_SUBSCRIPTION", saved="2026-11-01"),
        on_trial(2, *sold, trialEnd="2027-01-15", trialEndBehavior="CONVERT_TO_PAID", saved="2026-11-01"),
        won(1, *sold, start="2027-01-15", end=None, saved="2026-11-16"),  # until then the trial goes on
        cancelled(3, of=1, end="2026-12-01", saved="2026-12-01"),
    ]
    agree(lived(deals, POLICIES[0], dies=True), deals)


# A customer to meddle with

SOLD = won(1, plan(price=48000), addon(quantity=5, price=1200), entitlement(SEATS, 250), start="2026-11-16")
ID = opportunity_id(1)
ALL: dict[str, Remedy] = dict.fromkeys(KINDS, "repair")


def served(*deals: Json, until: str = "2026-12-10", policy: Policy = POLICIES[0]) -> World:
    return lived(list(deals or (SOLD,)), policy, until=until)


def held(world: World) -> Held:
    [subscription] = world.stigg.book.subscriptions.values()
    return subscription


def found(world: World, of: CustomerView | None = None, watch: Watch = WATCH) -> list[Finding]:
    return list(compared(world, of or view(world, [SOLD]), watch).findings)


def mended(world: World, repair: Repair | None, deals: Iterable[Json] = ()) -> None:
    """A repair, as the repair step does it. deals: what accepting reads in Salesforce."""
    if repair is None:
        return
    assert repair.rev == world.customer.rev
    newest = {deal["opportunity"]["id"]: deal for deal in sorted(deals, key=_saved)}
    world.send(*(newest[id] for id, _ in repair.accept))
    if repair.look:
        world.customer = replace(world.customer, look_again_at=world.now)
    world.provision()


def set_to(**fields: Any) -> Callable[[Held], None]:
    def change(held: Held) -> None:
        for name, value in fields.items():
            setattr(held, name, value(held) if callable(value) else value)

    return change


def ended(held: Held) -> None:
    held.end("CANCELED", "Immediate", held.start_date)


DAY = datetime(2029, 3, 1, tzinfo=UTC)
BY_HAND = {
    "fewer add-ons": (
        set_to(addons=[{"id": WORKSPACE, "quantity": 3}]),
        ("wrong_addon", "5 addon-extra-workspace", "3 addon-extra-workspace"),
    ),
    "other add-ons": (
        set_to(addons=[{"id": SUPPORT, "quantity": 1}, {"id": WORKSPACE, "quantity": 5}]),
        ("wrong_addon", "no addon-premium-support", "1 addon-premium-support"),
    ),
    "an entitlement less": (set_to(entitlements=[]), ("wrong_entitlement", "feature-seats 250", "no feature-seats")),
    "an entitlement more": (
        set_to(entitlements=lambda held: [*held.entitlements, {"type": "FEATURE", "id": CALLS, "usageLimit": 9}]),
        ("wrong_entitlement", "no feature-api-calls", "feature-api-calls"),
    ),
    "another price": (
        set_to(price_overrides=lambda held: [{**p, "amount": 100} for p in held.price_overrides if "addonId" not in p]),
        (
            "wrong_price",
            "base price 48,000.00 USD, addon-extra-workspace 1,200.00 USD",
            "base price 100.00 USD, addon-extra-workspace as listed",
        ),
    ),
    "an earlier end": (
        set_to(cancellation_date=DAY),
        ("wrong_date", "no end", "an end on 2029-02-28"),
    ),
    "no fingerprint": (
        set_to(metadata=lambda held: {k: v for k, v in held.metadata.items() if k != TERMS_KEY}),
        ("changed_by_hand", "closedWonTerms as written", "removed"),
    ),
    "another link": (
        set_to(metadata=lambda held: {**held.metadata, "salesforceOpportunityIds": "006"}),
        ("changed_by_hand", "salesforceOpportunityIds as written", "changed"),
    ),
    "ended": (
        ended,
        ("changed_by_hand", "plan-enterprise, 5 addon-extra-workspace, feature-seats 250", "ended (canceled)"),
    ),
    "another plan": (
        set_to(plan=lambda held: replace(held.plan, id="plan-enterprise-plus")),
        ("wrong_plan", "plan-enterprise", "plan-enterprise-plus"),
    ),
}


@pytest.mark.parametrize(("change", "said"), BY_HAND.values(), ids=BY_HAND)
def test_what_was_changed_in_stigg_by_hand_has_a_name_and_is_left_to_people(
    change: Callable[[Held], None], said: tuple[str, str, str]
) -> None:
    world = served()
    change(held(world))
    result = compared(world, view(world, [SOLD], deep=False))
    [finding] = result.findings
    assert (finding.kind, finding.should, finding.is_now) == said
    assert finding.by_hand
    assert finding.words.startswith(("Somebody", "The customer has"))
    assert compared(world, view(world, [SOLD], live=False)).suspect
    [judged], repair = repair_of(result, {})
    assert (judged.remedy, repair) == ("report", None)
    assert "by hand" in judged.why
    _, repair = repair_of(result, {}, by_hand="repair", reductions="repair")
    assert repair == Repair(ACCOUNT, world.customer.rev, look=True)
    mended(world, repair)
    agree(world, [SOLD])


def test_an_entitlement_value_shows_only_where_it_is_read_and_is_left_to_people() -> None:
    world = served()
    held(world).entitlements = [{"type": "FEATURE", "id": SEATS, "usageLimit": 100}]
    assert not found(world, view(world, [SOLD], deep=False))
    result = compared(world, view(world, [SOLD]))
    [finding] = result.findings
    assert (finding.kind, finding.by_hand, finding.lowers) == ("wrong_entitlement", True, False)
    assert (finding.should, finding.is_now) == ("feature-seats 250", "feature-seats 100")
    [judged], repair = repair_of(result, ALL, "repair", "repair")
    assert (judged.remedy, repair) == ("report", None)
    assert "set it back in Stigg" in judged.why


def test_a_subscription_that_is_gone_without_a_trace_is_made_again() -> None:
    world = served()
    world.stigg.book.subscriptions.clear()
    result = compared(world, view(world, [SOLD]))
    [finding] = result.findings
    assert (finding.kind, finding.by_hand, finding.lowers) == ("missing_subscription", False, False)
    assert finding.opportunity_id == ID
    judged, repair = repair_of(result, {})
    assert [f.remedy for f in judged] == ["repair"]
    mended(world, repair)
    agree(world, [SOLD])


def test_a_customer_that_is_gone_is_made_again_with_its_subscriptions() -> None:
    world = served()
    world.stigg.book.subscriptions.clear()
    result = compared(world, replace(view(world, [SOLD]), customer_in_stigg=False))
    assert [f.kind for f in result.findings] == ["missing_customer", "missing_subscription"]
    _, repair = repair_of(result, {})
    assert repair == Repair(ACCOUNT, world.customer.rev, look=True)


def test_a_fingerprint_of_other_units_was_changed_by_hand() -> None:
    sold = won(1, plan("plan-per-seat", 3), start="2026-11-16")
    world = served(sold)
    mine = held(world)
    mine.metadata = {**mine.metadata, TERMS_KEY: mine.metadata[TERMS_KEY].replace("3-", "2-", 1)}
    [finding] = found(world, view(world, [sold]))
    assert (finding.kind, finding.should, finding.is_now) == (
        "changed_by_hand",
        "closedWonTerms as written",
        "changed",
    )


def test_units_that_never_arrived_are_found_by_what_was_written_last() -> None:
    sold = won(1, plan("plan-growth"), entitlement(SEATS, 20), start="2026-11-16")
    world = served(sold)
    [(key, record)] = world.customer.slots.items()
    assert record.applied is not None
    before = replace(record.applied, charges=((SEATS, 15),))
    mine = held(world)
    mine.metadata = {**mine.metadata, TERMS_KEY: before.fingerprint}
    changed = replace(world.customer, slots={key: replace(record, applied=before, told=None)})
    [finding] = found(world, replace(view(world, [sold]), customer=changed))
    assert (finding.kind, finding.should, finding.is_now) == (
        "wrong_entitlement",
        "20 feature-seats",
        "15 feature-seats",
    )


def test_a_cancellation_that_was_taken_back_in_stigg_is_a_wrong_date() -> None:
    ends = cancelled(1, end="2027-02-28", saved="2026-12-01")
    world = served(SOLD, ends)
    held(world).cancellation_date = None
    [finding] = found(world, view(world, [ends]))
    assert (finding.kind, finding.should, finding.is_now) == ("wrong_date", "an end on 2027-02-28", "no end")
    assert finding.by_hand
    assert finding.lowers


def test_what_a_changed_policy_or_catalogue_asks_for_was_not_done_by_hand() -> None:
    world = served()
    world.policy = Policy("end")
    result = compared(world, view(world, [SOLD]))
    [finding] = result.findings
    assert (finding.kind, finding.should, finding.is_now) == ("wrong_date", "an end on 2027-11-30", "no end")
    assert (finding.by_hand, finding.lowers) == (False, True)
    [judged], repair = repair_of(result, {})
    assert repair is None
    assert "end or lower" in judged.why
    world = served()
    emptied = replace(CATALOGUE, plans={})
    # Its product was stored when it was provisioned: a later catalogue moves nothing.
    assert world.customer.opportunities[ID].products
    assert not compare(view(world, [SOLD]), emptied, world.policy, LINKS, WATCH, world.now).findings
    # The first version stored no products: what stands stays as it is until somebody decides.
    state = replace(world.customer.opportunities[ID], products={})
    world.customer = replace(world.customer, opportunities={ID: state})
    agree(world, [SOLD])
    [finding] = compare(view(world, [SOLD]), emptied, world.policy, LINKS, WATCH, world.now).findings
    assert finding.kind == "wrong_plan"
    assert "left Stigg's catalogue" in finding.words


# Subscriptions of nobody, and of others


def other(world: World, **fields: Any) -> Held:
    mine = next(iter(world.stigg.book.subscriptions.values()))
    made = replace(mine, id="sub-other", metadata={}, **fields)
    world.stigg.book.subscriptions[made.id] = made
    return made


def test_a_subscription_of_ours_that_no_deal_gives_is_an_orphan() -> None:
    world = served()
    other(world, resource_id="elsewhere").metadata = {TERMS_KEY: "1-abc"}
    [finding] = found(world)
    assert (finding.kind, finding.subscription_id) == ("orphan_subscription", "sub-other")
    _, repair = repair_of(compared(world, view(world, [SOLD])), ALL, "repair", "repair")
    assert repair is None
    nobody = replace(view(world, []), customer=Customer(ACCOUNT))
    assert {f.kind for f in found(world, nobody)} == {"orphan_subscription"}


def test_what_somebody_else_made_beside_ours_is_no_concern_of_ours() -> None:
    world = served()
    other(world, resource_id="elsewhere")
    agree(world, [SOLD])


def test_a_subscription_of_somebody_else_in_the_place_of_ours_is_foreign() -> None:
    world = served()
    other(world, price_overrides=[])
    ended(next(iter(world.stigg.book.subscriptions.values())))
    result = compared(world, view(world, [SOLD]))
    [finding] = result.findings
    assert (finding.kind, finding.subscription_id, finding.by_hand) == ("foreign_subscription", "sub-other", True)
    assert "closed-won did not make" in finding.words
    assert repair_of(result, ALL, "repair", "repair")[1] is None


def test_one_that_matches_would_be_adopted() -> None:
    world = served()
    other(world)
    ended(next(iter(world.stigg.book.subscriptions.values())))
    [finding] = found(world)
    assert (finding.kind, finding.subscription_id) == ("foreign_subscription", "sub-other")
    assert "adopts it" in finding.words


# Deals


def test_a_deal_that_never_arrived_is_accepted() -> None:
    second = won(2, plan("plan-analytics"), start="2026-11-16", saved="2026-11-17")
    world = served()
    both = [SOLD, second]
    result = compared(world, view(world, both))
    [finding] = result.findings
    assert (finding.kind, finding.opportunity_id, finding.lowers) == ("missed_deal", opportunity_id(2), False)
    assert (finding.should, finding.since) == ("1 plan-analytics", "2026-11-17T09:15:31.000Z")
    assert compared(world, view(world, both, live=False)).suspect
    _, repair = repair_of(result, {})
    assert repair == Repair(ACCOUNT, world.customer.rev, accept=((opportunity_id(2), "closed_won"),))
    mended(world, repair, both)
    agree(world, both)


def test_what_need_not_have_arrived_is_not_missed() -> None:
    world = served()
    mine, second = view(world, [SOLD]), won(2, plan("plan-analytics"), saved="2026-11-17")

    def missed(deal: DealSeen, watch: Watch = WATCH) -> list[str]:
        return [f.kind for f in found(world, replace(mine, deals=(*(mine.deals or ()), deal)), watch)]

    assert missed(seen(second)) == ["missed_deal"]
    assert missed(seen(second), replace(WATCH, deals_since="2026-11-17")) == ["missed_deal"]
    assert missed(seen(second), replace(WATCH, deals_since="2026-11-18")) == []
    assert missed(seen(second, modified=world.now - 60_000)) == []  # it may be on its way
    assert missed(seen(second, trigger=None)) == []
    assert missed(seen(second, deleted=True)) == []
    assert missed(seen(won(2))) == []  # nothing for Stigg on it
    assert missed(seen(won(2, plan("plan-x"), addon("y")))) == [
        "missed_deal"
    ]  # accepted, it shows what is wrong with it
    assert missed(seen(second, account_id="0015g00000OthErBBAV")) == []
    trial = on_trial(3, plan("plan-analytics"), trialEnd="2027-01-31", saved="2026-12-01")
    assert missed(seen(trial)) == ["missed_deal"]
    assert missed(seen(trial), replace(WATCH, deals_since="2026-12-02")) == []


def test_a_missed_deal_that_lowers_something_is_only_reported() -> None:
    fewer = amended(2, entitlement(SEATS, -50), of=1, saved="2026-12-01")
    world = served()
    result = compared(world, view(world, [SOLD, fewer]))
    [judged], repair = repair_of(result, {})
    assert (judged.kind, judged.lowers, judged.remedy, repair) == ("missed_deal", True, "report", None)
    assert "end or lower" in judged.why
    _, repair = repair_of(result, {}, reductions="repair")
    mended(world, repair, [SOLD, fewer])
    agree(world, [SOLD, fewer])


@given(orders(), orders(), st.booleans(), st.sampled_from([None, CustomerId(ACCOUNT), CustomerId("acme")]), st.data())
def test_a_deal_is_told_the_same_with_and_without_a_look_at_what_is_equal(
    told: Order, other: Order, alike: bool, customer_id: CustomerId | None, data: st.DataObject
) -> None:
    items = told.items if alike else data.draw(st.sampled_from([told.items, other.items, told.items[1:]]))
    lines = [replace(item, lines=(place + 7,)) for place, item in enumerate(items)]
    read = replace(told if alike else other, items=tuple(lines), opportunity_id=told.opportunity_id, as_of=None)
    read = replace(read, opportunity_name="another", stored_customer_id=CustomerId("acme"), customer_id=None)
    told = replace(told, customer_id=data.draw(st.sampled_from([None, CustomerId(ACCOUNT), CustomerId("acme")])))
    found = as_recorded(read, told, [told, other])
    with mock.patch.object(recorded_orders, "_content", side_effect=lambda _: object()):  # nothing is ever equal
        assert as_recorded(read, told, [told, other]).digest == found.digest
    assert not alike or found is told
    # and whether accepting it would change anything needs no accepting
    revision = Revision(1, 1)
    customer = Customer(ACCOUNT, customer_id=customer_id)
    customer = replace(customer, opportunities={told.opportunity_id: OpportunityState(told, revision, 1, "execution")})
    accepted, _ = accept(customer, [Arrival(found, Revision(1, 2))], AT)
    assert accepted.opportunities[told.opportunity_id].order.digest == bound(found, customer_id)[0].digest


def test_what_was_told_of_an_item_is_told_of_its_own_plan() -> None:
    arrival = seen(won(1, plan())).arrival
    assert arrival is not None
    order = arrival.order
    seats = Item("Entitlement", SEATS, 5, (1,))
    mine = replace(seats, plan_id="plan-enterprise", soft_limit=True, reset_period="MONTH")
    other = replace(seats, plan_id="plan-analytics")
    for items in ((mine, other), (other, mine)):
        told = replace(order, items=items)
        read = replace(order, items=tuple(replace(item, soft_limit=False, reset_period=None) for item in items))
        assert as_recorded(read, told, [told]).items == items
    alone, told = replace(order, items=(replace(seats, plan_id=None),)), replace(order, items=(mine,))
    assert as_recorded(alone, told, [told]).items == (mine,)


def test_a_change_that_never_arrived_is_a_missed_revision_and_one_of_the_mapping_is_told_apart() -> None:
    changed = won(1, plan(price=48000), addon(quantity=7, price=1200), entitlement(SEATS, 250), start="2026-11-16")
    world = served()
    later = {**changed, "opportunity": {**changed["opportunity"], "systemModstamp": "2026-12-01T10:00:00Z"}}
    [finding] = found(world, view(world, [later]))
    assert (finding.kind, finding.should, finding.is_now) == (
        "missed_revision",
        "7 addon-extra-workspace",
        "5 addon-extra-workspace",
    )
    [finding] = found(world, view(world, [changed]))
    assert finding.kind == "mapping_changed"
    _, repair = repair_of(compared(world, view(world, [later])), {})
    assert repair is None
    _, repair = repair_of(compared(world, view(world, [later])), {"missed_revision": "repair"})
    mended(world, repair, [later])
    agree(world, [later])


def test_what_reading_cannot_know_and_what_gives_nothing_is_no_difference() -> None:
    told = won(
        1,
        plan(price=48000),
        addon(quantity=5),
        entitlement(CALLS, 9, softLimit=True, resetPeriod="MONTH"),
        a_line("Credit entitlement", "currency-ai-credits", 5, cadence="YEAR"),
        start="2026-11-16",
        resource="eu",
        coupon="coupon-partner-20",
        budget={"limit": 10, "softLimit": True},
    )
    told |= {"customerId": ACCOUNT}
    read = won(
        1,
        plan(price=48000),
        addon(quantity=5),
        entitlement(CALLS, 9, resetPeriod="MONTH"),
        a_line("Credit entitlement", "currency-ai-credits", 5),
        start="2026-11-16",
        contract=1,
        saved="2026-12-05",
    )
    read["opportunity"]["name"], read["account"] = "Renamed", {"id": ACCOUNT, "name": "Renamed"}
    world = World()
    world.send(told)
    world.provision()
    world.until(at_noon("2026-12-10"))
    assert [f.kind for f in found(world, view(world, [read]))] == []
    waits = amended(2, entitlement(SEATS, 5), of=read["contractId"], saved="2026-12-06")
    world.send(waits)
    world.provision()
    assert "missed_revision" in [f.kind for f in found(world, view(world, [read, waits]))]


def test_a_deal_that_is_not_won_any_more_is_a_missed_revision_as_long_as_it_gives_something() -> None:
    world = served()
    lost = cancelled(1, saved="2026-12-02")
    [finding] = found(world, view(world, [lost]))
    assert (finding.kind, finding.lowers) == ("missed_revision", False)  # the policy keeps what a reopened deal gives
    assert "not won any more" in finding.words
    world = served(policy=POLICIES[3])
    [finding] = found(world, view(world, [lost]))
    assert finding.lowers
    over = on_trial(1, plan(), trialEnd="2026-11-30", saved="2026-11-10")
    world = served(over, until="2026-12-10")
    assert found(world, view(world, [over, lost])) == []


def test_deals_that_were_moved_merged_or_deleted_are_told_and_nothing_is_done() -> None:
    world = served()
    mine, elsewhere = view(world, [SOLD]), "0015g00000OthErBBAV"

    def kinds(deal: DealSeen, **more: Any) -> list[str]:
        result = compared(world, replace(mine, deals=(deal,), **more))
        assert repair_of(result, ALL, "repair", "repair")[1] is None
        return [f.kind for f in result.findings]

    assert kinds(seen(SOLD, account_id=elsewhere)) == ["moved_deal"]
    merged = AccountSeen("merged", elsewhere)
    assert kinds(seen(SOLD, account_id=elsewhere), account=merged) == ["merged_account"]
    assert kinds(seen(SOLD), account=AccountSeen("deleted")) == ["merged_account"]
    assert kinds(seen(SOLD, deleted=True), provisionings={}) == ["deleted_deal"]
    known = seen(won(2, plan("plan-analytics"), saved="2026-11-17"), known_to=elsewhere)
    assert [f.kind for f in found(world, replace(mine, deals=(seen(SOLD), known)))] == ["moved_deal"]
    assert [f.kind for f in found(world, replace(mine, deals=()))] == ["deleted_deal"]
    absent = compared(world, replace(mine, deals=(), live=False))
    assert (absent.findings, absent.suspect) == ((), True)


def test_a_deal_that_cannot_be_read_is_told_without_personal_data() -> None:
    world = served()
    deal = seen(won(2), arrival=None, problem="closed-won may not read it (billing@northwind.example)")
    [finding] = found(world, replace(view(world, [SOLD]), deals=(seen(SOLD), deal)))
    assert finding.kind == "unreadable_deal"
    assert "may not read it" in finding.words
    assert "northwind.example" not in finding.words


# What Salesforce shows


def shown(world: World, **changes: Any) -> CustomerView:
    mine = view(world, [SOLD])
    assert mine.provisionings is not None
    return replace(mine, provisionings={ID: {**mine.provisionings[ID], **changes}})


def test_what_salesforce_does_not_show_is_written_again() -> None:
    world = served()
    result = compared(world, replace(view(world, [SOLD]), provisionings={}))
    [finding] = result.findings
    assert (finding.kind, finding.opportunity_id) == ("missing_write_back", ID)
    assert repair_of(result, {})[1] == Repair(ACCOUNT, world.customer.rev, rewrite=(ID,))
    result = compared(world, shown(world, Status__c="Failed", Reason__c="Nobody knows."))
    [finding] = result.findings
    assert (finding.kind, finding.should, finding.is_now) == ("stale_write_back", "Provisioned", "Failed")
    assert "Status__c and Reason__c" in finding.words
    assert repair_of(result, {})[1] == Repair(ACCOUNT, world.customer.rev, rewrite=(ID,))
    for account, kind in ((AccountSeen(), "missing_write_back"), (AccountSeen(customer_id="x"), "stale_write_back")):
        result = compared(world, replace(view(world, [SOLD]), account=account))
        assert [f.kind for f in result.findings] == [kind]
        assert repair_of(result, {})[1] == Repair(ACCOUNT, world.customer.rev, account=True)


def test_the_same_said_otherwise_is_no_difference() -> None:
    world = served()
    at = shown(world).provisionings[ID]["Provisioned_At__c"]  # type: ignore[index]
    told = datetime.fromisoformat(at).replace(microsecond=0).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    same = shown(
        world,
        Provisioned_At__c=told,
        Account__c=ACCOUNT[:15],
        Opportunity__c=ID[:15],
        Reason__c="",
        Approved__c=True,
        Execution__c="an earlier try",
        Checkout_URL__c="",
        Id="a01",
    )
    assert not found(world, same)
    assert [f.kind for f in found(world, shown(world, Due_At__c=told))] == ["stale_write_back"]


# Work that stands still


def test_work_under_way_is_left_alone_and_work_that_nobody_takes_is_found() -> None:
    world = served()
    more = won(1, plan(price=48000), addon(quantity=7, price=1200), entitlement(SEATS, 250), start="2026-11-16")
    more["opportunity"]["systemModstamp"] = more["opportunity"]["readAt"] = "2026-12-10T10:00:00Z"
    world.send(more)
    assert compared(world, view(world, [more])).under_way
    world.now += 3 * 3_600_000
    result = compared(world, view(world, [more]))
    [finding] = result.findings
    assert (finding.kind, finding.opportunity_id, finding.since) == (
        "failed_not_rerun",
        ID,
        "2026-12-10T12:02:00.000Z",
    )
    leased = replace(world.customer, lease=Lease("execution", 1, world.now + 1))
    assert compared(world, replace(view(world, [more]), customer=leased)).under_way
    stopped = replace(world.customer, due_at=None)
    assert [f.kind for f in found(world, replace(view(world, [more]), customer=stopped))] == ["failed_not_rerun"]
    _, repair = repair_of(result, {})
    assert repair == Repair(ACCOUNT, world.customer.rev, look=True)
    mended(world, repair)
    agree(world, [more])


def test_a_failure_that_nothing_tries_again_is_found_and_a_refused_deal_is_the_reps() -> None:
    world = served()
    state = world.customer.opportunities[ID]
    failed = state.became(replace(state.outcome, status="Failed", reason="Stigg refused it."), world.now)
    customer = replace(world.customer, opportunities={ID: failed})
    mine = replace(view(world, [SOLD]), customer=customer, provisionings=None)
    [finding] = found(world, mine)
    assert (finding.kind, finding.opportunity_id) == ("failed_not_rerun", ID)
    wrong = won(1, plan("plan-unknown"), start="2026-11-16")
    world = served(wrong)
    assert world.customer.opportunities[ID].outcome.status == "Failed"
    assert found(world, view(world, [wrong])) == []
    week = replace(WATCH, held_too_long_days=7)
    [finding] = found(world, view(world, [wrong]), week)
    assert (finding.kind, finding.is_now) == ("held_too_long", "Failed")


def test_a_deal_that_is_held_for_longer_than_a_week_is_told() -> None:
    waits = amended(2, entitlement(SEATS, 5), of=3, saved="2026-12-01")
    week = replace(WATCH, held_too_long_days=7)
    world = served(SOLD, waits, until="2026-12-07")
    assert found(world, view(world, [SOLD, waits]), week) == []
    world.until(at_noon("2026-12-09"))
    [finding] = found(world, view(world, [SOLD, waits]), week)
    assert (finding.kind, finding.opportunity_id, finding.since) == (
        "held_too_long",
        opportunity_id(2),
        "2026-12-01T09:15:31.000Z",
    )


# What is repaired


def test_a_customer_is_brought_in_line_whole_or_not_at_all() -> None:
    world = served()
    held(world).addons = []
    second = won(2, plan("plan-analytics"), start="2026-11-16", saved="2026-11-17")
    result = compared(world, replace(view(world, [SOLD, second]), provisionings={}))
    judged, repair = repair_of(result, {})
    assert [(f.kind, f.remedy) for f in judged] == [
        ("missed_deal", "report"),
        ("wrong_addon", "report"),
        ("missing_write_back", "repair"),
    ]
    assert "repairing it would also undo" in judged[0].why
    assert "Somebody changed add-ons of plan-enterprise in Stigg" in judged[0].why
    assert repair == Repair(ACCOUNT, world.customer.rev, rewrite=(ID,))
    judged, repair = repair_of(result, {}, by_hand="repair")
    assert {f.remedy for f in judged} == {"repair"}
    assert all(not f.why for f in judged)
    assert repair == Repair(
        ACCOUNT, world.customer.rev, accept=((opportunity_id(2), "closed_won"),), look=True, rewrite=(ID,)
    )


def test_a_deal_is_not_accepted_over_an_entitlement_that_was_set_by_hand() -> None:
    world = served()
    held(world).entitlements = [{"type": "FEATURE", "id": SEATS, "usageLimit": 100}]
    more = amended(2, entitlement(SEATS, 5), of=1, saved="2026-12-01")
    judged, repair = repair_of(compared(world, view(world, [SOLD, more])), ALL, "repair", "repair")
    assert ({f.remedy for f in judged}, repair) == ({"report"}, None)


def test_policies_choose_by_kind() -> None:
    world = served()
    world.stigg.book.subscriptions.clear()
    result = compared(world, view(world, [SOLD]))
    [judged], repair = repair_of(result, {"missing_subscription": "report"})
    assert (judged.remedy, repair) == ("report", None)
    assert judged.why
    assert DEFAULT_POLICIES.keys() == KINDS.keys()


def test_findings_and_repairs_come_back_as_they_went() -> None:
    finding = Finding("wrong_addon", ACCOUNT, ACCOUNT, ID, "sub", "words", "5", "3", True, False, "report", "why", "")
    repair = Repair(ACCOUNT, 3, ((ID, "closed_won"),), True, (ID,), True)
    assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding
    assert Repair.from_json(json.loads(json.dumps(repair.to_json()))) == repair


# Whatever happens

MEDDLING = {name: change for name, (change, _) in BY_HAND.items()}
OF_PLATFORM = {"another plan"}  # a subscription never leaves its product: another plan's is made anew


@given(histories(2), st.sampled_from(DAYS), st.data())
@tried(40)
def test_what_is_meddled_with_is_found_and_a_repair_changes_nothing_else(
    deals: list[Json], day: str, data: Any
) -> None:
    world = lived(deals, until=day)
    agree(world, deals)
    slots = world.customer.slots  # not a trial that was won and only runs on until the paid subscription begins
    given_now = {
        slots[slot.key].subscription_id for slot in world.agreed().desired().subscriptions if slot.key in slots
    }
    live = [s for s in world.stigg.book.subscriptions.values() if s.status in LIVE and s.id in given_now]
    assume(live)
    before = {s.id: s.full(world._clock) for s in live}
    for one in data.draw(st.lists(st.sampled_from(live), min_size=1, unique_by=lambda s: s.id)):
        could = MEDDLING.keys() - (OF_PLATFORM if one.plan.product_id != PLATFORM else set())
        MEDDLING[data.draw(st.sampled_from(sorted(could)))](one)
        one.ended_at = one.ended_at and world._clock  # no earlier than what closed-won wrote to it
    meddled = {s.id: s.full(world._clock) for s in live}
    result = compared(world, view(world, deals))
    assume(not result.under_way)
    touched = {id for id in before if before[id] != meddled[id]}
    named = {f.subscription_id for f in result.findings}
    assert touched <= named
    if any(f.kind not in ("wrong_entitlement",) for f in result.findings):
        assert compared(world, view(world, deals, live=False, deep=False)).suspect
    assert repair_of(result, {})[1] is None
    judged, repair = repair_of(result, ALL, "repair", "repair")
    mended(world, repair)
    for s in live:
        if s.id not in named:
            assert s.full(world._clock) == before[s.id]
    left = {(f.kind, f.subscription_id) for f in found(world, view(world, deals))}
    assert left == {(f.kind, f.subscription_id) for f in judged if f.remedy == "report"}  # under a deal that is held


@given(histories(), st.sampled_from(DAYS), st.data())
@tried(40)
def test_deals_that_never_arrived_are_found_and_accepted(deals: list[Json], day: str, data: Any) -> None:
    lost = data.draw(st.lists(st.integers(0, len(deals) - 1), min_size=1, unique=True))
    heard = [deal for place, deal in enumerate(deals) if place not in lost]
    assume(heard)
    world = lived(heard)
    world.until(max(world.now, at_noon(day), at_noon("2026-12-29")))
    result = compared(world, view(world, deals))
    assert {f.kind for f in result.findings} <= {"missed_deal", "missed_revision"}
    assert compared(world, view(world, deals, live=False)).suspect >= bool(result.findings)
    _, repair = repair_of(result, ALL, "repair", "repair")
    mended(world, repair, deals)
    agree(world, deals)
