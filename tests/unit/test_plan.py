"""The plan as a specification: which changes bring what Stigg holds to what a customer should have.

`Pretend` is Stigg as far as a plan can tell: a subscription made ends the paid ones of its slot, a list sent replaces
the whole list, an ID is used once.
"""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedwon.domain.changes import LIVE, Actual, Create, End, Hold, Keep, Plan, Update
from closedwon.domain.desired import Desired, Policy, Slot
from closedwon.domain.endings import ending_of
from closedwon.domain.identifiers import CustomerId, SubscriptionId, entity_id_fault
from closedwon.domain.instants import instant_of
from closedwon.domain.marks import GRANT_KEY, TERMS_KEY, Backlinks
from closedwon.domain.plan import plan
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.subscription_ids import is_ours, subscription_id
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import end_call, grant_body, provision_body, update_body
from closedwon.words.reasons import in_words
from unit.domain import (
    ACCOUNT,
    AT,
    CATALOGUE,
    CREDITS,
    NOW,
    PLATFORM,
    POLICY,
    SEATS,
    SSO,
    SUPPORT,
    WORKSPACE,
    Json,
    Standing,
    a_line,
    addon,
    an_order,
    cancelled,
    entitlement,
    fold,
    folded,
    on_trial,
    only,
    opportunity_id,
    order_of,
    orders,
    slots,
    standings,
)
from unit.domain import plan as plan_line

CUSTOMER = CustomerId("northwind")
LINKS = Backlinks("https://northwind.my.salesforce.com", ACCOUNT)
SLOT = Slot(PLATFORM, None)
ONE, TWO = opportunity_id(1), opportunity_id(2)
REPLACE = Policy(foreign_subscription="replace", removal_guard_percent=100)


@dataclass
class Pretend:
    """Stigg and the ledger's memory of it, for one customer."""

    subscriptions: dict[str, Json] = field(default_factory=dict)
    records: dict[Slot, SlotRecord] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    shows: tuple[str, ...] = (*LIVE, "CANCELED")

    @property
    def actual(self) -> list[Actual]:
        shown = json.loads(json.dumps([s for s in self.subscriptions.values() if s["status"] in self.shows]))
        return [actual_of(subscription, CATALOGUE) for subscription in shown]

    def plan(self, desired: Desired, policy: Policy = POLICY, approved: Container[str] = ()) -> Plan:
        return plan(CUSTOMER, desired, self.actual, self.records, policy, LINKS, AT, approved)

    def apply(self, plan: Plan, remembers: bool = True) -> None:
        """Carry a plan out. remembers: False where the step dies between Stigg's write and the ledger's."""
        for change in plan.changes:
            if isinstance(change, End):
                self.end(change.subscription_id)
                self.records[change.slot] = replace(self.records[change.slot], applied=None)
                continue
            slot = change.subscription.slot
            record = self.records.get(slot, SlotRecord())
            if isinstance(change, Create):
                record = replace(record, generation=change.generation, made=False)
                self.records[slot] = record
                id = self.provision(provision_body(CUSTOMER, change, LINKS, paid=False))
            else:
                id = self.update(change.subscription_id, update_body(change, LINKS))
            if remembers:
                status = self.subscriptions[id]["status"]
                record = replace(
                    record, made=True, subscription_id=SubscriptionId(id), status=status, applied=change.subscription
                )
                self.records[slot] = SlotRecord.from_json(json.loads(json.dumps(record.to_json())))
        for keep in plan.kept:
            record = self.records.get(keep.subscription.slot, SlotRecord())
            kept = replace(record, made=True, subscription_id=keep.subscription_id, applied=keep.subscription)
            self.records[keep.subscription.slot] = kept

    def provision(self, body: Json) -> str:
        id = body["id"]
        assert id not in self.subscriptions, "409: an ID is used once"
        self.used.append(id)
        of = CATALOGUE.plan(body["planId"])
        assert of is not None
        for other in self.subscriptions.values():
            same = CATALOGUE.product_of(other["planId"]) == of.product_id and other["resourceId"] == body.get(
                "resourceId"
            )
            if same and other["status"] in LIVE and other["status"] != "IN_TRIAL":
                other["status"] = "CANCELED"
        self.subscriptions[id] = {
            "id": id,
            "planId": body["planId"],
            "resourceId": body.get("resourceId"),
            "pricingType": of.pricing_type,
            "status": "ACTIVE",
            "metadata": body.get("metadata", {}),
            "cancellationDate": body.get("cancellationDate"),
            "unitQuantity": body.get("unitQuantity", 1),
            **_lists(body),
        }
        return str(id)

    def update(self, id: str, body: Json) -> str:
        assert not body.keys() & {
            "planId",
            "startDate",
            "unitQuantity",
            "paymentCollectionMethod",
            "payingCustomerId",
        }
        changed = {name: body[name] for name in ("metadata", "cancellationDate") if name in body}
        lists = _lists(body)
        names = {"addons": "addons", "priceOverrides": "prices", "entitlements": "subscriptionEntitlements"}
        self.subscriptions[id] |= changed | {shown: lists[shown] for given, shown in names.items() if given in body}
        return id

    def end(self, id: str) -> None:
        self.subscriptions[id]["status"] = "CANCELED"


