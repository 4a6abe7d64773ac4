"""The demo's third story: a callout is lost and a subscription is edited by hand, and reconciliation finds both."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.chapters.story import Story
from sandbox.narration import Narration
from sandbox.onlooker import Onlooker
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

WORKSPACE, SEATS = "addon-extra-workspace", "feature-seats"
SOLD, EDITED = 2, 6
"""Extra workspaces: sold, and what somebody makes of them in Stigg."""

BOUGHT = 80
"""Seats on the deal whose callout is lost."""

LONGEST = 120.0
"""Seconds a run may take here."""

SHORTER = 0.03
"""What the waits for exports are multiplied by: the stand-ins are done with them at once."""

REPORT = Path(".sandbox") / "reconciliation.html"
STEPS = ("Begin", "Export", "Compare", "Weigh", "Repair", "Report")

Json = dict[str, Any]


class Run(NamedTuple):
    """A run that ended. findings: as its report for machines has them; page: its report for people."""

    status: str
    states: list[str]
    seconds: float
    findings: list[Json]
    page: str

    def of(self, account: str) -> list[Json]:
        """What it found of one customer."""
        return [finding for finding in self.findings if finding["account_id"] == account]


def tell(story: Story) -> None:
    """Tell it over a running sandbox; every check is one of the demo's."""
    sandbox, look, out = story.sandbox, story.look, story.out
    edited, lost, deal = prepare(sandbox, look, out)
    first = found(sandbox, look, out, edited, lost)
    repaired(sandbox, look, out, edited, lost, deal)
    again(sandbox, out, edited, lost)
    if first.page:
        report(out, first)


def prepare(sandbox: Sandbox, look: Onlooker, out: Narration) -> tuple[str, str, str]:
    """What goes wrong. Out: the account whose subscription is edited; account and deal whose callout is lost."""
    today = datetime.now(UTC).date().isoformat()
    out.say(
        "Halden Foods buys, and all goes well. Later somebody opens Stigg and edits the subscription by hand: "
        f"{EDITED} extra workspaces, where {SOLD} were sold. Stigg tells closed-won that something changed, and it "
        "looks; but what a person did there it leaves alone."
    )
    edited = sandbox.sales.account("Halden Foods", Industry="Food & Beverage")
    sold = (Sold("plan-enterprise", 1, 36_000), Sold(WORKSPACE, SOLD), Sold(SEATS, 120))
    opportunity = sandbox.sales.close(edited, "Halden Foods - Enterprise", *sold, CloseDate=today)
    with out.waiting("the sale"):
        sandbox.call(sandbox.deal(opportunity))
        sandbox.wait_until_idle()
    [subscription] = look.stigg("/subscriptions", customerId=edited)
    out.check(f"the sale gives {SOLD} extra workspaces", SOLD, workspaces(look, edited))
    sandbox.stigg.change_subscription(subscription["id"], addons=[{"id": WORKSPACE, "quantity": EDITED}])
    with out.waiting("Stigg's event, and the look"):
        sandbox.stigg.events.wait_until_told()
        sandbox.wait_until_idle()
    out.check(f"after the edit and the look Stigg holds {EDITED}", EDITED, workspaces(look, edited))

    out.say()
    out.say("And Brightwater Labs' deal was won while nothing got through from Salesforce. Its callout is lost:")
    lost = sandbox.sales.account("Brightwater Labs", Industry="Biotechnology")
    plan, seats = Sold("plan-enterprise", 1, 52_000), Sold(SEATS, BOUGHT)
    deal = sandbox.sales.close(lost, "Brightwater Labs - Enterprise", plan, seats, CloseDate=today)
    sandbox.salesforce.backdate(
        "Opportunity", deal, 3600
    )  # what was saved just now may still arrive, and is left alone
    out.check("it is Closed Won in Salesforce", "Closed Won", look.record("Opportunity", deal)["StageName"])
    out.check("closed-won has never heard of it", 404, sandbox.status(deal).status_code)
    out.check("and in Stigg there is no such customer", None, look.stigg(f"/customers/{lost}"))
    return edited, lost, deal


def found(sandbox: Sandbox, look: Onlooker, out: Narration, edited: str, lost: str) -> Run:
    """The first run."""
    out.say()
    out.say(
        "Every night reconciliation compares what Salesforce, the ledger and Stigg say of every customer. Here it is "
        'started by hand, with {"mode": "all"}. Salesforce and AWS take their time for exports, and the state machine '
        "waits for them; these waits are cut short here."
    )
    run = reconcile(sandbox, out)
    passed = [state for state in STEPS if state in run.states]
    out.check(f"it runs through, in {run.seconds:.1f} s", ("SUCCEEDED", list(STEPS)), (run.status, passed))
    out.fact("States", " -> ".join(passed))
    out.say()
    for account, kinds, words in (
        (lost, [("missed_deal", "repair")], "it finds the lost deal, and repairs it"),
        (
            edited,
            [("wrong_addon", "report")],
            "it finds the edit, and reports it: a person changed it, a person decides",
        ),
    ):
        mine = run.of(account)
        out.check(words, kinds, [(finding["kind"], finding["remedy"]) for finding in mine])
        for finding in mine:
            show(look, out, finding)
    others = len(run.findings) - len(run.of(edited)) - len(run.of(lost))
    if others:
        out.say(f"The chapters before left more that differs, such as refused deals; it names that too: {others}.")
    return run


