"""closedwon history and replay, as an operator uses them after an outage: see what failed, and have it done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.scenes import (
    SUBSCRIPTIONS,
    Json,
    due,
    everything,
    executions,
    head,
    opportunity_of,
    provision,
    revised,
    seen,
    sell,
    subscriptions,
    sweep,
)
from integration.terminal import Operator
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

PLAN = Sold("plan-enterprise", 1, 48000)


def account_of(deal: Json) -> str:
    return str(deal["account"]["id"])


@pytest.fixture
def fine(sandbox: Sandbox) -> Json:
    """A deal that was provisioned."""
    deal = sell(sandbox, sandbox.sales.account("Fine"), PLAN)
    provision(sandbox, deal)
    return deal


@pytest.fixture
def failed(sandbox: Sandbox, fine: Json) -> Json:
    """A deal that failed while Stigg was away."""
    sandbox.stigg_server.fail("answer", "GET", SUBSCRIPTIONS, status=503, times=99)
    deal = sell(sandbox, sandbox.sales.account("Failed"), PLAN)
    provision(sandbox, deal)
    sandbox.stigg_server.heal()
    return deal


@pytest.fixture
def refused(sandbox: Sandbox) -> Json:
    """A deal that Stigg's catalogue refuses."""
    deal = sell(sandbox, sandbox.sales.account("Refused"), PLAN, Sold("addon-legacy-import"))
    provision(sandbox, deal)
    return deal


def test_history_tells_failures_first_with_error_and_cause(
    sandbox: Sandbox, operator: Operator, failed: Json, fine: Json
) -> None:
    said = operator.does("history")
    assert said.index(opportunity_of(failed)) < said.index(opportunity_of(fine))
    assert "1 failure: 1 StiggUnavailable." in said
    assert "HTTP 503" in said
    told = operator.json("history")
    assert [one["status"] for one in told["executions"]] == ["FAILED", "SUCCEEDED"]
    assert told["executions"][0]["dealNow"] == "Failed"
    assert told["more"] is False


def test_history_can_be_narrowed_and_says_when_it_is_cut_off(
    sandbox: Sandbox, operator: Operator, failed: Json, refused: Json, fine: Json
) -> None:
    def deals(*options: str) -> list[str]:
        return [one["opportunityId"] for one in operator.json("history", *options)["executions"]]

    assert deals("--status", "failed") == [opportunity_of(refused), opportunity_of(failed)]
    assert deals("--cause", "unavailable") == [opportunity_of(failed)]
    assert deals("--account", account_of(fine)) == [opportunity_of(fine)]
    assert deals("--since", "2100-01-01") == []
    assert "There are more" in operator.does("history", "--limit", "1")
    assert operator.json("history", "--limit", "1")["more"] is True
    code, _, error = operator.runs("history", "--since", "yesterday")
    assert code == 2
    assert "is no time: say 30m, 2h, 3d" in error


def test_what_waits_for_people_is_told_from_salesforce_and_what_is_due_from_the_ledger(
    sandbox: Sandbox, operator: Operator, refused: Json, fine: Json
) -> None:
    said = operator.does("history", "--held")
    assert "1 deal waits for people" in said
    assert opportunity_of(refused) in said
    assert opportunity_of(fine) not in said
    assert "Nothing is due in the ledger." in said
    sandbox.salesforce_server.fail("answer", status=503, times=99)
    code, said, error = operator.runs("history", "--held")
    assert code == 1
    assert "Nothing is due in the ledger." in said
    assert "Salesforce could not be asked" in error


def test_a_dry_run_tells_and_does_nothing(sandbox: Sandbox, operator: Operator, failed: Json, fine: Json) -> None:
    before, began = everything(sandbox), len(executions(sandbox))
    said = operator.does("replay", opportunity_of(failed), account_of(fine), "--dry-run")
    assert "try again what failed" in said
    assert "Stigg and Salesforce are as they should be." in said
    assert "Nothing was done: this was a dry run." in said
    assert sweep(sandbox) == 0
    assert (everything(sandbox), len(executions(sandbox))) == (before, began)


