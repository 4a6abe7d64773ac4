"""The demo's chapter on a deal that is paid for by card: Stigg tells that it is paid, and Salesforce shows it."""

from __future__ import annotations

import time

from sandbox.chapters.story import LONGEST, Story, first_result
from sandbox.sales import Sold

BY_CARD = {"billingPeriod": "ANNUALLY", "paymentCollection": "CHARGE"}
MINUTE = 60.0


def tell(story: Story) -> None:
    sandbox, look, out = story.sandbox, story.look, story.out
    out.say(
        "Cascade Cycles buys the team plan by card, and has none on file. Stigg makes the subscription, and waits for "
        "the payment:"
    )
    account = sandbox.sales.account("Cascade Cycles", Industry="Retail")
    opportunity = sandbox.sales.close(account, "Cascade Cycles - Team", Sold("plan-team", 1, 300))
    with out.waiting("the sale"):
        result = first_result(sandbox.call(sandbox.deal(opportunity, terms=BY_CARD)))
        story.ends(str(result.get("execution")))
        sandbox.stigg.events.wait_until_told()
        sandbox.wait_until_idle()
    record = look.provisioning(opportunity)
    out.check("Salesforce shows that it is to be paid", "Payment required", record.get("Status__c"))
    out.fact("Checkout", record.get("Checkout_URL__c"))
    [subscription] = look.stigg("/subscriptions", customerId=account)
    out.check("what Stigg told of closed-won's own writes started nothing", 1, started(story, opportunity))

    out.say()
    out.say(
        "The customer pays at the checkout. Stigg tells closed-won's webhook that something changed, and no more than "
        "that is believed: closed-won looks, sees that it is paid, and shows it. Nobody runs anything:"
    )
    begun = time.monotonic()
    sandbox.stigg.pay(subscription["id"])
    with out.waiting("the event, and the look"):
        while look.provisioning(opportunity).get("Status__c") != "Provisioned" and time.monotonic() - begun < LONGEST:
            time.sleep(0.1)
    seconds = time.monotonic() - begun
    shown = look.provisioning(opportunity).get("Status__c")
    out.check(f"{seconds:.0f} s after the payment Salesforce shows it", "Provisioned", shown, shown == "Provisioned")
    out.check("that is within a minute", True, seconds < MINUTE)
    sandbox.stigg.events.wait_until_told()
    sandbox.wait_until_idle()
    names = [one.event["type"] for one in sandbox.stigg.events.sent if one.event["customer"]["id"] == account]
    out.fact("Stigg told", ", ".join(names))


def started(story: Story, opportunity: str) -> int:
    """How many executions a deal has had."""
    executions = story.sandbox.aws.executions("ProvisionStateMachine")
    return sum(one["name"].startswith(opportunity) for one in executions)
