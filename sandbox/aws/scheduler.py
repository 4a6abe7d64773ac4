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
    """In: logical ID -> properties of the AWS::Scheduler::Schedule, and what they invoke; start_execution starts an
    execution of a state machine (its ARN, its input), waits for its end and tells how it ended.

    A schedule invokes its function asynchronously, so the function's own retries and failure queue apply; it starts an
    execution of its state machine and waits for nothing. What cannot be handed over at all (no such function or state
    machine) goes to the schedule's dead-letter queue.
    """

    def __init__(
        self,
        schedules: Mapping[str, Mapping[str, Any]],
        functions: Functions,
        start_execution: Callable[[str, str], Future[Outcome]],
        send_message: Callable[[str, str], None],
        account: str,
        region: str,
    ) -> None:
        self._schedules = dict(schedules)
        self._functions = functions
        self._start_execution = start_execution
        self._send_message = send_message
        self._account, self._region = account, region
        self._stopped = threading.Event()

    def run(self, logical_id: str) -> Outcome:
        """Do now what the schedule does at its time, and wait for it, retries included: also one that is disabled, or
        that the clock does not keep. Raises KeyError.
        """
        return self._deliver(self._schedules[logical_id]).result()

    def start(self, every: float | None = None) -> None:
        """Run all enabled schedules of functions by the clock, at their own rate or (for a demonstration) `every` so
        many seconds. State machines run for as long as they need: they keep their own rate, and only cron(...)
        expressions, which the clock does not keep, wait for `run`. Raises ValueError for any other expression.
        """
        for logical_id, properties in self._schedules.items():
            if properties.get("State", "ENABLED") != "ENABLED" or properties["ScheduleExpression"].startswith("cron("):
                continue
            seconds = rate_seconds(properties["ScheduleExpression"])
            if every is not None and ":states:" not in properties["Target"]["Arn"]:
                seconds = every
            threading.Thread(
                target=self._repeat, args=(properties, seconds), daemon=True, name=f"schedule {logical_id}"
            ).start()

    def stop(self) -> None:
        self._stopped.set()

    def _repeat(self, properties: Mapping[str, Any], seconds: float) -> None:
        # The wait comes first: a rate counts from the moment its schedule was made.
        while not self._stopped.wait(seconds):
            self._deliver(properties)

    def _deliver(self, properties: Mapping[str, Any]) -> Future[Outcome]:
        target = properties["Target"]
        event = target.get("Input") or json.dumps(self._default_event(properties))
        try:
            if ":states:" in target["Arn"]:
                return self._start_execution(target["Arn"], event)
            return self._functions.call_later(target["Arn"], event.encode())
        except KeyError:
            failed: Future[Outcome] = Future()
            failed.set_result(Outcome.failed("Scheduler.TargetNotFound", "the schedule's target does not exist"))
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
            # A text, as EventBridge Scheduler sends it.
            "detail": "{}",
        }


def rate_seconds(expression: str) -> float:
    """``rate(5 minutes)`` in seconds. Raises ValueError for anything else."""
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if not match:
        raise ValueError(f"the sandbox's clock keeps only rate(...), not {expression}")
    return int(match.group(1)) * _UNITS[match.group(2)]
