"""A ledger that was lost is restored from a backup; what was accepted since is found again in Salesforce."""

from __future__ import annotations

from datetime import UTC, datetime

from integration.scenes import access, everything, provision, sell, shown, sweep
from integration.terminal import Operator
from sandbox.sales import Sold
from sandbox.sandbox import Sandbox

CREDITS = Sold("currency-ai-credits", 500)


def backup(sandbox: Sandbox, name: str) -> str:
    """What point-in-time recovery makes of the ledger as it is now."""
    sandbox.aws.client("dynamodb").restore_table_to_point_in_time(
        SourceTableName=sandbox.aws.resources["LedgerTable"],
        TargetTableName=name,
        UseLatestRestorableTime=True,
    )
    return name


def lose_the_ledger(sandbox: Sandbox) -> None:
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    for item in dynamodb.scan(TableName=table, ProjectionExpression="pk, sk")["Items"]:
        dynamodb.delete_item(TableName=table, Key=item)


def test_a_restored_ledger_goes_on_and_what_was_accepted_since_is_found_by_a_reconciliation(
    sandbox: Sandbox, operator: Operator
) -> None:
    before, after = sandbox.sales.account("Before the backup"), sandbox.sales.account("After it")
    old = sell(sandbox, before)
    provision(sandbox, old)
    table = backup(sandbox, f"restored-{datetime.now(UTC):%H%M%S%f}")
    product = sandbox.sales.product(CREDITS.stigg_id)
    sandbox.salesforce.update("Product2", product, Stigg_Type__c="Credit grant")
    today = datetime.now(UTC).date().isoformat()
    new = sell(sandbox, after, Sold("plan-enterprise"), CREDITS, fields={"CloseDate": today})
    provision(sandbox, new)
    sandbox.salesforce.backdate("Opportunity", new["opportunity"]["id"], 3600)  # else its callout may be on its way
    stood = {account: access(sandbox, account) for account in (before, after)}
    lose_the_ledger(sandbox)

    code, _, errors = operator.runs("restore", table, "--yes")
    assert (code, "the stack is not paused" in errors) == (1, True)
    operator.does("pause")
    code, _, errors = operator.runs("restore", sandbox.aws.resources["LedgerTable"], "--yes")
    assert (code, "is the ledger itself" in errors) == (1, True)
    said = operator.does("restore", table, "--yes")
    assert "1 customers" in said
    operator.does("resume")
    assert sandbox.status(old["opportunity"]["id"]).json()["status"] == "Provisioned"
    assert sandbox.status(new["opportunity"]["id"]).status_code == 404

    before_run = everything(sandbox)
    operator.does("reconcile", "--mode", "all", "--wait")
    sweep(sandbox)
    assert sandbox.status(new["opportunity"]["id"]).json()["status"] == "Provisioned"
    assert {account: access(sandbox, account) for account in (before, after)} == stood
    assert everything(sandbox)["customers"] == before_run["customers"]
    assert shown(sandbox, new) == ("Provisioned", None)
    assert len(sandbox.stigg.grants(after)) == 1, "granted before the ledger was lost, and not again"
