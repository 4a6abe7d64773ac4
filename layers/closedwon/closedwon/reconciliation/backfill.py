"""Backfill: what bringing in deals from before closed-won would do, customer by customer. Pure.

Agreement and plan decide, as everywhere. What matches a subscription that stands in Stigg already is adopted: it
gets its mark and its links, and stays as it is. Whatever would be made, changed or waited for is told first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from zoneinfo import ZoneInfo

from closedwon.domain.acceptance import Arrival, accept
from closedwon.domain.catalogue import Catalogue
from closedwon.domain.changes import LIVE, Actual, Change, Create, Plan, Update
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.statuses import Status
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Desired, Policy, Subscription, amount_of
from closedwon.domain.identifiers import OpportunityId
from closedwon.domain.instants import At, from_iso
from closedwon.domain.marks import Backlinks
from closedwon.domain.planned import planned
from closedwon.domain.world import world_of
from closedwon.reconciliation.drift import CustomerView, DealSeen
from closedwon.stigg.answers import actual_of
from closedwon.stigg.bodies import spending
from closedwon.words.changes import Calendar, granted, would
from closedwon.words.reasons import in_words

Verdict = Literal["adopt", "create", "change", "held", "refused", "over", "known", "none"]

VERDICTS: dict[Verdict, str] = {
    "adopt": "what was sold stands in Stigg already; it gets its mark and links, and stays as it is",
    "create": "something that was sold is missing in Stigg, and would be made",
    "change": "what stands in Stigg would be changed or ended",
    "held": "the deals would wait for somebody: they contradict each other, or something else stands there",
    "refused": "a deal cannot be provisioned as it is: its mapping is wrong",
    "over": "nothing to bring in: the terms are over, or the contracts cancelled",
    "known": "nothing to bring in: closed-won knows all these deals",
    "none": "nothing to bring in: no product is mapped to Stigg",
}
"""What each verdict means, in the order in which they are told."""

CHANGES: tuple[Verdict, ...] = ("create", "change")
"""The verdicts by which something changes for the customer."""

# Not `past its term`: where the stack's policy keeps access after a term, such a deal still gives something.
_GONE = ("term over", "cancelled", "ended", "trial over", "not won", "stopped")
"""Why a deal gives nothing any more."""


@dataclass(frozen=True)
class Outlook:
    """What bringing in the old deals of one customer would do.

    customer_id: the customer in Stigg. deals: those that are brought in, each with its trigger, the oldest first;
    without those whose terms are over. words: what would change or is wrong, a line each. writes: requests to Stigg
    that change something. arrivals: the deals as the ledger takes them.
    """

    account_id: str
    verdict: Verdict
    deals: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    writes: int = 0
    customer_id: str | None = None
    arrivals: tuple[Arrival, ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """For people and machines: without the deals' content."""
        return {
            "account_id": self.account_id,
            "customer_id": self.customer_id,
            "verdict": self.verdict,
            "deals": [id for id, _ in self.deals],
            "words": list(self.words),
            "writes": self.writes,
        }


def new_deals(view: CustomerView, since: str, until: str) -> tuple[list[DealSeen], bool]:
    """A customer's deals that were won, or cancelled what was won, from one day to another, and that closed-won does
    not know: the oldest first. Also whether there are others that it knows.
    """
    # A cancellation was never won and counts all the same: without it, the contract that it ends would come back.
    old = [
        deal
        for deal in view.deals or ()
        if (deal.won or deal.trigger == "cancellation") and not deal.deleted and since <= deal.closed_on <= until
    ]
    new = sorted(
        (deal for deal in old if deal.known_to is None), key=lambda deal: (deal.closed_on, deal.opportunity_id)
    )
    return new, len(new) < len(old)


def outlook(
    view: CustomerView, since: str, until: str, catalogue: Catalogue, policy: Policy, links: Backlinks, now: int
) -> Outlook:
    """What bringing in a customer's deals that were won from one day to another (``2024-01-31``, inclusive) would do.

    In: the customer's view, read now, with how much may be used of what stands in Stigg, whoever made it (`allowed`);
    the days; Stigg's catalogue; the stack's policy; the way back to Salesforce; now in epoch milliseconds.
    """
    account_id = view.customer.account_id
    new, others = new_deals(view, since, until)
    wrong = tuple(f"{deal.opportunity_id}: {deal.problem}" for deal in new if deal.problem)
    # Without the deal that cannot be read, the customer would be one that was never sold.
    if wrong:
        return Outlook(account_id, "refused", words=wrong)
    arrivals = {deal.opportunity_id: deal.arrival for deal in new if deal.arrival is not None}
    # Cancellations alone end nothing that would be brought in.
    if not any(deal.won for deal in new if deal.opportunity_id in arrivals):
        return Outlook(account_id, "known" if others else "none", customer_id=view.customer.customer_id)
    return _Prospect(view, catalogue, policy, links, now).of(arrivals)


