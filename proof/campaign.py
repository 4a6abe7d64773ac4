"""The fault campaign: made-up customers buy through the running system while nearly everything around it goes wrong.

Deals are saved in Salesforce and sent as its flow sends them, five times each, in any order, many too late; some
callouts are lost for good. Meanwhile 30 % of the calls to Stigg and Salesforce go wrong, processes die, DynamoDB
throttles, secrets are rotated. Then the faults end, the sweep goes on until nothing is due, reconciliation runs once,
and `oracle`, which knows nothing of the product, says what should stand.

    python -m proof campaign [--seed S] [--deals N] [--history H] [--stop-at-first]

PROOF_DEALS, PROOF_HISTORY and PROOF_STOP_AT_FIRST in the environment say the same.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from multiprocessing import get_context
from random import Random

from benchmarks.lines import Line
from proof import canaries, oracle
from proof.disturbances import FUNCTIONS, Trouble
from proof.judge import Judge, Violation
from proof.market import customer_of, policies_of
from proof.permissions import Roles, not_allowed
from proof.quiet import PATIENCE, heads, rest, running
from proof.seller import Seller
from proof.sender import Sender
from proof.shop import LATEST, Customer, Json
from proof.strangers import Strangers
from sandbox.sandbox import Sandbox

DEALS, LONG_DEALS = 1_000, 10_000
A_ROUND = 250
"""Deals that are played together: the sandbox's tables are as slow as they are long."""

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
MOST_PASSES = 40
FEW_PASSES = 6
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
            sold += len(customer_of(seed, histories[-1], now, "").newest)
        deals -= sold
        yield histories


