"""Changes as sentences for a sales rep. Pure.

The same sentences describe what happens now and what happens later: they compare a subscription as it stands with the
one that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from closedwon.domain.changes import Change, Create, Plan, Update
from closedwon.domain.desired import Entitlement, Grant, Price, Slot, Subscription, amount_of
from closedwon.domain.instants import At, EndOfBillingPeriod, Instant, Never
from closedwon.words.reasons import in_words

PERIODS = {"MONTHLY": "monthly", "ANNUALLY": "annually"}
UNITS_OF_TIME = {"YEAR": "a year", "MONTH": "a month", "WEEK": "a week", "DAY": "a day", "HOUR": "an hour"}


class Calendar(NamedTuple):
    """Instants as the days people speak of, in the stack's time zone."""

    zone: ZoneInfo

    def first(self, instant: Instant) -> str:
        """The day something begins; with the time where that is not midnight."""
        local = instant.astimezone(self.zone)
        return f"{local:%Y-%m-%d}" if local.time() == time() else f"{local:%Y-%m-%d at %H:%M}"

    def last(self, instant: Instant) -> str:
        """The last day before something is over; the time where that is not midnight."""
        local = instant.astimezone(self.zone)
        # A day on the local clock, so that one of 23 or 25 hours is a day like any other.
        return f"{local - timedelta(days=1):%Y-%m-%d}" if local.time() == time() else f"{local:%Y-%m-%d at %H:%M}"


class Difference(NamedTuple):
    """One value that differs: its group and name, before and after; lowers: whether the customer gets less."""

    group: str
    name: str
    was: str
    now: str
    lowers: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.was} -> {self.now}"


def money(amount: float, currency: str) -> str:
    """An amount in whole currency units as text: 48,000.00 USD; with more decimals where a price has them."""
    return f"{amount:,.2f} {currency.upper()}" if amount == round(amount, 2) else f"{amount:,} {currency.upper()}"


def quantity(entitlement: Entitlement | None) -> str:
    """How much an entitlement gives."""
    if entitlement is None:
        return "none"
    if entitlement.limit is None:
        return "unlimited" if entitlement.unlimited else "on"
    # A span of time that Stigg may add is left out of the sentence, rather than shown as its API spells it.
    every = UNITS_OF_TIME.get(entitlement.reset_period or entitlement.cadence or "", "")
    return " ".join(filter(None, (f"{entitlement.limit:,}", every, "(soft limit)" if entitlement.soft_limit else "")))


def differences(was: Subscription, now: Subscription) -> Iterator[Difference]:
    """The differences between two states of one subscription, except in its dates, plan and links."""
    if was.unit_quantity != now.unit_quantity:
        lowers = now.unit_quantity < was.unit_quantity
        yield Difference("units", "units", f"{was.unit_quantity:,}", f"{now.unit_quantity:,}", lowers)
    yield from _other_counts("units", dict(was.charges), dict(now.charges))
    yield from _other_counts("add-ons", dict(was.addons), dict(now.addons))
    yield from _other_entitlements({e.id: e for e in was.entitlements}, {e.id: e for e in now.entitlements})
    yield from _other_prices(was, now)
    terms = (
        ("billing period", PERIODS.get(was.billing_period or ""), PERIODS.get(now.billing_period or "")),
        ("coupon", was.coupon, now.coupon),
        ("budget", _budget(was), _budget(now)),
        ("minimum spend", _spent(was.minimum_spend), _spent(now.minimum_spend)),
        ("payment", _lower(was.payment_collection), _lower(now.payment_collection)),
        ("paying customer", was.paying_customer_id, now.paying_customer_id),
    )
    for name, old, new in terms:
        if old != new:
            yield Difference("terms", name, old or "none", new or "none")


def _other_counts(group: str, was: Mapping[str, int], now: Mapping[str, int]) -> Iterator[Difference]:
    for id in sorted({*was, *now}):
        if was.get(id) != now.get(id):
            lowers = now.get(id, 0) < was.get(id, 0)
            yield Difference(group, id, f"{was.get(id) or 'none'}", f"{now.get(id) or 'none'}", lowers)