def _lists(body: Json) -> Json:
    """What Stigg's answers show of the lists in a body: of entitlements, only which."""
    return {
        "addons": body.get("addons", []),
        "prices": body.get("priceOverrides", []),
        "subscriptionEntitlements": [{"id": e["id"], "type": e["type"]} for e in body.get("entitlements", [])],
    }


def somebodys(plan_id: str = "plan-team", id: str = "theirs", **more: Any) -> Json:
    """A subscription that closed-won did not make."""
    found = CATALOGUE.plan(plan_id)
    assert found is not None
    return {
        "id": id,
        "planId": plan_id,
        "resourceId": None,
        "pricingType": found.pricing_type,
        "status": "ACTIVE",
        "metadata": {"owner": "growth team"},
        "cancellationDate": None,
        **_lists({}),
        **more,
    }


def stigg(*subscriptions: Json) -> Pretend:
    return Pretend({s["id"]: s for s in subscriptions})


def settled(*deals: Any, policy: Policy = POLICY) -> Pretend:
    """Stigg after these deals were provisioned."""
    world = Pretend()
    world.apply(world.plan(folded(*deals, policy=policy), policy))
    return world


def live(world: Pretend) -> set[str]:
    return {id for id, s in world.subscriptions.items() if s["status"] in LIVE}


# What holds for all customers


@given(standings(), st.sampled_from([POLICY, Policy("end"), REPLACE]), st.booleans())
@settings(max_examples=60)
def test_a_plan_carried_out_leaves_nothing_to_do(deals: list[Standing], policy: Policy, remembers: bool) -> None:
    world, desired = Pretend(), fold(deals, CATALOGUE, policy, AT)
    world.apply(world.plan(desired, policy), remembers)
    again = world.plan(desired, policy)
    assert again.empty
    assert {keep.subscription.slot for keep in again.kept} == set(desired.subscriptions)


@given(st.lists(st.tuples(standings(2), st.booleans(), st.booleans()), min_size=2, max_size=4))
@settings(max_examples=50)
def test_however_deals_change_steps_die_and_people_interfere_the_end_is_what_the_deals_say(
    rounds: list[tuple[list[Standing], bool, bool]],
) -> None:
    world, desired = Pretend(), Desired()
    for deals, dies, somebody_ends in rounds:
        desired = fold(deals, CATALOGUE, REPLACE, AT)
        world.apply(world.plan(desired, REPLACE), remembers=not dies)
        for id in live(world) if somebody_ends else ():
            world.end(id)
    world.apply(world.plan(desired, REPLACE))
    end = world.plan(desired, REPLACE)
    assert not end.changes
    assert {keep.subscription.slot for keep in end.kept} == set(desired.subscriptions)
    for keep in end.kept:
        wanted, held = (
            keep.subscription,
            actual_of(world.subscriptions[keep.subscription_id], CATALOGUE),
        )
        assert (held.slot, held.plan_id, held.addons, held.prices) == (
            wanted.slot,
            wanted.plan_id,
            wanted.addons,
            wanted.prices,
        )
        assert world.subscriptions[keep.subscription_id]["unitQuantity"] == wanted.unit_quantity
        assert held.entitlement_ids == tuple(sorted(entitlement.id for entitlement in wanted.entitlements))


