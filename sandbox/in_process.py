"""closed-won in one process: its functions in the order of their state machine, a ledger in memory, both stand-ins.

For scenes that test neither AWS nor DynamoDB. It looks like `sandbox.sandbox.Sandbox` where such scenes look, and takes
a hundredth of the time. The state machine is the real definition: its tasks, choices, retries and catches. A wait takes
no time: the clock is moved.
"""

from __future__ import annotations

import importlib
import json
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import requests
import yaml
from samtranslator.yaml_helper import yaml_parse

from closedwon.aws.ledger import Claim
from closedwon.salesforce.client import SalesforceClient
from closedwon.stack import Stack
from closedwon.stigg.client import Stigg as StiggClient
from closedwon.stigg.rate_limit import Booking
from sandbox.flow import deal_of
from sandbox.ledger import MemoryLedger
from sandbox.sales import Sales
from sandbox.salesforce.app import Salesforce
from sandbox.sandbox import API_VERSION, ROOT, STIGG_INTEGRATION, packaged_configuration
from sandbox.stand_in import StandIn
from sandbox.stigg.app import Stigg
from sandbox.wsgi_session import session_to

STIGG_URL, SALESFORCE_URL = "https://api.stigg.example", "https://northwind.my.salesforce.com"
CLIENT = {"clientId": "closed-won", "clientSecret": secrets.token_hex(16)}
INVOCATION = 60_000
"""Milliseconds that a function has."""


