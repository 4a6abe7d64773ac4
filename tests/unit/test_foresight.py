"""Previews as a specification: what a sales rep is told about every kind of change, and what programs get beside it.

Deals are accepted, folded and planned by the product's own rules; `Customers` is what would be stored in between.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from closedwon.domain.acceptance import Acceptance, Arrival, accept
from closedwon.domain.changes import Create, Update
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.facts import begin, settle
from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.desired import Policy
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import EndOfBillingPeriod
from closedwon.domain.marks import Backlinks, metadata_of
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.results import Applied
from closedwon.domain.world import world_of
from closedwon.intake.deal import Deal
from closedwon.intake.mapping import compile_deal, revision_of
from closedwon.preview.answers import PreviewResult
from closedwon.preview.foresight import Choices, Foresight, InStigg, foresee
from closedwon.preview.invoicing import invoice_question, not_included
from closedwon.preview.results import preview_of
from closedwon.words.changes import Calendar
from unit.domain import (
    ACCOUNT,
    AT,
    CATALOGUE,
    CREDITS,
    POLICY,
    RULES,
    SEATS,
    WORKSPACE,
    Json,
    a_deal,
    a_line,
    addon,
    entitlement,
    opportunity_id,
    plan,
)

LINKS = Backlinks("https://northwind.my.salesforce.com", ACCOUNT)
BASE = opportunity_id(1)
DAY = 86_400_000


class Customers:
    """One customer: what was sold to it stands in the ledger and in Stigg."""

    def __init__(self, policy: Policy = POLICY, zone: str = "UTC") -> None:
        self.stack = Choices(policy, LINKS, Calendar(ZoneInfo(zone)))
        self.catalogue = CATALOGUE
        self.customer = Customer(ACCOUNT)
        self.subscriptions: list[Json] = []
        self.in_stigg: Json | None = None
        self.now = AT

    def foreseen(self, *deals: Json, answered: bool = True) -> tuple[Foresight, list[tuple[Deal, Acceptance]]]:
        read = [Deal.model_validate(deal) for deal in deals]
        arrivals = [Arrival(compile_deal(deal, RULES), revision_of(deal)) for deal in read]
        customer, answers = accept(self.customer, arrivals, self.now)
        world = world_of(customer, self.catalogue, self.stack.policy, self.now)
        foresight = foresee(
            [deal.opportunity.id for deal in read],
            self.customer,
            customer,
            Agreement(customer.histories, world),
            InStigg(answered, self.in_stigg, self.subscriptions),
            self.stack,
        )
        return foresight, list(zip(read, answers, strict=True))

    def told(self, *deals: Json, answered: bool = True) -> list[PreviewResult]:
        foresight, answers = self.foreseen(*deals, answered=answered)
        return [preview_of(foresight, deal, compile_deal(deal, RULES), answer) for deal, answer in answers]

    def sold(self, *deals: Json) -> Customers:
        """Provision deals, as their preview said."""
        foresight, _ = self.foreseen(*deals)
        after = foresight.after
        self.customer = replace(
            foresight.customer,
            applied=foresight.customer.version,
            slots={key: as_remembered(record) for key, record in after.slots.items()},
            ensured=True,
            grants={grant.key: GrantRecord(grant.amount, "granted") for grant in foresight.desired.grants},
            opportunities={
                id: replace(stood(state, after, id), outcome=after.outcomes[id])
                for id, state in foresight.customer.opportunities.items()
            },
        )
        self.in_stigg = {"id": ACCOUNT}
        self.subscriptions = [as_stigg_shows(record) for record in after.slots.values() if record.applied]
        return self


def stood(state: OpportunityState, after: Applied, id: str) -> OpportunityState:
    """An opportunity after it was provisioned."""
    if id not in after.settles:
        return state
    history = settle(state.history, after.settles[OpportunityId(id)])
    return state.with_history(begin(history) if id in after.begun else history)


def as_remembered(record: SlotRecord) -> SlotRecord:
    """What the ledger keeps once a subscription was made: the generation is in its ID."""
    generation = (record.subscription_id or "").rpartition("-")[2]
    return replace(record, generation=int(generation), made=True) if generation.isdecimal() else record


def as_stigg_shows(record: Any) -> Json:
    wanted, stored = record.applied, record.applied.to_json()
    return {
        "id": record.subscription_id,
        "resourceId": wanted.slot.resource_id,
        "planId": wanted.plan_id,
        "pricingType": CATALOGUE.plans[wanted.plan_id].pricing_type,
        "status": record.status,
        "trial": wanted.slot.trial,
        "addons": [{"id": id, "quantity": quantity} for id, quantity in wanted.addons],
        "subscriptionEntitlements": [{"id": e.id} for e in wanted.entitlements],
        "prices": [
            {"addonId": p.addon_id, "baseCharge": p.addon_id is None, "amount": p.amount, "currency": p.currency}
            for p in wanted.prices
        ],
        "cancellationDate": "2027-11-20T09:16:00.000Z"
        if wanted.cancellation == EndOfBillingPeriod()
        else stored["cancellation"],
        "startDate": stored["start"],
        "trialEndDate": stored["trial_end"],
        "metadata": metadata_of(wanted, LINKS),
    }


def only(results: list[PreviewResult]) -> PreviewResult:
    [result] = results
    return result


def actions(result: PreviewResult) -> list[str]:
    return [change.action for change in result.changes]


def running(*lines: Json, **changes: Any) -> Json:
    """The base of a contract whose term has begun."""
    return a_deal(*lines, changes={"terms.start": "2026-11-01", "terms.end": "2027-10-31", **changes})


def later_deal(*lines: Json, trigger: str, number: int = 2, **changes: Any) -> Json:
    """A deal that amends, renews or cancels the base."""
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    deal = a_deal(*lines, number=number, changes={"trigger": trigger, "amends": BASE, "terms": {}, **changes})
    return deal


def amendment(*lines: Json, **changes: Any) -> Json:
    return later_deal(*lines, trigger="amendment", quantities="differences", **changes)


# What is made


def test_a_new_deal() -> None:
    told = only(Customers().told(a_deal()))
    assert told.status == "ok"
    assert told.summary == [
        "Takes effect on 2026-12-01.",
        "Creates a subscription to plan-enterprise from 2026-12-01, billed annually at 48,000.00 USD.",
        f"It includes {WORKSPACE} 5 (1,200.00 USD each), {SEATS} 250.",
        "Its term ends on 2027-11-30; without a renewal access goes on.",
    ]
    assert told.warnings == []
    [change] = told.changes
    assert (change.action, change.plan_id, change.units, change.opportunities) == (
        "create",
        "plan-enterprise",
        1,
        [BASE],
    )
    assert change.start == "2026-12-01T00:00:00.000Z"
    assert [(price.addon_id, price.amount) for price in change.prices] == [(None, 48000), (WORKSPACE, 1200)]
    assert [(moment.at, moment.what) for moment in told.scheduled] == [
        ("2026-12-01T00:00:00.000Z", "Access to plan-enterprise starts.")
    ]


def test_days_are_those_of_the_stacks_zone_and_an_end_is_the_last_day() -> None:
    customers = Customers(Policy(end_of_term="end"), zone="America/New_York")
    term = {"terms.start": "2026-12-01T05:00:00Z", "terms.end": "2027-12-01T05:00:00Z"}
    told = only(customers.told(a_deal(changes=term)))
    assert "plan-enterprise from 2026-12-01 to 2027-11-30, billed annually" in told.summary[1]
    assert told.summary[-1] == "On 2027-12-01: access to plan-enterprise ends."


def test_a_trial_and_the_deal_that_wins_it() -> None:
    trial = a_deal(changes={"trigger": "trial", "terms": {"trialEnd": "2026-12-31", "billingPeriod": "ANNUALLY"}})
    told = only(Customers().told(trial))
    assert told.summary[0] == "Starts a trial of plan-enterprise to 2026-12-31; if the deal is not won, access ends."
    assert told.summary[-1] == "On 2027-01-01: the trial of plan-enterprise ends."
    won = running()
    won["opportunity"]["readAt"] = "2026-11-20T09:15:40.000Z"
    told = only(Customers().sold(trial).told(won))
    assert actions(told) == ["create", "end"]
    assert "Ends the trial of plan-enterprise when the paid subscription starts." in told.summary


def test_credits_are_granted_once() -> None:
    grant = a_line("Credit grant", CREDITS, 1000, price=0.5, end="2027-10-31")
    customers = Customers()
    told = only(customers.told(running(plan(), grant)))
    assert f"Grants 1,000 of {CREDITS} once for 500.00 USD, to be used by 2027-10-31." in told.summary
    [granted] = [change.grant for change in told.changes if change.action == "grant"]
    assert granted is not None
    assert (granted.amount, granted.cost) == (1000, 500)


def test_a_cancellation_that_names_credits_grants_none() -> None:
    deal = later_deal(a_line("Credit grant", CREDITS, 1000), trigger="cancellation", terms={"cancel": "end_of_term"})
    told = only(Customers().sold(running()).told(deal))
    assert (told.status, "grant" in actions(told)) == ("held", False)


# What changes


def test_an_amendment_says_what_was_and_what_will_be() -> None:
    told = only(Customers().sold(running()).told(amendment(addon(quantity=-2), entitlement(quantity=50))))
    assert told.summary == [
        f"Changes add-ons of plan-enterprise: {WORKSPACE} 5 -> 3.",
        f"Changes entitlements of plan-enterprise: {SEATS} 250 -> 300.",
    ]
    assert told.warnings == [f"plan-enterprise goes down: {WORKSPACE} 5 -> 3."]
    [change] = told.changes
    assert (change.action, [(a.id, a.quantity) for a in change.addons]) == ("update", [(WORKSPACE, 3)])
    assert "add-ons" in change.differs


def test_an_amendment_that_begins_later_is_told_with_its_day_and_changes_nothing_now() -> None:
    told = only(Customers().sold(running()).told(amendment(addon(quantity=2), terms__start="2027-01-01")))
    assert told.summary == [
        "Takes effect on 2027-01-01.",
        f"On 2027-01-01: changes add-ons of plan-enterprise: {WORKSPACE} 5 -> 7.",
    ]
    assert actions(told) == ["keep"]
    assert [moment.at for moment in told.scheduled] == ["2027-01-01T00:00:00.000Z"]


def test_a_renewal_to_another_plan_says_whose_place_it_takes_and_what_is_lost() -> None:
    renewal = later_deal(
        plan("plan-enterprise-plus", price=60000),
        entitlement(quantity=200),
        trigger="renewal",
        terms={"start": "2026-11-20", "end": "2027-11-19"},
    )
    told = only(Customers().sold(running()).told(renewal))
    assert told.summary[0] == ("Creates a subscription to plan-enterprise-plus, billed annually at 60,000.00 USD.")
    assert re.fullmatch(r"It takes the place of plan-enterprise \(subscription .+-1\)\.", told.summary[1])
    assert told.warnings == [
        f"plan-enterprise-plus goes down: {WORKSPACE} 5 -> none, {SEATS} 250 -> 200.",
        f"This deal takes the place of opportunity {BASE} from 2026-11-20 on.",
    ]
    without_start = only(Customers().sold(running()).told({**renewal, "terms": {}}))
    assert "On 2027-11-01: replaces plan-enterprise by plan-enterprise-plus." in without_start.summary
    assert f"This deal takes the place of opportunity {BASE} from 2027-11-01 on." in without_start.warnings


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"cancel": "now"}, "Ends plan-enterprise at once."),
        ({"cancel": "end_of_term"}, "Ends plan-enterprise: the last day of access is 2027-10-31."),
        ({"end": "2027-03-31"}, "Ends plan-enterprise: the last day of access is 2027-03-31."),
    ],
)
def test_a_cancellation_says_when_access_ends(terms: Json, said: str) -> None:
    deal = later_deal(plan(), trigger="cancellation", terms=terms)
    deal["lines"] = []
    told = only(Customers().sold(running()).told(deal))
    assert said in told.summary
    assert any(f"This deal ends opportunity {BASE}" in warning for warning in told.warnings)


def test_a_cancellation_without_any_end_to_the_term_goes_with_the_billing_period() -> None:
    deal = later_deal(plan(), trigger="cancellation", terms={"cancel": "end_of_term"})
    deal["lines"] = []
    told = only(Customers().sold(running(**{"terms.end": None})).told(deal))
    assert "Access to plan-enterprise ends with the billing period that is under way." in told.summary
    assert told.scheduled[-1].at is None
    revised = running(plan(price=48000), addon(quantity=6), entitlement(), **{"terms.end": None})
    revised["opportunity"]["systemModstamp"] = "2026-11-20T09:15:40.000Z"
    customers = Customers().sold(running(**{"terms.end": None})).sold(deal)
    for answered in (True, False):  # the day is Stigg's to know
        told = only(customers.told(revised, answered=answered))
        assert told.summary[0] == f"Changes add-ons of plan-enterprise: {WORKSPACE} 5 -> 6."


def test_what_stands_as_the_deal_says_is_kept() -> None:
    told = only(Customers().sold(running()).told(running()))
    assert told.summary == ["Nothing changes: the customer has what this deal says already."]
    assert actions(told) == ["keep"]
    assert "accepted before" in told.warnings[0]


# What waits, and what is refused


def test_a_change_that_cannot_be_waits_with_its_reason() -> None:
    told = only(Customers().sold(running()).told(amendment(addon(quantity=-6))))
    assert (told.status, actions(told)) == ("held", ["keep", "hold"])
    assert told.summary == ["This deal waits; the warnings say what for.", "Until then nothing changes."]
    assert told.warnings[0].startswith(f"This deal takes away 6 of {WORKSPACE}, and the contract has 5")
    assert told.changes[1].reason == told.warnings[0] == told.reasons[0]
    assert (told.codes, told.changes[1].code) == (["below_zero"], "below_zero")


def test_a_held_amendment_links_to_the_subscription_that_it_would_change() -> None:
    customers = Customers().sold(running())
    for less in (-200, -300):
        foresight, _ = customers.foreseen(amendment(addon(quantity=-5), entitlement(quantity=less)))
        base, held = (foresight.after.outcomes[opportunity_id(number)] for number in (1, 2))
        assert held.status == "Held"
        assert held.subscriptions == base.subscriptions != ()


def test_too_much_at_once_waits_for_approval_now_and_later() -> None:
    less = amendment(addon(quantity=-5), entitlement(quantity=-200))
    told = only(Customers().sold(running()).told(less))
    assert (told.status, told.codes) == ("held", ["removal_guard"])
    assert "needs somebody's approval" in told.warnings[0]
    assert told.warnings[1] == f"plan-enterprise would go down: {WORKSPACE} 5 -> none, {SEATS} 250 -> 50."
    # What would be held on a later day is held when it is accepted.
    told = only(Customers().sold(running()).told({**less, "terms": {"start": "2027-01-01"}}))
    assert (told.status, told.codes) == ("held", ["removal_guard"])
    assert " on 2027-01-01 " in told.warnings[0]
    assert told.warnings[1:] == [f"plan-enterprise would go down: {WORKSPACE} 5 -> none, {SEATS} 250 -> 50."]


def test_a_deal_that_waits_beside_or_beneath_another_is_told_on_both() -> None:
    base, too_much = Customers().told(running(), amendment(addon(quantity=-6)))
    assert (base.status, too_much.status) == ("ok", "held")
    assert base.warnings == [f"Opportunity {opportunity_id(2)} would wait: {too_much.warnings[0]}"]
    assert (base.codes, base.reasons) == (["below_zero"], [too_much.warnings[0]])
    customers = Customers().sold(running(), amendment(addon(quantity=-3)))
    revised = running(plan(price=48000), addon(quantity=2), entitlement())
    revised["opportunity"]["systemModstamp"] = "2026-11-20T09:15:40.000Z"
    told = only(customers.told(revised))
    assert told.status == "held", "what stands as provisioned does not wait; the newer revision does"
    assert f"Later amendments take away more of {WORKSPACE}" in told.warnings[0]


def test_what_only_the_catalogue_shows_is_invalid_here_at_once() -> None:
    told = only(Customers().told(a_deal(plan(), addon("addon-nope"))))
    assert told.status == "invalid"
    assert [(error.line, error.field) for error in told.errors] == [(2, "stiggId")]
    assert not told.changes


def test_another_customer_id_than_the_accounts_is_invalid() -> None:
    told = only(Customers().sold(running()).told(a_deal(number=2, changes={"customerId": "another"})))
    assert (told.status, [error.field for error in told.errors]) == ("invalid", ["customerId"])


def test_an_older_revision_is_told_to_be_ignored() -> None:
    older = running(plan())
    older["opportunity"]["systemModstamp"] = "2026-11-20T09:15:00.000Z"
    for told in (only(Customers().sold(running()).told(older)), Customers().told(older, running())[0]):
        assert (told.status, told.changes) == ("ok", [])
        assert "newer revision" in told.warnings[0]


# What somebody should look at


def test_lines_without_a_stigg_type_that_were_sold_are_named() -> None:
    deal = running(plan(), a_line("", "", 3), a_line("", "", None), a_line("", "", None, price=10))
    for line in deal["lines"][1:]:
        line["stiggType"] = line["stiggId"] = None
    told = only(Customers().told(deal))
    assert told.warnings == ["Lines 2 and 4 have no Stigg Type: they are not provisioned."]


def test_who_has_to_pay_first_is_told() -> None:
    deal = running(plan("plan-team"), **{"terms.paymentCollection": "CHARGE"})
    customers = Customers()
    assert only(customers.told(deal)).warnings == [
        "The customer has to pay for plan-team first: a checkout link is shown on the deal."
    ]
    customers.in_stigg = {"defaultPaymentMethod": {"type": "CARD"}}
    assert only(customers.told(deal)).warnings == []


def foreign(plan_id: str, pricing: str, **more: Any) -> Json:
    return {"id": "made-by-hand", "planId": plan_id, "pricingType": pricing, "status": "ACTIVE", **more}


def test_a_subscription_somebody_else_made_is_in_the_way_replaced_or_taken_over() -> None:
    in_the_way = Customers()
    in_the_way.subscriptions = [foreign("plan-team", "PAID")]
    told = only(in_the_way.told(running()))
    assert told.status == "held"
    assert "which closed-won did not make" in told.warnings[0]
    replaced = Customers(Policy(foreign_subscription="replace"))
    replaced.subscriptions = in_the_way.subscriptions
    told = only(replaced.told(running()))
    assert "It takes the place of plan-team (subscription made-by-hand)." in told.summary
    assert told.warnings == ["The subscription made-by-hand, which somebody else made, ends for this deal."]
    taken_over = Customers()
    taken_over.subscriptions = [foreign("plan-enterprise", "CUSTOM")]
    told = only(taken_over.told(running(plan())))
    assert told.summary[0].startswith("Takes over the subscription made-by-hand")
    assert "closed-won takes it over" in told.warnings[0]


def test_deals_of_one_request_are_looked_at_together_and_what_else_is_due_is_told() -> None:
    base, more = running(), amendment(addon(quantity=2))
    told = Customers().told(base, more)
    assert [f"{WORKSPACE} 7" in result.summary[1] for result in told] == [True, True]
    other = a_deal(plan("plan-analytics"), number=3)
    customers = Customers()
    customers.customer = customers.foreseen(other)[0].customer  # accepted, not provisioned yet
    [warning] = only(customers.told(base)).warnings
    assert warning.startswith("Something else is due for this customer, too: Creates a subscription to plan-analytics")


def test_without_an_answer_of_stigg_the_plan_is_against_what_was_provisioned_last() -> None:
    customers = Customers().sold(running())
    deal = amendment(addon(quantity=2))
    with_stigg, without = only(customers.told(deal)), only(customers.told(deal, answered=False))
    assert without.summary == with_stigg.summary
    assert without.warnings == [*with_stigg.warnings, without.warnings[-1]]
    assert "Stigg did not answer" in without.warnings[-1]


# Stigg's own preview


def test_stigg_is_asked_for_a_new_subscription_or_for_a_changed_one_as_a_whole() -> None:
    deal = running(
        plan("plan-team", price=400),
        entitlement(),
        a_line("Credit grant", CREDITS, 10),
        **{"terms.minimumSpend": 100, "terms.coupon": "launch"},
    )
    foresight, _ = Customers().foreseen(deal)
    [create] = foresight.invoiced()
    assert isinstance(create, Create)
    assert invoice_question(foresight, create) == {
        "customerId": ACCOUNT,
        "planId": "plan-team",
        "appliedCoupon": {"couponId": "launch"},
        "billingPeriod": "ANNUALLY",
        "startDate": "2026-11-01T00:00:00.000Z",
        "scheduleStrategy": "IMMEDIATE",
        "trialOverrideConfiguration": {"isTrial": False},
    }
    assert [said.partition(":")[0] for said in not_included(foresight, create)] == [
        "price overrides",
        "entitlements",
        "the minimum spend",
        "credit grants",
    ]
    foresight, _ = Customers().sold(running()).foreseen(amendment(addon(quantity=2)))
    [update] = foresight.invoiced()
    assert isinstance(update, Update)
    assert invoice_question(foresight, update)["addons"] == [{"id": WORKSPACE, "quantity": 7}]
    assert "what the change costs at once: Stigg previews new subscriptions only" in not_included(foresight, update)
