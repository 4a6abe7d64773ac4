"""The demo's first story: one enterprise deal, from Closed Won in Salesforce to access in Stigg and back."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from sandbox.chapters.story import (
    FIRST_CALLOUT,
    FIRST_DEAL,
    FIRST_REQUESTS,
    LONGEST,
    STATES,
    Story,
    first_result,
    quantity,
)
from sandbox.onlooker import ENDS, Visit, visits
from sandbox.sales import Sold

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

SEATS, STORAGE, WORKSPACES = 250, 2_000, 5
WORKSPACE_STORAGE = 100
"""GB that each extra workspace brings, by Stigg's catalogue."""


def a_year_from(day: date) -> date:
    """The last day of a term of one year."""
    try:
        return day.replace(year=day.year + 1) - timedelta(days=1)
    except ValueError:  # 29 February
        return date(day.year + 1, 2, 28)


def won(story: Story) -> None:
    sales, out = story.sandbox.sales, story.out
    story.account_id = sales.account("Northwind Traders", Industry="Retail")
    story.opportunity_id = sales.close(
        story.account_id,
        "Northwind - Enterprise 2026",
        Sold("plan-enterprise", 1, 48_000),
        Sold("addon-premium-support"),
        Sold("addon-extra-workspace", WORKSPACES, 1_150),
        Sold("feature-seats", SEATS),
        Sold("feature-storage-gb", STORAGE),
        Sold("feature-api-calls", unlimited=True),
        CloseDate=story.today.isoformat(),
    )
    terms = {
        "billingPeriod": "ANNUALLY",
        "start": story.today.isoformat(),
        "end": a_year_from(story.today).isoformat(),
        "paymentCollection": "INVOICE",
    }
    story.deal = story.sandbox.deal(story.opportunity_id, terms=terms)
    out.say(
        "A sales rep closes an opportunity. Its products carry the IDs that plans, add-ons and features have in Stigg."
    )
    out.fact("Account", f"Northwind Traders  ({story.account_id})")
    out.fact("Opportunity", f"Northwind - Enterprise 2026, Closed Won  ({story.opportunity_id})")
    out.fact("Terms", f"{terms['start']} to {terms['end']}, billed annually by invoice, in USD")
    out.say()
    names = story.look.product_names(story.opportunity_id)
    head = ("line", "product", "Stigg type", "Stigg ID", "quantity", "price of one")
    rows = [shown_line(line, name) for line, name in zip(story.deal["lines"], names, strict=True)]
    out.table(head, rows, right={0, 4, 5})
    out.say()
    stage = story.look.record("Opportunity", story.opportunity_id)["StageName"]
    out.check("Salesforce says that the opportunity is won", "Closed Won", stage)
    out.check("it has six lines, all of them mapped to Stigg", 6, len([r for r in rows if r[3]]))


def calls(story: Story) -> None:
    out = story.out
    out.say(
        "A flow in Salesforce sends the deal to closed-won's API. The answer comes only when the order is safe in "
        "the ledger, a DynamoDB table: whatever breaks from here on, it gets provisioned."
    )
    size = len(json.dumps({"deals": [story.deal]})) / 1000
    out.fact(
        "Request",
        f"POST /v1/provisionings: one deal, {len(story.deal['lines'])} lines, {size:.1f} kB of JSON",
    )
    with out.waiting("a callout with a wrong key"):
        refused = story.sandbox.call(story.deal, key=story.sandbox.callout_key[::-1])
    out.check("with a wrong key it is refused", 403, refused.status_code)
    story.look.mark()
    story.called = time.monotonic()
    with out.waiting("the callout (the function starts for the first time)"):
        answer = story.sandbox.call(story.deal)
    seconds = time.monotonic() - story.called
    story.numbers[FIRST_CALLOUT] = f"{seconds:.2f} s, a cold start included"
    out.check(f"the callout is answered 202 Accepted after {seconds:.2f} s", 202, answer.status_code)
    result = first_result(answer)
    out.check("the deal is accepted", "accepted", result.get("status"))
    story.execution = result.get("execution")
    named = str(story.execution).startswith(story.opportunity_id)
    out.check("and gets an execution named after it", f"{story.opportunity_id}-...", story.execution, named)
    out.fact("Execution", story.execution)


