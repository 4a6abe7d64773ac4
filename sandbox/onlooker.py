"""Someone who looks at a running sandbox from outside: reads both sides through their APIs, and watches what happens.

What it reads from Stigg and Salesforce it reads over HTTP with a key, as any client would.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import requests

from sandbox.sandbox import API_VERSION, Sandbox
from sandbox.stand_in import Exchange

ENDS = {"ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut"}
"""The last event of an execution's history."""

_FAILURES = {
    "LambdaFunctionFailed",
    "LambdaFunctionTimedOut",
    "LambdaFunctionScheduleFailed",
    "TaskFailed",
    "TaskTimedOut",
}
_CATALOGUE = {f"/api/v1/{kind}" for kind in ("products", "plans", "addons", "features", "credits/custom-currencies")}
_LOGIN = "/services/oauth2/"


class Traffic(NamedTuple):
    """Requests that Stigg and Salesforce got, oldest first."""

    stigg: list[Exchange]
    salesforce: list[Exchange]

    @property
    def writes(self) -> list[str]:
        """Those that may change something, as ``METHOD path``, with the status where one was refused."""
        asked = [e for e in (*self.stigg, *self.salesforce) if e.method != "GET" and not e.path.startswith(_LOGIN)]
        return [f"{e.method} {e.path}" + ("" if 200 <= e.status < 300 else f" ({e.status})") for e in asked]

    @property
    def writes_to_stigg(self) -> list[str]:
        return Traffic(self.stigg, []).writes

    def __str__(self) -> str:
        catalogue = sum(e.path in _CATALOGUE for e in self.stigg)
        logins = sum(e.path.startswith(_LOGIN) for e in self.salesforce)
        to_stigg = f"{len(self.stigg)} to Stigg" + (f" ({catalogue} for its catalogue)" if catalogue else "")
        return f"{to_stigg}, {len(self.salesforce)} to Salesforce" + (f" ({logins} to log in)" if logins else "")


class Visit(NamedTuple):
    """An execution's visit to a state. end is None while it lasts; failed: the errors of tries that failed, in turn."""

    state: str
    begin: datetime
    end: datetime | None
    failed: tuple[str, ...]


def visits(events: list[dict[str, Any]]) -> list[Visit]:
    """The states an execution passed, from its history."""
    found: list[Visit] = []
    for event in events:
        kind, at = event["type"], event["timestamp"]
        if kind.endswith("StateEntered"):
            found.append(Visit(event["stateEnteredEventDetails"]["name"], at, None, ()))
        elif found and kind in _FAILURES:
            details: dict[str, str] = next((v for name, v in event.items() if name.endswith("EventDetails")), {})
            found[-1] = found[-1]._replace(failed=(*found[-1].failed, details.get("error", kind)))
        elif found and found[-1].end is None and (kind.endswith("StateExited") or kind in ENDS):
            found[-1] = found[-1]._replace(end=at)
    return found


class Onlooker:
    """Looks at one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._token = sandbox.salesforce.issue_token()
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy for the internet is none for this machine
        self._http.verify = str(sandbox.ca_file)
        self.mark()

    # Stigg

    def stigg(self, path: str, **parameters: str) -> Any:
        """GET from Stigg's API. Out: its data; None where it holds nothing. Raises requests' HTTPError."""
        url = f"{self._sandbox.stigg_server.url}/api/v1{path}"
        answer = self._get(url, parameters, {"X-API-KEY": self._sandbox.stigg_api_key})
        return None if answer is None else answer["data"]

    def entitlements(self, customer_id: str) -> dict[str, Any]:
        """What a customer may use: a limit, ``unlimited``, or True for what is just included, by feature."""
        told = self.stigg(f"/customers/{customer_id}/entitlements") or {"entitlements": []}
        return {one["feature"]["id"]: _value(one) for one in told["entitlements"] if one["type"] == "FEATURE"}

    def holds(self, customer_id: str) -> dict[str, Any]:
        """All that Stigg holds for a customer, to be compared with later."""
        listed = self.stigg("/subscriptions", customerId=customer_id) or []
        return {
            "customer": self.stigg(f"/customers/{customer_id}"),
            "subscriptions": [self.stigg(f"/subscriptions/{subscription['id']}") for subscription in listed],
            "entitlements": self.entitlements(customer_id),
        }

    # Salesforce

    def salesforce(self, path: str, **parameters: str) -> Any:
        """GET from Salesforce's API. Out: its answer; None where there is nothing. Raises requests' HTTPError."""
        url = f"{self._sandbox.salesforce_server.url}/services/data/v{API_VERSION}{path}"
        return self._get(url, parameters, {"Authorization": f"Bearer {self._token}"})

    def record(self, kind: str, record_id: str) -> dict[str, Any]:
        """A record by its ID; empty where there is none."""
        return self.salesforce(f"/sobjects/{kind}/{record_id}") or {}

    def provisioning(self, opportunity_id: str) -> dict[str, Any]:
        """An opportunity's Stigg Provisioning, by its external ID; empty where there is none."""
        return self.record("Stigg_Provisioning__c/Opportunity_ID__c", opportunity_id)

    def product_names(self, opportunity_id: str) -> list[str]:
        """The products on an opportunity, line by line."""
        soql = f"SELECT Product2.Name FROM OpportunityLineItem WHERE OpportunityId = '{opportunity_id}'"  # nosec B608
        return [item["Product2"]["Name"] for item in self.salesforce("/query", q=soql)["records"]]

    # Links

    def open(self, url: str) -> tuple[int, str]:
        """What a browser gets: status and page."""
        answer = self._http.get(url, timeout=30)
        return answer.status_code, answer.text

    # What happens

    def mark(self) -> None:
        """`traffic` counts from here."""
        servers = (self._sandbox.stigg_server, self._sandbox.salesforce_server)
        self._marked = tuple(len(server.exchanges) for server in servers)

    def traffic(self) -> Traffic:
        """What Stigg and Salesforce were asked since `mark`."""
        stigg, salesforce = self._marked
        return Traffic(
            self._sandbox.stigg_server.exchanges[stigg:],
            self._sandbox.salesforce_server.exchanges[salesforce:],
        )

    def executions(self) -> int:
        """How many executions there are, running and ended."""
        return len(self._sandbox.aws.executions("ProvisionStateMachine"))

    def history(self, execution: str) -> list[dict[str, Any]]:
        """An execution's events so far, oldest first."""
        return self._sandbox.aws.history(self._sandbox.execution_arn(execution))

    def describe(self, execution: str) -> dict[str, Any]:
        """What DescribeExecution tells of an execution, by its name."""
        arn = self._sandbox.execution_arn(execution)
        found: dict[str, Any] = self._sandbox.aws.client("stepfunctions").describe_execution(executionArn=arn)
        return found

    def _get(self, url: str, parameters: dict[str, str], headers: dict[str, str]) -> Any:
        answer = self._http.get(url, params=parameters, headers=headers, timeout=30)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()


def _value(entitlement: dict[str, Any]) -> Any:
    if entitlement["hasUnlimitedUsage"]:
        return "unlimited"
    return True if entitlement["usageLimit"] is None else entitlement["usageLimit"]
