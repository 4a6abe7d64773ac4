"""A tour of all that closed-won does, for chapters that look at it afterwards: every trigger, well and not; faults of
every kind; previews, approvals, sweeps, reconciliations with repairs, notices, and the operators' commands.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from moto.sns.models import sns_backends

from benchmarks.lines import Line
from closedwon.reconciliation.finding import Repair
from closedwon.reconciliation.runs import Run, key
from integration.conftest import PARAMETERS
from integration.scenes import (
    COMPOSITE,
    CUSTOMERS,
    SUBSCRIPTION,
    SUBSCRIPTIONS,
    Json,
    call,
    head,
    no_execution_starts,
    opportunity_of,
    provision,
    put_head,
    revised,
    sell,
    sweep,
)
from integration.terminal import Operator
from proof.canaries import CHOSEN, Canaries, in_the_repository, plant, search
from proof.permissions import compare
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

TOPIC_ACCOUNT, TOPIC = "123456789012", "closed-won-notices"
SEATS, WORKSPACES = Sold("feature-seats", 250), Sold("addon-extra-workspace", 2)
PLAN, TEAM, ANALYTICS = Sold("plan-enterprise", 1, 48000), Sold("plan-team"), Sold("plan-analytics", 1, 9000)
TERM = {"start": "2026-01-01", "end": "2026-12-31"}


@contextmanager
def started() -> Iterator[Sandbox]:
    """A sandbox in which all of the template is in use: an own application, and a topic for notices."""
    given = {
        **PARAMETERS,
        "NotificationTopic": f"arn:aws:sns:us-east-1:{TOPIC_ACCOUNT}:{TOPIC}",
    }
    fast: dict[str, Any] = {"wait_scale": 0.02, "longest_invocation": 20, "rate_limits": False}
    sandbox = Sandbox(given, own_application=True, queue=True, **fast)
    with sandbox:
        sns_backends[TOPIC_ACCOUNT]["us-east-1"].create_topic(TOPIC)
        yield sandbox


def notices() -> list[str]:
    """What was published to the topic."""
    topics = sns_backends[TOPIC_ACCOUNT]["us-east-1"].topics
    found = [topic for arn, topic in topics.items() if arn.endswith(f":{TOPIC}")]
    return [str(sent) for topic in found for sent in topic.sent_notifications]


class Tour:
    """In: the sandbox; what is planted in it. `said`: what was answered and printed, by whom."""

    def __init__(self, sandbox: Sandbox, canaries: Canaries, folder: Path) -> None:
        self.sandbox = sandbox
        self.canaries = canaries
        self.operator = Operator(sandbox, folder)
        self.said: dict[str, list[str]] = {"operators' commands": [], "previews": []}

    def deal(self, *sold: Sold, **more: Any) -> Json:
        """A deal of a customer of its own. All are called alike: as is planted."""
        return sell(self.sandbox, self.sandbox.sales.account(""), *(sold or (PLAN, SEATS, WORKSPACES)), name="", **more)

    def without_lines(self) -> Json:
        """A deal that closed-won reads for itself."""
        deal = self.deal()
        email = {"email": self.canaries.personal["e-mail"]}
        kept = {name: deal[name] for name in ("organizationId", "trigger")}
        return {**kept, "opportunity": {"id": opportunity_of(deal)}, "account": email}

    def ops(self, *arguments: str, answer: str = "") -> None:
        """An operator runs a command; however it ends, what it said is kept."""
        _, said, errors = self.operator.runs(*arguments, answer=answer)
        self.said["operators' commands"] += [said, errors]

    def preview(self, *deals: Json) -> None:
        self.said["previews"].append(self.sandbox.preview(*deals).text)

    def reconcile(self, **given: Any) -> Json:
        """Out: what DescribeExecution says of the run."""
        arn = self.sandbox.aws.state_machine_arns["ReconcileStateMachine"]
        asked = {"mode": "all", "deep": False, "approved": False, **given}
        started = self.sandbox.aws.client("stepfunctions").start_execution(stateMachineArn=arn, input=json.dumps(asked))
        return self.sandbox.aws.wait_for_execution(started["executionArn"], 300)

    # ---- the stops

    def triggers(self) -> None:
        """A deal of each trigger, which goes well, and one that does not."""
        sandbox = self.sandbox
        sold = revised(self.deal(terms=TERM), 0)
        account = sold["account"]["id"]
        trial = self.deal(TEAM, trigger="trial", terms={"billingPeriod": "MONTHLY", "trialEnd": "2099-12-31"})
        provision(sandbox, sold, trial)
        self.preview(sold)

        def change(trigger: str, *lines: Sold, **more: Any) -> Json:
            opportunity = sandbox.sales.close(account, "", *lines)
            return sandbox.deal(opportunity, trigger=trigger, amends=opportunity_of(sold), **more)

        amendment = change("amendment", Sold("feature-seats", 50), quantities="differences")
        renewal = change("renewal", PLAN, SEATS, terms={"start": "2027-01-01", "end": "2027-12-31"})
        self.preview(amendment, renewal)
        provision(sandbox, amendment)
        provision(sandbox, renewal)
        provision(sandbox, {**revised(trial, 2), "trigger": "closed_won", "terms": {"billingPeriod": "MONTHLY"}})
        provision(sandbox, {**change("cancellation"), "lines": []})
        for trigger in ("closed_won", "trial", "amendment", "renewal", "cancellation"):
            bad = change(trigger, Sold("plan-nobody-knows"), Sold("feature-seats", 0.5))
            call(sandbox, bad)
        sandbox.wait_until_idle()
        for deal in (sold, renewal):
            sandbox.status(opportunity_of(deal))
        # Deals that come without lines are read from Salesforce.
        short = self.without_lines()
        self.preview(short)
        provision(sandbox, short)

    def approvals(self) -> None:
        """A reduction is held, and let through; one comes while another customer's deals wait."""
        deal = revised(self.deal(), 0)
        provision(self.sandbox, deal)
        provision(self.sandbox, revised(deal, 1, feature_seats=1, addon_extra_workspace=1))
        self.ops("status", opportunity_of(deal))
        self.ops("approve", opportunity_of(deal), "--yes")
        self.sandbox.wait_until_idle()

    def sweeps(self) -> None:
        """What could not be started is started by the sweep."""
        with no_execution_starts():
            call(self.sandbox, self.deal(), self.deal())
        self.due_now()
        sweep(self.sandbox)

    def events(self) -> None:
        """Stigg tells of what changed, by its webhook and by its queue; somebody tells what is none of theirs."""
        sandbox, told = self.sandbox, self.canaries.everything()
        fine = [self.deal() for _ in range(2)]
        provision(sandbox, *fine)
        self.by_hand(fine[0])
        customers = [self.customer_of(deal) for deal in fine]
        event: Json = {"type": "subscription.updated", "messageId": told, "metadata": {"name": told}}
        for text in (
            json.dumps({**event, "customer": {"id": customers[0]}}),
            json.dumps({**event, "customer": {"id": self.canaries.personal[CHOSEN]}}),
            json.dumps({**event, "customer": {"id": told}}),
            told,
        ):
            sandbox.tell(text)
        sandbox.tell(event, secret=f"{self.canaries.secret['Stigg webhook secret']}x")
        sandbox.stigg.events.tell({**event, "customer": {"id": customers[1]}})
        sandbox.aws.run_schedule("StiggQueueFunctionSchedule")
        sandbox.wait_until_idle()

    def due_now(self) -> None:
        """Whatever waits for its time has waited long enough."""
        for record in self.sandbox.salesforce.find("Account"):
            try:
                item, body = head(self.sandbox, record["Id"])
            except KeyError:
                continue
            if "due_at" in item:
                item["due_at"], body["due_at"] = {"N": "1"}, 1
                body["look_again_at"] = body["look_again_at"] and 1
                if body["lease"] is not None:
                    owner, token, _, *rest = body["lease"]
                    body["lease"] = [owner, token, 1, *rest]
                put_head(self.sandbox, item, body)

    def faults(self) -> None:
        """Stigg, Salesforce and the own application break in every way, and say what they should not."""
        sandbox, echo = self.sandbox, self.canaries.echo("Stigg's key")
        stigg, salesforce, own = sandbox.stigg_server, sandbox.salesforce_server, sandbox.application_server
        bodies: dict[str, Any] = {
            "refusal": {"message": echo, "code": "Echo"},
            "list": {"message": [echo, echo], "error": echo, "statusCode": 400},
            "no JSON": f"<html>{echo}</html>",
            "not an object": [echo],
        }

        def fails(server: Any, kind: Any, method: str, path: str, **more: Any) -> None:
            deal = self.deal()
            server.fail(kind, method, path, about=deal["account"]["id"], **more)
            deals.append(deal)

        deals: list[Json] = []
        for body in bodies.values():
            fails(stigg, "answer", "POST", CUSTOMERS, status=400, body=body)
        for status in (401, 403, 404, 409, 422, 429, 500, 503):
            fails(stigg, "answer", "POST", SUBSCRIPTIONS, status=status, body=bodies["refusal"])
        for fault in ("drop_before", "drop_midway", "drop_after"):
            fails(stigg, fault, "POST", CUSTOMERS)
            fails(salesforce, fault, "POST", COMPOSITE)
        fails(stigg, "answer", "GET", f"{CUSTOMERS}/.*", status=200, body=bodies["no JSON"])
        fails(stigg, "answer", "POST", CUSTOMERS, status=200, body=bodies["no JSON"])
        fails(stigg, "answer", "PATCH", SUBSCRIPTION, status=400, body=bodies["refusal"])
        echo = self.canaries.echo("Salesforce's client secret")
        errors = [
            {"message": f"duplicate value found: {echo}", "errorCode": "DUPLICATE_VALUE", "fields": []},
            {"message": echo, "errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "fields": ["Name"]},
        ]
        for error in errors:
            fails(salesforce, "answer", "POST", COMPOSITE, status=400, body=[error])
        record = {"success": False, "errors": [{**errors[1], "statusCode": errors[1]["errorCode"]}]}
        partly = {
            "compositeResponse": [
                {"body": [errors[0]], "httpHeaders": {}, "httpStatusCode": 400, "referenceId": "account"},
                {"body": [record], "httpHeaders": {}, "httpStatusCode": 200, "referenceId": "provisionings0"},
            ]
        }
        fails(salesforce, "answer", "POST", COMPOSITE, status=200, body=partly)
        fails(salesforce, "answer", "POST", COMPOSITE, status=500, body=[errors[1]])
        fails(salesforce, "answer", "POST", COMPOSITE, status=200, body=bodies["no JSON"])
        echo = self.canaries.echo("signing key")
        for body in ({"message": echo}, echo, {"status": "ready", "customerId": echo, "resourceId": echo}):
            fails(own, "answer", "POST", ".*", status=400, body=body)
            fails(own, "answer", "POST", ".*", status=200, body=body)
        fails(own, "drop_midway", "POST", ".*")
        provision(sandbox, *deals)
        self.due_now()
        sweep(sandbox)
        # Lines that are read while Salesforce breaks: in the callout's function itself.
        short = self.without_lines()
        for status, body in ((400, [errors[1]]), (500, [errors[0]]), (200, bodies["no JSON"])):
            salesforce.fail("answer", "GET", ".*/query.*", status=status, body=body)
            sandbox.call(short)
            salesforce.fail("answer", "GET", ".*/query.*", status=status, body=body)
            self.preview(short)
            salesforce.heal()
        stigg.fail("answer", "GET", ".*", status=500, body=bodies["refusal"], times=50)
        self.preview(self.deal(), short)
        stigg.heal()
        sandbox.wait_until_idle()

    def bad_input(self) -> None:
        """What is private stands where it does not belong."""
        sandbox, told, email = self.sandbox, self.canaries.everything(), self.canaries.personal["e-mail"]
        bad = self.deal(terms={})
        bad["account"]["name"], bad["customerId"], bad["terms"]["start"] = told * 20, email, told
        bad["lines"][0]["stiggId"], bad["lines"][1]["quantity"] = f"plan-{told}", email
        worse = self.deal()
        worse["trigger"] = worse["organizationId"] = worse["opportunity"]["readAt"] = worse["account"]["id"] = email
        more = self.deal()
        more["account"]["billingAddress"] = more["coupon"] = more["lines"][0]["description"] = told
        provision(sandbox, bad, worse, more)
        self.preview(bad, worse, more)
        for _ in range(2):  # two accounts, one ID
            provision(sandbox, self.deal(customerId=self.canaries.personal[CHOSEN]))
        sandbox.post(told)
        sandbox.post({"deals": [told]})
        sandbox.post({"deals": told})
        sandbox.call(more, key=f"{self.canaries.secret['callout key']}x")
        sandbox.call(more, key=email)
        sandbox.status(email)
        sandbox.post({"approvals": [{"opportunityId": told, "revision": told}]}, path="/v1/approvals")

    def keys(self) -> None:
        """Credentials stop being good; the previous callout key still works; the server signs with a key of its own."""
        sandbox = self.sandbox
        functions = sandbox.aws.functions
        try:
            sandbox.stigg.change_api_key("server-of-tomorrow")
            provision(sandbox, self.deal(), self.deal())
            self.preview(self.deal())
            self.ops("smoke")
        finally:
            sandbox.stigg.change_api_key(sandbox.stigg_api_key)
        sandbox.call(self.deal(), key=self.canaries.secret["callout key before"])
        wrong = {**sandbox.salesforce_client, "clientSecret": self.canaries.secret["wrong client secret"]}
        broken = f"{{{json.dumps(self.canaries.secret['wrong client secret'])}"
        signed = {
            "clientId": sandbox.salesforce_client["clientId"],
            "username": "closed-won@northwind.example",
            "privateKey": self.canaries.secret["private key"],
        }
        try:
            for value in (wrong, broken, {"clientId": "x", "privateKey": "x"}, signed):
                sandbox.wait_until_idle()
                sandbox.salesforce.expire_tokens()
                sandbox.aws.put_secret("SalesforceSecret", value)
                for name in ("AccountWriteBackFunction", "FlowCalloutFunction"):
                    functions.kill(name)
                sandbox.call(self.without_lines())
                provision(sandbox, self.deal())
        finally:
            sandbox.wait_until_idle()
            sandbox.aws.put_secret("SalesforceSecret", sandbox.salesforce_client)
            for name in ("AccountWriteBackFunction", "FlowCalloutFunction"):
                functions.kill(name)
        assert sandbox.application is not None
        good = sandbox.application.signing_keys
        try:
            sandbox.application.signing_keys = ["another"]
            provision(sandbox, self.deal())
        finally:
            sandbox.application.signing_keys = good
        self.due_now()
        sweep(sandbox)

    def reconciliations(self) -> None:
        """Runs of each kind, with something to find and to repair, and one that fails."""
        sandbox = self.sandbox
        fine = [self.deal() for _ in range(3)]
        provision(sandbox, *fine)
        lost = self.deal(fields={"CloseDate": datetime.now(UTC).date().isoformat()})
        sandbox.salesforce.backdate("Opportunity", opportunity_of(lost), 3600)
        self.by_hand(fine[0])
        sandbox.stigg.lose(self.customer_of(fine[1]))
        record = sandbox.provisioning(opportunity_of(fine[2]))
        assert record is not None
        sandbox.salesforce.update("Stigg_Provisioning__c", record["Id"], Status__c="Failed")
        table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
        dynamodb.delete_item(TableName=table, Key={"pk": {"S": "CATALOGUE"}, "sk": {"S": "CATALOGUE"}})
        self.reconcile(deep=True, approved=True)
        self.moved_on(fine[0])
        self.due_now()
        sweep(sandbox)
        # One that was stopped is in the register still, when the next one begins.
        arn = sandbox.aws.state_machine_arns["ReconcileStateMachine"]
        stepfunctions = sandbox.aws.client("stepfunctions")
        stopped = stepfunctions.start_execution(stateMachineArn=arn, input='{"mode": "all"}')["executionArn"]
        sandbox.stigg_server.wait_for(lambda: "Export" in sandbox.aws.states_entered(stopped))
        stepfunctions.stop_execution(executionArn=stopped)
        self.reconcile(mode="changed")
        self.ops("reconcile", "--mode", "all", "--wait")
        # And while Stigg and Salesforce break, saying what they should not.
        refusal = {"message": self.canaries.echo("Stigg's key", names=False), "code": "Echo"}
        sandbox.stigg_server.fail("answer", "GET", ".*", status=400, body=refusal, times=500)
        self.reconcile()
        sandbox.stigg_server.heal()
        sandbox.salesforce.fail_query_job(self.canaries.echo("Salesforce's client secret", names=False))
        self.reconcile()
        sandbox.aws.run_schedule("SweepFunctionSchedule")
        sandbox.wait_until_idle()

    def moved_on(self, deal: Json) -> None:
        """A repair of a customer that has changed since it was compared: it is left alone."""
        run = Run("tour", "all", False, True, "", datetime.now(UTC).isoformat(), "2026-01-01", 1)
        repairs = [Repair(deal["account"]["id"], rev=0, look=True).to_json()]
        aws, name = self.sandbox.aws, key(run, "repairs/0000.json")
        bucket = aws.resources["ReconciliationBucket"]
        aws.client("s3").put_object(Bucket=bucket, Key=name, Body=json.dumps(repairs).encode())
        aws.functions.invoke("RepairFunction", {"run": run.to_json(), "partition": 0})

    def customer_of(self, deal: Json) -> str:
        return str(sandbox_customer(self.sandbox, deal["account"]["id"]))

    def by_hand(self, deal: Json) -> None:
        """Somebody changes the customer's subscription in Stigg."""
        for subscription in self.sandbox.stigg.subscriptions(self.customer_of(deal))[:1]:
            workspaces = [{"id": "addon-extra-workspace", "quantity": 7}]
            self.sandbox.stigg.change_subscription(subscription["id"], addons=workspaces)

    def operators(self) -> None:
        """Every command an operator has that leaves the stack as it is, and the erasing of one customer."""
        sandbox = self.sandbox
        deal = self.deal()
        provision(sandbox, deal)
        opportunity, account = opportunity_of(deal), deal["account"]["id"]
        for arguments in (
            ("status", opportunity, "--json"),
            ("status", account),
            ("history", "--json"),
            ("history",),
            ("doctor", "--json"),
            ("preview", opportunity),
            ("backfill", "--since", "2023-01-01", "--json"),
            ("backfill", "--since", "2023-01-01"),
            ("replay", "--failed-since", "2026-01-01", "--yes"),
            ("connect", "--check"),
            ("smoke",),
            ("erase", account, "--yes"),
        ):
            self.ops(*arguments)
        sandbox.wait_until_idle()
        for kept in sorted(self.operator.folder.rglob("*")):
            if kept.is_file():
                self.said["operators' commands"].append(kept.read_text(errors="replace"))

    def dead_letters(self) -> list[str]:
        """The sweep fails until it is given up; what lies in the queues is told."""
        sandbox = self.sandbox
        functions = sandbox.aws.functions
        function = functions.find("SweepFunction")
        usual = function.environment
        function.environment = {**usual, "LEDGER_TABLE": ""}
        functions.kill("SweepFunction")
        try:
            sandbox.aws.run_schedule("SweepFunctionSchedule")
        finally:
            function.environment = usual
            functions.kill("SweepFunction")
        sqs = sandbox.aws.client("sqs")
        return [
            json.dumps(message)
            for url in sqs.list_queues().get("QueueUrls", [])
            for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        ]

    def go(self, short: bool = False) -> None:
        """All of it; short: without what only the canaries need."""
        stops: tuple[Callable[[], None], ...] = (
            self.triggers,
            self.approvals,
            self.events,
            self.sweeps,
            self.faults,
            self.bad_input,
            self.keys,
            self.reconciliations,
            self.operators,
        )
        for stop in stops:
            if not (short and stop in (self.keys, self.operators)):
                print(f"   {(stop.__doc__ or '').strip()}", flush=True)
                stop()
        self.said["dead letters"] = self.dead_letters()
        self.said["notices"] = notices()


def sandbox_customer(sandbox: Sandbox, account: str) -> str:
    """The customer's ID in Stigg."""
    return str(sandbox.salesforce.get("Account", account)["Stigg_Customer_ID__c"] or account)


@contextmanager
def toured(short: bool = False) -> Iterator[Tour]:
    """A tour that was made, its sandbox still up."""
    with started() as sandbox, tempfile.TemporaryDirectory(prefix="closed-won-") as folder:
        tour = Tour(sandbox, plant(sandbox), Path(folder))
        tour.go(short)
        yield tour


@cache
def _found() -> tuple[list[Line], list[Line]]:
    """What one tour shows: of the canaries, and of the permissions."""
    with toured() as tour:
        found = search(tour.sandbox, tour.canaries, tour.said)
        return [*found, in_the_repository()], compare(tour.sandbox.aws)


def canaries(_seed: int, _long: bool) -> list[Line]:
    """`python -m proof canaries`: secrets and people are nowhere but where they belong."""
    return _found()[0]


def permissions(_seed: int, _long: bool) -> list[Line]:
    """`python -m proof permissions`: each role may do what it does, and nothing else."""
    return _found()[1]
