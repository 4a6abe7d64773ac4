"""How a sandbox comes to rest: executions end, and the time passes that work waits for in the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from moto.stepfunctions.responses import get_backend

from closedwon.aws.ledger_items import text_of
from proof.shop import Json
from sandbox.sandbox import Sandbox

PATIENCE = 300.0
"""Seconds for what runs to end. Judges nothing: a machine may be busy."""


def running(sandbox: Sandbox) -> int:
    """How many executions run."""
    backend = get_backend(sandbox.aws.account, sandbox.aws.region)
    return sum(one.status == "RUNNING" for machine in backend.state_machines for one in list(machine.executions))


def settle(sandbox: Sandbox) -> None:
    """Wait until Stigg has told what it has to tell, and no execution runs."""
    sandbox.stigg.events.wait_until_told(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while running(sandbox):
        if time.monotonic() > deadline:
            raise TimeoutError("executions still run")
        time.sleep(0.1)


def heads(sandbox: Sandbox) -> Iterator[tuple[Json, Json]]:
    """The customers in the ledger for which something is due, now or later: the item, and its body."""
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    asked = {"KeyConditionExpression": "due = :due", "ExpressionAttributeValues": {":due": {"S": "DUE"}}}
    pages = dynamodb.get_paginator("query").paginate(TableName=table, IndexName="due", **asked)
    keys = [{name: item[name] for name in ("pk", "sk")} for page in pages for item in page["Items"]]
    for key in keys:
        item = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)["Item"]
        yield item, json.loads(text_of(item))


def rest(sandbox: Sandbox, passes: int) -> bool:
    """Let the time pass that work waits for, and the sweep start it, again and again. Out: whether all is quiet."""
    for _ in range(passes):
        settle(sandbox)
        if not _time_passes(sandbox):
            return True
        sandbox.aws.run_schedule("SweepFunctionSchedule")
    settle(sandbox)
    return False


def _time_passes(sandbox: Sandbox) -> int:
    """What waits has waited long enough, but for what a day to come brings. Out: for how many customers."""
    now = round(time.time() * 1000)
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    waiting = 0
    for item, body in heads(sandbox):
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
    return waiting
