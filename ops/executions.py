"""Executions in Step Functions: how they ended, which states they entered, what went wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from closedwon.domain.errors import safe_text
from closedwon.domain.instants import iso_utc
from closedwon.domain.links import execution_url

FAILURES = ("FAILED", "TIMED_OUT", "ABORTED")
"""The statuses of what did not end well."""

STATUSES = (*FAILURES, "RUNNING", "SUCCEEDED")
"""Every status there is, in the order in which an operator wants to see them."""

NAME = re.compile(r"(006[A-Za-z0-9]{15})-\d{8}T\d{9}Z-\d+")
"""A provisioning's name: see `closedwon.domain.due.execution_name`."""

Json = dict[str, Any]


def opportunity_of(name: str) -> str | None:
    """The opportunity in a provisioning's name; None where it is no such name."""
    found = NAME.fullmatch(name)
    return found[1] if found else None


@dataclass(frozen=True)
class Execution:
    """An execution. status: Step Functions' ("FORGOTTEN" for one that is not kept any more). error, cause: of one that
    failed, where it was described; input, output: likewise.
    """

    arn: str
    status: str
    started: datetime | None = None
    stopped: datetime | None = None
    error: str = ""
    cause: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.arn.rpartition(":")[2]

    @property
    def failed(self) -> bool:
        return self.status in FAILURES

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        return (self.stopped - self.started).total_seconds() if self.started and self.stopped else None

    @property
    def account_id(self) -> str:
        """The customer's account, "" where its input was not read."""
        return str(self.input.get("accountId", ""))

    def to_json(self) -> Json:
        return {
            "name": self.name,
            "arn": self.arn,
            "url": execution_url(self.arn),
            "status": self.status,
            "startedAt": self.started and iso_utc(self.started),
            "stoppedAt": self.stopped and iso_utc(self.stopped),
            "seconds": self.seconds,
            "error": self.error,
            "cause": self.cause,
        }


@dataclass
class Step:
    """A state that an execution entered. tries: how often its function was called; errors: of the tries that failed."""

    state: str
    entered: datetime
    left: datetime | None = None
    tries: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)

    def to_json(self) -> Json:
        return {
            "state": self.state,
            "enteredAt": iso_utc(self.entered),
            "seconds": (self.left - self.entered).total_seconds() if self.left else None,
            "tries": self.tries,
            "errors": [{"error": error, "cause": cause} for error, cause in self.errors],
        }


class Executions:
    """The executions of one state machine. In: a boto3 Step Functions client; the state machine's ARN."""

    def __init__(self, client: Any, state_machine: str) -> None:
        self._client = client
        self.state_machine = state_machine

    def arn(self, name: str) -> str:
        # An ARN follows from the name, so that no listing is needed to find an execution.
        return f"{self.state_machine.replace(':stateMachine:', ':execution:')}:{name}"

    def describe(self, arn: str) -> Execution:
        """An execution, by its ARN."""
        try:
            found = self._client.describe_execution(executionArn=arn)
        except self._client.exceptions.ExecutionDoesNotExist:
            # Step Functions keeps executions for 90 days, and answers the same of one that never began.
            return Execution(arn, "FORGOTTEN")
        return Execution(
            arn,
            found["status"],
            found["startDate"],
            found.get("stopDate"),
            found.get("error", ""),
            said(found.get("cause", "")),
            _object(found.get("input")),
            _object(found.get("output")),
        )

    def listed(self, status: str) -> Iterator[Execution]:
        """The executions of one status, newest first, as they are listed: without error and input."""
        # One listing filters by one status.
        wanted = {"stateMachineArn": self.state_machine, "statusFilter": status}
        for page in self._client.get_paginator("list_executions").paginate(**wanted):
            for one in page["executions"]:
                yield Execution(one["executionArn"], one["status"], one["startDate"], one.get("stopDate"))

    def since(self, status: str, since: datetime) -> Iterator[Execution]:
        """Those of one status that were started since then, newest first."""
        for one in self.listed(status):
            if one.started is not None and one.started < since:  # newest first: no later one can match
                return
            yield one

    def steps(self, arn: str) -> list[Step]:
        """What an execution went through; nothing where Step Functions has forgotten it."""
        steps: list[Step] = []
        try:
            for event in self._events(arn):
                _note(steps, event)
        except self._client.exceptions.ExecutionDoesNotExist:
            return []
        return steps

    def _events(self, arn: str) -> Iterator[Json]:
        # Without the states' inputs and outputs, which may be large and are not told.
        pages = self._client.get_paginator("get_execution_history").paginate(
            executionArn=arn, includeExecutionData=False
        )
        for page in pages:
            yield from page["events"]


def _note(steps: list[Step], event: Json) -> None:
    """One event of an execution's history: it begins a step, or belongs to the last one."""
    kind, at = event["type"], event["timestamp"]
    if kind.endswith("StateEntered"):
        steps.append(Step(event["stateEnteredEventDetails"]["name"], at))
    elif not steps:  # ExecutionStarted comes before the first state
        return
    # Before the test for failed tries: the end of an execution has the same suffixes, and is no try.
    elif kind.endswith("StateExited") or kind in ("ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"):
        steps[-1].left = steps[-1].left or at
    elif kind.endswith("Scheduled"):  # each retry is scheduled anew
        steps[-1].tries += 1
    elif kind.endswith(("Failed", "TimedOut")):
        # Each kind of event has its details under a name of its own, such as lambdaFunctionFailedEventDetails.
        details: Json = next((value for name, value in event.items() if name.endswith("EventDetails")), {})
        steps[-1].errors.append((details.get("error", ""), said(details.get("cause", ""))))
        steps[-1].left = at


def said(cause: str) -> str:
    """A cause as people read it: Lambda wraps a function's message into JSON, with a trace."""
    told = _object(cause).get("errorMessage", cause)
    # It may repeat what another system said, e-mail addresses too.
    return safe_text(told if isinstance(told, str) else cause)


def _object(text: str | None) -> Json:
    try:
        found = json.loads(text or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
