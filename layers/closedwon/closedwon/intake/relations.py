"""What a deal and its lines say they amend, renew or end: who may say what, and how it is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from closedwon.domain.identifiers import ContractId, OpportunityId
from closedwon.domain.order import Problem
from closedwon.intake.deal import Deal, Line

ON_LINES = {"amendment": "amends", "renewal": "renews", "cancellation": "ends"}
"""By trigger, the field in which its lines say what they refer to, which is also what such a deal does. A closed_won
deal and a trial refer to nothing.
"""


def amended(deal: Deal) -> tuple[OpportunityId | ContractId, ...]:
    """What a deal as a whole refers to, the same in whatever order it was said. A cancellation may name its own
    opportunity, which is what it cancels without a name.
    """
    others = sorted(set(deal.amends) - {deal.opportunity.id})
    return tuple(OpportunityId(id) if id.startswith("006") else ContractId(id) for id in others)


def ends_itself(deal: Deal) -> bool:
    """Whether a cancellation is about its own opportunity and no other."""
    named = {reference.partition("/")[0] for line in deal.lines or () for reference in line.ends}
    return named | set(deal.amends) <= {deal.opportunity.id}


def relation_problems(deal: Deal, lines: Iterable[tuple[Line, int]]) -> Iterator[Problem]:
    """What is wrong with the references of a deal. In: the deal; its lines that count, each with its number."""
    lines = list(lines)
    trigger, own = deal.trigger, deal.opportunity.id
    does = ON_LINES.get(trigger)
    if does is None and deal.amends:
        yield Problem(None, "amends", f"a {trigger} deal amends nothing: leave it out, or send what it is")
    elif does in ("amends", "renews"):
        if own in deal.amends:
            yield Problem(None, "amends", f"is this opportunity itself: say the one this deal {does}")
        elif not deal.amends:
            yield from _nothing_named(lines, does)
    for line, number in lines:
        yield from _misplaced(line, number, does)
        if does in ("amends", "renews") and any(one.partition("/")[0] == own for one in getattr(line, does)):
            yield Problem(number, does, f"names this opportunity itself: say the one this line {does}")


def _misplaced(line: Line, number: int, does: str | None) -> Iterator[Problem]:
    """References in fields that lines of another kind of deal have."""
    for other, field in ON_LINES.items():
        if getattr(line, field) and field != does:
            article = "an" if other == "amendment" else "a"
            yield Problem(number, field, f"belongs on the lines of {article} {other}, and this deal is none")


def _nothing_named(lines: list[tuple[Line, int]], does: str) -> Iterator[Problem]:
    """Where the deal names nothing, all of its lines have to."""
    silent = [number for line, number in lines if not getattr(line, does)]
    if not lines or len(silent) == len(lines):
        yield Problem(None, "amends", f"is missing: say the contract or base opportunity this deal {does}")
        return
    for number in silent:
        yield Problem(number, does, f"is missing: say what this line {does}, or on the deal what all of it does")