@given(orders(), orders(), st.sampled_from(["FREE", "PAID", "CUSTOM"]), st.booleans())
@settings(max_examples=50)
def test_a_foreign_subscription_is_never_replaced_under_policy_hold(
    first: Any, second: Any, pricing: str, before: bool
) -> None:
    theirs = [
        somebodys(p, id=f"theirs-{r}-{p}", resourceId=r, pricingType=pricing)
        for p in ("plan-team", "plan-starter")
        for r in (None, "workspace-1")
    ]
    world = stigg(*theirs) if before else settled(first)
    world.subscriptions |= {s["id"]: s for s in theirs}
    for order in (first, second):
        todo = world.plan(folded(order))
        world.apply(todo)
        assert {s["id"] for s in theirs} <= live(world)
        assert all(s["metadata"] == {"owner": "growth team"} for s in theirs)


@given(orders(), orders(), st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8), max_size=3))
@settings(max_examples=60)
def test_others_metadata_is_sent_back_with_every_update(first: Any, second: Any, theirs: dict[str, str]) -> None:
    world = settled(first)
    for subscription in world.subscriptions.values():
        subscription["metadata"] |= theirs
    for change in world.plan(folded(second), REPLACE).changes:
        if isinstance(change, Update):
            body = update_body(change, LINKS)
            assert theirs.items() <= body["metadata"].items()
            assert body["scheduleStrategy"] == "IMMEDIATE"


@given(st.lists(slots, min_size=2, max_size=6, unique=True), st.integers(1, 30), st.integers(1, 30))
def test_ids_differ_for_different_slots_customers_and_generations(these: list[Slot], one: int, other: int) -> None:
    ids = {subscription_id(CUSTOMER, slot, generation) for slot in these for generation in {one, other}}
    assert len(ids) == len(these) * len({one, other})
    assert not ids & {subscription_id(CustomerId("contoso"), slot, one) for slot in these}
    first, second, *_ = these
    assert is_ours(CUSTOMER, first, subscription_id(CUSTOMER, first, one))
    assert not is_ours(CUSTOMER, first, subscription_id(CUSTOMER, second, one))
    assert not is_ours(CustomerId("contoso"), first, subscription_id(CUSTOMER, first, one))


def test_a_customers_at_sign_is_in_no_subscriptions_id_and_those_made_with_it_stay_known() -> None:
    customer = CustomerId("billing@acme.example")
    id = subscription_id(customer, SLOT, 2)
    assert entity_id_fault(id) is None
    assert is_ours(customer, SLOT, id)
    former = SubscriptionId(id.replace("billing-acme", "billing@acme"))
    assert is_ours(customer, SLOT, former)
    assert not is_ours(CustomerId("billing-acme.example"), SLOT, id)


@given(standings())
@settings(max_examples=40)
def test_what_is_remembered_of_a_slot_comes_back_from_the_ledger_as_it_went_in(deals: list[Standing]) -> None:
    for record in (SlotRecord(), *settled(*deals).records.values()):
        assert SlotRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


# One deal after another


def test_a_new_deal_makes_its_subscription_with_only_what_it_says() -> None:
    [create] = Pretend().plan(folded(an_order(plan_line(price=48000), addon(quantity=5)))).changes
    assert isinstance(create, Create)
    assert create.replaces is None
    body = provision_body(CUSTOMER, create, LINKS, paid=False)
    metadata = body.pop("metadata")
    assert body == {
        "customerId": CUSTOMER,
        "planId": "plan-enterprise",
        "id": subscription_id(CUSTOMER, SLOT, 1),
        "addons": [{"id": WORKSPACE, "quantity": 5}],
        "priceOverrides": [{"baseCharge": True, "amount": 48000.0, "currency": "usd"}],
        "billingPeriod": "ANNUALLY",
        "paymentCollectionMethod": "INVOICE",
        "startDate": "2026-12-01T00:00:00.000Z",
        "salesforceId": ONE,
        "scheduleStrategy": "IMMEDIATE",
        "trialOverrideConfiguration": {"isTrial": False},
    }
    assert metadata[TERMS_KEY] == create.subscription.fingerprint
    assert ONE in str(metadata)


