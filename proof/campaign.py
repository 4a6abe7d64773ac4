"""The fault campaign: made-up customers buy through the running system while nearly everything around it goes wrong.

Deals are saved in Salesforce and sent as its flow sends them, five times each, in any order, many too late; some
callouts are lost for good. Meanwhile 30 % of the calls to Stigg and Salesforce go wrong, processes die, DynamoDB
throttles, secrets are rotated. Then the faults end, the sweep goes on until nothing is due, reconciliation runs once,
and `oracle`, which knows nothing of the product, says what should stand.

    python -m proof campaign [--seed S] [--deals N] [--history H] [--stop-at-first]

PROOF_DEALS, PROOF_HISTORY and PROOF_STOP_AT_FIRST in the environment say the same.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from multiprocessing import get_context
from random import Random
from threading import Lock
from typing import Any, NamedTuple

import requests
from moto.stepfunctions.responses import get_backend

from benchmarks.lines import Line
from closedwon.aws.ledger_items import text_of
from proof import canaries, oracle
from proof.disturbances import FUNCTIONS, Trouble
from proof.market import FIELDS, LATEST, PAID, Customer, Json, Save, is_day, iso, make
from proof.permissions import Roles, not_allowed
from sandbox.sales import Sales
from sandbox.salesforce import cpq
from sandbox.sandbox import Sandbox

DEALS, LONG_DEALS = 1_000, 10_000
A_ROUND = 250
"""Deals that are played together: the sandbox's tables are as slow as they are long."""

COPIES = 5
"""How often every callout is sent."""

LOST = 0.08
"""Of the deals that Salesforce can tell by itself: their callouts never arrive."""

THIN = 0.25
"""Of the deals that Salesforce can tell by itself: sent without lines, and read from there."""

SCALE = 8
"""What Stigg's limits are multiplied by, in the stand-in and in the template's parameters."""

PARAMETERS = {
    "WriteLifetimeSeconds": "2",
    "LogLevel": "DEBUG",
    "ThrottlingRate": "1000",
    "ThrottlingBurst": "1000",
    "StiggWritesPerMinute": str(250 * SCALE),
    "StiggListsPerMinute": str(1500 * SCALE),
    "StiggReadsPerMinute": str(3000 * SCALE),
    "TrialStages": "Proposal/Price Quote",
    "DealsSince": "2020-01-01",
    "ReductionsPolicy": "repair",  # a cancellation whose callout was lost is to be found, too
}
SAVED_AGO = 3600
"""Seconds by which saves are dated back: what was saved in the last ten minutes is not missed yet."""

LIVE = ("ACTIVE", "IN_TRIAL", "NOT_STARTED", "PAYMENT_PENDING")
MOST_PASSES = 40
FEW_PASSES = 6
PATIENCE = 300.0
"""Seconds for what runs to end. Judges nothing: a machine may be busy."""

AT_ONCE = 10
"""Executions that run when the next request is sent."""

MARK = {"toldBy": "somebody else"}
"""Metadata that others keep in Stigg."""


class Violation(NamedTuple):
    """What is not as it should be. kind: which of the campaign's goals it misses."""

    kind: str
    account: str
    words: str
    history: int


GOALS = {
    "lost": "deals lost",
    "double": "customers or subscriptions double",
    "stale": "stale states in Stigg",
    "credits": "credits granted twice, or not at all",
    "limits": "requests over Stigg's limits",
    "foreign": "foreign subscriptions or metadata touched",
    "status": "wrong statuses in Salesforce",
    "rest": "customers that do not come to rest",
    "told": "secrets and people where they do not belong",
    "permission": "calls of AWS that no policy allows",
}


def campaign(seed: int, long: bool) -> list[Line]:
    """Run the campaign. Out: a line for each goal."""
    deals = int(os.environ.get("PROOF_DEALS") or (LONG_DEALS if long else DEALS))
    alone = os.environ.get("PROOF_HISTORY")
    stop = bool(os.environ.get("PROOF_STOP_AT_FIRST"))
    rounds = [[int(alone)]] if alone else list(_rounds(seed, deals))
    tally: Counter[str] = Counter()
    violations: list[Violation] = []
    # A round has its own process: moto, which is most of the work, has one interpreter each.
    with ProcessPoolExecutor(
        min(len(rounds), os.cpu_count() or 1), get_context("spawn"), max_tasks_per_child=1
    ) as processes:
        for played in as_completed(
            [processes.submit(_play, seed, histories, bool(alone), stop) for histories in rounds]
        ):
            if played.cancelled():
                continue
            counted, found = played.result()
            tally.update(counted)
            violations += found
            print(f"{tally['deals']} deals of {tally['customers']} customers: {len(violations)} violations", flush=True)
            if stop and found:
                processes.shutdown(wait=False, cancel_futures=True)
    return list(_lines(tally, violations))


