"""The desired state: the subscriptions a customer should have now. A pure fold over the customer's orders.

The fold looks at links, effective dates and IDs, never at what arrived first: the same orders give the same state in
whatever order they came.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Container, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from closedwon.catalogue import CURRENCIES, Catalogue
from closedwon.order import Item, Kind, Order, Problem, iso_utc


class Slot(NamedTuple):
    """Where one paid subscription lives: Stigg keeps at most one for a customer, resource and product."""

    product_id: str
    resource_id: str | None

    @property
    def key(self) -> str:
        """A text that names it within its customer; `of_key` is its inverse."""
        return f"{self.product_id}|{self.resource_id or ''}"

    @classmethod
    def of_key(cls, key: str) -> Slot:
        product_id, _, resource_id = key.partition("|")
        return cls(product_id, resource_id or None)


@dataclass(frozen=True)
class Policy:
    """What a stack chooses.

    end_of_term: at the end without a renewal, ``keep`` the subscription (and report), ``end`` it, or end it after
    grace_days. foreign_subscription: what happens to a subscription closed-won did not make that stands where a deal's
    should: ``hold`` the deal, ``replace-free`` (replace it only if its plan is free), ``replace``.
    removal_guard_percent: how much of a subscription's entitlements one change may take away.
    """

    end_of_term: Literal["keep", "grace", "end"] = "keep"
    grace_days: int = 14
    foreign_subscription: Literal["hold", "replace-free", "replace"] = "hold"
    removal_guard_percent: int = 50


@dataclass(frozen=True, order=True)
class Entitlement:
    """A feature with a limit (units), unlimited, or just granted (neither); or recurring credits (amount, cadence)."""

    type: Literal["FEATURE", "CREDIT"]
    id: str
    limit: int | None = None
    unlimited: bool = False
    soft_limit: bool = False
    reset_period: str | None = None
    cadence: str | None = None


@dataclass(frozen=True, order=True)
class Price:
    """A price override: of an add-on, or of the plan's base charge (addon_id None). amount: whole units of the
    currency.
    """

    addon_id: str | None
    amount: float
    currency: str


@dataclass(frozen=True)
class Subscription:
    """One subscription as it should be. Times are ISO 8601 in UTC; start None means when it is provisioned.

    opportunities: those that contribute to it, by start, then ID; the first is the one Stigg links to.
    """

    slot: Slot
    plan_id: str
    unit_quantity: int
    addons: tuple[tuple[str, int], ...]
    entitlements: tuple[Entitlement, ...]
    prices: tuple[Price, ...]
    billing_period: str | None
    payment_collection: str | None
    start: str | None
    cancellation: str | None
    opportunities: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """The units, then a hash of what else Stigg's answers do not show (entitlement values, billing period ...):
        kept in the subscription's metadata, it tells whether what was written still is what is wanted.
        """
        unseen = [
            [asdict(entitlement) for entitlement in self.entitlements],
            self.billing_period,
            self.payment_collection,
            self.start,
            self.opportunities[0],
        ]
        digest = hashlib.sha256(json.dumps(unseen, separators=(",", ":")).encode()).hexdigest()
        return f"{self.unit_quantity}-{digest[:32]}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Subscription:
        return cls(
            **{
                **data,
                "slot": Slot(*data["slot"]),
                "addons": tuple((id, quantity) for id, quantity in data["addons"]),
                "entitlements": tuple(Entitlement(**entitlement) for entitlement in data["entitlements"]),
                "prices": tuple(Price(**price) for price in data["prices"]),
                "opportunities": tuple(data["opportunities"]),
            }
        )


@dataclass(frozen=True)
class Desired:
    """What a customer should have.

    refused: opportunity to what is wrong with its newest order. held: opportunity to why it waits for somebody. Both
    contribute what they contributed before, if anything. over: opportunity to the day its access ended, by the policy
    for the end of a term.
    """

    subscriptions: dict[Slot, Subscription] = field(default_factory=dict)
    refused: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    over: dict[str, str] = field(default_factory=dict)


class Standing(NamedTuple):
    """One opportunity's orders as far as the fold needs them: the newest, and the last one that was provisioned."""

    newest: Order
    provisioned: Order | None = None


