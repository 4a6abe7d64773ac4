"""An organisation of any size in which Salesforce, the ledger and Stigg agree, and drift that is planted in it.

Some customers are real: their deals went through the sandbox, callout by callout. All others are their copies, with
IDs of their own, and with what follows from IDs worked out anew by the product's own functions (subscription IDs,
fingerprints, marks). Salesforce and Stigg are given the copies as they are; the ledger's copies are lines of an export.
"""

from __future__ import annotations

import copy
import io
import json
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from closedwon.aws.ledger_items import customer_of, text_of
from closedwon.domain.codes import Facts
from closedwon.domain.customer import Customer, Outcome, SubscriptionLink
from closedwon.domain.desired import Slot
from closedwon.domain.identifiers import CustomerId, OpportunityId, SubscriptionId
from closedwon.domain.marks import TERMS_KEY
from closedwon.domain.subscription_ids import subscription_id
from sandbox.aws import exports
from sandbox.ledger import readable
from sandbox.sales import Sold
from sandbox.salesforce.ids import make_id
from sandbox.sandbox import Sandbox

Json = dict[str, Any]

LINES = 4
"""Lines of a deal."""

FIRST_NUMBER = 1_000_000
"""Of the copies' IDs, out of the way of those that the sandbox gives."""

ITEMS_A_FILE = 200_000
"""Of the ledger's export."""

DAY = 86_400

PLACES = {
    "sale": ("closed_won", None, ("plan-enterprise", "addon-extra-workspace", "feature-seats", "feature-api-calls")),
    "more": ("amendment", 0, ("plan-enterprise", "addon-extra-workspace", "feature-seats", "feature-api-calls")),
    "analytics": ("closed_won", None, ("plan-analytics", "addon-data-export", "feature-dashboards", "feature-seats")),
    "support": ("amendment", 0, ("plan-enterprise", "addon-premium-support", "feature-seats", "feature-api-calls")),
    "more analytics": ("amendment", 2, ("plan-analytics", "addon-data-export", "feature-dashboards", "feature-seats")),
}
"""The deals of a customer in their order: trigger, the deal it amends, and what is sold."""

QUANTITIES = {
    "addon-extra-workspace": 2,
    "addon-data-export": 1,
    "addon-premium-support": 1,
    "feature-seats": 100,
    "feature-api-calls": 2_000_000,
    "feature-dashboards": 40,
}
PRICES = {"plan-enterprise": 48_000, "plan-analytics": 12_000}

VARIANTS = 2
"""Customers of each number of deals that are sold to for real."""


class NotConsistent(Exception):
    """The sandbox did not bring the first customers to where they can be copied."""


@dataclass
class Copied:
    """One customer in all three: records in Salesforce, items of the ledger (DynamoDB JSON), objects in Stigg."""

    account: Json
    opportunities: list[Json]
    lines: list[Json]
    provisionings: list[Json]
    items: list[str]
    customer: Json | None
    subscriptions: list[Json]

    @property
    def id(self) -> str:
        return str(self.account["Id"])


class Text:
    """A text in which others can be put in place of some words."""

    def __init__(self, value: Any, words: Sequence[str]) -> None:
        text = value if isinstance(value, str) else json.dumps(value)
        longest_first = sorted(words, key=len, reverse=True)
        self._pieces = re.split(f"({'|'.join(map(re.escape, longest_first))})", text)

    def with_(self, words: Mapping[str, str]) -> str:
        return "".join([words.get(piece, piece) for piece in self._pieces])


