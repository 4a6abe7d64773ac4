"""Backfill: what bringing in deals from before closed-won would do, customer by customer. Pure.

The same fold and plan as everywhere decide. What matches a subscription that stands in Stigg already is adopted: it
gets its mark and its links, and stays as it is. Whatever would be made, changed or waited for is told first.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from closedwon.catalogue import Catalogue
from closedwon.customer import Arrival, OpportunityState, accept
from closedwon.desired import Policy, Slot, fold
from closedwon.drift import DealSeen, Sides
from closedwon.plan import Actual, Backlinks, Create, End, Plan, Update, plan

Verdict = Literal["adopt", "over", "create", "change", "held", "refused", "known", "none"]

VERDICTS: dict[Verdict, str] = {
    "adopt": "what was sold stands in Stigg already and is adopted as it is",
    "over": "nothing to bring in: the terms of all deals are over",
    "create": "subscriptions would be made",
    "change": "subscriptions would be changed or ended",
    "held": "the deals wait for somebody: they contradict each other, or something else stands in their place",
    "refused": "a deal cannot be provisioned as it stands",
    "known": "all deals are known already",
    "none": "no deal says anything about Stigg",
}
"""What each verdict means, in the order in which they are told."""

CHANGES: tuple[Verdict, ...] = ("create", "change")
"""The verdicts by which something changes for the customer."""


@dataclass(frozen=True)
class Outlook:
    """What bringing in the old deals of one customer would do.

    deals: those that are brought in, each with its trigger, the oldest first; without those whose terms are over.
    words: what would change or is wrong, a line each. writes: requests to Stigg that change something.
    """

    account_id: str
    verdict: Verdict
    deals: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    writes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def outlook(
    sides: Sides, since: str, until: str, catalogue: Catalogue, policy: Policy, links: Backlinks, now: int
) -> Outlook:
    """What bringing in a customer's deals that were won from one day to another (``2024-01-31``, inclusive) would do.

    In: the customer's sides, read now; the days; Stigg's catalogue; the stack's policy; the way back to Salesforce; now
    in epoch milliseconds.
    """
    customer = sides.customer
    old = [deal for deal in sides.deals or () if deal.won and not deal.deleted and since <= deal.closed_on <= until]
    new = sorted((d for d in old if d.known_to is None), key=lambda deal: (deal.closed_on, deal.opportunity_id))
    unreadable = tuple(f"{deal.opportunity_id}: {deal.problem}" for deal in new if deal.problem)
    arrivals = [(deal, deal.arrival) for deal in new if deal.arrival is not None]
    deals = tuple((deal.opportunity_id, deal.trigger or "closed_won") for deal, _ in arrivals)
    if unreadable:
        return Outlook(customer.account_id, "refused", deals, unreadable)
    if not arrivals:
        return Outlook(customer.account_id, "known" if old and len(new) < len(old) else "none")
    changed, _ = accept(customer, [arrival for _, arrival in arrivals], now)
    desired = fold([state.standing for state in changed.opportunities.values()], catalogue, policy, now)
    ours = {deal.opportunity_id for deal, _ in arrivals}
    refused = _refusals(arrivals, changed.opportunities) + tuple(
        f"{id}: {problem}" for id in sorted(ours & desired.refused.keys()) for problem in desired.refused[id]
    )
    if refused:
        return Outlook(customer.account_id, "refused", deals, tuple(dict.fromkeys(refused)))
    over = {id for id in ours if (fate := desired.fates.get(id)) is not None and fate.kind == "over"}
    deals = tuple(pair for pair in deals if pair[0] not in over)
    if not deals:
        return Outlook(customer.account_id, "over")
    to_do = plan(
        changed.customer_id or "",
        desired,
        [Actual.from_stigg(one, catalogue) for one in sides.subscriptions or ()],
        {Slot.of_key(key): record for key, record in changed.slots.items()},
        policy,
        links,
        now,
        changed.approved,
        changed.grants,
    )
    held = tuple(f"{id}: {desired.held[id]}" for id in sorted(ours & desired.held.keys()))
    held += tuple(f"{', '.join(hold.opportunities)}: {hold.reason}" for hold in to_do.holds)
    verdict, words = _verdict(to_do)
    if held:
        verdict, words = "held", held
    writes = len(to_do.changes) + len(to_do.grants) + (0 if sides.customer_in_stigg else verdict == "create")
    return Outlook(customer.account_id, verdict, deals, words, writes)


def _verdict(to_do: Plan) -> tuple[Verdict, tuple[str, ...]]:
    """What the plan comes to, by the most serious of its changes, and what those are."""
    made = [c for c in to_do.changes if isinstance(c, Create)]
    if len(made) + sum(isinstance(c, Update) and c.adopts for c in to_do.changes) < len(to_do.changes) or any(
        c.replaces for c in made
    ):
        return "change", tuple(_told(change) for change in to_do.changes)
    if made or to_do.grants:
        granted = tuple(f"would grant {grant.amount} of {grant.currency_id}" for grant in to_do.grants)
        return "create", (*(_told(change) for change in made), *granted)
    return "adopt", ()


def _told(change: Create | Update | End) -> str:
    if isinstance(change, Create):
        instead = f" in place of {change.replaces}" if change.replaces else ""
        return f"would make a subscription of {change.subscription.plan_id}{instead}"
    if isinstance(change, Update):
        what = "adopt" if change.adopts else f"change {', '.join(change.changes)} of"
        return f"would {what} {change.subscription_id}"
    return f"would end {change.subscription_id} ({change.plan_id})"


def _refusals(arrivals: list[tuple[DealSeen, Arrival]], states: dict[str, OpportunityState]) -> tuple[str, ...]:
    """What the deals themselves show to be wrong, with what their being accepted adds (another customer's ID)."""
    ids = [deal.opportunity_id for deal, _ in arrivals]
    return tuple(f"{id}: {problem}" for id in ids if id in states for problem in states[id].order.problems)
