"""Load: thousands of invocations of the functions on a deal's path, whose memory, files and threads must not grow; and
bursts of deals, which must drain at their pace.

Each function has one process. Rounds go over a few customers: a revision, sent twice now and then; a deal that is
refused; a wrong key; Stigg that fails before or after it did something; a status, a preview, a sweep. No state machine
runs: the steps are invoked in its order, so that each is invoked as often as can be.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any, NamedTuple

from benchmarks import burst
from benchmarks.lines import Line
from closedwon.domain.instants import iso_utc
from integration.scenes import LIVE, SUBSCRIPTION, head, no_execution_starts, time_passes
from sandbox.aws.lambdas import FunctionError
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox
from sandbox.stand_in import FaultKind

Json = dict[str, Any]

PARAMETERS = {
    "WriteLifetimeSeconds": "1",
    "StiggWritesPerMinute": "1000000",  # how the limit is kept is the bursts' matter
    "StiggListsPerMinute": "1000000",
}

PATH = (
    "AuthorizerFunction",
    "FlowCalloutFunction",
    "PreviewFunction",
    "CustomerProvisionFunction",
    "SubscriptionProvisionFunction",
    "AccountWriteBackFunction",
    "SweepFunction",
)
FAULTS: tuple[FaultKind, ...] = ("drop_before", "drop_after", "answer")
CUSTOMERS = 20
ROUNDS = 925
"""A round invokes eleven functions or so: 10,000 together."""

SAMPLES = 25
"""How often the processes are looked at. The first fifth warms up."""

MOST_GROWTH = 1.03
"""From the second fifth of the invocations to the last: what Python's allocator does by itself."""


class Seen(NamedTuple):
    """A process at a moment. memory: bytes that are its own; files, threads: how many it has."""

    memory: int
    files: int
    threads: int


class Judged(NamedTuple):
    """What became of a process. growth: of its memory, a ratio; megabytes: the same; files, threads: how many more."""

    growth: float
    megabytes: float
    files: int
    threads: int

    @property
    def flat(self) -> bool:
        return self.growth <= MOST_GROWTH and self.files <= 0 and self.threads <= 0


