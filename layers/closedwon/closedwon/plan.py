"""The plan: the list of changes from the actual state to the desired one. Pure.

Provisioning applies it, a preview shows it, drift is a plan that is not empty: there is no second comparer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from closedwon.catalogue import Catalogue
from closedwon.desired import Desired, Entitlement, Policy, Price, Slot, Subscription
from closedwon.errors import CustomerTaken, safe_text
from closedwon.links import salesforce_record_url
from closedwon.order import Order

LIVE = ("ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING")
"""States of a subscription that holds its slot, now or later. Every other state is an end."""

TERMS_KEY = "closedWonTerms"
"""Metadata of a subscription: the fingerprint of what was written and cannot be read back."""


@dataclass(frozen=True)
class Backlinks:
    """The way from Stigg back to Salesforce. salesforce_url: the organisation's My Domain, no slash at the end.
    integration_id: the Salesforce integration's own ID in Stigg, None where it is not set up.
    """

    salesforce_url: str
    account_id: str
    integration_id: str | None = None

    def of_customer(self) -> dict[str, str]:
        """The metadata that leads from a customer to its account."""
        return {
            "salesforceAccountId": self.account_id,
            "salesforceAccountUrl": salesforce_record_url(self.salesforce_url, self.account_id),
        }

    def of_subscription(self, opportunities: tuple[str, ...]) -> dict[str, str]:
        """The metadata that leads from a subscription to its opportunities; the link opens the first."""
        return {
            "salesforceAccountId": self.account_id,
            "salesforceOpportunityIds": ",".join(opportunities),
            "salesforceOpportunityUrl": salesforce_record_url(self.salesforce_url, opportunities[0]),
        }


@dataclass(frozen=True)
class Actual:
    """One subscription as Stigg holds it. Entitlement values and the billing period are not in its answers."""

    id: str
    slot: Slot
    plan_id: str
    pricing_type: str
    status: str
    addons: tuple[tuple[str, int], ...]
    entitlement_ids: tuple[str, ...]
    prices: tuple[Price, ...]
    cancellation: str | None
    metadata: dict[str, str]

    @classmethod
    def from_stigg(cls, data: Mapping[str, Any], catalogue: Catalogue) -> Actual:
        """From an element of Stigg's subscription list. A plan that left the catalogue has a product of its own."""
        return cls(
            id=data["id"],
            slot=Slot(catalogue.product_of(data["planId"]) or f"({data['planId']})", data.get("resourceId")),
            plan_id=data["planId"],
            pricing_type=data["pricingType"],
            status=data["status"],
            addons=tuple(sorted((addon["id"], addon["quantity"]) for addon in data.get("addons") or ())),
            entitlement_ids=tuple(
                sorted(entitlement["id"] for entitlement in data.get("subscriptionEntitlements") or ())
            ),
            prices=tuple(
                sorted(
                    (
                        Price(price.get("addonId"), float(price["amount"]), price.get("currency") or "usd")
                        for price in data.get("prices") or ()
                        if price.get("amount") is not None and (price.get("addonId") or price.get("baseCharge"))
                    ),
                    key=_price_order,
                )
            ),
            cancellation=data.get("cancellationDate"),
            metadata=dict(data.get("metadata") or {}),
        )


@dataclass(frozen=True)
class SlotRecord:
    """What the ledger remembers of one slot.

    generation: raised before a subscription is made, so that its ID is new. made: whether that ID is known to have
    been used. subscription_id: the one that stands, ours or adopted. status and checkout_url: Stigg's last answer.
    applied: what was last written.
    """

    generation: int = 0
    made: bool = False
    subscription_id: str | None = None
    status: str | None = None
    checkout_url: str | None = None
    applied: Subscription | None = None

    def to_json(self) -> dict[str, Any]:
        applied = self.applied.to_json() if self.applied else None
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "applied": applied}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SlotRecord:
        applied = data.get("applied")
        return cls(**{**data, "applied": Subscription.from_json(applied) if applied else None})


@dataclass(frozen=True)
class Create:
    """Make a subscription; Stigg ends the paid one that stands in its slot (replaces: its ID)."""

    subscription: Subscription
    generation: int
    replaces: str | None = None


