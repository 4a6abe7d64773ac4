"""Backfill, as an operator runs it: a process of its own, against the running system."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from integration.scenes import Json, due, everything, limits, provision, shown, subscriptions, sweep, time_passes
from integration.terminal import Operator as Terminal
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

PLAN, SEATS = Sold("plan-enterprise"), Sold("feature-seats", 40)
SINCE = ("--since", "2023-01-01")


class Operator(Terminal):
    """Who backfills."""

    def backfills(self, *arguments: str) -> str:
        """It ends well. Out: what it said."""
        return self.does("backfill", *SINCE, *arguments)

    def found(self, *arguments: str) -> dict[str, Json]:
        """What it prints for scripts, by account."""
        said = self.backfills(*arguments, "--json")
        return {entry["account_id"]: entry for entry in map(json.loads, said.splitlines())}


@pytest.fixture
def operator(sandbox: Sandbox, tmp_path: Path) -> Operator:
    return Operator(sandbox, tmp_path)


class Old:
    """Customers with deals from before closed-won was there; each attribute is an account's ID."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.opportunities: dict[str, str] = {}
        self.as_sold = self.won("As sold", PLAN, SEATS)
        self.standing = self.by_hand(self.as_sold, seats=40, metadata={"theirs": "kept"})
        self.more_seats = self.won("More seats than were sold", PLAN, SEATS)
        self.by_hand(self.more_seats, seats=500)
        self.missing = self.won("Missing", PLAN, SEATS)
        self.mistaken = self.won("Mapped wrong", Sold("plan-unknown"))
        self.other = self.won("Another plan", PLAN)
        self.by_hand(self.other, "plan-enterprise-plus")
        ended = {"Stigg_Start_Date__c": "2023-03-01", "Stigg_End_Date__c": "2024-02-29"}
        self.left = self.won("Left two years ago", PLAN, SEATS, **ended)
        self.stayed = self.won("Stayed without a renewal", PLAN, SEATS, **ended)
        self.by_hand(self.stayed, seats=40)
        self.known = self.won("Known", PLAN)
        provision(sandbox, sandbox.deal(self.opportunities[self.known]))

    def won(self, name: str, *sold: Sold, **fields: Any) -> str:
        account = self.sandbox.sales.account(name)
        fields = {"CloseDate": "2023-02-15", **fields}
        self.opportunities[account] = self.sandbox.sales.close(account, f"{name} 2023", *sold, **fields)
        return account

    def by_hand(self, account: str, plan: str = "plan-enterprise", seats: int = 0, **more: Any) -> Json:
        """Somebody made this customer and its subscription in Stigg, long ago."""
        self.sandbox.stigg.add_customer(account)
        given = [{"type": "FEATURE", "id": "feature-seats", "usageLimit": seats}] if seats else []
        return self.sandbox.stigg.add_subscription(account, plan, entitlements=given, **more)

    def shown(self, account: str) -> tuple[str, str | None] | None:
        """What Salesforce shows on the account's deal."""
        return shown(self.sandbox, {"opportunity": {"id": self.opportunities[account]}})


@pytest.fixture
def old(sandbox: Sandbox) -> Old:
    return Old(sandbox)


