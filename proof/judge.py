"""The fault campaign's judge: what stands in Stigg and Salesforce, against what `oracle` says should stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from proof import oracle
from proof.shop import Customer, Json
from proof.strangers import LIVE, MARK, Strangers
from sandbox.sandbox import Sandbox

AT_ONCE = timedelta(seconds=3)
"""How long it may take to look at everything."""


class Violation(NamedTuple):
    """What is not as it should be. kind: which of the campaign's goals it misses."""

    kind: str
    account: str
    words: str
    history: int


class Judge:
    """Judges the customers of one round. rules: what the stack chooses. violations: all that was found. counts: what
    was looked at, the last time.
    """

    def __init__(
        self, sandbox: Sandbox, customers: Sequence[Customer], strangers: Strangers, rules: oracle.Rules
    ) -> None:
        self._sandbox = sandbox
        self._by_account = {each.account: each for each in customers}
        self._strangers = strangers
        self._rules = rules
        self.violations: list[Violation] = []
        self.counts: Counter[str] = Counter()

    def violate(self, kind: str, account: str, words: str) -> None:
        customer = self._by_account.get(account)
        violation = Violation(kind, account, words, customer.history if customer else -1)
        if violation not in self.violations:
            self.violations.append(violation)

    def judge(self, judged: Sequence[Customer], waves: int = 3, since: datetime | None = None) -> None:
        """Before reconciliation, those of whom nothing was lost on the way: what was answered 202 needs none. After it,
        all. waves: how many are over. since: when all was last brought about: who has changed since then by itself, or
        is about to, is not judged now.
        """
        now = datetime.now(UTC)
        self.counts = Counter(customers=len(judged))
        stigg = self._sandbox.stigg
        records = {one["Opportunity_ID__c"]: one for one in self._sandbox.salesforce.find("Stigg_Provisioning__c")}
        customers = stigg.customers
        for stranger in customers.keys() - self._by_account.keys():
            self.violate("double", stranger, "is a customer in Stigg that is no account")
        for one in judged:
            wanted = wanted_of(one, now, self._rules, waves)
            if since is not None and any(since <= moment <= now + AT_ONCE for moment in wanted.agreed.moments()):
                continue
            self.counts["judged"] += 1
            self._judge_statuses(one, wanted, records, customers)
            subscriptions = stigg.subscriptions(one.account) if one.account in customers else []
            self._judge_foreign(one, subscriptions)
            self._judge_marks(one, subscriptions, customers)
            theirs = self._strangers.foreign_id(one.account)
            self._judge_subscriptions(one, wanted, [s for s in subscriptions if s["id"] != theirs])
            self._judge_grants(one, wanted, one.account in customers)
        self._judge_limits()

    def _judge_limits(self) -> None:
        for exchange in self._sandbox.stigg_server.exchanges:
            if exchange.status == 429 and not exchange.fault:
                self.violate("limits", "-", f"{exchange.method} {exchange.path} was over Stigg's limit")

    def _judge_statuses(self, one: Customer, wanted: oracle.Expected, records: Json, customers: Json) -> None:
        for id, status in wanted.statuses.items():
            record = records.get(id)
            if record is None:
                self.violate("lost", one.account, f"{id} shows nothing in Salesforce; it should be {status}")
            elif record["Status__c"] not in status.split("|"):
                self.violate(
                    "status", one.account, f"{id} is {record['Status__c']} ({record['Reason__c']}), not {status}"
                )
            elif record["Account__c"] != one.account or record["Opportunity__c"] != id:
                self.violate("status", one.account, f"{id} shows another account or opportunity")
        if wanted.subscriptions or wanted.granted:
            shown = self._sandbox.salesforce.get("Account", one.account)["Stigg_Customer_ID__c"]
            if shown != one.account:
                self.violate("status", one.account, f"the account shows the customer {shown}")
            if one.account not in customers:
                self.violate("lost", one.account, "is no customer in Stigg")
            elif any(each.prices for each in wanted.subscriptions.values()):
                billed = customers[one.account]["billingCurrency"]
                if billed != one.currency.lower():
                    self.violate("stale", one.account, f"is billed in {billed}, not in {one.currency}")

    def _judge_foreign(self, one: Customer, subscriptions: list[Json]) -> None:
        """What somebody else made is as they made it."""
        made = self._strangers.foreign.get(one.account)
        if made is None:
            return
        self.counts["foreign"] += 1
        now = next((s for s in subscriptions if s["id"] == made["id"]), None)
        if now is None or any(now[name] != made[name] for name in made if name != "updatedAt"):
            self.violate("foreign", one.account, f"somebody else's subscription was touched: {made} is {now}")

    def _judge_marks(self, one: Customer, subscriptions: list[Json], customers: Json) -> None:
        """What somebody else noted is still there."""
        marks = self._strangers.marks.get(one.account, ())
        kept = {s["id"]: s["metadata"] for s in subscriptions}
        for id in marks:
            if not MARK.items() <= kept.get(id, {}).items():
                self.violate("foreign", one.account, f"somebody else's metadata is gone from {id}")
        if marks and not MARK.items() <= customers[one.account]["metadata"].items():
            self.violate("foreign", one.account, "somebody else's metadata is gone from the customer")

    def _judge_subscriptions(self, one: Customer, wanted: oracle.Expected, subscriptions: list[Json]) -> None:
        standing = self._standing(one, subscriptions)
        self.counts["subscriptions"] += len(standing)
        for slot in standing.keys() - wanted.subscriptions.keys():
            until = wanted.may_stand.get(slot)
            if until is None or oracle.instant(standing[slot]["trialEndDate"]) != until:
                self.violate("stale", one.account, f"{standing[slot]['id']} stands in {slot}, and no deal gives it")
        for slot, should in wanted.subscriptions.items():
            found = standing.get(slot)
            if found is None:
                self.violate("lost", one.account, f"nothing stands in {slot}; there should be {should}")
                continue
            said, shown = _said(should), _shown(found)
            for name, value in said.items():
                if not _same(shown[name], value):
                    self.violate("stale", one.account, f"{found['id']}: {name} is {shown[name]}, not {value}")
            if found["salesforceId"] not in should.opportunities:
                self.violate("stale", one.account, f"{found['id']} belongs to {found['salesforceId']}")

    def _standing(self, one: Customer, subscriptions: list[Json]) -> dict[oracle.Slot, Json]:
        """A customer's live subscriptions by their slots, of which each may hold one."""
        standing: dict[oracle.Slot, Json] = {}
        for s in subscriptions:
            if s["status"] not in LIVE:
                continue
            trial = bool(s["trial"]) and s["status"] in ("IN_TRIAL", "NOT_STARTED")
            slot = oracle.Slot(s["productId"], s["resourceId"], trial)
            if slot in standing:
                self.violate("double", one.account, f"two subscriptions in {slot}: {standing[slot]['id']}, {s['id']}")
            standing[slot] = s
        return standing

    def _judge_grants(self, one: Customer, wanted: oracle.Expected, exists: bool) -> None:
        grants = self._sandbox.stigg.grants(one.account) if exists else []
        self.counts["grants"] += len(grants)
        given = Counter(grant["metadata"]["salesforceOpportunityId"] for grant in grants)
        for id, times in given.items():
            if times > 1:
                self.violate("credits", one.account, f"{id} granted its credits {times} times")
            if id not in wanted.granted and id not in wanted.may_grant:
                self.violate("credits", one.account, f"{id} granted credits before its day, or has none to grant")
        for id in wanted.granted.keys() - given.keys():
            self.violate("credits", one.account, f"{id} never granted its credits")
        amounts = {**wanted.may_grant, **wanted.granted}
        for grant in grants:
            id = grant["metadata"]["salesforceOpportunityId"]
            if grant["amount"] != amounts.get(id, grant["amount"]):
                self.violate("credits", one.account, f"{id} granted {grant['amount']}, not {amounts[id]}")


