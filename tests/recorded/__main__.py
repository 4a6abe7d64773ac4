"""Records the ledger: sells to all customers on running sandboxes, and keeps what there is then as test data.

``python -m recorded [stack ...]`` writes tests/data/ledger-<commit>/; see the README there. What the product says of
what was recorded is taken from the recording played (`played`), and compared with what the running system said.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path

os.environ["POWERTOOLS_LOG_LEVEL"] = "CRITICAL"  # before the product's loggers are made: they would tell of every step

from integration.conftest import PARAMETERS
from integration.terminal import Operator
from recorded import others
from recorded.files import DATA, Json, Recording, plain_items, write
from recorded.held import STACK as HELD
from recorded.keep import STACK as KEEP
from recorded.played import finding_of, played
from recorded.readme import readme
from recorded.shop import TRIAL_STAGE, Shop, Stack, Story
from sandbox.sandbox import ROOT, Sandbox

STACKS = [KEEP, HELD, *others.STACKS]

COMMON = {
    **PARAMETERS,
    "LogLevel": "INFO",
    "TrialStages": TRIAL_STAGE,
    "StiggAppUrl": "https://app.stigg.example/recorded",
}


def main(names: list[str]) -> int:
    commit = commit_of("functions", "layers", "statemachines", "template.yaml")
    folder = DATA / f"ledger-{commit}"
    told = 0
    for stack in STACKS:
        if names and stack.name not in names:
            continue
        begun = time.monotonic()
        recording, said = record(stack, commit)
        write(folder / stack.name, recording)  # whatever becomes of the rest
        with redirect_stdout(io.StringIO()):  # the product prints its metrics
            look(recording)
        write(folder / stack.name, recording)
        print(f"{stack.name}: {len(recording.customers)} customers, {time.monotonic() - begun:.0f} s", flush=True)
        missing = {customer.name for customer in stack.customers} - {one["name"] for one in recording.customers}
        for complaint in [*(f"{name} is missing" for name in sorted(missing)), *compare(recording, said)]:
            print(f"  {complaint}", flush=True)
            told += 1
    (folder / "README.md").write_text(readme(folder, STACKS), encoding="utf-8")
    print(f"{folder.relative_to(ROOT)}: {told} complaints")
    return min(told, 1)


def commit_of(*paths: str) -> str:
    """The last commit that changed these."""
    command = ["git", "log", "-1", "--format=%h", "--abbrev=7", "--", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def look(recording: Recording) -> None:
    """Add what the product says of every customer, as it was recorded."""
    with played(recording) as stands:
        verdicts = stands.verdicts([one["account"] for one in recording.customers])
        for one in recording.customers:
            one |= {**stands.seen(one["account"]), "verdict": verdicts[one["account"]]}
        stands.put_back()
        for one in recording.customers:
            one["written"] = stands.run(one["account"])
        recording.again = stands.put_back().again()


def record(stack: Stack, commit: str) -> tuple[Recording, Json]:
    """Sell to a stack's customers. Out: what there is then; what the running system says of it."""
    since = f"{datetime.now(UTC).year}-01-01"
    parameters = {**COMMON, "DealsSince": since, **stack.parameters}
    with (
        tempfile.TemporaryDirectory() as folder,
        Sandbox(
            parameters,
            wait_scale=0.04,
            longest_invocation=5,
            rate_limits=False,
            own_application=stack.own_application,
        ) as sandbox,
    ):
        sandbox.aws.client("sns").create_topic(Name="notices")  # for the stack that has a NotificationTopic
        shop = Shop(sandbox, Operator(sandbox, Path(folder)))
        accounts = sell(stack, shop)
        if stack.reconciled:
            reconciled(sandbox)
        sandbox.wait_until_idle()
        at = time.time_ns() // 1_000_000
        table = sandbox.aws.resources["LedgerTable"]
        pages = sandbox.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table)
        recording = Recording(
            stack={
                "name": stack.name,
                "standsFor": stack.stands_for,
                "commit": commit,
                "at": at,
                "moment": datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds"),
                "parameters": dict(sandbox.aws.parameters),
                "ownApplication": stack.own_application,
            },
            ledger=plain_items(item for page in pages for item in page["Items"]),
            stigg=sandbox.stigg.kept(),
            salesforce=sandbox.salesforce.kept(),
            deals=shop.sent,
            customers=[
                {"name": c.name, "standsFor": c.stands_for, "account": accounts[c.name]}
                for c in stack.customers
                if c.name in accounts
            ],
        )
        opportunities = [deal["opportunity"]["id"] for deal in recording.newest]
        statuses = [sandbox.status(id) for id in opportunities]
        said: Json = {
            "statuses": {
                id: answer.json()
                for id, answer in zip(opportunities, statuses, strict=True)
                if answer.status_code == 200
            }
        }
        said["findings"] = reconciled(sandbox)
        answers = sandbox.call(*recording.newest).json()["results"]
        said["again"] = {answer["opportunityId"]: answer["status"] for answer in answers}
        with suppress(TimeoutError):
            sandbox.wait_until_idle(30)
        return recording, said


