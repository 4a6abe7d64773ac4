"""The demo's chapters on callouts that come twice, race each other, or come late."""

from __future__ import annotations

import time
from copy import deepcopy
from datetime import UTC, datetime, timedelta

from sandbox.chapters.first_deal import SEATS
from sandbox.chapters.story import SECOND_DEAL, SECOND_REQUESTS, WARM_CALLOUT, Story, first_result
from sandbox.sales import Sold


def five_at_once(story: Story) -> None:
    out = story.out
    out.say(
        "Salesforce repeats a callout whose answer it missed, and who knows how often. So here is the very same "
        "one, five times at once:"
    )
    before, executions = story.look.holds(story.account_id), story.look.executions()
    story.look.mark()
    answers = story.at_once(story.deal)
    out.check("five times 202", [202] * 5, [answer.status_code for answer in answers])
    out.check(
        "all five are known to be duplicates",
        ["duplicate"] * 5,
        [first_result(answer).get("status") for answer in answers],
    )
    out.check("no second execution is started", executions, story.look.executions())
    out.check("nothing is written to Stigg or Salesforce", [], story.look.traffic().writes)
    out.check("the customer still has that one subscription", before, story.look.holds(story.account_id))
    out.say()
    out.say("Now a new deal of another customer, Kestrel Health, whose five callouts race each other:")
    race(story)


def race(story: Story) -> None:
    sales, out = story.sandbox.sales, story.out
    account = sales.account("Kestrel Health", Industry="Healthcare")
    sold = (Sold("plan-analytics", 1, 18_000), Sold("addon-data-export"), Sold("feature-dashboards", 100))
    deal = story.sandbox.deal(sales.close(account, "Kestrel Health - Analytics 2026", *sold))
    executions = story.look.executions()
    story.look.mark()
    begun = time.monotonic()
    answers = story.at_once(deal)
    results = [first_result(answer) for answer in answers]
    statuses = sorted(str(result.get("status")) for result in results)
    out.check("one is accepted, four are duplicates", ["accepted", *["duplicate"] * 4], statuses)
    names = {str(result.get("execution")) for result in results}
    out.check("all five name the same execution", 1, len(names))
    status = story.ends(names.pop())
    seconds = time.monotonic() - begun
    traffic = story.look.traffic()
    out.check(f"it succeeds, {seconds:.1f} s after the first callout", "SUCCEEDED", status)
    out.check("one execution is all there was", executions + 1, story.look.executions())
    once = ["POST /api/v1/customers", "POST /api/v1/subscriptions", "POST /services/data/v66.0/composite"]
    out.check("one customer and one subscription are written, and one call to Salesforce", once, traffic.writes)
    story.numbers[SECOND_DEAL] = f"{seconds:.1f} s, with five callouts at once"
    story.numbers[SECOND_REQUESTS] = str(traffic)


def comes_late(story: Story) -> None:
    out = story.out
    out.say(
        "Messages overtake each other. This one is the same opportunity as it was an hour earlier, when it said "
        f"100 seats; what came since says {SEATS}:"
    )
    late = deepcopy(story.deal)
    earlier = datetime.now(UTC) - timedelta(hours=1)
    late["opportunity"] |= {
        "systemModstamp": f"{earlier:%Y-%m-%dT%H:%M:%SZ}",
        "readAt": f"{earlier:%Y-%m-%dT%H:%M:%SZ}",
    }
    next(line for line in late["lines"] if line["stiggId"] == "feature-seats")["quantity"] = 100
    before, executions = story.look.holds(story.account_id), story.look.executions()
    story.look.mark()
    begun = time.monotonic()
    answer = story.sandbox.call(late)
    story.numbers[WARM_CALLOUT] = f"{time.monotonic() - begun:.2f} s"
    out.check("it is answered 202", 202, answer.status_code)
    out.check("as superseded", "superseded", first_result(answer).get("status"))
    out.check("no execution is started", executions, story.look.executions())
    out.check("nothing is written to Stigg or Salesforce", [], story.look.traffic().writes)
    seats = story.look.entitlements(story.account_id).get("feature-seats")
    out.check(f"the customer still has {SEATS} seats", SEATS, seats)
    out.check("and everything else is as it was", before, story.look.holds(story.account_id))