def wanted_of(customer: Customer, now: datetime, rules: oracle.Rules, waves: int = 3) -> oracle.Expected:
    """What a customer should have after some waves: what came in earlier ones was brought about before.

    Approvals are given when all are over.
    """
    memory = oracle.Memory()
    in_the_way = {customer.foreign["resource_id"]} if customer.foreign else set()
    for before in range(1, waves):
        oracle.expected(customer.readings(before), memory, (), in_the_way, now, rules)
    approved = customer.approves if waves == 3 else set[str]()
    return oracle.expected(customer.readings(waves), memory, approved, in_the_way, now, rules)


def _same(shown: Any, said: Any) -> bool:
    """Whether Stigg shows what was said: prices may be rounded, as they are sent."""
    if isinstance(said, dict) and all(isinstance(one, float) for one in said.values()):
        return bool(shown.keys() == said.keys()) and all(abs(shown[name] - said[name]) < 0.001 for name in said)
    return bool(shown == said)


def _said(should: oracle.Stands) -> Json:
    return {
        "plan": should.plan,
        "units": should.units,
        "add-ons": should.addons,
        "limits": should.limits,
        "prices": should.prices,
        "currencies": {should.currency} if should.prices else set(),
        "charges": should.charges,
        "billing period": should.billing,
        "start to come": should.starts,
        "end": should.ends,
        "end of trial": should.trial_end,
    }


def _shown(s: Json) -> Json:
    def amount(e: Json) -> Any:
        if e["type"] == "CREDIT":
            return e["amount"]
        limit = e.get("usageLimit")
        return "granted" if limit is None else limit

    trial = s["status"] == "IN_TRIAL" or (s["status"] == "NOT_STARTED" and s["trial"])
    return {
        "plan": s["planId"],
        "units": s["unitQuantity"] or 1,
        "add-ons": {addon["id"]: addon["quantity"] for addon in s["addons"]},
        "limits": {e["id"]: amount(e) for e in s["entitlements"]},
        "prices": {p.get("addonId") or p.get("featureId"): p["amount"] for p in s["priceOverrides"]},
        "currencies": {p["currency"] for p in s["priceOverrides"]},
        "charges": {c["id"]: c["quantity"] for c in s["charges"] if c["quantity"] and s["unitQuantity"] is None},
        "billing period": s["billingPeriod"],
        "start to come": oracle.instant(s["startDate"]) if s["status"] == "NOT_STARTED" else None,
        "end": oracle.instant(s["cancellationDate"]),
        "end of trial": oracle.instant(s["trialEndDate"]) if trial else None,
    }
