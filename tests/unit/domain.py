"""Deals, orders and subscriptions as tests speak of them; and how hypothesis makes them up.

The catalogue is the sandbox's, read through the product's own eyes. What is made up here is valid until changed.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hypothesis import strategies as st
from pydantic import ValidationError

from closedwon.domain.catalogue import Catalogue
from closedwon.domain.contract.agreement import Agreement
from closedwon.domain.contract.facts import Contribution, History, of_first_version
from closedwon.domain.contract.standing import World
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Desired, Policy, Slot, Subscription
from closedwon.domain.identifiers import AccountId, ContractId, OpportunityId, normalised_id
from closedwon.domain.instants import Instant, from_milliseconds, iso_utc, milliseconds
from closedwon.domain.order import Item, Order, Revision
from closedwon.intake.deal import Deal, problems_of
from closedwon.intake.mapping import MappingRules, compile_deal, unrecordable
from closedwon.stigg.catalogue import catalogue_of, plan_with_details
from sandbox.stigg.catalogue import sandbox_catalogue

Json = dict[str, Any]

NOW = datetime(2026, 11, 20, 9, 16, tzinfo=UTC)
AT = round(NOW.timestamp() * 1000)
"""The same in epoch milliseconds."""

ORGANIZATION = "00D5g000004xYzAEAU"
ACCOUNT = AccountId("0015g00000XyZaBAAV")
RULES = MappingRules(ORGANIZATION)
POLICY = Policy()

PLATFORM, ANALYTICS = "product-platform", "product-analytics"
SEATS, CALLS, SSO, CREDITS = "feature-seats", "feature-api-calls", "feature-sso", "currency-ai-credits"
SUPPORT, WORKSPACE = "addon-premium-support", "addon-extra-workspace"


def _catalogue() -> Catalogue:
    stigg = sandbox_catalogue()
    found = catalogue_of(
        plans=[plan.json() for plan in stigg.plans.values()],
        addons=[addon.json() for addon in stigg.addons.values()],
        features=[feature.json() for feature in stigg.features.values()],
        currencies=[currency.json() for currency in stigg.currencies.values()],
        read_at=0,
    )
    for id in found.undetailed(stigg.plans):
        package, known = stigg.plans[id], found.plan(id)
        assert known is not None
        charges = [price.json(used=False) for price in package.prices]
        entitlements = [grant.json(order) for order, grant in enumerate(package.entitlements)]
        found = found.knowing(id, plan_with_details(known, charges, entitlements))
    return found


CATALOGUE = _catalogue()


def opportunity_id(number: int) -> OpportunityId:
    """The ID of a made-up opportunity."""
    return OpportunityId(normalised_id(f"0065g{number:010d}"))


# Deals


def a_line(stigg_type: str, stigg_id: str, quantity: Any = None, **more: Any) -> Json:
    """A line of a deal; more: its other fields by their names in the callout."""
    return {"stiggType": stigg_type, "stiggId": stigg_id, "quantity": quantity, **more}


def plan(stigg_id: str = "plan-enterprise", quantity: Any = 1, **more: Any) -> Json:
    return a_line("Plan", stigg_id, quantity, **more)


def addon(stigg_id: str = WORKSPACE, quantity: Any = 1, **more: Any) -> Json:
    return a_line("Add-on", stigg_id, quantity, **more)


def entitlement(stigg_id: str = SEATS, quantity: Any = 250, **more: Any) -> Json:
    return a_line("Entitlement", stigg_id, quantity, **more)


def credits(quantity: Any = 1000, stigg_id: str = CREDITS, **more: Any) -> Json:
    return a_line("Credit entitlement", stigg_id, quantity, **more)


def a_deal(*lines: Json, number: int = 1, changes: Mapping[str, Any] | None = None) -> Json:
    """A closed deal of an annual term, as the callout sends it.

    In: its lines (none: one plan, an add-on and an entitlement); number, which makes its opportunity; changes by path
    ("account.email"), where `MISSING` takes a field away.
    """
    given = lines or (plan(price=48000), addon(quantity=5, price=1200), entitlement())
    deal: Json = {
        "organizationId": ORGANIZATION,
        "trigger": "closed_won",
        "opportunity": {
            "id": opportunity_id(number),
            "name": "Northwind - Enterprise 2026",
            "systemModstamp": "2026-11-20T09:15:31.000Z",
            "readAt": "2026-11-20T09:15:32.118Z",
            "currencyIsoCode": "USD",
        },
        "account": {"id": ACCOUNT, "name": "Northwind Traders", "email": "billing@northwind.example"},
        "terms": {
            "billingPeriod": "ANNUALLY",
            "start": "2026-12-01",
            "end": "2027-11-30",
            "paymentCollection": "INVOICE",
        },
        "lines": [{"line": place, **line} for place, line in enumerate(copy.deepcopy(given), 1)],
    }
    for path, value in (changes or {}).items():
        _change(deal, path.split("."), value)
    return deal


MISSING = object()


def _change(data: Any, path: list[str], value: Any) -> None:
    *way, last = (int(step) if step.isdigit() else step for step in path)
    for step in way:
        data = data[step]
    if value is MISSING:
        del data[last]
    else:
        data[last] = value


class Wrong(NamedTuple):
    """One thing that is wrong with a deal: a problem of the code `invalid`."""

    line: int | None
    field: str
    message: str


def answer(deal: Any, rules: MappingRules = RULES) -> list[Wrong]:
    """What is wrong with a deal, as far as the body shows it: nothing for a good one."""
    try:
        read = Deal.model_validate(deal)
    except ValidationError as error:
        problems = tuple(problems_of(deal, error))
    else:
        problems = tuple(unrecordable(read, rules, NOW)) or compile_deal(read, rules).problems
    assert {problem.code for problem in problems} <= {"invalid", "id_not_taken"}
    return [Wrong(*problem[:3]) for problem in problems]


def order_of(deal: Json, rules: MappingRules = RULES) -> Order:
    """The order of a deal, by way of the ledger."""
    order = compile_deal(Deal.model_validate(deal), rules)
    return Order.from_json(json.loads(json.dumps(order.to_json())))


def plain_order(opportunity: str, account: str, quantity: int = 1, **given: Any) -> Order:
    """A valid order of one plan, made without a callout; its quantity tells it from others."""
    content: dict[str, Any] = {
        "opportunity_id": opportunity,
        "opportunity_name": "Northwind - Enterprise 2026",
        "account_id": account,
        "account_name": "Northwind Traders",
        "account_email": None,
        "stored_customer_id": None,
        "customer_id": None,
        "resource_id": None,
        "trigger": "closed_won",
        "currency": "usd",
        "items": (Item("Plan", "plan-enterprise", quantity, (1,), price=48000.0),),
    }
    return Order(**{**content, **given})


def an_order(*lines: Json, number: int = 1, **changes: Any) -> Order:
    """A good deal's order. changes: by path, with __ for a dot (terms__start)."""
    order = order_of(a_deal(*lines, number=number, changes={path.replace("__", "."): v for path, v in changes.items()}))
    assert not order.problems
    return order


