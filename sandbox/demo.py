"""``make demo``: one enterprise deal, from Closed Won in Salesforce to access in Stigg and back, told as it happens.

Every sentence with a mark is a check of what was expected against what was found; the exit code is 0 only if all of
them held. What it reads from Stigg and Salesforce it reads through their APIs, with a key, as any client would.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

from sandbox.narration import Narration

# What takes a second to import is imported where it is used, once the terminal shows something.
if TYPE_CHECKING:
    from sandbox.onlooker import Visit
    from sandbox.sandbox import Sandbox

INTRODUCTION = (
    "Salesforce is where a deal is won. Stigg is what a product asks, each time somebody uses it, what that customer "
    "may do. closed-won carries the one into the other: once, in order, and with links both ways.",
    "",
    "What follows really happens, on this machine: the real template, functions and state machine, in a stand-in of "
    "AWS, between stand-ins of Stigg and Salesforce. It needs no account, and nothing leaves this machine.",
)

MEANINGS = {
    "WaitForRateSlot": "waits where many deals come at once; Stigg has limits",
    "CustomerProvision": "makes the customer in Stigg, or brings it in line",
    "WorkToDo": "is there anything to change?",
    "SubscriptionProvision": "looks at what Stigg holds, changes what differs",
    "AccountWriteBack": "shows the outcome in Salesforce",
    "WrittenBack": "did anything newer come in meanwhile?",
    "Provisioned": "done",
    "NothingToDo": "somebody else did it already",
    "Refused": "the deal cannot be provisioned as it stands",
    "FailureWriteBack": "tells Salesforce what went wrong",
    "ProvisioningFailed": "failed; the sweep tries again",
}
"""What each state of the state machine does, for someone who sees it for the first time."""

FIRST_CALLOUT = "first callout answered in"
WARM_CALLOUT = "a later one in"
FIRST_DEAL = "first deal, callout to done"
SECOND_DEAL = "second deal, callout to done"
STATES = "states passed"
FIRST_REQUESTS = "first deal, HTTP round trips"
SECOND_REQUESTS = "second deal, HTTP round trips"
NUMBERS = (FIRST_CALLOUT, WARM_CALLOUT, FIRST_DEAL, SECOND_DEAL, STATES, FIRST_REQUESTS, SECOND_REQUESTS)
"""The numbers at the end, in their order."""

LONGEST = 60.0
"""Seconds an execution may take here before the story goes on without it."""

SEATS, STORAGE, WORKSPACES = 250, 2_000, 5
WORKSPACE_STORAGE = 100
"""GB that each extra workspace brings, by Stigg's catalogue."""


def a_year_from(day: date) -> date:
    """The last day of a term of one year."""
    try:
        return day.replace(year=day.year + 1) - timedelta(days=1)
    except ValueError:  # 29 February
        return date(day.year + 1, 2, 28)