def _other_entitlements(was: Mapping[str, Entitlement], now: Mapping[str, Entitlement]) -> Iterator[Difference]:
    for id in sorted({*was, *now}):
        one, other = was.get(id), now.get(id)
        if one != other:
            lowers = one is not None and (other is None or amount_of(other) < amount_of(one))
            yield Difference("entitlements", id, quantity(one), quantity(other), lowers)


def _other_prices(was: Subscription, now: Subscription) -> Iterator[Difference]:
    prices, others = {p.of: p for p in was.prices}, {p.of: p for p in now.prices}
    parts = {**dict(now.addons), **now.counted}
    # The base price, which is of nothing else, comes first: None cannot be compared with a text.
    for of in sorted({*prices, *others}, key=lambda id: id or ""):
        # One sentence for an add-on that goes, not a second one for its price.
        gone = of is not None and of not in parts
        if prices.get(of) != others.get(of) and not gone:
            # Never `lowers`, whatever the price does: it takes nothing away that the customer may use.
            name = of or "base price"
            yield Difference("prices", name, _priced(prices.get(of)), _priced(others.get(of)))


def _priced(price: Price | None) -> str:
    return money(price.amount, price.currency) if price else "list price"


def _spent(price: Price | None) -> str | None:
    return money(price.amount, price.currency) if price else None


def _budget(subscription: Subscription) -> str | None:
    if subscription.budget is None:
        return None
    # Without a currency: a budget in Stigg has none of its own.
    return f"{subscription.budget:,.2f}{' (soft limit)' if subscription.budget_soft else ''}"


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def created(wanted: Subscription, start: Instant | None, calendar: Calendar) -> list[str]:
    """What a new subscription is, what it includes, its terms. start: None for at once."""
    begins = f" from {calendar.first(start)}" if start else ""
    resource = f" for {wanted.slot.resource_id}" if wanted.slot.resource_id else ""
    # Most plans are not sold by the unit, and have one: to name it would puzzle whoever reads it.
    units = f", {wanted.unit_quantity:,} units" if wanted.unit_quantity != 1 else ""
    if wanted.slot.trial:
        until = f" to {calendar.last(wanted.trial_end)}" if wanted.trial_end else ""
        # Both ways are told before anything is made: one of them costs the customer money.
        then = "it becomes a paid subscription" if wanted.trial_end_behavior == "CONVERT_TO_PAID" else "access ends"
        said = [f"Starts a trial of {wanted.plan_id}{resource}{begins}{until}{units}; if the deal is not won, {then}."]
    else:
        lasts = _lasts(wanted, calendar)
        said = [f"Creates a subscription to {wanted.plan_id}{resource}{begins}{lasts}{units}{_billed(wanted)}."]
    prices = {price.of: price for price in wanted.prices}
    parts = [f"{id} {units:,}{_each(prices.get(id))}" for id, units in (*wanted.charges, *wanted.addons)]
    parts += [f"{entitlement.id} {quantity(entitlement)}" for entitlement in wanted.entitlements]
    if parts:
        said.append(f"It includes {', '.join(parts)}.")
    terms = (
        ("coupon", wanted.coupon),
        ("budget", _budget(wanted)),
        ("minimum spend each billing period", _spent(wanted.minimum_spend)),
        ("paid by the customer", wanted.paying_customer_id),
    )
    if any(value for _, value in terms):
        said.append(f"Its terms: {', '.join(f'{name} {value}' for name, value in terms if value)}.")
    return said


def _lasts(wanted: Subscription, calendar: Calendar) -> str:
    match wanted.cancellation:
        case At(instant):
            return f" to {calendar.last(instant)}"
        case EndOfBillingPeriod():
            return " to the end of its billing period"
        case Never():
            return ""


def _billed(wanted: Subscription) -> str:
    of_plan = (None, None if dict(wanted.charges).get(wanted.unit_feature or "") else wanted.unit_feature)
    base = next((price for price in wanted.prices if price.of in of_plan), None)
    price = f"{money(base.amount, base.currency)}{' a unit' if wanted.unit_quantity != 1 else ''}" if base else ""
    if wanted.billing_period:
        return f", billed {PERIODS[wanted.billing_period]}{f' at {price}' if price else ''}"
    return f", at {price}" if price else ""