def fold(standings: Iterable[Standing], catalogue: Catalogue, policy: Policy, now: int) -> Desired:
    """Fold a customer's orders into the subscriptions it should have.

    In: each opportunity's newest order with the one last provisioned; the catalogue; the stack's policy; now in epoch
    milliseconds.
    Out: the desired state. An order that is refused or held is replaced by the one its opportunity had provisioned
    before, so that a mistake in a new revision takes nothing away. Of deals that disagree, one that changed is held,
    the latest first: never one that stands as it was provisioned.
    """
    refused: dict[str, tuple[Problem, ...]] = {}
    held: dict[str, str] = {}
    over: dict[str, str] = {}
    chosen: dict[str, Order | None] = {}
    before: dict[str, Order | None] = {}
    for newest, provisioned in sorted(standings, key=lambda standing: _effective(standing.newest)):
        opportunity = newest.opportunity_id
        # What was provisioned once is not refused for what became of the catalogue since.
        problems = newest.problems or (() if _same(newest, provisioned) else catalogue_problems(newest, catalogue))
        if problems:
            refused[opportunity] = problems
        order = provisioned if problems else newest
        if ended := order and _ended(order, policy, now):
            over[opportunity] = ended
        chosen[opportunity] = None if ended else order
        before[opportunity] = None if provisioned and _ended(provisioned, policy, now) else provisioned
    newest_of = dict(chosen)
    changed = {opportunity for opportunity, order in chosen.items() if not _same(order, before[opportunity])}
    while True:
        slots, disagreements = _slots(chosen.values(), catalogue)
        yields = next((y for d in disagreements for y in _yielding(d, catalogue) if y[0] in changed), None)
        if yields is None:
            break
        opportunity, reason = yields
        held[opportunity] = reason
        chosen[opportunity] = before[opportunity]
        changed.remove(opportunity)
    waiting = [opportunity for opportunity in chosen if opportunity in held]
    while waiting:  # what was held for a deal that was held itself since need not wait for it
        opportunity = waiting.pop(0)
        tried = {**chosen, opportunity: newest_of[opportunity]}
        slots_then, disagreements_then = _slots(tried.values(), catalogue)
        if len(disagreements_then) <= len(disagreements):
            chosen, slots, disagreements = tried, slots_then, disagreements_then
            del held[opportunity]
            waiting = [opportunity for opportunity in chosen if opportunity in held]
        else:
            ours = (y for d in disagreements_then for y in _yielding(d, catalogue) if y[0] == opportunity)
            held[opportunity] = next(ours, (opportunity, held[opportunity]))[1]
    for disagreement in disagreements:
        held.setdefault(disagreement.part.order.opportunity_id, disagreement.reason)
    return Desired({slot: _sum(slot, parts, policy) for slot, parts in slots.items()}, refused, held, over)


def _ended(order: Order, policy: Policy, now: int) -> str | None:
    """The day an order's access ended, None while it has not."""
    ends = _cancellation(order.end, policy)
    return ends[:10] if ends and datetime.fromisoformat(ends).timestamp() * 1000 <= now else None


def _same(one: Order | None, other: Order | None) -> bool:
    return one is other or (one is not None and other is not None and one.digest == other.digest)


class _Disagreement(NamedTuple):
    """A contribution that cannot be added to those before it in its slot, and why, in a sales rep's words."""

    part: _Part
    agreeing: tuple[_Part, ...]
    reason: str


def _slots(orders: Iterable[Order | None], catalogue: Catalogue) -> tuple[dict[Slot, list[_Part]], list[_Disagreement]]:
    """Contributions by slot, those that agree with the ones before them; and those that do not."""
    slots: dict[Slot, list[_Part]] = {}
    disagreements: list[_Disagreement] = []
    for order in sorted((order for order in orders if order is not None), key=_effective):
        for part in _parts(order, catalogue):
            agreeing = slots.setdefault(part.slot, [])
            reason = _disagreement(agreeing, part, catalogue) if agreeing else None
            if reason is None:
                agreeing.append(part)
            else:
                disagreements.append(_Disagreement(part, tuple(agreeing), reason))
    return slots, disagreements


def _yielding(disagreement: _Disagreement, catalogue: Catalogue) -> Iterable[tuple[str, str]]:
    """The opportunities whose absence would settle it, the latest first, each with the reason from its side."""
    part, agreeing, reason = disagreement
    yield part.order.opportunity_id, reason
    for other in reversed(agreeing):
        rest = [third for third in agreeing if third is not other]
        why = _disagreement([part], other, catalogue) or _disagreement([*rest, part], other, catalogue)
        if why is not None:
            yield other.order.opportunity_id, why