@dataclass(frozen=True)
class Update:
    """Change a subscription in place. changes: what differs, in words. body: what Stigg's PATCH is sent."""

    subscription: Subscription
    subscription_id: str
    changes: tuple[str, ...]
    body: dict[str, Any]
    adopts: bool = False


@dataclass(frozen=True)
class Keep:
    """Nothing to do: it stands as it should."""

    subscription: Subscription
    subscription_id: str
    status: str


@dataclass(frozen=True)
class Hold:
    """Nothing is done until somebody decides. reason: in a sales rep's words."""

    slot: Slot
    opportunities: tuple[str, ...]
    reason: str


Change = Create | Update


@dataclass(frozen=True)
class Plan:
    """From actual to desired: the changes in the order they are made, what stays, what waits."""

    changes: tuple[Change, ...] = ()
    kept: tuple[Keep, ...] = ()
    holds: tuple[Hold, ...] = field(default=())

    @property
    def empty(self) -> bool:
        return not self.changes and not self.holds


def plan(
    customer_id: str,
    desired: Desired,
    actual: Iterable[Actual],
    records: Mapping[Slot, SlotRecord],
    policy: Policy,
    links: Backlinks,
) -> Plan:
    """Compare and decide.

    In: the customer's ID in Stigg; what it should have; its subscriptions in Stigg (with those that ended, where they
    are known: their IDs are not used again); what the ledger remembers of each slot; the stack's policy; the way back
    to Salesforce.
    Out: the plan. Applied, and planned again from what Stigg then holds, it is empty but for what is held.
    """
    seen = list(actual)
    live = [subscription for subscription in seen if subscription.status in LIVE]
    changes: list[Change] = []
    kept: list[Keep] = []
    holds: list[Hold] = []
    for slot, wanted in desired.subscriptions.items():
        record = records.get(slot, SlotRecord())
        # Ours are known by their ID: their plan, and with it their product, may have left the catalogue.
        here = [s for s in live if s.slot == slot or s.id == record.subscription_id or is_ours(customer_id, slot, s.id)]
        used = max((_generation(s.id) for s in seen if is_ours(customer_id, slot, s.id)), default=0)
        step = _decide(customer_id, wanted, here, record, used, policy, links)
        if isinstance(step, Hold):
            holds.append(step)
        elif isinstance(step, Keep):
            kept.append(step)
        else:
            changes.append(step)
    for slot, record in records.items():
        standing = {subscription.id for subscription in live if subscription.cancellation is None}
        if slot not in desired.subscriptions and record.applied and record.subscription_id in standing:
            reason = (
                f"no deal says {record.applied.plan_id} any more, or it left Stigg's catalogue; "
                "a subscription does not end without a cancellation."
            )
            holds.append(Hold(slot, record.applied.opportunities, reason))
    return Plan(tuple(changes), tuple(kept), tuple(holds))


def _decide(
    customer_id: str,
    wanted: Subscription,
    here: list[Actual],
    record: SlotRecord,
    used: int,
    policy: Policy,
    links: Backlinks,
) -> Change | Keep | Hold:
    """What to do in one slot. used: the highest generation that Stigg shows of it, 0 for none."""
    ours = [s for s in here if s.id == record.subscription_id or is_ours(customer_id, wanted.slot, s.id)]
    paid = [s for s in here if s.status != "IN_TRIAL" and s not in ours]
    unused = record.generation if record.generation and not record.made else record.generation + 1
    generation = max(unused, used + 1)
    if reason := _shrinks(record.applied, wanted, policy):
        return Hold(wanted.slot, wanted.opportunities, reason)
    if ours:
        standing = max(ours, key=lambda s: (s.id == record.subscription_id, _generation(s.id)))
        if standing.plan_id == wanted.plan_id and _units(standing, record, wanted) == wanted.unit_quantity:
            return _unpayable(wanted, standing, record) or _difference(wanted, standing, links)
        generation = max(record.generation, used) + 1
        return _trampling(wanted, paid, policy) or Create(wanted, generation, replaces=standing.id)
    if match := next((foreign for foreign in paid if _matches(foreign, wanted)), None):
        return replace(_update(wanted, match, ("adopted",), links), adopts=True)
    return _trampling(wanted, paid, policy) or Create(wanted, generation, replaces=paid[0].id if paid else None)


