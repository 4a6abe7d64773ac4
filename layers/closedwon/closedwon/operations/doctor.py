"""Checks the mapping: which products for sale would be refused, before a deal fails because of one. Pure.

The mapping's and the catalogue's own rules decide (`mapping.compile_deal`, `desired.catalogue_problems`): each product
as if it were sold alone, and the deals that were won lately as if they came now. Beside them stand the few things that
only Stigg refuses, when it is too late: prices, billing periods, what custom plans alone may have.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from pydantic import ValidationError

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.desired import catalogue_problems
from closedwon.domain.order import Item, Kind, Order, Problem
from closedwon.intake.deal import Deal, problems_of
from closedwon.intake.mapping import KINDS, MappingRules, compile_deal
from closedwon.stigg.catalogue import catalogue_of

Json = dict[str, Any]
Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""error: a deal with it would be refused; warning: it may be, or something else is likely wrong; note: worth a look."""

MAPPING_FIELDS = frozenset(
    {"stiggType", "stiggId", "planId", "lines", "quantity", "price", "unlimited", "resetPeriod", "cadence"}
)
"""The fields of a deal that the mapping decides; dates, amounts and the payer are each deal's own."""

_A = {
    "Plan": "a plan",
    "Add-on": "an add-on",
    "Entitlement": "a feature",
    "Credit entitlement": "a custom currency",
    "Credit grant": "a custom currency",
}


@dataclass(frozen=True)
class Product:
    """A product that is for sale and mapped. type, stigg_id: as Salesforce has them, None where empty."""

    id: str
    name: str
    type: str | None
    stigg_id: str | None
    unlimited: bool = False
    price_override: bool = False
    reset_period: str | None = None


@dataclass(frozen=True)
class Sale:
    """A deal that was won. order: what it compiles to, None where it does not even come so far; problems: why; lines:
    type and Stigg ID on each line, by its number.
    """

    opportunity_id: str
    order: Order | None
    problems: tuple[Problem, ...] = ()
    lines: Mapping[int, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Unmapped:
    """A product without Stigg Type and Stigg ID that was sold, with the opportunities."""

    id: str
    name: str
    opportunities: tuple[str, ...]


@dataclass(frozen=True)
class InStigg:
    """What Stigg has for sale. statuses: of plans, add-ons and features by type and ID, those too that cannot be sold.
    charges: currency and billing period of each price of a plan's or add-on's own. dependencies: the add-ons that an
    add-on needs. meters: of features, such as INCREMENTAL.
    """

    catalogue: Catalogue
    statuses: Mapping[tuple[str, str], str]
    charges: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    meters: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        plans: list[Json],
        addons: list[Json],
        features: list[Json],
        currencies: list[Json],
        charges: Mapping[str, list[Json]],
        now: int,
    ) -> InStigg:
        """From the answers of Stigg's list calls. charges: by the ID of a plan or add-on; now: epoch milliseconds."""
        statuses = {("Plan", plan["id"]): plan.get("status") or "PUBLISHED" for plan in plans}
        statuses |= {("Add-on", addon["id"]): addon.get("status") or "PUBLISHED" for addon in addons}
        statuses |= {("Entitlement", one["id"]): one.get("featureStatus") or "ACTIVE" for one in features}
        own = {  # what counts units of a feature is another price than the plan's
            id: frozenset(
                (charge["price"]["currency"], charge["billingPeriod"])
                for charge in some
                if charge.get("price") and not charge.get("featureId")
            )
            for id, some in charges.items()
        }
        return cls(
            catalogue=catalogue_of(plans, addons, features, currencies, now),
            statuses=statuses,
            charges=own,
            dependencies={addon["id"]: tuple(addon.get("dependencies") or ()) for addon in addons},
            meters={one["id"]: one.get("meterType") or "" for one in features},
        )

    @property
    def known(self) -> dict[str, set[str]]:
        """The IDs that can be sold, by Stigg Type."""
        catalogue = self.catalogue
        credits = set(catalogue.currencies)
        return {
            "Plan": set(catalogue.plans),
            "Add-on": set(catalogue.max_quantities),
            "Entitlement": set(catalogue.feature_types),
            "Credit entitlement": credits,
            "Credit grant": credits,
        }