def catalogue_problems(order: Order, catalogue: Catalogue) -> tuple[Problem, ...]:
    """What is wrong with an order that only Stigg's catalogue shows: unknown IDs, incompatible add-ons, currency."""
    problems: list[Problem] = []
    plans = order.of_kind("Plan")
    known: dict[Kind, Container[str]] = {
        "Plan": catalogue.plans,
        "Add-on": catalogue.max_quantities,
        "Entitlement": catalogue.feature_types,
        "Credit entitlement": catalogue.currencies,
    }
    for item in order.items:
        line = item.lines[0]
        if item.stigg_id not in known[item.kind]:
            problems.append(Problem(line, "stiggId", f"Stigg has no {item.kind.lower()} {item.stigg_id}"))
            continue
        if item.price is not None and order.currency not in CURRENCIES:
            problems.append(Problem(line, "price", f"Stigg has no prices in {order.currency.upper()}"))
        if catalogue.feature_types.get(item.stigg_id) == "ENUM":
            problems.append(Problem(line, "stiggId", f"{item.stigg_id} is a list of values, which a deal cannot set"))
        most = catalogue.max_quantities.get(item.stigg_id)
        if item.kind == "Add-on" and most is not None and item.quantity > most:
            problems.append(Problem(line, "quantity", f"a subscription holds at most {most} of {item.stigg_id}"))
        if item.kind != "Plan" and all(plan.stigg_id in catalogue.plans for plan in plans):
            takers = _takers(item, plans, catalogue)
            if not takers:
                names = " or ".join(plan.stigg_id for plan in plans)
                wanted = item.plan_id if item.plan_id and item.plan_id not in {p.stigg_id for p in plans} else None
                said = (
                    f"no line of the deal has the plan {wanted}"
                    if wanted
                    else f"{item.stigg_id} is not compatible with {names}"
                )
                problems.append(Problem(line, "planId" if wanted else "stiggId", said))
            elif len(takers) > 1:
                names = " and ".join(plan.stigg_id for plan in takers)
                problems.append(Problem(line, "planId", f"{item.stigg_id} fits {names}: say which plan it belongs to"))
    return (*problems, *same_product_problems(order, catalogue), *_named_twice(order, catalogue))


def _named_twice(order: Order, catalogue: Catalogue) -> Iterable[Problem]:
    """Items of one entity that only the catalogue brings together: one line says its plan, the other does not."""
    for part in _parts(order, catalogue):
        first: dict[tuple[str, str], Item] = {}
        for item in part.items:
            other = first.setdefault((item.kind, item.stigg_id), item)
            for name, field_name in (
                ("price", "price"),
                ("reset_period", "resetPeriod"),
                ("cadence", "cadence"),
            ):
                if getattr(item, name) != getattr(other, name):
                    said = f"differs from line {other.lines[0]}, which names {other.stigg_id} too"
                    yield Problem(item.lines[0], field_name, said)


def same_product_problems(order: Order, catalogue: Catalogue) -> tuple[Problem, ...]:
    """Two plans of one product in one deal: Stigg would cancel the first for the second."""
    problems = []
    first: dict[str, Item] = {}
    for plan in order.of_kind("Plan"):
        product = catalogue.product_of(plan.stigg_id)
        if product is not None and (other := first.setdefault(product, plan)) is not plan:
            both = f"{plan.stigg_id} and {other.stigg_id} (line {other.lines[0]})"
            said = f"{both} are plans of one product: a deal names one of them"
            problems.append(Problem(plan.lines[0], "stiggId", said))
    return tuple(problems)


def _takers(item: Item, plans: tuple[Item, ...], catalogue: Catalogue) -> list[Item]:
    """The plans of the deal that an add-on or entitlement can belong to."""
    if item.plan_id:
        plans = tuple(plan for plan in plans if plan.stigg_id == item.plan_id)
    known = [(plan, found) for plan in plans if (found := catalogue.plan(plan.stigg_id)) is not None]
    if item.kind == "Add-on":
        return [plan for plan, found in known if found.addons is None or item.stigg_id in found.addons]
    if len(known) > 1:  # any plan can be given any entitlement: with several, it goes where it is known
        named = [plan for plan, found in known if item.stigg_id in found.entitlements]
        return named or [plan for plan, _ in known]
    return [plan for plan, _ in known]


class _Part(NamedTuple):
    """What one order contributes to one slot."""

    slot: Slot
    order: Order
    plan: Item
    items: tuple[Item, ...]
    boolean: frozenset[str]


def _effective(order: Order) -> tuple[str, str]:
    return (order.start or "", order.opportunity_id)


def _parts(order: Order, catalogue: Catalogue) -> Iterable[_Part]:
    plans = order.of_kind("Plan")
    for plan in plans:
        product = catalogue.product_of(plan.stigg_id)
        if product is None:  # provisioned once, unknown to Stigg since: what stands stays as it is
            continue
        others = (item for item in order.items if item.kind != "Plan")
        # With one plan there is no choice: what was provisioned once stays with it, compatible today or not.
        items = tuple(item for item in others if len(plans) == 1 or plan in _takers(item, plans, catalogue))
        boolean = frozenset(item.stigg_id for item in items if catalogue.feature_types.get(item.stigg_id) == "BOOLEAN")
        yield _Part(Slot(product, order.resource_id), order, plan, items, boolean)