class Original:
    """A customer that was sold to, and what it takes to copy it. In: its account's ID; the word in its names."""

    def __init__(self, sandbox: Sandbox, account: str, name: str, items: Sequence[Json]) -> None:
        find = sandbox.salesforce.find
        opportunities = sorted(find("Opportunity", AccountId=account), key=lambda row: str(row["Id"]))
        self._ids = [str(row["Id"]) for row in opportunities]
        self._account, self._name = account, name
        by_key = {(item["pk"]["S"], item["sk"]["S"]): item for item in items}
        head = by_key[f"ACCOUNT#{account}", "CUSTOMER"]
        parts = {sk: text_of(item) for (pk, sk), item in by_key.items() if pk == f"ACCOUNT#{account}" and item != head}
        self._known = customer_of(account, int(head["rev"]["N"]), text_of(head), parts)
        if _has_work_left(self._known):
            raise NotConsistent(f"work is left for {account}")
        stigg = sandbox.stigg
        self._subscriptions_by_id = {one["id"]: one for one in stigg.subscriptions(account)}
        keys = {account, *self._ids}
        own = [readable(item) for item in items if item["pk"]["S"].partition("#")[2] in keys]
        marks = [state.written or "" for state in self._known.opportunities.values()]
        fingerprints = [one["metadata"][TERMS_KEY] for one in self._subscriptions_by_id.values()]
        words = [account, name, *self._ids, *self._subscriptions_by_id, *marks, *fingerprints]

        def text(value: Any) -> Text:
            return Text(value, words)

        self._row = text(_seeded(sandbox.salesforce.get("Account", account)) | {"Id": account})
        self._opportunities = text([_seeded(row) | {"Id": row["Id"]} for row in opportunities])
        self._lines = {id: [_seeded(row) for row in find("OpportunityLineItem", OpportunityId=id)] for id in self._ids}
        shown = [row for id in self._ids for row in find("Stigg_Provisioning__c", Opportunity_ID__c=id)]
        self._provisionings = text([_seeded(row) for row in shown])
        self._items = text("\n".join(json.dumps({"Item": item}, separators=(",", ":")) for item in own))
        self._customer = text(_sent(stigg.customers[account], ("id", "name", "metadata", "billingCurrency")))
        live = [one for one in self._subscriptions_by_id.values() if one["status"] == "ACTIVE"]
        if len(shown) != len(self._ids) or not live:
            raise NotConsistent(f"{account}: {len(shown)} deals shown, {len(live)} subscriptions")
        self._subscriptions = text([_sent(one, _SUBSCRIPTION) for one in live])

    @property
    def deals(self) -> int:
        return len(self._ids)

    def copied(self, number: int, first_deal: int) -> Copied:
        """A copy with IDs of its own. number: of the customer; first_deal: the number of its first deal."""
        account = make_id("001", FIRST_NUMBER + number)
        # in the order of their IDs, in which a subscription names its opportunities
        deals = sorted(make_id("006", FIRST_NUMBER + first_deal + place) for place in range(self.deals))
        words = {self._account: account, self._name: f"C{number:07d}", **dict(zip(self._ids, deals, strict=True))}
        for key, record in self._known.slots.items():
            slot, applied = Slot.of_key(key), record.applied
            if record.subscription_id is None or applied is None:
                continue
            words[record.subscription_id] = subscription_id(CustomerId(account), slot, record.generation)
            renamed = replace(applied, opportunities=tuple(OpportunityId(words[id]) for id in applied.opportunities))
            words[self._subscriptions_by_id[record.subscription_id]["metadata"][TERMS_KEY]] = renamed.fingerprint
        for state in self._known.opportunities.values():
            words[state.written or ""] = replace(state, outcome=_renamed(state.outcome, words)).mark(account)
        return Copied(
            account=json.loads(self._row.with_(words)),
            opportunities=json.loads(self._opportunities.with_(words)),
            lines=[{**line, "OpportunityId": words[id]} for id in self._ids for line in self._lines[id]],
            provisionings=json.loads(self._provisionings.with_(words)),
            items=self._items.with_(words).split("\n"),
            customer=json.loads(self._customer.with_(words)),
            subscriptions=json.loads(self._subscriptions.with_(words)),
        )


def _has_work_left(customer: Customer) -> bool:
    soon = customer.due_at is not None and customer.due_at < 1000 * (time.time() + DAY)
    return bool(soon or customer.unwritten or customer.applied != customer.version)


_SUBSCRIPTION = (
    "id",
    "customerId",
    "planId",
    "resourceId",
    "startDate",
    "cancellationDate",
    "billingPeriod",
    "unitQuantity",
    "addons",
    "entitlements",
    "charges",
    "priceOverrides",
    "budget",
    "minimumSpend",
    "metadata",
    "salesforceId",
    "payingCustomerId",
    "paymentCollectionMethod",
)
"""What Stigg is sent of a subscription."""


def _seeded(row: Json) -> Json:
    """A record without its ID, and without what it does not hold: so much smaller it can be there a million times."""
    return {name: value for name, value in row.items() if value is not None and name not in ("Id", "attributes")}


def _sent(held: Json, names: Sequence[str]) -> Json:
    return {name: held[name] for name in names if held.get(name) is not None}