UPDATES: list[tuple[list[Json], dict[str, Any], Policy, tuple[str, ...], set[str]]] = [
    # The deal's new lines and terms; what is said to differ; the lists that are sent.
    (
        [plan_line(price=100), addon(quantity=6, price=10), entitlement()],
        {},
        POLICY,
        ("add-ons",),
        {"addons"},
    ),
    (
        [plan_line(price=100), addon(quantity=5, price=11), entitlement()],
        {},
        POLICY,
        ("prices",),
        {"priceOverrides"},
    ),
    ([plan_line(), addon(quantity=5, price=10), entitlement()], {}, POLICY, ("prices",), {"priceOverrides"}),
    (
        [plan_line(price=100), addon(quantity=5, price=10), entitlement(quantity=300)],
        {},
        POLICY,
        ("terms",),
        {"entitlements", "billingPeriod"},
    ),
    (
        [
            plan_line(price=100),
            addon(quantity=5, price=10),
            entitlement(),
            entitlement(SSO, None, unlimited=True),
        ],
        {},
        POLICY,
        ("entitlements", "terms"),
        {"entitlements", "billingPeriod"},
    ),
    (
        [plan_line(price=100), addon(quantity=5, price=10), entitlement()],
        {"terms__billingPeriod": "MONTHLY"},
        POLICY,
        ("terms",),
        {"entitlements", "billingPeriod"},
    ),
    (
        [plan_line(price=100), addon(quantity=5, price=10), entitlement()],
        {},
        Policy("end"),
        ("end",),
        {"cancellationDate"},
    ),
]


@pytest.mark.parametrize(("lines", "changes", "policy", "differs", "sent"), UPDATES)
def test_a_change_of_a_deal_is_an_update_that_sends_only_what_differs(
    lines: list[Json], changes: dict[str, Any], policy: Policy, differs: tuple[str, ...], sent: set[str]
) -> None:
    world = settled(an_order(plan_line(price=100), addon(quantity=5, price=10), entitlement()))
    [update] = world.plan(folded(an_order(*lines, **changes), policy=policy), policy).changes
    assert isinstance(update, Update)
    assert (update.subscription_id, update.changes) == (subscription_id(CUSTOMER, SLOT, 1), differs)
    assert update_body(update, LINKS).keys() - {"metadata", "salesforceId", "scheduleStrategy"} == sent


def test_a_change_of_plan_makes_a_subscription_of_the_next_generation() -> None:
    world = settled(an_order(plan_line()))
    for generation, changed in enumerate([plan_line("plan-enterprise-plus"), plan_line("plan-per-seat", 10)], 2):
        todo = world.plan(folded(an_order(changed)))
        [create] = todo.changes
        assert isinstance(create, Create)
        assert (create.generation, create.replaces) == (
            generation,
            subscription_id(CUSTOMER, SLOT, generation - 1),
        )
        world.apply(todo)
        assert live(world) == {subscription_id(CUSTOMER, SLOT, generation)}


def test_a_step_that_died_after_changing_the_units_finds_nothing_left_to_change() -> None:
    world = settled(an_order(plan_line("plan-per-seat", quantity=5)))
    more = folded(an_order(plan_line("plan-per-seat", quantity=9)))
    world.apply(world.plan(more), remembers=False)
    assert [keep.subscription_id for keep in world.plan(more).kept] == [subscription_id(CUSTOMER, SLOT, 1)]


def test_beside_a_trial_a_paid_subscription_says_that_it_begins_now_or_stigg_would_wait_for_the_trials_end() -> None:
    paid = an_order(terms__start=None)
    trial = an_order(number=2, trigger="trial", terms={"trialEnd": "2026-12-24"})
    together = [change for change in stigg().plan(folded(paid, trial)).changes if isinstance(change, Create)]
    assert {create.subscription.slot.trial: create.start for create in together} == {True: None, False: instant_of(NOW)}


@pytest.mark.parametrize("shows", [LIVE, (*LIVE, "CANCELED")])
def test_a_subscription_somebody_ended_is_made_again_under_a_new_id(shows: tuple[str, ...]) -> None:
    deal = folded(an_order())
    world = settled(an_order())
    world.shows = shows
    for generation in (2, 3):
        world.end(subscription_id(CUSTOMER, SLOT, generation - 1))
        world.apply(world.plan(deal))
        assert live(world) == {subscription_id(CUSTOMER, SLOT, generation)}
    assert world.plan(deal).empty


