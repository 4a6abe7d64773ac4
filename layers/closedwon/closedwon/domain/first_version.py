"""What the first version's ledger kept of an opportunity, as the facts that are kept today. Pure.

It kept the newest order, the one last provisioned, and, of a deal that was cancelled since, the one that was won.
"""

from __future__ import annotations

from typing import NamedTuple

from closedwon.domain.contract.facts import Contribution, History, Reading, sort_of, stand, when_of
from closedwon.domain.instants import milliseconds
from closedwon.domain.order import Order, Revision, same_deal

BEFORE = Revision(0, 0)
"""The revision of what was read before: the first version did not keep it, and nothing is older."""


class FormerFacts(NamedTuple):
    """See `facts.History`, whose fields these are."""

    sells: Reading | None
    trial: Reading | None
    said: tuple[tuple[Revision, str], ...]
    first: Revision | None
    settled: Contribution | None
    begun: bool


def facts_of(
    order: Order, revision: Revision, provisioned: Order | None, won: Order | None, status: str
) -> FormerFacts:
    """The facts of an opportunity as the first version kept it.

    In: its newest order and revision; the order last provisioned; the last of these that was no cancellation, where
    that is another; its status in Salesforce.
    """
    known = [one for one in (won, provisioned) if one is not None and sort_of(one) != "own end"]
    sells = Reading(known[0], BEFORE) if known and (sort_of(order) == "own end" or order.problems) else None
    trials = [one for one in known if one.trigger == "trial"]
    trial = Reading(trials[0], BEFORE) if trials and order.trigger != "trial" else None
    said = ((revision, when_of(order)),) if order.trigger == "cancellation" else ()
    sold = sort_of(order) in ("sale", "churn") and not order.problems
    first = BEFORE if known and known[0].trigger != "trial" else revision if sold else None
    newest = Reading(order, revision)
    settled = None
    if provisioned is not None:
        if not same_deal(provisioned, order):
            # When it was said is in the order alone: its revision was not kept.
            newest = Reading(provisioned, Revision(milliseconds(provisioned.as_of) if provisioned.as_of else 0, 0))
        selling = Reading(known[0], BEFORE) if known and sort_of(newest.order) == "own end" else newest
        when = ((newest.revision, when_of(newest.order)),) if newest.order.trigger == "cancellation" else ()
        settled = stand(History(newest, selling, trial, when, first))
    return FormerFacts(sells, trial, said, first, settled, settled is not None and status != "Scheduled")