@dataclass(frozen=True)
class Finding:
    """One problem of the mapping, or a note. words: what; fix: what to do; product: whose it is, None where it is
    no single product's; opportunities: the won deals that show it.
    """

    severity: Severity
    words: str
    fix: str
    product: Product | None = None
    opportunities: tuple[str, ...] = ()

    def to_json(self, link: str = "") -> Json:
        """For machines. link: the product's page in Salesforce."""
        product = self.product or Product("", "", None, None)
        return {
            "severity": self.severity,
            "productId": product.id,
            "product": product.name,
            "stiggType": product.type or "",
            "stiggId": product.stigg_id or "",
            "words": self.words,
            "fix": self.fix,
            "opportunities": list(self.opportunities),
            "link": link,
        }


def judge(
    products: Sequence[Product],
    sales: Sequence[Sale],
    unmapped: Sequence[Unmapped],
    stigg: InStigg,
    rules: MappingRules,
) -> list[Finding]:
    """What is wrong, the worst first.

    In: the active products that are mapped; the deals that were won lately; what was sold in them without being mapped;
    what Stigg has; the stack's rules.
    """
    check = _Check(products, stigg, rules)
    found = [*check.each_product(), *check.twins(), *check.of_no_plan()]
    found += check.deals(sales, found)
    found += check.stigg_itself(sales)
    found += _not_mapped(sales, unmapped)
    return sorted(_merged(found), key=lambda one: (SEVERITIES.index(one.severity), -len(one.opportunities), one.words))


