"""Faults: what does not fit in a customer's contracts, as codes with facts. Pure.

A fault names nobody as guilty: it has tiers of deals that may make way (`standing` decides), and facts from which
`words` makes a sentence. Codes are those of the codes' list; here are the ones that the contract model finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from closedwon.domain.codes import Facts, Reason, approval_of
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import Moment

Code = Literal[
    "reference_circle",
    "no_base",
    "reference_unknown",
    "reference_ambiguous",
    "waits_for",
    "plan_ambiguous",
    "contract_over",
    "start_unknown",
    "end_unknown",
    "currency_conflict",
    "renews_unknown",
    "renewed_twice",
    "renewed_meanwhile",
    "nothing_to_end",
    "quantity_mismatch",
    "prior_mismatch",
    "below_zero",
    "not_charged_by_unit",
    "price_conflict",
    "price_unknown",
    "price_not_exact",
    "two_plans",
    "terms_conflict",
    "cannot_change",
    "no_plan",
    "not_compatible",
    "addon_dependency_missing",
    "units_not_priced",
    "units_said_twice",
    "unlimited_units",
    "not_whole_blocks",
    "too_few",
    "too_many",
    "included_credits_differ",
    "removal_guard",
    "reopened",
    "others_hang_on_it",
    "trial_missed",
    "currency_differs",
]
"""In the order of importance: of several faults that hold a deal, the first is the one it is told."""

ORDER: Mapping[str, int] = {code: place for place, code in enumerate(Code.__args__)}  # type: ignore[attr-defined]

MOST_OTHERS = 10
"""The most other deals that a hold names; how many more there are, it only counts."""

APPROVABLE = ("removal_guard", "reopened")
"""What somebody can let through by approving it: all others need other facts."""


@dataclass(frozen=True)
class Fault:
    """Something that does not fit.

    tiers: the deals that may make way, first those that refer to others. slot, at: where and when, where that is one
    place and one moment. facts: plain JSON, by the names of the codes' list. by: the deals that take what is not there,
    or were quoted on it; the others, beneath them, are told the same otherwise.
    """

    code: Code
    tiers: tuple[frozenset[OpportunityId], ...]
    slot: Slot | None = None
    at: Moment | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    by: frozenset[OpportunityId] = field(default=frozenset(), compare=False)

    @property
    def deals(self) -> frozenset[OpportunityId]:
        return frozenset().union(*self.tiers)

    def first(self, may: Callable[[OpportunityId], bool]) -> frozenset[OpportunityId]:
        """Who makes way for it: of the first tier in which any deal may, those that may. None may: nobody."""
        return next((able for tier in self.tiers if (able := frozenset(filter(may, tier)))), frozenset())

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes it the same fault with other facts about other deals."""
        return (self.code, self.tiers[0] if self.tiers else frozenset(), self.slot)

    @property
    def rank(self) -> tuple[Any, ...]:
        """Its place among the faults that hold one deal: never by an ID of a deal."""
        place = self.at or Moment(0, None)
        return (ORDER[self.code], place, self.slot.key if self.slot else "", str(self.facts.get("item", "")))

    def reason_for(self, deal: OpportunityId) -> Reason:
        """It, from one deal's side."""
        told = {**self.facts, "deal": deal}
        others = sorted(self.deals - {deal})
        if self.by and deal not in self.by:
            # From beneath: what it would leave of what others take, or whose quote it is.
            told.pop("quantity", None)
            told["other"] = min(self.by)
        if others and "others" not in told:
            told["others"] = others
        if len(told.get("others", ())) > MOST_OTHERS:  # no deal's facts grow with its customer
            told["more"] = len(told["others"]) - MOST_OTHERS
            told["others"] = told["others"][:MOST_OTHERS]
        if self.slot is not None:
            told["slot"] = self.slot.key
        return Reason(self.code, Facts(told))


@dataclass(frozen=True)
class Hold:
    """Why a deal is held. approval: what lets it through, None where nobody can."""

    reason: Reason
    approval: str | None = None

    @property
    def code(self) -> str:
        return self.reason.code

    @property
    def facts(self) -> Facts:
        return self.reason.facts


def hold_of(deal: OpportunityId, fault: Fault, **told: str | None) -> Hold:
    """The hold of a deal that made way for a fault. told: what else its reason says; no approval hangs on it."""
    reason = fault.reason_for(deal)
    approval = approval_of(reason) if fault.code in APPROVABLE else None
    return Hold(reason.knowing(**told), approval)


def tiers_of(deals: Iterable[tuple[OpportunityId, int]]) -> tuple[frozenset[OpportunityId], ...]:
    """Deals in the order in which they make way: those that refer before those they refer to, equals together.

    In: deals, each with how many references lead from it to a base.
    """
    by_depth: dict[int, set[OpportunityId]] = {}
    for deal, depth in deals:
        by_depth.setdefault(depth, set()).add(deal)
    return tuple(frozenset(by_depth[depth]) for depth in sorted(by_depth, reverse=True))