def _units(standing: Actual, record: SlotRecord, wanted: Subscription) -> int:
    """The units a subscription was written with, which no answer of Stigg shows: its metadata knows, even where a step
    died between its write and the ledger's. Where nobody knows, those wanted.
    """
    units = standing.metadata.get(TERMS_KEY, "").partition("-")[0]
    if units.isdecimal():
        return int(units)
    return record.applied.unit_quantity if record.applied else wanted.unit_quantity


def _unpayable(wanted: Subscription, standing: Actual, record: SlotRecord) -> Hold | None:
    """The hold where a deal changes how a subscription that stands is paid, which Stigg's PATCH cannot; else None."""
    applied = record.applied
    if applied is None or applied.payment_collection == wanted.payment_collection:
        return None
    if standing.metadata.get(TERMS_KEY) == wanted.fingerprint:  # made so by a step that died before it was recorded
        return None
    return Hold(
        wanted.slot,
        wanted.opportunities,
        f"payment collection cannot change from {applied.payment_collection or 'none'} to "
        f"{wanted.payment_collection or 'none'} while {wanted.plan_id} runs (subscription {standing.id}): change it in "
        "Stigg, and the deal back.",
    )


def _trampling(wanted: Subscription, foreign: list[Actual], policy: Policy) -> Hold | None:
    """The hold where a new subscription would end one that somebody else made and the policy protects; else None.

    All of them count: which of several Stigg ends is not for us to choose.
    """
    replaceable = {"hold": (), "replace-free": ("FREE",), "replace": ("FREE", "PAID", "CUSTOM")}[
        policy.foreign_subscription
    ]
    protected = next((s for s in foreign if s.pricing_type not in replaceable), None)
    if protected is None:
        return None
    return Hold(
        wanted.slot,
        wanted.opportunities,
        f"this customer already has {protected.plan_id} of the same product (subscription {protected.id}), which "
        "closed-won did not make. Ending it for this deal needs somebody's decision.",
    )


def _matches(foreign: Actual, wanted: Subscription) -> bool:
    """Whether a subscription somebody else made already is what the deal wants, as far as Stigg shows it."""
    return (
        foreign.plan_id == wanted.plan_id
        and foreign.addons == wanted.addons
        and set(foreign.entitlement_ids) == {entitlement.id for entitlement in wanted.entitlements}
        and foreign.prices == wanted.prices
    )


def _difference(wanted: Subscription, standing: Actual, links: Backlinks) -> Update | Keep:
    differs = [
        words
        for words, same in (
            ("add-ons", standing.addons == wanted.addons),
            ("prices", standing.prices == tuple(sorted(wanted.prices, key=_price_order))),
            ("entitlements", standing.entitlement_ids == tuple(sorted(e.id for e in wanted.entitlements))),
            ("end", _same_instant(standing.cancellation, wanted.cancellation)),
            ("terms", standing.metadata.get(TERMS_KEY) == wanted.fingerprint),
            ("links", metadata_of(wanted, links).items() <= standing.metadata.items()),
        )
        if not same
    ]
    if "terms" in differs and metadata_of(wanted, links).items() - standing.metadata.items() == {
        (TERMS_KEY, wanted.fingerprint)
    }:
        differs.remove("links")  # the fingerprint is in the metadata too: it alone is no difference of links
    if not differs:
        return Keep(wanted, standing.id, standing.status)
    return _update(wanted, standing, tuple(differs), links)