def ledger_of(sandbox: Sandbox) -> list[Json]:
    """What the ledger holds of customers. The governor's budgets and the copies of what Stigg and Salesforce have are
    no part of it: whoever asks first keeps one, and functions that are still warm from another test ask no more.
    """
    items = sandbox.aws.client("dynamodb").scan(TableName=sandbox.aws.resources["LedgerTable"])["Items"]
    kept = [item for item in items if not item["pk"]["S"].startswith(("GOVERNOR#", "CATALOGUE", "PACKAGE"))]
    return sorted(kept, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def world(sandbox: Sandbox) -> Json:
    return {**everything(sandbox), "ledger": ledger_of(sandbox)}


def test_the_dry_run_tells_what_would_happen_and_writes_nothing(sandbox: Sandbox, old: Old, operator: Operator) -> None:
    before = world(sandbox)
    found = operator.found()
    assert world(sandbox) == before
    expected = {
        "as_sold": "adopt",
        "more_seats": "change",
        "missing": "create",
        "mistaken": "refused",
        "other": "held",
        "left": "over",
        "stayed": "adopt",
        "known": "known",
    }
    verdicts = {account: entry["verdict"] for account, entry in found.items()}
    assert verdicts == {getattr(old, who): verdict for who, verdict in expected.items()}
    assert found[old.as_sold]["deals"] == [old.opportunities[old.as_sold]]
    assert "set feature-seats to 40 (it is 500 now)" in found[old.more_seats]["words"][0]
    assert "Stigg has no plan plan-unknown" in found[old.mistaken]["words"][0]
    assert "its term ended on 2024-02-29" in found[old.left]["words"][0]
    assert sum(entry["accepted"] for entry in found.values()) == 0


def test_it_is_told_to_people_with_what_to_do_next(sandbox: Sandbox, old: Old, operator: Operator) -> None:
    said = operator.backfills()
    assert "8 customers have deals that were won from 2023-01-01 to" in said
    assert "  2  adopt    what was sold stands in Stigg already" in said
    assert "Stigg has no plan plan-unknown" in said
    assert "Nothing was written." in said
    assert "(2 customers, about 1 minute):\n  ./closedwon --stack sandbox backfill --since 2023-01-01 --run\n" in said
    assert "(4 customers, about 1 minute):\n" in said
    assert "2 customers need somebody first" in said
    assert (operator.folder / "backfill-sandbox-2023-01-01-dry.jsonl").exists()
    assert max(map(len, said.splitlines())) <= 110


def test_a_run_adopts_what_stands_as_it_is_and_leaves_the_rest(sandbox: Sandbox, old: Old, operator: Operator) -> None:
    before = everything(sandbox)
    said = operator.backfills("--run")
    assert "2 deals of 2 customers were accepted." in said
    assert everything(sandbox) == before, "the sweep does it"
    assert sweep(sandbox) == 2
    [held] = subscriptions(sandbox, old.as_sold)
    marks = dict.fromkeys(("metadata", "salesforceId"))
    assert {**held, **marks} == {**old.standing, **marks}
    assert held["metadata"]["theirs"] == "kept"
    assert held["metadata"]["salesforceOpportunityIds"] == old.opportunities[old.as_sold]
    assert old.shown(old.as_sold) == ("Provisioned", None)
    assert [old.shown(account) for account in (old.more_seats, old.missing, old.other, old.left)] == [None] * 4
    assert limits(subscriptions(sandbox, old.more_seats)[0]) == {"feature-seats": 500}

    after = world(sandbox)
    said = operator.backfills("--run")
    assert world(sandbox) == after
    assert "no deal was accepted" in said
    assert "  3  known" in said


def test_with_create_the_rest_is_brought_in_but_nothing_that_somebody_has_to_settle(
    sandbox: Sandbox, old: Old, operator: Operator
) -> None:
    said = operator.backfills("--run", "--create")
    assert "4 deals of 4 customers were accepted." in said
    sweep(sandbox)
    assert limits(subscriptions(sandbox, old.missing)[0]) == {"feature-seats": 40}
    assert limits(subscriptions(sandbox, old.more_seats)[0]) == {"feature-seats": 40}, "as it was told"
    assert [s["planId"] for s in subscriptions(sandbox, old.other)] == ["plan-enterprise-plus"]
    assert subscriptions(sandbox, old.left) == [], "who left two years ago gets nothing back"
    assert [old.shown(account) for account in (old.mistaken, old.other, old.left)] == [None] * 3
    after = world(sandbox)
    assert "no deal was accepted" in operator.backfills("--run", "--create")
    assert world(sandbox) == after


@pytest.mark.long
def test_interrupted_and_started_again_it_ends_the_same(sandbox: Sandbox, operator: Operator) -> None:
    old = [sandbox.sales.account(f"Customer {number}") for number in range(40)]
    for account in old:
        sandbox.sales.close(account, "A deal", PLAN, SEATS, CloseDate="2023-02-15")
    with operator.begins("backfill", *SINCE, "--run", "--create") as process:
        sandbox.salesforce_server.wait_for(lambda: len(ledger_of(sandbox)) > 6)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert "The same command goes on from there." in errors
    assert "Traceback" not in errors
    [part] = operator.folder.glob("*.part")
    done = len(part.read_text().splitlines()) - 1
    assert 0 < done < len(old)
    assert f"Stopped after {done} customer" in errors

    code, said, errors = operator.runs("backfill", *SINCE, "--run", "--create")
    assert code == 0
    assert f"{done} customer" in errors
    assert "40 deals of 40 customers were accepted." in said
    assert not part.exists()
    sweep(sandbox)
    while late := [account for account in old if due(sandbox, account)]:  # one sweep lasts no longer than it may
        time_passes(sandbox, *late)
        sweep(sandbox)
    assert [len(subscriptions(sandbox, account)) for account in old] == [1] * 40


def test_what_cannot_be_done_is_said_in_a_sentence(sandbox: Sandbox, operator: Operator) -> None:
    code, _, errors = operator.runs("backfill", *SINCE, stack="elsewhere")
    assert (code, "there is no stack called elsewhere" in errors) == (1, True)
    for arguments, words in (
        (("--create",), "--create goes with --run"),
        (("--until", "2022-12-31"), "--until is before --since"),
        (("--until", "soon"), "does not match the format"),
    ):
        code, _, errors = operator.runs("backfill", *SINCE, *arguments)
        assert (code, words in errors) == (2, True), errors
    sandbox.salesforce_server.fail("answer", "POST", ".*/jobs/query", times=1, status=400)
    code, _, errors = operator.runs("backfill", *SINCE)
    assert (code, "Salesforce" in errors) == (1, True)
    assert "nothing to bring in" in operator.backfills()
