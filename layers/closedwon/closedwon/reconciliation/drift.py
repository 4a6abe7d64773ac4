"""Drift: names every difference between Salesforce, the ledger and Stigg for one customer. Pure.

There is no second comparer: `Agreement` says what the customer should have, `plan` what would be changed. Where the
plan is not empty although nothing is due, this module names its changes. It adds what the plan cannot know: deals that
never arrived, what Salesforce shows, work that stands still, records that were moved, merged or deleted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from closedwon.domain.acceptance import Arrival, accept, bound
from closedwon.domain.catalogue import Catalogue
from closedwon.domain.changes import LIVE, Actual, Change, Create, End, Hold, Plan, Update
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.customer import Customer, OpportunityState
from closedwon.domain.desired import Desired, Policy, Slot, Subscription, amount_of
from closedwon.domain.errors import safe_text
from closedwon.domain.identifiers import OpportunityId, normalised_id
from closedwon.domain.instants import (
    At,
    EndOfBillingPeriod,
    Instant,
    Never,
    Until,
    ending,
    from_iso,
    from_milliseconds,
    iso_of,
)
from closedwon.domain.marks import TERMS_KEY, Backlinks, metadata_of
from closedwon.domain.order import says_nothing_new
from closedwon.domain.plan import plan
from closedwon.domain.planned import planned
from closedwon.domain.records import Payment, SlotRecord
from closedwon.domain.stops import BY_PEOPLE
from closedwon.domain.stops import CODES as STOPS
from closedwon.domain.subscription_ids import is_ours
from closedwon.domain.world import world_of
from closedwon.reconciliation.finding import (
    PLACES,
    Compared,
    Effect,
    Finding,
)
from closedwon.reconciliation.recorded_orders import as_recorded, concerns_stigg, difference_of, summary_of
from closedwon.salesforce.package import NEWEST, Package
from closedwon.salesforce.write_back import account_fields, provisioning_record
from closedwon.stigg.answers import actual_of
from closedwon.words.changes import Calendar, differences, listed, money, quantity
from closedwon.words.reasons import sentence, told

Json = Mapping[str, Any]

SOON = 600_000
"""Milliseconds: what is due within this time counts as begun, and a deal saved so recently may still arrive."""


@dataclass(frozen=True)
class DealSeen:
    """An opportunity as Salesforce has it.

    modified: its SystemModstamp, epoch milliseconds. closed_on: its close date ("2026-01-15"). trigger: what a callout
    would say of it now, None for nothing. arrival: it, compiled as the callout would; None where it is not ours or
    cannot be read: problem says why. known_to: the account whose customer the ledger has it with, None where it is
    known to nobody or was not looked up.
    """

    opportunity_id: str
    account_id: str
    modified: int
    won: bool = False
    closed: bool = False
    deleted: bool = False
    closed_on: str = ""
    trigger: str | None = None
    arrival: Arrival | None = None
    problem: str = ""
    known_to: str | None = None


@dataclass(frozen=True)
class AccountSeen:
    """The account's record and what it shows. merged_into: the account that it was merged into."""

    state: Literal["there", "merged", "deleted", "unknown"] = "there"
    merged_into: str | None = None
    customer_id: str | None = None
    customer_url: str | None = None


class Allowed(NamedTuple):
    """How much a customer may use of each feature, from everything that gives it. alone: whether one subscription
    without add-ons gives it all; else it may be more than the subscription's own entitlements.
    """

    amounts: Mapping[str, float]
    alone: bool


@dataclass(frozen=True)
class CustomerView:
    """What the three systems hold for one customer. None: it was not read, so nothing is found from it.

    customer: the ledger's, or Customer(account_id) where it knows nothing. deals: the account's opportunities, with
    those that the ledger knows of it. provisionings: Stigg Provisioning records by opportunity. subscriptions: Stigg's
    list elements. archived: whether the customer is not there because somebody archived it. allowed: what may be used,
    by subscription, where that was read one by one (a deep run). live: whether it was read just now, with subscriptions
    that ended and every deal the ledger knows; else it comes from exports, where neither need be.
    """

    customer: Customer
    deals: tuple[DealSeen, ...] | None = None
    account: AccountSeen | None = None
    provisionings: Mapping[str, Json] | None = None
    subscriptions: tuple[Json, ...] | None = None
    customer_in_stigg: bool | None = None
    archived: bool = False
    allowed: Mapping[str, Allowed] | None = None
    live: bool = True

    @property
    def plan_ids(self) -> frozenset[str]:
        """The Stigg plans that its deals name, in the ledger or in Salesforce."""
        orders = (deal.arrival.order for deal in self.deals or () if deal.arrival is not None)
        kept = (history.plan_ids for history in self.customer.histories)
        return frozenset().union(*kept, *(order.plan_ids for order in orders))


@dataclass(frozen=True)
class Watch:
    """What counts as drift, and from when on. deals_since: the close date of the first deal that had to arrive
    ("2026-01-15", "" for all). overdue_ms: how long work may be due before it counts as standing still. app_url:
    STIGG_APP_URL. package: what Salesforce has a place for.
    """

    deals_since: str = ""
    held_too_long_days: int = 7
    overdue_ms: int = 3_600_000
    app_url: str = ""
    package: Package = NEWEST


