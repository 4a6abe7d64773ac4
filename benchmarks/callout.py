"""Our own CPU for each deal of a full callout: flow_callout's handler, with AWS answering at once and for nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import statistics
import time
from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple, cast
from unittest import mock

from benchmarks.folders import ROOT
from benchmarks.table import MemoryTable
from benchmarks.world import World, proxy_event
from closedwon.aws.ledger import Ledger
from closedwon.domain.identifiers import normalised_id
from closedwon.stack import Stack
from closedwon.stigg.rate_limit import Booking

DEALS = 200
"""As many as one request takes."""


class Cost(NamedTuple):
    """CPU milliseconds for each deal, the median of the rounds: of as many accounts as deals, and of one account."""

    accounts: float
    one_account: float


class NotAccepted(Exception):
    """The callout did not accept what it was to be measured with."""


def measure(rounds: int) -> Cost:
    """Call the handler in this process. What counts: JSON, validation, mapping, the ledger's rules, threads, logs."""
    with World() as world:
        scene = world.reset()
        environment = world.environment("flow_callout")
    with mock.patch.dict(os.environ, environment, clear=True), contextlib.redirect_stdout(io.StringIO()):
        app = _handler()
        several = [_one(app, scene.deal, one_account=False) for _ in range(rounds + 1)][1:]
        one = [_one(app, scene.deal, one_account=True) for _ in range(rounds + 1)][1:]
    return Cost(statistics.median(several), statistics.median(one))


def _handler() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measured_callout", ROOT / "functions" / "flow_callout" / "app.py")
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app


def _one(app: ModuleType, deal: Mapping[str, Any], *, one_account: bool) -> float:
    deals = [_numbered(deal, number, one_account) for number in range(DEALS)]
    event = proxy_event({"deals": deals})
    stack = Stack()
    stack.ledger = Ledger("ledger", MemoryTable())
    rate_slots = SimpleNamespace(
        book=lambda needs: Booking(dict.fromkeys(needs, 0), needs, 0), give_back=lambda booking, used: None
    )
    stack.start, stack.governor = cast(Any, lambda claim: None), cast(Any, rate_slots)
    before = time.process_time()
    answer = app.lambda_handler(event, SimpleNamespace(), stack)
    spent = time.process_time() - before
    if answer["statusCode"] != 202 or answer["body"].count('"accepted"') != DEALS:
        raise NotAccepted(answer["body"][:500])
    return 1000 * spent / DEALS


def _numbered(deal: Mapping[str, Any], number: int, one_account: bool) -> dict[str, Any]:
    """A deal of its own opportunity."""
    account = dict(deal["account"])
    if not one_account:
        account["id"] = normalised_id(f"0015g{number:010d}")
    return {
        **deal,
        "opportunity": {**deal["opportunity"], "id": normalised_id(f"0065g{number:010d}")},
        "account": account,
    }
