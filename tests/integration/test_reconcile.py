"""A run of reconciliation as the state machine has it: what is exported, what a run makes of faults, and how it ends.

The steps that judge (compare, weigh, repair, report) are stood in for: see the folder ``reconcile_steps``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from closedwon.reconciliation.runs import SOURCES, partition_of
from integration.conftest import hurried_sandbox
from integration.scenes import SUBSCRIPTIONS, Json, opportunity_of, provision, sell
from sandbox.sandbox import ROOT, Sandbox

STEPS = ("compare", "weigh", "repair", "report")
DEALS = 4100
"""Won long ago, in 410 accounts: enough for three partitions."""
QUERY_JOBS = r"/services/data/[^/]*/jobs/query/[^/]*"


def template_with_steps_stood_in_for(folder: Path) -> Path:
    """A copy of template.yaml whose judging functions are those of the tests."""
    text = (ROOT / "template.yaml").read_text()
    for step in STEPS:
        code = f"CodeUri: functions/{step}\n"
        assert code in text
        text = text.replace(code, f"CodeUri: {ROOT}/tests/integration/reconcile_steps/{step}\n")
    for key in ("CodeUri: functions/", "ContentUri: layers/", "DefinitionUri: statemachines/"):
        text = text.replace(key, key.replace(": ", f": {ROOT}/"))
    path = folder / "template.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    template = template_with_steps_stood_in_for(tmp_path_factory.mktemp("template"))
    with hurried_sandbox(longest_invocation=40, template=template) as sandbox:
        accounts = sandbox.salesforce.seed("Account", ({"Name": f"Account {n}"} for n in range(DEALS // 10)))
        deal = {"Name": "Old", "StageName": "Closed Won", "CloseDate": "2025-01-01", "IsWon": True, "IsClosed": True}
        sandbox.salesforce.seed("Opportunity", ({**deal, "AccountId": accounts[n // 10]} for n in range(DEALS)))
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    running.reset()
    order(running)
    yield running
    running.stigg_server.heal()
    running.salesforce_server.heal()
    running.salesforce.renew_api_calls()
    running.wait_until_idle()


def order(sandbox: Sandbox, fail: Sequence[int] = (), repair: str = "go") -> None:
    """What the steps that are stood in for are to do: the partitions whose comparison fails; what the weighing says."""
    body = json.dumps({"fail": list(fail), "repair": repair})
    bucket = sandbox.aws.resources["ReconciliationBucket"]
    sandbox.aws.client("s3").put_object(Bucket=bucket, Key="orders.json", Body=body)


def start(sandbox: Sandbox, **given: Any) -> str:
    answer = sandbox.aws.client("stepfunctions").start_execution(
        stateMachineArn=sandbox.aws.state_machine_arns["ReconcileStateMachine"], input=json.dumps(given)
    )
    return str(answer["executionArn"])


def reconcile(sandbox: Sandbox, **given: Any) -> Json:
    """Run it to its end. Out: what DescribeExecution tells, `output` as data, and `states`, those it went through."""
    arn = start(sandbox, **given)
    ended = sandbox.aws.wait_for_execution(arn)
    output = json.loads(ended["output"]) if "output" in ended else {}
    return {**ended, "output": output, "states": sandbox.aws.states_entered(arn)}


def files(sandbox: Sandbox, run: Json, folder: str) -> dict[str, Any]:
    """The JSON objects of a run below a folder, by name."""
    s3, bucket = sandbox.aws.client("s3"), sandbox.aws.resources["ReconciliationBucket"]
    place = "exports" if folder.startswith("export") else "runs"
    prefix = f"{place}/{run['output']['run']['run']}/{folder}/"
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {
        item["Key"].removeprefix(prefix): json.loads(s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
        for item in found
    }


def exported(sandbox: Sandbox, run: Json) -> dict[str, list[Json]]:
    """All records that the comparison read, by source; each is in its account's partition."""
    summaries = list(files(sandbox, run, "summaries").values())
    for summary in summaries:
        for record in chain.from_iterable(summary[source] for source in SOURCES):
            assert partition_of(record["k"], len(summaries)) == summary["partition"]
    return {source: [record for s in summaries for record in s[source]] for source in SOURCES}


# What is exported


