"""What one opportunity says, by all its readings: the newest counts (the model's section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from proof.oracle.words import KNOWN, Deal, as_list, id_of, instant, stamp


class Fact(NamedTuple):
    """What an opportunity contributes.

    deal: what it sells or cancels; None: nothing. trial: what it was tried as before, until the sale starts. own_end:
    from when its own lines end (or those listed); with_term: they end as they were sold, or with the billing period.
    since: when a cancellation first said what it says. unwon: won once, and not any more.
    """

    id: str
    deal: Deal | None = None
    trial: Deal | None = None
    own_end: datetime | None = None
    with_term: bool = False
    ending: tuple[Any, ...] = ()
    since: datetime | None = None
    unwon: bool = False


def fact_of(readings: Sequence[Deal], zone: str) -> Fact:
    """In: at least one reading, oldest first."""
    newest, id = readings[-1], id_of(readings[-1])
    before = readings[:-1]
    if newest["trigger"] != "cancellation":
        return Fact(id, newest, _trial(before) if newest["trigger"] != "trial" else None)
    if names_another(newest):
        return Fact(id, newest, since=_since(readings))
    sells = next((n for n in reversed(range(len(readings))) if _sells(readings[n])), None)
    if sells is None:
        return Fact(id)
    sold = readings[sells]
    trial = _trial(readings[:sells]) if sold["trigger"] != "trial" else None
    since = _since(readings[sells + 1 :])
    how = how_it_ends(newest)
    if how == "nothing":
        return Fact(id, sold, own_end=since) if sold["trigger"] == "trial" else Fact(id, trial, unwon=True)
    if sold["trigger"] == "cancellation":  # it has no lines of its own
        return Fact(id, sold, since=_since(readings[: sells + 1]))
    day = instant(newest["terms"].get("end"), last_day=True, zone=zone)
    return Fact(
        id,
        sold,
        trial,
        own_end=day or (since if how == "now" else None),
        with_term=how == "end_of_term",
        ending=tuple(newest["lines"]),
        since=since,
    )


def names_another(deal: Deal) -> bool:
    """Whether a cancellation names what it ends; one that names nothing ends its own opportunity."""
    return bool(references(deal) - {id_of(deal)})


def references(deal: Deal) -> set[str]:
    """What a deal refers to, on itself or on its lines: records, contracts, opportunities."""
    said = as_list(deal.get("amends"))
    for each in deal["lines"]:
        for word in ("renews", "amends", "ends"):
            said += as_list(each.get(word))
    return {reference.partition("/")[0] for reference in said}


def how_it_ends(deal: Deal) -> str:
    terms = deal["terms"]
    if terms.get("end"):
        return "day"
    return str(terms.get("cancel") or ("now" if deal["lines"] else "nothing"))


def _sells(deal: Deal) -> bool:
    """Whether a reading sells, tries, or names what it cancels; one that is refused does nothing of it."""
    if any(each["stiggId"] not in KNOWN for each in deal["lines"]):
        return False
    return deal["trigger"] != "cancellation" or names_another(deal)


def _trial(readings: Sequence[Deal]) -> Deal | None:
    return next((each for each in reversed(readings) if each["trigger"] == "trial"), None)


def _since(readings: Sequence[Deal]) -> datetime:
    """Since when cancellations have said the same about when they take effect, up to the newest."""
    since, how = stamp(readings[-1]), how_it_ends(readings[-1])
    for each in reversed(readings):
        if each["trigger"] != "cancellation" or how_it_ends(each) != how:
            break
        since = stamp(each)
    return since
