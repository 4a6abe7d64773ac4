"""What a billing period charges: line by line, by deal, and in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from closedwon.domain.contract.agreement import Agreement, Interval
from closedwon.domain.contract.charges import Charge
from closedwon.domain.instants import from_iso, starting
from closedwon.preview.charging import charged, compared
from closedwon.words.changes import Calendar
from closedwon.words.charges import comparison, lines_of, names_in, sum_of, until
from ops import preview
from unit.agreements import STORIES, Life, life_of, story
from unit.domain import (
    SEATS,
    SUPPORT,
    WORKSPACE,
    Json,
    addon,
    amended,
    cancelled,
    entitlement,
    opportunity_id,
    plan,
    renewed,
    won,
)
from unit.test_contract_rules import HERE, NEXT, YEAR, life

DAYS = Calendar(ZoneInfo("UTC"))


def charge(one: Life, day: str) -> Charge:
    found = one.agreement().charge(HERE, starting(from_iso(f"{day}T12:00:00Z")))
    assert found is not None
    return found


def told(one: Life, day: str) -> list[str]:
    """The lines of a day's charge, in words."""
    return lines_of(charge(one, day), names_in(one.agreement()))


def send(one: Life, *deals: Json) -> None:
    """Send deals that are called by their numbers: #1, #2."""
    names = {opportunity_id(number): f"#{number}" for number in range(1, 5)}
    for deal in deals:
        one.send({**deal, "opportunity": {**deal["opportunity"], "name": names[deal["opportunity"]["id"]]}})


def charges(agreement: Agreement) -> Iterator[tuple[Interval, Charge | None]]:
    for slot in agreement.slots:
        for interval in agreement.intervals(slot):
            yield interval, agreement.charge(slot, interval.start)


@pytest.mark.parametrize("file", sorted(STORIES.glob("*.json")), ids=lambda file: file.stem)
def test_each_charge_is_the_sum_of_its_lines_and_each_line_that_of_its_deals(file: Path) -> None:
    content = story(file)
    one = life_of(content)
    looked = 0
    for event in content["events"]:
        one.wait(from_iso(event["at"]))
        if "deals" not in event:
            continue
        one.send(*event["deals"])
        for interval, found in charges(one.agreement()):
            assert (found is not None) == interval.stands
            if found is None:
                continue
            looked += 1
            assert (found.start, found.end) == (interval.start, interval.end)
            if not found.listed:
                assert found.amount == interval.charge == sum(line.amount or 0 for line in found.lines)
            for line in found.lines:
                if line.kind != "Plan" and line.quantity is not None:
                    assert sum(share.quantity for share in line.shares) == line.quantity
                if line.amount is not None:
                    assert sum(share.amount or 0 for share in line.shares) == line.amount
    assert looked


def test_a_line_says_how_much_of_it_is_whose() -> None:
    one = life()
    send(one, won(1, plan(price=1000), entitlement(SEATS, 100), addon(WORKSPACE, 5, price=100), **YEAR))
    send(one, amended(2, entitlement(SEATS, 5), addon(WORKSPACE, 2, price=130), of=1, start="2027-03-01"))
    assert told(one, "2027-04-01") == [
        "plan-enterprise: 1,000.00 USD of the base #1",
        "7 x addon-extra-workspace: 760.00 USD = 500.00 of the base #1 + 260.00 of the amendment #2",
        "feature-seats: 105 = 100 of the base #1 + 5 of the amendment #2",
    ]
    assert sum_of(charge(one, "2027-04-01")) == "1,760.00 USD"


def test_what_a_deal_takes_and_gives_anew_is_one_share() -> None:
    one = life()
    send(one, won(1, plan(), addon(WORKSPACE, 5, price=100), **YEAR))
    send(one, amended(2, addon(WORKSPACE, -5, price=100), addon(WORKSPACE, 5, price=90), of=1, start="2027-03-01"))
    assert told(one, "2027-04-01")[1] == (
        "5 x addon-extra-workspace: 450.00 USD = 500.00 of the base #1 - 50.00 of the amendment #2"
    )


