"""The shop of the fault campaign: a customer with its saves in Salesforce, and how one is sold something.

What is sold is made up by `market` and `kinds`. Nothing of the product is used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sandbox.salesforce.ids import to_18

Json = dict[str, Any]

UNTOLD = {"start", "end", "contractId", "subscriptionRecord", "renews", "amends", "ends", "priorQuantity", "planId"}
"""What lines say that Salesforce's own fields do not, as the campaign's organisation is set up."""

SAVED_AGO = 3600
"""Seconds by which saves are dated back: what was saved in the last ten minutes is not missed yet."""

PLATFORM, ANALYTICS = "product-platform", "product-analytics"
PLANS = {PLATFORM: ("plan-enterprise", "plan-enterprise-plus"), ANALYTICS: ("plan-analytics",)}
SLOTS = ((PLATFORM, None), (ANALYTICS, None), (PLATFORM, "workspace-1"), (ANALYTICS, "workspace-1"))
SEATS, CALLS, SSO, STORAGE = "feature-seats", "feature-api-calls", "feature-sso", "feature-storage-gb"
SUPPORT, WORKSPACE, EXPORT = "addon-premium-support", "addon-extra-workspace", "addon-data-export"
CREDITS = "currency-ai-credits"
CURRENCIES = ("USD", "EUR", "JPY")
PRICED_IN = {SUPPORT: ("USD", "EUR"), WORKSPACE: ("USD", "EUR"), EXPORT: ("USD",)} | {
    "plan-team": ("USD",),
    "plan-per-seat": ("USD", "EUR"),
}
"""What has no price in some currencies: what is sold of it in those has one on its line."""
PAID = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
TRIAL_STAGE = "Proposal/Price Quote"

SOONEST, LATEST = 8.0, 45.0
"""Between these seconds from the beginning lie the instants that come while a customer is played."""

FIELDS = {
    "start": "Stigg_Start_Date__c",
    "end": "Stigg_End_Date__c",
    "billingPeriod": "Stigg_Billing_Period__c",
    "paymentCollection": "Stigg_Payment_Collection__c",
    "trialEnd": "Stigg_Trial_End_Date__c",
}


@dataclass
class Save:
    """A save in Salesforce, and the callout it causes. wave: waves are played one after another; within one, everything
    arrives in any order. told: whether Salesforce's fields say all that the callout does, so that the deal can be read
    there. first: whether the opportunity was never sent before.
    """

    deal: Json
    wave: int
    stage: str
    told: bool
    first: bool
    contract: bool = False

    @property
    def opportunity(self) -> str:
        return str(self.deal["opportunity"]["id"])


@dataclass
class Customer:
    """One customer. newest: of each opportunity. foreign: a subscription somebody else made, as the stand-in takes it.
    approves: opportunities whose hold somebody approves. contracts: by opportunity, what CPQ makes of it. kinds: the
    names of what was sold. currency: what it pays in.
    """

    seed: int
    account: str
    history: int = 0
    saves: list[Save] = field(default_factory=list)
    newest: dict[str, Json] = field(default_factory=dict)
    foreign: Json | None = None
    approves: set[str] = field(default_factory=set)
    contracts: dict[str, str] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    currency: str = "USD"

    def readings(self, waves: int = 3) -> dict[str, list[Json]]:
        """What each opportunity said in the first waves, oldest first."""
        found: dict[str, list[Json]] = {}
        for save in self.saves:  # of one opportunity, in the order in which it was saved
            if save.wave < waves:
                found.setdefault(save.opportunity, []).append(save.deal)
        return found

    def told(self) -> list[str]:
        """What was sold, for people: a line for each save."""
        return [
            f"wave {s.wave}: {s.opportunity} {s.deal['trigger']} amends={s.deal.get('amends')} "
            f"resource={s.deal.get('resourceId')} {self.currency} {s.deal['terms']} "
            + ", ".join(
                f"{line['stiggId']} {line.get('quantity')}"
                + (f" from {line['start']}" if line.get("start") else "")
                + (f" until {line['end']}" if line.get("end") else "")
                for line in s.deal["lines"]
            )
            for s in self.saves
        ]


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(stigg_type: str, stigg_id: str, quantity: int | None = 1, **more: Any) -> Json:
    return {
        "stiggType": stigg_type,
        "stiggId": stigg_id,
        **({} if quantity is None else {"quantity": quantity}),
        **{name: value for name, value in more.items() if value is not None},
    }


def is_day(value: str | None) -> bool:
    return value is None or len(value) == 10


class Shop:
    """Sells to one customer. began: when it is played."""

    def __init__(self, seed: int, began: datetime, organization: str) -> None:
        self.rng = Random(f"customer {seed}")  # nosec B311 - made-up customers
        self.began, self.organization, self.count = began, organization, 0
        self.customer = Customer(seed, to_18(f"0015g{seed:010d}"))
        # Apart from all else that is made up: who buys what is the same in every currency.
        self.customer.currency = Random(f"currency {seed}").choice(CURRENCIES)  # nosec B311

    def maybe(self, chance: float) -> bool:
        return self.rng.random() < chance

    # Money

    def has_price(self, stigg_id: str) -> bool:
        """Whether the catalogue has a price of it in the customer's currency, or it needs none."""
        return self.customer.currency in PRICED_IN.get(stigg_id, CURRENCIES)

    def pay(self) -> None:
        """Pay in dollars, where something that was sold has no price in the customer's currency."""
        told = [each for save in self.customer.saves for each in save.deal["lines"]]
        if not self.customer.foreign and all(
            self.has_price(each["stiggId"]) or each.get("price") is not None or (each.get("quantity") or 0) <= 0
            for each in told
        ):
            return
        self.customer.currency = "USD"
        for save in self.customer.saves:
            save.deal["opportunity"]["currencyIsoCode"] = "USD"

    # Times

    def day(self, days: int) -> str:
        return (self.began + timedelta(days=days)).date().isoformat()

    def soon(self) -> str:
        return iso(self.began + timedelta(seconds=round(self.rng.uniform(SOONEST, LATEST), 1)))

    def times(self, count: int) -> list[str]:
        """Some times in order: days that have passed, instants that come while it is played, days far away."""
        past = {self.day(-self.rng.randint(30, 300)) for _ in range(2 * count)}
        coming = {self.soon() for _ in range(count)}
        far = {self.day(self.rng.randint(50, 300)) for _ in range(count)}
        return sorted(self.rng.sample(sorted(past | coming | far), count))

    # Deals

    def sell(self, trigger: str, lines: list[Json], resource: str | None = None, *, wave: int = 0, **more: Any) -> Json:
        """A deal of an opportunity of its own."""
        self.count += 1
        deal = {
            "organizationId": self.organization,
            "trigger": trigger,
            "opportunity": {
                "id": to_18(f"0065g{self.customer.seed * 50 + self.count:010d}"),
                "name": f"A {trigger}",
                "currencyIsoCode": self.customer.currency,
            },
            "account": {"id": self.customer.account, "name": f"Customer {self.customer.seed}"},
            "terms": {},
            "lines": [{"line": place, **each} for place, each in enumerate(lines, 1)],
            **({"resourceId": resource} if resource else {}),
            **more,
        }
        return self.save(deal, wave)

    def save(self, deal: Json, wave: int, *, contract: bool = False) -> Json:
        id = deal["opportunity"]["id"]
        first = id not in self.customer.newest
        cancels = deal["trigger"] == "cancellation"
        # As `Seller` dates it back: an hour ago, in the order of its saves.
        ago = SAVED_AGO - 60 * wave - 2 * (1 + len(self.customer.readings().get(id, ())))
        saved = self.began - timedelta(seconds=ago)
        deal["opportunity"] |= {"systemModstamp": iso(saved), "readAt": iso(saved + timedelta(seconds=1))}
        stage = {"trial": TRIAL_STAGE, "cancellation": "Closed Lost"}.get(deal["trigger"], "Closed Won")
        told = (
            not deal.get("resourceId")
            and all(is_day(deal["terms"].get(name)) for name in ("start", "end", "trialEnd"))
            and not any(each.keys() & UNTOLD for each in deal["lines"])
            and not isinstance(deal.get("amends"), list)
            and deal["terms"].get("cancel") is None
            and not (cancels and (deal["lines"] or not deal.get("amends")))
            and not (deal.get("quantities") == "differences" and deal["amends"] not in self.customer.contracts)
        )
        self.customer.newest[id] = deal
        self.customer.saves.append(Save(deal, wave, stage, told, first, contract))
        return deal

    def revise(self, deal: Json, wave: int, change: Callable[[Json], None]) -> Json:
        """A newer revision, in this wave or a later one: it is saved after all that the opportunity was before."""
        revision = copy.deepcopy(deal)
        change(revision)
        before = (each.wave for each in self.customer.saves if each.opportunity == deal["opportunity"]["id"])
        return self.save(revision, max((wave, *before)))

    def contract_id(self) -> str:
        """The ID of another contract."""
        self.count += 1
        return to_18(f"8005g{self.customer.seed * 50 + self.count:010d}")

    def record_id(self) -> str:
        """The ID of another subscription record of CPQ's."""
        self.count += 1
        return to_18(f"a0X5g{self.customer.seed * 50 + self.count:010d}")