class Story:
    """The chapters, told over a sandbox that runs and in which nothing was sold yet."""

    def __init__(self, sandbox: Sandbox, out: Narration) -> None:
        from sandbox.onlooker import Onlooker

        self.sandbox, self.out, self.look = sandbox, out, Onlooker(sandbox)
        self.today = datetime.now(UTC).date()
        self.account_id = self.opportunity_id = self.subscription_id = ""
        self.deal: dict[str, Any] = {}
        self.execution: str | None = None
        self.numbers: dict[str, str] = {}
        self._called = 0.0

    @property
    def chapters(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        return (
            ("A deal is won in Salesforce", self.won),
            ("Salesforce calls", self.calls),
            ("The provisioning runs", self.runs),
            ("What Stigg holds now", self.stigg_holds),
            ("What Salesforce shows now", self.salesforce_shows),
            ("The same callout, five times at once", self.five_at_once),
            ("An older revision comes late", self.comes_late),
            ("A deal names a plan that Stigg does not have", self.wrong_id),
            ("A deal names an ID that cannot be one", self.wrong_prefix),
            ("A deal's life, from trial to cancellation", self.life),
            ("A lost callout and an edit by hand are found", self.reconciliation),
        )

    # The chapters

    def won(self) -> None:
        from sandbox.sales import Sold

        sales, out = self.sandbox.sales, self.out
        self.account_id = sales.account("Northwind Traders", Industry="Retail")
        self.opportunity_id = sales.close(
            self.account_id,
            "Northwind - Enterprise 2026",
            Sold("plan-enterprise", 1, 48_000),
            Sold("addon-premium-support"),
            Sold("addon-extra-workspace", WORKSPACES, 1_150),
            Sold("feature-seats", SEATS),
            Sold("feature-storage-gb", STORAGE),
            Sold("feature-api-calls", unlimited=True),
            CloseDate=self.today.isoformat(),
        )
        terms = {
            "billingPeriod": "ANNUALLY",
            "start": self.today.isoformat(),
            "end": a_year_from(self.today).isoformat(),
            "paymentCollection": "INVOICE",
        }
        self.deal = self.sandbox.deal(self.opportunity_id, terms=terms)
        out.say(
            "A sales rep closes an opportunity. Its products carry the IDs that plans, add-ons and features have "
            "in Stigg."
        )
        out.fact("Account", f"Northwind Traders  ({self.account_id})")
        out.fact("Opportunity", f"Northwind - Enterprise 2026, Closed Won  ({self.opportunity_id})")
        out.fact("Terms", f"{terms['start']} to {terms['end']}, billed annually by invoice, in USD")
        out.say()
        names = self.look.product_names(self.opportunity_id)
        head = ("line", "product", "Stigg type", "Stigg ID", "quantity", "price of one")
        rows = [self.shown_line(line, name) for line, name in zip(self.deal["lines"], names, strict=True)]
        out.table(head, rows, right={0, 4, 5})
        out.say()
        stage = self.look.record("Opportunity", self.opportunity_id)["StageName"]
        out.check("Salesforce says that the opportunity is won", "Closed Won", stage)
        out.check("it has six lines, all of them mapped to Stigg", 6, len([r for r in rows if r[3]]))

    def calls(self) -> None:
        out = self.out
        out.say(
            "A flow in Salesforce sends the deal to closed-won's API. The answer comes only when the order is safe in "
            "the ledger, a DynamoDB table: whatever breaks from here on, it gets provisioned."
        )
        size = len(json.dumps({"deals": [self.deal]})) / 1000
        out.fact(
            "Request",
            f"POST /v1/provisionings: one deal, {len(self.deal['lines'])} lines, {size:.1f} kB of JSON",
        )
        with out.waiting("a callout with a wrong key"):
            refused = self.sandbox.call(self.deal, key=self.sandbox.callout_key[::-1])
        out.check("with a wrong key it is refused", 403, refused.status_code)
        self.look.mark()
        self._called = time.monotonic()
        with out.waiting("the callout (the function starts for the first time)"):
            answer = self.sandbox.call(self.deal)
        seconds = time.monotonic() - self._called
        self.numbers[FIRST_CALLOUT] = f"{seconds:.2f} s, a cold start included"
        out.check(f"the callout is answered 202 Accepted after {seconds:.2f} s", 202, answer.status_code)
        result = first_result(answer)
        out.check("the deal is accepted", "accepted", result.get("status"))
        self.execution = result.get("execution")
        named = str(self.execution).startswith(self.opportunity_id)
        out.check("and gets an execution named after it", f"{self.opportunity_id}-...", self.execution, named)
        out.fact("Execution", self.execution)

    def runs(self) -> None:
        out = self.out
        if not self.execution:
            out.check("an execution runs", "an execution's name", None)
            return
        out.say(
            "An execution of the state machine brings the customer's access in line. Its states as they pass, with "
            "seconds; each function's process starts now, for the first time:"
        )
        status, passed = self.follow(self.execution)
        seconds = time.monotonic() - self._called
        traffic = self.look.traffic()
        found = (status, passed[-1].state if passed else None)
        out.check(
            f"it succeeds after {len(passed)} states, {seconds:.1f} s after the callout",
            ("SUCCEEDED", "Provisioned"),
            found,
        )
        if status != "SUCCEEDED":
            out.fact("Cause", self.look.describe(self.execution).get("cause"))
        out.check(
            "three writes were enough: the customer, its subscription, and one call to Salesforce",
            ["POST /api/v1/customers", "POST /api/v1/subscriptions", "POST /services/data/v66.0/composite"],
            traffic.writes,
        )
        self.numbers[FIRST_DEAL] = f"{seconds:.1f} s, four cold starts included"
        self.numbers[STATES] = str(len(passed))
        self.numbers[FIRST_REQUESTS] = str(traffic)

    def stigg_holds(self) -> None:
        out = self.out
        out.say("Asked through Stigg's REST API, with its key, as any other client would ask.")
        customer_id = self.look.record("Account", self.account_id)["Stigg_Customer_ID__c"] or self.account_id
        customer = self.look.stigg(f"/customers/{customer_id}")
        listed = self.look.stigg("/subscriptions", customerId=customer_id) or []
        out.check("there is a customer, named as the account", "Northwind Traders", (customer or {}).get("name"))
        out.check("with one subscription", 1, len(listed))
        if not customer or len(listed) != 1:
            return
        self.subscription_id = listed[0]["id"]
        held = self.look.stigg(f"/subscriptions/{self.subscription_id}")
        addons = {addon["id"]: addon["quantity"] for addon in held["addons"]}
        prices = {price.get("addonId", held["planId"]): price["amount"] for price in held["prices"]}
        out.say()
        out.fact("Customer", f"{customer['name']}  ({customer['id']}: the account's ID)")
        out.fact(
            "Linked to",
            *(f"{i['vendorIdentifier'].title()} account {i['syncedEntityId']}" for i in customer["integrations"]),
        )
        out.fact("Subscription", self.subscription_id)
        out.fact("Plan", f"{held['planId']}, {held['status'].lower()}")
        out.fact(
            "Billing",
            f"{held['currentBillingPeriodStart'][:10]} to {held['currentBillingPeriodEnd'][:10]} is the first period",
        )
        out.fact("Add-ons", *(f"{quantity} x {id}" for id, quantity in addons.items()))
        out.fact("Prices agreed", *(f"{amount:>6,.0f} USD a year  {id}" for id, amount in prices.items()))
        out.say()
        linked = {"vendorIdentifier": "SALESFORCE", "syncedEntityId": self.account_id}
        found = [{name: i[name] for name in linked} for i in customer["integrations"]]
        out.check("the customer is linked to its account", [linked], found)
        out.check(
            "the subscription is active, on the plan sold",
            ("plan-enterprise", "ACTIVE"),
            (held["planId"], held["status"]),
        )
        start = (self.today.isoformat(), "INVOICE")
        out.check(
            "from the first day of the term, by invoice",
            start,
            (held["startDate"][:10], held["paymentCollectionMethod"]),
        )
        out.check(
            "both add-ons are on it",
            {"addon-premium-support": 1, "addon-extra-workspace": WORKSPACES},
            addons,
        )
        overrides = {"plan-enterprise": 48_000, "addon-extra-workspace": 1_150}
        out.check("the prices agreed replace the catalogue's, and only those", overrides, prices)
        out.say()
        out.say("And this is what the product is told from now on when it asks what Northwind Traders may do:")
        entitlements = self.look.entitlements(customer_id)
        told = {
            "feature-seats": (SEATS, "sold; the plan alone would give 50"),
            "feature-storage-gb": (
                STORAGE + WORKSPACES * WORKSPACE_STORAGE,
                f"{STORAGE:,} sold, and {WORKSPACE_STORAGE} with each extra workspace",
            ),
            "feature-api-calls": ("unlimited", "sold; the plan alone would give 1,000,000 a month"),
        }
        shown = [(id, quantity(entitlements.get(id)), why) for id, (_, why) in told.items()]
        rest = [
            (id, quantity(value), "comes with plan or add-ons") for id, value in entitlements.items() if id not in told
        ]
        out.table(("entitlement", "value", "because"), [*shown, *rest], right={1})
        out.say()
        expected = {id: value for id, (value, _) in told.items()}
        out.check(
            "the three entitlements are as sold, one of them unlimited",
            expected,
            {id: entitlements.get(id) for id in told},
        )
        out.say()
        out.say("Stigg's records link to Salesforce. The demo opens each link and looks for the record it promises:")
        self.opens(
            customer["metadata"].get("salesforceAccountUrl"),
            "the account's page",
            "Northwind Traders",
            self.account_id,
        )
        self.opens(
            held["metadata"].get("salesforceOpportunityUrl"),
            "the opportunity's page",
            "Northwind - Enterprise 2026",
            "Closed Won",
        )

    def salesforce_shows(self) -> None:
        out = self.out
        out.say(
            "Asked through Salesforce's REST API. The sales rep sees this on the account and below the opportunity:"
        )
        account = self.look.record("Account", self.account_id)
        record = self.look.provisioning(self.opportunity_id)
        out.fact("Account", account["Name"])
        out.fact("  Customer ID", account["Stigg_Customer_ID__c"])
        out.fact("Provisioning", f"{record.get('Name')}: {record.get('Status__c')}")
        out.fact("  Subscription", record.get("Subscriptions__c"))
        out.fact("  Execution", record.get("Execution__c"))
        out.fact("  At", record.get("Provisioned_At__c"))
        out.say()
        out.check("the account knows its customer in Stigg", self.account_id, account["Stigg_Customer_ID__c"])
        out.check("the provisioning's status is Provisioned", "Provisioned", record.get("Status__c"))
        sold = f"plan-enterprise - {self.subscription_id or '...'}"
        out.check("it names plan and subscription", sold, record.get("Subscriptions__c"))
        told = self.sandbox.status(self.opportunity_id).json()
        found = (told.get("status"), told.get("writtenBack"))
        out.check("GET /v1/provisionings/{opportunityId} says the same", ("Provisioned", True), found)
        out.say()
        out.say("Salesforce's records link to Stigg:")
        self.opens(account["Stigg_Customer_URL__c"], "the customer's page", "Northwind Traders", self.account_id)
        self.opens(
            record.get("Subscription_URL__c"),
            "the subscription's page",
            "Enterprise",
            "48000",
            "addon-extra-workspace",
        )

    def five_at_once(self) -> None:
        out = self.out
        out.say(
            "Salesforce repeats a callout whose answer it missed, and who knows how often. So here is the very same "
            "one, five times at once:"
        )
        before, executions = self.look.holds(self.account_id), self.look.executions()
        self.look.mark()
        answers = self.at_once(self.deal)
        out.check("five times 202", [202] * 5, [answer.status_code for answer in answers])
        out.check(
            "all five are known to be duplicates",
            ["duplicate"] * 5,
            [first_result(answer).get("status") for answer in answers],
        )
        out.check("no second execution is started", executions, self.look.executions())
        out.check("nothing is written to Stigg or Salesforce", [], self.look.traffic().writes)
        out.check("the customer still has that one subscription", before, self.look.holds(self.account_id))
        out.say()
        out.say("Now a new deal of another customer, Kestrel Health, whose five callouts race each other:")
        self.race()

    def race(self) -> None:
        from sandbox.sales import Sold

        sales, out = self.sandbox.sales, self.out
        account = sales.account("Kestrel Health", Industry="Healthcare")
        sold = (Sold("plan-analytics", 1, 18_000), Sold("addon-data-export"), Sold("feature-dashboards", 100))
        deal = self.sandbox.deal(sales.close(account, "Kestrel Health - Analytics 2026", *sold))
        executions = self.look.executions()
        self.look.mark()
        begun = time.monotonic()
        answers = self.at_once(deal)
        results = [first_result(answer) for answer in answers]
        statuses = sorted(str(result.get("status")) for result in results)
        out.check("one is accepted, four are duplicates", ["accepted", *["duplicate"] * 4], statuses)
        names = {str(result.get("execution")) for result in results}
        out.check("all five name the same execution", 1, len(names))
        status = self.ends(names.pop())
        seconds = time.monotonic() - begun
        traffic = self.look.traffic()
        out.check(f"it succeeds, {seconds:.1f} s after the first callout", "SUCCEEDED", status)
        out.check("one execution is all there was", executions + 1, self.look.executions())
        once = ["POST /api/v1/customers", "POST /api/v1/subscriptions", "POST /services/data/v66.0/composite"]
        out.check("one customer and one subscription are written, and one call to Salesforce", once, traffic.writes)
        self.numbers[SECOND_DEAL] = f"{seconds:.1f} s, with five callouts at once"
        self.numbers[SECOND_REQUESTS] = str(traffic)

    def comes_late(self) -> None:
        out = self.out
        out.say(
            "Messages overtake each other. This one is the same opportunity as it was an hour earlier, when it said "
            f"100 seats; what came since says {SEATS}:"
        )
        late = deepcopy(self.deal)
        earlier = datetime.now(UTC) - timedelta(hours=1)
        late["opportunity"] |= {
            "systemModstamp": f"{earlier:%Y-%m-%dT%H:%M:%SZ}",
            "readAt": f"{earlier:%Y-%m-%dT%H:%M:%SZ}",
        }
        next(line for line in late["lines"] if line["stiggId"] == "feature-seats")["quantity"] = 100
        before, executions = self.look.holds(self.account_id), self.look.executions()
        self.look.mark()
        begun = time.monotonic()
        answer = self.sandbox.call(late)
        self.numbers[WARM_CALLOUT] = f"{time.monotonic() - begun:.2f} s"
        out.check("it is answered 202", 202, answer.status_code)
        out.check("as superseded", "superseded", first_result(answer).get("status"))
        out.check("no execution is started", executions, self.look.executions())
        out.check("nothing is written to Stigg or Salesforce", [], self.look.traffic().writes)
        seats = self.look.entitlements(self.account_id).get("feature-seats")
        out.check(f"the customer still has {SEATS} seats", SEATS, seats)
        out.check("and everything else is as it was", before, self.look.holds(self.account_id))

    def wrong_id(self) -> None:
        from sandbox.sales import Sold

        sales, out = self.sandbox.sales, self.out
        opportunity = sales.close(
            self.account_id,
            "Northwind - Europe 2026",
            Sold("plan-enterprice", 1, 20_000),
            Sold("feature-seats", 40),
        )
        deal = self.sandbox.deal(opportunity)
        out.say(
            "Someone mistyped the ID of a product: plan-enterprice, with a c. It looks like an ID, so only Stigg's "
            "catalogue can tell. Northwind Traders, who has a subscription already, buys it:"
        )
        out.table(
            ("line", "Stigg type", "Stigg ID", "quantity"),
            [(line["line"], line["stiggType"], line["stiggId"], quantity(line["quantity"])) for line in deal["lines"]],
            right={0, 3},
        )
        out.say()
        before = self.look.holds(self.account_id)
        self.look.mark()
        result = first_result(self.sandbox.call(deal))
        out.check("the callout accepts it", "accepted", result.get("status"))
        status = self.ends(str(result.get("execution")))
        writes = self.look.traffic().writes_to_stigg
        described = self.look.describe(str(result.get("execution")))
        out.check("its execution ends as refused", ("FAILED", "DealRefused"), (status, described.get("error")))
        cause = str(described.get("cause"))
        out.check(
            "the cause names line and ID",
            "line 1 ... plan-enterprice",
            cause,
            "line 1" in cause and "plan-enterprice" in cause,
        )
        self.refusal_shown(opportunity, "line 1", "plan-enterprice")
        out.check("nothing is written to Stigg", [], writes)
        out.check("the customer's subscription is untouched", before, self.look.holds(self.account_id))

    def wrong_prefix(self) -> None:
        from sandbox.sales import Sold

        sales, out = self.sandbox.sales, self.out
        self.sandbox.salesforce.add_product("Audit Trail", Stigg_Type__c="Add-on", Stigg_ID__c="audit-log")
        opportunity = sales.close(
            self.account_id, "Northwind - Analytics 2026", Sold("plan-analytics", 1, 9_000), Sold("audit-log")
        )
        out.say("This mistake shows in the deal itself: add-ons are called addon-..., but line 2 says audit-log.")
        before = self.look.holds(self.account_id)
        self.look.mark()
        answer = self.sandbox.call(self.sandbox.deal(opportunity))
        result = first_result(answer)
        out.check("the answer says at once that the deal is invalid", "invalid", result.get("status"))
        errors = result.get("errors") or [{}]
        out.check("it names line and field", (2, "stiggId"), (errors[0].get("line"), errors[0].get("field")))
        out.fact("Message", errors[0].get("message"))
        if result.get("execution"):
            self.ends(str(result["execution"]))
        self.refusal_shown(opportunity, "line 2", "audit-log")
        out.check(
            "nothing is written to Stigg, not even line 1",
            [],
            self.look.traffic().writes_to_stigg,
        )
        out.check("the customer's subscription is untouched", before, self.look.holds(self.account_id))

    def life(self) -> None:
        from sandbox.life import tell

        tell(self.sandbox, self.look, self.out)

    def reconciliation(self) -> None:
        from sandbox.reconciliation import tell

        tell(self.sandbox, self.look, self.out)

    def refusal_shown(self, opportunity_id: str, *parts: str) -> None:
        """The sales rep sees what is wrong, on the opportunity's provisioning."""
        record = self.look.provisioning(opportunity_id)
        self.out.check("Salesforce shows the deal as Failed", "Failed", record.get("Status__c"))
        reason = str(record.get("Reason__c"))
        self.out.check("and why", " ... ".join(parts), reason, all(part in reason for part in parts))
        self.out.fact("Reason", *reason.splitlines())
        if record:
            url = f"{self.sandbox.salesforce_server.url}/{record['Id']}"
            self.opens(url, "the provisioning's page", "Failed", *parts)

    def opens(self, url: str | None, what: str, *promised: str) -> None:
        """Open a link and look for what it promises."""
        if not url:
            self.out.check(f"a link opens {what}", "a link", None)
            return
        status, html = self.look.open(url)
        page = unescape(html)
        missing = [part for part in promised if part not in page]
        found = f"{status}" + (f", without {', '.join(missing)}" if missing else "")
        self.out.check(
            f"it opens {what}",
            f"200, with {', '.join(promised)}",
            found,
            status == 200 and not missing,
        )
        self.out.link(url)

    def ends(self, execution: str) -> str:
        """Wait for an execution's end. Out: its status."""
        with self.out.waiting("the execution"):
            try:
                return str(self.sandbox.wait([execution], LONGEST)[0]["status"])
            except TimeoutError:
                return f"RUNNING after {LONGEST:.0f} s"

    def follow(self, execution: str) -> tuple[str, list[Visit]]:
        """Show an execution's states as they pass. Out: its status and the states."""
        from sandbox.onlooker import ENDS, visits

        shown, deadline = 0, time.monotonic() + LONGEST
        with self.out.waiting("the execution"):
            while True:
                events = self.look.history(execution)
                passed = visits(events)
                for visit in passed[shown:]:
                    if visit.end is None:
                        tries = f", after {', '.join(visit.failed)}" if visit.failed else ""
                        self.out.now_waiting(visit.state + tries)
                        break
                    seconds = (visit.end - visit.begin).total_seconds()
                    self.out.row(f"{seconds:5.2f}  {visit.state:<22} {MEANINGS.get(visit.state, '')}".rstrip())
                    for error in visit.failed:
                        self.out.row(f"{'':5}  {'':<22} tried again after {error}")
                    shown += 1
                if events and events[-1]["type"] in ENDS:
                    return str(self.look.describe(execution)["status"]), passed
                if time.monotonic() > deadline:
                    return f"RUNNING after {LONGEST:.0f} s", passed
                time.sleep(0.1)

    def at_once(self, deal: Mapping[str, Any]) -> list[Any]:
        """The same callout from five callers at the same time."""
        with self.out.waiting("five callouts at once"), ThreadPoolExecutor(5) as pool:
            return list(pool.map(lambda _: self.sandbox.call(deal), range(5)))

    def shown_line(self, line: Mapping[str, Any], name: str) -> tuple[str, ...]:
        amount = "unlimited" if line.get("unlimited") else quantity(line["quantity"])
        sold = line["stiggType"] in ("Plan", "Add-on")
        price = f"{line['price']:,.0f} USD" if "price" in line else "catalogue" if sold else ""
        return str(line["line"]), name, line["stiggType"], line["stiggId"], amount, price


def quantity(value: Any) -> str:
    """A number as people write it."""
    if value is True:
        return "included"
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def first_result(answer: Any) -> dict[str, Any]:
    """What a callout with one deal was told of it; empty where it was refused as a whole."""
    try:
        results = answer.json().get("results") or [{}]
    except ValueError:
        return {}
    found: dict[str, Any] = results[0]
    return found


def tell(sandbox: Sandbox, out: Narration) -> int:
    """Tell the story over a running sandbox. Out: the exit code, 0 when every check held.

    A check that does not hold is told with what was expected and found, and with what the functions logged; then the
    story goes on.
    """
    story = Story(sandbox, out)
    for title, told in story.chapters:
        chapter = out.chapter(title)
        logged = {name: len(lines) for name, lines in sandbox.aws.functions.logs.items()}
        try:
            told()
        except Exception as error:
            out.check("the chapter is told to its end", "no error", f"{type(error).__name__}: {error}", False)
        if chapter.failed:
            show_logs(sandbox, out, logged)
        if not story.deal:
            out.say("Without a deal there is no more to tell.")
            break
    out.summary()
    out.say()
    for name in NUMBERS:
        if name in story.numbers:
            out.number(name, story.numbers[name])
    return 1 if out.failed else 0


def show_logs(sandbox: Sandbox, out: Narration, logged: Mapping[str, int], most: int = 4) -> None:
    """The last lines that functions logged in this chapter."""
    logs = {name: lines[logged.get(name, 0) :][-most:] for name, lines in sandbox.aws.functions.logs.items()}
    if any(logs.values()):
        out.say()
        out.say("What the functions logged last:")
    for name, lines in logs.items():
        if lines:
            out.row(name)
            out.fact("", *(log_line(line) for line in lines))


def log_line(line: str) -> str:
    """A structured log line in short; any other as it is."""
    try:
        content = json.loads(line)
        if "errorType" in content:  # what the runtime says of an error nobody caught
            return f"ERROR {content['errorType']}: {content.get('errorMessage')}"
        more = [f"{name}={value}" for name, value in content.items() if name not in USUAL and value is not None]
        return " ".join([content["level"], content["message"], *more])
    except (ValueError, KeyError, TypeError):
        return line.strip()


USUAL = {
    *(
        "level",
        "message",
        "location",
        "timestamp",
        "service",
        "execution",
        "xray_trace_id",
        "exception",
        "stack_trace",
    ),
    *("cold_start", "function_name", "function_memory_size", "function_arn", "function_request_id"),
}
"""Fields of a log line that tell a reader of the demo nothing."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.demo", description="One enterprise deal, from Closed Won to provisioned."
    )
    parser.add_argument(
        "--stay", action="store_true", help="keep everything up afterwards, until Ctrl-C: links stay open"
    )
    chosen = parser.parse_args(arguments)
    out = Narration(sys.stdout)
    try:
        return run(out, chosen.stay)
    except KeyboardInterrupt:
        out.say()
        out.say("Ended.")
        return 130


def run(out: Narration, stay: bool) -> int:
    begun = time.monotonic()
    out.title("closed-won: one enterprise deal, from Closed Won to provisioned and back")
    out.say(*INTRODUCTION)
    out.say()
    with out.waiting("starting the sandbox"):
        from sandbox.sandbox import Sandbox, reach_loopback_directly

        out.now_waiting("deploying template.yaml into the sandbox")
        reach_loopback_directly()
        sandbox = Sandbox().start()
    try:
        out.say(f"Up after {time.monotonic() - begun:.1f} s:")
        out.fact("Callout", f"{sandbox.aws.callout_url}/v1/provisionings")
        out.fact("AWS", f"{sandbox.aws.endpoint_url}  (template.yaml, {len(sandbox.aws.functions.logs)} functions)")
        out.fact("Stigg", f"{sandbox.stigg_server.url}/{sandbox.stigg.environment}/customers")
        out.fact("Salesforce", f"{sandbox.salesforce_server.url}/")
        out.fact("Keys", "made for this run, kept in its Secrets Manager, and never printed")
        code = tell(sandbox, out)
        out.number("the whole demo", f"{time.monotonic() - begun:.1f} s")
        out.say()
        out.say("Everything held." if code == 0 else "Not everything held: see the crosses above.")
        if stay:
            out.say(
                "Everything stays up until Ctrl-C. Browsers warn of Salesforce's certificate: it was made for this run."
            )
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
            return code
        out.say(
            "To click through it yourself: make sandbox. It stays up, with addresses and keys in "
            ".sandbox/endpoints.json."
        )
        return code
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending already
        sandbox.stop()


if __name__ == "__main__":
    sys.exit(main())