def test_what_is_the_catalogues_is_said() -> None:
    one = life()
    send(one, won(1, plan(), addon(WORKSPACE, 5, price=100), **YEAR))
    send(one, amended(2, addon(SUPPORT, 1), of=1, start="2027-03-01"))
    assert told(one, "2027-04-01") == [
        "plan-enterprise: the catalogue's price, of the base #1",
        "5 x addon-extra-workspace: 500.00 USD of the base #1",
        "1 x addon-premium-support: the catalogue's price, of the amendment #2",
    ]
    assert sum_of(charge(one, "2027-04-01")) == (
        "500.00 USD and the catalogue's price of plan-enterprise and addon-premium-support"
    )
    found = charged(charge(one, "2027-04-01"))
    assert (found.amount, found.agreed, found.catalogue) == (None, 500, ["plan-enterprise", "addon-premium-support"])


@pytest.mark.parametrize(
    ("deal", "said"),
    [
        (renewed(2, plan(price=900), of=1, **NEXT), "until the renewal #2 on 2028-01-01"),
        (cancelled(2, of=1, end="2027-05-31"), "until the cancellation #2 on 2027-06-01"),
        (amended(2, entitlement(SEATS, 5), of=1, start="2027-03-01"), "until the amendment #2 on 2027-03-01"),
        (None, "until its term is over on 2028-01-01"),
    ],
)
def test_it_is_said_until_when(deal: Json | None, said: str) -> None:
    one = life(end_of_term="end")
    send(one, won(1, plan(price=1000), **YEAR))
    if deal is not None:
        send(one, deal)
    assert until(charge(one, "2027-01-02"), names_in(one.agreement()), DAYS) == said


def test_what_goes_on_has_no_until() -> None:
    one = life()
    send(one, won(1, plan(price=1000), **YEAR))
    assert until(charge(one, "2027-01-02"), names_in(one.agreement()), DAYS) == ""


def test_two_charges_are_compared_in_a_sentence() -> None:
    one, other = life(), life()
    send(one, won(1, plan(price=1000), **YEAR))
    send(other, won(1, plan(price=900), **YEAR))
    day = "2027-01-02"
    before, after = charge(one, day), charge(other, day)
    period = comparison(None, after).removeprefix("900.00 USD ")
    assert period in ("a month", "a year")
    assert comparison(before, after) == f"900.00 USD {period} instead of 1,000.00 USD"
    assert comparison(before, before) == f"1,000.00 USD {period}, as before"
    assert comparison(before, None) == f"nothing instead of 1,000.00 USD {period}"


def test_the_command_says_in_80_columns_what_a_period_charges(capsys: pytest.CaptureFixture[str]) -> None:
    one = life()
    send(one, won(1, plan(price=1000), addon(WORKSPACE, 5, price=100), **YEAR))
    before = one.agreement()
    send(one, amended(2, addon(WORKSPACE, 2, price=130), of=1, start="2027-03-01"))
    day = from_iso("2027-03-01T00:00:00Z")
    told = compared(before, one.agreement(), [day], frozenset({opportunity_id(2)}), DAYS)
    charges = [found.model_dump(by_alias=True) for found in told]
    preview.tell({"opportunityId": opportunity_id(2), "status": "ok", "charges": charges})
    assert capsys.readouterr().out.splitlines()[1:] == [
        "",
        "What one billing period charges, as agreed:",
        "  - From 2027-03-01 on plan-enterprise charges 1,760.00 USD a year instead of",
        "    1,500.00 USD.",
        "      plan-enterprise: 1,000.00 USD of the base 0065g0000000001AAA",
        "      7 x addon-extra-workspace: 760.00 USD = 500.00 of the base",
        "        0065g0000000001AAA + 260.00 of the amendment 0065g0000000002AAA",
    ]