def runs(story: Story) -> None:
    out = story.out
    if not story.execution:
        out.check("an execution runs", "an execution's name", None)
        return
    out.say(
        "An execution of the state machine brings the customer's access in line. Its states as they pass, with "
        "seconds; each function's process starts now, for the first time:"
    )
    status, passed = follow(story, story.execution)
    seconds = time.monotonic() - story.called
    traffic = story.look.traffic()
    found = (status, passed[-1].state if passed else None)
    out.check(
        f"it succeeds after {len(passed)} states, {seconds:.1f} s after the callout",
        ("SUCCEEDED", "Provisioned"),
        found,
    )
    if status != "SUCCEEDED":
        out.fact("Cause", story.look.describe(story.execution).get("cause"))
    out.check(
        "three writes were enough: the customer, its subscription, and one call to Salesforce",
        ["POST /api/v1/customers", "POST /api/v1/subscriptions", "POST /services/data/v66.0/composite"],
        traffic.writes,
    )
    story.numbers[FIRST_DEAL] = f"{seconds:.1f} s, four cold starts included"
    story.numbers[STATES] = str(len(passed))
    story.numbers[FIRST_REQUESTS] = str(traffic)


def follow(story: Story, execution: str) -> tuple[str, list[Visit]]:
    """Show an execution's states as they pass. Out: its status and the states."""
    shown, deadline = 0, time.monotonic() + LONGEST
    with story.out.waiting("the execution"):
        while True:
            events = story.look.history(execution)
            passed = visits(events)
            for visit in passed[shown:]:
                if visit.end is None:
                    tries = f", after {', '.join(visit.failed)}" if visit.failed else ""
                    story.out.now_waiting(visit.state + tries)
                    break
                seconds = (visit.end - visit.begin).total_seconds()
                story.out.row(f"{seconds:5.2f}  {visit.state:<22} {MEANINGS.get(visit.state, '')}".rstrip())
                for error in visit.failed:
                    story.out.row(f"{'':5}  {'':<22} tried again after {error}")
                shown += 1
            if events and events[-1]["type"] in ENDS:
                return str(story.look.describe(execution)["status"]), passed
            if time.monotonic() > deadline:
                return f"RUNNING after {LONGEST:.0f} s", passed
            time.sleep(0.1)


def stigg_holds(story: Story) -> None:
    out = story.out
    out.say("Asked through Stigg's REST API, with its key, as any other client would ask.")
    customer_id = story.look.record("Account", story.account_id)["Stigg_Customer_ID__c"] or story.account_id
    customer = story.look.stigg(f"/customers/{customer_id}")
    listed = story.look.stigg("/subscriptions", customerId=customer_id) or []
    out.check("there is a customer, named as the account", "Northwind Traders", (customer or {}).get("name"))
    out.check("with one subscription", 1, len(listed))
    if not customer or len(listed) != 1:
        return
    story.subscription_id = listed[0]["id"]
    held = story.look.stigg(f"/subscriptions/{story.subscription_id}")
    records_held(story, customer, held)
    out.say()
    out.say("And this is what the product is told from now on when it asks what Northwind Traders may do:")
    entitlements_told(story, story.look.entitlements(customer_id))
    out.say()
    out.say("Stigg's records link to Salesforce. The demo opens each link and looks for the record it promises:")
    story.opens(
        customer["metadata"].get("salesforceAccountUrl"),
        "the account's page",
        "Northwind Traders",
        story.account_id,
    )
    story.opens(
        held["metadata"].get("salesforceOpportunityUrl"),
        "the opportunity's page",
        "Northwind - Enterprise 2026",
        "Closed Won",
    )