def judged(seen: Sequence[Seen]) -> Judged:
    """In: a process at even distances, from its first invocation to its last."""
    fifth = max(1, len(seen) // 5)
    early, late = seen[fifth : 2 * fifth], seen[-fifth:]
    before, after = (statistics.median(one.memory for one in part) for part in (early, late))
    return Judged(
        after / before,
        (after - before) / 1e6,
        min(one.files for one in late) - max(one.files for one in early),
        min(one.threads for one in late) - max(one.threads for one in early),
    )


def look(pid: int) -> Seen:
    """Linux only."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    memory = sum(1024 * int(told[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))
    return Seen(memory, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))


class Load:
    """The rounds; several may run at once. invoked: how often each function was; errors: how often each was raised."""

    def __init__(self, sandbox: Sandbox, seed: int) -> None:
        self.sandbox = sandbox
        self.random = Random(seed)
        self.invoked: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.lock = Lock()
        self.began = datetime.now(UTC) - timedelta(days=2)  # a deal's times are not ahead of the clock
        self.seats: dict[str, int] = {}
        self.deals = [self.customer(number) for number in range(CUSTOMERS)]
        self.refused = self.customer(CUSTOMERS)
        self.refused["lines"][0]["quantity"] = 2.5

    def customer(self, number: int) -> Json:
        account = self.sandbox.sales.account(f"Customer {number}")
        sold = Sold("plan-enterprise", price=48_000), Sold("feature-seats", 10)
        return self.sandbox.deal(self.sandbox.sales.close(account, "A deal", *sold))

    def invoke(self, function: str, event: Any) -> Any:
        """Out: its answer, None where it ended with an error (which is counted, by its name)."""
        try:
            return self.sandbox.aws.functions.invoke(function, event)
        except FunctionError as error:
            with self.lock:
                self.errors[error.error_type] += 1
            return None
        finally:
            with self.lock:
                self.invoked[function] += 1

    def request(self, method: str, path: str, body: Any = None, **parameters: str) -> Json:
        """A request as API Gateway hands it to a function."""
        return {
            "resource": path,
            "path": path,
            "httpMethod": method,
            "headers": {"content-type": "application/json"},
            "pathParameters": parameters or None,
            "queryStringParameters": None,
            "requestContext": {"requestId": "load", "identity": {}, "httpMethod": method, "resourcePath": path},
            "body": None if body is None else json.dumps(body),
            "isBase64Encoded": False,
        }

    def round(self, number: int) -> None:
        deal = self.deals[number % CUSTOMERS]
        id, account = deal["opportunity"]["id"], deal["account"]["id"]
        for key in (self.sandbox.callout_key, self.sandbox.callout_key, "wrong"):
            method = "arn:aws:execute-api:us-east-1:123456789012:abcdef1234/callout/POST/v1/provisionings"
            self.invoke("AuthorizerFunction", {"type": "TOKEN", "authorizationToken": key, "methodArn": method})
        self.revise(deal, number)
        execution = f"load-{number}"
        sent = [deal] if number % 5 else [deal, deal]
        for deals in ([one] for one in sent):
            self.invoke("FlowCalloutFunction", self.request("POST", "/v1/provisionings", {"deals": deals}))
        if number % 7 == 0:
            body = {"deals": [{**self.refused, "terms": {"coupon": f"coupon-{number}"}}]}
            self.invoke("FlowCalloutFunction", self.request("POST", "/v1/provisionings", body))
        if number % 11 == 0:
            kind = self.random.choice(FAULTS)
            self.sandbox.stigg_server.fail(kind, "PATCH", SUBSCRIPTION, about=account, status=500)
        self.provision(account, execution)
        for _ in range(2):
            path = "/v1/provisionings/{opportunityId}"
            self.invoke("FlowCalloutFunction", self.request("GET", path, opportunityId=id))
        if number % 2:
            self.invoke("PreviewFunction", self.request("POST", "/v1/previews", {"deals": [deal]}))
        self.invoke("SweepFunction", {})
        self.sandbox.stigg_server.exchanges.clear()  # what stand-ins and moto keep is not what is judged
        self.sandbox.salesforce_server.exchanges.clear()
        for lines in self.sandbox.aws.functions.logs.values():
            lines.clear()

    def revise(self, deal: Json, number: int) -> None:
        self.seats[deal["account"]["id"]] = seats = 10 + number
        [line] = [line for line in deal["lines"] if line["stiggId"] == "feature-seats"]
        line["quantity"] = seats
        stamp = iso_utc(self.began + timedelta(seconds=number))
        deal["opportunity"] |= {"systemModstamp": stamp, "readAt": stamp}

    def provision(self, account: str, execution: str) -> None:
        """The steps, as the state machine would invoke them; a passing error is retried once, as it would."""
        given: Any = {"accountId": account, "token": 0}
        for function in PATH[3:6]:
            event = {"accountId": account, "token": given["token"], "execution": execution, "executionArn": execution}
            given = self.invoke(function, event) or self.invoke(function, event)
            if given is None or given.get("work") == "none":
                return
            if given.get("work") == "write_back" and function == PATH[3]:
                event["token"] = given["token"]
                self.invoke(PATH[5], event)
                return

    def processes(self) -> Iterator[tuple[str, int]]:
        for function in PATH:
            for process in self.sandbox.aws.functions.find(function).processes:
                if process.alive:
                    yield function, process._process.pid

    def stale(self) -> list[str]:
        """Customers that do not have what was sold last."""
        found = []
        for account, seats in self.seats.items():
            live = [s for s in self.sandbox.stigg.subscriptions(account) if s["status"] in LIVE]
            held = [e.get("usageLimit") for s in live for e in s["entitlements"] if e["id"] == "feature-seats"]
            if held != [seats]:
                found.append(f"{account} has {held}, not {seats}")
        return found


def endure(sandbox: Sandbox, seed: int, rounds: int) -> tuple[Load, Mapping[str, list[Seen]]]:
    """Out: what was done, and each function's process at even distances."""
    load = Load(sandbox, seed)
    seen: dict[str, list[Seen]] = defaultdict(list)
    with no_execution_starts(), ThreadPoolExecutor(2) as workers:
        for sample in range(SAMPLES):
            list(workers.map(load.round, range(rounds * sample // SAMPLES, rounds * (sample + 1) // SAMPLES)))
            for function, pid in load.processes():
                seen[function].append(look(pid))
            print(f"  {load.invoked.total():,} invocations", flush=True)
    for _ in range(3):  # what failed is tried again, as always
        time_passes(sandbox, *(account for account in load.seats if "due_at" in head(sandbox, account)[0]))
        sandbox.aws.run_schedule("SweepFunctionSchedule")
        sandbox.wait_until_idle()
    return load, seen


def run(seed: int, long: bool) -> list[Line]:
    """At full size each function is invoked 10,000 times; else all together so often."""
    with Sandbox(PARAMETERS, wait_scale=0.04, longest_invocation=20, rate_limits=False, concurrency=1) as sandbox:
        load, seen = endure(sandbox, seed, rounds=10_000 if long else ROUNDS)
        cold = {function: sandbox.aws.functions.cold_starts(function) for function in PATH}
        stale = load.stale()
    invocations = load.invoked.total()
    print(f"  errors on the way: {dict(load.errors)}")
    found = {function: judged(samples) for function, samples in seen.items()}
    for function, one in found.items():
        print(
            f"  {function:<30} {load.invoked[function]:>6,} invocations, memory {one.growth:.3f} "
            f"({one.megabytes:+.1f} MB), files {one.files:+d}, threads {one.threads:+d}"
        )
    worst = max(found, key=lambda function: found[function].growth)
    lines = [
        Line(
            f"memory of {len(found)} functions over {invocations:,} invocations, of the one that grows most",
            f"{found[worst].growth:.3f} ({worst}, {found[worst].megabytes:+.1f} MB)",
            f"<= {MOST_GROWTH}",
            len(found) == len(PATH) and found[worst].growth <= MOST_GROWTH,
        ),
        Line(
            "  open files and threads that they gained",
            str(sum(max(0, one.files) + max(0, one.threads) for one in found.values())),
            "0",
            all(one.files <= 0 and one.threads <= 0 for one in found.values()),
        ),
        Line("  processes that died", str(sum(cold.values()) - len(PATH)), "0", set(cold.values()) == {1}),
        Line("  customers that ended without what was sold last", str(len(stale)), "0", not stale),
    ]
    for words in stale:
        print(f"  {words}")
    return [*lines, *bursts(long)]


def bursts(long: bool) -> list[Line]:
    """Sustained and burst load through the governor: on a simulated clock; at full size in the sandbox too."""
    drained = burst.drain()
    lines = [
        Line(
            "a burst of 5,000 deals with 1,000 repairs, share of its pace",
            f"{drained.share:.1%}",
            ">= 95%",
            drained.share >= 0.95,
        ),
        Line("  answered 429", f"{drained.throttled:.2%}", "< 1%", drained.throttled < 0.01),
        Line("  deals lost or failed", str(drained.lost), "0", drained.lost == 0),
    ]
    if long:
        real = burst.real()
        done = real.provisioned == burst.REAL_DEALS and real.throttled == 0
        lines.append(
            Line(
                f"a burst of {burst.REAL_DEALS} in the sandbox, its limits scaled by {burst.REAL_SCALE}",
                f"{real.provisioned} provisioned, {real.throttled} answered 429",
                f"{burst.REAL_DEALS}, 0",
                done,
            )
        )
    return lines
