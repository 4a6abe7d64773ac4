"""Compares the looks of a played story with what the story expects, by the rules of its format (tests/data/stories)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "data" / "stories"
STANDS = ("ACTIVE", "IN_TRIAL")
CLOSE = 1e-3
"""How much a price may differ: it is rounded somewhere."""

Slot = tuple[str | None, str, bool]


class TwoInOneSlot(Exception):
    """Two subscriptions of one product and resource stand at once."""


def disagreements(story: Json, looks: list[Json]) -> list[str]:
    """Where looks, one for each event, are not what the story expects."""
    wrong: list[str] = []
    for event, look in zip(story["events"], looks, strict=True):
        try:
            found = list(_disagreements(event, look))
        except TwoInOneSlot as error:
            found = [str(error)]
        wrong += [f"{event['at']}: {one}" for one in found]
    return wrong


def _disagreements(event: Json, look: Json) -> Iterator[str]:
    if "expect" in event:
        yield from _of_subscriptions(look, event["expect"])
        yield from _of_prices_and_dates(look, event["expect"])
        yield from _of_deals(look, event["expect"])
    elif "preview" in event:
        said = " ".join([*look["warnings"], *look["reasons"], *look["codes"]]).lower()
        if not any(text in said for text in event["warns"].lower().split("|")):
            yield f"the preview does not say {event['warns']!r}: {said}"
    elif "approve" in event and look.get("error"):
        yield f"cannot be approved: {look['error']}"


def standing(look: Json) -> dict[Slot, Json]:
    """What the customer may use, by slot. Raises TwoInOneSlot."""
    found: dict[Slot, Json] = {}
    rooms = set()
    for one in look["subscriptions"]:
        if one["status"] not in STANDS:
            continue
        room = (one["resourceId"], one["productId"], one["trial"])
        if room in rooms:
            raise TwoInOneSlot(f"two subscriptions stand in {room}")
        rooms.add(room)
        found[_slot(one)] = one
    return found


def _slot(one: Json) -> Slot:
    return (one.get("resourceId"), one["planId"], bool(one.get("trial")))


def _of_product(look: Json, wanted: Json) -> list[Json]:
    return [
        one
        for one in standing(look).values()
        if wanted.get("product") in (None, one["productId"])
        and wanted.get("planId") in (None, one["planId"])
        and wanted.get("resourceId") in (None, one["resourceId"])
    ]


def _of_subscriptions(look: Json, expect: Json) -> Iterator[str]:
    if "subscriptions" in expect:
        seen, wanted = standing(look), {_slot(one): one for one in expect["subscriptions"]}
        if seen.keys() != wanted.keys():
            yield f"stands: expected {sorted(map(str, wanted))}, seen {sorted(map(str, seen))}"
        for slot in seen.keys() & wanted.keys():
            for name in {"units", "addons", "entitlements", "charges"} & wanted[slot].keys():
                have = seen[slot][name]
                if name == "entitlements":  # what is only on or off needs no number in a story
                    have = {id: limit for id, limit in have.items() if limit is not True}
                if have != wanted[slot][name]:
                    yield f"{slot[1]} {name}: expected {wanted[slot][name]}, seen {have}"
    for one in expect.get("subscriptionsInclude", ()):
        if not _of_product(look, one):
            yield f"nothing stands of {one}"


def _of_prices_and_dates(look: Json, expect: Json) -> Iterator[str]:
    for name, fits in (("prices", True), ("pricesNot", False)):
        for one in expect.get(name, ()):
            amounts = [subscription["prices"].get(one["of"]) for subscription in _of_product(look, one)]
            if any(amount is not None and abs(amount - one["amount"]) <= CLOSE for amount in amounts) != fits:
                yield f"price of {one['of']}: {'expected' if fits else 'must not be'} {one['amount']}, seen {amounts}"
    for one in expect.get("startDates", ()):
        dates = [subscription["startDate"][:10] for subscription in _of_product(look, one)]
        if one["date"] not in dates:
            yield f"start of {one.get('product') or one.get('planId')}: expected {one['date']}, seen {dates}"


def _of_deals(look: Json, expect: Json) -> Iterator[str]:
    for id, one in expect.get("deals", {}).items():
        said = look["deals"].get(id, {})
        if "code" in one and said.get("code") not in one["code"].split("|"):
            yield f"deal {id}: expected the code {one['code']}, seen {said.get('code')}"
        if "status" in one and said.get("status") not in one["status"].split("|"):
            yield f"deal {id}: expected {one['status']}, seen {said.get('status')}: {said.get('reason')}"
        if "reasonLacks" in one and one["reasonLacks"] in str(said.get("reason")):
            yield f"deal {id}: says {said['reason']}"
    if "credits" in expect:
        amounts = sorted(grant["amount"] for grant in look["credits"])
        if amounts != sorted(expect["credits"]):
            yield f"credits: expected {expect['credits']}, seen {amounts}"


CONTESTED = (
    "27-the-bases-price-is-corrected-after-a",  # nothing of the base had been settled: then its amendment makes way
    "x10-unwon-upsell-others-were-quoted-on",  # what was never provisioned is merely not sold
)
"""Stories whose deals contradict each other, so that it matters what had begun."""


def shuffled(story: Json, seed: int, together: bool) -> Json:
    """A story in which all deals between two other events arrive with the last of them, in another order.

    together: at once; else one by one, each provisioned before the next.
    """
    order = random.Random(seed)
    events: list[Json] = []
    waiting: list[Json] = []
    arrives = ""
    for event in [*story["events"], {}]:
        if "deals" in event:
            waiting += event["deals"]
            arrives = event["at"]
            continue
        order.shuffle(waiting)
        parts = [waiting] if together else [[deal] for deal in waiting]
        events += [{"at": arrives, "deals": part} for part in parts if part]
        waiting = []
        events += [event] if event else []
    return {**story, "events": events}