def test_a_wish_that_never_reached_stigg_keeps_its_id() -> None:
    world = Pretend(records={SLOT: SlotRecord(generation=3, made=False)})
    [create] = world.plan(folded(an_order())).changes
    assert isinstance(create, Create)
    assert create.generation == 3


def test_the_tenth_generation_comes_after_the_ninth() -> None:
    world = stigg(*(somebodys("plan-enterprise", id=subscription_id(CUSTOMER, SLOT, number)) for number in (10, 9)))
    [update] = world.plan(folded(an_order())).changes
    assert isinstance(update, Update)
    assert update.subscription_id == subscription_id(CUSTOMER, SLOT, 10)


def test_a_subscription_whose_plan_vanished_from_the_catalogue_is_still_known_as_ours() -> None:
    world = settled(an_order(plan_line()))
    gone = replace(CATALOGUE, plans={id: p for id, p in CATALOGUE.plans.items() if id != "plan-enterprise"})
    actual = [actual_of(s, gone) for s in world.subscriptions.values()]
    [create] = plan(
        CUSTOMER, folded(an_order(plan_line("plan-enterprise-plus"))), actual, world.records, POLICY, LINKS, AT
    ).changes
    assert isinstance(create, Create)
    assert create.replaces == subscription_id(CUSTOMER, SLOT, 1)


def test_what_an_update_cannot_change_is_held_and_not_called_done() -> None:
    world = settled(an_order())
    todo = world.plan(folded(an_order(terms__paymentCollection="CHARGE")))
    assert not todo.changes
    why = todo.holds[0].reason
    assert (why.code, why.facts["before"], why.facts["after"]) == ("cannot_change", "INVOICE", "CHARGE")
    # With a plan that changes too there is a new subscription, which is paid as the deal says, even if the step dies.
    both = folded(an_order(plan_line("plan-enterprise-plus"), terms__paymentCollection="CHARGE"))
    world.apply(world.plan(both, REPLACE), remembers=False)
    assert world.plan(both, REPLACE).empty


# Subscriptions of others


@pytest.mark.parametrize("ends", [None, "2027-06-30T22:00:00.000Z"])
def test_a_foreign_subscription_that_is_adopted_is_told_to_end_with_its_billing_period(ends: str | None) -> None:
    base = an_order(plan_line(), terms__start="2026-11-01", terms__end=None)
    world = settled(base)
    [ours] = live(world)
    world.end(ours)
    world.subscriptions["theirs"] = somebodys("plan-enterprise", cancellationDate=ends)
    cancellation = order_of(cancelled(1, cancel="end_of_term"))
    todo = world.plan(folded(Standing(cancellation, base, base)))
    update, *more = todo.changes
    assert isinstance(update, Update)
    assert (update.subscription_id, update.adopts) == ("theirs", True)
    assert "cancellationDate" not in update_body(update, LINKS)
    endings = [ending_of(end, None, instant_of(NOW)) for end in more if isinstance(end, End)]
    calls = [end_call(ending) for ending in endings if ending]
    # One that has an end already ends when somebody said.
    assert calls == ([] if ends else [("cancel", {"cancellationTime": "END_OF_BILLING_PERIOD"})])


def test_a_foreign_subscription_that_is_what_the_deal_wants_is_adopted_and_then_kept() -> None:
    deal = folded(an_order(plan_line(price=100), addon(quantity=5), entitlement()))
    theirs = somebodys(
        "plan-enterprise",
        addons=[{"id": WORKSPACE, "quantity": 5}],
        prices=[{"baseCharge": True, "amount": 100, "currency": "usd"}],
        subscriptionEntitlements=[{"id": SEATS, "type": "FEATURE"}],
        cancellationDate="2027-01-01T00:00:00.000Z",
    )
    world = stigg(theirs)
    todo = world.plan(deal)
    [update] = todo.changes
    assert isinstance(update, Update)
    assert update.adopts
    world.apply(todo)
    assert [keep.subscription_id for keep in world.plan(deal).kept] == ["theirs"]
    assert world.plan(deal).empty
    assert world.subscriptions["theirs"]["metadata"]["owner"] == "growth team"
    assert world.subscriptions["theirs"]["cancellationDate"] is None
    # Ours from now on: another plan replaces it, under an ID of ours.
    world.apply(world.plan(folded(an_order(plan_line("plan-enterprise-plus"), addon(quantity=5), entitlement()))))
    assert live(world) == {subscription_id(CUSTOMER, SLOT, 1)}