def compare(
    view: CustomerView, catalogue: Catalogue, policy: Policy, links: Backlinks, watch: Watch, now: int
) -> Compared:
    """Name every difference between Salesforce, the ledger and Stigg for one customer.

    In: what the three say; Stigg's catalogue; the stack's policy; the way back to Salesforce; what counts; now in epoch
    milliseconds.
    Out: the findings, without a remedy yet (`repair_of` decides it), and whether the customer has to be read live.
    """
    customer = view.customer
    if _under_way(customer, watch, now):
        return Compared(customer.account_id, customer.rev, under_way=True)
    comparison = _Comparison(view, catalogue, policy, links, watch, now)
    comparison.all()
    found = sorted(comparison.found, key=lambda entry: (PLACES[entry[0].kind], entry[0].opportunity_id or ""))
    return Compared(
        customer.account_id,
        customer.rev,
        tuple(finding for finding, _ in found),
        tuple(effect for _, effect in found),
        comparison.triggers,
        suspect=bool(found) or comparison.absent,
    )


def _under_way(customer: Customer, watch: Watch, now: int) -> bool:
    """Whether an execution works on a customer now, or will start by itself soon."""
    if customer.lease is not None and now < customer.lease.until:
        return True
    if customer.due_at is None or customer.due_at < now - watch.overdue_ms:
        return False
    return customer.due_at <= now + SOON or customer.applied < customer.version


