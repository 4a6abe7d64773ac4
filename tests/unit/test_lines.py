"""A deal line by line: which lines stay apart, what they refer to and are named, and when it is the same deal again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedwon.domain.identifiers import normalised_id
from closedwon.domain.order import Order, Problem, netted, same_deal, with_names
from unit.domain import (
    CREDITS,
    SEATS,
    WORKSPACE,
    Json,
    Wrong,
    a_deal,
    a_line,
    addon,
    amended,
    an_order,
    answer,
    cancelled,
    contract,
    entitlement,
    iso,
    opportunity_id,
    order_of,
    orderable,
    plan,
    renewed,
    won,
)


@pytest.mark.parametrize(
    ("lines", "items"),
    [
        # Each line, and the items that come of them: quantity, price, prior, and the lines each came from.
        ([addon(quantity=5, price=100, priorQuantity=10)], [(5, 100, 10, (1,))]),
        ([addon(quantity=-5, price=100), addon(quantity=5, price=80)], [(-5, 100, None, (1,)), (5, 80, None, (2,))]),
        ([addon(quantity=-5, price=100), addon(quantity=-2, price=100)], [(-7, 100, None, (1, 2))]),
        ([addon(quantity=5), addon(quantity=-5)], [(-5, None, None, (2,)), (5, None, None, (1,))]),
        ([addon(quantity=1, totalQuantity=80, priorQuantity=50)], [(30, None, 50, (1,))]),  # block-priced
        ([addon(quantity=1, priorQuantity=3), addon(quantity=2, priorQuantity=4)], [(3, None, 7, (1, 2))]),
        ([addon(quantity=5), addon(quantity=2, start="2027-01-01")], [(5, None, None, (1,)), (2, None, None, (2,))]),
        ([addon(quantity=0), addon(quantity=5)], [(5, None, None, (2,))]),  # no line
        ([addon(quantity=0, price=10, priorQuantity=5)], []),  # nor this one
        ([addon(quantity=0, totalQuantity=5, priorQuantity=5)], [(0, None, 5, (1,))]),  # it says what there was
    ],
)
def test_of_differences_every_line_counts_and_only_those_that_agree_are_added_up(
    lines: list[Json], items: list[tuple[Any, ...]]
) -> None:
    order = order_of(amended(2, *lines, of=1, start="2026-12-01"))
    assert [(item.quantity, item.price, item.prior, item.lines) for item in order.items] == items
    assert not any(item.value for item in order.items)


@pytest.mark.parametrize(
    ("lines", "quantity", "value", "price", "prior"),
    [
        ([addon(quantity=5, price=100, priorQuantity=10)], 5, 500, 100, 10),
        ([addon(quantity=-5, price=100), addon(quantity=5, price=80)], 0, -100, 80, None),  # re-priced
        ([addon(quantity=-5, price=100)], -5, -500, None, None),
        ([addon(quantity=1, totalQuantity=80, priorQuantity=50)], 30, None, None, 50),  # block-priced
        ([addon(quantity=1, priorQuantity=3), addon(quantity=2, priorQuantity=4)], 3, None, None, 7),
    ],
)
def test_in_the_first_form_differences_of_one_entity_are_netted_with_their_money(
    lines: list[Json], quantity: int, value: float | None, price: float | None, prior: int | None
) -> None:
    [item] = netted(order_of(amended(2, *lines, of=1))).items
    assert (item.quantity, item.value, item.price, item.prior) == (quantity, value, price, prior)


def test_lines_of_a_whole_deal_that_differ_in_price_or_in_what_they_renew_stay_apart() -> None:
    lines = [addon(quantity=3, price=10), addon(quantity=2, price=8), addon(quantity=1, price=8)]
    assert [(i.quantity, i.price) for i in an_order(plan(), *lines).items[1:]] == [(3, 10), (3, 8)]
    renewal = order_of(renewed(2, plan(), *(addon(quantity=n, renews=contract(n)) for n in (3, 2, 3)), of=1))
    assert [(item.quantity, item.renews) for item in renewal.items[1:]] == [(2, (contract(2),)), (6, (contract(3),))]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([addon(price=10), addon(price=12)], "differs from line 2, which names addon-extra-workspace too"),
        ([addon(price=10), addon()], "differs from line 2, which names addon-extra-workspace too"),
    ],
)
def test_the_first_form_has_one_price_for_each_entity_of_a_whole_deal(lines: list[Json], message: str) -> None:
    order = an_order(plan(), *lines)
    assert netted(order).problems == (Problem(3, "price", message),)


def test_a_plan_is_there_twice_only_for_two_contracts_or_where_each_renews_another() -> None:
    twice = "plan-enterprise is on line 1 already: one subscription has one plan"
    assert answer(a_deal(plan(), plan())) == [Wrong(2, "stiggId", twice)]
    assert answer(a_deal(plan(contractId=contract(1)), plan(contractId=contract(2)))) == []
    assert answer(a_deal(plan(contractId=contract(1)), plan(contractId=contract(1)))) == [Wrong(2, "stiggId", twice)]
    assert answer(renewed(3, plan(renews=contract(1)), plan(renews=contract(2)))) == []
    assert netted(order_of(renewed(3, plan(renews=contract(1)), plan(renews=contract(2))))).problems == (
        Problem(2, "stiggId", twice),
    )


@pytest.mark.parametrize("trigger", ["closed_won", "trial", "renewal", "amendment"])
def test_a_line_of_quantity_0_is_no_line(trigger: str) -> None:
    """As CPQ keeps what was optional; not even its mistakes count."""
    optional = [addon(quantity=0), addon("workspace", 0), a_line("Credit grant", CREDITS, 0), plan("plan-team", 0)]
    changes = {
        "trigger": trigger,
        "amends": opportunity_id(9) if trigger in ("renewal", "amendment") else None,
        "terms.trialEnd": "2026-12-24" if trigger == "trial" else None,
    }
    assert answer(a_deal(plan(), *optional, changes=changes)) == []
    assert [item.stigg_id for item in order_of(a_deal(plan(), *optional, changes=changes)).items] == ["plan-enterprise"]


def test_a_deal_of_nothing_but_quantities_of_0_sells_nothing() -> None:
    said = "the deal has only lines of quantity 0: nothing to provision"
    assert answer(a_deal(plan(quantity=0), addon(quantity=0))) == [Wrong(None, "lines", said)]


@pytest.mark.parametrize(
    ("line", "quantity"),
    [
        (entitlement(quantity=40), 40),
        (entitlement(quantity=40.0), 40),
        (entitlement(quantity=-40), 40),  # however it is said that they go
        (entitlement(quantity=None), 0),  # all of it
        (entitlement(quantity=0), 0),
        (entitlement(quantity=1, unlimited=True), 0),
    ],
)
def test_how_many_a_cancellation_lists_is_kept(line: Json, quantity: int) -> None:
    [item] = order_of(cancelled(2, line, of=1)).items
    assert item.quantity == quantity
    [item] = netted(order_of(cancelled(2, line, of=1))).items
    assert item.quantity == 0


# Relations and names

NOT_A_DATE = "is not a date (2026-12-01) or a time (2026-12-01T09:00:00Z)"
RECORD = normalised_id("a1S5g0000000001")
REFERENCES = [
    # What a line may say, and how it is kept.
    (RECORD, (RECORD,)),
    (RECORD[:15], (RECORD,)),
    ([RECORD, contract(1)[:15], RECORD], (contract(1), RECORD)),
    (f"{opportunity_id(7)[:15]}/{SEATS}", (f"{opportunity_id(7)}/{SEATS}",)),
    (f"{opportunity_id(7)}/{SEATS}/2027-01-01", (f"{opportunity_id(7)}/{SEATS}/2027-01-01T00:00:00.000Z",)),
    (
        f"{opportunity_id(7)}/{SEATS}/2027-01-01T02:00:00+02:00",
        (f"{opportunity_id(7)}/{SEATS}/2027-01-01T00:00:00.000Z",),
    ),
    ([], ()),
    (None, ()),
]


@pytest.mark.parametrize(("said", "kept"), REFERENCES)
@pytest.mark.parametrize(("told", "field"), [(renewed, "renews"), (amended, "amends"), (cancelled, "ends")])
def test_a_line_refers_to_records_contracts_opportunities_and_their_lines(
    told: Any, field: str, said: Any, kept: tuple[str, ...]
) -> None:
    order = order_of(told(2, plan(), addon(**{field: said}), of=1))
    assert order.problems == ()
    assert [getattr(item, field) for item in order.items] == [(), kept]
    assert order.references == {opportunity_id(1), *(one.partition("/")[0] for one in kept)}


MISTAKEN = [
    # The field of line 2, what it says, and what comes back.
    ("renews", "the first one", "is not a Salesforce record ID (15 or 18 letters and digits)"),
    ("renews", 7, "must be a text or a list of texts"),
    ("renews", [RECORD, 7], "must be a text or a list of texts"),
    ("renews", [RECORD] * 51, "has more than 50 references"),
    ("renews", f"{contract(1)}/{SEATS}", "is not an opportunity's ID (those start with 006)"),
    ("renews", f"{opportunity_id(7)}/", "is neither a record ID nor opportunity/stiggId[/start]"),
    ("renews", f"{opportunity_id(7)}/{SEATS}/2027-01-01/x", "is neither a record ID nor opportunity/stiggId[/start]"),
    (
        "renews",
        f"{opportunity_id(7)}/feature seats",
        "names no ID in Stigg behind the opportunity (letters, digits and _ . : @ | -)",
    ),
    ("renews", f"{opportunity_id(7)}/{SEATS}/soon", NOT_A_DATE),
    ("renews", f"{opportunity_id(2)}/{SEATS}", "names this opportunity itself: say the one this line renews"),
    ("amends", RECORD, "belongs on the lines of an amendment, and this deal is none"),
    ("ends", RECORD, "belongs on the lines of a cancellation, and this deal is none"),
    ("contractId", "C-1", "is not a Salesforce record ID (15 or 18 letters and digits)"),
    ("subscriptionRecord", "S-1", "is not a Salesforce record ID (15 or 18 letters and digits)"),
]


@pytest.mark.parametrize(("field", "said", "message"), MISTAKEN)
def test_a_reference_that_cannot_be_one_is_named_with_line_and_field(field: str, said: Any, message: str) -> None:
    assert answer(renewed(2, plan(), addon(**{field: said}), of=1)) == [Wrong(2, field, message)]


NAMES_NOTHING = "a closed_won deal amends nothing: leave it out, or send what it is"


@pytest.mark.parametrize(
    ("deal", "problems"),
    [
        (
            won(2, plan(), addon(renews=RECORD)),
            [(2, "renews", "belongs on the lines of a renewal, and this deal is none")],
        ),
        ({**won(2, plan()), "amends": [contract(1), contract(2)]}, [(None, "amends", NAMES_NOTHING)]),
        (renewed(2, plan(), of=[contract(1), opportunity_id(3)]), []),
        (
            renewed(2, plan(), of=[contract(1), opportunity_id(2)]),
            [(None, "amends", "is this opportunity itself: say the one this deal renews")],
        ),
        (renewed(2, plan(renews=RECORD), addon(renews=RECORD)), []),  # all of its lines say it
        (
            renewed(2, plan(renews=RECORD), addon()),
            [(2, "renews", "is missing: say what this line renews, or on the deal what all of it does")],
        ),
        (
            amended(2, plan(), addon()),
            [(None, "amends", "is missing: say the contract or base opportunity this deal amends")],
        ),
        (amended(2, addon(amends=contract(1))), []),
        (cancelled(2, addon(ends=RECORD)), []),
        (cancelled(2, addon(ends=f"{opportunity_id(2)}/{WORKSPACE}")), []),  # its own line
        (cancelled(2, {"ends": RECORD}), [(1, "stiggType", "is missing: a line with a Stigg ID needs a Stigg Type")]),
    ],
)
def test_what_a_deal_may_and_must_refer_to_goes_by_its_trigger(deal: Json, problems: list[Any]) -> None:
    assert answer(deal) == problems


@pytest.mark.parametrize(
    ("deal", "cancel"),
    [
        (cancelled(2), None),
        (cancelled(2, addon(ends=f"{opportunity_id(2)}/{WORKSPACE}")), None),
        (cancelled(2, addon(ends=RECORD)), "end_of_term"),
        (cancelled(2, of=[opportunity_id(1), contract(4)]), "end_of_term"),
    ],
)
def test_a_cancellation_of_another_deal_waits_for_the_end_of_its_term(deal: Json, cancel: str | None) -> None:
    assert order_of(deal).cancel == cancel


def test_what_a_deal_amends_is_one_reference_or_a_list() -> None:
    one, two = opportunity_id(1), contract(1)
    for said, kept in [(one, (one,)), ([two[:15], one], (one, two)), ([one, one], (one,))]:
        order = order_of(renewed(2, plan(), of=said))
        assert (order.amends, order.problems) == (kept, ())
    assert order_of(renewed(2, plan(), of=[one, two])).digest == order_of(renewed(2, plan(), of=[two, one])).digest
    assert order_of(renewed(2, plan(), of=[one])).to_json()["amends"] == one  # as ever
    assert order_of(renewed(2, plan(), of=[one, two])).to_json()["amends"] == (one, two)


def test_what_only_lines_refer_to_the_first_form_amends_as_a_whole() -> None:
    renewal = order_of(renewed(2, plan(renews=f"{opportunity_id(3)}/plan-enterprise"), addon(renews=contract(1))))
    assert netted(renewal).amends == (opportunity_id(3), contract(1))
    own = order_of(cancelled(2, addon(ends=f"{opportunity_id(2)}/{WORKSPACE}")))
    assert netted(own).amends == ()


# The same deal


differing = st.lists(
    st.builds(
        lambda kind, quantity, **more: kind(quantity=quantity, **more),
        st.sampled_from([addon, plan]),
        st.integers(-9, 9).filter(bool),
        price=st.none() | st.sampled_from([0, 0.1, 0.7, 10, 33.33]),
        priorQuantity=st.none() | st.integers(0, 20),
        start=st.sampled_from([None, "2027-01-01"]),
    ),
    min_size=1,
    max_size=7,
)


@given(differing)
def test_in_the_first_form_lines_are_netted_as_the_first_version_did(lines: list[Json]) -> None:
    order = order_of(amended(2, *lines, of=1, start="2026-12-01"))
    found = {(i.stigg_id, iso(i.start)): (i.quantity, i.prior, i.value, i.price) for i in netted(order).items}
    groups: dict[Any, list[Json]] = {}
    for one in lines:
        groups.setdefault((one["stiggId"], one["start"] and "2027-01-01T00:00:00.000Z"), []).append(one)
    assert found.keys() == groups.keys()
    for key, same in groups.items():
        quantity, prior, value, price = found[key]
        assert quantity == sum(one["quantity"] for one in same)
        priors = [one["priorQuantity"] for one in same if one["priorQuantity"] is not None]
        assert prior == (sum(priors) if priors else None)
        priced = [one for one in same if one["price"] is not None]
        assert value == (pytest.approx(sum(one["quantity"] * one["price"] for one in priced)) if priced else None)
        more = [one for one in priced if one["quantity"] > 0]
        units = sum(one["quantity"] for one in more)
        mean = sum(one["quantity"] * one["price"] for one in more) / units if units else None
        assert price == (None if mean is None else pytest.approx(mean, abs=1e-6))


@given(differing, st.data())
def test_a_deal_stored_in_the_first_form_is_the_same_deal_line_by_line(lines: list[Json], data: st.DataObject) -> None:
    order = order_of(amended(2, *lines, of=1, start="2026-12-01"))
    stored = Order.from_json(json.loads(json.dumps(netted(order).to_json())))
    shuffled = data.draw(st.permutations(lines))
    again = order_of(amended(2, *shuffled, of=1, start="2026-12-01"))
    assert again.digest == order.digest
    assert same_deal(stored, again)
    more = order_of(amended(2, *shuffled, addon(quantity=1), of=1, start="2026-12-01"))
    assert not same_deal(stored, more)
    assert not same_deal(order, more)


@given(orderable(), st.data())
@settings(max_examples=60)
def test_names_and_the_order_of_lines_are_no_part_of_a_digest(lines: list[Json], data: st.DataObject) -> None:
    named = []
    for line in data.draw(st.permutations(lines)):
        name = data.draw(st.sampled_from([None, contract(1), contract(2)]))
        record = data.draw(st.sampled_from([None, RECORD]))
        named.append({**line, "contractId": name, "subscriptionRecord": record})
    plain, told = order_of(a_deal(*lines)), order_of(a_deal(*named, changes={"contractId": contract(3)}))
    assert told.digest == plain.digest
    assert same_deal(plain, told)
    assert with_names(plain, told).digest == plain.digest
    # Said once, they stay said, whichever comes later.
    assert with_names(with_names(plain, told), plain).names == with_names(told, plain).names >= told.names


def test_what_a_later_version_stored_is_read_and_what_an_earlier_one_left_out() -> None:
    order = order_of(
        amended(2, addon(quantity=5, price=10, amends=RECORD, contractId=contract(1)), of=[RECORD, contract(1)])
    )
    stored = json.loads(json.dumps(order.to_json()))
    assert Order.from_json(stored) == order
    later = {**stored, "form": 2, "owner": "sales", "problems": [[1, "price", "is odd", "price_conflict", {}]]}
    later["items"] = [{**stored["items"][0], "kind": "Charge", "tier": 7}]
    read = Order.from_json(later)
    assert (read.form, read.problems, read.items[0].kind) == (
        2,
        (Problem(1, "price", "is odd", "price_conflict"),),
        "Charge",
    )
    assert read.digest == Order.from_json(later).digest != order.digest
    few = {name: stored[name] for name in ("opportunity_id", "opportunity_name", "account_id", "account_name")}
    few |= {
        "trigger": "amendment",
        "currency": "usd",
        "items": [{"kind": "Plan", "stigg_id": "plan-team", "quantity": 1}],
    }
    read = Order.from_json(few)
    assert (read.form, read.amends, read.items[0].lines, read.items[0].renews) == (0, (), (), ())


def test_what_is_empty_is_not_stored() -> None:
    [item] = order_of(amended(2, addon(quantity=5), of=1)).to_json()["items"]
    assert not {"contract_id", "record", "renews", "amends", "ends"} & item.keys()
    assert {"price", "value", "prior", "start"} <= item.keys()  # as they ever were, or every digest would be another