def sell(stack: Stack, shop: Shop) -> dict[str, str]:
    """Tell every customer's story, in parts: all first parts, then the second ones after a while, then the last.

    Out: the customers' accounts, by name.
    """
    stories: list[tuple[str, Iterator[None] | None, Story]] = [(c.name, None, c.story) for c in stack.customers]
    while stories:
        going_on: list[tuple[str, Iterator[None] | None, Story]] = []
        for name, parts, story in stories:
            shop.customer = name
            try:
                parts = parts or story(shop)
                if parts is not None:
                    next(parts)
                    going_on.append((name, parts, story))
            except StopIteration:
                continue
            except Exception:
                print(f"  {name} did not come out as told:", file=sys.stderr)
                traceback.print_exc(limit=-3)
        stories = going_on
        time.sleep(max(0.0, (shop.latest - datetime.now(UTC)).total_seconds() + 0.5))
        if stories:
            shop.sandbox.aws.run_schedule("SweepFunctionSchedule")
            shop.sandbox.wait_until_idle()
    found = shop.sandbox.salesforce.find("Account")
    by_name = {one["Name"]: one["Id"] for one in found}
    deleted = {sent["customer"]: sent["deal"]["account"]["id"] for sent in shop.sent if "account" in sent["deal"]}
    accounts = {c.name: by_name.get(c.name) or deleted.get(c.name, "") for c in stack.customers}
    return {name: account for name, account in accounts.items() if account}


def reconciled(sandbox: Sandbox) -> list[Json]:
    """What a deep run of the reconciliation finds."""
    stepfunctions = sandbox.aws.client("stepfunctions")
    given = {"mode": "all", "deep": True, "approved": False}
    arn = stepfunctions.start_execution(
        stateMachineArn=sandbox.aws.state_machine_arns["ReconcileStateMachine"], input=json.dumps(given)
    )["executionArn"]
    ended = sandbox.aws.wait_for_execution(arn, 180)
    assert ended["status"] == "SUCCEEDED", ended
    run = json.loads(ended["output"])["run"]["run"]
    s3, bucket = sandbox.aws.client("s3"), sandbox.aws.resources["ReconciliationBucket"]
    body = s3.get_object(Bucket=bucket, Key=f"runs/{run}/report/findings.jsonl")["Body"].read()
    return [json.loads(line) for line in body.decode().splitlines()]


def compare(recording: Recording, said: Json) -> list[str]:
    """Where the recording, played, says something else than the running system did."""
    found = []
    statuses = {id: status for one in recording.customers for id, status in one["deals"].items()}
    for id, status in said["statuses"].items():
        if statuses.get(id) != status:
            found.append(f"{id}: GET said {status}, and says {statuses.get(id)} when played")
    again = {id: answer["status"] for id, answer in recording.again["answers"].items()}
    if again != said["again"]:
        found.append(f"sent again: {said['again']} when it ran, {again} when played")
    for account, verdict in ((one["account"], one["verdict"]) for one in recording.customers):
        ran = [finding_of(one) for one in said["findings"] if one["account_id"] == account]
        if sorted(map(str, ran)) != sorted(map(str, verdict["findings"])):
            found.append(f"{account}: reconciliation found {ran}, and {verdict['findings']} when played")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