def test_everything_there_is_about_a_customer_comes_together(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Acme")
    deal = sell(sandbox, account)
    provision(sandbox, deal)
    old = sandbox.sales.account("Old customer", Stigg_Customer_ID__c="customer-acme")
    sandbox.stigg.add_customer("customer-acme")
    provision(sandbox, sell(sandbox, old))
    sandbox.stigg.add_customer("nobody")
    sandbox.stigg.add_subscription("nobody", "plan-enterprise")

    run = reconcile(sandbox, mode="all")
    assert run["states"][-1] == "Reconciled"
    assert run["output"]["run"]["partitions"] == 3
    records = exported(sandbox, run)
    about = {source: [r for r in records[source] if r["k"] == account] for source in SOURCES}
    [opportunity] = about["opportunities"]
    id = opportunity_of(deal)
    assert (opportunity["row"]["Id"], opportunity["row"]["Account"]["Name"]) == (id, "Acme")
    assert len(about["lines"]) == 3
    assert {(line["opportunity"], line["mapping"]) for line in about["lines"]} == {(id, 0)}
    assert [p["row"]["Status__c"] for p in about["provisionings"]] == ["Provisioned"]
    assert [s["row"]["planId"] for s in about["subscriptions"]] == ["plan-enterprise"]
    [slot] = {c["item"]["sk"] for c in about["customers"]} - {"CUSTOMER", f"OPPORTUNITY#{id}"}
    assert slot.startswith("SLOT#")
    assert all(isinstance(c["item"].get("rev", 0), int) for c in about["customers"])

    assert [(o["k"], o["account"]) for o in records["owners"]] == [("customer-acme", old)]
    assert [s["k"] for s in records["subscriptions"] if "salesforceAccountId" not in s["row"]["metadata"]] == ["nobody"]
    assert len(records["opportunities"]) == DEALS + 2


def test_what_changed_since_the_last_good_run_is_exported_and_who_is_overdue(sandbox: Sandbox) -> None:
    account = sandbox.sales.account("Acme")
    provision(sandbox, sell(sandbox, account))
    first = reconcile(sandbox, mode="changed")  # seeded and sold within the overlap: all of it
    assert len(exported(sandbox, first)["opportunities"]) == DEALS + 1
    table, dynamodb = sandbox.aws.resources["LedgerTable"], sandbox.aws.client("dynamodb")
    register = {"pk": {"S": "RECONCILIATION"}, "sk": {"S": "RUN"}}
    last = {":then": {"S": "2099-01-01T00:15:00.000Z"}}
    dynamodb.update_item(
        TableName=table, Key=register, UpdateExpression="SET last_good = :then", ExpressionAttributeValues=last
    )
    dynamodb.update_item(
        TableName=table,
        Key={"pk": {"S": f"ACCOUNT#{account}"}, "sk": {"S": "CUSTOMER"}},
        UpdateExpression="SET due = :due, due_at = :long_ago",
        ExpressionAttributeValues={":due": {"S": "DUE"}, ":long_ago": {"N": "1000"}},
    )
    then = reconcile(sandbox, mode="changed")
    assert then["output"]["run"]["since"] == "2099-01-01T00:00:00.000Z"
    assert exported(sandbox, then) == {**{source: [] for source in SOURCES}, "customers": [{"k": account}]}


@pytest.mark.long
def test_an_export_of_many_rounds_through_faults_has_each_record_once(sandbox: Sandbox) -> None:
    ids = [f"customer-{n}" for n in range(12_000)]
    sandbox.stigg.seed(
        ({"id": id} for id in ids),
        (
            {"id": f"s-{id}", "customerId": id, "planId": "plan-enterprise", "startDate": "2026-01-01T00:00:00Z"}
            for id in ids
        ),
    )
    # one in the first step of 100 pages, which is tried again; one in the second, which is left to a later round
    faults = ("delay_before", 20), ("answer", 1), ("delay_before", 110), ("answer", 1), ("delay_before", 99)
    for kind, times in faults:
        sandbox.stigg_server.fail(kind, "GET", SUBSCRIPTIONS, times=times, status=503, seconds=0.04)
    sandbox.salesforce_server.fail("answer", "GET", QUERY_JOBS, status=503)
    sandbox.salesforce_server.fail("drop_midway", "GET", f"{QUERY_JOBS}/results")
    run = reconcile(sandbox, mode="all")
    assert run["states"][-1] == "Reconciled"
    assert run["states"].count("ExportStigg") > 1
    records = exported(sandbox, run)
    assert sorted(record["row"]["id"] for record in records["subscriptions"]) == sorted(f"s-{id}" for id in ids)
    assert len({record["row"]["Id"] for record in records["opportunities"]}) == DEALS
    assert len(records["opportunities"]) == DEALS


# How a run ends


def test_a_partition_that_fails_costs_the_others_nothing(sandbox: Sandbox) -> None:
    order(sandbox, fail=(1,))
    run = reconcile(sandbox, mode="all")
    assert run["states"][-1] == "Reconciled"
    assert set(files(sandbox, run, "summaries")) == {"0000.json", "0002.json"}
    assert set(files(sandbox, run, "repaired")) == {"0000.json", "0001.json", "0002.json"}


@pytest.mark.parametrize("weighed", ["ask", "nothing"])
def test_nothing_is_repaired_unless_the_weighing_says_go(sandbox: Sandbox, weighed: str) -> None:
    order(sandbox, repair=weighed)
    run = reconcile(sandbox, mode="all")
    assert (run["states"][-1], "Repair" in run["states"]) == ("Reconciled", False)
    [told] = files(sandbox, run, "report").values()
    assert (told["weighed"], told["failure"]) == ({"repair": weighed}, None)


def test_salesforces_calls_for_the_day_are_left_to_others(sandbox: Sandbox) -> None:
    sandbox.salesforce.use_up_api_calls(left=1000)
    run = reconcile(sandbox, mode="all")
    assert (run["status"], run["states"][-1]) == ("SUCCEEDED", "StoppedForToday")
    assert "Compare" not in run["states"]
    [told] = files(sandbox, run, "report").values()
    assert told["failure"]["Error"] == "SalesforceBudgetSpent"
    sandbox.salesforce.renew_api_calls()
    assert reconcile(sandbox, mode="all")["states"][-1] == "Reconciled"


def test_a_run_that_fails_reports_and_fails_with_what_stopped_it(sandbox: Sandbox) -> None:
    sandbox.salesforce.fail_query_job("as the test wants it")
    run = reconcile(sandbox, mode="all")
    assert (run["status"], run["error"]) == ("FAILED", "SalesforceRefused")
    assert "as the test wants it" in run["cause"]
    assert run["states"][-3:] == ["Report", "HowItEnded", "ReconciliationFailed"]


def test_one_run_goes_on_at_a_time_and_one_that_was_stopped_holds_up_nobody(sandbox: Sandbox) -> None:
    sandbox.stigg_server.fail("delay_before", "GET", SUBSCRIPTIONS, seconds=2)
    first = start(sandbox, mode="all")
    while "Export" not in sandbox.aws.states_entered(first):
        pass
    second = reconcile(sandbox, mode="changed")
    assert (second["status"], second["states"]) == ("SUCCEEDED", ["Begin", "AnotherRunIsUnderWay"])
    sandbox.aws.client("stepfunctions").stop_execution(executionArn=first)
    assert sandbox.aws.wait_for_execution(first)["status"] == "ABORTED"
    assert reconcile(sandbox, mode="changed")["states"][-1] == "Reconciled"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, 'mode must be \\"changed\\" or \\"all\\"'),
        ({"mode": "everything"}, 'mode must be \\"changed\\" or \\"all\\"'),
        ({"mode": "all", "deep": "yes"}, "deep must be true or false"),
        ({"mode": "all", "aproved": True}, "the input has no field aproved"),
    ],
)
def test_an_input_that_is_not_understood_is_refused_with_the_field(sandbox: Sandbox, given: Json, said: str) -> None:
    run = reconcile(sandbox, **given)
    assert (run["error"], run["states"]) == ("RunInputInvalid", ["Begin", "ReconciliationFailed"])
    assert said in run["cause"]


@pytest.mark.parametrize(
    ("schedule", "mode", "deep"), [("Changed", "changed", False), ("All", "all", False), ("Deep", "all", True)]
)
def test_the_schedules_start_runs(sandbox: Sandbox, schedule: str, mode: str, deep: bool) -> None:
    ended = sandbox.aws.run_schedule(f"ReconcileStateMachine{schedule}").value()
    assert (ended["run"]["mode"], ended["run"]["deep"], ended["run"]["approved"]) == (mode, deep, False)
