"""One customer in the ledger: what is accepted, who may write, what stays due. The rules as a specification.

What they add up to when everything happens at once is test_ledger_model.py's matter.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.domain.acceptance import Arrival, accept, approve
from closedwon.domain.codes import Facts, Reason
from closedwon.domain.contract.facts import (
    MOST_SAID,
    Contribution,
    History,
    OwnEnd,
    Reading,
    begin,
    record,
    settle,
)
from closedwon.domain.customer import Customer, OpportunityState, Outcome, SubscriptionLink, erased
from closedwon.domain.due import START_GRACE, claim, execution_name, made_due
from closedwon.domain.identifiers import AccountId, ContractId, CustomerId, SubscriptionId
from closedwon.domain.instants import Instant, from_iso, from_milliseconds, instant_of
from closedwon.domain.lease import Busy, Current, Unanswered, Work, acquire_lease
from closedwon.domain.order import Item, Order, Problem, Revision
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.results import BACKOFF, Applied, Failed, Intended, Interrupted, LeaseLost, Written, record_result
from closedwon.words.reasons import told
from unit.domain import plain_order, settling

ACCOUNT = AccountId("0015g00000XyZaBAAV")
A = "0065g00000ABCdEAAX"
B = "0065g00000ABCdFAAX"
NOW = 1_795_338_931_000
LEASE = 120_000
NO_KEY = Reason.of("stigg_unauthorized", said="Stigg does not accept the key", execution="one")


def order(quantity: int = 1, opportunity: str = A, **given: Any) -> Order:
    """A valid order; its quantity tells it from others."""
    return plain_order(opportunity, ACCOUNT, quantity, **given)


X, Y = order(1), order(2)
WRONG = order(3, problems=(Problem(4, "quantity", "is negative"),))


def arriving(customer: Customer, *arrivals: tuple[Order, int], now: int = NOW) -> tuple[Customer, list[str]]:
    """The customer and the answers after orders with their SystemModstamps arrived, one request each."""
    statuses: list[str] = []
    for one, modified in arrivals:
        customer, (answer,) = accept(customer, [Arrival(one, Revision(modified, 0))], now)
        statuses.append(answer.status)
    return customer, statuses


def taken(customer: Customer, owner: str = "one", token: int = 0, now: int = NOW) -> tuple[Customer, Work]:
    customer, work = acquire_lease(customer, owner, token, now, LEASE)
    assert isinstance(work, Work)
    return customer, work


def outcome(customer: Customer, reason: str = "") -> Applied:
    """What a step says that brought everything to Stigg."""
    done = Outcome("Provisioned", reason, (SubscriptionLink("plan-enterprise", SubscriptionId("sub-1"), "ACTIVE"),))
    return Applied({}, dict.fromkeys(customer.opportunities, done), settling(customer), ensured=True)


def written(work: Work, failed: bool = False) -> Written:
    """What a write-back says that wrote everything."""
    known = work.customer
    return Written({id: known.opportunities[id].mark(known.shown_id) for id in known.unwritten}, True, failed)


def provisioned(customer: Customer, now: int = NOW, reason: str = "") -> Customer:
    """The customer after a whole execution that went well."""
    customer, work = taken(customer, now=now)
    customer, _ = record_result(customer, work, outcome(customer, reason), now)
    customer, work = taken(customer, token=work.lease.token, now=now)
    customer, follows = record_result(customer, work, written(work), now)
    assert follows == "done"
    return customer


def failed(customer: Customer, now: int = NOW) -> Customer:
    """The customer after an execution that failed for good, and said so in Salesforce."""
    customer, work = taken(customer, now=now)
    customer, _ = record_result(customer, work, Failed(NO_KEY), now)
    customer, follows = record_result(customer, work, written(replace(work, customer=customer), failed=True), now)
    assert follows == "done"
    return customer


JANUARY, MARCH = from_iso("2027-01-22T00:00:00.000Z"), from_iso("2027-03-21T00:00:00.000Z")
CONTRACT = ContractId("8005g00000XyZaBAAV")


def cancelled(end: Instant | None) -> Order:
    """The deal's own cancellation."""
    return order(trigger="cancellation", items=(), end=end)


NEW = Customer(ACCOUNT)
ACCEPTED = arriving(NEW, (X, 1))[0]

# accept


@pytest.mark.parametrize(
    ("arrivals", "answers", "newest", "at", "version"),
    [
        pytest.param([(X, 1), (X, 1)], "accepted duplicate", X, 1, 1, id="the same order again is a duplicate"),
        pytest.param([(X, 1), (X, 2)], "accepted duplicate", X, 2, 1, id="saved again without a change, too"),
        pytest.param([(X, 2), (X, 1)], "accepted duplicate", X, 2, 1, id="in whichever order"),
        pytest.param([(X, 1), (Y, 2)], "accepted accepted", Y, 2, 2, id="a newer revision replaces an older one"),
        pytest.param([(Y, 2), (X, 1)], "accepted superseded", Y, 2, 1, id="an older revision comes too late"),
        pytest.param(
            [(X, 1), (X, 3), (Y, 2)],
            "accepted duplicate superseded",
            X,
            3,
            1,
            id="a duplicate keeps out what is older",
        ),
        pytest.param(
            [(X, 1), (Y, 2), (X, 3), (Y, 2)],
            "accepted accepted accepted superseded",
            X,
            3,
            3,
            id="changed back is a change, not a duplicate",
        ),
        pytest.param([(X, 1), (WRONG, 2)], "accepted invalid", WRONG, 2, 2, id="a refused order is recorded"),
        pytest.param([(WRONG, 2), (X, 1)], "invalid superseded", WRONG, 2, 1, id="and keeps out what is older"),
        pytest.param([(WRONG, 1), (WRONG, 2)], "invalid invalid", WRONG, 2, 1, id="and is refused again"),
    ],
)
def test_the_newest_revision_counts_whatever_arrives_when(
    arrivals: list[tuple[Order, int]], answers: str, newest: Order, at: int, version: int
) -> None:
    customer, statuses = arriving(NEW, *arrivals)
    assert " ".join(statuses) == answers
    assert customer.opportunities[A].order == newest
    assert customer.opportunities[A].revision == Revision(at, 0)
    assert customer.version == version


