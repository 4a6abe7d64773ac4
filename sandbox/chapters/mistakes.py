"""The demo's chapters on deals that somebody typed wrong."""

from __future__ import annotations

from sandbox.chapters.story import Story, first_result, quantity
from sandbox.sales import Sold


def wrong_id(story: Story) -> None:
    sales, out = story.sandbox.sales, story.out
    opportunity = sales.close(
        story.account_id,
        "Northwind - Europe 2026",
        Sold("plan-enterprice", 1, 20_000),
        Sold("feature-seats", 40),
    )
    deal = story.sandbox.deal(opportunity)
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
    before = story.look.holds(story.account_id)
    story.look.mark()
    result = first_result(story.sandbox.call(deal))
    out.check("the callout accepts it", "accepted", result.get("status"))
    status = story.ends(str(result.get("execution")))
    writes = story.look.traffic().writes_to_stigg
    described = story.look.describe(str(result.get("execution")))
    out.check("its execution ends as refused", ("FAILED", "DealRefused"), (status, described.get("error")))
    cause = str(described.get("cause"))
    out.check(
        "the cause names line and ID",
        "line 1 ... plan-enterprice",
        cause,
        "line 1" in cause and "plan-enterprice" in cause,
    )
    refusal_shown(story, opportunity, "line 1", "plan-enterprice")
    out.check("nothing is written to Stigg", [], writes)
    out.check("the customer's subscription is untouched", before, story.look.holds(story.account_id))


def wrong_prefix(story: Story) -> None:
    sales, out = story.sandbox.sales, story.out
    story.sandbox.salesforce.add_product("Audit Trail", Stigg_Type__c="Add-on", Stigg_ID__c="audit-log")
    opportunity = sales.close(
        story.account_id, "Northwind - Analytics 2026", Sold("plan-analytics", 1, 9_000), Sold("audit-log")
    )
    out.say("This mistake shows in the deal itself: add-ons are called addon-..., but line 2 says audit-log.")
    before = story.look.holds(story.account_id)
    story.look.mark()
    answer = story.sandbox.call(story.sandbox.deal(opportunity))
    result = first_result(answer)
    out.check("the answer says at once that the deal is invalid", "invalid", result.get("status"))
    errors = result.get("errors") or [{}]
    out.check("it names line and field", (2, "stiggId"), (errors[0].get("line"), errors[0].get("field")))
    out.fact("Message", errors[0].get("message"))
    if result.get("execution"):
        story.ends(str(result["execution"]))
    refusal_shown(story, opportunity, "line 2", "audit-log")
    out.check(
        "nothing is written to Stigg, not even line 1",
        [],
        story.look.traffic().writes_to_stigg,
    )
    out.check("the customer's subscription is untouched", before, story.look.holds(story.account_id))


def refusal_shown(story: Story, opportunity_id: str, *parts: str) -> None:
    """The sales rep sees what is wrong, on the opportunity's provisioning."""
    record = story.look.provisioning(opportunity_id)
    story.out.check("Salesforce shows the deal as Failed", "Failed", record.get("Status__c"))
    reason = str(record.get("Reason__c"))
    story.out.check("and why", " ... ".join(parts), reason, all(part in reason for part in parts))
    story.out.fact("Reason", *reason.splitlines())
    if record:
        url = f"{story.sandbox.salesforce_server.url}/{record['Id']}"
        story.opens(url, "the provisioning's page", "Failed", *parts)