def _play(seed: int, histories: list[int], alone: bool, stop: bool) -> tuple[Counter[str], list[Violation]]:
    """Play a round. Out: what was counted, what was found."""
    policies = policies_of(seed)
    rules = oracle.Rules(end_of_term=policies["EndOfTermPolicy"], reopened=policies["ReopenedDealPolicy"])
    with Sandbox(
        {**PARAMETERS, **policies},
        wait_scale=0.04,
        longest_invocation=5,
        rate_limits=True,
        rate_scale=SCALE,
        concurrency=6,
        events=True,
        events_scale=0.05,
    ) as sandbox:
        now = datetime.now(UTC)
        customers = [customer_of(seed, each, now, sandbox.salesforce.organization_id) for each in histories]
        play = _Round(sandbox, customers, f"campaign {seed}", now, stop, rules)
        play.play()
        for one in play.judge.violations:
            print(f"violation: {one.kind}: {one.account} {one.words}", flush=True)
        for history in sorted({one.history for one in play.judge.violations if one.history >= 0}):
            print(f'replay: make prove ARGS="campaign --seed {seed} --history {history}"', flush=True)
            for words in next(each for each in customers if each.history == history).told():
                print(f"    {words}", flush=True)
        if alone:
            _tell_writes(sandbox)
            print("  what reconciliation found:", *play.findings, sep="\n    ")
        return play.tally, play.judge.violations


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
    print(
        f"{tally['events']} events of Stigg, {tally['events lost']} of them lost; others came late, twice, out of order"
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


class _Round:
    """Some customers, played together in an empty sandbox.

    tally: what was counted. findings: what reconciliation found. judge: has all violations.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        customers: list[Customer],
        seed: str,
        began: datetime,
        stop: bool,
        rules: oracle.Rules,
    ) -> None:
        self._sandbox = sandbox
        self._customers = customers
        self._seed = seed
        self._began = began
        self._stop = stop
        rng = Random(f"{seed}|{[each.history for each in customers]}")  # nosec B311 - made up
        self.tally: Counter[str] = Counter()
        self.findings: list[Json] = []
        self._trouble = Trouble(sandbox, seed)
        self._seller = Seller(sandbox.sales, began)
        self._sender = Sender(sandbox, self._seller, seed, rng, self.tally)
        self._strangers = Strangers(sandbox, rng)
        self.judge = Judge(sandbox, customers, self._strangers, rules)
        self._noted: Counter[str] = Counter()

    def play(self) -> None:
        self._open()
        for wave in range(3):
            self._trouble.start()
            self._sender.wave(wave, self._customers, self._say, self._rotate if wave == 0 else _nothing)
            if wave == 0:
                self._trouble.end_of_rotation()
            rest(self._sandbox, FEW_PASSES)
            self._note()
            self._trouble.stop()
            self._sender.again()
            if wave < 2:
                self._look(wave)
                self.tally["marks"] += self._strangers.mark()
        self._end()
        self._count()

    def _look(self, wave: int) -> None:
        """Between two waves: whoever is at rest has what was sold so far."""
        since = datetime.now(UTC)
        if rest(self._sandbox, MOST_PASSES):
            heard = [one for one in self._customers if self._sender.left_out.isdisjoint(one.newest)]
            self.judge.judge(heard, wave + 1, since)
            self._say(f"{self.judge.counts['judged']} customers have what was sold so far, or have violations")

    def _say(self, what: str) -> None:
        seconds = (datetime.now(UTC) - self._began).total_seconds()
        print(f"  {seconds:4.0f} s [{self._customers[0].history} to {self._customers[-1].history}] {what}", flush=True)

    def _open(self) -> None:
        """The organisation, its accounts, and what somebody else made in Stigg before."""
        self._canaries = canaries.plant(self._sandbox)
        for function in self._sandbox.aws.functions.all():
            if function.logical_id not in FUNCTIONS:  # a busy machine may take its time over them
                function.source = replace(function.source, timeout=PATIENCE)
        self._seller.open(self._customers)
        self._strangers.make(self._customers)
        # Of what Stigg tells, much comes late, twice, out of order or never, for as long as there are faults.
        self._sandbox.stigg.events.disturb(self._seed, 0.7, "twice", "late", "shuffled", "never")
        self._say(f"{len(self._customers)} customers with {sum(len(c.newest) for c in self._customers)} deals")

    def _rotate(self) -> None:
        # Of few deals nothing may have asked for anything yet: a secret that was never used is found nowhere.
        servers = (self._sandbox.stigg_server, self._sandbox.salesforce_server)
        while running(self._sandbox) and not all(one.exchanges for one in servers):
            time.sleep(0.05)
        self._canaries.secret |= self._trouble.rotate()

    def _end(self) -> None:
        """Faults are over: all comes to rest, somebody approves, everything is compared once."""
        time.sleep(max(0.0, (self._began + timedelta(seconds=LATEST + 1) - datetime.now(UTC)).total_seconds()))
        self._sandbox.stigg.events.calm()
        self._say("the faults are over")
        self._must_rest("before reconciliation")
        self._approve()
        self.judge.judge([each for each in self._customers if self._sender.left_out.isdisjoint(each.newest)])
        self._say(
            f"of {self.judge.counts['customers']} customers all was heard; {len(self.judge.violations)} violations"
        )
        if self._stop and self.judge.violations:
            return
        self._say("one reconciliation of everything")
        self._reconcile()
        self._must_rest("after reconciliation")
        self.judge.judge(self._customers)
        self._search()
        self._permitted()

    def _approve(self) -> None:
        """Somebody approves what is held of the deals that are to be approved."""
        sandbox = self._sandbox
        approvals = []
        for id in (id for customer in self._customers for id in customer.approves):
            record = sandbox.provisioning(id) or {}
            if record.get("Approval_ID__c"):
                approval = {"opportunityId": id, "approval": record["Approval_ID__c"]}
                approvals.append({"organizationId": sandbox.salesforce.organization_id, **approval})
        if approvals:
            answer = sandbox.post({"approvals": approvals}, path="/v1/approvals")
            assert answer.status_code == 202, answer.text
            told = Counter(one["status"] for one in answer.json()["results"])
            self._say(f"somebody approves {len(approvals)} reductions: {dict(told)}")
            self._must_rest("after approvals")

    def _must_rest(self, when: str) -> None:
        if not rest(self._sandbox, MOST_PASSES):
            for item, body in heads(self._sandbox):
                account = item["pk"]["S"].partition("#")[2]
                due = f"{body['look_again_at']} {body['due_at']}"
                self.judge.violate("rest", account, f"is still due {when}: {due}")

    def _reconcile(self) -> None:
        sandbox = self._sandbox
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
        self._say(f"it found {', '.join(told) or 'nothing'}")
        if os.environ.get("PROOF_DEBUG"):
            for one in self.findings:
                print("   ", one["kind"], one["opportunity_id"], one["words"], one["should"], "|", one["is_now"])

    def _search(self) -> None:
        """What was planted is nowhere but where it belongs."""
        lines = canaries.search(self._sandbox, self._canaries)
        for line in lines:
            if not line.met:
                self.judge.violate("told", "-", f"{line.what}: {line.measured}")
        self.tally["places"] += len(lines)
        self.tally["canaries"] += len(self._canaries.secret) + len(self._canaries.personal)

    def _permitted(self) -> None:
        """The functions call AWS only as their policies let them, whatever goes wrong. moto asks none."""
        made = self._sandbox.aws.calls.made()
        for call in not_allowed(made, Roles(self._sandbox.aws).grants()):
            self.judge.violate("permission", "-", f"{call.caller} called {call.action} on {call.resource} {call.key}")
        self.tally["calls of AWS"] += sum(made.values())

    def _note(self) -> None:
        """What was disturbed, while faults last. The exchanges so far are counted once."""
        for server in (self._sandbox.stigg_server, self._sandbox.salesforce_server):
            seen = self._noted[server.url]
            exchanges = server.exchanges[seen:]
            self._noted[server.url] = seen + len(exchanges)
            self.tally["calls"] += len(exchanges)
            self.tally["disturbed"] += sum(bool(exchange.fault) for exchange in exchanges)
            self.tally.update(f"fault {exchange.fault}" for exchange in exchanges if exchange.fault)

    def _count(self) -> None:
        self.tally["deals"] += sum(len(each.newest) for each in self._customers)
        self.tally["saves"] += self._seller.saves
        self.tally["calls to Stigg"] += len(self._sandbox.stigg_server.exchanges)
        told = self._sandbox.stigg.events.sent
        self.tally.update(f"events {one.outcome}" for one in told)
        self.tally["events"] += len(told)
        self.tally.update(self.judge.counts)
        self.tally.update(self._trouble.counts)


def _nothing() -> None:
    """Nothing happens."""