class _Comparison:
    """The comparison of one customer: collects findings, each with the effect that removes it."""

    def __init__(
        self, view: CustomerView, catalogue: Catalogue, policy: Policy, links: Backlinks, watch: Watch, now: int
    ) -> None:
        self.view = view
        self.catalogue = catalogue
        self.policy = policy
        self.links = links
        self.watch = watch
        self.now = now
        self.customer = view.customer
        self.calendar = Calendar(ZoneInfo(policy.time_zone))
        self.agreement = self.agreed(self.customer)
        self.records = {Slot.of_key(key): record for key, record in self.customer.slots.items()}
        # An export is keyed by account and may hold subscriptions of another customer with this account's link.
        self.listed = tuple(view.subscriptions or ())
        self.actual = {
            one["id"]: actual_of(one, catalogue)
            for one in self.listed
            if one.get("customerId", self.customer.customer_id) == self.customer.customer_id
        }
        found = planned(self.customer, self.agreement, self.actual.values(), self.links)
        # What Stigg says of an end that is not learned yet counts as it will once it is; so does what was ended there.
        self.agreement, self.plan, self.stopped = found.agreement, found.plan, found.stopped
        self.written, self.records = self.records, dict(found.records)
        self.desired = self.agreement.desired()
        self.behind = self.customer.applied < self.customer.version
        self.overdue = self.customer.due_at is not None and self.customer.due_at < now - watch.overdue_ms
        self.failed = self.failures()
        self.found: list[tuple[Finding, Effect]] = []
        self.triggers: dict[str, str] = {}
        self.absent = False

    def agreed(self, customer: Customer) -> Agreement:
        return Agreement(customer.histories, world_of(customer, self.catalogue, self.policy, self.now))

    def planned(self, customer: Customer, desired: Desired, records: Mapping[Slot, SlotRecord] | None = None) -> Plan:
        return plan(
            customer.bound_id,
            desired,
            self.actual.values(),
            self.records if records is None else records,
            self.policy,
            self.links,
            self.now,
            customer.approved,
            customer.grants,
        )

    def find(self, kind: str, words: str, effect: Effect = "none", **more: Any) -> None:
        found = Finding(kind, self.customer.account_id, self.customer.customer_id, words=safe_text(words, 1000), **more)
        self.found.append((found, effect))

    def all(self) -> None:
        self.deals()
        if self.view.account is not None:
            self.account(self.view.account)
        if self.view.archived:
            self.archived()
        elif self.view.customer_in_stigg is False and self.customer.ensured:
            self.missing_customer()
        if self.view.subscriptions is not None and not self.view.archived:
            self.subscriptions()
            self.orphans()
        self.still()
        self.waiting()
        if self.there and self.view.provisionings is not None:
            self.written_back(self.view.provisionings)

    @property
    def there(self) -> bool:
        """Whether the account still exists, so that it can be written to, as far as is known."""
        return self.view.account is None or self.view.account.state in ("there", "unknown")

    def gives(self, opportunity_id: str) -> bool:
        """Whether a deal that the ledger knows gives something, now or later."""
        return self.agreement.gives(OpportunityId(opportunity_id))

    # Deals

    def deals(self) -> None:
        """Compare the deals that Salesforce has with those that the ledger has."""
        if self.view.deals is None:
            return
        missed: list[tuple[DealSeen, Arrival]] = []
        for deal in self.view.deals:
            state = self.customer.opportunities.get(deal.opportunity_id)
            moved = deal.account_id != self.customer.account_id
            if deal.deleted:
                if state is not None and self.view.live and self.gives(deal.opportunity_id):
                    self.deleted(deal.opportunity_id, "is deleted in Salesforce")
            elif state is not None and moved:
                self.moved(deal.opportunity_id, self.customer.account_id, deal.account_id)
            elif state is None and deal.known_to not in (None, self.customer.account_id):
                self.moved(deal.opportunity_id, deal.known_to or "", deal.account_id)
            # A deal that was saved a moment ago may have its callout still on the way: it is no drift yet.
            elif moved or deal.trigger is None or deal.modified > self.now - SOON:
                continue
            elif deal.problem:
                self.unreadable(deal, known=state is not None)
            elif state is None:
                if deal.arrival is not None and self.counts(deal) and concerns_stigg(deal.arrival.order):
                    missed.append((deal, deal.arrival))
            elif deal.arrival is not None:
                self.revision(deal, deal.arrival, state)
        # All missed deals of a customer together: one alone may look like a reduction that another makes up for.
        lowers = bool(missed) and self.would_lower(arrival for _, arrival in missed)
        for deal, arrival in missed:
            self.triggers[deal.opportunity_id] = arrival.order.trigger
            did = {"trial": "started", "cancellation": "was lost"}.get(arrival.order.trigger, "was won")
            day = deal.closed_on if arrival.order.trigger != "trial" else iso_of(deal.modified)[:10]
            self.find(
                "missed_deal",
                f"This {_TRIGGERS.get(arrival.order.trigger, 'deal')} {did} ({day}) and never reached closed-won.",
                "accept",
                opportunity_id=deal.opportunity_id,
                should=summary_of(arrival.order),
                is_now="unknown to the ledger",
                lowers=lowers,
                since=iso_of(deal.modified),
            )
        self.absences({deal.opportunity_id for deal in self.view.deals})

    def absences(self, seen: set[str]) -> None:
        """Find deals of the ledger that Salesforce did not return."""
        for id, state in self.customer.opportunities.items():
            if id in seen or state.order.trigger == "cancellation":
                continue
            if not self.view.live:
                self.absent = self.absent or not self.agreement.contributes(OpportunityId(id)) or self.gives(id)
            # A deal that gives nothing any more may be deleted: nothing depends on it.
            elif self.gives(id):
                self.deleted(
                    id, "is not to be found in Salesforce: it was deleted for good, or closed-won may not see it"
                )

    def counts(self, deal: DealSeen) -> bool:
        """Whether a deal is one that had to arrive: trials by when they were saved, others by their close date."""
        if deal.trigger == "trial":
            return not deal.closed and iso_of(deal.modified)[:10] >= self.watch.deals_since
        return deal.closed_on >= self.watch.deals_since

    def would_lower(self, arrivals: Iterable[Arrival]) -> bool:
        """Whether accepting deals would end or lower something that the present plan leaves alone."""
        customer, _ = accept(self.customer, arrivals, self.now)
        then = planned(customer, self.agreed(customer), self.actual.values(), self.links).plan
        return bool(self.lowered(then) - self.lowered(self.plan))

    def lowered(self, of: Plan) -> set[tuple[Slot, type]]:
        return {(_slot(change), type(change)) for change in of.changes if self.lowers(change, of)}

    def revision(self, deal: DealSeen, arrival: Arrival, state: OpportunityState) -> None:
        """Compare a deal with the order that was last accepted for it."""
        order = as_recorded(arrival.order, state.order, [s.order for s in self.customer.opportunities.values()])
        # As accepting would do it, so that the comparison finds exactly what accepting would change.
        recorded, _ = bound(order, self.customer.customer_id)
        if recorded is state.order or says_nothing_new(recorded, state.order):
            return  # accepting it would change nothing
        if order.trigger == "cancellation" and not self.gives(deal.opportunity_id):
            return  # not won any more, and it gives nothing any more either
        newer = deal.modified > state.revision.modified
        if order.trigger == "cancellation":
            words = "This deal is not won any more, and closed-won never heard of it."
        elif newer:
            words = "This deal was changed in Salesforce, and the change never reached closed-won."
        else:
            words = "Nobody touched this deal, but it would be sent differently today: its products or mapping changed."
        self.triggers[deal.opportunity_id] = arrival.order.trigger
        # An older revision would be superseded, and the question is what accepting it would do.
        newest = state.revision._replace(read=state.revision.read + 1)  # it would be read now
        should, is_now = difference_of(order, state.order)
        self.find(
            "missed_revision" if newer else "mapping_changed",
            words,
            "accept",
            opportunity_id=deal.opportunity_id,
            should=should,
            is_now=is_now,
            lowers=self.would_lower([arrival._replace(revision=newest)]),
            since=iso_of(deal.modified) if newer else "",
        )

    def unreadable(self, deal: DealSeen, known: bool) -> None:
        if known or self.counts(deal):
            words = f"This deal cannot be read: {safe_text(deal.problem)}"
            self.find("unreadable_deal", words, opportunity_id=deal.opportunity_id, since=iso_of(deal.modified))

    def moved(self, opportunity_id: str, was: str, is_now: str) -> None:
        account = self.view.account
        if account is not None and account.state == "merged" and account.merged_into == is_now:
            # Salesforce moves all deals of a merged account: a finding for each would hide the one that matters.
            return  # the merged account is the finding
        words = "This deal was moved to another account after closed-won had accepted it."
        self.find("moved_deal", words, opportunity_id=opportunity_id, should=was, is_now=is_now)

    def deleted(self, opportunity_id: str, how: str) -> None:
        words = f"This deal gives the customer access, and {how}."
        self.find("deleted_deal", words, opportunity_id=opportunity_id, should="in Salesforce", is_now="deleted")

    # The account and the customer

    def account(self, seen: AccountSeen) -> None:
        """Compare the account's record in Salesforce with the customer."""
        customer = self.customer
        if seen.state in ("merged", "deleted"):
            if customer.opportunities:
                into = f"merged into {seen.merged_into}" if seen.merged_into else seen.state
                self.find("merged_account", f"The account of this customer was {into}.", is_now=into)
            return
        if seen.state == "unknown" or not customer.ensured:
            return
        wanted = account_fields(customer, self.watch.app_url)
        shown = {"Stigg_Customer_ID__c": seen.customer_id, "Stigg_Customer_URL__c": seen.customer_url}
        self.compare_record("The account", wanted, shown, "account")

    def missing_customer(self) -> None:
        given = bool(self.desired.subscriptions or self.desired.grants)
        words = "This customer is not in Stigg any more."
        if not given:
            words = "This customer is not in Stigg any more; no deal gives it anything."
        effect: Effect = "look" if given else "none"
        self.find("missing_customer", words, effect, should="in Stigg", is_now="missing")

    def archived(self) -> None:
        """Name a customer that somebody archived: nothing is written to it, and nothing of it repaired."""
        if not self.customer.archived:  # else its deals say so
            words = "This customer is archived in Stigg: nothing can be sold to it, and nothing is changed on it."
            self.find("archived_customer", words, "show", should="in Stigg", is_now="archived")

    # Subscriptions

    def subscriptions(self) -> None:
        """Name the plan's changes and holds."""
        self.named(self.plan, "look")
        self.ended()
        self.unpaid()
        for hold in self.plan.holds:
            self.hold(hold)
        self.named(self.beneath(), "hidden")

    def beneath(self) -> Plan:
        """Compare held slots with what was written last: where a change is held, the plan does not compare."""
        # A foreign subscription in the way is no change of what closed-won wrote.
        held = {hold.slot for hold in self.plan.holds if hold.foreign is None}
        records = {slot: self.records[slot] for slot in held if slot in self.records}
        written = {slot: record.applied for slot, record in records.items() if record.applied is not None}
        if not written:
            return Plan()
        return self.planned(self.customer, replace(self.desired, subscriptions=written, grants=()), records)

    def named(self, of: Plan, effect: Effect) -> None:
        """Name the changes of a plan. effect: what removes them."""
        slots: dict[Slot, list[Change]] = defaultdict(list)
        for change in of.changes:
            slots[_slot(change)].append(change)
        for changes in slots.values():
            end = next((change for change in changes if isinstance(change, End)), None)
            made = any(isinstance(change, Create) for change in changes)
            for change in changes:
                lowers = self.lowers(change, of)
                match change:
                    case Create():
                        self.creation(change, end, effect, lowers)
                    case Update():
                        self.update(change, effect, lowers)
                    case End() if not made:
                        self.ending(change, effect, lowers)
        for keep in of.kept:
            self.values(keep.subscription, keep.subscription_id)

    def covered(self, slot: Slot) -> bool:
        """Whether the change in a slot is work that stands still, which is a finding of its own."""
        wanted = self.desired.subscriptions.get(slot)
        record = self.records.get(slot, SlotRecord())
        ids = {*(wanted.opportunities if wanted else ()), *(record.applied.opportunities if record.applied else ())}
        return self.behind or self.overdue or bool(ids & self.failed.keys())

    def of(self, wanted: Subscription) -> str:
        """A subscription's name for a sentence."""
        what = f"the trial of {wanted.plan_id}" if wanted.slot.trial else wanted.plan_id
        return f"{what} for {wanted.slot.resource_id}" if wanted.slot.resource_id else what

    def creation(self, change: Create, end: End | None, effect: Effect, lowers: bool) -> None:
        """Name a subscription that is to be created, in place of another or where there is none."""
        wanted, record = change.subscription, self.records.get(change.subscription.slot, SlotRecord())
        applied = record.applied
        more: dict[str, Any] = {
            "opportunity_id": wanted.opportunities[0],
            "lowers": lowers,
        }
        standing = self.actual.get(end.subscription_id if end else change.replaces or "")
        if standing is not None and self.ours(standing, wanted.slot, record):
            for kind, should, is_now, was in self.replaced(wanted, standing, applied):
                by_hand = was is not None and was == should
                if by_hand or not self.covered(wanted.slot):
                    words = f"The customer has {is_now} where the deals say {should}."
                    self.find(
                        kind,
                        words,
                        effect,
                        subscription_id=standing.id,
                        should=should,
                        is_now=is_now,
                        by_hand=by_hand,
                        **more,
                    )
            return
        stood = applied is not None and record.status in LIVE
        should = self.described(wanted)
        if not self.covered(wanted.slot) or (stood and standing is None):
            words = f"Stigg holds no subscription to {self.of(wanted)}."
            if standing is not None:
                words = f"{words[:-1]}; {standing.plan_id}, which closed-won did not make, stands there."
            now = standing.plan_id if standing else "none"
            id = record.subscription_id
            self.find("missing_subscription", words, effect, subscription_id=id, should=should, is_now=now, **more)

    def replaced(
        self, wanted: Subscription, standing: Actual, applied: Subscription | None
    ) -> Iterator[tuple[str, str, str, str | None]]:
        """Why a subscription is replaced: the kind of drift, what should be, what is, what was written."""
        if standing.plan_id != wanted.plan_id:
            yield "wrong_plan", wanted.plan_id, standing.plan_id, applied.plan_id if applied else None
            return

        def starts(plan_id: str, at: Instant | None) -> str:
            return f"{plan_id} that starts {f'on {self.calendar.first(at)}' if at else 'at once'}"

        was = None if applied is None else starts(applied.plan_id, applied.start)
        yield "wrong_date", starts(wanted.plan_id, wanted.start), starts(standing.plan_id, standing.start), was

    def described(self, wanted: Subscription) -> str:
        parts = [f"{wanted.unit_quantity:,} units of {wanted.plan_id}" if wanted.unit_quantity > 1 else wanted.plan_id]
        parts += [f"{count:,} {id}" for id, count in (*wanted.charges, *wanted.addons)]
        parts += [f"{e.id} {quantity(e)}" for e in wanted.entitlements]
        return ", ".join(parts)

    def ours(self, standing: Actual, slot: Slot, record: SlotRecord) -> bool:
        """Whether a subscription is closed-won's own in a slot."""
        trial = slot._replace(trial=True)
        id, customer_id = standing.id, self.customer.bound_id
        return id == record.subscription_id or is_ours(customer_id, slot, id) or is_ours(customer_id, trial, id)

    def update(self, change: Update, effect: Effect, lowers: bool) -> None:
        """Name a subscription that is to be changed in place: one finding for each aspect."""
        wanted, standing = change.subscription, self.actual[change.subscription_id]
        applied = self.records.get(wanted.slot, SlotRecord()).applied
        more: dict[str, Any] = {
            "opportunity_id": wanted.opportunities[0],
            "subscription_id": standing.id,
            "lowers": lowers,
        }
        if change.adopts:
            words = (
                f"closed-won did not make {standing.plan_id} (subscription {standing.id}), but it is what the deals "
                "say: the next provisioning adopts it."
            )
            by_hand = applied is not None
            self.find(
                "foreign_subscription",
                words,
                effect,
                should=self.described(wanted),
                is_now=f"{standing.plan_id} of somebody else",
                by_hand=by_hand,
                **more,
            )
            return
        for aspect in change.changes:
            for kind, what, should, is_now, by_hand in self.aspect(aspect, wanted, standing, applied):
                if by_hand or not self.covered(wanted.slot):
                    said = (
                        f"Somebody changed {what} of {{}} in Stigg" if by_hand else f"{what} of {{}} differs in Stigg"
                    )
                    words = f"{said.format(self.of(wanted))}: {is_now} instead of {should}."
                    words = words[:1].upper() + words[1:]
                    self.find(kind, words, effect, should=should, is_now=is_now, by_hand=by_hand, **more)
        if change.sets_values:
            self.values(wanted, standing.id, effect, lowers=lowers)
        else:
            self.values(wanted, standing.id)

    def aspect(
        self, aspect: str, wanted: Subscription, standing: Actual, applied: Subscription | None
    ) -> Iterator[tuple[str, str, str, str, bool]]:
        """One aspect of a subscription that differs: kind, what it is, both values, whether it was changed by hand."""
        match aspect:
            case "add-ons":
                should, is_now = _differing(dict(wanted.addons), dict(standing.addons), _counted)
                by_hand = applied is not None and applied.addons != standing.addons
                yield "wrong_addon", "add-ons", should, is_now, by_hand
            case "prices":
                mine = {p.of: p for p in wanted.prices}
                theirs = {p.of: p for p in standing.prices}
                should, is_now = _differing(mine, theirs, _priced)
                by_hand = applied is not None and {p.of: p for p in applied.prices} != theirs
                yield "wrong_price", "prices", should, is_now, by_hand
            case "entitlements":
                should, is_now = _granted(wanted, standing)
                ids = {e.id for e in applied.entitlements} if applied else None
                by_hand = ids is not None and ids != {*standing.entitlement_ids}
                yield "wrong_entitlement", "entitlements", should, is_now, by_hand
            case "charges":
                # Stigg shows no quantity: compared is what was written last, if the fingerprint says it still stands.
                kept = applied is not None and standing.metadata.get(TERMS_KEY) == applied.fingerprint
                if applied is not None and kept:
                    should, is_now = _differing(wanted.counted, applied.counted, _counted)
                    yield "wrong_entitlement", "units", should, is_now, False
            case "end":
                by_hand = applied is not None and applied.cancellation != standing.cancellation
                if applied is not None and applied.cancellation == EndOfBillingPeriod() and self.covered(wanted.slot):
                    by_hand = False  # the first version kept it as written also where Stigg refused it
                should, is_now = self.ends(wanted.cancellation), self.ends(standing.cancellation)
                yield "wrong_date", "the end", should, is_now, by_hand
            case "end of trial":
                by_hand = applied is not None and applied.trial_end != standing.trial_end
                should, is_now = self.trial_ends(wanted.trial_end), self.trial_ends(standing.trial_end)
                yield "wrong_date", "the end", should, is_now, by_hand
            case "coupon":
                by_hand = applied is not None and applied.coupon not in (None, *standing.coupons)
                is_now = f"coupon {', '.join(standing.coupons)}" if standing.coupons else "no coupon"
                yield "wrong_price", "the coupon", f"coupon {wanted.coupon}", is_now, by_hand
            case "terms":
                yield from self.terms(wanted, standing, applied)
            case _:
                yield from self.linked(wanted, standing, applied)

    def linked(
        self, wanted: Subscription, standing: Actual, applied: Subscription | None
    ) -> Iterator[tuple[str, str, str, str, bool]]:
        """Name links that differ."""
        mine, told = metadata_of(wanted, self.links), standing.metadata
        names = sorted(k for k, v in mine.items() if told.get(k) != v and k != TERMS_KEY)
        if names:
            by_hand = applied is not None and metadata_of(applied, self.links) == mine
            kind = "changed_by_hand" if by_hand else "wrong_plan"
            gone = "removed" if all(name not in told for name in names) else "changed"
            yield kind, "metadata", f"{listed(names)} as written", gone, by_hand

    def terms(
        self, wanted: Subscription, standing: Actual, applied: Subscription | None
    ) -> Iterator[tuple[str, str, str, str, bool]]:
        """Name a difference that only the fingerprint shows: in what was written and cannot be read back."""
        kept = standing.metadata.get(TERMS_KEY)
        if applied is None or kept != applied.fingerprint:
            is_now = "removed" if kept is None else "changed"
            by_hand = applied is not None
            kind = "changed_by_hand" if by_hand else "wrong_entitlement"
            yield kind, "metadata", f"{TERMS_KEY} as written", is_now, by_hand
            return
        kinds = {"entitlements": "wrong_entitlement", "terms": "wrong_price"}
        found = [d for d in differences(applied, wanted) if d.group in kinds]
        if not found:
            yield "wrong_price", "terms", "as the deals say", "as before", False
        for difference in found:
            what = f"{difference.group} ({difference.name})"
            yield kinds[difference.group], what, difference.now, difference.was, False

    def ends(self, until: Until) -> str:
        match until:
            case At(instant):
                return f"an end on {self.calendar.last(instant)}"
            case EndOfBillingPeriod():
                return "an end with the billing period"
            case Never():
                return "no end"

    def trial_ends(self, at: Instant | None) -> str:
        return self.ends(At(at) if at else Never())

    def ending(self, change: End, effect: Effect, lowers: bool) -> None:
        """Name a subscription that is to end."""
        if self.covered(change.slot):
            return
        applied = self.records.get(change.slot, SlotRecord()).applied
        by_hand = False
        if change.at is not None:
            by_hand = applied is not None and applied.cancellation == change.at
            words = f"{change.plan_id} was cancelled for the end of its billing period, and does not end in Stigg."
        else:
            words = f"{change.plan_id} should have ended: no deal gives it any more."
        self.find(
            "wrong_date",
            words,
            effect,
            opportunity_id=change.opportunities[0] if change.opportunities else None,
            subscription_id=change.subscription_id,
            should=self.ends(change.at) if change.at else "ended",
            is_now="runs on",
            by_hand=by_hand,
            lowers=lowers,
        )

    def ended(self) -> None:
        """Name what was ended elsewhere, and no deal shows yet: it is shown, and never given back by itself."""
        for slot, one in self.stopped.items():
            gone, was = self.actual[one.subscription], self.written[slot].applied
            by_hand = one.reason in ("", *BY_PEOPLE)
            told = next((hold.reason for hold in self.plan.holds if hold.slot == slot), None)
            words = "What was ended in Stigg would have ended by now." if told is None else sentence(told)
            if was is not None:
                words = f"Somebody ended {self.of(was)} in Stigg; no deal ends it." if by_hand else words
                self.find(
                    "changed_by_hand" if by_hand else "ended_elsewhere",
                    words,
                    "show",
                    opportunity_id=was.opportunities[0],
                    subscription_id=gone.id,
                    should=self.described(was),
                    is_now=f"ended ({gone.status.lower()})",
                    by_hand=by_hand,
                )

    def unpaid(self) -> None:
        """Name subscriptions whose payment fails, or not any more, where no deal shows it yet."""
        for keep in self.plan.kept:
            record = self.records.get(keep.subscription.slot, SlotRecord())
            if record.payment == keep.payment or record.subscription_id != keep.subscription_id:
                continue
            should, is_now = _collected(keep.payment), _collected(record.payment)
            self.find(
                "payment_changed",
                f"The payment of {self.of(keep.subscription)} {should}, and the deal shows that it {is_now}.",
                "show",
                opportunity_id=keep.subscription.opportunities[0],
                subscription_id=keep.subscription_id,
                should=should,
                is_now=is_now,
            )

    def hold(self, hold: Hold) -> None:
        """What waits for somebody: for somebody else's subscription in the way, or because what was provisioned cannot
        stay as it is.
        """
        applied = self.records.get(hold.slot, SlotRecord()).applied
        opportunity = hold.opportunities[0] if hold.opportunities else None
        if hold.foreign is not None:
            self.find(
                "foreign_subscription",
                sentence(hold.reason),
                opportunity_id=opportunity,
                subscription_id=hold.foreign,
                should=self.described(self.desired.subscriptions[hold.slot]),
                is_now=f"{self.actual[hold.foreign].plan_id} of somebody else",
                by_hand=applied is not None and applied == self.desired.subscriptions[hold.slot],
            )
            return
        if hold.reason.code in (*STOPS, "customer_archived"):
            return  # a finding of its own, or said by its deals already
        states = [self.customer.opportunities.get(id) for id in hold.opportunities]
        said = any(state is not None and state.outcome.status == "Held" for state in states)
        if not said and not self.covered(hold.slot):
            words = sentence(hold.reason)
            self.find("wrong_plan", words, opportunity_id=opportunity, should="decided by somebody", is_now="held")

    def values(self, wanted: Subscription, id: str, effect: Effect = "hidden", lowers: bool = False) -> None:
        """Compare entitlement values, where they were read: Stigg's lists leave them out, so no plan shows them."""
        read = (self.view.allowed or {}).get(id)
        if read is None:
            return
        mine = {e.id: amount_of(e) for e in wanted.entitlements if e.type == "FEATURE"}
        theirs = {feature: read.amounts.get(feature, 0.0) for feature in mine}
        # Stigg shows what a customer may use in all: add-ons and other subscriptions add to this one's values.
        if not read.alone:  # what is more than enough may come from elsewhere
            theirs = {feature: min(amount, mine[feature]) for feature, amount in theirs.items()}
        if mine == theirs:
            return
        should, is_now = _differing(mine, theirs, _valued)
        words = f"Somebody changed entitlements of {self.of(wanted)} in Stigg: {is_now} instead of {should}."
        self.find(
            "wrong_entitlement",
            words,
            effect,
            opportunity_id=wanted.opportunities[0],
            subscription_id=id,
            should=should,
            is_now=is_now,
            by_hand=True,
            lowers=lowers or any(amount > mine[feature] for feature, amount in theirs.items()),
        )

    def orphans(self) -> None:
        """Find subscriptions that look like closed-won's own, but are in no slot of the ledger."""
        customer_id = self.customer.bound_id
        slots = {*self.desired.subscriptions, *(slot for slot, r in self.records.items() if r.applied is not None)}
        known = {record.subscription_id for record in self.records.values() if record.applied is not None}
        for one in self.listed:
            id, standing = one["id"], self.actual.get(one["id"])
            # What ended, or is in a slot, is the plan's to compare.
            if one["status"] not in LIVE or id in known:
                continue
            elsewhere = standing is None
            named = any(is_ours(customer_id, slot, id) for slot in {*self.records, *self.desired.subscriptions})
            if not (TERMS_KEY in (one.get("metadata") or {}) or (named and not elsewhere)):
                continue
            if not elsewhere and any(standing is not None and self.ours(standing, s, SlotRecord()) for s in slots):
                continue
            if standing is not None and standing.slot in slots:
                continue  # the plan has named it
            words = f"{one['planId']} (subscription {id}) looks as if closed-won had made it, and no deal gives it."
            if elsewhere:
                words = f"{words[:-1]}: it belongs to another customer in Stigg."
            self.find("orphan_subscription", words, subscription_id=id, should="none", is_now=one["planId"])

    # What an execution would lower

    def lowers(self, change: Change, of: Plan) -> bool:
        """Whether a change ends something, or gives less than Stigg holds or was written last."""
        slot = _slot(change)
        if isinstance(change, End):
            made = any(isinstance(c, Create) and c.subscription.slot == slot for c in of.changes)
            paid = slot.trial and change.after is not None
            return not made and not paid
        wanted, record = change.subscription, self.records.get(slot, SlotRecord())
        if isinstance(change, Update):
            return _less(wanted, self.actual[change.subscription_id], record.applied)
        way = next((c for c in of.changes if isinstance(c, End) and c.makes_way and c.slot == slot), None)
        standing = self.actual.get(way.subscription_id if way else change.replaces or "")
        if standing is None:
            return False
        if not self.ours(standing, slot, record) or standing.plan_id != wanted.plan_id:
            # Two plans cannot be compared by numbers, so replacing one counts as a reduction, which a person approves.
            return True  # what another plan gives, only people can tell
        later = change.start is not None and standing.status == "ACTIVE" and change.start > from_milliseconds(self.now)
        return later or _less(wanted, standing, record.applied)

    # Work and waiting

    def failures(self) -> dict[str, OpportunityState]:
        """The deals that failed and that closed-won can try again by itself: refused deals are not among them."""
        # The sweep will try again within a day: that is no drift.
        if self.customer.due_at is not None and self.customer.due_at <= self.now + 86_400_000:
            return {}
        unprepared = self.customer.unprepared
        return {
            id: state
            for id, state in self.customer.opportunities.items()
            if state.outcome.status == "Failed"
            and not state.order.problems
            and id not in self.desired.refused
            and id not in unprepared
        }

    def still(self) -> None:
        """Find work that stands still: nothing will start it."""
        customer = self.customer
        lowers = any(self.covered(_slot(change)) and self.lowers(change, self.plan) for change in self.plan.changes)
        if self.behind or self.overdue:
            since = iso_of(customer.due_at) if customer.due_at is not None else ""
            waiting = [id for id, state in customer.opportunities.items() if state.version > customer.applied]
            for id in waiting or (None,):
                what = "This deal was accepted and is not provisioned" if id else "Work for this customer is not done"
                words = (
                    f"{what}: it was due at {since}, and nobody has taken it." if since else f"{what}: nothing is due."
                )
                self.find("failed_not_rerun", words, "look", opportunity_id=id, lowers=lowers, since=since)
            return
        for id, state in self.failed.items():
            words = "Provisioning this deal failed, and nothing is due that would try again."
            since = iso_of(state.at)
            self.find("failed_not_rerun", words, "look", opportunity_id=id, lowers=lowers, since=since)
        for grant in self.plan.grants:
            if grant.opportunity_id not in self.failed:
                words = f"{grant.amount:,} of {grant.currency_id} were never granted for this deal."
                self.find("failed_not_rerun", words, "look", opportunity_id=grant.opportunity_id, lowers=lowers)

    def waiting(self) -> None:
        """Find deals that have waited for a person for too long."""
        longest = self.watch.held_too_long_days * 86_400_000
        for id, state in self.customer.opportunities.items():
            refused = state.outcome.status == "Failed" and id not in self.failed and not self.behind
            if (state.outcome.status == "Held" or refused) and self.now - state.at > longest:
                days = (self.now - state.at) // 86_400_000
                words = f"This deal has been {'refused' if refused else 'held'} for {days} days."
                self.find(
                    "held_too_long", words, opportunity_id=id, is_now=state.outcome.status, since=iso_of(state.at)
                )

    # What Salesforce shows

    def written_back(self, shown: Mapping[str, Json]) -> None:
        """Compare the Stigg Provisioning of each deal that has an outcome."""
        deals = {deal.opportunity_id: deal for deal in self.view.deals or ()}
        for id, state in self.customer.opportunities.items():
            # A deal on its way has no outcome yet; the write-back shows one when there is.
            settled = state.outcome.status != "Provisioning" or told(state.outcome)
            deal = deals.get(id)
            if not settled or (deal is not None and deal.deleted):
                continue
            wanted = provisioning_record(self.customer, state, self.watch.app_url, self.watch.package)
            self.compare_record("The deal's Stigg Provisioning", wanted, shown.get(id), "rewrite", id)

    def compare_record(
        self, what: str, wanted: Json, shown: Json | None, effect: Effect, opportunity_id: str | None = None
    ) -> None:
        if shown is None or (effect == "account" and not any(shown.values())):
            said = "does not show its customer in Stigg" if effect == "account" else "is missing"
            self.find("missing_write_back", f"{what} {said}.", effect, opportunity_id=opportunity_id, is_now="missing")
            return
        names = [
            name
            for name, value in wanted.items()
            if name not in _NOT_COMPARED and name in shown and not _shows(name, value, shown[name])
        ]
        if names:
            status = "Status__c" in names
            self.find(
                "stale_write_back",
                f"{what} shows something else in {listed(names)}.",
                effect,
                opportunity_id=opportunity_id,
                should=str(wanted["Status__c"]) if status else "",
                is_now=safe_text(str(shown["Status__c"]), 40) if status else "",
            )