class Standing(NamedTuple):
    """An opportunity by its newest order, the one last provisioned, and the last of these that was no cancellation."""

    newest: Order
    provisioned: Order | None = None
    won: Order | None = None

    @property
    def history(self) -> History:
        read = Revision(milliseconds(self.newest.as_of) if self.newest.as_of else AT, 0)
        return of_first_version(self.newest, read, self.provisioned, self.won)


def agreed(standings: Iterable[Standing], catalogue: Catalogue, policy: Policy, at: int) -> Agreement:
    """What a customer agreed to. at: now, epoch milliseconds."""
    return Agreement([one.history for one in standings], World(catalogue, policy, from_milliseconds(at)))


def fold(standings: Iterable[Standing], catalogue: Catalogue, policy: Policy, at: int) -> Desired:
    """What a customer should have."""
    return agreed(standings, catalogue, policy, at).desired()


def folded(
    *orders: Order | Standing, policy: Policy = POLICY, catalogue: Catalogue = CATALOGUE, at: int = AT
) -> Desired:
    """What some orders come to, each new unless it comes as a standing."""
    standings = [order if isinstance(order, Standing) else Standing(order) for order in orders]
    return fold(standings, catalogue, policy, at)


def only(desired: Desired) -> Subscription:
    """The one subscription of a desired state in which nothing is wrong."""
    assert not desired.refused
    assert not desired.held
    [subscription] = desired.subscriptions.values()
    return subscription


