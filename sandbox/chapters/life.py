"""The demo's second story: one customer tries, buys, upgrades, renews and cancels, in one timeline."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.chapters.story import Story
from sandbox.narration import Narration
from sandbox.onlooker import Onlooker
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

SEATS = "feature-seats"
ANNUAL = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE"}
AHEAD = 4.0
"""Seconds from the renewal's callout to its start: long enough to see that it waits."""


class Life:
    """One customer and its deals. timeline: what happened, and what it came to."""

    def __init__(self, sandbox: Sandbox, look: Onlooker, out: Narration) -> None:
        self.sandbox, self.look, self.out = sandbox, look, out
        self.account = sandbox.sales.account("Meridian Robotics", Industry="Manufacturing")
        self.timeline: list[tuple[str, str, str, str]] = []

    def day(self, days: int) -> str:
        return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()

    def close(self, name: str, *sold: Sold, **fields: Any) -> str:
        return self.sandbox.sales.close(self.account, f"Meridian - {name}", *sold, **fields)

    def send(self, what: str, opportunity: str, **more: Any) -> str:
        """The flow calls out and the provisioning runs. Out: the deal's status in Salesforce; the timeline grows."""
        answer = self.sandbox.call(self.sandbox.deal(opportunity, **more)).json()["results"][0]
        if answer["status"] == "invalid":
            return f"invalid: {answer['errors']}"
        # Not until nothing runs: what Stigg tells of this leads to a look some seconds later.
        self.sandbox.wait([answer["execution"]])
        return self.note(what, opportunity)

    def settles(self) -> None:
        """What Stigg told is looked at."""
        self.sandbox.stigg.events.wait_until_told()
        self.sandbox.wait_until_idle()

    def note(self, what: str, opportunity: str) -> str:
        record = self.look.provisioning(opportunity)
        shown = str(record.get("Status__c"))
        self.timeline.append((str(len(self.timeline) + 1), what, self.standing(), shown))
        return shown

    def held(self) -> list[dict[str, Any]]:
        """The customer's subscriptions that stand, the oldest first."""
        listed = self.look.stigg("/subscriptions", customerId=self.account) or []
        live = [s for s in listed if s["status"] in ("ACTIVE", "IN_TRIAL", "NOT_STARTED")]
        return sorted(live, key=lambda subscription: str(subscription["createdAt"]))

    def standing(self) -> str:
        """What the customer has, in a few words."""
        words = []
        for held in self.held():
            seats = self.look.entitlements(self.account).get(SEATS)
            trial = held["status"] == "IN_TRIAL"
            until = (held["trialEndDate"] if trial else held.get("cancellationDate") or "")[:10]
            plan = f"{'trial of ' if trial else ''}{held['planId'].removeprefix('plan-')}"
            words.append(f"{plan}, {seats} seats{f', until {until}' if until else ''}")
        return "; ".join(words) or "nothing"

    def sweeps(self) -> None:
        """The sweep runs, as it does every minute."""
        self.sandbox.aws.run_schedule("SweepFunctionSchedule")
        self.sandbox.wait_until_idle()


