"""The last step of a run, against S3, DynamoDB and SNS as moto has them: what it leaves where, also when done again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from closedwon.aws.metrics import NAMESPACE
from closedwon.reconciliation.finding import Finding
from closedwon.reconciliation.runs import ObjectWriter, key
from closedwon.stack import Stack
from functions.report import app
from unit.aws import Invocation, make_ledger, make_topic, told
from unit.reports import ARN, EXPORTED, GO, RUN, finding, repaired, summary

BUCKET = "reports"
OTHER = ARN.replace("5c0ffee0", "00000000")


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A bucket, a ledger with the run in its register, and a topic whose messages go to a queue."""
    with mock_aws():
        boto3.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        make_ledger(boto3.client("dynamodb"))
        yield stack_with(make_topic())


def stack_with(topic: str) -> Stack:
    stack = Stack(
        {
            "RECONCILIATION_BUCKET": BUCKET,
            "LEDGER_TABLE": "ledger",
            "NOTIFICATION_TOPIC": topic,
            "STACK_NAME": "prod",
            "SALESFORCE_URL": "https://acme.my.salesforce.com",
            "STIGG_APP_URL": "https://app.stigg.io/production",
            "TIME_ZONE": "Europe/Berlin",
        }
    )
    stack.register.enter(RUN.id, ARN, "2026-11-22", "", lambda _: False)
    return stack


@pytest.fixture(autouse=True)
def of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log and the metrics read from the environment themselves."""
    monkeypatch.setenv("STACK_NAME", "prod")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "closed-won")


def compared(stack: Stack, *partitions: list[Finding], carried_out: bool = True) -> None:
    """What the steps before leave in S3."""
    for partition in range(RUN.partitions):
        found = partitions[partition] if partition < len(partitions) else []
        stack.storage.put_findings(RUN, partition, [one.to_json() for one in found])
        stack.storage.put_summary(RUN, partition, summary(partition, 10))
        if carried_out:
            stack.storage.put_json(RUN, f"repaired/{partition:04d}.json", {"accepted": 0, "madeDue": 1, "leftAlone": 0})


def end(stack: Stack, **changes: Any) -> dict[str, Any]:
    event = {"run": RUN.to_json(), "execution": ARN, "exported": EXPORTED, "weighed": GO, "failure": None}
    return app.lambda_handler({**event, **changes}, Invocation(), stack)


def stored(name: str) -> str:
    body: bytes = boto3.client("s3").get_object(Bucket=BUCKET, Key=key(RUN, name))["Body"].read()
    return body.decode()


def register() -> dict[str, str]:
    item = boto3.client("dynamodb").get_item(
        TableName="ledger", Key={"pk": {"S": "RECONCILIATION"}, "sk": {"S": "RUN"}}
    )["Item"]
    return {name: value["S"] for name, value in item.items()}


def test_it_writes_what_was_found_for_people_and_machines_and_says_so(stack: Stack) -> None:
    compared(stack, [repaired(1), finding(2)], [], [finding(3)])
    assert end(stack) == {
        "report": f"runs/{RUN.id}/report/report.html",
        "customers": 40,
        "findings": 3,
        "repaired": 1,
        "needsPerson": 2,
    }
    assert "3 of 40" in stored("report/report.html").replace("\u00a0", " ")
    assert len(stored("report/findings.jsonl").splitlines()) == 3
    assert len(stored("report/findings.csv").splitlines()) == 4
    assert json.loads(stored("report/summary.json"))["customersMadeDue"] == 4
    page = boto3.client("s3").head_object(Bucket=BUCKET, Key=key(RUN, "report/report.html"))
    assert page["ContentType"] == "text/html; charset=utf-8"
    [message] = told()
    assert message["Subject"] == "Reconciliation (prod): 3 of 40 customers differ: 1 repaired, 2 need somebody."
    assert message["MessageAttributes"]["state"]["Value"] == "attention"


def test_a_good_run_is_what_the_next_goes_on_from(stack: Stack) -> None:
    compared(stack)
    end(stack)
    assert register()["last_good"] == RUN.started_at
    assert "execution" not in register()


def test_a_failed_run_is_over_and_reported_and_not_gone_on_from(stack: Stack) -> None:
    cause = json.dumps({"errorMessage": "S3 answered 503", "stackTrace": ["secret"]})
    end(stack, exported=None, weighed=None, failure={"Error": "StorageUnavailable", "Cause": cause})
    assert "last_good" not in register()
    assert "execution" not in register()
    assert "S3 answered 503" in stored("report/report.html").replace("\u00a0", " ")
    assert stored("report/findings.jsonl") == ""
    [message] = told()
    assert "secret" not in json.dumps(message)


def test_reporting_again_writes_the_same_files_and_never_touches_another_run(stack: Stack) -> None:
    compared(stack, [finding(1)])
    end(stack)
    before = stored("report/findings.csv")
    stack.register.enter("another", OTHER, "2026-11-23", "", lambda _: False)
    end(stack)
    assert stored("report/findings.csv") == before
    assert register()["execution"] == OTHER


def test_without_a_topic_nobody_is_told(stack: Stack) -> None:
    silent = stack_with("")
    compared(silent, [finding(1)])
    end(silent)
    assert told() == []


def test_cloudwatch_reads_the_metrics_off_the_log(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    compared(stack, [repaired(1), finding(2, "missed_deal")])
    end(stack)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    metrics = {}
    for line in lines:
        [directive] = line["_aws"]["CloudWatchMetrics"]
        [dimensions] = directive["Dimensions"]
        assert directive["Namespace"] == NAMESPACE
        for metric in directive["Metrics"]:
            named = tuple(sorted((name, line[name]) for name in dimensions))
            metrics[metric["Name"], metric["Unit"], named] = line[metric["Name"]]
    of_stack = (("Stack", "prod"),)
    assert metrics["DriftFound", "Count", of_stack] == 2
    assert metrics["DriftFound", "Count", (("Kind", "missed_deal"), *of_stack)] == 1
    assert metrics["RunsGood", "Count", (("Mode", "all"), *of_stack)] == 1
    assert metrics["RunSeconds", "Seconds", of_stack] > 0


def test_a_large_object_comes_in_parts_and_is_there_whole_or_not_at_all(stack: Stack) -> None:
    line = "x" * 1023 + "\n"
    with ObjectWriter(stack.storage, RUN, "large", "text/plain") as writer:
        for _ in range(20 * 1024):
            writer.write(line)
    assert stored("large") == line * 20 * 1024
    head = boto3.client("s3").head_object(Bucket=BUCKET, Key=key(RUN, "large"))
    assert head["ETag"].endswith('-3"')  # parts

    def broken() -> None:
        with ObjectWriter(stack.storage, RUN, "broken", "text/plain") as writer:
            writer.write(line * 10 * 1024)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    with pytest.raises(boto3.client("s3").exceptions.NoSuchKey):
        stored("broken")
