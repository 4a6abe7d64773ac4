"""Selling for the recording: deals as a sales team makes them, sent the way Salesforce sends them, each noted.

What a deal says stands in Salesforce too, as far as its fields can say it, and was saved hours ago: so the recorded
systems agree about it, and reconciliation has an opinion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from integration.scenes import seen, sweep, time_passes
from integration.terminal import Operator
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

Json = dict[str, Any]
Story = Callable[["Shop"], "Iterator[None] | None"]

SEATS, CALLS, STORAGE, SSO = "feature-seats", "feature-api-calls", "feature-storage-gb", "feature-sso"
WORKSPACE, SUPPORT, CREDITS = "addon-extra-workspace", "addon-premium-support", "currency-ai-credits"

TRIAL_STAGE = "Proposal/Price Quote"
AGE = 10_800
"""How many seconds ago deals were saved: what was saved just now might still be on its way."""

_FIELDS = {
    "start": "Stigg_Start_Date__c",
    "end": "Stigg_End_Date__c",
    "billingPeriod": "Stigg_Billing_Period__c",
    "paymentCollection": "Stigg_Payment_Collection__c",
    "trialEnd": "Stigg_Trial_End_Date__c",
    "trialEndBehavior": "Stigg_Trial_End_Behavior__c",
    "coupon": "Stigg_Coupon_ID__c",
    "minimumSpend": "Stigg_Minimum_Spend__c",
    "payingCustomerId": "Stigg_Paying_Customer_ID__c",
}
"""Terms of a deal that the opportunity's fields hold. An instant does not fit a day: then the field stays empty."""

ENTERPRISE = (Sold("plan-enterprise", 1, 48000), Sold(WORKSPACE, 2, 1200), Sold(SEATS, 250))


class Customer(NamedTuple):
    """A customer to be recorded. name: of the account; stands_for: one sentence for the list."""

    name: str
    stands_for: str
    story: Story


class Stack(NamedTuple):
    """One stack to be recorded: its parameters, and who buys there. reconciled: whether a reconciliation has run."""

    name: str
    parameters: Mapping[str, str]
    stands_for: str
    customers: list[Customer]
    own_application: bool = False
    reconciled: bool = False

    def customer(self, story: Story) -> Story:
        """Have one recorded: the function tells the story, its docstring what it stands for."""
        name = story.__name__.replace("_", " ").capitalize()
        self.customers.append(Customer(name, " ".join((story.__doc__ or "").split()), story))
        return story