def _renamed(outcome: Outcome, words: Mapping[str, str]) -> Outcome:
    reason, facts = outcome.reason, json.dumps(outcome.facts.to_json())
    for word in re.findall(r"006[A-Za-z0-9]{15}", reason + facts):
        reason, facts = reason.replace(word, words[word]), facts.replace(word, words[word])
    links = tuple(
        SubscriptionLink(one.plan_id, SubscriptionId(words[one.subscription_id]), one.status, one.checkout_url)
        for one in outcome.subscriptions
    )
    return replace(outcome, reason=reason, subscriptions=links, facts=Facts(json.loads(facts)))


# The first customers


def originals(sandbox: Sandbox) -> list[Original]:
    """Sell to some customers of one to five deals each, by callouts. Raises NotConsistent."""
    names = [f"Q{number:07d}" for number in range(VARIANTS * len(PLACES))]
    accounts = {name: sandbox.sales.account(f"Customer {name}") for name in names}
    deals: dict[str, list[str]] = {name: [] for name in names}
    for place, (trigger, amended, ids) in enumerate(PLACES.values()):
        sold_to = [name for number, name in enumerate(names) if place <= number % len(PLACES)]
        for name in sold_to:
            before = deals[name][amended] if amended is not None else None
            deals[name].append(_sell(sandbox, accounts[name], name, place, ids, before))
        given = [sandbox.deal(deals[name][place], trigger=trigger) for name in sold_to]
        answer = sandbox.call(*({k: v for k, v in deal.items() if k != "lines"} for deal in given))
        refused = [one for one in answer.json()["results"] if one["status"] != "accepted"]
        if refused:
            raise NotConsistent(str(refused))
        sandbox.wait_until_idle(600)
    items = _ledger_items(sandbox)
    return [Original(sandbox, accounts[name], name, items) for name in names]


def _ledger_items(sandbox: Sandbox) -> list[Json]:
    pages = sandbox.aws.client("dynamodb").get_paginator("scan")
    return [item for page in pages.paginate(TableName=sandbox.aws.resources["LedgerTable"]) for item in page["Items"]]


def _sell(sandbox: Sandbox, account: str, name: str, place: int, ids: Sequence[str], before: str | None) -> str:
    """Win a deal, some days ago. What it sells differs a little from customer to customer."""
    more = int(name[1:]) + place
    sold = [Sold(id, QUANTITIES.get(id, 1) + (more if id != "plan-enterprise" else 0), PRICES.get(id, 0)) for id in ids]
    sold = [one._replace(quantity=1) if one.stigg_id.startswith("plan-") else one for one in sold]
    today = datetime.now(UTC).date()
    opportunity = sandbox.sales.close(
        account,
        f"Deal {place} of {name}",
        *sold,
        Stigg_Amends__c=before,
        Stigg_Start_Date__c=(today - timedelta(days=200 - 30 * place)).isoformat(),
        Stigg_End_Date__c=(today + timedelta(days=400)).isoformat(),
    )
    for number, line in enumerate(sandbox.salesforce.find("OpportunityLineItem", OpportunityId=opportunity), 1):
        sandbox.salesforce.update("OpportunityLineItem", line["Id"], SortOrder=number)
    sandbox.salesforce.backdate("Opportunity", opportunity, (10 - place) * DAY)
    return opportunity


# Drift


def lost_callout(it: Copied) -> None:
    """Nobody but Salesforce has heard of the deal."""
    it.provisionings, it.items, it.customer, it.subscriptions = [], [], None, []
    del it.account["Stigg_Customer_ID__c"], it.account["Stigg_Customer_URL__c"]


def addon_by_hand(it: Copied) -> None:
    it.subscriptions[0]["addons"][0]["quantity"] += 5


def price_by_hand(it: Copied) -> None:
    it.subscriptions[0]["priceOverrides"][0]["amount"] += 1


def record_deleted(it: Copied) -> None:
    it.provisionings.pop()


def record_changed(it: Copied) -> None:
    it.provisionings[0]["Status__c"] = "Failed"


def gone_from_stigg(it: Copied) -> None:
    it.subscriptions = []


def nobodys(it: Copied) -> None:
    """A second subscription that looks like ours."""
    [one] = it.subscriptions
    id = subscription_id(CustomerId(it.id), Slot("product-analytics", None, False), 1)
    other = {name: one[name] for name in ("customerId", "startDate", "metadata")}
    it.subscriptions.append({**copy.deepcopy(other), "id": id, "planId": "plan-analytics"})


