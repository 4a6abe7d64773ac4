"""Reconciliation at real size: a whole organisation exported, joined, compared and reported, by the real state machine
and functions, against the stand-ins.

What is measured is work, not waiting: Stigg's limits are out of the way, and the waits of the state machine are nearly
so. moto's DynamoDB takes a time that grows with its table; so the ledger's copies are in no table but in the files of
DynamoDB's export, which is how a reconciliation of everything reads the ledger. Only customers with planted drift, who
are looked at live, are in the table too.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import organisation
from benchmarks.organisation import Organisation
from closedwon.salesforce.bulk import PAGE_RECORDS
from sandbox.sandbox import Sandbox, reach_loopback_directly
from sandbox.stand_in import Exchange
from sandbox.stigg.listing import MAX_LIMIT

Json = dict[str, Any]

SIZES = (10_000, 50_000, 250_000)
"""Deals."""

DRIFTS_OF_A_KIND = 25
WAIT_SCALE = 0.01
LONGEST = 7200
"""Seconds after which a run is given up."""

PARAMETERS = {
    "StiggWritesPerMinute": "1000000",
    "StiggListsPerMinute": "10000000",
    "StiggReadsPerMinute": "10000000",
    "DealsSince": "2020-01-01",
}

PHASES = ("Begin", "Export", "Compare", "Weigh", "Repair", "Report")

FUNCTIONS = (
    "ReconcileBeginFunction",
    "ExportSalesforceFunction",
    "ExportStiggFunction",
    "ExportLedgerFunction",
    "CompareFunction",
    "WeighFunction",
    "RepairFunction",
    "ReportFunction",
)


class NotReconciled(Exception):
    """A run did not end well, or did not find exactly what was planted."""


@dataclass(frozen=True)
class Calls:
    """What an export asked of one service. least: pages it takes at least; pages: of them; others: everything else."""

    least: int
    pages: int
    others: int

    @property
    def all(self) -> int:
        return self.pages + self.others


@dataclass(frozen=True)
class Worker:
    """One function's processes. peak: bytes of the largest; cpu: seconds of all."""

    peak: int
    cpu: float


@dataclass(frozen=True)
class Reconciled:
    """One run. seconds: by phase; stand_ins: CPU seconds of the process that is Salesforce, Stigg and AWS; live: calls
    that looked at suspects, and repaired.
    """

    there: Organisation
    seconds: Mapping[str, float]
    salesforce: Calls
    stigg: Calls
    live: int
    workers: Mapping[str, Worker]
    stand_ins: float
    objects: int
    findings: Mapping[str, int]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def measure(sizes: Sequence[int], progress: Callable[[str], None]) -> list[Reconciled]:
    """Reconcile organisations of so many deals, each in a process of its own: what one leaves in memory is not there
    for the next. Raises NotReconciled and NotConsistent.
    """
    spawn = multiprocessing.get_context("spawn")
    measured = []
    for deals in sizes:
        progress(f"reconcile: {deals:,} deals")
        with ProcessPoolExecutor(1, mp_context=spawn) as process:
            measured.append(process.submit(reconcile, deals).result())
    return measured


