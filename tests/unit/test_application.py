"""What the user's own application answers: whom it is asked about, what becomes of an order, of the customer's ID in
Stigg and of the deal's outcome. The client that asks is test_own_application.py's matter.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from closedwon.domain.acceptance import Arrival, accept
from closedwon.domain.application import TRY_AGAIN, Application, prepared
from closedwon.domain.contract.facts import Contribution
from closedwon.domain.customer import Customer, OpportunityState, Outcome, SubscriptionLink
from closedwon.domain.identifiers import ContractId, CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.lease import Work, acquire_lease
from closedwon.domain.order import Item, Order, Revision
from closedwon.domain.results import Applied, Naming, Prepared, record_result
from closedwon.own_application.bodies import request_body
from closedwon.words.reasons import told as reason_of
from unit.domain import ACCOUNT, an_order, opportunity_id

A, B = opportunity_id(1), opportunity_id(2)
NOW = 1_795_338_931_000
HOUR = 3_600_000
LEASE = 120_000
READY = Application(
    NOW, answered=True, customer_id=CustomerId("org-7"), resource_id="workspace-7", metadata=(("region", "eu"),)
)
NOT_YET = Application(NOW, ask_again_at=NOW + HOUR)


def order(number: int = 1, **given: object) -> Order:
    return an_order(number=number, **given)


def amending(number: int, trigger: str, *amends: OpportunityId | ContractId) -> Order:
    return replace(order(number), trigger=trigger, amends=amends)


def with_orders(*orders: Order, customer: Customer | None = None) -> Customer:
    """A customer that asks its user's own application, with these orders accepted."""
    customer = customer or Customer(ACCOUNT, asks=True)
    return accept(customer, [Arrival(one, Revision(1, 0)) for one in orders], NOW)[0]


def taken(customer: Customer, token: int = 0, now: int = NOW) -> tuple[Customer, Work]:
    customer, work = acquire_lease(customer, "one", token, now, LEASE)
    assert isinstance(work, Work)
    return customer, work


def told(customer: Customer, *, taken_ids: dict[str, str] | None = None, **said: Application) -> Customer:
    """The customer after its user's own application has said this of opportunities."""
    customer, work = taken(customer, customer.lease.token if customer.lease else 0)
    report = Prepared(
        {{"a": A, "b": B}[name]: application for name, application in said.items()}, taken=taken_ids or {}
    )
    return record_result(customer, work, report, NOW)[0]


def applied(customer: Customer, now: int = NOW) -> Customer:
    """The customer after everything that is folded was brought to Stigg."""
    customer, work = taken(customer, customer.lease.token if customer.lease else 0, now)
    fine = Outcome("Provisioned", "", (SubscriptionLink("plan-enterprise", SubscriptionId("sub-1"), "ACTIVE"),))
    settles = {history.id: history.contribution for history in work.customer.histories}
    # The outcomes are of every opportunity, as `outcome.applied` gives them.
    report = Applied({}, dict.fromkeys(work.customer.opportunities, fine), settles, ensured=bool(settles))
    return record_result(customer, work, report, now)[0]


# Whom it is asked about


@pytest.mark.parametrize(
    ("newest", "asked"),
    [
        (order(), True),
        (replace(order(), trigger="trial"), True),
        (amending(1, "renewal", ContractId("800000000000000AAA")), True),
        (amending(1, "renewal", B), False),
        (amending(1, "amendment", ContractId("800000000000000AAA")), False),
        (amending(1, "cancellation"), False),
    ],
    ids=["won", "trial", "renewal of what nobody knows", "renewal", "amendment", "cancellation"],
)
def test_new_starts_are_asked_about_and_nothing_else(newest: Order, asked: bool) -> None:
    known = OpportunityState(order(2), Revision(1, 0), 1, "before", settled=Contribution(order(2)))
    customer = with_orders(newest, customer=Customer(ACCOUNT, asks=True, opportunities={B: known}))
    assert customer.unasked == ([A] if asked else [])
    assert replace(customer, asks=False).unasked == [], "there is no application"


def test_a_contract_in_the_ledger_is_known_by_its_id() -> None:
    contract = ContractId("800000000000000AAA")
    base = replace(order(2), contract_id=contract)
    assert with_orders(base, amending(1, "renewal", contract)).unasked == [B]


def test_what_was_provisioned_before_there_was_an_application_never_asks_it() -> None:
    customer = applied(with_orders(order(), customer=Customer(ACCOUNT)))
    changed = with_orders(order(resourceId="workspace-1"), customer=replace(customer, lease=None, asks=True))
    assert changed.version == 2
    assert changed.unprepared == {}