def _slot(change: Change) -> Slot:
    return change.slot if isinstance(change, End) else change.subscription.slot


def _collected(payment: Payment | None) -> str:
    """How collecting a payment goes, as the rest of a sentence."""
    if payment is None:
        return "is in order"
    return "failed" if payment.collection == "FAILED" else "waits for the customer"


_TRIGGERS = {"trial": "trial", "cancellation": "cancellation", "renewal": "renewal", "amendment": "amendment"}


def _differing(mine: Mapping[Any, Any], theirs: Mapping[Any, Any], words: Any) -> tuple[str, str]:
    """What differs between two dicts, in words: of the first, and of the second."""
    keys = sorted((key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)), key=str)
    return tuple(", ".join(words(key, side.get(key)) for key in keys) for side in (mine, theirs))  # type: ignore[return-value]


def _counted(id: str, count: int | None) -> str:
    return f"{count:,} {id}" if count else f"no {id}"


def _priced(addon_id: str | None, price: Any) -> str:
    name = addon_id or "base price"
    return f"{name} {money(price.amount, price.currency)}" if price else f"{name} as listed"


def _valued(feature: str, amount: float | None) -> str:
    if not amount:
        return f"no {feature}"
    return f"{feature} {'unlimited' if amount == float('inf') else f'{amount:,.0f}'}"


