"""Metrics: noted where a value is known, written to the log for CloudWatch at the end of an invocation.

CloudWatch reads metrics from the log (embedded metric format), so a metric costs no call. Code anywhere in the package
calls `note`; a function's handler is wrapped in `emitted`, which writes what was noted, also when the handler fails.
Elsewhere, as in an operator's terminal, nothing is ever written.

Powertools can do this too. It would add a dimension to every metric, and 80 ms to the authorizer's start, which imports
nothing else of it. There are no personal data in here: dimensions are taken from short lists and class names.

Source: "Specification: Embedded metric format" (Amazon CloudWatch User Guide).
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Literal, NamedTuple, ParamSpec, TypeVar

NAMESPACE = "ClosedWon"

P = ParamSpec("P")
T = TypeVar("T")


class Metric(NamedTuple):
    """unit: CloudWatch's word for it; by: its dimensions besides Stack; may_by: one that some values have, others not.

    Of an invocation's values, a count emits the sum, a level the highest, and a duration each single one.
    """

    unit: Literal["Count", "Seconds", "Percent", "None"]
    by: tuple[str, ...] = ()
    may_by: str = ""


METRICS: dict[str, Metric] = {
    # deals
    "Deals": Metric("Count", ("Status",)),  # deals whose status changed to this one
    "DealsByCode": Metric("Count", ("Code",)),  # deals that became held or failed, by the code of the reason
    "Held": Metric("Count", ("For",)),  # deals that became held: for Approval, or until something is Changed
    "SecondsToProvisioned": Metric("Seconds"),  # from the deal's revision in Salesforce to its first Provisioned
    "Failures": Metric("Count", ("Cause",)),  # executions that failed, by the error's class; DealRefused too
    # events
    "StiggEvents": Metric("Count", ("Became",)),  # events of Stigg, by what became of them (`provisioning.hearing`)
    "StiggDiffers": Metric("Count"),  # looks after an event that found something changed in Stigg by others
    # pace
    "Due": Metric("Count"),  # customers that were due when the sweep looked; it looks at no more than it starts
    "OldestDueSeconds": Metric("Seconds"),  # how long the one that waits longest has been due
    "Throttled": Metric("Count", ("System",)),  # answers with HTTP 429
    "GovernorWaits": Metric("Count"),  # writes to Stigg that had to wait for their rate slot
    "StiggReserved": Metric("Count", ("Kind",)),  # requests to Stigg by kind, as its limits count them
    "SalesforceApiUsedPercent": Metric("Percent"),  # of the organisation's API calls of 24 hours, whoever used them
    # who may
    "Denied": Metric("Count", ("Reason",)),  # requests the authorizer turned away; API Gateway keeps its answer
    "SecretAgeDays": Metric("None", ("Secret",)),  # days since somebody changed the secret
    # reconciliation
    "RunsGood": Metric("Count", ("Mode",)),  # 1 for a run that the next one may go on from, else 0
    "RunsAsking": Metric("Count"),  # 1 for a run that asks before it repairs, else 0
    "DriftFound": Metric("Count", may_by="Kind"),
    "DriftRepaired": Metric("Count"),
    "DriftNeedsPerson": Metric("Count"),
    "CustomersCompared": Metric("Count"),
    "PartitionsFailed": Metric("Count"),
    "RunSeconds": Metric("Seconds"),
}
"""All there are, by name. What alarms and the dashboard show is among them, and a test sees each one emitted."""

MOST_VALUES = 100
"""The most values of one metric in one line, by the specification."""


class Noted(NamedTuple):
    """One value that was noted. by: its dimensions besides Stack, in the order in which `METRICS` has them."""

    name: str
    value: float
    by: tuple[tuple[str, str], ...]


_noted: deque[Noted] = deque(maxlen=10_000)  # bounded: elsewhere than in a function nobody takes them out


def note(name: str, value: float = 1, **by: str) -> None:
    """Note a value of one of `METRICS`, with its dimensions. Safe to call from several threads."""
    metric = METRICS[name]
    names = (*metric.by, metric.may_by) if metric.may_by in by else metric.by
    if set(by) != set(names):
        raise ValueError(f"{name} has the dimensions {names}")
    _noted.append(Noted(name, value, tuple((dimension, by[dimension]) for dimension in names)))


def take() -> list[Noted]:
    """What was noted since the last time."""
    found = []
    while _noted:
        found.append(_noted.popleft())  # one by one: threads may note between a copy and a clear
    return found


def lines(noted: Iterable[Noted], stack: str, at: int) -> Iterator[str]:
    """The lines that CloudWatch reads: one of JSON for each combination of dimensions, more where there are many
    values.

    In: what was noted; the stack's name; when, in epoch milliseconds.
    """
    found: dict[tuple[tuple[str, str], ...], dict[str, list[float]]] = {}
    for name, value, by in noted:
        found.setdefault(by, {}).setdefault(name, []).append(value)
    for by, named in found.items():
        values = {name: _emitted_values(name, some) for name, some in named.items()}
        while values:
            yield _line({"Stack": stack, **dict(by)}, {name: some[:MOST_VALUES] for name, some in values.items()}, at)
            values = {name: some[MOST_VALUES:] for name, some in values.items() if len(some) > MOST_VALUES}


def _emitted_values(name: str, values: list[float]) -> list[float]:
    match METRICS[name].unit:
        case "Count":
            return [sum(values)]
        case "Seconds":
            return values
        case "Percent" | "None":
            return [max(values)]


def _line(dimensions: dict[str, str], values: dict[str, list[float]], at: int) -> str:
    about = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": METRICS[name].unit} for name in values],
    }
    members = {name: some[0] if len(some) == 1 else some for name, some in values.items()}
    line = {"_aws": {"Timestamp": at, "CloudWatchMetrics": [about]}, **dimensions, **members}
    return json.dumps(line, separators=(",", ":"))


def emit() -> None:
    """Write what was noted to the log."""
    if noted := take():
        for line in lines(noted, os.environ.get("STACK_NAME", "closed-won"), time.time_ns() // 1_000_000):
            # Not by the logger, which would wrap it: CloudWatch takes metrics only from a line of this very form.
            print(line, flush=True)


def emitted(handler: Callable[P, T]) -> Callable[P, T]:
    """A function's handler that writes the metrics noted while it ran, also when it fails."""

    @wraps(handler)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        finally:
            emit()

    return wrapped


def percent(used: float, most: float) -> float:
    """How much of a limit is used, to a tenth; all of it where there is none to use."""
    return round(100 * used / most, 1) if most else 100.0
