"""What a deal must look like: each row is a deal, and exactly what its sender is told.

The messages are for the person in sales operations who reads them in Salesforce.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from closedwon.domain.identifiers import normalised_id
from closedwon.intake.deal import MOST_DEALS, MOST_LINES, Callout, Deal
from closedwon.intake.mapping import revision_of
from unit.domain import (
    ACCOUNT,
    MISSING,
    ORGANIZATION,
    a_deal,
    addon,
    answer,
    names,
    opportunity_id,
    order_of,
    plan,
)

NOT_AN_ID = "is not a Salesforce record ID (15 or 18 letters and digits)"
NO_FIRST = "begins with {}: an ID in Stigg begins with a letter or a digit"
NO_CUSTOMERS = "has {} in it: an ID in Stigg has letters, digits and _ | . @ -"
NO_ENTITYS = "has {} in it: an ID in Stigg has letters, digits and _ | . -"
NOT_A_TIME = "is not a time with its zone (2026-12-01T09:00:00Z)"
TRIGGERS = "must be one of 'closed_won', 'trial', 'amendment', 'renewal' or 'cancellation'"

REFUSED = [
    # A field of the deal, the value it gets, and the field and message that come back.
    ("organizationId", MISSING, "organizationId", "is missing"),
    (
        "organizationId",
        "0065g00000ABCdEAAX",
        "organizationId",
        "is not an organisation's ID (those start with 00D)",
    ),
    ("trigger", "closed_lost", "trigger", TRIGGERS),
    ("trigger", None, "trigger", TRIGGERS),
    ("opportunity.id", "0065g00000ABCdEA", "opportunity.id", NOT_AN_ID),
    ("opportunity.id", "", "opportunity.id", NOT_AN_ID),
    ("opportunity.id", "0065g00000ABC-E", "opportunity.id", NOT_AN_ID),
    ("opportunity.id", "0065g00000ÄBCdE", "opportunity.id", NOT_AN_ID),
    ("opportunity.id", 65, "opportunity.id", "must be a text"),
    ("opportunity.id", ACCOUNT, "opportunity.id", "is not an opportunity's ID (those start with 006)"),
    (
        "opportunity.id",
        "0065g00000ABCdEAAA",
        "opportunity.id",
        "is not a Salesforce record ID: its last three characters do not fit the rest",
    ),
    ("opportunity.name", "N" * 121, "opportunity.name", "is longer than 120 characters"),
    ("opportunity.systemModstamp", MISSING, "opportunity.systemModstamp", "is missing"),
    ("opportunity.systemModstamp", "yesterday", "opportunity.systemModstamp", NOT_A_TIME),
    ("opportunity.readAt", "2026-11-20T09:15:31", "opportunity.readAt", NOT_A_TIME),
    (
        "opportunity.currencyIsoCode",
        "dollars",
        "opportunity.currencyIsoCode",
        "is not a currency code of three letters",
    ),
    ("account", MISSING, "account", "is missing"),
    ("account", None, "account", "must be an object"),
    ("account.id", "0065g00000ABCdEAAX", "account.id", "is not an account's ID (those start with 001)"),
    ("account.name", "   ", "account.name", "is empty"),
    ("account.name", "N" * 256, "account.name", "is longer than 255 characters"),
    ("account.name", "half a pair \ud800", "account.name", "must be a text"),
    ("account.email", "billing at northwind", "account.email", "is not an e-mail address"),
    ("account.stiggCustomerId", "north wind", "account.stiggCustomerId", NO_CUSTOMERS.format("a space")),
    ("account.ownerId", "0055g00000ABCdE", "account.ownerId", "is not a field closed-won knows"),
    ("customerId", "", "customerId", "is empty"),
    ("customerId", ".", "customerId", NO_FIRST.format(".")),
    ("customerId", "-a", "customerId", NO_FIRST.format("-")),
    ("customerId", "a:b", "customerId", NO_CUSTOMERS.format(":")),
    ("customerId", "a\tb", "customerId", NO_CUSTOMERS.format("U+0009")),
    ("customerId", "c" * 256, "customerId", "is longer than 255 characters"),
    ("resourceId", "a/b", "resourceId", NO_ENTITYS.format("/")),
    ("resourceId", "me@acme", "resourceId", NO_ENTITYS.format("@")),
    ("terms.payingCustomerId", "größe", "terms.payingCustomerId", NO_CUSTOMERS.format("ö")),
    ("amends", "the last one", "amends", NOT_AN_ID),
    ("discount", 10, "discount", "is not a field closed-won knows"),
    ("terms.billingPeriod", "QUARTERLY", "terms.billingPeriod", "must be one of 'MONTHLY' or 'ANNUALLY'"),
    ("terms.start", 20261201, "terms.start", "must be a text"),
    ("lines", {}, "lines", "must be a list"),
    ("lines", [plan()] * (MOST_LINES + 1), "lines", "has more than 200 lines"),
]


@pytest.mark.parametrize(("path", "value", "field", "message"), REFUSED)
def test_a_fault_outside_the_lines_is_named_by_its_field(path: str, value: Any, field: str, message: str) -> None:
    assert answer(a_deal(changes={path: value})) == [(None, field, message)]


REFUSED_IN_A_LINE = [
    # A field of the second line, whose number is 20; the value it gets; and the message that comes back.
    ("quantity", True, "is not a number"),
    ("priorQuantity", True, "is not a number"),
    ("quantity", "many", "is not a number"),
    ("quantity", float("nan"), "is not a number"),
    ("quantity", float("inf"), "is not a number"),
    ("quantity", 10**400, "is too large a number"),
    ("price", -1, "must be 0 or more"),
    ("price", float("-inf"), "is not a number"),
    ("price", 10**400, "is too large a number"),
    ("stiggType", 5, "must be a text"),
    ("unlimited", "perhaps", "must be true or false"),
    ("resetPeriod", "CENTURY", "must be one of 'YEAR', 'MONTH', 'WEEK', 'DAY' or 'HOUR'"),
    ("productCode", "WS-1", "is not a field closed-won knows"),
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSED_IN_A_LINE)
def test_a_fault_in_a_line_is_named_by_the_lines_own_number(field: str, value: Any, message: str) -> None:
    assert answer(a_deal(plan(), addon(line=20, **{field: value}))) == [(20, field, message)]


def test_a_line_without_a_usable_number_is_counted_from_one() -> None:
    assert answer(a_deal(changes={"lines.1": addon(quantity="x")})) == [(2, "quantity", "is not a number")]
    assert answer(a_deal(changes={"lines.1": addon(quantity="x", line=None)})) == [(2, "quantity", "is not a number")]
    assert answer(a_deal(changes={"lines.1": "five workspaces"})) == [(2, "line", "must be an object")]
    assert answer(a_deal(changes={"lines.1.line": "second"})) == [(2, "line", "is not a number")]
    assert answer(a_deal(changes={"lines.1.line": 2**31})) == [(2**31, "line", "must be 2147483647 or less")]
    assert answer(a_deal(changes={"lines.1.line": 1.5})) == [(2, "line", "is not a whole number")]


def test_every_fault_is_named_at_once() -> None:
    deal = a_deal(changes={"account.name": "", "trigger": "won", "lines.0.price": "free", "lines.2.unlimited": 7})
    assert [(problem.line, problem.field) for problem in answer(deal)] == [
        (None, "trigger"),
        (None, "account.name"),
        (1, "price"),
        (3, "unlimited"),
    ]


@pytest.mark.parametrize("deal", ["a deal", None, 7, ["a deal"]])
def test_something_that_is_no_deal_at_all_is_called_so(deal: Any) -> None:
    assert answer(deal) == [(None, "deal", "must be an object")]


@pytest.mark.parametrize("many", [0, MOST_DEALS + 1])
def test_a_callout_has_between_one_and_200_deals(many: int) -> None:
    with pytest.raises(ValidationError):
        Callout.model_validate({"deals": [a_deal()] * many})


PERSONAL = "Erika Mustermann <erika.mustermann@firma.example>"


@given(
    path=st.sampled_from(sorted({row[0] for row in REFUSED})),
    line=st.sampled_from(sorted({r[0] for r in REFUSED_IN_A_LINE})),
)
@settings(max_examples=60)
def test_no_message_repeats_what_was_sent(path: str, line: str) -> None:
    deal = a_deal(changes={"account.name": PERSONAL * 9, "account.email": PERSONAL, path: PERSONAL})
    if deal.get("lines") not in (None, PERSONAL):
        deal["lines"][0][line] = PERSONAL
    said = str(answer(deal))
    assert "account" in said
    assert "Erika" not in said
    assert "erika" not in said


def test_ids_of_15_and_18_characters_are_the_same_record() -> None:
    long, short = a_deal(), a_deal()
    short["opportunity"]["id"] = opportunity_id(1)[:15]
    short["account"]["id"] = ACCOUNT[:15]
    short["organizationId"] = ORGANIZATION[:15]
    assert answer(short) == []
    assert order_of(short) == order_of(long)


@given(st.from_regex(r"[A-Za-z0-9]{15}", fullmatch=True))
def test_the_suffix_tells_ids_apart_that_differ_only_in_case(base: str) -> None:
    full = normalised_id(base)
    assert normalised_id(full) == full
    assert normalised_id(full[:15] + full[15:].lower()) == full
    capitals = [sum(1 << bit for bit in range(5) if base[start + bit].isupper()) for start in (0, 5, 10)]
    assert full[15:] == "".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[number] for number in capitals)
    flipped = base.swapcase()
    assert (flipped == base) == (normalised_id(flipped)[15:] == full[15:])


@given(name=names, account=names)
def test_names_in_any_script_come_through_as_they_are(name: str, account: str) -> None:
    order = order_of(a_deal(changes={"opportunity.name": name, "account.name": account}))
    assert (order.opportunity_name, order.account_name) == (name.strip(), account.strip())
    assert not order.problems


@given(hours=st.integers(-12, 14), minutes=st.sampled_from([0, 30, 45]))
@settings(max_examples=20)
def test_a_revision_does_not_depend_on_the_zone_its_times_are_told_in(hours: int, minutes: int) -> None:
    there = timezone(timedelta(hours=hours, minutes=minutes))
    moment = datetime(2026, 11, 20, 9, 15, 31, 7000, UTC)
    deal = Deal.model_validate(a_deal(changes={"opportunity.systemModstamp": moment.astimezone(there).isoformat()}))
    assert revision_of(deal) == (1795166131007, 1795166132118)


def test_the_document_for_callers_shows_how_ids_look() -> None:
    shown = json.dumps(Deal.model_json_schema(by_alias=True))
    assert '"minLength": 15' in shown
    assert "0065g00000ABCdEAAX" in shown
