"""The operators' command, against the running system: in processes of its own here, as an operator runs it."""

from __future__ import annotations

import json

import pytest

from integration.scenes import limits, opportunity_of, provision, revised, sell, subscriptions
from integration.terminal import Operator
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox


@pytest.fixture
def held(sandbox: Sandbox) -> str:
    """A deal whose 500 seats became 50, which waits for somebody."""
    account = sandbox.sales.account("Northwind Traders")
    deal = sell(sandbox, account, Sold("plan-enterprise"), Sold("feature-seats", 500))
    provision(sandbox, revised(deal, 0))
    provision(sandbox, revised(deal, 1, feature_seats=50))
    return opportunity_of(deal)


def seats(sandbox: Sandbox) -> object:
    [subscription] = subscriptions(sandbox, sandbox.salesforce.find("Account")[0]["Id"])
    return limits(subscription)["feature-seats"]


def test_a_held_reduction_is_shown_and_let_through_only_when_the_operator_says_yes(
    sandbox: Sandbox, operator: Operator, held: str
) -> None:
    code, said, _ = operator.runs_apart("approve", held, answer="n\n")
    assert code == 1
    assert f"{held} is Held" in said
    assert "feature-seats from 500 to 50" in said
    sandbox.wait_until_idle()
    assert seats(sandbox) == 500

    code, said, _ = operator.runs_apart("approve", held, answer="y\n")
    assert code == 0
    assert "Approved; applied by the execution" in said
    sandbox.wait_until_idle()
    assert seats(sandbox) == 50

    code, _, error = operator.runs_apart("approve", held, "--yes")
    assert code == 1
    assert "nothing of" in error
    assert "it is Provisioned" in error


def test_a_script_gets_json(sandbox: Sandbox, operator: Operator, held: str) -> None:
    code, said, _ = operator.runs_apart("approve", held, "--yes", "--json")
    assert code == 0
    result = json.loads(said)
    assert (result["opportunityId"], result["status"]) == (held, "approved")
    sandbox.wait([result["execution"]])


def test_what_cannot_be_done_is_said(operator: Operator) -> None:
    unknown = "0065g00000ABCdEAAX"
    assert "has never been accepted" in operator.runs_apart("approve", unknown)[2]
    assert "opportunityId" in operator.runs_apart("approve", "not-an-id")[2]
    code, _, error = operator.runs_apart("approve", unknown, CLOSEDWON_KEY="x" * 48)
    assert code == 1
    assert "the callout key is not accepted" in error
    assert "x" * 48 not in error
    code, _, error = operator.runs_apart("--url", "http://127.0.0.1:9", "approve", unknown)
    assert "could not be reached" in error