@pytest.mark.parametrize(
    ("policy", "theirs", "replaced"),
    [
        ("hold", ["plan-free"], False),
        ("hold", ["plan-team"], False),
        ("hold", ["plan-starter"], False),  # archived, and still theirs
        ("replace-free", ["plan-free"], True),
        ("replace-free", ["plan-team"], False),
        ("replace-free", ["plan-free", "plan-team"], False),  # which of them would end is Stigg's choice
        ("replace", ["plan-team"], True),
        ("replace", ["plan-enterprise"], True),  # the same plan, but with another add-on
    ],
)
def test_the_policy_says_which_foreign_subscription_a_deal_may_replace(
    policy: Any, theirs: list[str], replaced: bool
) -> None:
    held = [somebodys(p, id=f"theirs-{p}", addons=[{"id": SUPPORT, "quantity": 1}]) for p in theirs]
    todo = stigg(*held).plan(folded(an_order()), Policy(foreign_subscription=policy))
    if replaced:
        [create] = todo.changes
        assert isinstance(create, Create)
        assert create.replaces == held[0]["id"]
        return
    [hold] = todo.holds
    assert not todo.changes
    assert hold.opportunities == (ONE,)
    assert in_words(hold.reason) == (
        f"this customer already has {theirs[-1]} of the same product (subscription theirs-{theirs[-1]}), which "
        "closed-won did not make. Ending it for this deal needs somebody's decision."
    )


def test_a_foreign_trial_is_no_paid_subscription_and_stands_in_nobodys_way() -> None:
    [create] = stigg(somebodys(status="IN_TRIAL")).plan(folded(an_order())).changes
    assert isinstance(create, Create)
    assert create.replaces is None


def test_a_trial_that_was_won_goes_on_without_a_change_while_the_paid_subscription_waits_for_somebody() -> None:
    trial = an_order(trigger="trial", terms={"trialEnd": "2026-12-24"})
    shown = somebodys(id=subscription_id(CUSTOMER, SLOT._replace(trial=True), 1), plan_id="plan-enterprise")
    world = stigg(somebodys(), {**shown, "status": "IN_TRIAL", "trialEndDate": "2026-12-25T00:00:00.000Z"})
    wanted = only(folded(trial))
    world.records[wanted.slot] = SlotRecord(1, True, shown["id"], "IN_TRIAL", None, wanted)
    waiting = world.plan(folded(Standing(an_order(), trial)))
    assert [hold.slot for hold in waiting.holds] == [SLOT]
    assert waiting.changes == ()


def test_a_foreign_subscription_beside_ours_keeps_ours_from_being_replaced() -> None:
    world = settled(an_order(plan_line()))
    world.subscriptions["theirs"] = somebodys("plan-team", status="NOT_STARTED")
    assert world.plan(folded(an_order(plan_line()))).empty
    assert isinstance(world.plan(folded(an_order(plan_line("plan-enterprise-plus")))).holds[0], Hold)


# What no deal gives any more, and what stays


def test_a_plan_that_no_deal_says_any_more_is_reported_and_left_alone() -> None:
    world = settled(an_order(plan_line(), plan_line("plan-analytics")))
    todo = world.plan(folded(an_order(plan_line("plan-analytics"))))
    assert not todo.changes
    assert [(hold.slot, hold.opportunities) for hold in todo.holds] == [(SLOT, (ONE,))]
    assert (todo.holds[0].reason.code, todo.holds[0].reason.facts["plan"]) == ("no_deal_left", "plan-enterprise")
    world.end(subscription_id(CUSTOMER, SLOT, 1))
    assert world.plan(folded(an_order(plan_line("plan-analytics")))).empty


def test_kept_says_which_subscription_stands_and_in_what_state() -> None:
    world = settled(an_order())
    world.subscriptions[subscription_id(CUSTOMER, SLOT, 1)]["status"] = "PAYMENT_PENDING"
    [keep] = world.plan(folded(an_order())).kept
    assert isinstance(keep, Keep)
    assert (keep.subscription_id, keep.status) == (subscription_id(CUSTOMER, SLOT, 1), "PAYMENT_PENDING")