def test_a_later_revision_and_a_won_trial_keep_the_first_answer() -> None:
    trial = replace(order(), trigger="trial")
    customer = told(with_orders(trial), a=READY)
    won, _ = accept(customer, [Arrival(order(terms__end="2028-11-30"), Revision(2, 0))], NOW)
    assert won.opportunities[A].application == READY
    assert won.unprepared == {}


def test_the_request_tells_what_is_sold_to_whom_and_leaves_out_what_nobody_said() -> None:
    one = replace(order(), account_email=None, items=(Item("Entitlement", "feature-sso", 1, (1,), unlimited=True),))
    assert request_body(one, "00D5g000004xYzAEAU", None) == {
        "version": 1,
        "organizationId": "00D5g000004xYzAEAU",
        "trigger": "closed_won",
        "opportunity": {"id": A, "name": "Northwind - Enterprise 2026"},
        "account": {"id": ACCOUNT, "name": "Northwind Traders"},
        "lines": [{"type": "Entitlement", "id": "feature-sso", "quantity": 1, "unlimited": True}],
        "terms": {
            "start": "2026-12-01T00:00:00.000Z",
            "end": "2027-12-01T00:00:00.000Z",
            "billingPeriod": "ANNUALLY",
        },
    }
    named = request_body(replace(one, resource_id="workspace-1"), "00D5g000004xYzAEAU", "org-7")
    assert (named["customerId"], named["resourceId"]) == ("org-7", "workspace-1")


# What becomes of the order


def test_an_answer_gives_the_order_its_resource_and_metadata() -> None:
    one = prepared(order(), READY)
    assert (one.resource_id, one.metadata) == ("workspace-7", (("region", "eu"),))
    assert Order.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert prepared(order(), None) == prepared(order(), NOT_YET) == order()
    named = order(resourceId="workspace-1")
    assert prepared(named, replace(READY, resource_id=None)).resource_id == "workspace-1"


def test_a_deal_that_names_another_resource_than_was_made_is_refused() -> None:
    [problem] = prepared(order(resourceId="workspace-1"), READY).problems
    assert str(problem) == "resourceId: workspace-1, but your application made workspace-7: leave it out of the deal"


def test_what_the_application_has_not_prepared_is_not_folded_and_the_customers_other_deals_are() -> None:
    customer = told(with_orders(order(), order(2)), a=READY, b=NOT_YET)
    [history] = customer.histories
    assert history.newest.order == prepared(order(), READY)
    again = told(applied(customer), b=replace(READY, customer_id=None, resource_id="workspace-8"))
    assert {one.newest.order.resource_id for one in again.histories} == {"workspace-7", "workspace-8"}
    first = next(one for one in again.histories if one.id == A)
    assert first.stands
    assert first.settled == Contribution(history.newest.order)


# What becomes of the customer's ID


def test_a_customer_that_does_not_exist_yet_gets_the_id_the_application_names() -> None:
    customer = with_orders(order())
    assert (customer.customer_id, customer.certain_id) == (ACCOUNT, None)
    customer = told(customer, a=READY)
    assert customer.customer_id == customer.certain_id == "org-7"


@pytest.mark.parametrize("known", ["exists", "about to exist", "named by a deal", "named by an answer", "another's"])
def test_an_id_that_contradicts_what_is_known_is_that_deals_failure_and_asked_for_again(known: str) -> None:
    customer = with_orders(order(customerId="org-1") if known == "named by a deal" else order(), order(2))
    if known == "exists":
        customer = replace(customer, ensured=True)
    if known == "about to exist":
        customer = record_result(*taken(customer), Naming(), NOW)[0]
    if known == "named by an answer":
        customer = told(customer, b=replace(READY, customer_id=CustomerId("org-1"), resource_id="workspace-1"))
    before = customer.customer_id
    customer = told(customer, a=READY, taken_ids={"org-7": "0015g00000other"} if known == "another's" else {})
    application = customer.opportunities[A].application
    assert application is not None
    assert not application.answered
    assert "customerId org-7" in application.problem
    assert ("bound to another account" in application.problem) == (known == "another's")
    assert application.ask_again_at == NOW + TRY_AGAIN[0]
    assert customer.customer_id == before
    mended = told(customer, a=replace(READY, customer_id=before))
    assert mended.customer_id == before
    assert A not in mended.unprepared


