"""closed-won's functions in this process, in the order of their state machine, with a ledger in memory.

The state machine is the real definition: its tasks, choices, retries and catches. A wait takes no time: the clock is
moved. What the functions call (Stigg, Salesforce) is whatever is given.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any

import requests
import yaml

from closedwon.aws.ledger import Claim
from closedwon.stack import Stack
from closedwon.stigg.client import Stigg as StiggClient
from closedwon.stigg.rate_limit import Booking
from sandbox.clock import Clock
from sandbox.ledger import MemoryLedger
from sandbox.settings import ROOT

STIGG_URL, SALESFORCE_URL = "https://api.stigg.example", "https://northwind.my.salesforce.com"
INVOCATION = 60_000
"""Milliseconds that a function has."""


class FreeGovernor:
    """Lets everything go at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def rate_slots(self, count: int, horizon: int | None = None) -> tuple[int, ...]:
        return (self._clock(),) * count

    def book(self, needs: Mapping[str, int]) -> Booking:
        return Booking(dict.fromkeys(needs, self._clock()), needs, 0)

    def give_back(self, booking: Booking, used: Collection[str]) -> None:
        """None was taken."""

    def reserve(self, kind: str, count: int = 1) -> int:
        return self._clock()

    def wait(self, kind: str, count: int) -> None:
        """There is room."""

    def write(self, kind: str, entity: str) -> None:
        """There is room."""

    @contextmanager
    def ending_in(self, milliseconds: int) -> Iterator[None]:
        yield


class Secret:
    """A secret as clients read it."""

    def __init__(self, content: Mapping[str, str]) -> None:
        self.arn = "in-process"
        self._content = dict(content)

    def json(self, *required: str) -> dict[str, Any]:
        return self._content

    def value(self) -> str:
        return json.dumps(self._content)

    again = value


@dataclass
class Execution:
    """An execution of the state machine: the states it entered; the names of the errors its tasks met; how it ended."""

    name: str
    status: str = "RUNNING"
    states: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    output: Any = None