# Ends, trials, credits


TRIAL = Slot(PLATFORM, None, trial=True)


@pytest.mark.parametrize(
    ("paid", "converts", "call"),
    [
        (SlotRecord(), False, None),  # the paid one does not stand yet: the trial is all the customer has
        (SlotRecord(status="PAYMENT_PENDING"), False, None),
        (SlotRecord(status="ACTIVE"), False, ("update", "2026-11-20T09:16:00.000Z")),
        (SlotRecord(status="NOT_STARTED"), False, ("update", "2026-12-01T00:00:00.000Z")),
        (SlotRecord(status="NOT_STARTED"), True, ("update", "2026-12-02T00:00:00.000Z")),  # never gets to convert
        (SlotRecord(status="ACTIVE"), True, ("cancel", None)),
    ],
)
def test_a_trial_that_was_won_ends_with_the_start_of_what_follows(
    paid: SlotRecord, converts: bool, call: tuple[str, str | None] | None
) -> None:
    if paid.status:
        paid = replace(paid, applied=folded(an_order()).subscriptions[SLOT])
    end = End(TRIAL, SubscriptionId("trial-1"), "plan-enterprise", (ONE,), after=SLOT, converts=converts)
    ending = ending_of(end, paid, instant_of(NOW))
    made = end_call(ending) if ending else None
    assert (made and (made[0], made[1].get("trialEndDate"))) == call


def test_a_trial_that_was_won_goes_on_while_what_follows_is_held() -> None:
    trial = order_of(on_trial(1, plan_line(), trialEnd="2026-12-20"))
    world = stigg(somebodys("plan-enterprise", id=subscription_id(CUSTOMER, TRIAL, 1), status="IN_TRIAL"))
    world.records[TRIAL] = SlotRecord(1, True, subscription_id(CUSTOMER, TRIAL, 1), "IN_TRIAL", None, _only(trial))
    theirs = somebodys("plan-team")
    world.subscriptions["theirs"] = theirs
    won_since = folded(Standing(an_order(), trial))
    todo = world.plan(won_since)
    assert not todo.changes
    assert [hold.slot for hold in todo.holds] == [SLOT]


def _only(order: Any) -> Any:
    [subscription] = folded(order).subscriptions.values()
    return subscription


@pytest.mark.parametrize(
    ("cost", "kind", "paid"),
    [(0.01, "PAID", {"amount": 1, "currency": "usd"}), (None, "PROMOTIONAL", None)],
)
def test_a_credit_grant_carries_its_key_and_its_price(cost: float | None, kind: str, paid: Json | None) -> None:
    order = an_order(plan_line(), a_line("Credit grant", CREDITS, 100, price=cost, end="2027-12-31"), terms__start=None)
    [grant] = folded(order).grants
    body = grant_body(CUSTOMER, grant)
    assert body["metadata"] == {GRANT_KEY: grant.key, "salesforceOpportunityId": ONE}
    assert (body["amount"], body["grantType"], body.get("cost")) == (100, kind, paid)
    assert body["expireAt"] == "2028-01-01T00:00:00.000Z"


def test_credits_are_due_until_stigg_answered() -> None:
    desired = folded(an_order(plan_line(), a_line("Credit grant", CREDITS, 100), terms__start=None))
    [grant] = desired.grants
    for granted, due in (({}, 1), ({grant.key: GrantRecord(100)}, 1), ({grant.key: GrantRecord(100, "grant-1")}, 0)):
        assert len(plan(CUSTOMER, desired, [], {}, POLICY, LINKS, AT, (), granted).grants) == due


def test_an_old_base_touched_after_its_renewal_is_nothing_to_write() -> None:
    lines = [plan_line(), entitlement(SEATS, 10)]
    base = an_order(*lines, terms__start="2025-01-01", terms__end="2025-12-31")
    renewal = an_order(*lines, number=2, trigger="renewal", amends=ONE, terms__start="2026-01-01")
    world = settled(base, renewal)
    moved = an_order(plan_line(), entitlement(SEATS, 9), terms__start="2025-02-01", terms__end="2025-12-31")
    assert world.plan(folded(Standing(moved, base), Standing(renewal, renewal))).empty
