"""The guarantees G1 to G8 (docs/decisions.md), each by what would break it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from typing import Any

import pytest

from integration.scenes import (
    COMPOSITE,
    CUSTOMERS,
    ENTERPRISE,
    SUBSCRIPTION,
    SUBSCRIPTIONS,
    Json,
    access,
    addons,
    call,
    due,
    everything,
    executions,
    failures,
    head,
    limits,
    no_execution_starts,
    opportunity_of,
    provision,
    revised,
    seen,
    sell,
    shown,
    status,
    stigg_requests,
    stigg_writes,
    subscriptions,
    sweep,
    time_passes,
)
from sandbox.sales import Sold
from sandbox.sandbox import STIGG_INTEGRATION, Sandbox

# G1 once


def test_g1_the_same_order_sent_five_times_at_once_and_again_later_is_provisioned_once(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Northwind")
    deal = sell(sandbox, account)
    with ThreadPoolExecutor(5) as senders:
        results = list(senders.map(lambda _: call(sandbox, deal)[0], range(5)))
    sandbox.settle()
    assert sorted(result["status"] for result in results) == ["accepted", *["duplicate"] * 4]
    assert len({result["execution"] for result in results}) == 1

    asked = len(sandbox.stigg_server.exchanges), len(sandbox.salesforce_server.exchanges)
    again = sell(sandbox, account, name="unused")  # the flow reads the record again: other times, the same content
    again["opportunity"], again["lines"] = {**deal["opportunity"]}, deal["lines"]
    sandbox.salesforce.update("Opportunity", opportunity_of(deal), Description="a note that closed-won does not read")
    read_again = sandbox.deal(opportunity_of(deal))
    read_again["opportunity"]["systemModstamp"] = "2026-01-15T09:15:31.000Z"
    [result] = provision(sandbox, read_again)
    assert result["status"] in ("duplicate", "superseded")
    [result] = provision(sandbox, sandbox.deal(opportunity_of(deal)))
    assert result["status"] == "duplicate"
    assert (len(sandbox.stigg_server.exchanges), len(sandbox.salesforce_server.exchanges)) == asked

    assert len(sandbox.stigg.customers) == 1
    assert len(subscriptions(sandbox, account, live=False)) == 1
    assert stigg_requests(sandbox, "POST", CUSTOMERS) == stigg_requests(sandbox, "POST", SUBSCRIPTIONS) == 1
    assert len(sandbox.salesforce_server.asked("POST", COMPOSITE)) == 1
    assert [e["name"] for e in executions(sandbox)] == [results[0]["execution"]]