def settling(customer: Customer, *ids: str) -> dict[OpportunityId, Contribution]:
    """What a step says that brought these deals to Stigg as they are now; none: all that are not refused."""
    states = customer.opportunities
    chosen = ids or [id for id, state in states.items() if not state.order.problems]
    return {states[id].order.opportunity_id: states[id].prepared_history.contribution for id in chosen}


# The life of a deal


def contract(number: int) -> ContractId:
    """The ID of a made-up contract."""
    return ContractId(normalised_id(f"8005g{number:010d}"))


ANNUAL = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE", "start": "2026-12-01", "end": "2027-11-30"}


def _told(trigger: str, number: int, lines: tuple[Json, ...], given: Mapping[str, Any]) -> Json:
    """A deal as the callout sends it. given: terms by their names in the callout, and

    of: the opportunity (by its number) or contract it amends, renews or cancels. saved: when, a day or a time.
    resource: its resource. contract: the number of the contract it was turned into. quantities: see the callout.
    """
    terms = dict(given)
    of, on, stamp = terms.pop("of", None), terms.pop("resource", None), terms.pop("saved", "2026-11-20")
    became, quantities = terms.pop("contract", None), terms.pop("quantities", None)
    currency = terms.pop("currency", "USD")
    deal = a_deal(plan(), number=number)
    stamp = stamp if "T" in stamp else f"{stamp}T09:15:31Z"
    deal["opportunity"] |= {"systemModstamp": stamp, "readAt": stamp, "currencyIsoCode": currency}
    more = {
        "amends": opportunity_id(of) if isinstance(of, int) else of,
        "resourceId": on,
        "contractId": contract(became) if became else None,
        "quantities": quantities,
    }
    return {
        **deal,
        "trigger": trigger,
        "terms": terms,
        "lines": [{"line": place, **line} for place, line in enumerate(lines, 1)],
        **{name: value for name, value in more.items() if value is not None},
    }


def won(number: int, *lines: Json, **given: Any) -> Json:
    """A new deal that was won, of an annual term unless it says another."""
    return _told("closed_won", number, lines, {**ANNUAL, **given})


def on_trial(number: int, *lines: Json, **given: Any) -> Json:
    """A deal that is tried. given: trialEnd at least."""
    return _told("trial", number, lines, given)


def amended(number: int, *lines: Json, **given: Any) -> Json:
    """An amendment as CPQ makes it: its lines say how many more or fewer."""
    return _told("amendment", number, lines, {"quantities": "differences", **given})


def restated(number: int, *lines: Json, **given: Any) -> Json:
    """An amendment that says all there is from its start on."""
    return _told("amendment", number, lines, given)


