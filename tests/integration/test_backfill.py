"""Backfill, as an operator runs it: a process of its own, against the running system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integration.scenes import Json, everything, opportunity_of, provision, shown, subscriptions, sweep, time_passes
from sandbox.aws.stack import STACK_NAME
from sandbox.sales import Sold
from sandbox.sandbox import ROOT, Sandbox

PLAN, SEATS = Sold("plan-enterprise"), Sold("feature-seats", 40)


def backfill(sandbox: Sandbox, folder: Path, *arguments: str, stack: str = STACK_NAME) -> tuple[int, str, str]:
    """Run the command. Out: exit code, output, errors."""
    aws = {
        "AWS_ENDPOINT_URL": sandbox.aws.endpoint_url,
        "AWS_DEFAULT_REGION": sandbox.aws.region,
        "AWS_REGION": sandbox.aws.region,
        "REQUESTS_CA_BUNDLE": str(sandbox.ca_file),
    }
    done = subprocess.run(
        [sys.executable, "-m", "ops", "--stack", stack, "backfill", "--progress", str(folder / "progress"), *arguments],
        cwd=ROOT,
        env={**os.environ, **aws},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class Old:
    """Customers with deals from before closed-won was there."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.adopted = self.won("Stands in Stigg", PLAN, SEATS)
        sandbox.stigg.add_customer(self.account(self.adopted))
        self.standing = sandbox.stigg.add_subscription(
            self.account(self.adopted),
            "plan-enterprise",
            entitlements=[{"type": "FEATURE", "id": "feature-seats", "usageLimit": 40}],
            metadata={"theirs": "kept"},
        )
        self.missing = self.won("Missing", PLAN, SEATS)
        self.mistaken = self.won("Mapped wrong", Sold("plan-unknown"))
        self.other = self.won("Another plan", PLAN)
        sandbox.stigg.add_customer(self.account(self.other))
        sandbox.stigg.add_subscription(self.account(self.other), "plan-enterprise-plus")
        self.known = self.won("Known", PLAN)
        provision(sandbox, sandbox.deal(self.known))

    def won(self, name: str, *sold: Sold) -> str:
        return self.sandbox.sales.close(self.sandbox.sales.account(name), f"{name} 2024", *sold, CloseDate="2024-03-01")

    def account(self, opportunity: str) -> str:
        return str(self.sandbox.salesforce.get("Opportunity", opportunity)["AccountId"])


@pytest.fixture
def old(sandbox: Sandbox) -> Old:
    return Old(sandbox)


def ledger_of(sandbox: Sandbox) -> list[Json]:
    """What the ledger holds of customers."""
    items = sandbox.aws.client("dynamodb").scan(TableName=sandbox.aws.resources["LedgerTable"])["Items"]
    kept = [item for item in items if item["pk"]["S"].startswith(("ACCOUNT#", "OPPORTUNITY#"))]
    return sorted(kept, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def verdicts(folder: Path) -> dict[str, str]:
    entries = [json.loads(line) for line in (folder / "progress").read_text().splitlines()]
    return {entry["account_id"]: entry["verdict"] for entry in entries}


def test_the_dry_run_tells_what_would_happen_and_writes_nothing(sandbox: Sandbox, old: Old, tmp_path: Path) -> None:
    before = everything(sandbox), ledger_of(sandbox)
    code, said, errors = backfill(sandbox, tmp_path, "--since", "2024-01-01")
    assert code == 0, errors
    assert (everything(sandbox), ledger_of(sandbox)) == before
    expected = {"adopted": "adopt", "missing": "create", "mistaken": "refused", "other": "held", "known": "known"}
    assert verdicts(tmp_path) == {old.account(getattr(old, who)): verdict for who, verdict in expected.items()}
    assert "5 customers" in said
    assert "Stigg has no plan plan-unknown" in said
    assert "Nothing was written" in said
    assert "about 1 minute" in said


def test_a_run_adopts_what_stands_and_leaves_the_rest_until_it_is_told_to_create(
    sandbox: Sandbox, old: Old, tmp_path: Path
) -> None:
    code, said, errors = backfill(sandbox, tmp_path, "--since", "2024-01-01", "--run")
    assert code == 0, errors
    assert "1 deal was accepted" in said
    time_passes(sandbox, old.account(old.adopted))
    sweep(sandbox)
    [held] = subscriptions(sandbox, old.account(old.adopted))
    assert (held["id"], held["startDate"]) == (old.standing["id"], old.standing["startDate"])
    assert held["metadata"]["theirs"] == "kept"
    assert held["metadata"]["salesforceOpportunityIds"] == old.adopted
    assert shown(sandbox, sandbox.deal(old.adopted)) == ("Provisioned", None)
    assert subscriptions(sandbox, old.account(old.missing)) == []

    (tmp_path / "more").mkdir()
    code, said, errors = backfill(sandbox, tmp_path / "more", "--since", "2024-01-01", "--run", "--create")
    assert code == 0, errors
    time_passes(sandbox, old.account(old.missing))
    sweep(sandbox)
    assert [s["planId"] for s in subscriptions(sandbox, old.account(old.missing))] == ["plan-enterprise"]
    assert [s["planId"] for s in subscriptions(sandbox, old.account(old.other))] == ["plan-enterprise-plus"]
    assert sandbox.status(old.mistaken).status_code == 404, "nothing was accepted for it"
    assert opportunity_of(sandbox.deal(old.known)) == old.known


def test_what_was_done_is_not_done_again_when_it_goes_on(sandbox: Sandbox, old: Old, tmp_path: Path) -> None:
    backfill(sandbox, tmp_path, "--since", "2024-01-01", "--run")
    before = ledger_of(sandbox)
    lines = (tmp_path / "progress").read_text().splitlines(keepends=True)
    (tmp_path / "progress").write_text("".join(lines[:2]))  # it was interrupted here
    code, _, errors = backfill(sandbox, tmp_path, "--since", "2024-01-01", "--run")
    assert code == 0, errors
    assert "2 customers were done before" in errors
    assert ledger_of(sandbox) == before


def test_a_wrong_stack_is_said_in_a_sentence(sandbox: Sandbox, tmp_path: Path) -> None:
    code, _, errors = backfill(sandbox, tmp_path, "--since", "2024-01-01", stack="elsewhere")
    assert code == 1
    assert "AWS said" in errors
    assert "Traceback" not in errors
    code, _, errors = backfill(sandbox, tmp_path, "--since", "2024-01-01", "--create")
    assert (code, "--create goes with --run" in errors) == (2, True)