class _Check:
    def __init__(self, products: Sequence[Product], stigg: InStigg, rules: MappingRules) -> None:
        self.products = products
        self.stigg = stigg
        self.rules = rules
        self.by_entity: dict[tuple[str | None, str | None], list[Product]] = defaultdict(list)
        for product in products:
            self.by_entity[product.type, product.stigg_id].append(product)
        self.wrong: set[str] = set()  # IDs of products that no deal can sell

    def each_product(self) -> Iterator[Finding]:
        """Problems that every deal with the product would have."""
        for product in self.products:
            for problem in product_problems(product, self.stigg.catalogue, self.rules):
                self.wrong.add(product.id)
                yield Finding("error", said(problem), self.fix(product.type, product.stigg_id, problem), product)
            if product.reset_period and self.stigg.meters.get(product.stigg_id or "", "INCREMENTAL") != "INCREMENTAL":
                words = (
                    f"the usage of {product.stigg_id} does not accumulate in Stigg, so that it takes no reset period"
                )
                yield Finding("error", words, "Empty Stigg Reset Period on the product.", product)

    def twins(self) -> Iterator[Finding]:
        for (_, stigg_id), some in self.by_entity.items():
            terms = Counter((one.unlimited, one.price_override, one.reset_period) for one in some)
            if stigg_id and max(terms.values()) > 1:
                names = ", ".join(sorted(one.name for one in some))
                words = f"{len(some)} active products have the Stigg ID {stigg_id}: {names}"
                fix = (
                    "On one deal their quantities add up, and two plans collide. Untick Active where that is not meant."
                )
                yield Finding("note", words, fix, some[0])

    def of_no_plan(self) -> Iterator[Finding]:
        """Add-ons that none of the mapped plans takes."""
        plans = {p.stigg_id for p in self.products if p.type == "Plan" and p.id not in self.wrong}
        for product in self.products:
            if product.type != "Add-on" or product.id in self.wrong or not plans:
                continue
            if all(self._apart(str(plan), str(product.stigg_id)) for plan in plans):
                words = f"{product.stigg_id} is not compatible with any plan that is mapped"
                fix = "In Stigg, make it compatible with a plan; or untick Active on the product."
                yield Finding("error", words, fix, product)

    def _apart(self, plan: str, addon: str) -> bool:
        items = (Item("Plan", plan, 1, (1,)), Item("Add-on", addon, 1, (2,)))
        order = replace(_order_of([], self.rules), trigger="closed_won", differences=False, items=items, problems=())
        return any(problem.line == 2 for problem in catalogue_problems(order, self.stigg.catalogue))

    def deals(self, sales: Iterable[Sale], known: Iterable[Finding]) -> Iterator[Finding]:
        """Problems of the deals that were won lately, by the rules for deals."""
        told = {(one.product.type, one.product.stigg_id, one.words) for one in known if one.product}
        for sale in sales:
            problems = sale.problems
            if sale.order is not None:
                problems = sale.order.problems or catalogue_problems(sale.order, self.stigg.catalogue)
            for problem in problems:
                if problem.field not in MAPPING_FIELDS or _sells_nothing(sale):
                    continue  # the latter is told apart (`_not_mapped`)
                entity = sale.lines.get(problem.line or 0, (None, None))
                some: list[Product | None] = [*self.by_entity.get(entity, ())] or [None]
                # A problem of the product itself is each product's; what only the deal shows, one for the entity.
                for product in some if (*entity, said(problem)) in told else some[:1]:
                    shown = product or (Product("", "", *entity) if any(entity) else None)
                    fix = self.fix(*entity, problem)
                    yield Finding("error", said(problem), fix, shown, (sale.opportunity_id,))

    def fix(self, type: str | None, stigg_id: str | None, problem: Problem) -> str:
        """What to do about a problem."""
        kind: Kind | None = next((kind for kind in KINDS if kind == type), None)
        if problem.field == "stiggId" and not stigg_id:
            return "Copy the ID from Stigg to the product; or empty its Stigg Type, if Stigg should not know it."
        if problem.field == "stiggId" and kind and stigg_id and stigg_id not in self.stigg.known[kind]:
            return self._unknown(kind, stigg_id)
        if problem.field == "stiggId" and kind == "Add-on":
            return "In Stigg, make the add-on compatible with the plan; or sell another with it."
        if problem.field == "stiggId" and kind == "Plan":
            return "One plan of a product on each deal; where they are variants, use add-ons or entitlements."
        return {
            "stiggType": f"Choose the Stigg Type on the product: {', '.join(KINDS)}.",
            "stiggId": "Correct Stigg ID or Stigg Type on the product.",
            "planId": "Sell the plans on deals of their own, or send planId with the line.",
            "lines": "Map the plan that is sold with these products; or read deals again once Stigg Mapping is right.",
            "quantity": "Sell whole units, as many as Stigg takes; or mark an entitlement Stigg Unlimited.",
            "price": "Untick Stigg Price Override on the product, or sell in a currency that Stigg has.",
            "unlimited": "Untick Stigg Unlimited on the product.",
            "resetPeriod": "Give all products of this Stigg ID the same Stigg Reset Period.",
        }.get(problem.field, "Correct the product in Salesforce.")

    def _unknown(self, kind: Kind, stigg_id: str) -> str:
        """What to do about an ID that cannot be sold as what it is said to be."""
        status = self.stigg.statuses.get((kind, stigg_id))
        if status == "DRAFT":
            return "It is a draft in Stigg: publish it."
        if status in ("ARCHIVED", "SUSPENDED"):
            return f"It is {status.lower()} in Stigg: map the product to what is sold instead, or untick Active on it."
        for other, ids in self.stigg.known.items():
            if stigg_id in ids:
                return f"In Stigg it is {_A[other]}: choose the Stigg Type {other}."
        if not stigg_id.startswith(prefix := self.rules.prefix(kind)):
            parameter = {"Plan": "PlanPrefix", "Add-on": "AddonPrefix"}.get(kind, "FeaturePrefix")
            return f"Copy the ID from Stigg. Where all of yours begin otherwise: the stack's parameter {parameter}."
        near = get_close_matches(stigg_id, self.stigg.known[kind], 1, 0.75)
        if near and near[0] != prefix:
            return f"Copy the ID from Stigg; did you mean {near[0]}?"
        return "Copy the ID from Stigg exactly, or make it there."

    def stigg_itself(self, sales: Iterable[Sale]) -> Iterator[Finding]:
        """Problems that only Stigg would find, when it is too late."""
        currencies: set[str] = set()
        told: set[str] = set()  # words
        for sale in sales:
            order = sale.order
            if order is None or order.problems or catalogue_problems(order, self.stigg.catalogue):
                continue
            currencies.add(order.currency)
            for severity, item, words, fix in self._refused_by_stigg(order):
                product = next(iter(self.by_entity.get((item.kind, item.stigg_id), ())), None)
                shown = product or Product("", "", item.kind, item.stigg_id)
                told.add(words)
                yield Finding(severity, words, fix, shown, (sale.opportunity_id,))
        for product in self.products:
            offered = {currency for currency, _ in self.stigg.charges.get(product.stigg_id or "", ())}
            if product.id in self.wrong or product.price_override or not offered:
                continue
            for currency in sorted(currencies - offered):
                words = _no_price(str(product.stigg_id), currency, offered)
                if words not in told:  # else it was sold so, and is an error
                    yield Finding("warning", f"{words}; deals are won in it", _PRICE_FIX, product)

    def _refused_by_stigg(self, order: Order) -> Iterator[tuple[Severity, Item, str, str]]:
        if order.differences or order.trigger == "cancellation":
            return  # what they end up with, only the contract shows
        catalogue, plans = self.stigg.catalogue, order.of_kind("Plan")
        sold = {item.stigg_id for item in order.items}
        for item in (*plans, *order.of_kind("Add-on")):
            charges = self.stigg.charges.get(item.stigg_id, frozenset())
            offered = {currency for currency, _ in charges}
            periods = {period for currency, period in charges if currency == order.currency}
            if item.price is None and offered and order.currency not in offered:
                yield "error", item, _no_price(item.stigg_id, order.currency, offered), _PRICE_FIX
            elif item.kind == "Plan" and item.price is None and periods and order.billing_period not in periods:
                several = f"{item.stigg_id} is billed {' or '.join(sorted(periods))}, and the deal does not say which"
                other = f"{item.stigg_id} has no {order.billing_period} price in {order.currency.upper()}"
                if order.billing_period:
                    yield "error", item, other, "In Stigg, add the price; or sell it for another Stigg Billing Period."
                elif len(periods) > 1 and catalogue.plans[item.stigg_id].pricing_type == "PAID":
                    yield (
                        "error",
                        item,
                        several,
                        "Fill Stigg Billing Period on the opportunity, in the flow or by default.",
                    )
        for item in order.of_kind("Add-on"):
            if missing := sorted(set(self.stigg.dependencies.get(item.stigg_id, ())) - sold):
                words = f"{item.stigg_id} is sold without {', '.join(missing)}, which it depends on in Stigg"
                yield "error", item, words, "Sell them together, or take the dependency away in Stigg."
        fixed = [plan.stigg_id for plan in plans if catalogue.plans[plan.stigg_id].pricing_type != "CUSTOM"]
        if plans and len(fixed) == len(plans):
            for item in (*order.of_kind("Entitlement"), *order.of_kind("Credit entitlement")):
                words = f"{item.stigg_id} is sold with {' or '.join(fixed)}: only custom plans take entitlements"
                yield "error", item, words, "Sell it as an add-on, or with a plan whose price type in Stigg is custom."