def reconcile(deals: int) -> Reconciled:
    """Reconcile everything, once."""
    reach_loopback_directly()
    with Sandbox(PARAMETERS, wait_scale=WAIT_SCALE, rate_limits=False, concurrency=2) as sandbox:
        there = organisation.fill(sandbox, deals, DRIFTS_OF_A_KIND)
        gc.collect()
        gc.freeze()  # the stand-ins hold millions of objects that nobody needs to look through again
        for server in (sandbox.salesforce_server, sandbox.stigg_server):
            server.exchanges.clear()
        cpu = time.process_time()
        started = sandbox.aws.client("stepfunctions").start_execution(
            stateMachineArn=sandbox.aws.state_machine_arns["ReconcileStateMachine"],
            input=json.dumps({"mode": "all", "deep": False, "approved": False}),
        )
        ended = sandbox.aws.wait_for_execution(started["executionArn"], LONGEST)
        cpu = time.process_time() - cpu
        if ended["status"] != "SUCCEEDED":
            raise NotReconciled(f"{deals:,} deals: {ended['status']}: {ended.get('error')} {ended.get('cause')}")
        seconds, exported = phases(sandbox.aws.history(started["executionArn"]))
        keys = _keys(sandbox)
        found = _found(sandbox, keys)
        _check(found, there, json.loads(_object(sandbox, keys, "report/summary.json")))
        salesforce = sandbox.salesforce_server.exchanges
        stigg = sandbox.stigg_server.exchanges
        export_of_salesforce = [one for one in salesforce if one.at <= exported]
        export_of_stigg = [one for one in stigg if one.at <= exported]
        live = len(salesforce) + len(stigg) - len(export_of_salesforce) - len(export_of_stigg)
        return Reconciled(
            there=there,
            seconds=seconds,
            salesforce=_calls(export_of_salesforce, "/results", _pages_of_salesforce(there)),
            stigg=_calls(export_of_stigg, "/subscriptions", -(-there.subscriptions // MAX_LIMIT)),
            live=live,
            workers={name: _worker(sandbox, name) for name in FUNCTIONS},
            stand_ins=cpu,
            objects=len(keys),
            findings=dict(Counter(kind for kind, _ in found.elements())),
        )


def _pages_of_salesforce(there: Organisation) -> int:
    shown = there.deals  # one Stigg Provisioning for each, less a few that are planted
    return sum(-(-records // PAGE_RECORDS) for records in (there.deals, there.lines, shown))


def _calls(exchanges: Sequence[Exchange], page: str, least: int) -> Calls:
    pages = sum(one.path.endswith(page) for one in exchanges)
    return Calls(least, pages, len(exchanges) - pages)


def phases(history: Iterable[Mapping[str, Any]]) -> tuple[dict[str, float], float]:
    """Seconds by phase, from when each was entered until the next was; and the moment when all was exported."""
    entered: list[tuple[str, datetime]] = []
    last = None
    for event in history:
        last = event["timestamp"]
        name = event.get("stateEnteredEventDetails", {}).get("name")
        if name in PHASES:
            entered.append((name, last))
    assert last is not None
    seconds = {name: (until - at).total_seconds() for (name, at), (_, until) in pairwise([*entered, ("", last)])}
    return seconds, dict(entered)["Compare"].timestamp()


def _worker(sandbox: Sandbox, name: str) -> Worker:
    """What the processes of a function took, which still live."""
    peak, cpu = 0, 0.0
    for process in sandbox.aws.functions.find(name).processes:
        pid = process._process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        peak = max(peak, 1024 * int(status.split("VmHWM:")[1].split()[0]))
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return Worker(peak, cpu)


def _keys(sandbox: Sandbox) -> list[str]:
    bucket = sandbox.aws.resources["ReconciliationBucket"]
    pages = sandbox.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]


def _object(sandbox: Sandbox, keys: Iterable[str], end: str) -> bytes:
    [key] = [key for key in keys if key.endswith(end)]
    bucket = sandbox.aws.resources["ReconciliationBucket"]
    body: bytes = sandbox.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def _found(sandbox: Sandbox, keys: Iterable[str]) -> Counter[tuple[str, str]]:
    lines = _object(sandbox, keys, "report/findings.jsonl").splitlines()
    return Counter((found["kind"], found["account_id"]) for found in map(json.loads, lines))


def _check(found: Counter[tuple[str, str]], there: Organisation, summary: Json) -> None:
    """Everything was looked at, and exactly what was planted was found. Raises NotReconciled."""
    missed, more = there.planted - found, found - there.planted
    if missed or more:
        raise NotReconciled(
            f"planted and not found: {len(missed)} {_some(missed)}; found and not planted: {len(more)} {_some(more)}"
        )
    deleted = sum(times for (kind, _), times in there.planted.items() if kind == "deleted_deal")
    wanted = there.customers, there.deals - deleted, there.subscriptions
    if (summary["customers"], summary["deals"], summary["subscriptions"]) != wanted or summary["unconfirmed"]:
        raise NotReconciled(f"not everything was compared: there is {wanted}, and the report says {summary}")


def _some(of: Counter[tuple[str, str]]) -> str:
    return str([" ".join(one) for one in list(of)[:5]])