def _disagreement(agreeing: list[_Part], part: _Part, catalogue: Catalogue) -> str | None:
    """Why a contribution cannot be added to those before it in its slot, in a sales rep's words; None when it can."""
    first = agreeing[0]
    where = f"opportunity {first.order.opportunity_id}"
    if part.plan.stigg_id != first.plan.stigg_id:
        return (
            f"{where} gives this customer {first.plan.stigg_id}, this deal {part.plan.stigg_id} of the same product. "
            "Close it as an amendment or renewal of that deal, or give it a resource of its own."
        )
    for name, words in (
        ("billing_period", "billing period"),
        ("payment_collection", "payment collection"),
        ("currency", "currency"),
    ):
        if getattr(part.order, name) != getattr(first.order, name):
            return f"{where} has another {words} for {first.plan.stigg_id}: one subscription has one {words}."
    present = {(item.kind, item.stigg_id): item for other in agreeing for item in other.items}
    for item in part.items:
        other = present.get((item.kind, item.stigg_id))
        if other and (item.price, item.reset_period, item.cadence) != (
            other.price,
            other.reset_period,
            other.cadence,
        ):
            return f"{where} has another price or period for {item.stigg_id}: one subscription has one of each."
        most = catalogue.max_quantities.get(item.stigg_id) if item.kind == "Add-on" else None
        if other and most is not None:
            total = sum(
                i.quantity
                for p in (*agreeing, part)
                for i in p.items
                if (i.kind, i.stigg_id) == (item.kind, item.stigg_id)
            )
            if total > most:
                together = f"{where} and this deal together have {total} of {item.stigg_id}"
                return f"{together}: one subscription holds at most {most}."
    return None


def _sum(slot: Slot, parts: list[_Part], policy: Policy) -> Subscription:
    """Contributions of one slot as one subscription: quantities, limits and base prices add up, unlimited wins.

    A plan sold by the unit has one price a unit: where deals differ, the mean that charges what they charge together.
    """
    first = parts[0]
    addons: dict[str, int] = defaultdict(int)
    prices: dict[str | None, Price] = {}
    limits: dict[tuple[str, str], list[tuple[Item, bool]]] = defaultdict(list)
    currency = first.order.currency
    units = [part.plan.quantity for part in parts]
    by_unit = any(unit != 1 for unit in units)
    charged = [(part.plan.price, part.plan.quantity) for part in parts if part.plan.price is not None]
    if charged:
        total = sum(price * quantity for price, quantity in charged)
        shares = sum(quantity for _, quantity in charged) if by_unit else 1
        prices[None] = Price(None, round(total / shares, 6), currency)
    for part in parts:
        for item in part.items:
            if item.kind == "Add-on":
                addons[item.stigg_id] += item.quantity
                if item.price is not None:
                    prices[item.stigg_id] = Price(item.stigg_id, item.price, currency)
            else:
                limits["CREDIT" if item.kind == "Credit entitlement" else "FEATURE", item.stigg_id].append(
                    (item, item.stigg_id in part.boolean)
                )
    ends = [part.order.end for part in parts]
    return Subscription(
        slot=slot,
        plan_id=first.plan.stigg_id,
        unit_quantity=sum(units) if by_unit else 1,
        addons=tuple(sorted(addons.items())),
        entitlements=tuple(
            sorted((_entitlement(key, items) for key, items in limits.items()), key=lambda e: (e.type, e.id))
        ),
        prices=tuple(price for _, price in sorted(prices.items(), key=lambda entry: entry[0] or "")),
        billing_period=first.order.billing_period,
        payment_collection=first.order.payment_collection,
        start=first.order.start,
        cancellation=_cancellation(max((end for end in ends if end), default=None) if all(ends) else None, policy),
        opportunities=tuple(part.order.opportunity_id for part in parts),
    )


def _entitlement(key: tuple[str, str], items: list[tuple[Item, bool]]) -> Entitlement:
    first, boolean = items[0]
    unlimited = any(item.unlimited for item, _ in items)
    return Entitlement(
        type="CREDIT" if key[0] == "CREDIT" else "FEATURE",
        id=key[1],
        limit=None if unlimited or boolean else sum(item.quantity for item, _ in items),
        unlimited=unlimited and not boolean,
        soft_limit=any(item.soft_limit for item, _ in items) and not boolean,
        reset_period=None if boolean else first.reset_period,
        cadence=first.cadence,
    )


def _cancellation(end: str | None, policy: Policy) -> str | None:
    """When a subscription whose term ends at `end` is to end, as the stack's policy says."""
    if end is None or policy.end_of_term == "keep":
        return None
    days = policy.grace_days if policy.end_of_term == "grace" else 0
    moment = datetime.fromisoformat(end) + timedelta(days=days)
    return iso_utc(moment)