class FreeGovernor:
    """Lets everything go at once. clock: epoch milliseconds."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def rate_slots(self, count: int, horizon: int | None = None) -> tuple[int, ...]:
        return (self._clock(),) * count

    def book(self, needs: Mapping[str, int]) -> Booking:
        return Booking(dict.fromkeys(needs, self._clock()), needs, 0)

    def give_back(self, booking: Booking, used: Collection[str]) -> None:
        """None was taken."""

    def reserve(self, kind: str, count: int = 1) -> int:
        return int(self._clock())

    def wait(self, kind: str, count: int) -> None:
        """There is room."""

    def write(self, kind: str, entity: str) -> None:
        """There is room."""

    @contextmanager
    def ending_in(self, milliseconds: int) -> Iterator[None]:
        yield


@dataclass
class Execution:
    """An execution of the state machine: the states it entered; the names of the errors its tasks met; how it ended."""

    name: str
    status: str = "RUNNING"
    states: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    output: Any = None


class InProcess:
    """One stack in this process. Nothing runs by itself: what was started runs in `wait_until_idle`."""

    def __init__(self) -> None:
        self._ahead = 0  # milliseconds that the clock was moved
        self.stigg_api_key = f"server-{secrets.token_hex(16)}"
        self.stigg = Stigg(self.stigg_api_key, rate_limits=False)
        self.salesforce = Salesforce(CLIENT["clientId"], CLIENT["clientSecret"])
        self.salesforce.load(packaged_configuration())
        self.stigg.salesforce_url = SALESFORCE_URL
        self.sales = Sales(self.salesforce)
        self.stigg_server, self.salesforce_server = StandIn(self.stigg).start(), StandIn(self.salesforce).start()
        self.ledger = MemoryLedger(self._now)
        self.executions: list[Execution] = []
        self._waiting: list[Claim] = []
        self._machine = _definition()
        self.stack = self._stack()

    def close(self) -> None:
        """End the stand-ins' servers, which serve the pages they link to."""
        for server in (self.stigg_server, self.salesforce_server):
            server.stop()

    def _now(self) -> int:
        return time.time_ns() // 1_000_000 + self._ahead

    def _stack(self) -> Any:
        stack: Any = Stack(
            {
                **_template_settings(),
                "STACK_NAME": "in-process",
                "STIGG_API_URL": STIGG_URL,
                "STIGG_APP_URL": f"{STIGG_URL}/{self.stigg.environment}",
                "STIGG_SALESFORCE_INTEGRATION_ID": STIGG_INTEGRATION,
                "SALESFORCE_URL": SALESFORCE_URL,
                "SALESFORCE_ORGANIZATION_ID": self.salesforce.organization_id,
                "SALESFORCE_API_VERSION": API_VERSION,
                "WRITE_LIFETIME_SECONDS": "1",
            }
        )
        key, client = _Secret({"apiKey": self.stigg_api_key}), _Secret(CLIENT)
        to_stigg, to_salesforce = session_to(self.stigg_server), session_to(self.salesforce_server)
        stack.now = self._now
        stack.ledger = self.ledger
        stack.governor = FreeGovernor(self._now)
        stack.start = self._waiting.append
        stack.notifier = SimpleNamespace(notify=lambda *_: False)
        stack.stigg = StiggClient(STIGG_URL, key, session=to_stigg, governor=stack.governor)
        stack.quick_stigg = StiggClient(STIGG_URL, key, session=to_stigg)
        stack.salesforce = SalesforceClient(SALESFORCE_URL, client, API_VERSION, session=to_salesforce)
        stack.quick_salesforce = SalesforceClient(SALESFORCE_URL, client, API_VERSION, session=to_salesforce)
        return stack

    # As Salesforce calls

    def call(self, *deals: Mapping[str, Any]) -> requests.Response:
        """POST deals to the callout, as the flow does."""
        return self.post({"deals": list(deals)})

    def post(self, body: Any, path: str = "/v1/provisionings") -> requests.Response:
        """POST anything to the callout."""
        return self._ask({"httpMethod": "POST", "resource": path, "body": json.dumps(body), "pathParameters": None})

    def status(self, opportunity_id: str) -> requests.Response:
        """GET where a deal stands."""
        resource = "/v1/provisionings/{opportunityId}"
        return self._ask(
            {"httpMethod": "GET", "resource": resource, "pathParameters": {"opportunityId": opportunity_id}}
        )

    def deal(self, opportunity_id: str, **more: Any) -> dict[str, Any]:
        """The deal of an opportunity in the stand-in, as the flow compiles it."""
        return deal_of(self.salesforce, opportunity_id, **more)

    def provisioning(self, opportunity_id: str) -> dict[str, Any] | None:
        """The opportunity's Stigg Provisioning in Salesforce, None where there is none."""
        records = self.salesforce.find("Stigg_Provisioning__c", Opportunity_ID__c=opportunity_id)
        return records[0] if records else None

    def _ask(self, event: Mapping[str, Any]) -> requests.Response:
        told = self._invoke("FlowCalloutFunctionArn", event)
        answer = requests.Response()
        answer.status_code = told["statusCode"]
        answer._content = told["body"].encode()
        return answer

    # Time, and the sweep

    def due(self, account: str) -> bool:
        """Whether something is left for the sweep to do, now or later."""
        return self.ledger.customer(account).due_at is not None

    def time_passes(self, *accounts: str) -> None:
        """What waits for its time in the ledger has waited long enough: leases, backoffs, payments, starts."""
        for account in accounts:
            known = self.ledger.customer(account)
            assert known.due_at is not None, "nothing waits"
            lease = known.lease and known.lease._replace(until=1)
            looks = known.look_again_at and 1
            self.ledger.put(replace(known, due_at=1, look_again_at=looks, lease=lease))

    def sweep(self) -> int:
        """Run the sweep, and what it started. Out: how many that is."""
        started = self._invoke("SweepFunctionArn", {})["started"]
        self.wait_until_idle()
        return int(started)

    def wait_until_idle(self) -> None:
        """Run what was started, to its end."""
        while self._waiting:
            claim = self._waiting.pop(0)
            if claim.execution not in [execution.name for execution in self.executions]:  # a name is used once
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
                    self._ahead += 1000 * retry["IntervalSeconds"]
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


class _Secret:
    """A secret as clients read it."""

    def __init__(self, content: Mapping[str, str]) -> None:
        self.arn = "in-process"
        self._content = dict(content)

    def json(self, *required: str) -> dict[str, Any]:
        return self._content

    def value(self) -> str:
        return json.dumps(self._content)

    again = value


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


@cache
def _template_settings() -> dict[str, str]:
    """The variables that template.yaml gives every function, with its parameters' defaults."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    defaults = {name: str(one.get("Default", "")) for name, one in template["Parameters"].items()}
    given = template["Globals"]["Function"]["Environment"]["Variables"]
    return {
        name: str(value) if not isinstance(value, dict) else defaults.get(value.get("Ref", ""), "")
        for name, value in given.items()
    }