@dataclass(frozen=True)
class _Prospect:
    """Computes, for one customer, what bringing in deals would do."""

    view: CustomerView
    catalogue: Catalogue
    policy: Policy
    links: Backlinks
    now: int

    @property
    def calendar(self) -> Calendar:
        return Calendar(ZoneInfo(self.policy.time_zone))

    def of(self, arrivals: Mapping[str, Arrival]) -> Outlook:
        """What bringing in these deals would do. A term that ended without a renewal goes on where the stack's policy
        keeps it; but from before closed-won was there it is brought in only where it still stands in Stigg as sold.
        Else a customer who left years ago would get access again.
        """
        changed, agreement = self.agreed(arrivals)
        desired, statuses = agreement.desired(), agreement.statuses()
        # First, because a refused deal contributes nothing: without it, a plan would look harmless.
        if wrong := self.refusals(arrivals, changed, desired):
            return Outlook(changed.account_id, "refused", words=wrong, customer_id=changed.customer_id)
        # Contracts that are over or cancelled give nothing any more: bringing them in would give access back.
        gone = _without(statuses, arrivals, _GONE)
        found = self.bringing_in(arrivals, gone)
        past = _without(statuses, arrivals, (*_GONE, "past its term")) - gone
        # What is past its term may come in where nothing but adopting follows: then it still stands as it was sold.
        if found.verdict in ("adopt", "over") or not past:
            return found
        ended = ((OpportunityId(id), statuses[OpportunityId(id)]) for id in arrivals if id in past)
        left_out = tuple(
            f"{id}: its term ended on {self.calendar.last(status.at.instant)} and nothing renews it; left out"
            for id, status in ended
            if status.why == "past its term" and status.at.instant
        )
        # Planned anew: what was left out may have been all that would change.
        found = self.bringing_in(arrivals, gone | past)
        return replace(found, words=found.words + left_out)

    def agreed(self, arrivals: Mapping[str, Arrival]) -> tuple[Customer, Agreement]:
        """The customer with these deals, and what it agreed to then."""
        # The ledger's own rule, in memory: bringing them in must come to the same customer as looking did.
        changed, _ = accept(self.view.customer, list(arrivals.values()), self.now)
        return changed, Agreement(changed.histories, world_of(changed, self.catalogue, self.policy, self.now))

    def refusals(self, arrivals: Mapping[str, Arrival], changed: Customer, desired: Desired) -> tuple[str, ...]:
        """What is wrong with the deals: what they show themselves, and what the catalogue shows."""
        states = changed.opportunities
        # Of the accepted orders, not the arrivals: that the account is bound to another customer shows only there.
        found = [f"{id}: {problem}" for id in arrivals if id in states for problem in states[id].order.problems]
        ids = [arrival.order.opportunity_id for arrival in arrivals.values()]
        found += [f"{id}: {problem}" for id in ids for problem in desired.refused.get(id, ())]
        return tuple(dict.fromkeys(found))

    def bringing_in(self, arrivals: Mapping[str, Arrival], without: Collection[str]) -> Outlook:
        """What bringing in these deals, without some of them, would do."""
        wanted = {id: arrival for id, arrival in arrivals.items() if id not in without}
        customer = self.view.customer
        if not wanted:
            return Outlook(customer.account_id, "over", customer_id=customer.customer_id)
        changed, agreement = self.agreed(wanted)
        actual = [actual_of(one, self.catalogue) for one in self.view.subscriptions or ()]
        found = planned(changed, agreement, actual, self.links)
        to_do, desired = found.plan, found.agreement.desired()
        verdict, words = self.verdict(to_do)
        # One hold decides for all: a customer is brought in whole, or stays as it is.
        if held := [*_held(wanted.values(), desired, to_do), *_given_back(to_do, actual, self.calendar)]:
            verdict, words = "held", held
        # `is False`, because None means that nobody asked Stigg.
        makes_customer = verdict == "create" and self.view.customer_in_stigg is False
        if makes_customer:
            words = [f"would make the customer {changed.customer_id}", *words]
        return Outlook(
            customer.account_id,
            verdict,
            tuple((id, arrival.order.trigger) for id, arrival in wanted.items()),
            tuple(words),
            len(to_do.changes) + len(to_do.grants) + makes_customer,
            changed.customer_id,
            # What was looked at is what is accepted: read once more, a deal might say something else.
            tuple(wanted.values()),
        )

    def verdict(self, to_do: Plan) -> tuple[Verdict, list[str]]:
        """The verdict on a plan, by its most serious change, and its changes as sentences."""
        words: list[str] = []
        found: set[Verdict] = {"adopt"}
        for change in to_do.changes:
            said = list(self.sentences(change))
            # One that takes another's place ends what somebody uses: that is a change.
            makes = isinstance(change, Create) and not change.replaces
            found |= {"create" if makes else "change"} if said else set()
            words += said
        # Credits cannot be adopted: what somebody granted by hand does not carry the key of the deal's grant.
        for grant in to_do.grants:
            found.add("create")
            words.append(f"would give credits: {granted(grant, self.calendar)}")
        return "change" if "change" in found else "create" if "create" in found else "adopt", words

    def sentences(self, change: Change) -> Iterator[str]:
        """A change as sentences; none for one that only adopts a subscription and leaves it as it is."""
        if isinstance(change, Update) and change.adopts:
            for words in self.adopted(change):
                yield f"{would(change)} and {words}"
        else:
            yield would(change)

    def adopted(self, change: Update) -> Iterator[str]:
        """What adopting would change besides the metadata and links."""
        standing = next(one for one in self.view.subscriptions or () if one["id"] == change.subscription_id)
        yield from self.other_amounts(change)
        yield from self.another_end(change, standing)
        coupon = change.subscription.coupon
        # Adopting sends the coupon in any case; it changes something only where it is not there yet.
        if coupon and coupon not in {one["id"] for one in standing.get("coupons") or ()}:
            yield f"apply the coupon {coupon}"
        yield from _other_limits(change, standing)

    def other_amounts(self, change: Update) -> Iterator[str]:
        """The features of which the customer may use another amount than was sold."""
        read = (self.view.allowed or {}).get(change.subscription_id)
        if not read:
            return
        # Adopting writes all values anew, as Stigg's lists do not show them: so what differs has to be told before.
        for entitlement in change.subscription.entitlements:
            sold, used = amount_of(entitlement), read.amounts.get(entitlement.id, 0.0)
            if entitlement.type == "FEATURE" and sold != used:
                # Stigg tells what all sources give together, so more than was sold may be an add-on's.
                rest = "" if read.alone or used < sold else ", perhaps with what add-ons give"
                yield f"set {entitlement.id} to {_amount(sold)} (it is {_amount(used)} now{rest})"

    def another_end(self, change: Update, standing: Mapping[str, Any]) -> Iterator[str]:
        """When the subscription would end, where that changes. standing: the subscription as it is."""
        if "end" not in change.aspects:
            return
        ends, ended = change.subscription.cancellation, standing.get("cancellationDate")
        if isinstance(ends, At):
            yield f"let it end after {self.calendar.last(ends.instant)}"
        elif ended:
            yield f"take away its end, {self.calendar.last(from_iso(ended))}"


