"""Instants and ends: one conversion each way; what is stored, hashed and compared stays as when both were texts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.domain.desired import Desired, Entitlement, Policy, Price, Slot, Subscription
from closedwon.domain.instants import (
    BEGINNING,
    NO_DAY,
    At,
    EndOfBillingPeriod,
    Never,
    ending,
    from_iso,
    from_milliseconds,
    instant_of,
    iso_of,
    iso_utc,
    milliseconds,
    starting,
    until_from_json,
    until_to_json,
)
from closedwon.domain.order import Order
from unit.domain import (
    AT,
    CREDITS,
    PLATFORM,
    SEATS,
    WORKSPACE,
    Json,
    Standing,
    a_line,
    addon,
    amended,
    cancelled,
    entitlement,
    folded,
    on_trial,
    opportunity_id,
    order_of,
    plan,
    renewed,
    won,
)

times = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.timezones())  # noqa: DTZ001 - given zones
instants = times.map(instant_of)


@given(times)
def test_a_time_is_cut_to_the_millisecond_and_told_in_utc(moment: datetime) -> None:
    at = instant_of(moment)
    assert timedelta() <= moment - at < timedelta(milliseconds=1)
    assert iso_utc(at) == iso_utc(moment) == iso_of(milliseconds(at))
    assert from_iso(iso_utc(moment)) == from_iso(at.isoformat()) == from_milliseconds(milliseconds(at)) == at


@given(st.lists(instants, min_size=2, max_size=5))
def test_instants_are_in_the_order_of_time_and_so_are_their_texts(several: list[Any]) -> None:
    assert [iso_utc(at) for at in sorted(several)] == sorted(iso_utc(at) for at in several)
    assert sorted([NO_DAY, BEGINNING, *map(starting, several)]) == [
        BEGINNING,
        *map(starting, sorted(several)),
        NO_DAY,
    ]


def test_what_never_started_always_was_and_what_has_no_end_never_ends() -> None:
    assert (starting(None), ending(None)) == (BEGINNING, NO_DAY)
    far = from_iso("9999-12-31T00:00:00Z")  # its text is larger than "9", which once stood for no end
    assert BEGINNING < starting(far) == ending(far) < NO_DAY


@pytest.mark.parametrize("text", ["END_OF_BILLING_PERIOD", "2026-12-01", "2026-12-01T00:00:00", "9", ""])
def test_a_word_or_a_time_without_a_zone_is_no_instant(text: str) -> None:
    with pytest.raises(ValueError):
        from_iso(text)


@pytest.mark.parametrize(
    ("until", "stored"),
    [
        (Never(), None),
        (EndOfBillingPeriod(), "END_OF_BILLING_PERIOD"),
        (At(instant_of(datetime(2027, 12, 1, tzinfo=UTC))), "2027-12-01T00:00:00.000Z"),
    ],
)
def test_an_end_is_stored_as_ever(until: Any, stored: str | None) -> None:
    assert until_to_json(until) == stored
    assert until_from_json(stored) == until


WHOLE = (
    plan(price=48000),
    addon(quantity=5, price=1200),
    entitlement(),
    a_line("Credit grant", CREDITS, 500, price=0.01),
)
ORDERS: dict[str, Json] = {
    "won": won(1, *WHOLE, coupon="coupon-launch", minimumSpend=100),
    "ramp": won(
        2,
        plan(price=100, end="2027-05-31"),
        plan(price=200, start="2027-06-01"),
        addon(WORKSPACE, 3, start="2027-03-01T10:30:00.123+02:00", end="2027-04-30"),
        start="2026-12-01",
        end=None,
    ),
    "trial": on_trial(3, plan("plan-analytics"), trialEnd="2026-12-15", trialEndBehavior="CONVERT_TO_PAID"),
    "amendment": amended(4, addon(quantity=2), of=1, start="2027-02-01"),
    "renewal": renewed(5, plan(), entitlement(quantity=10), of=1, start="2027-12-01", end="2028-11-30"),
    "cancellation": cancelled(6, of=5, end="2028-03-31"),
    "at the end of the term": cancelled(2, cancel="end_of_term", saved="2027-01-05T08:00:00.5Z"),
}
DIGESTS = {
    "won": "566370ce657ee3dc 01c435cbec430afe",
    "ramp": "3f6789a02b4acaad bc62080e0cc64800",
    "trial": "c5316defcce58446 82ccb323a79a6020",
    "amendment": "b55c64cadfe42781 a9ee1fd3774e1c37",
    "renewal": "7ddb46f8248b8e76 5bd30f5e8edd8958",
    "cancellation": "e891bd881fcbb7fa c668580e725c2441",
    "at the end of the term": "cc27b76f79a3dfcd 96ac1f1370c77eab",
}
"""By order: its digest, and a hash of what is stored of it, at commit fc354fb, where an instant was a text."""


def sha(data: Any) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]


def pinned(order: Order) -> str:
    return f"{order.digest[:16]} {sha(order.to_json())}"


def life() -> dict[str, Desired]:
    """By day, what a customer should have: the orders of `ORDERS` as one customer's, provisioned."""
    orders = {name: order_of(deal) for name, deal in ORDERS.items()}
    last = orders.pop("at the end of the term")
    standings = [Standing(order, order) for order in orders.values() if order.opportunity_id != last.opportunity_id]
    standings.append(Standing(last, orders["ramp"], orders["ramp"]))
    return {
        day: folded(*standings, policy=Policy("grace", time_zone="Europe/Berlin"), at=at)
        for day, at in {"2026-11": AT, "2027-03": AT + 120 * 86_400_000, "2028-06": AT + 580 * 86_400_000}.items()
    }


