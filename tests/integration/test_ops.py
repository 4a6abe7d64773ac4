"""The operators' command, run as an operator runs it: a process of its own, against the running system."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from integration.scenes import limits, opportunity_of, provision, revised, sell, subscriptions
from sandbox.sales import Sold
from sandbox.sandbox import ROOT, Sandbox


def ops(sandbox: Sandbox, *arguments: str, answer: str = "", key: str | None = None) -> tuple[int, str, str]:
    """Run the command. Out: exit code, output, errors."""
    told = {"CLOSEDWON_URL": sandbox.aws.callout_url, "CLOSEDWON_KEY": key or sandbox.callout_key}
    done = subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        cwd=ROOT,
        env={**os.environ, **told},
        input=answer,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


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


def test_a_held_reduction_is_shown_and_let_through_only_when_the_operator_says_yes(sandbox: Sandbox, held: str) -> None:
    code, said, _ = ops(sandbox, "approve", held, answer="n\n")
    assert code == 1
    assert f"{held} is Held" in said
    assert "feature-seats from 500 to 50" in said
    sandbox.wait_until_idle()
    assert seats(sandbox) == 500

    code, said, _ = ops(sandbox, "approve", held, answer="y\n")
    assert code == 0
    assert "Approved; applied by the execution" in said
    sandbox.wait_until_idle()
    assert seats(sandbox) == 50

    code, _, error = ops(sandbox, "approve", held, "--yes")
    assert code == 1
    assert "nothing of" in error
    assert "it is Provisioned" in error


def test_a_script_gets_json(sandbox: Sandbox, held: str) -> None:
    code, said, _ = ops(sandbox, "approve", held, "--yes", "--json")
    assert code == 0
    result = json.loads(said)
    assert (result["opportunityId"], result["status"]) == (held, "approved")
    sandbox.wait([result["execution"]])


def test_what_cannot_be_done_is_said(sandbox: Sandbox) -> None:
    unknown = "0065g00000ABCdEAAX"
    assert "has never been accepted" in ops(sandbox, "approve", unknown)[2]
    assert "opportunityId" in ops(sandbox, "approve", "not-an-id")[2]
    code, _, error = ops(sandbox, "approve", unknown, key="x" * 48)
    assert code == 1
    assert "the callout key is not accepted" in error
    assert "x" * 48 not in error
    code, _, error = ops(sandbox, "--url", "http://127.0.0.1:9", "approve", unknown)
    assert "could not be reached" in error