def _no_price(stigg_id: str, currency: str, offered: Iterable[str]) -> str:
    has = ", ".join(sorted(one.upper() for one in offered))
    return f"{stigg_id} has no price in {currency.upper()} (it has {has})"


_PRICE_FIX = "In Stigg, add a price in the currency; or tick Stigg Price Override on the product."


def product_problems(product: Product, catalogue: Catalogue, rules: MappingRules) -> tuple[Problem, ...]:
    """What is wrong with a product by itself, by the rules for the lines of a deal and for what Stigg has."""
    order = _order_of([product], rules)
    return order.problems or catalogue_problems(order, catalogue)


def _order_of(products: Sequence[Product], rules: MappingRules) -> Order:
    """An order that sells one of each. Of differences: then a line is judged by itself, and needs no plan beside it."""
    lines = [
        {
            "line": number,
            "stiggType": product.type,
            "stiggId": product.stigg_id,
            "quantity": 1,
            "price": 1 if product.price_override else None,
            "unlimited": product.unlimited,
            "resetPeriod": product.reset_period,
        }
        for number, product in enumerate(products, 1)
    ]
    content: Json = {
        "organizationId": rules.organization_id,
        "trigger": "amendment",
        "quantities": "differences",
        "amends": "006000000000001AAA",
        "opportunity": {"id": "006000000000002AAA", "systemModstamp": _ONCE, "readAt": _ONCE},
        "account": {"id": "001000000000001AAA", "name": "-"},
        "lines": lines,
    }
    try:
        return compile_deal(Deal.model_validate(content), rules)
    except ValidationError as error:
        blank = compile_deal(Deal.model_validate({**content, "lines": []}), rules)
        return blank.refused(problems_of(content, error))


