"""EventBridge Scheduler on one machine: runs the template's schedules by the clock, or one of them on demand."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any

from sandbox.aws.lambdas import Functions
from sandbox.aws.runtime import Outcome

_UNITS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}


class Scheduler:
    """In: logical ID -> properties of the AWS::Scheduler::Schedule, and what they invoke.

    A schedule invokes its function asynchronously, so the function's own retries and failure queue apply. What cannot
    be handed over at all (no such function) goes to the schedule's dead-letter queue.
    """

    def __init__(
        self,
        schedules: Mapping[str, Mapping[str, Any]],
        functions: Functions,
        send_message: Callable[[str, str], None],
        account: str,
        region: str,
    ) -> None:
        self._schedules = dict(schedules)
        self._functions = functions
        self._send_message = send_message
        self._account, self._region = account, region
        self._stopped = threading.Event()

    def run(self, logical_id: str) -> Outcome:
        """Do now what the schedule does at its time, and wait for it, retries included. Raises KeyError."""
        return self._deliver(self._schedules[logical_id]).result()

    def start(self, every: float | None = None) -> None:
        """Run all schedules by the clock, at their own rate or (for a demonstration) `every` so many seconds.

        Only rate(...) expressions are kept by the clock; raises ValueError for another.
        """
        for logical_id, properties in self._schedules.items():
            seconds = every if every is not None else rate_seconds(properties["ScheduleExpression"])
            threading.Thread(
                target=self._repeat, args=(properties, seconds), daemon=True, name=f"schedule {logical_id}"
            ).start()

    def stop(self) -> None:
        self._stopped.set()

    def _repeat(self, properties: Mapping[str, Any], seconds: float) -> None:
        while not self._stopped.wait(seconds):
            self._deliver(properties)

    def _deliver(self, properties: Mapping[str, Any]) -> Future[Outcome]:
        target = properties["Target"]
        event = target.get("Input") or json.dumps(self._default_event(properties))
        try:
            return self._functions.call_later(target["Arn"], event.encode())
        except KeyError:
            failed: Future[Outcome] = Future()
            failed.set_result(Outcome.failed("Scheduler.TargetNotFound", "the schedule's target is no function"))
            if queue := target.get("DeadLetterConfig", {}).get("Arn"):
                self._send_message(queue, event)
            return failed

    def _default_event(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        name, group = properties.get("Name", ""), properties.get("GroupName", "default")
        return {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": self._account,
            "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "region": self._region,
            "resources": [f"arn:aws:scheduler:{self._region}:{self._account}:schedule/{group}/{name}"],
            "detail": "{}",
        }


def rate_seconds(expression: str) -> float:
    """``rate(5 minutes)`` in seconds. Raises ValueError for cron(...) and at(...)."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if not match:
        raise ValueError(f"the sandbox's clock keeps only rate(...), not {expression}")
    return int(match.group(1)) * _UNITS[match.group(2)]
