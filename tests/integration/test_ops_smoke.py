"""The smoke test, as an operator runs it after a deployment."""

from __future__ import annotations

from integration.scenes import everything
from integration.terminal import Operator
from sandbox.sandbox import Sandbox


def test_a_stack_that_is_well_passes_and_keeps_no_trace(sandbox: Sandbox, operator: Operator) -> None:
    before = everything(sandbox)
    said = operator.does("smoke")
    assert "All 10 checks are well." in said
    assert all(check["ok"] for check in operator.json("smoke"))
    assert everything(sandbox) == before
    table = sandbox.aws.client("dynamodb").scan(TableName=sandbox.aws.resources["LedgerTable"])["Items"]
    kinds = {item["pk"]["S"].partition("#")[0] for item in table}
    assert kinds <= {"CATALOGUE", "GOVERNOR", "PACKAGE"}, "no deal is recorded"


def test_what_is_not_well_is_named_and_keeps_no_other_check_from_being_made(
    sandbox: Sandbox, operator: Operator
) -> None:
    sandbox.aws.put_secret("StiggSecret", {"apiKey": "server-revoked"})
    code, said, _ = operator.runs("smoke")
    sandbox.aws.put_secret("StiggSecret", {"apiKey": sandbox.stigg_api_key})
    assert code == 1
    assert "✗ Stigg takes the key" in said
    assert "✓ Salesforce lets the server in" in said
    assert "server-revoked" not in said

    code, said, _ = operator.runs("smoke", CLOSEDWON_KEY="y" * 48)
    assert code == 1
    assert "the callout key is not accepted" in said


def test_what_is_no_stack_of_closed_won_is_said(operator: Operator, sandbox: Sandbox) -> None:
    code, _, errors = operator.runs("smoke", stack="elsewhere")
    assert code == 1
    assert f"there is no stack called elsewhere in account {sandbox.aws.account}" in errors
    assert "Name one with --stack: sandbox." in errors
    code, _, errors = operator.runs(
        "smoke", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="", AWS_EC2_METADATA_DISABLED="true"
    )
    assert (code, "no AWS credentials" in errors) == (1, True), errors
    code, _, errors = operator.runs("smoke", AWS_REGION="", AWS_DEFAULT_REGION="")
    assert (code, "no AWS region is chosen" in errors) == (1, True), errors
    code, _, errors = operator.runs("--profile", "nobody", "smoke")
    assert (code, "nobody" in errors) == (1, True), errors