_ONCE = "2026-01-01T00:00:00Z"


def said(problem: Problem) -> str:
    """A problem without its line, which is another on each deal."""
    label = _LABELS.get(problem.field)
    return f"{label} {problem.message}" if label and problem.message.split(" ", 1)[0] in _VERBS else problem.message


_VERBS = frozenset({"is", "has", "was", "does", "with", "differs", "holds"})
_LABELS = {
    "stiggType": "Stigg Type",
    "stiggId": "Stigg ID",
    "quantity": "the quantity",
    "price": "the price",
    "unlimited": "Stigg Unlimited",
    "resetPeriod": "Stigg Reset Period",
}


def _not_mapped(sales: Iterable[Sale], unmapped: Iterable[Unmapped]) -> Iterator[Finding]:
    """Deals on which nothing is mapped, and products that were sold and are not."""
    nothing = tuple(sale.opportunity_id for sale in sales if _sells_nothing(sale))
    if nothing:
        words = "deals were won without a product that has a Stigg Type: sent, each is refused"
        fix = "Map what they sold, or let the flow's conditions leave such deals out."
        yield Finding("warning", words, fix, opportunities=nothing)
    for one in unmapped:
        product = Product(one.id, one.name, None, None)
        if set(one.opportunities) & set(nothing):
            words = f"{one.name} is not mapped, and was sold on deals on which nothing is"
            yield Finding(
                "warning", words, "Choose a Stigg Type and ID if Stigg should know it.", product, one.opportunities
            )
        else:
            fix = "Nothing, if it is a service or the like: it is not provisioned."
            yield Finding("note", f"{one.name} is not mapped, and was sold", fix, product, one.opportunities)


def _sells_nothing(sale: Sale) -> bool:
    order = sale.order
    mapped = any(any(entity) for entity in sale.lines.values())
    return order is not None and not mapped and any(problem.field == "lines" for problem in order.problems)


def _merged(found: Iterable[Finding]) -> list[Finding]:
    """One finding for one fault of one product, with all deals that show it."""
    kept: dict[tuple[str, str, str | None, str], Finding] = {}
    for one in found:
        product = one.product or Product("", "", None, None)
        key = (one.severity, product.id, product.stigg_id, one.words)
        before = kept.get(key)
        together = dict.fromkeys((*(before.opportunities if before else ()), *one.opportunities))
        kept[key] = replace(before or one, opportunities=tuple(together))
    return list(kept.values())