def test_a_resource_that_contradicts_the_deal_is_its_failure_and_binds_nothing() -> None:
    customer = told(with_orders(order(resourceId="workspace-1")), a=READY)
    application = customer.opportunities[A].application
    assert application is not None
    assert application.problem.startswith("resourceId: workspace-1, but")
    assert customer.customer_id == ACCOUNT


# What becomes of the deal


def test_a_deal_that_is_being_prepared_says_so_in_salesforce_and_is_due_when_the_application_says() -> None:
    customer = applied(told(with_orders(order(), order(2)), a=READY, b=NOT_YET))
    waiting = customer.opportunities[B]
    assert customer.opportunities[A].outcome.status == "Provisioned"
    assert (waiting.outcome.status, waiting.outcome.code) == ("Provisioning", "application_preparing")
    assert reason_of(waiting.outcome) == (
        "Your application is still preparing the workspace; it is asked again at 2026-11-22 10:15 UTC."
    )
    assert customer.unwritten == [A, B]
    assert waiting.settled is None
    assert (customer.applied, customer.look_again_at) == (customer.version, NOW + HOUR)


def test_after_a_day_the_reason_says_how_long_it_has_waited() -> None:
    at = NOW + 26 * HOUR
    customer = applied(told(with_orders(order()), a=replace(NOT_YET, ask_again_at=at + HOUR)), at)
    assert reason_of(customer.opportunities[A].outcome).endswith("It has been preparing for 26 hours.")


def test_a_failure_shows_on_its_deal_and_is_asked_again_later_and_later_or_when_the_deal_is_sent_again() -> None:
    said, at = Application(NOW), NOW
    for wait in (*TRY_AGAIN, TRY_AGAIN[-1]):
        said = said.failed("Your application: no seats left (HTTP 422)", at)
        assert said.ask_again_at == at + wait
        assert not said.asks("another", at)
        at = said.ask_again_at
        assert said.asks("another", at)
    customer = applied(told(with_orders(order()), a=said))
    outcome = customer.opportunities[A].outcome
    assert outcome.status == "Failed"
    assert outcome.code == "application_problem"
    assert reason_of(outcome).startswith("Your application: no seats left (HTTP 422)\n")
    assert customer.look_again_at == at
    sent, [answer] = accept(customer, [Arrival(order(), Revision(1, 0))], NOW)
    assert (answer.start, sent.unasked) == (True, [A])


def test_the_retries_of_one_execution_ask_again_at_once_and_are_one_failure() -> None:
    once = Application(NOW).failed("Your application: did not answer", NOW, unreached_by="one")
    assert (once.asks("one", NOW), once.asks("two", NOW)) == (True, False)
    assert once.failed("Your application: did not answer", NOW, unreached_by="one") == once
    assert once.failed("Your application: did not answer", NOW, unreached_by="two").failures == 2


def test_a_deal_that_arrives_after_the_application_was_asked_is_left_to_another_round() -> None:
    customer = told(with_orders(order()), a=READY)
    customer = with_orders(order(2), customer=customer)
    assert customer.unasked == [B]
    customer = applied(customer)
    assert customer.opportunities[A].outcome.status == "Provisioned"
    assert customer.opportunities[B].outcome == Outcome(), "nothing was decided about it"
    assert customer.applied < customer.version


def test_what_was_said_of_an_order_that_was_changed_meanwhile_is_asked_again() -> None:
    customer, work = taken(with_orders(order()))
    customer, _ = accept(customer, [Arrival(order(terms__end="2028-11-30"), Revision(2, 0))], NOW)
    customer, _ = record_result(customer, work, Prepared({A: Application(NOW).failed("no", NOW)}), NOW)
    assert customer.unasked == [A]
    customer, _ = record_result(customer, work, Prepared({A: READY}), NOW)
    assert customer.opportunities[A].application == READY, "an answer is the opportunity's"


def test_without_an_application_nothing_waits_for_it_any_more() -> None:
    customer, work = taken(told(with_orders(order()), a=NOT_YET), 1)
    customer, _ = record_result(customer, work, Prepared({}, asks=False), NOW)
    assert [history.newest.order for history in customer.histories] == [order()]


@pytest.mark.parametrize("application", [None, READY, NOT_YET, NOT_YET.failed("no", NOW, unreached_by="one")])
def test_what_it_said_is_stored_and_comes_back_the_same(application: Application | None) -> None:
    at = Revision(1, 0)
    state = OpportunityState(order(), at, 1, "one", application=application, first=at)
    assert OpportunityState.from_json(json.loads(json.dumps(state.to_json()))) == state
    older = state.to_json()
    del older["application"]
    assert OpportunityState.from_json(older).application is None