def repaired(sandbox: Sandbox, look: Onlooker, out: Narration, edited: str, lost: str, deal: str) -> None:
    """What the repair comes to."""
    out.say()
    out.say(
        "The repair has accepted the deal in the ledger, as its callout would have. The sweep, which runs every "
        "minute, starts it:"
    )
    with out.waiting("the sweep, and the provisioning"):
        sandbox.aws.run_schedule("SweepFunctionSchedule")
        sandbox.wait_until_idle()
    out.check("Salesforce shows the lost deal as Provisioned", "Provisioned", look.provisioning(deal).get("Status__c"))
    out.check(f"Brightwater Labs has its {BOUGHT} seats", BOUGHT, look.entitlements(lost).get(SEATS))
    out.check(f"Halden Foods still has {EDITED} extra workspaces", EDITED, workspaces(look, edited))


def again(sandbox: Sandbox, out: Narration, edited: str, lost: str) -> None:
    """The next run."""
    out.say()
    out.say("The next night:")
    run = reconcile(sandbox, out)
    out.check(f"a second run goes through, in {run.seconds:.1f} s", "SUCCEEDED", run.status)
    out.check("the lost deal is no difference any more", [], [finding["kind"] for finding in run.of(lost)])
    kinds = [(finding["kind"], finding["remedy"]) for finding in run.of(edited)]
    out.check("the edit still is, until somebody decides", [("wrong_addon", "report")], kinds)


def report(out: Narration, run: Run) -> None:
    """The first run's report, as its page tells it."""
    out.say()
    out.say(
        "Each run leaves a report in the stack's bucket: a page for people, CSV and JSON for machines. The first one's:"
    )
    REPORT.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(REPORT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(run.page)
    told = totals(run.page)
    repairs = sum(finding["remedy"] == "repair" for finding in run.findings)
    expected = {"Differences": len(run.findings), "Repaired": repairs, "Needs somebody": len(run.findings) - repairs}
    out.check("its page has the same numbers", expected, {name: told.get(name) for name in expected})
    out.fact("Page", REPORT)
    out.fact("It says", headline(run.page))
    out.fact("Totals", ", ".join(f"{name}: {number:,}" for name, number in told.items()))


def reconcile(sandbox: Sandbox, out: Narration) -> Run:
    """Start a run, through the API as an operator does, and wait for its end."""
    stepfunctions = sandbox.aws.client("stepfunctions")
    machine = sandbox.aws.state_machine_arns["ReconcileStateMachine"]
    begun = time.monotonic()
    with out.waiting("the reconciliation"), sandbox.aws.waiting_less(SHORTER):
        arn = stepfunctions.start_execution(stateMachineArn=machine, input=json.dumps({"mode": "all"}))["executionArn"]
        ended = sandbox.aws.wait_for_execution(arn, LONGEST)
    seconds, states = time.monotonic() - begun, sandbox.aws.states_entered(arn)
    if ended["status"] != "SUCCEEDED":
        out.fact("Cause", f"{ended.get('error')}: {ended.get('cause')}")
        return Run(ended["status"], states, seconds, [], "")
    page = str(json.loads(ended["output"])["report"]["report"])  # its key in the bucket
    lines = read(sandbox, f"{page.rpartition('/')[0]}/findings.jsonl").splitlines()
    return Run("SUCCEEDED", states, seconds, [json.loads(line) for line in lines], read(sandbox, page))


def read(sandbox: Sandbox, key: str) -> str:
    """An object of the reports' bucket."""
    bucket = sandbox.aws.resources["ReconciliationBucket"]
    content: bytes = sandbox.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content.decode()


def show(look: Onlooker, out: Narration, finding: Json) -> None:
    """A finding, as the report tells it."""
    out.fact("Customer", look.record("Account", finding["account_id"]).get("Name"))
    out.fact("Found", finding["words"])
    out.fact("Should be", finding["should"])
    out.fact("Was" if finding["remedy"] == "repair" else "Is", finding["is_now"])


def workspaces(look: Onlooker, account: str) -> int | None:
    """How many extra workspaces a customer's subscriptions have, by Stigg."""
    listed = look.stigg("/subscriptions", customerId=account) or []
    held = [look.stigg(f"/subscriptions/{one['id']}") for one in listed]
    return sum(addon["quantity"] for one in held for addon in one["addons"] if addon["id"] == WORKSPACE)


def totals(page: str) -> dict[str, int]:
    """The numbers that the page shows large, by their names."""
    block = re.search(r'<dl class="totals">(.*?)</dl>', page, re.DOTALL)
    pairs = re.findall(r"<dt>(.*?)</dt>\s*<dd>([\d,]+)</dd>", block[1] if block else "")
    return {unescape(name): int(number.replace(",", "")) for name, number in pairs}


def headline(page: str) -> str:
    """The page in a sentence: its first heading."""
    heading = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    return " ".join(unescape(heading[1]).split()) if heading else ""
