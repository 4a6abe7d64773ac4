"""Checks the mapping: which products for sale would be refused, before a deal fails because of one. Pure.

The mapping's and the catalogue's own rules decide (`mapping.compile_deal`, `desired.catalogue_problems`): each product
as if it were sold alone, and the deals that were won lately as if they came now. Beside them stand the few things that
only Stigg refuses, when it is too late: prices, billing periods, what custom plans alone may have.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from pydantic import ValidationError

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.on_offer import catalogue_problems
from closedwon.domain.order import Item, Order, Problem
from closedwon.intake.deal import Deal, problems_of
from closedwon.intake.mapping import MappingRules, compile_deal
from closedwon.operations.on_sale import InStigg, Product, Sale, Unmapped
from closedwon.operations.refusals import PRICE_FIX, no_price, refused_by_stigg
from closedwon.operations.remedies import remedy, said

Json = dict[str, Any]
Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""error: a deal with it would be refused; warning: it may be, or something else is likely wrong; note: worth a look."""

MAPPING_FIELDS = frozenset(
    {"stiggType", "stiggId", "planId", "lines", "quantity", "price", "unlimited", "resetPeriod", "cadence"}
)
"""The fields of a deal that the mapping decides; dates, amounts and the payer are each deal's own."""


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
    # Products first: what is wrong with one by itself is told there, and not once more by each deal that sold it.
    found = [*check.each_product(), *check.twins(), *check.of_no_plan(), *check.default_trials()]
    found += check.deals(sales, found)
    found += check.stigg_itself(sales)
    found += _not_mapped(sales, unmapped)
    return sorted(_merged(found), key=lambda one: (SEVERITIES.index(one.severity), -len(one.opportunities), one.words))


class _Check:
    """Finds what is wrong with the products that are for sale, and with the deals that sold them."""

    def __init__(self, products: Sequence[Product], stigg: InStigg, rules: MappingRules) -> None:
        self.products = products
        self.stigg = stigg
        self.rules = rules
        self.by_entity: dict[tuple[str | None, str | None], list[Product]] = defaultdict(list)
        for product in products:
            # A deal's line has type and Stigg ID, but not the product: these lead back to it.
            self.by_entity[product.type, product.stigg_id].append(product)
        self.wrong: set[str] = set()  # IDs of products that no deal can sell

    def each_product(self) -> Iterator[Finding]:
        """Problems that every deal with the product would have."""
        for product in self.products:
            for problem in product_problems(product, self.stigg.catalogue, self.rules):
                self.wrong.add(product.id)
                fix = remedy(product.type, product.stigg_id, problem, self.stigg, self.rules)
                yield Finding("error", said(problem), fix, product)
            # What is no feature of Stigg's has no meter: whether it may have a reset period, the mapping says.
            if product.reset_period and self.stigg.meters.get(product.stigg_id or "", "INCREMENTAL") != "INCREMENTAL":
                words = (
                    f"the usage of {product.stigg_id} does not accumulate in Stigg, so that it takes no reset period"
                )
                yield Finding("error", words, "Empty Stigg Reset Period on the product.", product)

    def twins(self) -> Iterator[Finding]:
        for (_, stigg_id), some in self.by_entity.items():
            # Products that differ in these are variants, made on purpose; of two alike, one may be left over.
            terms = Counter((one.unlimited, one.price_override, one.reset_period) for one in some)
            if stigg_id and max(terms.values()) > 1:
                names = ", ".join(sorted(one.name for one in some))
                words = f"{len(some)} active products have the Stigg ID {stigg_id}: {names}"
                fix = (
                    "On one deal their quantities add up, and two plans collide. Untick Active where that is not meant."
                )
                yield Finding("note", words, fix, some[0])

    def default_trials(self) -> Iterator[Finding]:
        """Plans that begin with a trial wherever nobody says that they do not."""
        for product in self.products:
            if product.type == "Plan" and product.stigg_id in self.stigg.trials:
                words = f"{product.stigg_id} has a default trial in Stigg; closed-won sells it without one"
                fix = "Nothing, where others are meant to try it. Else take the default trial off the plan in Stigg."
                yield Finding("note", words, fix, product)

    def of_no_plan(self) -> Iterator[Finding]:
        """Add-ons that none of the mapped plans takes."""
        plans = {p.stigg_id for p in self.products if p.type == "Plan" and p.id not in self.wrong}
        # Otherwise every add-on would be told, where what is missing is a plan.
        if not plans:
            return
        for product in self.products:
            if product.type != "Add-on" or product.id in self.wrong:
                continue
            if all(self._apart(str(plan), str(product.stigg_id)) for plan in plans):
                words = f"{product.stigg_id} is not compatible with any plan that is mapped"
                fix = "In Stigg, make it compatible with a plan; or untick Active on the product."
                yield Finding("error", words, fix, product)

    def _apart(self, plan: str, addon: str) -> bool:
        items = (Item("Plan", plan, 1, (1,)), Item("Add-on", addon, 1, (2,)))
        order = replace(_order_of([], self.rules), trigger="closed_won", differences=False, items=items, problems=())
        # The add-on's line only: what is wrong with the plan is told of the plan.
        return any(problem.line == 2 for problem in catalogue_problems(order, self.stigg.catalogue))

    def deals(self, sales: Iterable[Sale], known: Iterable[Finding]) -> Iterator[Finding]:
        """Problems of the deals that were won lately, by the rules for deals."""
        told = {(one.product.type, one.product.stigg_id, one.words) for one in known if one.product}
        for sale in sales:
            if _sells_nothing(sale):
                continue  # told apart (`_not_mapped`)
            problems = sale.problems
            if sale.order is not None:
                # As when it is provisioned: what the deal itself shows is refused before the catalogue is asked.
                problems = sale.order.problems or catalogue_problems(sale.order, self.stigg.catalogue)
            for problem in problems:
                if problem.field in MAPPING_FIELDS:
                    yield from self.of_a_deal(sale, problem, told)

    def of_a_deal(
        self, sale: Sale, problem: Problem, told: Collection[tuple[str | None, str | None, str]]
    ) -> Iterator[Finding]:
        """One problem of a deal. told: what was said of products by themselves."""
        entity = sale.lines.get(problem.line or 0, (None, None))
        # No product, where none that is active has what the line says.
        some: list[Product | None] = [*self.by_entity.get(entity, ())] or [None]
        fix = remedy(*entity, problem, self.stigg, self.rules)
        # A problem of the product itself is each product's; what only the deal shows, one for the entity.
        for product in some if (*entity, said(problem)) in told else some[:1]:
            shown = product or (Product("", "", *entity) if any(entity) else None)
            yield Finding("error", said(problem), fix, shown, (sale.opportunity_id,))

    def stigg_itself(self, sales: Iterable[Sale]) -> Iterator[Finding]:
        """Problems that only Stigg would find, when it is too late."""
        currencies: set[str] = set()
        told: set[str] = set()  # words
        for sale in sales:
            order = sale.order
            # Such a deal never comes to Stigg, and what is wrong with it was told by `deals`.
            if order is None or order.problems or catalogue_problems(order, self.stigg.catalogue):
                continue
            currencies.add(order.currency)
            for item, words, fix in refused_by_stigg(order, self.stigg):
                product = next(iter(self.by_entity.get((item.kind, item.stigg_id), ())), None)
                shown = product or Product("", "", item.kind, item.stigg_id)
                told.add(words)
                yield Finding("error", words, fix, shown, (sale.opportunity_id,))
        yield from self.without_price(currencies, told)

    def without_price(self, currencies: set[str], told: Collection[str]) -> Iterator[Finding]:
        """Products that have no price in a currency that deals are won in. told: what was said already."""
        for product in self.products:
            offered = {currency for currency, _ in self.stigg.charges.get(product.stigg_id or "", ())}
            if product.id in self.wrong or product.price_override or not offered:
                continue
            for currency in sorted(currencies - offered):
                words = no_price(str(product.stigg_id), currency, offered)
                if words not in told:  # else it was sold so, and is an error
                    yield Finding("warning", f"{words}; deals are won in it", PRICE_FIX, product)