def sold_more(it: Copied) -> None:
    """The deal was corrected an hour ago, and the callout was lost."""
    it.lines[2]["Quantity"] += 50
    at = datetime.now(UTC) - timedelta(hours=1)
    it.opportunities[0]["SystemModstamp"] = at.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def deal_deleted(it: Copied) -> None:
    it.opportunities[0]["IsDeleted"] = True


PLANTED: dict[str, Callable[[Copied], None]] = {
    "missed_deal": lost_callout,
    "wrong_addon": addon_by_hand,
    "wrong_price": price_by_hand,
    "missing_write_back": record_deleted,
    "stale_write_back": record_changed,
    "missing_subscription": gone_from_stigg,
    "orphan_subscription": nobodys,
    "missed_revision": sold_more,
    "deleted_deal": deal_deleted,
}
"""What is planted, by what it is to be found as; each in customers with one deal."""


# The whole


@dataclass(frozen=True)
class Organisation:
    """How much there is, and what is to be found: kind and account of each drift."""

    customers: int
    deals: int
    lines: int
    subscriptions: int
    items: int
    planted: Counter[tuple[str, str]]


def fill(sandbox: Sandbox, deals: int, drifts_of_a_kind: int) -> Organisation:
    """Fill the sandbox with an organisation of so many deals. Raises NotConsistent."""
    kinds = originals(sandbox)
    single = next(one for one in kinds if one.deals == 1)
    planted: Counter[tuple[str, str]] = Counter()
    table = sandbox.aws.resources["LedgerTable"]
    export = _Export()
    salesforce: dict[str, list[Json]] = {
        "Account": [],
        "Opportunity": [],
        "OpportunityLineItem": [],
        "Stigg_Provisioning__c": [],
    }
    customers: list[Json] = []
    subscriptions: list[Json] = []
    wanted = [kind for kind in PLANTED for _ in range(drifts_of_a_kind)]
    so_far = sum(one.deals for one in kinds)
    number = len(kinds)
    for it in _copies(kinds, single, so_far, deals, len(wanted)):
        number += 1
        if wanted:
            kind = wanted.pop()
            PLANTED[kind](it)
            planted[kind, it.id] += 1
            for line in it.items:  # these are looked at live
                sandbox.aws.client("dynamodb").put_item(TableName=table, Item=json.loads(line)["Item"])
        else:
            export.add(it.items)
        so_far += len(it.opportunities)
        salesforce["Account"].append(it.account)
        salesforce["Opportunity"] += it.opportunities
        salesforce["OpportunityLineItem"] += it.lines
        salesforce["Stigg_Provisioning__c"] += it.provisionings
        customers += [it.customer] if it.customer else []
        subscriptions += it.subscriptions
    exports.PREPARED[table] = export.files()
    for name, rows in salesforce.items():
        sandbox.salesforce.seed(name, rows)
    sandbox.stigg.seed(customers, subscriptions)
    own = len(sandbox.stigg.subscriptions()) - len(subscriptions)
    return Organisation(number, so_far, LINES * so_far, own + len(subscriptions), export.items, planted)


def _copies(kinds: Sequence[Original], single: Original, so_far: int, deals: int, planted: int) -> Iterator[Copied]:
    """Copies until there are so many deals; the first ones are of customers with one deal, for the drift."""
    for number in count():
        left = deals - so_far
        if left <= 0:
            return
        kind = kinds[number % len(kinds)]
        if number < planted or kind.deals > left:
            kind = single
        yield kind.copied(number, so_far)
        so_far += kind.deals


class _Export:
    """The ledger's export as it is written: gzip files of so many lines."""

    def __init__(self) -> None:
        self.items = 0
        self._files: list[tuple[int, bytes]] = []
        self._begin()

    def _begin(self) -> None:
        self._count = 0
        self._written = io.BytesIO()
        self._packer = zlib.compressobj(1, zlib.DEFLATED, 31)

    def add(self, items: Sequence[str]) -> None:
        self._written.write(self._packer.compress(("\n".join(items) + "\n").encode()))
        self._count += len(items)
        self.items += len(items)
        if self._count >= ITEMS_A_FILE:
            self._end()

    def _end(self) -> None:
        self._written.write(self._packer.flush())
        self._files.append((self._count, self._written.getvalue()))
        self._begin()

    def files(self) -> list[tuple[int, bytes]]:
        if self._count:
            self._end()
        return self._files
