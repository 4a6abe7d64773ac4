"""Names that come after a deal was won: its contracts, and the subscription records that its lines became.

They are no part of what makes two deals the same. A deal that is sent once more with names is a duplicate, and the
names are kept all the same: what other deals renew, amend or end is found by them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from closedwon.domain.acceptance import Acceptance, Arrival, accept
from closedwon.domain.customer import Customer, OpportunityState, Outcome
from closedwon.domain.identifiers import normalised_id
from closedwon.domain.lease import Work as Leased
from closedwon.domain.lease import acquire_lease
from closedwon.domain.order import Order, Problem, Revision, netted
from closedwon.domain.results import Applied, record_result
from closedwon.reconciliation.recorded_orders import as_recorded
from unit.domain import (
    ACCOUNT,
    Json,
    addon,
    amended,
    contract,
    entitlement,
    opportunity_id,
    order_of,
    plan,
    renewed,
    settling,
    won,
)

NOW = 1_795_338_931_000
DEAL = opportunity_id(1)
LINES = (plan(), addon(quantity=5, price=1200), entitlement(quantity=110, planId="plan-enterprise"))
FINE = Outcome("Provisioned", "since 1 December")


def record(number: int) -> str:
    """The ID of a made-up subscription record."""
    return normalised_id(f"a1S5g{number:010d}")


def sold(*lines: Json, **given: Any) -> Order:
    return order_of(won(1, *(lines or LINES), **given))


def arriving(customer: Customer, order: Order, revision: int) -> tuple[Customer, Acceptance]:
    customer, [answer] = accept(customer, [Arrival(order, Revision(revision, 0))], NOW)
    return customer, answer


def standing(order: Order, revision: int = 2) -> Customer:
    """A customer for whom this order was provisioned, and shown in Salesforce."""
    customer, _ = arriving(Customer(ACCOUNT, ensured=True), order, revision)
    customer, work = acquire_lease(customer, "one", 0, NOW, 1000)
    assert isinstance(work, Leased)
    report = Applied({}, {DEAL: FINE}, settling(work.customer, DEAL), ensured=True)
    customer, _ = record_result(customer, work, report, NOW)
    state = customer.opportunities[DEAL]
    shown = replace(state, written=state.mark(customer.shown_id))
    return replace(customer, lease=None, due_at=None, account_written=customer.customer_id, opportunities={DEAL: shown})


def state_of(customer: Customer) -> OpportunityState:
    return customer.opportunities[DEAL]


def standing_of(customer: Customer) -> Order:
    """What the deal sells as it was provisioned."""
    settled = state_of(customer).settled
    assert settled is not None
    assert settled.order is not None
    return settled.order


def names_of_lines(order: Order) -> list[tuple[Any, ...]]:
    return [(item.stigg_id, item.quantity, item.contract_id, item.record) for item in order.items]


NAMED = tuple({**line, "subscriptionRecord": record(place)} for place, line in enumerate(LINES, 1))


@pytest.mark.parametrize("revision", [1, 2, 3])
@pytest.mark.parametrize(
    ("order", "names"),
    [
        (sold(contract=7), {contract(7)}),
        (sold(*NAMED), {record(1), record(2), record(3)}),
        (
            sold(*({**line, "contractId": contract(8)} for line in NAMED)),
            {contract(8), record(1), record(2), record(3)},
        ),
    ],
)
def test_a_duplicate_that_adds_names_is_recorded_and_folded_once_more(
    order: Order, names: set[str], revision: int
) -> None:
    """Whatever its revision: another reading of the same deal may have seen the contract first."""
    before = standing(sold())
    after, answer = arriving(before, order, revision)
    assert (answer.status, answer.start) == ("duplicate", True)
    assert (after.version, after.due_at is not None) == (before.version + 1, True)
    state = state_of(after)
    assert state.order.names == {DEAL, *names}
    assert standing_of(after).names == {DEAL, *names}, "what stands is found by them too, should a change be held"
    assert state.revision == Revision(max(2, revision), 0)
    assert state.stands
    # Nothing about this deal is open, so Salesforce goes on showing what it shows.
    assert (state.outcome, after.unwritten) == (FINE, [])


def test_names_that_are_known_make_nothing_due() -> None:
    named, _ = arriving(standing(sold()), sold(*NAMED, contract=7), 3)
    for order in (sold(*NAMED, contract=7), sold(*NAMED), sold(contract=7), sold()):
        again, answer = arriving(replace(named, due_at=None), order, 4)
        assert (answer.status, again.version, again.due_at) == ("duplicate", named.version, None)
        assert state_of(again).order.names == state_of(named).order.names, "what was said once stays said"


def test_a_contract_that_was_made_anew_has_the_name_that_was_read_last() -> None:
    customer = standing(sold(contract=7))
    newer, _ = arriving(customer, sold(contract=8), 3)
    assert standing_of(newer).contract_id == contract(8)
    first_form, _ = arriving(standing(netted(sold(contract=7))), sold(contract=8), 3)
    assert state_of(first_form).order.contract_id == contract(8)
    older, _ = arriving(customer, sold(contract=8), 1)
    assert (state_of(newer).order.contract_id, newer.version) == (contract(8), customer.version + 1)
    assert (state_of(older).order.contract_id, older.version) == (contract(7), customer.version)


def test_what_says_nothing_new_is_not_written() -> None:
    split, _ = arriving(standing(sold(*SPLIT, contract=7)), sold(*SPLIT, contract=7), 2)
    again, _ = arriving(split, sold(), 2)
    assert again == split


def test_a_refused_deal_is_named_and_nothing_is_due_for_it() -> None:
    wrong = replace(sold(), problems=(Problem(1, "stiggId", "is missing"),))
    customer, _ = arriving(Customer(ACCOUNT), wrong, 1)
    again, answer = arriving(customer, replace(wrong, contract_id=contract(7)), 2)
    assert (answer.status, again.version, state_of(again).order.contract_id) == ("invalid", 1, contract(7))


def test_a_change_without_names_takes_no_name_away() -> None:
    customer = standing(sold(*NAMED, contract=7))
    more = (*LINES[:2], entitlement(quantity=150, planId="plan-enterprise"))
    changed, answer = arriving(customer, sold(*more), 3)
    assert answer.status == "accepted"
    assert state_of(changed).order.names == {DEAL, contract(7), record(1), record(2), record(3)}
    again, answer = arriving(replace(changed, due_at=None), sold(*more), 4)
    assert (answer.status, again.version) == ("duplicate", changed.version)


SPLIT = (
    plan(contractId=contract(1)),
    addon(quantity=5, price=1200, contractId=contract(1)),
    entitlement(quantity=100, planId="plan-enterprise", contractId=contract(1)),
    entitlement(quantity=10, planId="plan-enterprise", contractId=contract(2)),
)
SPLIT_NAMES = [("feature-seats", 10, contract(2), None), ("feature-seats", 100, contract(1), None)]


def test_one_line_becomes_two_when_their_contracts_part_them() -> None:
    split, answer = arriving(standing(sold()), sold(*SPLIT), 3)
    assert answer.status == "duplicate"
    assert sorted(names_of_lines(state_of(split).order)[2:]) == SPLIT_NAMES
    assert state_of(split).stands
    back, answer = arriving(replace(split, due_at=None), sold(), 4)
    assert (answer.status, back.version) == ("duplicate", split.version)
    assert sorted(names_of_lines(state_of(back).order)[2:]) == SPLIT_NAMES


# Deals that the first version stored


def test_a_deal_of_the_first_form_stays_as_it_was_stored_and_takes_names_that_fit_its_items() -> None:
    stored = netted(order_of({**amended(1, addon(quantity=-5, price=10), addon(quantity=5, price=8), of=2)}))
    again = order_of({**amended(1, addon(quantity=-5, price=10), addon(quantity=5, price=8), of=2)})
    customer, answer = arriving(standing(stored), again, 3)
    assert (answer.status, customer.version, customer.due_at) == ("duplicate", 1, None)
    assert state_of(customer).order == replace(stored, as_of=again.as_of)
    named = replace(
        again, items=tuple(replace(item, record=record(1)) for item in again.items), contract_id=contract(7)
    )
    customer, answer = arriving(customer, named, 4)
    assert (answer.status, customer.version) == ("duplicate", 2)
    kept = state_of(customer).order
    assert (kept.form, kept.names) == (0, {DEAL, contract(7), record(1)})
    assert state_of(customer).stands


def test_a_deal_of_the_first_form_whose_lines_have_names_of_their_own_is_stored_line_by_line() -> None:
    customer, answer = arriving(standing(netted(sold())), sold(*SPLIT), 3)
    assert answer.status == "duplicate"
    state = state_of(customer)
    assert (state.order.form, sorted(names_of_lines(state.order)[2:])) == (1, SPLIT_NAMES)
    assert standing_of(customer) == replace(state.order, as_of=standing_of(customer).as_of)
    assert state.stands


def test_what_the_first_form_refused_for_its_prices_is_taken_when_it_is_sent_again() -> None:
    lines = (plan(), addon(quantity=5, price=10), addon(quantity=5, price=8))
    customer, _ = arriving(Customer(ACCOUNT), netted(sold(*lines)), 1)
    assert state_of(customer).outcome.status == "Failed"
    customer, answer = arriving(customer, sold(*lines), 2)
    assert (answer.problems, answer.start, state_of(customer).outcome.status) == ((), True, "Provisioning")


# What reconciliation makes of it


def test_a_name_that_salesforce_knows_and_the_ledger_does_not_matters_where_a_deal_refers_to_it() -> None:
    told, read = sold(), sold(*NAMED, contract=7)
    renewals = [order_of(renewed(2, plan(renews=record(1)), of=5)), order_of(renewed(2, plan(), of=contract(7)))]
    assert as_recorded(read, told, [told]).names == told.names
    for renewal in renewals:
        assert as_recorded(read, told, [told, renewal]).names == read.names
    # and what it knows and Salesforce's reader does not, stays
    assert as_recorded(told, read, [read]) == read