def records_held(story: Story, customer: Mapping[str, Any], held: Mapping[str, Any]) -> None:
    """Customer and subscription, as Stigg's API shows them, against what was sold."""
    out = story.out
    addons = {addon["id"]: addon["quantity"] for addon in held["addons"]}
    prices = {price.get("addonId", held["planId"]): price["amount"] for price in held["prices"]}
    out.say()
    out.fact("Customer", f"{customer['name']}  ({customer['id']}: the account's ID)")
    out.fact(
        "Linked to",
        *(f"{i['vendorIdentifier'].title()} account {i['syncedEntityId']}" for i in customer["integrations"]),
    )
    out.fact("Subscription", story.subscription_id)
    out.fact("Plan", f"{held['planId']}, {held['status'].lower()}")
    out.fact(
        "Billing",
        f"{held['currentBillingPeriodStart'][:10]} to {held['currentBillingPeriodEnd'][:10]} is the first period",
    )
    out.fact("Add-ons", *(f"{quantity} x {id}" for id, quantity in addons.items()))
    out.fact("Prices agreed", *(f"{amount:>6,.0f} USD a year  {id}" for id, amount in prices.items()))
    out.say()
    linked = {"vendorIdentifier": "SALESFORCE", "syncedEntityId": story.account_id}
    found = [{name: i[name] for name in linked} for i in customer["integrations"]]
    out.check("the customer is linked to its account", [linked], found)
    out.check(
        "the subscription is active, on the plan sold",
        ("plan-enterprise", "ACTIVE"),
        (held["planId"], held["status"]),
    )
    start = (story.today.isoformat(), "INVOICE")
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


def entitlements_told(story: Story, entitlements: Mapping[str, Any]) -> None:
    """What the customer may use, and why."""
    out = story.out
    told = {
        "feature-seats": (SEATS, "sold; the plan alone would give 50"),
        "feature-storage-gb": (
            STORAGE + WORKSPACES * WORKSPACE_STORAGE,
            f"{STORAGE:,} sold, and {WORKSPACE_STORAGE} with each extra workspace",
        ),
        "feature-api-calls": ("unlimited", "sold; the plan alone would give 1,000,000 a month"),
    }
    shown = [(id, quantity(entitlements.get(id)), why) for id, (_, why) in told.items()]
    rest = [(id, quantity(value), "comes with plan or add-ons") for id, value in entitlements.items() if id not in told]
    out.table(("entitlement", "value", "because"), [*shown, *rest], right={1})
    out.say()
    expected = {id: value for id, (value, _) in told.items()}
    out.check(
        "the three entitlements are as sold, one of them unlimited",
        expected,
        {id: entitlements.get(id) for id in told},
    )


def salesforce_shows(story: Story) -> None:
    out = story.out
    out.say("Asked through Salesforce's REST API. The sales rep sees this on the account and below the opportunity:")
    account = story.look.record("Account", story.account_id)
    record = story.look.provisioning(story.opportunity_id)
    out.fact("Account", account["Name"])
    out.fact("  Customer ID", account["Stigg_Customer_ID__c"])
    out.fact("Provisioning", f"{record.get('Name')}: {record.get('Status__c')}")
    out.fact("  Subscription", record.get("Subscriptions__c"))
    out.fact("  Execution", record.get("Execution__c"))
    out.fact("  At", record.get("Provisioned_At__c"))
    out.say()
    out.check("the account knows its customer in Stigg", story.account_id, account["Stigg_Customer_ID__c"])
    out.check("the provisioning's status is Provisioned", "Provisioned", record.get("Status__c"))
    sold = f"plan-enterprise - {story.subscription_id or '...'}"
    out.check("it names plan and subscription", sold, record.get("Subscriptions__c"))
    told = story.sandbox.status(story.opportunity_id).json()
    found = (told.get("status"), told.get("writtenBack"))
    out.check("GET /v1/provisionings/{opportunityId} says the same", ("Provisioned", True), found)
    out.say()
    out.say("Salesforce's records link to Stigg:")
    story.opens(account["Stigg_Customer_URL__c"], "the customer's page", "Northwind Traders", story.account_id)
    story.opens(
        record.get("Subscription_URL__c"),
        "the subscription's page",
        "Enterprise",
        "48000",
        "addon-extra-workspace",
    )


def shown_line(line: Mapping[str, Any], name: str) -> tuple[str, ...]:
    amount = "unlimited" if line.get("unlimited") else quantity(line["quantity"])
    sold = line["stiggType"] in ("Plan", "Add-on")
    price = f"{line['price']:,.0f} USD" if "price" in line else "catalogue" if sold else ""
    return str(line["line"]), name, line["stiggType"], line["stiggId"], amount, price