def test_two_orders_of_one_revision_have_the_same_winner_in_both_orders() -> None:
    one, _ = arriving(NEW, (X, 1), (Y, 1))
    other, _ = arriving(NEW, (Y, 1), (X, 1))
    assert one.opportunities[A].order == other.opportunities[A].order == max(X, Y, key=lambda o: o.digest)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([A, B]), st.integers(1, 4)), min_size=1, max_size=6),
    st.data(),
)
def test_any_order_of_arrival_with_any_repetitions_ends_with_the_same_newest_orders(
    sent: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    arrivals = [Arrival(order(quantity, opportunity), Revision(at, 0)) for quantity, opportunity, at in sent]
    shuffled = data.draw(st.permutations(arrivals)) + data.draw(st.lists(st.sampled_from(arrivals), max_size=6))
    requests, rest = [], list(shuffled)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        requests.append(rest[:size])
        rest = rest[size:]
    customer = NEW
    for request in requests:
        customer, _ = accept(customer, request, NOW)
    newest = {id: state.order for id, state in customer.opportunities.items()}
    best = {id: max((a for a in arrivals if a.order.opportunity_id == id), key=_rank) for id in newest}
    assert newest == {id: arrival.order for id, arrival in best.items()}
    assert {id: s.revision for id, s in customer.opportunities.items()} == {id: a.revision for id, a in best.items()}
    assert newest.keys() == {arrival.order.opportunity_id for arrival in arrivals}


def _rank(arrival: Arrival) -> tuple[Revision, str]:
    return arrival.revision, arrival.order.digest


def test_an_accepted_order_is_due_at_once_and_nothing_else_makes_a_customer_due() -> None:
    assert ACCEPTED.due_at == NOW + START_GRACE
    customer = provisioned(ACCEPTED)
    assert customer.due_at is None
    after, statuses = arriving(customer, (X, 1), (X, 2), (Y, 1))
    assert statuses == ["duplicate", "duplicate", "superseded"]
    assert (after.due_at, after.version) == (None, customer.version)


def test_orders_that_arrive_together_raise_the_version_once_and_share_one_execution() -> None:
    arrivals = [Arrival(order(n, f"0065g00000ABC{n:02}AAX"), Revision(n, 0)) for n in range(1, 31)]
    customer, answers = accept(NEW, arrivals, NOW)
    assert customer.version == customer.attempt == 1
    assert {answer.execution for answer in answers} == {execution_name(answers[0].opportunity_id, Revision(1, 0), 1)}
    assert {state.execution for state in customer.opportunities.values()} == {answers[0].execution}


def test_a_duplicate_is_started_again_until_its_deal_has_an_outcome() -> None:
    """The answer to the first request may be lost, and its start with it; the execution's name is the same."""
    (first,) = accept(NEW, [Arrival(X, Revision(1, 0))], NOW)[1]
    (again,) = accept(ACCEPTED, [Arrival(X, Revision(1, 0))], NOW)[1]
    assert (again.status, again.start, again.execution) == ("duplicate", True, first.execution)
    (later,) = accept(provisioned(ACCEPTED), [Arrival(X, Revision(1, 0))], NOW)[1]
    assert (later.status, later.start) == ("duplicate", False)


def test_a_duplicate_of_an_order_that_failed_is_tried_again_under_a_new_name() -> None:
    customer = failed(ACCEPTED)
    assert customer.opportunities[A].outcome == Outcome.because("Failed", NO_KEY)
    after, (answer,) = accept(customer, [Arrival(X, Revision(1, 0))], NOW)
    assert (answer.status, answer.start) == ("duplicate", True)
    assert answer.execution != customer.opportunities[A].execution
    assert after.due_at == NOW + START_GRACE
    assert after.failures == 0
    assert after.opportunities[A].outcome.status == "Provisioning"


def test_a_refused_order_shows_its_reason_and_keeps_what_was_provisioned() -> None:
    customer, _ = arriving(provisioned(ACCEPTED), (WRONG, 2))
    state = customer.opportunities[A]
    assert (state.outcome.status, state.outcome.code) == ("Failed", "invalid")
    assert told(state.outcome) == "line 4, quantity: is negative"
    assert state.settled == Contribution(X)
    assert customer.unwritten == [A]


def test_another_date_for_a_deals_own_cancellation_still_knows_the_deal_it_ends() -> None:
    customer = provisioned(arriving(provisioned(ACCEPTED), (cancelled(JANUARY), 2))[0])
    assert customer.opportunities[A].settled == Contribution(X, own_end=OwnEnd(JANUARY, JANUARY))
    customer, _ = arriving(customer, (cancelled(MARCH), 3))
    state = customer.opportunities[A]
    assert state.history.contribution == Contribution(X, own_end=OwnEnd(MARCH, MARCH))
    assert (state.settled, state.stands) == (Contribution(X, own_end=OwnEnd(JANUARY, JANUARY)), False)
    assert provisioned(customer).opportunities[A].stands


# Readings that arrive late, or once more


def test_an_older_reading_that_sells_something_else_than_what_is_known_to_end_is_folded() -> None:
    """The newest reading is a cancellation: what it ends is what was sold last, which arrives only now."""
    customer = provisioned(arriving(ACCEPTED, (cancelled(JANUARY), 3))[0])
    late, (answer,) = accept(customer, [Arrival(Y, Revision(2, 0))], NOW)
    assert (answer.status, answer.start) == ("superseded", True)
    assert (late.version, late.due_at) == (customer.version + 1, NOW + START_GRACE)
    state = late.opportunities[A]
    assert (state.order, state.revision, state.execution) == (cancelled(JANUARY), Revision(3, 0), answer.execution)
    assert state.history.contribution == Contribution(Y, own_end=OwnEnd(JANUARY, JANUARY))
    assert (state.outcome.status, late.unwritten) == ("Provisioned", []), "until it is folded, it is what it was"
    assert isinstance(acquire_lease(late, "two", 0, NOW, LEASE)[1], Work)
    again, (answer,) = accept(provisioned(late), [Arrival(Y, Revision(2, 0))], NOW)
    assert (answer.status, answer.start, again.due_at) == ("superseded", False, None)


@pytest.mark.parametrize("late", [order(4), cancelled(None), cancelled(MARCH), replace(X, opportunity_name="Renamed")])
def test_an_older_reading_that_changes_nothing_is_recorded_and_makes_nothing_due(late: Order) -> None:
    """What came after it sold something else, so that the deal gives what it gave."""
    customer = provisioned(arriving(NEW, (X, 2), (cancelled(JANUARY), 3))[0])
    after, (answer,) = accept(customer, [Arrival(late, Revision(1, 0))], NOW)
    assert (answer.status, answer.start) == ("superseded", False)
    assert (after.version, after.due_at) == (customer.version, None)
    before, state = customer.opportunities[A], after.opportunities[A]
    assert state.stands
    assert state.history == record(before.history, Reading(late, Revision(1, 0)))
    assert (state.first, len(state.said)) in [(Revision(1, 0), 1), (Revision(2, 0), 2)], "that of a sale, or an end"


def test_a_trial_that_arrives_after_the_sale_it_grew_into_is_given_until_then() -> None:
    trial = order(5, trigger="trial")
    customer = provisioned(arriving(NEW, (X, 2))[0])
    after, (answer,) = accept(customer, [Arrival(trial, Revision(1, 0))], NOW)
    assert (answer.status, answer.start, after.version) == ("superseded", True, customer.version + 1)
    assert after.opportunities[A].history.contribution == Contribution(X, trial=trial)


def test_an_older_reading_that_says_it_is_cancelled_now_moves_the_end_back_to_when_it_was_said_first() -> None:
    now = replace(cancelled(None), cancel="now")
    customer = provisioned(arriving(ACCEPTED, (now, 5))[0])
    assert end_of(customer) == OwnEnd(from_milliseconds(5), from_milliseconds(5))
    renamed, statuses = arriving(customer, (replace(now, opportunity_name="Northwind, lost"), 9))
    assert (statuses, end_of(renamed)) == (["accepted"], OwnEnd(from_milliseconds(5), from_milliseconds(5)))
    late, statuses = arriving(renamed, (now, 3))
    assert (statuses, late.version) == (["superseded"], renamed.version + 1)
    assert end_of(late) == OwnEnd(from_milliseconds(3), from_milliseconds(3))


def end_of(customer: Customer) -> OwnEnd | None:
    return customer.opportunities[A].history.contribution.own_end


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancellation_that_is_sent_again_takes_effect_when_it_was_said_first(fails: bool) -> None:
    """However often, in whatever order, and though it failed in between and is tried again."""
    now = replace(cancelled(None), cancel="now")
    customer, _ = arriving(ACCEPTED, (now, 100))
    for at in (200, 150, *range(201, 201 + 2 * MOST_SAID)):
        customer, statuses = arriving(failed(customer) if fails else customer, (now, at))
        assert statuses == ["duplicate"]
    state = customer.opportunities[A]
    assert state.revision == Revision(200 + 2 * MOST_SAID, 0)
    assert end_of(customer) == OwnEnd(from_milliseconds(100), from_milliseconds(100))
    assert len(state.said) == MOST_SAID
    customer, _ = arriving(failed(customer) if fails else customer, (now, 50))
    assert end_of(customer) == OwnEnd(from_milliseconds(50), from_milliseconds(50)), "an older copy knows better"
    customer, _ = arriving(customer, (X, 900), (now, 950))
    assert end_of(customer) == OwnEnd(from_milliseconds(950), from_milliseconds(950)), "it was won again in between"


def test_names_of_an_older_reading_are_kept_and_make_the_customer_due() -> None:
    named = replace(X, contract_id=CONTRACT, form=1)
    customer = provisioned(arriving(NEW, (replace(Y, form=1), 2))[0])
    after, (answer,) = accept(customer, [Arrival(named, Revision(1, 0))], NOW)
    assert (answer.status, answer.start, after.version) == ("superseded", True, customer.version + 1)
    state = after.opportunities[A]
    assert (state.order.contract_id, state.stands) == (CONTRACT, True)
    assert state.settled is not None
    assert state.settled.order is not None
    assert state.settled.order.contract_id == CONTRACT


SAID = [
    X,
    Y,
    order(4, trigger="trial"),
    cancelled(None),
    cancelled(JANUARY),
    replace(cancelled(None), cancel="now"),
    replace(cancelled(None), cancel="end_of_term"),
    order(trigger="cancellation", items=(), amends=(B,), cancel="now"),
    WRONG,
]


@given(st.lists(st.tuples(st.sampled_from(SAID), st.integers(1, 6)), min_size=1, max_size=6), st.data())
def test_any_order_of_arrival_ends_with_what_the_readings_say_together(
    sent: list[tuple[Order, int]], data: st.DataObject
) -> None:
    """Also where copies come in between, steps fail and what was erased is read again."""
    expected: History | None = None
    for one, at in sorted(sent, key=lambda reading: reading[1]):
        expected = record(expected, Reading(one, Revision(at, 0)))
    assert expected is not None
    copies = data.draw(st.lists(st.sampled_from(sent), max_size=4))
    customer = NEW
    for one, at in data.draw(st.permutations([*sent, *copies])):
        customer, _ = arriving(customer, (one, at))
        state = customer.opportunities[A]
        match data.draw(st.sampled_from(["fails", "is stored", "nothing"])):
            case "fails":
                state = replace(state, outcome=Outcome.because("Failed", NO_KEY))
            case "is stored":
                state = OpportunityState.from_json(json.loads(json.dumps(state.to_json())))
        customer = replace(customer, opportunities={A: state})
    assert customer.opportunities[A].history == expected


# What is erased

HOLDING_ORDERS = ("order", "sells", "trial", "settled")


def test_what_is_erased_makes_nothing_due_and_names_nobody_in_any_reading() -> None:
    trial = order(4, trigger="trial")
    customer = provisioned(arriving(NEW, (trial, 1), (X, 2), (cancelled(JANUARY), 3))[0])
    after = erased(customer)
    state = after.opportunities[A]
    assert "Northwind" not in json.dumps(state.to_json())
    assert state.stands
    assert [state.history.contribution.trial, state.history.contribution.order] == [trial.nameless(), X.nameless()]
    assert (after.due_at, after.version, after.unwritten) == (None, customer.version, [])
    before = customer.opportunities[A]
    assert replace(after.opportunities[A], **{n: getattr(before, n) for n in HOLDING_ORDERS}) == before, "nothing else"


def test_what_is_erased_while_a_step_is_under_way_is_not_named_again_by_what_it_records() -> None:
    customer, work = taken(ACCEPTED)
    customer, _ = record_result(erased(customer), work, outcome(customer), NOW)
    state = customer.opportunities[A]
    assert "Northwind" not in json.dumps(state.to_json())
    assert state.settled is not None
    assert state.stands


# The customer in Stigg


def test_the_first_valid_order_binds_the_account_to_its_customer_in_stigg() -> None:
    assert arriving(NEW, (WRONG, 1))[0].customer_id is None
    assert arriving(NEW, (X, 1))[0].customer_id == ACCOUNT
    assert arriving(NEW, (order(customer_id="northwind"), 1))[0].customer_id == "northwind"


def test_an_order_for_another_customer_than_the_accounts_is_refused() -> None:
    customer, _ = arriving(NEW, (order(customer_id="northwind"), 1))
    same, statuses = arriving(customer, (order(2, B, customer_id="northwind"), 1), (order(2, A), 2))
    assert statuses == ["accepted", "accepted"]
    customer, (answer,) = accept(same, [Arrival(order(5, B, customer_id="southwind"), Revision(2, 0))], NOW)
    assert answer.status == "invalid"
    assert [problem.field for problem in answer.problems] == ["customerId"]
    assert customer.customer_id == "northwind"
    again, (answer,) = accept(customer, [Arrival(order(5, B, customer_id="southwind"), Revision(2, 0))], NOW)
    assert answer.status == "invalid"
    assert again.version == customer.version, "the same refusal again is nothing new"


def test_an_order_that_comes_too_late_binds_nothing() -> None:
    customer, statuses = arriving(NEW, (WRONG, 2), (order(customer_id="northwind"), 1))
    assert statuses == ["invalid", "superseded"]
    assert customer.customer_id is None


# take


def test_one_execution_at_a_time_has_the_work_until_its_writes_cannot_land_any_more() -> None:
    customer, work = taken(ACCEPTED, "one")
    assert work.needs == "provision"
    assert acquire_lease(customer, "two", 0, NOW + LEASE - 1, LEASE) == (customer, Busy(NOW + LEASE))
    assert isinstance(acquire_lease(customer, "two", 0, NOW + LEASE, LEASE)[1], Work)


def test_the_next_step_goes_on_at_once_with_the_token_it_is_handed() -> None:
    customer, work = taken(ACCEPTED)
    customer, following = taken(customer, token=work.lease.token, now=NOW + 1)
    assert following.lease.token > work.lease.token
    assert following.lease.until == NOW + 1 + LEASE


def test_a_retry_with_the_old_token_waits_for_its_dead_predecessors_write() -> None:
    customer, work = taken(ACCEPTED)
    assert acquire_lease(customer, "one", 0, NOW + LEASE - 1, LEASE) == (customer, Unanswered(NOW + LEASE))
    assert taken(customer, now=NOW + LEASE)[1].lease.token > work.lease.token


def test_a_retry_need_not_wait_when_everything_was_answered_and_no_longer_than_needed_when_not() -> None:
    customer, work = taken(ACCEPTED)
    answered, _ = record_result(customer, work, Interrupted(), NOW)
    assert taken(answered)[1].needs == "provision"
    assert isinstance(acquire_lease(answered, "two", 0, NOW, LEASE)[1], Busy)
    unanswered, _ = record_result(customer, work, Interrupted(unanswered_for=60_000), NOW)
    assert acquire_lease(unanswered, "one", 0, NOW + 59_999, LEASE)[1] == Unanswered(NOW + 60_000)
    assert isinstance(acquire_lease(unanswered, "one", 0, NOW + 60_000, LEASE)[1], Work)
    assert answered.due_at is not None
    assert unanswered.due_at is not None


def test_with_nothing_to_do_there_is_no_work_and_nothing_due() -> None:
    customer = provisioned(ACCEPTED)
    after, answer = acquire_lease(customer, "two", 0, NOW, LEASE)
    assert isinstance(answer, Current)
    assert (after.lease, after.due_at) == (None, None)


def test_where_only_salesforce_is_behind_stigg_is_not_asked() -> None:
    customer, work = taken(ACCEPTED)
    customer, _ = record_result(customer, work, outcome(customer), NOW)
    customer, work = taken(customer, "two", now=NOW + LEASE)
    assert work.needs == "write_back"


# settle


def test_what_is_accepted_while_an_execution_works_is_its_next_round() -> None:
    customer, work = taken(ACCEPTED)
    customer, _ = arriving(customer, (order(7, B), 1), (Y, 2))
    assert acquire_lease(customer, "two", 0, NOW, LEASE)[1] == Busy(NOW + LEASE)
    customer, _ = record_result(customer, work, outcome(work.customer), NOW)
    assert (customer.applied, customer.version) == (1, 3)
    assert customer.opportunities[A].settled == Contribution(X)
    assert customer.opportunities[A].outcome == Outcome(), "the outcome of X is not Y's"
    customer, work = taken(customer, token=work.lease.token)
    customer, follows = record_result(customer, work, written(work), NOW)
    assert follows == "again"
    customer = provisioned_in_place(customer, work)
    assert (customer.applied, customer.due_at, customer.lease) == (3, None, None)
    settled = {id: state.settled for id, state in customer.opportunities.items()}
    assert settled == {A: Contribution(Y), B: Contribution(order(7, B))}


def provisioned_in_place(customer: Customer, work: Work) -> Customer:
    """The customer after another round of the execution that holds the lease."""
    customer, work = taken(customer, token=work.lease.token)
    customer, _ = record_result(customer, work, outcome(customer), NOW)
    customer, work = taken(customer, token=work.lease.token)
    return record_result(customer, work, written(work), NOW)[0]


def test_an_outcome_is_written_again_when_another_one_may_have_been_shown_in_between() -> None:
    """A write without an answer may have landed: what Salesforce showed before says nothing any more."""
    customer, _ = arriving(provisioned(ACCEPTED, reason="fine"), (Y, 2))
    customer, work = taken(customer)
    customer, _ = record_result(customer, work, outcome(customer, "else"), NOW)
    customer, _ = taken(customer, token=work.lease.token)  # writes "else" and dies
    later = NOW + LEASE
    customer, _ = arriving(customer, (X, 3), now=later)
    customer, work = taken(customer, "two", now=later)
    customer, _ = record_result(customer, work, outcome(customer, "fine"), later)
    assert customer.unwritten == [A]


def test_a_report_under_a_lease_that_passed_on_is_refused() -> None:
    customer, work = taken(ACCEPTED, "one")
    customer, _ = taken(customer, "two", now=NOW + LEASE)
    for report in (Intended({}), Interrupted(), outcome(work.customer), Failed(NO_KEY), written(work)):
        with pytest.raises(LeaseLost):
            record_result(customer, work, report, NOW + LEASE)


def test_a_failure_is_due_again_later_and_later_and_at_once_after_a_success() -> None:
    customer, now = ACCEPTED, NOW
    for wait in (*BACKOFF, BACKOFF[-1]):
        customer = failed(customer, now)
        assert customer.lease is None
        assert customer.due_at == now + wait
        now = customer.due_at
    customer, _ = arriving(provisioned(customer, now), (Y, 2), now=now)
    assert failed(customer, now).due_at == now + BACKOFF[0]


def test_a_failure_is_only_that_of_the_orders_that_were_tried() -> None:
    customer, _ = arriving(provisioned(ACCEPTED), (order(1, B), 1))
    customer, work = taken(customer)
    customer, _ = arriving(customer, (Y, 2))
    customer, _ = record_result(customer, work, Failed(NO_KEY), NOW)
    assert {id: s.outcome.status for id, s in customer.opportunities.items()} == {
        A: "Provisioning",
        B: "Failed",
    }


def test_what_is_to_be_looked_at_again_is_due_then_and_asks_stigg() -> None:
    customer, work = taken(ACCEPTED)
    customer, _ = record_result(customer, work, replace(outcome(customer), look_again_at=NOW + 3_600_000), NOW)
    customer, work = taken(customer, token=work.lease.token)
    customer, _ = record_result(customer, work, written(work), NOW)
    assert customer.due_at == NOW + 3_600_000
    assert isinstance(acquire_lease(customer, "two", 0, NOW + 3_599_999, LEASE)[1], Current)
    assert taken(customer, "two", now=NOW + 3_600_000)[1].needs == "provision"


def test_a_generation_is_remembered_before_it_is_used_and_never_used_again_once_burned() -> None:
    customer, work = taken(ACCEPTED)
    customer, _ = record_result(customer, work, Intended({"product|": 1}), NOW)
    assert customer.slots == {"product|": SlotRecord(generation=1)}
    customer, _ = record_result(customer, work, Interrupted(burned=("product|",)), NOW)
    assert customer.slots == {"product|": SlotRecord(generation=1, made=True)}


# claim


def test_the_sweep_claims_what_is_due_once_and_again_when_its_start_is_lost() -> None:
    assert claim(ACCEPTED, NOW) == (ACCEPTED, None)
    customer, name = claim(ACCEPTED, NOW + START_GRACE)
    assert name == execution_name(A, Revision(1, 0), 2)
    assert customer.opportunities[A].execution == name
    assert claim(customer, NOW + START_GRACE)[1] is None
    assert claim(customer, NOW + 2 * START_GRACE)[1] == execution_name(A, Revision(1, 0), 3)


@given(st.integers(0, 253_402_300_799_999), st.integers(1, 10**12))
def test_an_executions_name_is_one_step_functions_takes(modified: int, attempt: int) -> None:
    name = execution_name(A, Revision(modified, 5), attempt)
    assert len(name) <= 80
    assert re.fullmatch(r"[A-Za-z0-9_-]+", name)
    assert name != execution_name(A, Revision(modified, 5), attempt + 1)


# In the ledger's items

texts = st.text(max_size=20)
maybe = st.none() | texts
whole = st.integers(0, 10**15)
instants = st.none() | st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)).map(instant_of)  # noqa: DTZ001
items = st.builds(
    Item,
    st.sampled_from(["Plan", "Add-on", "Entitlement", "Credit entitlement"]),
    texts,
    whole,
    st.lists(st.integers(1, 200), min_size=1, max_size=3).map(tuple),
    price=st.none() | st.floats(0, 1e12),
    unlimited=st.booleans(),
    soft_limit=st.booleans(),
    reset_period=maybe,
    cadence=maybe,
    plan_id=maybe,
    start=instants,
    end=instants,
)
orders = st.builds(
    Order,
    *[texts] * 4,
    *[maybe] * 4,
    *[texts] * 2,
    billing_period=maybe,
    start=instants,
    end=instants,
    as_of=instants,
    trial_end=instants,
    payment_collection=maybe,
    items=st.lists(items, max_size=3).map(tuple),
    problems=st.lists(st.builds(Problem, st.none() | st.integers(1, 200), texts, texts), max_size=2).map(tuple),
)
revisions = st.builds(Revision, st.integers(0, 10**13), whole)
triggers = st.sampled_from(["closed_won", "trial", "amendment", "cancellation"])
readings = st.builds(
    lambda one, trigger, cancel, revision: Reading(replace(one, trigger=trigger, cancel=cancel), revision),
    orders,
    triggers,
    st.sampled_from([None, "now", "end_of_term"]),
    revisions,
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """The history of some readings, of which one was settled and may have begun."""
    history: History | None = None
    for reading in draw(st.lists(readings, min_size=1, max_size=4)):
        history = record(history, reading)
        if draw(st.booleans()):
            history = settle(history, history.contribution)
        if history.settled is not None and draw(st.booleans()):
            history = begin(history)
    assert history is not None
    return history


blank = st.builds(
    OpportunityState,
    orders,
    revisions,
    whole,
    texts,
    outcome=st.builds(
        Outcome,
        st.sampled_from(["Provisioned", "Held", "Failed"]),
        texts,
        st.lists(st.builds(SubscriptionLink, texts, texts, texts, maybe), max_size=2).map(tuple),
        maybe,
        st.none() | whole,
        st.sampled_from(["", "no_base"]),
        st.builds(Facts, st.dictionaries(texts, texts | whole | st.lists(texts) | st.dictionaries(texts, whole))),
    ),
    at=whole,
    written=maybe,
    learned=st.dictionaries(texts, instants.filter(bool), max_size=2),
    products=st.dictionaries(texts, texts, max_size=2),
)
states = st.builds(OpportunityState.with_history, blank, histories())


@given(states)
def test_what_is_stored_comes_back_the_same_down_to_digest_and_mark(state: OpportunityState) -> None:
    back = OpportunityState.from_json(json.loads(json.dumps(state.to_json())))
    assert back == state
    assert back.history == state.history
    assert back.history.contribution.digest == state.history.contribution.digest
    assert (back.settled and back.settled.digest) == (state.settled and state.settled.digest)
    assert back.order.digest == state.order.digest
    assert back.mark("northwind") == state.mark("northwind")


@pytest.mark.parametrize(
    "settled",
    [
        Contribution(),
        Contribution(unwon=True),
        Contribution(X, trial=order(4, trigger="trial"), own_end=OwnEnd(None, JANUARY, X.items)),
        Contribution(X, own_end=OwnEnd(MARCH, JANUARY)),
        Contribution(order(trigger="cancellation", items=(), amends=(B,)), since=MARCH),
    ],
)
def test_what_stands_is_stored_as_it_was_whatever_was_read_since(settled: Contribution) -> None:
    state = ACCEPTED.opportunities[A]
    for one, at in ((cancelled(JANUARY), 3), (Y, 5)):
        state = state.with_history(
            begin(replace(record(state.history, Reading(one, Revision(at, 0))), settled=settled))
        )
        back = OpportunityState.from_json(json.loads(json.dumps(state.to_json())))
        assert (back, back.settled, back.begun) == (state, settled, True)


def of_first_version(newest: Order, provisioned: Order | None, won: Order | None) -> OpportunityState:
    """An opportunity as the first version stored it."""
    told = ACCEPTED.opportunities[A].to_json()
    for name in ("said", "first", "settled", "begun"):
        told.pop(name, None)
    told |= {name: one and one.to_json() for name, one in (("provisioned", provisioned), ("won", won))}
    told |= {"order": newest.to_json(), "revision": [9000, 0]}
    return OpportunityState.from_json(json.loads(json.dumps(told)))


@pytest.mark.parametrize(
    ("newest", "provisioned", "won", "settled", "stands"),
    [
        pytest.param(X, None, None, None, False, id="never provisioned"),
        pytest.param(X, X, None, Contribution(X), True, id="provisioned"),
        pytest.param(Y, X, None, Contribution(X), False, id="changed since"),
        pytest.param(WRONG, X, None, Contribution(X), False, id="refused since"),
        pytest.param(cancelled(JANUARY), X, None, Contribution(X), False, id="to be cancelled"),
        pytest.param(
            cancelled(JANUARY),
            cancelled(JANUARY),
            X,
            Contribution(X, own_end=OwnEnd(JANUARY, JANUARY)),
            True,
            id="cancelled",
        ),
        pytest.param(
            cancelled(MARCH),
            cancelled(JANUARY),
            X,
            Contribution(X, own_end=OwnEnd(JANUARY, JANUARY)),
            False,
            id="cancelled for another day",
        ),
        pytest.param(cancelled(None), cancelled(None), X, Contribution(unwon=True), True, id="not won any more"),
        pytest.param(Y, cancelled(JANUARY), X, Contribution(X, own_end=OwnEnd(JANUARY, JANUARY)), False, id="re-won"),
    ],
)
def test_what_the_first_version_stored_says_what_stands_and_what_is_wanted(
    newest: Order, provisioned: Order | None, won: Order | None, settled: Contribution | None, stands: bool
) -> None:
    state = of_first_version(newest, provisioned, won)
    assert (state.order, state.revision, state.settled, state.stands) == (newest, Revision(9000, 0), settled, stands)
    assert state.begun == (settled is not None), "as far as anybody can tell"
    wanted = Contribution(won or X, own_end=OwnEnd(newest.end, newest.end)) if newest.end else None
    assert wanted is None or state.history.contribution == wanted
    told = state.to_json()
    assert "won" not in told
    assert OpportunityState.from_json(json.loads(json.dumps(told))) == state, "and is stored as it is today"


def test_a_cancellation_that_the_first_version_stored_and_did_not_provision_keeps_its_time() -> None:
    """The copy that is sent after the upgrade is not the first that said so."""
    churn = order(trigger="cancellation", items=(), amends=(B,), cancel="now")
    state = of_first_version(churn, None, None)
    assert state.first == Revision(9000, 0)
    customer = replace(NEW, opportunities={A: state}, version=1)
    customer, statuses = arriving(customer, (churn, 20_000))
    assert statuses == ["duplicate"]
    assert customer.opportunities[A].history.contribution == Contribution(churn, since=from_milliseconds(9000))


def test_only_what_a_deal_says_makes_another_order() -> None:
    """Not what the account shows of our own answer, nor the numbers of lines that CPQ made again."""
    renumbered = tuple(replace(item, lines=(7,)) for item in X.items)
    assert (
        X.digest
        == replace(
            X, stored_customer_id=CustomerId("northwind"), customer_id=CustomerId("northwind"), items=renumbered
        ).digest
    )
    changes: dict[str, Any] = {
        "opportunity_name": "y",
        "resource_id": "y",
        "end": from_iso("2027-11-30T00:00:00Z"),
        "currency": "eur",
        "items": Y.items,
    }
    digests = {X.digest} | {replace(X, **{name: value}).digest for name, value in changes.items()}
    assert len(digests) == 1 + len(changes)


# Approval, cancellation and credits


def waiting(approval: str = "0123456789abcdef") -> Customer:
    """A customer whose deal is held until somebody approves."""
    customer, work = taken(ACCEPTED)
    held = Applied({}, {A: Outcome("Held", "it takes away much", approval=approval)}, {}, ensured=True)
    customer, _ = record_result(customer, work, held, NOW)
    customer, work = taken(customer, token=work.lease.token)
    return record_result(customer, work, written(work), NOW)[0]


def test_what_waits_is_approved_once_and_started() -> None:
    customer, said, execution = approve(waiting(), A, "0123456789abcdef", NOW)
    assert (said, customer.approved, customer.due_at) == ("approved", ("0123456789abcdef",), NOW + START_GRACE)
    assert execution == execution_name(A, Revision(1, 0), 2)
    assert isinstance(acquire_lease(customer, "one", 0, NOW, LEASE)[1], Work)
    again, said, same = approve(customer, A, "0123456789abcdef", NOW)
    assert (again, said, same) == (customer, "approved", execution)


@pytest.mark.parametrize(("opportunity", "approval"), [(A, "fedcba9876543210"), (B, "0123456789abcdef")])
def test_what_does_not_wait_cannot_be_approved(opportunity: str, approval: str) -> None:
    customer = waiting()
    assert approve(customer, opportunity, approval, NOW) == (customer, "unknown", None)


def test_an_approval_is_used_up_by_the_change_it_let_through() -> None:
    customer, _, _ = approve(waiting(), A, "0123456789abcdef", NOW)
    customer, work = taken(customer)
    done = replace(outcome(customer), approved=frozenset({"0123456789abcdef"}))
    assert record_result(customer, work, done, NOW)[0].approved == ()


# Repair


def at_rest() -> Customer:
    """A customer whose deal is provisioned and shown."""
    customer, work = taken(ACCEPTED)
    customer, _ = record_result(customer, work, outcome(customer), NOW)
    customer, work = taken(customer, token=work.lease.token)
    return record_result(customer, work, written(work), NOW)[0]


def test_a_customer_that_differs_in_stigg_is_provisioned_again() -> None:
    customer, due = made_due(at_rest(), at_rest().rev, look=True, opportunities=(), account=False, now=NOW)
    assert (due, customer.due_at, customer.version) == (True, NOW, at_rest().version)
    assert taken(customer)[1].needs == "provision"


def test_what_salesforce_does_not_show_is_written_again_without_looking_at_stigg() -> None:
    customer, due = made_due(at_rest(), at_rest().rev, look=False, opportunities=(A,), account=True, now=NOW)
    assert (due, customer.unwritten, customer.account_unwritten) == (True, [A], True)
    assert taken(customer)[1].needs == "write_back"


def test_what_was_written_since_it_was_looked_at_is_left_alone() -> None:
    moved_on = replace(at_rest(), rev=7)
    assert made_due(moved_on, 6, look=True, opportunities=(A,), account=True, now=NOW) == (moved_on, False)


def test_a_cancellation_remembers_what_it_ends_until_the_deal_is_won_again() -> None:
    over = provisioned(arriving(provisioned(ACCEPTED), (cancelled(None), 2))[0])
    assert over.opportunities[A].settled == Contribution(unwon=True)
    assert over.opportunities[A].history.sells == Reading(X, Revision(1, 0))
    again, _ = arriving(over, (Y, 3))
    assert again.opportunities[A].settled == Contribution(unwon=True), "until it is provisioned"
    assert provisioned(again).opportunities[A].settled == Contribution(Y)


LAPSES = order(trigger="cancellation", items=(), amends=(B,), cancel="end_of_term")


def lapsing() -> Customer:
    """A customer whose deal was cancelled at 2 for the end of the billing period, which Stigg has told."""
    customer, work = taken(arriving(NEW, (LAPSES, 2))[0])
    told = replace(outcome(customer), learned={A: {"product|#1": JANUARY}})
    customer, _ = record_result(customer, work, told, NOW)
    assert customer.learned == {(A, "product|#1"): JANUARY}
    return provisioned(customer, NOW + LEASE)


@pytest.mark.parametrize(
    ("arrivals", "kept"),
    [
        pytest.param([(LAPSES, 3)], True, id="the same again"),
        pytest.param([(replace(LAPSES, opportunity_name="Renamed"), 3)], True, id="renamed"),
        pytest.param([(LAPSES, 1)], False, id="it was said earlier"),
        pytest.param([(WRONG, 3)], True, id="what stands is not touched by what is refused"),
        pytest.param([(X, 3)], True, id="nor by what is not provisioned"),
        pytest.param([(replace(LAPSES, cancel=None, end=MARCH), 3), (LAPSES, 4)], False, id="cancelled once more"),
        pytest.param([(LAPSES, 4), (replace(LAPSES, cancel=None, end=MARCH), 3)], False, id="in whichever order"),
    ],
)
def test_what_was_learned_belongs_to_one_cancellation(arrivals: list[tuple[Order, int]], kept: bool) -> None:
    customer, _ = arriving(lapsing(), *arrivals)
    assert customer.learned == ({(A, "product|#1"): JANUARY} if kept else {})


def test_what_was_learned_goes_when_the_deal_is_provisioned_without_its_cancellation() -> None:
    customer, work = taken(arriving(lapsing(), (X, 3))[0], now=NOW + 2 * LEASE)
    late = replace(outcome(customer), learned={A: {"product|#1": JANUARY}})
    assert record_result(customer, work, late, NOW + 2 * LEASE)[0].learned == {}


def test_what_has_begun_is_what_was_settled_and_has_not_begun_when_it_is_another() -> None:
    customer, work = taken(ACCEPTED)
    customer, _ = record_result(customer, work, replace(outcome(customer), begun=frozenset({A})), NOW)
    assert customer.opportunities[A].begun
    assert provisioned(customer, NOW + LEASE).opportunities[A].begun, "and stays so"
    changed = provisioned(arriving(customer, (Y, 2))[0], NOW + LEASE)
    assert (changed.opportunities[A].settled, changed.opportunities[A].begun) == (Contribution(Y), False)


def test_credits_are_remembered_before_they_are_sent_and_keep_their_amount() -> None:
    customer, work = taken(ACCEPTED)
    customer, _ = record_result(customer, work, Intended({}, {"key": GrantRecord(100)}), NOW)
    assert customer.grants == {"key": GrantRecord(100)}
    done = replace(outcome(customer), grants={"key": GrantRecord(100, "grant-1")})
    assert record_result(customer, work, done, NOW)[0].grants == {"key": GrantRecord(100, "grant-1")}