class Shop:
    """A sales team at a running sandbox. sent: every deal that was sent, in turn, with its customer and answer."""

    def __init__(self, sandbox: Sandbox, operator: Operator) -> None:
        self.sandbox = sandbox
        self.operator = operator
        self.sent: list[Json] = []
        self.customer = ""
        self.latest = datetime.now(UTC)
        self._ages: dict[str, int] = {}

    # Days

    def day(self, days: int) -> str:
        """The day some days from now."""
        return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()

    def soon(self, seconds: float) -> str:
        """An instant some seconds from now; the second part of the stories begins after all of these."""
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        self.latest = max(self.latest, moment)
        return moment.isoformat(timespec="milliseconds")

    def year(self, starts: int = -180, days: int = 365, **more: Any) -> Json:
        """Terms of a year by invoice that began some days ago."""
        known = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
        return {**known, "start": self.day(starts), "end": self.day(starts + days - 1), **more}

    # Selling

    def account(self, name: str = "", **fields: Any) -> str:
        """Open an account, the customer's own unless it is given another name."""
        return self.sandbox.sales.account(name or self.customer, **fields)

    def deal(
        self,
        account: str,
        *sold: Sold,
        trigger: str = "closed_won",
        terms: Mapping[str, Any] = {},
        amends: str | None = None,
        stage: str = "",
        lines: Iterable[Json] = (),
        fields: Mapping[str, Any] = {},
        **more: Any,
    ) -> Json:
        """Make an opportunity, and the deal of it as the flow sends it.

        lines: further lines that say more than an opportunity product can; more: fields of the deal.
        """
        number = len(self.sandbox.salesforce.find("Opportunity", AccountId=account)) + 1
        stages = {"trial": TRIAL_STAGE, "cancellation": "Closed Lost"}
        known = {_FIELDS[name]: value for name, value in terms.items() if name in _FIELDS and not _is_instant(value)}
        if "budget" in terms:
            known["Stigg_Budget__c"] = terms["budget"]["limit"]
        if trigger == "cancellation":
            known = {"Stigg_Cancel_Date__c": terms["end"]} if "end" in terms else {}
        if amends:
            known["Stigg_Amends__c"] = amends
            known["Type"] = "Renewal" if trigger == "renewal" else "Existing Customer - Upgrade"
        opportunity = self.sandbox.sales.close(
            account,
            f"{self.customer} - {trigger.replace('_', ' ')} {number}",
            *sold,
            **{"CloseDate": self.day(-30), "StageName": stage or stages.get(trigger, "Closed Won"), **known, **fields},
        )
        self.saved(opportunity)
        if amends:
            more["amends"] = amends
        deal = self.sandbox.deal(opportunity, trigger=trigger, **({"terms": dict(terms)} if terms else {}), **more)
        deal["lines"] += [{"line": len(deal["lines"]) + place, **line} for place, line in enumerate(lines, 1)]
        return deal

    def saved(self, opportunity: str) -> None:
        """The opportunity was saved a while ago, later than the last time it was."""
        age = self._ages[opportunity] = self._ages.get(opportunity, AGE + 600) - 600
        self.sandbox.salesforce.backdate("Opportunity", opportunity, age)

    def again(self, deal: Json, fields: Mapping[str, Any] = {}, **more: Any) -> Json:
        """The same deal after its opportunity was saved once more. more: fields of the deal that are others now."""
        opportunity = deal["opportunity"]["id"]
        self.sandbox.salesforce.update("Opportunity", opportunity, **({"NextStep": "Revised"} | dict(fields)))
        self.saved(opportunity)
        fresh = self.sandbox.deal(opportunity)
        return {**deal, "opportunity": fresh["opportunity"], "account": fresh["account"], **more}

    def sell(self, account: str, *sold: Sold, **more: Any) -> Json:
        """Make a deal, send it and wait until it is provisioned."""
        deal = self.deal(account, *sold, **more)
        self.send(deal)
        return deal

    def amend(self, base: Json, *sold: Sold, **more: Any) -> Json:
        """An amendment of differences of a deal is sold."""
        more = {"quantities": "differences", **more}
        return self.sell(base["account"]["id"], *sold, trigger="amendment", amends=id_of(base), **more)

    def renew(self, base: Json, *sold: Sold, **more: Any) -> Json:
        return self.sell(base["account"]["id"], *sold, trigger="renewal", amends=id_of(base), **more)

    def cancel(self, base: Json, **more: Any) -> Json:
        """A deal's contract is lost, by an opportunity of its own."""
        more.setdefault("lines", ())
        return self.sell(base["account"]["id"], trigger="cancellation", amends=id_of(base), **more)

    # Sending

    def call(self, *deals: Json) -> list[Json]:
        """Send deals in one request. Out: what each was answered."""
        answer = self.sandbox.call(*deals)
        assert answer.status_code == 202, answer.text
        results: list[Json] = answer.json()["results"]
        self.sent += [
            {"customer": self.customer, "deal": deal, "answer": result["status"], "errors": result["errors"]}
            for deal, result in zip(deals, results, strict=True)
        ]
        return results

    def send(self, *deals: Json) -> list[Json]:
        """Send deals and wait until nothing runs any more."""
        results = self.call(*deals)
        self.sandbox.wait_until_idle()
        return results

    def approve(self, deal: Json) -> None:
        """Somebody approves what holds a deal."""
        approval = self.told(deal)["approval"]
        asked = {"organizationId": deal["organizationId"], "opportunityId": id_of(deal), "approval": approval}
        answer = self.sandbox.post({"approvals": [asked]}, path="/v1/approvals")
        assert answer.json()["results"][0]["status"] == "approved", answer.text
        self.sandbox.wait_until_idle()

    def look_now(self, account: str) -> None:
        """The sweep looks at a customer before it would have been due."""
        time_passes(self.sandbox, account)
        sweep(self.sandbox)

    def told(self, deal: Json) -> Json:
        """What GET tells of a deal."""
        told: Json = self.sandbox.status(id_of(deal)).json()
        return told

    def expect(self, deal: Json, status: str, reason: str = "") -> None:
        """The deal stands as the customer's list says. reason: words that are in it."""
        told = self.told(deal)
        assert (told["status"], reason in told["reason"]) == (status, True), (self.customer, told)

    def standing(self, customer_id: str) -> Json:
        """The one subscription that stands."""
        live = ("ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING")
        [one] = [s for s in self.sandbox.stigg.subscriptions(customer_id) if s["status"] in live]
        return one

    def dies(self, deal: Json, kind: Any, method: str, path: str, **more: Any) -> None:
        """A deal is sent, and its execution dies for good at a write: it never hears what became of it."""
        account = deal["account"]["id"]
        fault = self.sandbox.stigg_server.fail(kind, method, path, about=account, seconds=25, **more)
        [result] = self.call(deal)
        seen(self.sandbox, lambda: fault.times == 0)
        time.sleep(0.3)  # what lands has landed
        stepfunctions = self.sandbox.aws.client("stepfunctions")
        stepfunctions.stop_execution(executionArn=self.sandbox.execution_arn(result["execution"]))
        self.sandbox.aws.functions.kill("SubscriptionProvisionFunction")
        self.sandbox.wait_until_idle()


def _is_instant(value: Any) -> bool:
    return isinstance(value, str) and value[:1].isdigit() and "T" in value


def id_of(deal: Json) -> str:
    return str(deal["opportunity"]["id"])


def line(stigg_type: str, stigg_id: str, quantity: Any = None, **more: Any) -> Json:
    return {"stiggType": stigg_type, "stiggId": stigg_id, "quantity": quantity, **more}