class Machine:
    """One stack in this process. Nothing runs by itself: what was started runs in `wait_until_idle`.

    In: the settings of its functions, as `settings.settings_of` gives them; a session to Stigg, and the key for it;
    the clients of Salesforce, patient and quick; the clock.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        to_stigg: requests.Session,
        stigg_api_key: str,
        salesforce: Any,
        quick_salesforce: Any,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self.ledger = MemoryLedger(clock)
        self.executions: list[Execution] = []
        self._names: set[str] = set()
        self._waiting: list[Claim] = []
        self._machine = _definition()
        stack: Any = Stack({**settings, "STIGG_API_URL": STIGG_URL, "SALESFORCE_URL": SALESFORCE_URL})
        key = Secret({"apiKey": stigg_api_key})
        stack.now = clock
        stack.ledger = self.ledger
        stack.governor = FreeGovernor(clock)
        stack.start = self._waiting.append
        stack.notifier = SimpleNamespace(notify=lambda *_: False)
        stack.stigg = StiggClient(STIGG_URL, key, session=to_stigg, governor=stack.governor)
        stack.quick_stigg = StiggClient(STIGG_URL, key, session=to_stigg)
        stack.salesforce, stack.quick_salesforce = salesforce, quick_salesforce
        self.stack = stack

    # As Salesforce calls

    def call(self, *deals: Mapping[str, Any]) -> requests.Response:
        """POST deals to the callout, as the flow does."""
        return self.post({"deals": list(deals)})

    def post(self, body: Any, path: str = "/v1/provisionings") -> requests.Response:
        """POST anything to the callout; to /v1/previews, what it would do is answered."""
        function = "PreviewFunctionArn" if path == "/v1/previews" else "FlowCalloutFunctionArn"
        event = {"httpMethod": "POST", "resource": path, "body": json.dumps(body), "pathParameters": None}
        return self._ask(function, event)

    def status(self, opportunity_id: str) -> requests.Response:
        """GET where a deal stands."""
        resource = "/v1/provisionings/{opportunityId}"
        event = {"httpMethod": "GET", "resource": resource, "pathParameters": {"opportunityId": opportunity_id}}
        return self._ask("FlowCalloutFunctionArn", event)

    def _ask(self, function: str, event: Mapping[str, Any]) -> requests.Response:
        told = self._invoke(function, event)
        answer = requests.Response()
        answer.status_code = told["statusCode"]
        answer._content = told["body"].encode()
        return answer

    # The sweep

    def sweep(self) -> int:
        """Run the sweep, and what it started. Out: how many that is."""
        started = self._invoke("SweepFunctionArn", {})["started"]
        self.wait_until_idle()
        return int(started)

    def wait_until_idle(self) -> None:
        """Run what was started, to its end."""
        while self._waiting:
            claim = self._waiting.pop(0)
            if claim.execution not in self._names:  # a name is used once
                self._names.add(claim.execution)
                self._run(claim)

    # The state machine

    def _run(self, claim: Claim) -> None:
        execution = Execution(claim.execution)
        self.executions.append(execution)
        data: Any = {"accountId": claim.account_id, "token": 0}
        name: str | None = _first(self._machine["StartAt"])
        while name is not None:
            execution.states.append(name)
            state = self._machine["States"][name]
            match state["Type"]:
                case "Task":
                    name, data = self._task(execution, state, data)
                case "Choice":
                    name = _first(_chosen(state, data))
                case "Succeed" | "Fail" as kind:
                    execution.status, execution.output = {"Succeed": "SUCCEEDED"}.get(kind, "FAILED"), data
                    name = None
                case _:  # Wait, Pass
                    name = _first(state["Next"])

    def _task(self, execution: Execution, state: Mapping[str, Any], data: Any) -> tuple[str, Any]:
        """Run a task, again where its retries say so. Out: the next state and its input."""
        given = {
            name.removesuffix(".$"): _found(value, data, execution.name) if name.endswith(".$") else value
            for name, value in state["Parameters"].items()
        }
        function = state["Resource"].removeprefix("${").removesuffix("}")
        tried: dict[int, int] = {}
        while True:
            try:
                answer = self._invoke(function, given)
            except Exception as error:
                name = type(error).__name__
                execution.failures.append(name)
                retry = next((r for r in state.get("Retry", ()) if name in r["ErrorEquals"]), None)
                if retry is not None and tried.get(id(retry), 0) < retry["MaxAttempts"]:
                    tried[id(retry)] = tried.get(id(retry), 0) + 1
                    self.clock.forward(1000 * retry["IntervalSeconds"])
                    continue
                caught = [c for c in state.get("Catch", ()) if {name, "States.ALL"} & {*c["ErrorEquals"]}]
                if not caught:
                    raise
                told = {"Error": name, "Cause": json.dumps({"errorMessage": str(error), "errorType": name})}
                return _first(caught[0]["Next"]), {**data, caught[0]["ResultPath"].removeprefix("$."): told}
            after = data if "ResultPath" in state and state["ResultPath"] is None else answer
            return _first(state["Next"]), after

    def _invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Call a function's handler with this stack. Everything goes through JSON, as it does in Lambda."""
        folder = "".join(f"_{c.lower()}" if c.isupper() else c for c in function.removesuffix("FunctionArn"))[1:]
        handler = importlib.import_module(f"functions.{folder}.app").lambda_handler
        context = SimpleNamespace(get_remaining_time_in_millis=lambda: INVOCATION)
        return json.loads(json.dumps(handler(json.loads(json.dumps(event)), context, self.stack)))


def _first(state: str) -> str:
    """A state's name; what the template fills in begins with the customer: there is no application to ask first."""
    return "CustomerProvision" if state == "${FirstState}" else state


def _chosen(state: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    for choice in state["Choices"]:
        if _found(choice["Variable"], data, "") == choice["StringEquals"]:
            return str(choice["Next"])
    return str(state["Default"])


def _found(path: str, data: Mapping[str, Any], execution: str) -> Any:
    """What a path of the definition stands for."""
    of_context = {"$$.Execution.Name": execution, "$$.Execution.Id": f"arn:aws:states:::execution:{execution}"}
    return of_context[path] if path in of_context else data.get(path.removeprefix("$."))


@cache
def _definition() -> Any:
    """The state machine, as its file says it."""
    return yaml.safe_load((ROOT / "statemachines" / "provision.asl.yaml").read_text())
