"""The demo's third story: somebody edits Stigg by hand, a callout is lost, and the reconciliation finds both."""

from __future__ import annotations

import json
import re
import uuid
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.narration import Narration
from sandbox.sales import Sold

if TYPE_CHECKING:
    from sandbox.onlooker import Onlooker
    from sandbox.sandbox import Sandbox

WORKSPACES = "addon-extra-workspace"
REPORT = Path(".sandbox") / "reconciliation.html"
"""Where the report is put, for whoever wants to open it."""


class Night:
    """Two customers, and runs of the reconciliation."""

    def __init__(self, sandbox: Sandbox, look: Onlooker, out: Narration) -> None:
        self.sandbox, self.look, self.out = sandbox, look, out

    def sell(self, name: str, *sold: Sold) -> tuple[str, str]:
        """A deal that was won an hour ago. Out: the account, the opportunity."""
        account = self.sandbox.sales.account(name)
        today = datetime.now(UTC).date().isoformat()
        opportunity = self.sandbox.sales.close(account, f"{name} - Enterprise", *sold, CloseDate=today)
        self.sandbox.salesforce.backdate("Opportunity", opportunity, 3600)
        return account, opportunity

    def reconcile(self) -> dict[str, Any]:
        """A run over everything, as every night. Out: its output; empty where it did not succeed."""
        arn = self.sandbox.aws.state_machine_arns["ReconcileStateMachine"]
        started = self.sandbox.aws.client("stepfunctions").start_execution(
            stateMachineArn=arn, name=f"demo-{uuid.uuid4()}", input=json.dumps({"mode": "all"})
        )
        done = self.sandbox.aws.wait_for_execution(started["executionArn"], 120)
        return json.loads(done["output"]) if done["status"] == "SUCCEEDED" else {}

    def two_minutes_pass(self, account: str) -> None:
        """What was accepted without being started is left alone for so long; here nobody has to wait."""
        dynamodb, table = self.sandbox.aws.client("dynamodb"), self.sandbox.aws.resources["LedgerTable"]
        key = {"pk": {"S": f"ACCOUNT#{account}"}, "sk": {"S": "CUSTOMER"}}
        item = dynamodb.get_item(TableName=table, Key=key).get("Item")
        if item is not None and "due_at" in item:
            body = json.loads(item["body"]["S"]) | {"due_at": 1}
            item |= {"due_at": {"N": "1"}, "body": {"S": json.dumps(body)}}
            dynamodb.put_item(TableName=table, Item=item)

    def report(self, run: dict[str, Any], name: str) -> str:
        """One of the report's files."""
        key = f"runs/{run['run']['run']}/report/{name}"
        bucket = self.sandbox.aws.resources["ReconciliationBucket"]
        body: bytes = self.sandbox.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body.decode()

    def found(self, run: dict[str, Any], *accounts: str) -> list[tuple[str, str, str]]:
        """What a run found of these accounts: account, kind, what is done about it."""
        findings = [json.loads(line) for line in self.report(run, "findings.jsonl").splitlines()]
        return [(f["account_id"], f["kind"], f["remedy"]) for f in findings if f["account_id"] in accounts]

    def workspaces(self, account: str) -> int:
        """The extra workspaces a customer has in Stigg."""
        [held] = [s for s in self.look.stigg("/subscriptions", customerId=account) or [] if s["status"] == "ACTIVE"]
        return sum(addon["quantity"] for addon in held["addons"] if addon["id"] == WORKSPACES)


def tell(sandbox: Sandbox, look: Onlooker, out: Narration) -> None:
    """Tell it over a running sandbox; every check is one of the demo's."""
    night = Night(sandbox, look, out)
    out.say(
        "Lumen Health bought two extra workspaces, and has them. Then somebody gives it five more, by hand in Stigg:"
    )
    lumen, deal = night.sell("Lumen Health", Sold("plan-enterprise"), Sold("feature-seats", 40), Sold(WORKSPACES, 2))
    with out.waiting("Lumen's deal"):
        sandbox.call(sandbox.deal(deal))
        sandbox.settle()
    [subscription] = sandbox.stigg.subscriptions(lumen)
    sandbox.stigg.change_subscription(subscription["id"], addons=[{"id": WORKSPACES, "quantity": 7}])
    out.check("Stigg holds what nobody sold", 7, night.workspaces(lumen))
    out.say(
        "Harbor Foods bought as well, but that callout was lost: Salesforce says Closed Won, and nobody else knows."
    )
    harbor, lost = night.sell("Harbor Foods", Sold("plan-enterprise"), Sold("feature-seats", 15))
    out.check("Harbor has nothing", (None, {}), (look.stigg(f"/customers/{harbor}"), look.provisioning(lost)))

    out.say(
        "Every night Salesforce, the ledger and Stigg are exported and compared. What differs is looked at again, "
        "live, before anybody is told:"
    )
    with out.waiting("the reconciliation"):
        run = night.reconcile()
    expected = sorted([(lumen, "wrong_addon", "report"), (harbor, "missed_deal", "repair")])
    out.check("it finds both, and names them", expected, sorted(night.found(run, lumen, harbor)))
    page = night.report(run, "report.html")
    headline = re.search(r"<h1[^>]*>(.*?)</h1>", page, re.DOTALL)
    out.fact("Report", " ".join(unescape(re.sub(r"<[^>]+>", "", headline.group(1))).split()) if headline else "none")

    out.say("What is missing is repaired, by the same steps that provision. The sweep starts it within a minute:")
    with out.waiting("the sweep"):
        night.two_minutes_pass(harbor)
        sandbox.aws.run_schedule("SweepFunctionSchedule")
        sandbox.settle()
    seats = look.entitlements(harbor).get("feature-seats")
    out.check("Harbor has what it bought", ("Provisioned", 15), (look.provisioning(lost).get("Status__c"), seats))
    out.check("what somebody changed by hand is told, and left as it is", 7, night.workspaces(lumen))
    with out.waiting("the next night"):
        again = night.reconcile()
    out.check("the next night only that is left", [(lumen, "wrong_addon", "report")], night.found(again, lumen, harbor))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(page)
    out.say("The report is one page that needs nothing else. Open it in a browser:")
    out.fact("Report", str(REPORT))