def _update(wanted: Subscription, standing: Actual, changes: tuple[str, ...], links: Backlinks) -> Update:
    """The PATCH: Stigg replaces a whole list by the one sent, so each is sent whole; others' metadata is sent back."""
    body: dict[str, Any] = {
        "metadata": {**standing.metadata, **metadata_of(wanted, links)},
        "salesforceId": wanted.opportunities[0],
        "scheduleStrategy": "IMMEDIATE",
    }
    adopted = "adopted" in changes
    if "add-ons" in changes:
        body["addons"] = _addons(wanted)
    if "prices" in changes:
        body["priceOverrides"] = _prices(wanted)
    if "entitlements" in changes or "terms" in changes or adopted:
        body["entitlements"] = [entitlement_body(entitlement) for entitlement in wanted.entitlements]
        if wanted.billing_period:
            body["billingPeriod"] = wanted.billing_period
    if "end" in changes or (adopted and not _same_instant(standing.cancellation, wanted.cancellation)):
        body["cancellationDate"] = wanted.cancellation
    return Update(wanted, standing.id, changes, body)


def customer_body(customer_id: str, order: Order, links: Backlinks) -> dict[str, Any]:
    """The body of Stigg's POST for a customer, named as the account of this order is."""
    body = {
        "id": customer_id,
        "name": order.account_name,
        "email": order.account_email,
        "metadata": links.of_customer(),
        "integrations": _integrations(links),
    }
    return {name: value for name, value in body.items() if value}


def customer_difference(existing: Mapping[str, Any], order: Order, links: Backlinks) -> dict[str, Any]:
    """The body of Stigg's PATCH that makes a customer what the order's account says; empty when it already is.

    Stigg replaces metadata and integrations whole: what others put there is sent back as it was. What the account does
    not say (an e-mail address) is left alone. Raises CustomerTaken when the customer belongs to another account.
    """
    metadata = existing.get("metadata") or {}
    owner = metadata.get("salesforceAccountId")
    if owner not in (None, "", links.account_id):
        raise CustomerTaken(
            f"the customer {safe_text(existing['id'])} in Stigg belongs to another Salesforce account, "
            f"{safe_text(owner)}"
        )
    body: dict[str, Any] = {}
    if existing.get("name") != order.account_name:
        body["name"] = order.account_name
    if order.account_email and existing.get("email") != order.account_email:
        body["email"] = order.account_email
    if not links.of_customer().items() <= metadata.items():
        body["metadata"] = {**metadata, **links.of_customer()}
    integrations = existing.get("integrations") or []
    missing = [link for link in _integrations(links) if link not in [_link(other) for other in integrations]]
    if missing:
        others = [_link(other) for other in integrations if other["id"] != links.integration_id]
        body["integrations"] = others + missing
    return body


def _integrations(links: Backlinks) -> list[dict[str, str]]:
    if links.integration_id is None:
        return []
    return [{"id": links.integration_id, "vendorIdentifier": "SALESFORCE", "syncedEntityId": links.account_id}]


def _link(integration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: integration.get(name) for name in ("id", "vendorIdentifier", "syncedEntityId")}


def provision_body(customer_id: str, create: Create, links: Backlinks) -> dict[str, Any]:
    """The body of Stigg's POST for a new subscription, with only what the deal says."""
    wanted = create.subscription
    body: dict[str, Any] = {
        "customerId": customer_id,
        "planId": wanted.plan_id,
        "id": subscription_id(customer_id, wanted.slot, create.generation),
        "resourceId": wanted.slot.resource_id,
        "addons": _addons(wanted),
        "entitlements": [entitlement_body(entitlement) for entitlement in wanted.entitlements],
        "priceOverrides": _prices(wanted),
        "billingPeriod": wanted.billing_period,
        "paymentCollectionMethod": wanted.payment_collection,
        "startDate": wanted.start,
        "cancellationDate": wanted.cancellation,
        "unitQuantity": wanted.unit_quantity if wanted.unit_quantity != 1 else None,
        "salesforceId": wanted.opportunities[0],
        "metadata": metadata_of(wanted, links),
        "scheduleStrategy": "IMMEDIATE",
    }
    return {name: value for name, value in body.items() if value not in (None, [])}


def metadata_of(wanted: Subscription, links: Backlinks) -> dict[str, str]:
    """The metadata closed-won keeps on a subscription: what cannot be read back, and the way to Salesforce."""
    return {**links.of_subscription(wanted.opportunities), TERMS_KEY: wanted.fingerprint}