def _rounds(seed: int, deals: int) -> Iterator[list[int]]:
    """The customers of each round, by number."""
    numbers, now = count(), datetime.now(UTC)
    per_round = -(-deals // -(-deals // A_ROUND))
    while deals > 0:
        histories, sold = [], 0
        while sold < min(per_round, deals):
            histories.append(next(numbers))
            sold += len(_customer(seed, histories[-1], now).newest)
        deals -= sold
        yield histories


def _customer(seed: int, history: int, now: datetime, organization: str = "") -> Customer:
    customer = make(seed * 100_000 + history, now, organization)
    customer.history = history
    return customer


def _play(seed: int, histories: list[int], alone: bool, stop: bool) -> tuple[Counter[str], list[Violation]]:
    """Play a round. Out: what was counted, what was found."""
    with Sandbox(
        PARAMETERS, wait_scale=0.04, longest_invocation=5, rate_limits=True, rate_scale=SCALE, concurrency=6
    ) as sandbox:
        now = datetime.now(UTC)
        customers = [_customer(seed, each, now, sandbox.salesforce.organization_id) for each in histories]
        play = _Round(sandbox, customers, f"campaign {seed}", now, stop)
        for one in play.play():
            print(f"violation: {one.kind}: {one.account} {one.words}", flush=True)
        for history in sorted({one.history for one in play.violations if one.history >= 0}):
            print(f'replay: make prove ARGS="campaign --seed {seed} --history {history}"', flush=True)
            for words in next(each for each in customers if each.history == history).told():
                print(f"    {words}", flush=True)
        if alone:
            _tell_writes(sandbox)
            print("  what reconciliation found:", *play.findings, sep="\n    ")
        return play.tally, play.violations


def _tell_writes(sandbox: Sandbox) -> None:
    """Every write to Stigg, for whoever looks for what went wrong."""
    print("  what was written to Stigg:")
    for e in sandbox.stigg_server.exchanges:
        if e.method != "GET":
            fault = f" [{e.fault}]" if e.fault else ""
            print(f"    {e.at:.1f} {e.method} {e.path} {e.status}{fault} {e.body.decode()[:600]}")


def _lines(tally: Counter[str], violations: list[Violation]) -> Iterator[Line]:
    per_kind = Counter(one.kind for one in violations)
    print(
        f"{tally['deals']} deals, {tally['saves']} saves, {tally['requests']} requests with {tally['sent']} deals in "
        f"them ({tally['sent'] - tally['saves']} more than once), {tally['lost']} lost on the way, {tally['given up']} "
        "given up"
    )
    print(
        f"{tally['calls']} calls to Stigg and Salesforce while faults lasted, {tally['disturbed']} of them disturbed: "
        + ", ".join(f"{name[6:]} {n}" for name, n in sorted(tally.items()) if name.startswith("fault "))
    )
    print(
        f"{tally['kills']} processes killed, {tally['throttled']} of {tally['calls to DynamoDB']} calls to DynamoDB "
        f"throttled, {tally['rotations']} secrets rotated, {tally['repaired']} findings repaired by reconciliation"
    )
    counts = {
        "lost": f"of {tally['deals']}",
        "double": f"of {tally['customers']} customers, {tally['subscriptions']} subscriptions",
        "stale": f"of {tally['subscriptions']} subscriptions",
        "credits": f"of {tally['grants']} grants",
        "limits": f"of {tally['calls to Stigg']} requests",
        "foreign": f"of {tally['foreign']} subscriptions, {tally['marks']} marks",
        "status": f"of {tally['deals']}",
        "rest": f"of {tally['customers']}",
        "told": f"of {tally['canaries']} in {tally['places']} places",
        "permission": f"of {tally['calls of AWS']}",
    }
    for kind, what in GOALS.items():
        yield Line(f"campaign: {what}", f"{per_kind[kind]} {counts[kind]}", "0", per_kind[kind] == 0)


@dataclass
class _Round:
    """Some customers, played together in an empty sandbox."""

    sandbox: Sandbox
    customers: list[Customer]
    seed: str
    began: datetime
    stop: bool
    tally: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    left_out: set[str] = field(default_factory=set)
    foreign: dict[str, Json] = field(default_factory=dict)
    marks: dict[str, set[str]] = field(default_factory=dict)
    unanswered: list[Json] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    late: list[Json] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    tellable: set[str] = field(default_factory=set)
    revisions: Counter[str] = field(default_factory=Counter)
    noted: dict[str, int] = field(default_factory=dict)
    findings: list[Json] = field(default_factory=list)

    def play(self) -> list[Violation]:
        self.lock = Lock()
        self.by_account = {each.account: each for each in self.customers}
        self.rng = Random(f"{self.seed}|{[each.history for each in self.customers]}")  # nosec B311 - made up
        self.trouble = Trouble(self.sandbox, self.seed)
        self._open()
        for wave in range(3):
            self.trouble.start()
            self._send(wave)
            self._rest(FEW_PASSES)
            self._note()
            self.trouble.stop()
            self._send_again()
            if wave < 2:
                self._rest(MOST_PASSES)
                self._mark()
        self._end()
        self._count()
        return self.violations

    def say(self, what: str) -> None:
        seconds = (datetime.now(UTC) - self.began).total_seconds()
        print(f"  {seconds:4.0f} s [{self.customers[0].history} to {self.customers[-1].history}] {what}", flush=True)

    # Salesforce

    def _open(self) -> None:
        """The organisation, its accounts, and what somebody else made in Stigg before."""
        sandbox = self.sandbox
        self.canaries = canaries.plant(sandbox)
        sandbox.salesforce.install_cpq()
        sandbox.salesforce.deploy("Stigg_Mapping__mdt", **cpq.QUOTE_LINES)
        sandbox.salesforce.deploy("Stigg_Mapping__mdt", DeveloperName="Opportunity_Products", Active__c=False)
        self.products = _Products(sandbox.sales)
        for function in sandbox.aws.functions.all():
            if function.logical_id not in FUNCTIONS:  # a busy machine may take its time over them
                function.source = replace(function.source, timeout=PATIENCE)
        for each in self.customers:
            sandbox.sales.account(f"Customer {each.seed}", Id=each.account)
            if each.foreign:
                sandbox.stigg.add_customer(each.account)
                made = sandbox.stigg.add_subscription(each.account, **each.foreign)
                self.foreign[each.account] = made
        self.say(f"{len(self.customers)} customers with {sum(len(c.newest) for c in self.customers)} deals")

    def _save(self, customer: Customer, save: Save) -> Json:
        """Save a deal as its rep does. Out: the callout."""
        salesforce, deal = self.sandbox.salesforce, save.deal
        terms, id, trigger = deal["terms"], save.opportunity, deal["trigger"]
        fields: Json = {
            column: terms.get(name) if name in PAID or is_day(terms.get(name)) else None
            for name, column in FIELDS.items()
        }
        if trigger == "cancellation":
            fields["Stigg_Cancel_Date__c"] = fields["Stigg_End_Date__c"]
            fields["Stigg_End_Date__c"] = None
        amends = deal.get("amends")
        if deal.get("quantities") == "differences":
            fields["SBQQ__AmendedContract__c"] = self._contract_of(customer, str(amends))
        elif amends:
            fields["Stigg_Amends__c"] = amends
        if trigger == "renewal":
            fields["Type"] = "Renewal"
        fields["StageName"] = save.stage
        if save.first:
            today = self.began.date().isoformat()
            named = {"AccountId": customer.account, "Name": deal["opportunity"]["name"], "CloseDate": today}
            salesforce.create("Opportunity", Id=id, **named, **fields)
        else:
            salesforce.update("Opportunity", id, **fields)
        if contract := customer.contracts.get(id):
            if not salesforce.find("Contract", Id=contract):
                made = {"AccountId": customer.account, "Status": "Activated", "SBQQ__Opportunity__c": id}
                salesforce.create("Contract", Id=contract, StartDate="2026-01-01", ContractTerm=12, **made)
            if deal.get("contractId"):
                salesforce.update("Opportunity", id, ContractId=contract)
        if trigger != "cancellation":
            for one in salesforce.find("OpportunityLineItem", OpportunityId=id):
                salesforce.delete("OpportunityLineItem", one["Id"])
            for each in deal["lines"]:
                salesforce.create(
                    "OpportunityLineItem",
                    OpportunityId=id,
                    Product2Id=self.products.of(each),
                    Quantity=each.get("quantity", 1),
                    UnitPrice=each.get("price", 0),
                )
        self.revisions[id] += 1  # Salesforce tells the time of a save to the second, and these come in one
        salesforce.backdate("Opportunity", id, SAVED_AGO - 2 * self.revisions[id])
        modified = salesforce.get("Opportunity", id)["SystemModstamp"]
        callout = copy.deepcopy(deal)
        read = iso(datetime.fromisoformat(modified) + timedelta(seconds=1))
        callout["account"]["name"] = salesforce.get("Account", customer.account)["Name"]
        callout["opportunity"]["name"] = salesforce.get("Opportunity", id)["Name"]
        callout["opportunity"] |= {"systemModstamp": modified, "readAt": read}
        self.tally["saves"] += 1
        return callout

    def _contract_of(self, customer: Customer, base: str) -> str | None:
        """The contract that CPQ amends; None where the base is known to nobody."""
        return customer.contracts.get(base) if base in customer.newest else None

    # Sending

    def _send(self, wave: int) -> None:
        """Save this wave's deals, and send what they cause, with what is late of the waves before."""
        due, self.late = self.late, []
        for customer in self.customers:
            for save in customer.saves:
                if save.wave == wave:
                    due += self._callouts(customer, save)
        self.rng.shuffle(due)
        chunks = list(self._requests(due))
        half = len(chunks) // 2
        self.say(f"wave {wave + 1}: {len(due)} deals in {len(chunks)} requests, while much goes wrong")
        with ThreadPoolExecutor(4) as senders:
            list(senders.map(self._request, chunks[:half]))
            if wave == 0:
                self.canaries.secret |= self.trouble.rotate()
            list(senders.map(self._request, chunks[half:]))
            if wave == 0:
                self.trouble.end_of_rotation()

    def _callouts(self, customer: Customer, save: Save) -> list[Json]:
        """What a save sends now. Some of it is sent too late, some is lost."""
        callout = self._save(customer, save)
        rng = Random(f"{self.seed}|{callout['opportunity']['id']}|{save.wave}|{save.deal['trigger']}")  # nosec B311
        only = sum(each.opportunity == save.opportunity for each in customer.saves) == 1
        if save.told and only:
            self.tellable.add(save.opportunity)
        if save.told and only and rng.random() < LOST:
            self.tally["lost"] += 1
            self.left_out.add(save.opportunity)
            return []
        copies = [callout] * COPIES
        if self._readable(customer, save) and rng.random() < THIN:
            thin = {name: callout[name] for name in ("organizationId", "trigger")}
            copies = [{**thin, "opportunity": {"id": save.opportunity}}] * COPIES
        late = 0 if save.wave == 2 else rng.choice([0, 1, 2])
        self.late += copies[:late]
        return copies[late:]

    @staticmethod
    def _readable(customer: Customer, save: Save) -> bool:
        """Whether a deal may be sent without lines, at any time: what is read is the newest save."""
        triggers = {each.deal["trigger"] for each in customer.saves if each.opportunity == save.opportunity}
        told = all(
            each.told or each.deal["trigger"] == "cancellation"
            for each in customer.saves
            if each.opportunity == save.opportunity
        )
        return told and save.deal["trigger"] != "cancellation" and not {"trial", "cancellation"} <= triggers

    def _requests(self, deals: list[Json]) -> Iterator[list[Json]]:
        place = 0
        while place < len(deals):
            size = self.rng.choice([1, 2, 5, 10, 20])
            yield deals[place : place + size]
            place += size

    def _running(self) -> int:
        """How many executions run."""
        backend = get_backend(self.sandbox.aws.account, self.sandbox.aws.region)
        return sum(one.status == "RUNNING" for machine in backend.state_machines for one in list(machine.executions))

    def _request(self, deals: list[Json]) -> None:
        """As Salesforce sends: what was not answered is sent again a few times, and then left."""
        while self._running() > AT_ONCE:  # a small machine is not to be overrun: its time-outs judge nothing
            time.sleep(0.05)
        for _ in range(4):
            with self.lock:
                self.tally["requests"] += 1
                self.tally["sent"] += len(deals)
            try:
                answer = self.sandbox.call(*deals)
            except requests.RequestException:
                continue
            self.answers[answer.status_code] += 1
            if answer.status_code == 202:
                for deal, one in zip(deals, answer.json()["results"], strict=True):
                    # Read, a deal that was won or lost since is not what its callout says: the later save has its own.
                    if one["status"] not in ACCEPTED and not ("lines" not in deal and one["status"] == "invalid"):
                        raise AssertionError(f"a good deal was answered {one}")
                return
        with self.lock:
            self.unanswered += deals

    def _send_again(self) -> None:
        """What nobody answered is left to reconciliation where Salesforce can tell it by itself, else saved again."""
        left, self.unanswered = self.unanswered, []
        again = [deal for deal in left if deal["opportunity"]["id"] not in self.tellable]
        self.left_out |= {deal["opportunity"]["id"] for deal in left} & self.tellable
        self.tally["given up"] += len(left) - len(again)
        for place in range(0, len(again), 10):
            self._request(again[place : place + 10])

    # Coming to rest

    def _settle(self) -> None:
        """Wait until no execution runs."""
        deadline = time.monotonic() + PATIENCE
        while self._running():
            if time.monotonic() > deadline:
                raise TimeoutError("executions still run")
            time.sleep(0.1)

    def _heads(self) -> Iterator[tuple[Json, Json]]:
        """The customers in the ledger for which something is due, now or later: the item, and its body."""
        table, dynamodb = self.sandbox.aws.resources["LedgerTable"], self.sandbox.aws.client("dynamodb")
        asked = {"KeyConditionExpression": "due = :due", "ExpressionAttributeValues": {":due": {"S": "DUE"}}}
        pages = dynamodb.get_paginator("query").paginate(TableName=table, IndexName="due", **asked)
        keys = [{name: item[name] for name in ("pk", "sk")} for page in pages for item in page["Items"]]
        for key in keys:
            item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
            yield item, json.loads(text_of(item))

    def _rest(self, passes: int) -> bool:
        """Let the time pass that work waits for, and the sweep start it, again and again. Out: whether all is quiet."""
        for _ in range(passes):
            self._settle()
            now = round(time.time() * 1000)
            table, dynamodb = self.sandbox.aws.resources["LedgerTable"], self.sandbox.aws.client("dynamodb")
            waiting = 0
            for item, body in self._heads():
                again, due_at = body["look_again_at"], body["due_at"]
                if again is not None and again > now + 60_000 and due_at == again:
                    continue  # a day to come
                waiting += 1
                item["due_at"], body["due_at"] = {"N": "1"}, 1
                body["look_again_at"] = 1 if again is not None else None
                if body["lease"] is not None:
                    owner, token, _, *rest = body["lease"]
                    body["lease"] = [owner, token, 1, *rest]
                dynamodb.put_item(TableName=table, Item={**item, "body": {"S": json.dumps(body)}})
            if not waiting:
                return True
            self.sandbox.aws.run_schedule("SweepFunctionSchedule")
        self._settle()
        return False

    def _mark(self) -> None:
        """Somebody else notes something of their own on customers and subscriptions in Stigg."""
        api, key = f"{self.sandbox.stigg_server.url}/api/v1", {"X-API-KEY": self.sandbox.stigg_api_key}
        for customer_id, customer in self.sandbox.stigg.customers.items():
            metadata = {**customer["metadata"], **MARK}
            requests.patch(f"{api}/customers/{customer_id}", json={"metadata": metadata}, headers=key, timeout=30)
        for one in self.sandbox.stigg.subscriptions():
            if one["status"] in LIVE and self.rng.random() < 0.5:
                marked = self.sandbox.stigg.change_subscription(one["id"], metadata={**one["metadata"], **MARK})
                self.marks.setdefault(one["customerId"], set()).add(one["id"])
                if self.foreign.get(one["customerId"], {}).get("id") == one["id"]:
                    self.foreign[one["customerId"]] = marked
        self.tally["marks"] += sum(map(len, self.marks.values())) + len(self.sandbox.stigg.customers)

    def _end(self) -> None:
        """Faults are over: all comes to rest, somebody approves, everything is compared once."""
        time.sleep(max(0.0, (self.began + timedelta(seconds=LATEST + 1) - datetime.now(UTC)).total_seconds()))
        self.say("the faults are over")
        self._must_rest("before reconciliation")
        self._approve()
        self._judge([each for each in self.customers if self.left_out.isdisjoint(each.newest)])
        self.say(f"of {self.judged['customers']} customers all was heard; {len(self.violations)} violations")
        if self.stop and self.violations:
            return
        self.say("one reconciliation of everything")
        self._reconcile()
        self._must_rest("after reconciliation")
        self._judge(self.customers)
        self._search()
        self._permitted()

    def _approve(self) -> None:
        """Somebody approves what is held of the deals that are to be approved."""
        sandbox = self.sandbox
        approvals = []
        for id in (id for customer in self.customers for id in customer.approves):
            record = sandbox.provisioning(id) or {}
            if record.get("Approval_ID__c"):
                approval = {"opportunityId": id, "approval": record["Approval_ID__c"]}
                approvals.append({"organizationId": sandbox.salesforce.organization_id, **approval})
        if approvals:
            answer = sandbox.post({"approvals": approvals}, path="/v1/approvals")
            assert answer.status_code == 202, answer.text
            told = Counter(one["status"] for one in answer.json()["results"])
            self.say(f"somebody approves {len(approvals)} reductions: {dict(told)}")
            self._must_rest("after approvals")

    def _must_rest(self, when: str) -> None:
        if not self._rest(MOST_PASSES):
            for item, body in self._heads():
                account = item["pk"]["S"].partition("#")[2]
                self.violate("rest", account, f"is still due {when}: {body['look_again_at']} {body['due_at']}")

    def _reconcile(self) -> None:
        sandbox = self.sandbox
        machine = sandbox.aws.state_machine_arns["ReconcileStateMachine"]
        asked = json.dumps({"mode": "all", "deep": True, "approved": True})
        with sandbox.aws.waiting_less(0.03):
            started = sandbox.aws.client("stepfunctions").start_execution(stateMachineArn=machine, input=asked)
            done = sandbox.aws.wait_for_execution(started["executionArn"], PATIENCE)
        assert done["status"] == "SUCCEEDED", done
        assert '"failedPartitions":[]' in done["output"].replace(" ", ""), done["output"]
        s3, bucket = sandbox.aws.client("s3"), sandbox.aws.resources["ReconciliationBucket"]
        report = str(json.loads(done["output"])["report"]["report"]).rpartition("/")[0]
        lines = s3.get_object(Bucket=bucket, Key=f"{report}/findings.jsonl")["Body"].read().decode().splitlines()
        self.findings = [json.loads(line) for line in lines]
        kinds = Counter((one["kind"], one["remedy"]) for one in self.findings)
        self.tally["repaired"] += sum(number for (_, remedy), number in kinds.items() if remedy == "repair")
        told = [f"{kind} {number} ({remedy})" for (kind, remedy), number in sorted(kinds.items())]
        self.say(f"it found {', '.join(told) or 'nothing'}")
        if os.environ.get("PROOF_DEBUG"):
            for one in self.findings:
                print("   ", one["kind"], one["opportunity_id"], one["words"], one["should"], "|", one["is_now"])

    # Judging

    def violate(self, kind: str, account: str, words: str) -> None:
        customer = self.by_account.get(account)
        violation = Violation(kind, account, words, customer.history if customer else -1)
        if violation not in self.violations:
            self.violations.append(violation)

    def _judge(self, judged: Sequence[Customer]) -> None:
        """Before reconciliation, those of whom nothing was lost on the way: what was answered 202 needs none. After it,
        all.
        """
        now = datetime.now(UTC)
        self.judged = Counter(customers=len(judged))
        records = {one["Opportunity_ID__c"]: one for one in self.sandbox.salesforce.find("Stigg_Provisioning__c")}
        customers = self.sandbox.stigg.customers
        for stranger in customers.keys() - self.by_account.keys():
            self.violate("double", stranger, "is a customer in Stigg that is no account")
        for one in judged:
            in_the_way = {one.foreign["resource_id"]} if one.foreign else set()
            wanted = oracle.expected(one.newest, one.before, one.approves, in_the_way, now)
            self._judge_statuses(one, wanted, records, customers)
            subscriptions = self.sandbox.stigg.subscriptions(one.account) if one.account in customers else []
            self._judge_foreign(one, subscriptions, customers)
            theirs = self.foreign.get(one.account, {}).get("id")
            self._judge_subscriptions(one, wanted, [s for s in subscriptions if s["id"] != theirs])
            self._judge_grants(one, wanted, one.account in customers)
        refused = [e for e in self.sandbox.stigg_server.exchanges if e.status == 429 and not e.fault]
        for exchange in refused:
            self.violate("limits", "-", f"{exchange.method} {exchange.path} was over Stigg's limit")

    def _judge_statuses(self, one: Customer, wanted: oracle.Expected, records: Json, customers: Json) -> None:
        for id, status in wanted.statuses.items():
            record = records.get(id)
            if record is None:
                self.violate("lost", one.account, f"{id} shows nothing in Salesforce; it should be {status}")
            elif record["Status__c"] != status:
                self.violate(
                    "status", one.account, f"{id} is {record['Status__c']} ({record['Reason__c']}), not {status}"
                )
            elif record["Account__c"] != one.account or record["Opportunity__c"] != id:
                self.violate("status", one.account, f"{id} shows another account or opportunity")
        if wanted.subscriptions or wanted.granted:
            shown = self.sandbox.salesforce.get("Account", one.account)["Stigg_Customer_ID__c"]
            if shown != one.account:
                self.violate("status", one.account, f"the account shows the customer {shown}")
            if one.account not in customers:
                self.violate("lost", one.account, "is no customer in Stigg")

    def _judge_foreign(self, one: Customer, subscriptions: list[Json], customers: Json) -> None:
        by_id = {s["id"]: s for s in subscriptions}
        made = self.foreign.get(one.account)
        if made is not None:
            self.judged["foreign"] += 1
            now = by_id.get(made["id"])
            if now is None or any(now[name] != made[name] for name in made if name != "updatedAt"):
                self.violate("foreign", one.account, f"somebody else's subscription was touched: {made} is {now}")
        for id in self.marks.get(one.account, ()):
            now = by_id.get(id)
            if now is None or not MARK.items() <= now["metadata"].items():
                self.violate("foreign", one.account, f"somebody else's metadata is gone from {id}")
        if self.marks.get(one.account) and not MARK.items() <= customers[one.account]["metadata"].items():
            self.violate("foreign", one.account, "somebody else's metadata is gone from the customer")

    def _judge_subscriptions(self, one: Customer, wanted: oracle.Expected, subscriptions: list[Json]) -> None:
        standing = self._standing(one, subscriptions)
        self.judged["subscriptions"] += len(standing)
        for slot in standing.keys() - wanted.subscriptions.keys():
            until = wanted.may_stand.get(slot)
            if until is None or oracle.instant(standing[slot]["trialEndDate"]) != until:
                self.violate("stale", one.account, f"{standing[slot]['id']} stands in {slot}, and no deal gives it")
        for slot, should in wanted.subscriptions.items():
            found = standing.get(slot)
            if found is None:
                self.violate("lost", one.account, f"nothing stands in {slot}; there should be {should}")
                continue
            said, shown = _said(should), _shown(found)
            for name, value in said.items():
                if shown[name] != value:
                    self.violate("stale", one.account, f"{found['id']}: {name} is {shown[name]}, not {value}")
            if found["salesforceId"] not in should.opportunities:
                self.violate("stale", one.account, f"{found['id']} belongs to {found['salesforceId']}")

    def _standing(self, one: Customer, subscriptions: list[Json]) -> dict[oracle.Slot, Json]:
        """A customer's live subscriptions by their slots, of which each may hold one."""
        standing: dict[oracle.Slot, Json] = {}
        for s in subscriptions:
            if s["status"] not in LIVE:
                continue
            trial = bool(s["trial"]) and s["status"] in ("IN_TRIAL", "NOT_STARTED")
            slot = oracle.Slot(s["productId"], s["resourceId"], trial)
            if slot in standing:
                self.violate("double", one.account, f"two subscriptions in {slot}: {standing[slot]['id']}, {s['id']}")
            standing[slot] = s
        return standing

    def _judge_grants(self, one: Customer, wanted: oracle.Expected, exists: bool) -> None:
        grants = self.sandbox.stigg.grants(one.account) if exists else []
        self.judged["grants"] += len(grants)
        given = Counter(grant["metadata"]["salesforceOpportunityId"] for grant in grants)
        for id, times in given.items():
            if times > 1:
                self.violate("credits", one.account, f"{id} granted its credits {times} times")
            if id not in wanted.granted and id not in wanted.may_grant:
                self.violate("credits", one.account, f"{id} granted credits before its day, or has none to grant")
        for id in wanted.granted.keys() - given.keys():
            self.violate("credits", one.account, f"{id} never granted its credits")
        amounts = {**wanted.may_grant, **wanted.granted}
        for grant in grants:
            id = grant["metadata"]["salesforceOpportunityId"]
            if grant["amount"] != amounts.get(id, grant["amount"]):
                self.violate("credits", one.account, f"{id} granted {grant['amount']}, not {amounts[id]}")

    def _search(self) -> None:
        """What was planted is nowhere but where it belongs."""
        lines = canaries.search(self.sandbox, self.canaries)
        for line in lines:
            if not line.met:
                self.violate("told", "-", f"{line.what}: {line.measured}")
        self.tally["places"] += len(lines)
        self.tally["canaries"] += len(self.canaries.secret) + len(self.canaries.personal)

    def _permitted(self) -> None:
        """The functions call AWS only as their policies let them, whatever goes wrong. moto asks none."""
        made = self.sandbox.aws.calls.made()
        for call in not_allowed(made, Roles(self.sandbox.aws).grants()):
            self.violate("permission", "-", f"{call.caller} called {call.action} on {call.resource} {call.key}")
        self.tally["calls of AWS"] += sum(made.values())

    # Counting

    def _note(self) -> None:
        """What was disturbed, while faults last. The exchanges so far are counted once."""
        for server in (self.sandbox.stigg_server, self.sandbox.salesforce_server):
            seen = self.noted.get(server.url, 0)
            exchanges = server.exchanges[seen:]
            self.noted[server.url] = seen + len(exchanges)
            self.tally["calls"] += len(exchanges)
            self.tally["disturbed"] += sum(bool(exchange.fault) for exchange in exchanges)
            self.tally.update(f"fault {exchange.fault}" for exchange in exchanges if exchange.fault)

    def _count(self) -> None:
        self.tally["deals"] += sum(len(each.newest) for each in self.customers)
        self.tally["calls to Stigg"] += len(self.sandbox.stigg_server.exchanges)
        self.tally.update(self.judged)
        self.tally.update(self.trouble.counts)


ACCEPTED = ("accepted", "duplicate", "superseded")


def _said(should: oracle.Stands) -> Json:
    return {
        "plan": should.plan,
        "units": should.units,
        "add-ons": should.addons,
        "limits": should.limits,
        "prices": should.prices,
        "billing period": should.billing,
        "start to come": should.starts,
        "end": should.ends,
        "end of trial": should.trial_end,
    }


def _shown(s: Json) -> Json:
    def amount(e: Json) -> Any:
        if e["type"] == "CREDIT":
            return e["amount"]
        limit = e.get("usageLimit")
        return "granted" if limit is None else limit

    trial = s["status"] == "IN_TRIAL" or (s["status"] == "NOT_STARTED" and s["trial"])
    return {
        "plan": s["planId"],
        "units": s["unitQuantity"] or 1,
        "add-ons": {addon["id"]: addon["quantity"] for addon in s["addons"]},
        "limits": {e["id"]: amount(e) for e in s["entitlements"]},
        "prices": {p.get("addonId"): p["amount"] for p in s["priceOverrides"]},
        "billing period": s["billingPeriod"],
        "start to come": oracle.instant(s["startDate"]) if s["status"] == "NOT_STARTED" else None,
        "end": oracle.instant(s["cancellationDate"]),
        "end of trial": oracle.instant(s["trialEndDate"]) if trial else None,
    }


class _Products:
    """Products by what they are mapped to."""

    def __init__(self, sales: Sales) -> None:
        self._sales = sales
        self._known: dict[tuple[Any, ...], str] = {}

    def of(self, line: Json) -> str:
        terms = {
            "Stigg_Type__c": line["stiggType"],
            "Stigg_ID__c": line["stiggId"],
            "Stigg_Unlimited__c": bool(line.get("unlimited")),
            "Stigg_Reset_Period__c": line.get("resetPeriod"),
            "Stigg_Price_Override__c": line.get("price") is not None,
        }
        key = tuple(terms.values())
        if key not in self._known:
            self._known[key] = self._sales.salesforce.add_product(" ".join(map(str, key[:2])), **terms)
        return self._known[key]