def _granted(wanted: Subscription, standing: Actual) -> tuple[str, str]:
    """The entitlements that only one side has, in words: as wanted, and as they stand."""
    granted, there = {e.id: quantity(e) for e in wanted.entitlements}, {*standing.entitlement_ids}
    missing, extra = sorted(granted.keys() - there), sorted(there - granted.keys())
    should = [f"{id} {granted[id]}" for id in missing] + [f"no {id}" for id in extra]
    return ", ".join(should), ", ".join([f"no {id}" for id in missing] + extra)


def _fewer(mine: Mapping[str, float], than: Iterable[tuple[str, float]]) -> bool:
    return any(mine.get(id, 0) < count for id, count in than)


def _less(wanted: Subscription, standing: Actual, applied: Subscription | None) -> bool:
    """Whether a subscription as it is wanted gives less than it gives now, as far as anybody knows, or ends earlier."""
    addons, granted = dict(wanted.addons), {e.id: amount_of(e) for e in wanted.entitlements}
    if _fewer(addons, standing.addons):
        return True
    if applied and _fewer(wanted.counted, applied.counted.items()):
        return True
    if {*standing.entitlement_ids} - granted.keys():
        return True
    kept = [(e.id, amount_of(e)) for e in (applied.entitlements if applied else ()) if e.id in standing.entitlement_ids]
    if _fewer(granted, kept):
        return True
    if isinstance(wanted.cancellation, EndOfBillingPeriod) and not wanted.slot.trial:
        return standing.cancellation == Never()
    return ending(wanted.ends) < ending(standing.ends)


_NOT_COMPARED = ("attributes", "Approved__c", "Execution__c")
"""Fields that are not compared: people tick Approved; each try has another execution, which alone is not written."""


def _shows(name: str, wanted: Any, shown: Any) -> bool:
    """Whether a field of a record shows a value. Salesforce keeps times to the second, trims texts, and may tell an ID
    by 15 characters.
    """
    if wanted == shown:  # nearly always: the rest takes its time
        return True
    if wanted in (None, "") or shown in (None, ""):
        return wanted in (None, "") and shown in (None, "")
    if name.endswith("_At__c"):
        return abs((from_iso(wanted) - from_iso(shown)).total_seconds()) < 1
    if name in ("Opportunity__c", "Opportunity_ID__c", "Account__c"):
        return _id18(wanted) == _id18(shown)
    return _trimmed(wanted) == _trimmed(shown)


def _id18(id: Any) -> str:
    try:
        return normalised_id(str(id))
    except ValueError:
        return str(id)


def _trimmed(text: Any) -> str:
    return str(text).replace("\r\n", "\n").strip()
