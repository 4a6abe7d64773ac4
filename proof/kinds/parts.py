"""What kinds of contracts are made of: lines, days, and deals of each trigger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proof.shop import PAID, SEATS, WORKSPACE, Json, Shop, line

Kind = Callable[[Shop, str], None]

KINDS: dict[str, Kind] = {}
"""By name, what sells one. In: the shop, a resource."""

ENTERPRISE, PLUS, ANALYTICS, TEAM = "plan-enterprise", "plan-enterprise-plus", "plan-analytics", "plan-team"
PER_SEAT, GROWTH, PILOT = "plan-per-seat", "plan-growth", "plan-pilot"
DASHBOARDS = "feature-dashboards"


def kind(sells: Kind) -> Kind:
    """Name a kind after the function that sells it."""
    KINDS[sells.__name__.replace("_", " ")] = sells
    return sells


def seats(count: int, **more: Any) -> Json:
    return line("Entitlement", SEATS, count, **more)


def workspaces(count: int, price: float | None = None, **more: Any) -> Json:
    return line("Add-on", WORKSPACE, count, price=price, **more)


def plan(id: str = ENTERPRISE, count: int = 1, price: float | None = None, **more: Any) -> Json:
    return line("Plan", id, count, price=price, **more)


def some_day(m: Shop) -> str:
    """Behind, within the play, or ahead: in any case after a base's start."""
    return m.rng.choice([m.day(-m.rng.randint(10, 40)), m.soon(), m.day(m.rng.randint(60, 200))])


def two_days(m: Shop) -> list[str]:
    """Two of them, in order."""
    found = {some_day(m) for _ in range(9)}
    return sorted(m.rng.sample(sorted(found), 2))


def base(m: Shop, room: str, *lines: Json, end: bool = True, **more: Any) -> Json:
    """A deal that began long ago."""
    terms = {**PAID, "start": m.day(-m.rng.randint(100, 250)), **({"end": m.day(330)} if end else {})}
    return m.sell("closed_won", list(lines), room, **{"terms": terms, **more})


def id_of(deal: Json) -> str:
    return str(deal["opportunity"]["id"])


def more_or_fewer(m: Shop, of: Json | str, *lines: Json, start: str, wave: int | None = None, **more: Any) -> Json:
    """An amendment that says differences."""
    by = of if isinstance(of, str) else id_of(of)
    wave = m.rng.choice([0, 1]) if wave is None else wave
    return m.sell(
        "amendment", list(lines), amends=by, terms={"start": start}, quantities="differences", wave=wave, **more
    )


def renewal(m: Shop, room: str, of: Any, *lines: Json, start: str | None, wave: int | None = None, **more: Any) -> Json:
    """Where what it renews may arrive after it, it says its resource: else it would begin in no resource, and move."""
    wave = m.rng.choice([0, 1]) if wave is None else wave
    terms = {**PAID, "end": m.day(700), **({"start": start} if start else {})}
    resource = room if wave == 0 or m.maybe(0.5) else None
    return m.sell("renewal", list(lines), resource, **{"amends": of, "terms": terms, "wave": wave, **more})


def cancellation(m: Shop, of: str, *lines: Json, wave: int | None = None, **terms: Any) -> Json:
    wave = m.rng.choice([0, 1]) if wave is None else wave
    return m.sell("cancellation", list(lines), amends=of, terms=terms, wave=wave)


def is_won_no_more(m: Shop, deal: Json, wave: int = 2) -> None:
    def change(revision: Json) -> None:
        revision.update(trigger="cancellation", lines=[], terms={})
        revision.pop("amends", None)
        revision.pop("quantities", None)

    m.revise(deal, wave, change)


def ends_itself(m: Shop, deal: Json, wave: int, **terms: Any) -> None:
    """A cancellation by its own opportunity."""

    def change(revision: Json) -> None:
        revision.update(trigger="cancellation", lines=[], terms=terms)
        revision.pop("amends", None)
        revision.pop("quantities", None)

    m.revise(deal, wave, change)


def maybe_approved(m: Shop, deal: Json) -> None:
    if m.maybe(0.5):
        m.customer.approves.add(id_of(deal))
