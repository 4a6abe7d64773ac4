"""The oracle of the proofs against the stories, and against the product's contract model: two readings of one model."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from closedwon.domain.instants import Instant, from_iso, instant_of
from proof import oracle
from proof.market import make, policies_of
from proof.shop import LATEST
from unit.agreements import BEFORE, PARAMETERS, STORIES, Json, life_of, story
from unit.agreements import differences as not_as_expected
from unit.domain import ORGANIZATION
from unit.second_opinion import Both

CUSTOMERS = {"prove": 2000, "short": 200}.get(os.environ.get("HYPOTHESIS_PROFILE", ""), 65)
"""How many are played. In any 65 is each kind of contract."""

FIRST = int(os.environ.get("FIRST_HISTORY", "0"))

BEGAN = datetime(2026, 11, 20, 9, 16, tzinfo=UTC)


def both_of(content: Json, now: Instant = BEFORE) -> Both:
    given = {PARAMETERS[name]: value for name, value in content["parameters"].items() if name in PARAMETERS}
    names = {"end_of_term": "end_of_term", "grace_days": "grace_days", "reopened_deal": "reopened"}
    rules: dict[str, Any] = {names[name]: value for name, value in given.items()}
    return Both(replace(life_of(content), now=now), oracle.Rules(zone=content["timeZone"], **rules))


OF_THE_CATALOGUE = ("c09", "c10", "c11", "c12", "c13", "c14")
"""Stories of what Stigg's catalogue does not sell: the oracle knows its plans, and none of its rules."""


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(STORIES.glob("*.json")) if not path.stem.startswith(OF_THE_CATALOGUE)],
    ids=lambda path: path.stem,
)
def test_oracle_and_product_agree_on_every_story_at_every_event(path: Path) -> None:
    both, wrong = both_of(story(path)), []
    for event in story(path)["events"]:
        both.wait(from_iso(event["at"]))
        if "deals" in event:
            both.send(*event["deals"])
        elif "approve" in event:
            both.approve(event["approve"])
        wrong += [f"{event['at']}: {one}" for one in both.disagreements()]
        if "expect" in event:
            expect = {name: value for name, value in event["expect"].items() if name != "credits"}
            for deal in expect.get("deals", {}).values():
                deal.pop("code", None)
            wrong += [f"{event['at']}, the oracle: {one}" for one in not_as_expected(looked(both), expect)]
    assert wrong == []


def looked(both: Both) -> Json:
    """What the oracle says now, as a look of a story."""
    found = both.look()
    shown = [
        {
            "productId": slot.product,
            "planId": stands.plan,
            "resourceId": slot.resource,
            "trial": slot.trial,
            "units": stands.units,
            "addons": stands.addons,
            "entitlements": {name: True if n == "granted" else n for name, n in stands.limits.items()},
            "charges": stands.charges,
            "prices": {name or "plan": price for name, price in stands.prices.items()},
            "startDate": stands.since.isoformat(),
        }
        for slot, stands in found.subscriptions.items()
        if stands.starts is None
    ]
    return {"subscriptions": shown, "deals": {id: {"status": status} for id, status in found.statuses.items()}}


# What the campaign's market sells


def play(seed: int) -> list[str]:
    """Play a made-up customer, wave by wave, with policies, order and batches by its seed.

    Out: where oracle and product disagree, after each wave, when the instants of the play have come, and later.
    """
    customer, rng = make(seed, BEGAN, ORGANIZATION), Random(seed)
    both, wrong = both_of({"parameters": policies_of(1 + seed), "timeZone": "UTC"}, instant_of(BEGAN)), list[str]()
    for wave in range(3):
        saves = [save.deal for save in customer.saves if save.wave == wave]
        match rng.choice(range(3)):
            case 0:
                for deal in saves:
                    both.send(deal)
            case 1:
                both.send(*saves)
            case 2:
                for deal in rng.sample(saves * 2, 2 * len(saves)):
                    both.send(deal)
        wrong += [f"wave {wave}: {one}" for one in both.disagreements()]
    for id in sorted(customer.approves):
        both.approve(id)
    for days in (0, 50, 130, 240, 345, 720):
        both.wait(instant_of(BEGAN + timedelta(days=days, seconds=LATEST)))
        wrong += [f"{days} days later: {one}" for one in both.disagreements()]
    return [*wrong, str(both.rules), *customer.told()] if wrong else []


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(FIRST, FIRST + CUSTOMERS))
def test_oracle_and_product_agree_on_what_the_market_sells(seed: int) -> None:
    assert play(seed) == []
