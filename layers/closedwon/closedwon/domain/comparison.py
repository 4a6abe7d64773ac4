"""What a subscription that stands in Stigg differs in from the one that is wanted, and whether that can be changed in
place. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from closedwon.domain.changes import Actual, Aspect, Change, End, Hold, Update
from closedwon.domain.codes import Reason
from closedwon.domain.desired import Subscription, price_order
from closedwon.domain.instants import EndOfBillingPeriod, Never
from closedwon.domain.marks import TERMS_KEY, Backlinks, metadata_of
from closedwon.domain.records import SlotRecord
from closedwon.domain.upgrade import differences


def differing(
    wanted: Subscription, standing: Actual, links: Backlinks, applied: Subscription | None
) -> tuple[Aspect, ...]:
    """What of a subscription that stands is not as it is wanted. applied: what was written last, None where that is not
    known.
    """
    metadata = metadata_of(wanted, links)
    charged = not _charged_otherwise(wanted, standing, applied)
    # Where only units differ, nothing else is written.
    alike = wanted if charged or applied is None else wanted.charged_as(applied)
    aspects: tuple[tuple[Aspect, bool], ...] = (
        ("add-ons", standing.addons == wanted.addons),
        ("prices", standing.prices == tuple(sorted(wanted.prices, key=price_order))),
        ("entitlements", standing.entitlement_ids == tuple(sorted(e.id for e in wanted.entitlements))),
        ("charges", charged),
        ("end", _ends_as(standing, wanted)),
        ("coupon", wanted.coupon is None or wanted.coupon in standing.coupons),
        ("end of trial", not wanted.slot.trial or standing.trial_end == wanted.trial_end),
        ("terms", standing.metadata.get(TERMS_KEY) == alike.fingerprint),
        ("links", metadata.items() <= standing.metadata.items()),
    )
    differs = [aspect for aspect, same in aspects if not same]
    told = not {"terms", "charges"}.isdisjoint(differs)
    if told and metadata.items() - standing.metadata.items() == {(TERMS_KEY, wanted.fingerprint)}:
        differs.remove("links")  # the fingerprint is in the metadata too: it alone is no difference of links
    return tuple(differs)


def _charged_otherwise(wanted: Subscription, standing: Actual, applied: Subscription | None) -> bool:
    """Whether there is to be another quantity of what is charged by the unit. No answer of Stigg shows any: what was
    written last counts, where the fingerprint says that it still stands.
    """
    kept = standing.metadata.get(TERMS_KEY)
    if kept == wanted.fingerprint:
        return False
    before = {} if applied is None else applied.counted
    if applied is None or kept != applied.fingerprint:  # nobody knows how many there are
        return bool(before or wanted.counted)
    return before != wanted.counted


UNCHANGEABLE = (
    ("payment_collection", "payment collection"),
    ("paying_customer_id", "the paying customer"),
    ("trial_end_behavior", "what becomes of a trial at its end"),
    ("coupon", "the coupon"),  # another can take its place; it cannot be taken away
)
"""What Stigg's PATCH cannot change, and starting anew would bill or try anew: it is held."""


def unchangeable(wanted: Subscription, standing: Actual, record: SlotRecord) -> Hold | None:
    """The hold where a deal changes what Stigg cannot change on a subscription that stands; else None."""
    applied = record.applied
    if applied is None or applied.slot != wanted.slot:
        return None
    if standing.metadata.get(TERMS_KEY) == wanted.fingerprint:  # made so by a step that died before it was recorded
        return None
    for name, words in UNCHANGEABLE:
        was, is_now = getattr(applied, name), getattr(wanted, name)
        if was != is_now and (name != "coupon" or is_now is None):
            why = Reason.of(
                "cannot_change",
                term=words,
                before=was or None,
                after=is_now or None,
                plan=wanted.plan_id,
                subscription=standing.id,
                slot=wanted.slot.key,
            )
            return Hold(wanted.slot, wanted.opportunities, why)
    return None


def _units_before(kept: str, otherwise: Subscription) -> int:
    """The units that the terms kept with a subscription tell; those of another where they tell none."""
    units = kept.partition("-")[0]
    return int(units) if units.isdecimal() else otherwise.unit_quantity