def _other_limits(change: Update, standing: Mapping[str, Any]) -> Iterator[str]:
    """Budget and minimum spend, where they change."""
    spent = spending(change.subscription)
    for name, words in (("budget", "budget"), ("minimumSpend", "minimum spend")):
        wanted, there = spent.get(name), standing.get(name) or {}
        # A limit that no deal says stays as it is, so that it is no difference.
        if wanted and any(there.get(key) != value for key, value in wanted.items()):
            yield f"set its {words}"


def _held(wanted: Iterable[Arrival], desired: Desired, to_do: Plan) -> list[str]:
    """What waits for somebody of these deals, and why; each once."""
    ids = [arrival.order.opportunity_id for arrival in wanted]
    held = [f"{id}: {in_words(desired.held[id])}" for id in ids if id in desired.held]
    held += [f"{', '.join(hold.opportunities)}: {in_words(hold.reason)}" for hold in to_do.holds]
    return list(dict.fromkeys(held))


def _given_back(to_do: Plan, actual: Sequence[Actual], calendar: Calendar) -> Iterator[str]:
    """What would be made although it ended in Stigg during its term: whoever brings it in would give it back."""
    for change in to_do.changes:
        if not isinstance(change, Create):
            continue
        wanted = change.subscription
        for one in actual:
            if one.ended is not None and _was_here(one, wanted) and one.cancel_reason not in _FOLLOWED:
                deals, day = ", ".join(wanted.opportunities), calendar.last(one.ended)
                yield f"{deals}: {one.plan_id} ({one.id}) ended in Stigg on {day}; sell it by a new deal"


def _was_here(one: Actual, wanted: Subscription) -> bool:
    """Whether a subscription that ended gave what is wanted, and ended during its term."""
    if one.ended is None or one.status in LIVE:
        return False
    begun = wanted.start is None or wanted.start <= one.ended
    return begun and (one.slot, one.plan_id) == (wanted.slot, wanted.plan_id)


_FOLLOWED = ("UPGRADE_OR_DOWNGRADE", "TRIAL_CONVERTED", "TRIAL_ENDED")
"""Ends after which something else was to stand."""


def _without(statuses: Mapping[OpportunityId, Status], ids: Collection[str], whys: Sequence[str]) -> set[str]:
    """The deals whose contracts came to such an end, with those that they had replaced."""
    known = {id: statuses[OpportunityId(id)] for id in ids if id in statuses}
    gone = {id for id, status in known.items() if status.why in whys}
    # In a loop, because a contract may have been renewed several times before it came to its end.
    while more := {id for id, status in known.items() if status.kind == "Superseded" and status.by in gone} - gone:
        gone |= more
    return gone


def _amount(amount: float) -> str:
    return "unlimited" if amount == float("inf") else f"{amount:,.0f}"