def tell(story: Story) -> None:
    """Tell it over a running sandbox; every check is one of the demo's."""
    sandbox, look, out = story.sandbox, story.look, story.out
    life = Life(sandbox, look, out)
    out.say(
        "Meridian Robotics tries the product, buys it, grows, renews to another plan and leaves: seven opportunities' "
        "worth of changes, each sent by a flow as it happens. First the proof of concept:"
    )
    first = life.close("Enterprise", Sold("plan-enterprise"), Sold(SEATS, 10), StageName="Proposal/Price Quote")
    with out.waiting("the proof of concept"):
        shown = life.send("proof of concept", first, trigger="trial", terms={"trialEnd": life.day(14)})
    [trial] = life.held()
    out.check("access is there while they try", ("IN_TRIAL", "Provisioned"), (trial["status"], shown))
    with out.waiting("two weeks more"):
        life.settles()
        life.send("two weeks more", first, trigger="trial", terms={"trialEnd": life.day(28)})
    ends = {s["id"]: s["trialEndDate"][:10] for s in life.held()}
    out.check("extending it moves the date of the same trial", {trial["id"]: life.day(29)}, ends)

    out.say("They buy: the same opportunity, now Closed Won. The paid subscription stands before the trial ends:")
    sandbox.salesforce.update("Opportunity", first, StageName="Closed Won")
    look.mark()
    with out.waiting("the sale"):
        life.settles()
        life.send("won", first, terms={**ANNUAL, "start": life.day(0), "end": life.day(364)})
    writes = look.traffic().writes_to_stigg
    order = ["POST /api/v1/subscriptions", f"PATCH /api/v1/subscriptions/{trial['id']}"]
    out.check("first the sale is written, then the trial's end", order, [w for w in writes if "subscriptions" in w])
    statuses = [s["status"] for s in life.held()]
    out.check("one paid subscription is all that stands", ["ACTIVE"], statuses)

    out.say("They grow. CPQ sends an amendment's differences, and Salesforce sends this one three times:")
    more = life.close("15 more seats", Sold(SEATS, 15))
    amends = {"trigger": "amendment", "quantities": "differences", "amends": first}
    with out.waiting("the amendment"):
        life.settles()
        life.send("upgrade: +15 seats", more, **amends)
        for _ in range(2):
            sandbox.call(sandbox.deal(more, **amends))
        life.settles()
    out.check("10 seats and 15 are 25, however often it comes", 25, look.entitlements(life.account).get(SEATS))

    out.say("Somebody in sales types -24 instead of -4. So large a reduction waits until a person approves it:")
    fewer = life.close("fewer seats", Sold(SEATS, -24))
    with out.waiting("the reduction"):
        life.settles()
        shown = life.send("typed wrong: -24 seats", fewer, **amends)
    out.check("the deal is held", "Held", shown)
    out.fact("Reason", *str(look.provisioning(fewer).get("Reason__c")).splitlines())
    out.check("and nothing was taken away", 25, look.entitlements(life.account).get(SEATS))
    line = sandbox.salesforce.find("OpportunityLineItem", OpportunityId=fewer)[0]
    sandbox.salesforce.update("OpportunityLineItem", line["Id"], Quantity=-4)
    with out.waiting("the correction"):
        life.settles()
        shown = life.send("corrected: -4 seats", fewer, **amends)
    seats = look.entitlements(life.account).get(SEATS)
    out.check("corrected, it needs nobody: 21 seats", (21, "Provisioned"), (seats, shown))

    out.say(
        f"They renew early, to another plan and 40 seats, from {AHEAD:.0f} seconds from now on. Until then it is "
        "scheduled, and nothing sleeps or waits for it; the sweep finds it when its time has come:"
    )
    with out.waiting("what Stigg told last"):
        life.settles()
    renewal = life.close("Renewal", Sold("plan-enterprise-plus", 1, 90_000), Sold(SEATS, 40))
    starts = datetime.now(UTC) + timedelta(seconds=AHEAD)
    terms = {**ANNUAL, "start": starts.isoformat(timespec="milliseconds"), "end": life.day(729)}
    with out.waiting("the renewal"):
        shown = life.send("renewed, for a moment later", renewal, trigger="renewal", amends=first, terms=terms)
    plans = [s["planId"] for s in life.held()]
    out.check("until then they keep what they have", ("Scheduled", ["plan-enterprise"]), (shown, plans))
    with out.waiting("the renewal's start, and the sweep"):
        time.sleep(max(0.0, (starts - datetime.now(UTC)).total_seconds()) + 0.1)
        life.sweeps()
        shown = life.note("its day has come", renewal)
    found = (shown, [s["planId"] for s in life.held()], look.entitlements(life.account).get(SEATS))
    out.check("then the new plan stands, with 40 seats", ("Provisioned", ["plan-enterprise-plus"], 40), found)
    out.check("the old deal says so", "Superseded", look.provisioning(first).get("Status__c"))

    out.say("They leave. The lost renewal cancels what it would have renewed, at the end of its term:")
    lost = life.close("Renewal 2028", StageName="Closed Lost")
    with out.waiting("the cancellation"):
        life.settles()
        shown = life.send("lost renewal", lost, trigger="cancellation", amends=renewal, lines=[])
    days = [(s["cancellationDate"] or "")[:10] for s in life.held()]
    expected = ([life.day(730)], "Scheduled")
    out.check("paid for until then, access ends by itself on that day", expected, (days, shown))
    now = life.close("Cancelled", StageName="Closed Lost")
    with out.waiting("the end"):
        life.settles()
        cancel = {"trigger": "cancellation", "amends": renewal, "lines": [], "terms": {"cancel": "now"}}
        life.send("cancelled at once after all", now, **cancel)
    out.check("nothing stands any more", [], life.held())
    out.check(
        "the customer stays, for the day they come back", True, look.stigg(f"/customers/{life.account}") is not None
    )
    out.say()
    out.table(("", "in Salesforce", "the customer then had", "deal shows"), life.timeline)
