"""Codes and facts: stable data behind every reason, and the one module that says them in words."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from closedwon.domain.acceptance import Arrival, accept, approve
from closedwon.domain.code_list import CODES, FACTS
from closedwon.domain.codes import Facts, Reason, approval_of
from closedwon.domain.customer import Customer, Outcome
from closedwon.domain.errors import FAILURES, code_of
from closedwon.domain.former_approvals import former_approval_of
from closedwon.domain.order import Problem, Revision, refusal
from closedwon.reconciliation.finding import KINDS
from closedwon.words.reasons import WORDS, in_words, recorded, sentence, told
from unit.domain import ACCOUNT, AT, a_deal, order_of

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = [ROOT / "layers" / "closedwon" / "closedwon", ROOT / "functions", ROOT / "ops"]


# The list


MAKERS = ("Reason", "Reason.of", "Fault", "self.fault", "self._fault", "self._all.fault")
"""What makes a reason, or a fault of a contract that becomes one."""


def made() -> Iterator[tuple[str, set[str], str]]:
    """Every reason that the product makes with a literal code: the code, the names of its facts, where."""
    for folder in PRODUCT:
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                    continue
                if ast.unparse(node.func) in MAKERS:
                    named = {keyword.arg for keyword in node.keywords if keyword.arg} - {"at", "slot", "facts"}
                    yield str(node.args[0].value), named, f"{path.name}:{node.lineno}"


def test_every_reason_has_a_code_of_the_list_and_only_the_facts_that_the_list_names() -> None:
    found = list(made())
    assert len(found) > 30
    for code, facts, where in found:
        assert code in CODES, where
        assert facts <= set(CODES[code].facts.split()), where


def test_every_code_has_words_a_meaning_and_a_way_to_settle_it_and_its_facts_are_explained() -> None:
    assert set(WORDS) == set(CODES)
    for code in CODES.values():
        assert code.meaning.endswith("."), code
        assert code.how or code.settles in ("nobody", "closed-won"), code
        assert set(code.facts.split()) <= set(FACTS), code
    used = {name for code in CODES.values() for name in code.facts.split()}
    # Of any code, of every hold that names others, and of every failure.
    assert used | {"also", "more", "execution"} == set(FACTS)


def test_no_two_codes_have_one_name_but_what_is_the_same_thing() -> None:
    names = [*CODES, *FAILURES, *KINDS]
    assert sorted(name for name in set(names) if names.count(name) > 1) == ["foreign_subscription"]
    assert all(name == name.lower() and " " not in name for name in names)


@pytest.mark.parametrize("code", CODES)
def test_a_code_can_be_said_with_all_its_facts_and_with_none(code: str) -> None:
    facts: dict[str, Any] = {name: f"<{name}>" for name in CODES[code].facts.split()}
    facts |= {name: {"addon-a": 3} for name in ("before", "after") if code == "removal_guard"}
    facts |= {"problems": [{"line": 1, "field": "price", "message": "is wrong"}]} if "problems" in facts else {}
    facts |= {"credits": [{"item": "credits", "before": 1, "after": 2}]} if "credits" in facts else {}
    facts |= {"refusals": [{"plan": "plan-a", "said": "no"}]} if "refusals" in facts else {}
    assert "?" not in sentence(Reason(code, Facts(facts)))
    assert sentence(Reason(code)) or code in (
        "invalid",
        "id_not_taken",
        "not_in_catalogue",
        "refused_by_stigg",
        "credits_differ",
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            Reason.of("two_plans", others=["006A"], plans=["plan-a", "plan-b"]),
            "Together with 006A this deal gives this customer plan-a and plan-b of the same product.",
        ),
        (
            Reason.of("terms_conflict", others=["006A"], term="billing_period", before="ANNUALLY", after="MONTHLY"),
            "006A and this deal have another billing period (ANNUALLY and MONTHLY): one subscription has one billing "
            "period.",
        ),
        (
            Reason.of("cannot_change", term="payment_collection", before="INVOICE", after="CHARGE", plan="plan-a"),
            "Payment collection cannot change from INVOICE to CHARGE while plan-a runs: change it in Stigg",
        ),
        (
            Reason.of("below_zero", item="feature-seats", quantity=9, there=5, leaves=-4, day="2026-12-24"),
            "This deal takes away 9 of feature-seats, and the contract has 5 on 2026-12-24.",
        ),
        (
            Reason.of("prior_mismatch", item="feature-seats", before=9, there=5),
            "Its quote says this customer had 9 of feature-seats, the contract says 5.",
        ),
        (Reason.of("currency_conflict", before="usd", after="eur"), "This deal is in EUR, the contract in USD."),
        (
            Reason.of("others_hang_on_it", others=["006A", "006B"], more=7),
            "Other deals were quoted on this one, and would not fit without it: 006A, 006B and 7 more.",
        ),
        (
            Reason.of("others_hang_on_it", others=["006A", "006B"]),
            "Other deals were quoted on this one, and would not fit without it: 006A and 006B.",
        ),
    ],
)
def test_what_deals_of_a_contract_say_of_each_other(reason: Reason, words: str) -> None:
    assert sentence(reason).startswith(words)


def test_a_code_of_a_newer_version_is_told_as_what_it_is() -> None:
    assert "quantum_conflict" in sentence(Reason("quantum_conflict"))


def test_failures_have_the_code_of_their_class_and_what_is_none_of_ours_is_unexpected() -> None:
    assert code_of("StiggUnauthorized") == "stigg_unauthorized"
    assert code_of("SalesforceRowLocked") == "salesforce_row_locked"
    assert {code_of(name) for name in ("KeyError", "Lambda.Unknown", "", "ClosedWonError")} == {"unexpected"}


# Facts


def test_facts_are_the_same_in_any_order_are_hashable_and_survive_json() -> None:
    one = Facts({"after": {"b": 1, "a": "unlimited"}, "lines": [1, 2], "none": None, "price": 1.5})
    other = Facts({"price": 1.5, "lines": (1, 2), "after": Facts({"a": "unlimited", "b": 1})})
    assert one == other
    assert hash(one) == hash(other)
    assert Facts(json.loads(json.dumps(one.to_json()))) == one
    assert list(one) == ["after", "lines", "price"]


def test_a_reason_beside_another_is_said_before_it_and_both_codes_are_known() -> None:
    both = Reason.of("credits_differ", credits=[{"item": "credits-ai", "before": 5, "after": 7}])
    both = both.beside(Reason.of("takes_effect", day="2026-12-24"))
    assert sentence(both).startswith("It takes effect on 2026-12-24.\n5 of credits-ai were granted")
    assert both.codes == ("credits_differ", "takes_effect")
    assert Reason.from_json(json.loads(json.dumps(both.to_json()))) == both


def test_a_deal_that_is_refused_says_each_problem_in_a_line() -> None:
    problems = (Problem(2, "price", "is negative"), Problem(None, "terms.end", "is not a date"))
    assert refusal(problems).code == "invalid"
    assert in_words(refusal(problems)) == "line 2, price: is negative\nterms.end: is not a date"


# What was stored before there were codes

HELD = Reason.of(
    "removal_guard",
    plan="plan-enterprise",
    slot="product-platform|",
    subscription="sub-1",
    item="feature-seats",
    before={"feature-seats": 100},
    after={"feature-seats": 10},
    share=90,
    percent=50,
)
FORMER = hashlib.sha256(
    json.dumps(
        [
            "product-platform|",
            "sub-1",
            "",
            "it would take away 90% of what plan-enterprise gives this customer (feature-seats from 100 to 10); more "
            "than 50% in one change needs somebody's approval.",
        ]
    ).encode()
).hexdigest()[:16]
"""The approval as the first version keyed it."""

DEAL = order_of(a_deal())


def with_outcome(outcome: Outcome, written: bool = True) -> Customer:
    """A customer whose only deal has an outcome, which Salesforce shows or not. It was reached at 7."""
    customer, _ = accept(Customer(ACCOUNT), [Arrival(DEAL, Revision(1, 1))], AT)
    state = replace(customer.opportunities[DEAL.opportunity_id], outcome=outcome, at=7)
    state = replace(state, written=state.mark(None) if written else None)
    return replace(customer, opportunities={DEAL.opportunity_id: state})


def after(known: Customer, outcome: Outcome) -> Customer:
    """The customer as it is stored after its deal came to an outcome."""
    state = known.opportunities[DEAL.opportunity_id]
    changed = replace(known, opportunities={DEAL.opportunity_id: state.became(outcome, AT)})
    return recorded(known, changed)


def stored(customer: Customer) -> Any:
    return customer.opportunities[DEAL.opportunity_id]


def test_an_outcome_is_stored_with_its_words_code_and_facts() -> None:
    state = stored(after(with_outcome(Outcome()), Outcome.because("Held", HELD, approval=approval_of(HELD))))
    data = json.loads(json.dumps(state.to_json()))["outcome"]
    assert (data["code"], data["facts"]["before"]) == ("removal_guard", {"feature-seats": 100})
    assert data["reason"].startswith("It would take away 90% of what plan-enterprise gives")
    assert type(state).from_json(json.loads(json.dumps(state.to_json()))) == state
    assert Outcome.from_json({**data, "later": 1}).to_json() == {**data, "subscriptions": (), "later": 1}
    assert stored(after(with_outcome(state.outcome), replace(state.outcome, reason=""))).outcome == state.outcome


def test_an_outcome_without_a_code_is_stored_and_marked_as_the_first_version_did() -> None:
    state = stored(with_outcome(Outcome("Held", "Why.", approval="a1")))
    assert list(state.to_json()["outcome"]) == ["status", "reason", "subscriptions", "approval", "due_at"]
    shown: dict[str, Any] = {"status": "Held", "reason": "Why.", "subscriptions": [], "approval": "a1", "due_at": None}
    first = hashlib.sha256(json.dumps([shown, None], sort_keys=True).encode()).hexdigest()[:16]
    assert state.mark(None) == first
    assert replace(state, outcome=replace(state.outcome, code="no_base")).mark(None) != first


def test_an_upgrade_writes_nothing_back_where_the_deal_says_what_it_said() -> None:
    known = with_outcome(Outcome("Held", sentence(HELD), approval=FORMER))
    assert after(known, Outcome.because("Held", HELD, approval=approval_of(HELD))) == known
    assert stored(known).outcome.approval == FORMER


def test_what_is_written_again_anyway_gets_its_code_and_keeps_its_time() -> None:
    known = with_outcome(Outcome("Held", sentence(HELD), approval=FORMER), written=False)
    state = stored(after(known, Outcome.because("Held", HELD, approval=approval_of(HELD))))
    assert (state.outcome.code, state.outcome.approval, state.at) == ("removal_guard", approval_of(HELD), 7)


def test_another_reason_is_another_outcome_whatever_was_stored() -> None:
    known = with_outcome(Outcome("Held", sentence(HELD), approval=FORMER))
    state = stored(after(known, Outcome.because("Held", Reason("trial_missed"))))
    assert (state.outcome.code, state.written, state.at) == ("trial_missed", None, AT)
    assert told(state.outcome).startswith("Its trial was over")


def test_other_words_of_the_same_code_and_facts_are_no_other_outcome() -> None:
    """A release that says something otherwise does not write every deal back."""
    outcome = replace(Outcome.because("Held", HELD), reason="As an earlier version said it.")
    known = with_outcome(outcome)
    assert after(known, Outcome.because("Held", HELD)) == known


# Approvals


def test_the_approval_of_the_first_version_is_known_still() -> None:
    assert former_approval_of(HELD) == FORMER
    assert former_approval_of(Reason("no_base")) is None


def test_an_approval_is_keyed_by_what_it_is_about_and_not_by_share_percentage_or_day() -> None:
    same = HELD.knowing(share=91, percent=20, item="feature-calls", day="2026-12-24")
    assert approval_of(same) == approval_of(HELD)
    for other in (
        HELD.knowing(after={"feature-seats": 9}),
        HELD.knowing(before={"feature-seats": 99}),
        HELD.knowing(slot="product-platform|eu"),
        HELD.knowing(subscription="sub-2"),
        HELD.knowing(deal=DEAL.opportunity_id),
        replace(HELD, code="changed_by_upgrade"),
    ):
        assert approval_of(other) != approval_of(HELD)


@pytest.mark.parametrize("id", [FORMER, approval_of(HELD)])
def test_who_has_the_former_id_before_their_eyes_approves_the_same(id: str) -> None:
    customer = with_outcome(Outcome.because("Held", HELD, approval=approval_of(HELD)))
    changed, said, _ = approve(customer, DEAL.opportunity_id, id, AT)
    assert (said, changed.approved) == ("approved", (approval_of(HELD),))


def test_what_was_held_before_the_upgrade_is_approved_by_the_id_it_shows() -> None:
    customer = with_outcome(Outcome("Held", sentence(HELD), approval=FORMER))
    changed, said, _ = approve(customer, DEAL.opportunity_id, FORMER, AT)
    assert (said, changed.approved) == ("approved", (FORMER,))
    assert approve(customer, DEAL.opportunity_id, approval_of(HELD), AT)[1] == "unknown"


def test_what_stigg_refuses_is_told_with_what_to_do_where_its_code_is_known() -> None:
    refusal = {"plan": "plan-team", "said": "package is not published", "error": "UnPublishedPackage"}
    told = sentence(Reason.of("refused_by_stigg", refusals=[refusal]))
    assert told == (
        "Stigg refused plan-team: package is not published\n"
        "Publish the plan or the add-on in Stigg, or sell what is published."
    )
    unknown = sentence(Reason.of("refused_by_stigg", refusals=[{**refusal, "error": "OfTomorrow"}]))
    assert unknown == "Stigg refused plan-team: package is not published"