def read_differently(wanted: Subscription, standing: Actual, applied: Subscription | None) -> Reason | None:
    """Why what stands waits: it was sold as an entitlement, or as units of a plan that has no unit pricing, by a
    version that did not know what the plan charges. What the customer has and pays changes only by an approval, of all
    that would change.
    """
    kept = standing.metadata.get(TERMS_KEY, "")
    if kept == wanted.fingerprint:  # made so by a step that died before it was recorded
        return None
    was = _units_before(kept, applied or wanted)
    units_gone = wanted.unit_feature is None and was != wanted.unit_quantity
    if applied is None:
        before, after = {"units": was}, {"units": wanted.unit_quantity}
        return Reason.of("read_differently", before=before, after=after, plan=wanted.plan_id) if units_gone else None
    if applied.plan_id != wanted.plan_id or not (units_gone or _sold_otherwise(wanted, applied)):
        return None
    before, after = differences(applied, wanted, standing.status == "NOT_STARTED") or ({}, {})
    return Reason.of("read_differently", before=before, after=after, plan=wanted.plan_id)


def _sold_otherwise(wanted: Subscription, applied: Subscription) -> bool:
    """Whether anything was sold as an entitlement and would be charged by the unit, or the other way round."""
    were, are = ({e.id for e in one.entitlements if e.type == "FEATURE"} for one in (applied, wanted))
    return any(id in were and id not in applied.counted for id in wanted.counted) or any(
        id in are and id not in wanted.counted for id in applied.counted
    )


def tiered_override(wanted: Subscription, standing: Actual, aspects: Collection[Aspect]) -> Hold | None:
    """The hold where prices would be written on a subscription of which somebody overrode a price in tiers: a PATCH
    replaces all overrides and takes no tiers (the SDK's SubscriptionUpdateParams), so that those would be lost.
    """
    if "prices" not in aspects or not standing.tiered:
        return None
    item = standing.tiered[0]
    facts = {"item": item, "plan": wanted.plan_id, "subscription": standing.id, "slot": wanted.slot.key}
    return Hold(wanted.slot, wanted.opportunities, Reason.of("tiered_override", **facts))


def matches(foreign: Actual, wanted: Subscription) -> bool:
    """Whether a subscription somebody else made already is what the deal wants, as far as Stigg shows it."""
    return (
        foreign.plan_id == wanted.plan_id
        and foreign.addons == wanted.addons
        and set(foreign.entitlement_ids) == {entitlement.id for entitlement in wanted.entitlements}
        and foreign.prices == wanted.prices
    )


def update_of(
    wanted: Subscription, standing: Actual, aspects: tuple[Aspect, ...], applied: Subscription | None
) -> Update:
    """A change in place. applied: what was written last, None where that is not known."""
    spending: tuple[Literal["budget", "minimum_spend"], ...] = ("budget", "minimum_spend")
    withdrawn = tuple(
        name for name in spending if applied and getattr(applied, name) is not None and getattr(wanted, name) is None
    )
    return Update(wanted, standing.id, aspects, standing.metadata, withdrawn)


def adoption(wanted: Subscription, standing: Actual) -> Iterable[Change]:
    """From here on a subscription that somebody else made is closed-won's: it gets its marks, its end, and what cannot
    be seen to be the same.
    """
    aspects: tuple[Aspect, ...] = ("terms",)
    if wanted.counted:
        aspects += ("charges",)
    if wanted.coupon:
        aspects += ("coupon",)
    if not _ends_as(standing, wanted):
        aspects += ("end",)
    yield Update(wanted, standing.id, aspects, standing.metadata, adopts=True)
    yield from ends_with_billing_period(wanted, standing)


def _ends_as(standing: Actual, wanted: Subscription) -> bool:
    """Whether it ends on the day that is wanted, or no day is: an `End` tells it to end with its billing period."""
    return isinstance(wanted.cancellation, EndOfBillingPeriod) or standing.cancellation == wanted.cancellation


def ends_with_billing_period(wanted: Subscription, standing: Actual) -> Iterable[End]:
    """The end of one that is to end with its billing period, and has no end yet."""
    match wanted.cancellation, standing.cancellation:
        case EndOfBillingPeriod() as at, Never():
            yield End(wanted.slot, standing.id, wanted.plan_id, wanted.opportunities, at=at)