def _each(price: Price | None) -> str:
    return f" ({money(price.amount, price.currency)} each)" if price else ""


def changed(was: Subscription, now: Subscription, calendar: Calendar) -> list[str]:
    """What differs between two states of one subscription, a sentence for each group of things."""
    name = f"the trial of {now.plan_id}" if now.slot.trial else now.plan_id
    groups: dict[str, list[str]] = {}
    for difference in differences(was, now):
        groups.setdefault(difference.group, []).append(str(difference))
    said = [f"Changes {group} of {name}: {', '.join(parts)}." for group, parts in groups.items()]
    if was.plan_id != now.plan_id:
        # First, because whatever else differs comes with the other plan.
        said.insert(0, f"Replaces {was.plan_id} by {now.plan_id}.")
    if now.slot.trial and was.trial_end != now.trial_end and was.trial_end and now.trial_end:
        said.append(f"Moves the end of {name} from {calendar.last(was.trial_end)} to {calendar.last(now.trial_end)}.")
    if was.cancellation != now.cancellation:
        said.append(_end(was, now, calendar))
    return said


def _end(was: Subscription, now: Subscription, calendar: Calendar) -> str:
    match now.cancellation:
        case EndOfBillingPeriod():
            return f"Ends {now.plan_id} with the billing period that is under way then."
        case At(instant):
            return f"Ends {now.plan_id}: the last day of access is {calendar.last(instant)}."
        case Never():
            # Of an end with a billing period only Stigg knows the day.
            day = f" on {calendar.last(was.cancellation.instant)}" if isinstance(was.cancellation, At) else ""
            return f"{now.plan_id} goes on: it does not end{day} any more."


def granted(grant: Grant, calendar: Calendar) -> str:
    """A credit grant."""
    cost = f" for {money(grant.cost, grant.money)}" if grant.cost else ""
    until = f", to be used by {calendar.last(grant.expire_at)}" if grant.expire_at else ""
    return f"Grants {grant.amount:,} of {grant.currency_id} once{cost}{until}."


def lowered(found: Iterable[Difference]) -> str:
    """What the customer loses, "" where that is nothing."""
    return ", ".join(str(difference) for difference in found if difference.lowers)


def listed(words: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def later(sentence: str, day: str) -> str:
    """A sentence about what happens on another day."""
    return f"On {day}: {sentence[:1].lower()}{sentence[1:]}"


def would(change: Change) -> str:
    """What a change would do, naming IDs only, so that it may be logged."""
    if isinstance(change, Create):
        instead = f" in place of {change.replaces}" if change.replaces else ""
        return f"would make a subscription to {change.subscription.plan_id}{instead}"
    if not isinstance(change, Update):
        return f"would end the subscription {change.subscription_id} ({change.plan_id})"
    if change.adopts:
        return f"would adopt the subscription {change.subscription_id}"
    return f"would change {', '.join(change.changes)} of the subscription {change.subscription_id}"


def sentences(to_do: Plan, applied: Mapping[Slot, Subscription], calendar: Calendar) -> list[str]:
    """What a plan does, in sentences that name IDs only; none for an empty plan. applied: the subscription that
    closed-won last wrote in each slot.
    """
    said: list[str] = []
    for change in to_do.changes:
        if isinstance(change, Create):
            said += created(change.subscription, change.start, calendar)
            if change.replaces:
                said.append(f"It takes the place of {change.replaces}.")
            continue
        was = applied.get(change.subscription.slot) if isinstance(change, Update) else None
        words = changed(was, change.subscription, calendar) if was and isinstance(change, Update) else []
        # Nothing to compare where a foreign subscription is adopted, and no words where only links differ.
        said += words or [f"It {would(change)}."]
    said += [granted(grant, calendar) for grant in to_do.grants]
    return said + [f"Waits with {', '.join(hold.opportunities)}: {in_words(hold.reason)}" for hold in to_do.holds]
