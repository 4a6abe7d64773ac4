"""What one deal costs outside, a new one and an amendment: calls to Stigg and Salesforce, and state transitions.
Counted in the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from benchmarks.world import NORTHWIND, TERMS
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox
from sandbox.stand_in import Exchange

AMENDMENT = (Sold("addon-extra-workspace", 2, price=1_100), Sold("feature-seats", 50))
SEATS = (Sold("plan-growth"), Sold("feature-seats", 20, price=250))
SEAT_CHANGE = (Sold("feature-seats", 5, price=250),)
READS_BY_POST = ("/services/oauth2/token", "/api/v1/subscriptions/preview")


class NotProvisioned(Exception):
    """The deal that was to be counted did not end well."""


class Calls(NamedTuple):
    """Requests to Stigg and Salesforce, in order (``Stigg GET /api/v1/...``). writes: how many change something."""

    requests: tuple[str, ...]
    writes: int

    @property
    def subscription_writes(self) -> list[str]:
        """Those that change a subscription in Stigg."""
        changing = (one for one in self.requests if one.split()[1] != "GET" and "/api/v1/subscriptions" in one)
        return [one for one in changing if not one.endswith(READS_BY_POST)]

    @classmethod
    def of(cls, stigg: Iterable[Exchange], salesforce: Iterable[Exchange]) -> Calls:
        exchanges = [("Stigg", e) for e in stigg] + [("Salesforce", e) for e in salesforce]
        exchanges.sort(key=lambda named: named[1].at)
        writes = sum(e.method != "GET" and e.path not in READS_BY_POST for _, e in exchanges)
        return cls(tuple(f"{name} {e.method} {e.path}" for name, e in exchanges), writes)


class Transitions(NamedTuple):
    """What AWS charges an execution for. states: entered; retries: of tasks."""

    states: int
    retries: int

    @property
    def total(self) -> int:
        """With one for the start: AWS's definition does not say whether it counts, so here it does.

        Source: "each time a step of your workflow is executed", retries included (Step Functions pricing).
        """
        return 1 + self.states + self.retries

    @classmethod
    def of(cls, history: Iterable[Mapping[str, Any]]) -> Transitions:
        """From an execution's history: a retry schedules the task again without entering its state again."""
        types = [event["type"] for event in history]
        tasks = types.count("TaskStateEntered")
        scheduled = types.count("LambdaFunctionScheduled") + types.count("TaskScheduled")
        return cls(sum(type.endswith("StateEntered") for type in types), scheduled - tasks)


class OneDeal(NamedTuple):
    """first: of a system just deployed, without tokens and catalogue; warm: of the next customer's deal; amendment: of
    that one. seats: of a deal of a plan that charges seats, once it is known what it charges; seat_change: of more.
    """

    first: Calls
    warm: Calls
    transitions: Transitions
    amendment: Calls
    seats: Calls
    seat_change: Calls


def count() -> OneDeal:
    """Provision a deal of two customers, one after the other, and an amendment. Raises NotProvisioned."""
    # One process for each function: the second deal finds them warm.
    with Sandbox(concurrency=1) as sandbox:
        first, _ = _provision(sandbox, sandbox.sales.account("Northwind Traders"), *NORTHWIND, terms=TERMS)
        account_id = sandbox.sales.account("Southridge Video")
        warm, transitions = _provision(sandbox, account_id, *NORTHWIND, terms=TERMS)
        base = sandbox.salesforce.find("Opportunity", AccountId=account_id)[0]["Id"]
        # As CPQ sends it: the add-on and the entitlement that change, by how much.
        more = {"trigger": "amendment", "quantities": "differences", "amends": base}
        amendment, _ = _provision(sandbox, account_id, *AMENDMENT, **more)
        _provision(sandbox, sandbox.sales.account("Fabrikam"), *SEATS, terms=TERMS)  # what the plan charges is read
        growing = sandbox.sales.account("Adventure Works")
        seats, _ = _provision(sandbox, growing, *SEATS, terms=TERMS)
        base = sandbox.salesforce.find("Opportunity", AccountId=growing)[0]["Id"]
        seat_change, _ = _provision(sandbox, growing, *SEAT_CHANGE, **{**more, "amends": base})
    return OneDeal(first, warm, transitions, amendment, seats, seat_change)


def _provision(sandbox: Sandbox, account_id: str, *sold: Sold, **more: Any) -> tuple[Calls, Transitions]:
    """Win a deal and count. sold: its products; more: fields of the callout."""
    opportunity_id = sandbox.sales.close(account_id, "A deal", *sold)
    deal = sandbox.deal(opportunity_id, **more)
    seen = len(sandbox.stigg_server.exchanges), len(sandbox.salesforce_server.exchanges)
    answer = sandbox.call(deal)
    execution = answer.json()["results"][0]["execution"]
    (ended,) = sandbox.wait([execution])
    record = sandbox.provisioning(opportunity_id)
    if ended["status"] != "SUCCEEDED" or record is None or record["Status__c"] != "Provisioned":
        raise NotProvisioned(f"{answer.text}; the execution {ended['status']}; Salesforce shows {record}")
    calls = Calls.of(sandbox.stigg_server.exchanges[seen[0] :], sandbox.salesforce_server.exchanges[seen[1] :])
    return calls, Transitions.of(sandbox.aws.history(sandbox.execution_arn(execution)))