LIFE = {
    "2026-11 |product-analytics|": ["1-a762e47aa4bf3e4b69b219f6d5c0dcd7", "106087f16dc989a5", None, None],
    "2026-11 product-platform|": [
        "1-17405b6809a9d854f71dc78ea53f9390",
        "d86c991acc3f2a9e",
        "2026-12-01T00:00:00.000Z",
        None,
    ],
    "2026-11": [1796083200000, ["0065g0000000002AAA"]],
    "2027-03 product-analytics|": [
        "1-a762e47aa4bf3e4b69b219f6d5c0dcd7",
        "a9acfad32becd93b",
        "2026-12-16T00:01:00.000Z",
        None,
    ],
    "2027-03 product-platform|": [
        "1-17405b6809a9d854f71dc78ea53f9390",
        "1e54a641a69499c1",
        "2026-12-01T00:00:00.000Z",
        None,
    ],
    "2027-03 currency-ai-credits": ["fbd3d1a2b1dcd243965fd6b8b2996088"],
    "2027-03": [1809129600000, ["0065g0000000002AAA"]],
    "2028-06 product-analytics|": [
        "1-a762e47aa4bf3e4b69b219f6d5c0dcd7",
        "a9acfad32becd93b",
        "2026-12-16T00:01:00.000Z",
        None,
    ],
    "2028-06 product-platform|": [
        "1-e0004cc345e3e41d825b81af7a610af9",
        "f63f730d36dc4c62",
        "2027-06-01T00:00:00.000Z",
        None,
    ],
    "2028-06": [1859241600000, ["0065g0000000002AAA"]],
}
"""By day and slot: the fingerprint, a hash of what is stored, start and end; by day and currency, a grant's key; by
day, when something changes next and who is held. Fingerprints, keys and days are those of commit fc354fb. The rest
differs where the contract model does: the ramp's contract adds to the other one of its slot; a subscription starts with
the lines that count; and the cancellation at the end of the term is held, because its last line has no term and, when
it was cancelled, no billing period.
"""

FIRST_STORED = {
    "78cdd2d77d11ea2d": Subscription(
        slot=Slot(PLATFORM, None),
        plan_id="plan-enterprise",
        unit_quantity=1,
        addons=((WORKSPACE, 5),),
        entitlements=(Entitlement("FEATURE", SEATS, 250),),
        prices=(Price(None, 48000.0, "usd"), Price(WORKSPACE, 1200.0, "usd")),
        billing_period="ANNUALLY",
        payment_collection="INVOICE",
        start=from_iso("2026-12-01T00:00:00.000Z"),
        cancellation=Never(),
        opportunities=(opportunity_id(1),),
        coupon="coupon-launch",
        minimum_spend=Price(None, 100.0, "usd"),
    ),
    "c3936528d8403174": Subscription(
        slot=Slot(PLATFORM, None),
        plan_id="plan-enterprise",
        unit_quantity=1,
        addons=(),
        entitlements=(),
        prices=(Price(None, 200.0, "usd"),),
        billing_period="ANNUALLY",
        payment_collection="INVOICE",
        start=from_iso("2026-12-01T00:00:00.000Z"),
        cancellation=EndOfBillingPeriod(),
        opportunities=(opportunity_id(2),),
        milestones=(
            f"{opportunity_id(2)}@2027-03-01T08:30:00.123Z",
            f"{opportunity_id(2)}@2027-05-01T00:00:00.000Z",
            f"{opportunity_id(2)}@2027-06-01T00:00:00.000Z",
            opportunity_id(5),
            opportunity_id(6),
        ),
    ),
}
"""Subscriptions by a hash of what was stored of them at commit fc354fb."""


@pytest.mark.parametrize("name", ORDERS)
def test_an_orders_digest_and_what_is_stored_of_it_stay(name: str) -> None:
    order = order_of(ORDERS[name])
    as_then = replace(order, form=0)
    assert pinned(as_then) == DIGESTS[name]
    assert pinned(Order.from_json(json.loads(json.dumps(as_then.to_json())))) == DIGESTS[name]
    # What is compiled now says besides that it is line by line, and is the same deal.
    assert order.to_json() == {**as_then.to_json(), "form": 1}
    assert order.digest == as_then.digest


@pytest.mark.parametrize("stored", FIRST_STORED)
def test_what_was_stored_of_a_subscription_is_read_and_written_as_it_was(stored: str) -> None:
    told = json.loads(json.dumps(FIRST_STORED[stored].to_json()))
    assert sha(told) == stored
    assert Subscription.from_json(told) == FIRST_STORED[stored]


def test_what_is_stored_of_a_subscription_its_fingerprint_and_the_keys_of_credits_stay() -> None:
    found = {}
    for day, desired in life().items():
        for slot, wanted in desired.subscriptions.items():
            stored = wanted.to_json()
            assert Subscription.from_json(json.loads(json.dumps(stored))) == wanted
            found[f"{day} {slot.key}"] = [wanted.fingerprint, sha(stored), stored["start"], stored["cancellation"]]
        found |= {f"{day} {grant.currency_id}": [grant.key] for grant in desired.grants}
        found[day] = [desired.next_change, sorted(desired.held)]
    assert found == LIFE
