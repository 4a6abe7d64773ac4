"""What the processes share that `benchmarks.contract` starts: the question in, the times out.

Here nothing of closed-won is imported: which version is measured is a matter of the path.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

CUSTOMER, ACCOUNT, ORGANIZATION = "northwind", "0015g00000XyZaBAAV", "00D5g000004xYzAEAU"
SALESFORCE = "https://northwind.my.salesforce.com"

LONG = 2.0
"""Seconds after which once is enough."""

Json = dict[str, Any]


def answer(work_of: Callable[[Json], Callable[[], Json]]) -> None:
    """Answer one question, on standard output.

    The question: catalogue (a snapshot as the ledger keeps it), deals (as the callout sends them), now (epoch
    milliseconds), rounds. work_of: prepares it. Out: what the work said, and `seconds`, the least of CPU.
    """
    question = json.load(sys.stdin)
    work = work_of(question)
    times: list[float] = []
    told: Json = {}
    while len(times) < question["rounds"] and max(times, default=0) < LONG:
        gc.collect()
        begun = time.process_time()
        told = work()
        times.append(time.process_time() - begun)
    print(json.dumps({**told, "seconds": min(times)}))


def told(subscriptions: Mapping[Any, Any], waiting: Iterable[str]) -> Json:
    """What should stand, and the deals that wait, in words that every version has."""
    return {
        "stands": {
            slot.key: {**dict(one.addons), **{entitlement.id: entitlement.limit for entitlement in one.entitlements}}
            for slot, one in subscriptions.items()
        },
        "waiting": sorted(waiting),
    }