def test_what_failed_is_tried_again_once_the_operator_says_yes(
    sandbox: Sandbox, operator: Operator, failed: Json
) -> None:
    assert operator.runs("replay", "--failed-since", "2h", answer="n\n")[0] == 1
    assert sweep(sandbox) == 0
    code, said, _ = operator.runs("replay", "--failed-since", "2h", answer="y\n")
    assert code == 0
    assert "1 customer is due; the sweep starts it within a minute." in said
    assert "it is due, and the sweep starts it within a minute" in operator.does("replay", account_of(failed), "--yes")
    assert sweep(sandbox) == 1
    assert len(subscriptions(sandbox, account_of(failed))) == 1
    again = operator.does("replay", "--failed-since", "2h", "--yes")
    assert "nothing to do" in again
    assert "Nothing was done." in again


@pytest.mark.parametrize("mended", [True, False])
def test_waiting_tells_how_it_ended(sandbox: Sandbox, operator: Operator, failed: Json, mended: bool) -> None:
    if not mended:
        sandbox.stigg_server.fail("answer", "GET", SUBSCRIPTIONS, status=503, times=99)
    with operator.begins("replay", opportunity_of(failed), "--yes", "--wait", "--json") as process:
        seen(sandbox, lambda: bool(operator_made_it_due(sandbox, failed)))
        assert sweep(sandbox) == 1
        said, errors = process.communicate(timeout=600)
    assert process.returncode == (0 if mended else 1), errors
    assert f'"failed": {"false" if mended else "true"}' in said
    assert ("StiggUnavailable" in said) is not mended


def operator_made_it_due(sandbox: Sandbox, deal: Json) -> bool:
    """Whether the failure was forgotten, which is what making due does."""
    return due(sandbox, account_of(deal)) and head(sandbox, account_of(deal))[1]["failures"] == 0


def test_what_differs_is_repaired_and_what_was_changed_by_hand_is_left_to_people(
    sandbox: Sandbox, operator: Operator, fine: Json
) -> None:
    record = sandbox.provisioning(opportunity_of(fine))
    assert record is not None
    sandbox.salesforce.update("Stigg_Provisioning__c", record["Id"], Status__c="Failed")
    said = operator.does("replay", opportunity_of(fine), "--yes")
    assert "bring in line what differs" in said
    assert sweep(sandbox) == 1
    mended = sandbox.provisioning(opportunity_of(fine))
    assert mended is not None
    assert mended["Status__c"] == "Provisioned"
    [subscription] = subscriptions(sandbox, account_of(fine))
    sandbox.stigg.change_subscription(subscription["id"], addons=[{"id": "addon-extra-workspace", "quantity": 9}])
    said = operator.does("replay", opportunity_of(fine), "--yes")
    assert "Left to people" in said
    assert "Nothing was done." in said


def test_a_refused_deal_and_a_held_one_say_what_to_do_instead(
    sandbox: Sandbox, operator: Operator, refused: Json, tmp_path: Path
) -> None:
    held = sell(sandbox, sandbox.sales.account("Held"), PLAN, Sold("feature-seats", 500))
    provision(sandbox, revised(held, 0))
    provision(sandbox, revised(held, 1, feature_seats=50))
    file = tmp_path / "ids.txt"
    file.write_text(f"{opportunity_of(refused)}  # refused\n\n{opportunity_of(held)},x\n0065g00000ABCdEAAX\n")
    code, said, _ = operator.runs("replay", "--file", str(file), "--yes")
    flat = " ".join(said.split())
    assert code == 1  # one of them is unknown
    assert "Mend the deal in Salesforce, which sends it again." in flat
    assert f"closedwon approve {opportunity_of(held)}" in flat
    assert "never reached closed-won" in flat
    assert "Nothing was done." in said


def test_replay_without_anybody_is_misuse(operator: Operator) -> None:
    code, _, error = operator.runs("replay")
    assert code == 2
    assert "name opportunities or accounts" in error
