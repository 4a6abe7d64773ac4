"""closedwon reconcile and preview, as an operator runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration.scenes import Json, everything, opportunity_of, provision, sell, stigg_writes, subscriptions
from integration.terminal import Operator
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

PLAN = Sold("plan-enterprise", 1, 48000)


@pytest.fixture
def deal(sandbox: Sandbox) -> Json:
    return sell(sandbox, sandbox.sales.account("Northwind"), PLAN, Sold("feature-seats", 250))


def test_a_run_is_started_followed_and_its_report_fetched(
    sandbox: Sandbox, operator: Operator, deal: Json, tmp_path: Path
) -> None:
    provision(sandbox, deal)
    file = tmp_path / "report.html"
    code, _, error = operator.runs("reconcile", "--report", str(file))
    assert code == 1
    assert "there is no report yet" in error
    said = operator.does("reconcile", "--mode", "all", "--wait")
    assert "Everything matches: 1 customer was compared." in said
    assert "/s3/object/" in said
    assert "The report of" in operator.does("reconcile", "--report", str(file))
    assert "<html" in file.read_text()
    result = operator.json("reconcile", "--wait")
    assert (result["status"], result["summary"]["mode"]) == ("SUCCEEDED", "changed")


def test_what_it_found_is_counted_by_kind(sandbox: Sandbox, operator: Operator, deal: Json) -> None:
    provision(sandbox, deal)
    [subscription] = subscriptions(sandbox, deal["account"]["id"])
    sandbox.stigg.change_subscription(subscription["id"], addons=[{"id": "addon-extra-workspace", "quantity": 9}])
    said = operator.does("reconcile", "--mode", "all", "--wait")
    assert "Looked at" in said
    assert "for people" in said
    assert operator.json("reconcile", "--mode", "all", "--wait")["summary"]["needsPerson"] == 1


def test_there_is_one_run_at_a_time(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.salesforce_server.fail("delay_before", path=".*/jobs/query.*", seconds=2, times=4)
    assert "Started:" in operator.does("reconcile", "--mode", "all")
    code, _, error = operator.runs("reconcile")
    assert code == 1
    assert "a run is under way since" in error
    assert "Took" in operator.does("reconcile", "--follow")
    assert "no run is under way" in operator.runs("reconcile", "--follow")[2]
    assert operator.runs("reconcile", "--deep")[0] == 2


def test_a_run_that_fails_says_why(sandbox: Sandbox, operator: Operator) -> None:
    sandbox.salesforce_server.fail("answer", status=503, times=999)
    code, said, _ = operator.runs("reconcile", "--wait")
    assert code == 1
    assert "SalesforceUnavailable" in said


def test_a_deal_is_previewed_in_words_and_nothing_is_written(sandbox: Sandbox, operator: Operator, deal: Json) -> None:
    before = everything(sandbox)
    said = operator.does("preview", opportunity_of(deal)[:15])
    assert f"{opportunity_of(deal)} would be provisioned." in said
    assert "Creates a subscription to plan-enterprise" in said
    assert "feature-seats 250" in said
    assert (everything(sandbox), stigg_writes(sandbox)) == (before, 0)
    assert operator.json("preview", opportunity_of(deal))["status"] == "ok"


def test_a_deal_that_is_not_won_is_previewed_as_if_it_were(sandbox: Sandbox, operator: Operator) -> None:
    account = sandbox.sales.account("Northwind")
    opened = sandbox.sales.close(account, "Still open", PLAN, StageName="Prospecting")
    code, _, error = operator.runs("preview", opened)
    assert code == 1
    assert "is not won (Prospecting)" in error
    assert "would be provisioned" in operator.does("preview", opened, "--trigger", "closed_won")


def test_a_deal_from_a_file_is_previewed_and_refusals_are_exit_code_1(
    sandbox: Sandbox, operator: Operator, deal: Json, tmp_path: Path
) -> None:
    file = tmp_path / "deal.json"
    file.write_text(json.dumps(deal))
    assert "would be provisioned" in operator.does("preview", "--file", str(file))
    deal["lines"][0]["stiggId"] = "plan-unknown"
    file.write_text(json.dumps({"deals": [deal]}))
    code, said, _ = operator.runs("preview", "--file", str(file))
    assert code == 1
    assert "would be refused" in said
    assert "Stigg has no plan plan-unknown" in said
    file.write_text("no json")
    assert operator.runs("preview", "--file", str(file))[0] == 2
    assert operator.runs("preview")[0] == 2
    assert "Salesforce knows no opportunity" in operator.runs("preview", "0065g00000ABCdEAAX")[2]
