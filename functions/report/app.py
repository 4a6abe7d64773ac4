"""report: the last step of a run of reconciliation, after success and after failure: tells people and machines what was
found, what was repaired, and what needs somebody; and strikes the run from the register.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from aws_lambda_powertools.logging import Logger

from closedwon.aws import clients, metrics
from closedwon.reconciliation import report_files, report_message, report_page, run_register, runs
from closedwon.reconciliation.report import FILES, Compared, Ending, Repairs, Report
from closedwon.reconciliation.report_words import Places
from closedwon.reconciliation.runs import ObjectWriter, Run
from closedwon.settings import setting

logger = Logger()


@cache
def sns() -> Any:
    return clients.client("sns", retries={"mode": "standard", "total_max_attempts": 6})


def places() -> Places:
    """Where the report's links lead."""
    return Places(
        salesforce_url=setting("SALESFORCE_URL"),
        app_url=setting("STIGG_APP_URL"),
        bucket=runs.bucket(),
        stack=setting("STACK_NAME"),
        zone=ZoneInfo(setting("TIME_ZONE")),
    )


def repaired(run: Run, weighed: Mapping[str, Any] | None) -> Repairs:
    """What was carried out, from what `repair` left of each partition."""
    if (weighed or {}).get("repair") != "go":
        return Repairs()
    found = ((partition, runs.get_json(run, f"repaired/{partition:04d}.json")) for partition in range(run.partitions))
    return Repairs.of({partition: done for partition, done in found if done is not None})


def write(ending: Ending) -> Report:
    """Write all that is told into S3. Doing so again writes the same files again."""
    run, where = ending.run, places()
    compared = Compared.of(runs.summaries(run))
    repairs = repaired(run, ending.weighed)

    def findings() -> Iterator[tuple[int, Iterator[Mapping[str, Any]]]]:
        for partition in sorted(compared.partitions):
            yield partition, runs.findings(run, partition)

    with (
        ObjectWriter(run, FILES["lines"], "application/x-ndjson; charset=utf-8") as lines,
        ObjectWriter(run, FILES["csv"], "text/csv; charset=utf-8") as rows,
    ):
        tally = report_files.tell(findings(), repairs, where, lines.write, rows.write)
    told = Report(ending, compared, repairs, tally)
    with ObjectWriter(run, FILES["page"], "text/html; charset=utf-8") as page:
        page.write(report_page.page(told, where))
    runs.put_json(run, FILES["summary"], report_files.summary(told))
    return told


def notify(told: Report) -> None:
    """Tell who subscribed, where there is something to tell. By its attributes they can choose what they hear of."""
    topic = os.environ.get("NOTIFICATION_TOPIC")
    if not topic or not report_message.worth_telling(told):
        return
    attributes = {"mode": told.run.mode, "state": told.state}
    sns().publish(
        TopicArn=topic,
        Subject=report_message.subject(told, places()),
        Message=report_message.message(told, places()),
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    ending = Ending(
        run=Run.of(event["run"]),
        execution=event["execution"],
        ended_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        weighed=event["weighed"],
        exported=event["exported"],
        failure=event["failure"],
    )
    told = write(ending)
    run_register.finish(ending.run, told.good)
    for one in report_files.measured(told):
        metrics.note(one.name, one.value, **one.by)
    notify(told)  # the last: what fails before it is tried again, and nobody wants to be told twice
    result = {
        "report": runs.key(ending.run, FILES["page"]),
        "customers": told.compared.customers,
        "findings": told.tally.count(),
        "repaired": told.tally.count("repaired"),
        "needsPerson": told.tally.count("needs_person"),
    }
    logger.info("reported", extra={"run": ending.run.id, "state": told.state, **result})
    return result