def entitlement_body(entitlement: Entitlement) -> dict[str, Any]:
    """One entitlement as Stigg's API takes it."""
    if entitlement.type == "CREDIT":
        body = {
            "type": "CREDIT",
            "id": entitlement.id,
            "amount": entitlement.limit,
            "cadence": entitlement.cadence,
        }
    else:
        body = {
            "type": "FEATURE",
            "id": entitlement.id,
            "usageLimit": entitlement.limit,
            "resetPeriod": entitlement.reset_period,
        }
        if entitlement.unlimited:
            body["hasUnlimitedUsage"] = True
    if entitlement.soft_limit:
        body["hasSoftLimit"] = True
    return {name: value for name, value in body.items() if value is not None}


def _addons(wanted: Subscription) -> list[dict[str, Any]]:
    return [{"id": id, "quantity": quantity} for id, quantity in wanted.addons]


def _prices(wanted: Subscription) -> list[dict[str, Any]]:
    return [
        {
            **({"addonId": p.addon_id} if p.addon_id else {"baseCharge": True}),
            "amount": p.amount,
            "currency": p.currency,
        }
        for p in wanted.prices
    ]


def _price_order(price: Price) -> str:
    return price.addon_id or ""


def _same_instant(one: str | None, other: str | None) -> bool:
    if one is None or other is None:
        return one is other
    return datetime.fromisoformat(one) == datetime.fromisoformat(other)


def subscription_id(customer_id: str, slot: Slot, generation: int) -> str:
    """The ID of a subscription closed-won makes: its slot and generation, so that the same wish has the same name."""
    return f"{_stem(customer_id, slot)}-{generation}"


def is_ours(customer_id: str, slot: Slot, id: str) -> bool:
    """Whether an ID is one that `subscription_id` gives for this slot, of whatever generation."""
    stem, _, generation = id.rpartition("-")
    return stem == _stem(customer_id, slot) and generation.isdecimal()


def _generation(id: str) -> int:
    """The generation in an ID of ours; 0 for an adopted one's."""
    generation = id.rpartition("-")[2]
    return int(generation) if generation.isdecimal() else 0


def _stem(customer_id: str, slot: Slot) -> str:
    # The hash keeps IDs apart that would read the same once joined; the rest is for people.
    name = hashlib.sha256(f"{customer_id}|{slot.key}".encode()).hexdigest()[:8]
    return f"{customer_id[:80]}-{slot.product_id[:80]}-{name}"


_UNITS = "units of the plan"


def _shrinks(applied: Subscription | None, wanted: Subscription, policy: Policy) -> str | None:
    """Why a change is held as an unexpected reduction; None when it is none, or small enough.

    The share is the mean, over what was applied, of how much of each entitlement and add-on is taken away.
    """
    if applied is None:
        return None
    now = {**dict(wanted.addons), **{e.id: _amount(e) for e in wanted.entitlements}}
    was = {**dict(applied.addons), **{e.id: _amount(e) for e in applied.entitlements}}
    if applied.unit_quantity > 1:  # sold by the unit
        now[_UNITS], was[_UNITS] = wanted.unit_quantity, applied.unit_quantity
    lost = {id: _loss(amount, now.get(id, 0)) for id, amount in was.items()}
    share = 100 * sum(lost.values()) / len(lost) if lost else 0
    if share <= policy.removal_guard_percent:
        return None
    worst = max(lost, key=lambda id: lost[id])
    return (
        f"it would take away {share:.0f}% of what {applied.plan_id} gives this customer ({worst} from "
        f"{_shown(was[worst])} to {_shown(now.get(worst, 0))}); more than {policy.removal_guard_percent}% in one "
        "change needs somebody's approval."
    )


def _amount(entitlement: Entitlement) -> float:
    """How much an entitlement gives; a granted feature counts as one."""
    if entitlement.unlimited:
        return float("inf")
    return 1 if entitlement.limit is None else entitlement.limit


def _loss(was: float, now: float) -> float:
    """The share of `was` that `now` lacks, 0 to 1."""
    if now >= was:
        return 0.0
    return 1.0 if was == float("inf") else (was - now) / was


def _shown(amount: float) -> Literal["unlimited"] | int:
    return "unlimited" if amount == float("inf") else int(amount)