def renewed(number: int, *lines: Json, **given: Any) -> Json:
    """A renewal: all there is from its start on. Without one it takes over where the term ends."""
    return _told("renewal", number, lines, {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE", **given})


def cancelled(number: int, *lines: Json, **given: Any) -> Json:
    """A cancellation: of everything, or of its lines. Without `of`: of the deal of its own opportunity."""
    return _told("cancellation", number, lines, given)


def at_noon(day: str) -> int:
    """A day at noon, or an instant, in epoch milliseconds."""
    moment = datetime.fromisoformat(day if "T" in day else f"{day}T12:00")
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def iso(at: Instant | None) -> str | None:
    """An instant as it is stored; None for none."""
    return iso_utc(at) if at is not None else None


def day(instant: datetime) -> str:
    """An instant as tests write it: its day where that is when it begins."""
    said = instant.astimezone(UTC).isoformat(timespec="minutes")
    return said.removesuffix("+00:00").removesuffix("T00:00")


# What hypothesis makes up

PLANS = {PLATFORM: ("plan-enterprise", "plan-enterprise-plus", "plan-growth"), ANALYTICS: ("plan-analytics",)}
ADDONS = {PLATFORM: (SUPPORT, WORKSPACE), ANALYTICS: ("addon-data-export",)}

quantities = st.integers(1, 1000)
prices = st.none() | st.sampled_from([0, 0.5, 10, 1200.25, 48000])


@st.composite
def orderable(draw: st.DrawFn, products: Iterable[str] = (PLATFORM, ANALYTICS)) -> list[Json]:
    """The lines of a good deal: a plan of one product or of each, add-ons and entitlements (of a plan that charges them
    by the unit: some with a price), some on several lines.
    """
    chosen = draw(st.lists(st.sampled_from(tuple(products)), min_size=1, unique=True))
    lines = []
    for product in chosen:
        name = draw(st.sampled_from(PLANS[product]))
        charges = SEATS in CATALOGUE.plans[name].charged
        lines.append(plan(name, draw(st.sampled_from([None, 1, 1.0])), price=draw(prices)))
        for addon_id in draw(st.lists(st.sampled_from(ADDONS[product]), unique=True)):
            price = draw(prices)
            lines += [
                addon(addon_id, quantity, price=price)
                for quantity in draw(st.lists(quantities, min_size=1, max_size=3))
            ]
        if draw(st.booleans()):
            seats, price = draw(st.lists(quantities, min_size=1, max_size=2)), draw(prices) if charges else None
            lines += [entitlement(SEATS, quantity, planId=name, price=price) for quantity in seats]
    platform = next((line["stiggId"] for line in lines if line["stiggId"] in PLANS[PLATFORM]), None)
    if platform in ("plan-enterprise", "plan-enterprise-plus"):
        if draw(st.booleans()):
            lines.append(entitlement(CALLS, draw(quantities), resetPeriod="MONTH", softLimit=draw(st.booleans())))
        if draw(st.booleans()):
            lines.append(entitlement(SSO, None, unlimited=True, planId=platform))
        if draw(st.booleans()):
            lines.append(credits(draw(quantities), cadence=draw(st.sampled_from(["MONTH", "YEAR"])), planId=platform))
    return draw(st.permutations(lines))


days = st.dates(datetime(2026, 1, 1).date(), datetime(2027, 12, 31).date()).map(str)  # noqa: DTZ001 - days have no zone


@st.composite
def orders(draw: st.DrawFn, number: int = 1) -> Order:
    """A good order of one opportunity."""
    resource = draw(st.sampled_from([None, None, "workspace-1"]))
    start = draw(st.none() | days)
    deal = a_deal(*draw(orderable()), number=number, changes={"resourceId": resource, "terms.start": start})
    deal["terms"]["end"] = draw(st.sampled_from([None, "2029-12-31", "2030-06-30"]))
    deal["terms"]["billingPeriod"] = draw(st.sampled_from(["ANNUALLY", "ANNUALLY", "MONTHLY"]))
    return order_of(deal)


@st.composite
def refused(draw: st.DrawFn, number: int = 1) -> Order:
    """An order that the mapping or the catalogue refuses."""
    wrong = draw(
        st.sampled_from([plan("plan-unknown"), addon("addon-unknown"), addon("workspace"), entitlement(quantity=-1)])
    )
    return order_of(a_deal(*draw(orderable()), wrong, number=number))


@st.composite
def standings(draw: st.DrawFn, most: int = 3) -> list[Standing]:
    """The deals of one customer: new, provisioned, changed since, or refused in their newest revision."""
    numbers = range(1, draw(st.integers(1, most)) + 1)
    sold = {number: draw(orders(number)) for number in numbers if draw(st.booleans())}
    waiting = folded(*sold.values()).held
    sold = {number: order for number, order in sold.items() if order.opportunity_id not in waiting}
    made = []
    for number in numbers:
        provisioned = sold.get(number)
        if provisioned is not None and draw(st.booleans()):
            newest = replace(provisioned)
        else:
            newest = draw(orders(number) | refused(number))
        made.append(Standing(newest, provisioned))
    return draw(st.permutations(made))


names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=120).filter(
    str.strip
)
slots = st.builds(
    Slot,
    st.from_regex(r"product-[a-z0-9-]{1,12}", fullmatch=True),
    st.none() | st.from_regex(r"[A-Za-z0-9_.:@|-]{1,12}", fullmatch=True),
)