def product_problems(product: Product, catalogue: Catalogue, rules: MappingRules) -> tuple[Problem, ...]:
    """What is wrong with a product by itself, by the rules for the lines of a deal and for what Stigg has."""
    order = _order_of([product], rules)
    problems = order.problems or catalogue_problems(order, catalogue)
    priced = product.type == "Entitlement" and product.price_override
    if not problems and priced and not any(product.stigg_id in plan.charged for plan in catalogue.plans.values()):
        said = f"no plan that is mapped or was sold charges {product.stigg_id} by the unit: a price of it is refused"
        return (Problem(1, "price", said, "not_charged_by_unit"),)
    return problems


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
        # Made up, as the deal's schema wants IDs: nobody looks for these records.
        "amends": "006000000000001AAA",
        "opportunity": {"id": "006000000000002AAA", "systemModstamp": _ONCE, "readAt": _ONCE},
        "account": {"id": "001000000000001AAA", "name": "-"},
        "lines": lines,
    }
    try:
        return compile_deal(Deal.model_validate(content), rules)
    except ValidationError as error:
        # What the schema refuses becomes no order, so its problems go on an empty one.
        blank = compile_deal(Deal.model_validate({**content, "lines": []}), rules)
        return blank.refused(problems_of(content, error))


_ONCE = "2026-01-01T00:00:00Z"


def _not_mapped(sales: Iterable[Sale], unmapped: Iterable[Unmapped]) -> Iterator[Finding]:
    """Deals on which nothing is mapped, and products that were sold and are not."""
    nothing = tuple(sale.opportunity_id for sale in sales if _sells_nothing(sale))
    if nothing:
        words = "deals were won without a product that has a Stigg Type: sent, each is refused"
        fix = "Map what they sold, or let the flow's conditions leave such deals out."
        yield Finding("warning", words, fix, opportunities=nothing)
    for one in unmapped:
        product = Product(one.id, one.name, None, None)
        # Beside mapped products a service is nothing unusual; on a deal without any it is likely what should be mapped.
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
        # With the Stigg ID, because a product that was made up from a line has no ID.
        key = (one.severity, product.id, product.stigg_id, one.words)
        before = kept.get(key)
        together = dict.fromkeys((*(before.opportunities if before else ()), *one.opportunities))
        kept[key] = replace(before or one, opportunities=tuple(together))
    return list(kept.values())
