"""report: writes what a run of reconciliation found and repaired, and what needs a person.

The last step of a run, after success and after failure. It also closes the run in the register, so that the next one
can begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.instants import from_milliseconds
from closedwon.reconciliation import report_files, report_message, report_page
from closedwon.reconciliation.report import FILES, Compared, Ending, Repairs, Report
from closedwon.reconciliation.report_words import Places
from closedwon.reconciliation.runs import ObjectWriter, Run, Storage, key
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()


def places(stack: Stack) -> Places:
    """Where the report's links lead."""
    settings = stack.settings
    return Places(
        salesforce_url=settings["SALESFORCE_URL"],
        app_url=settings["STIGG_APP_URL"],
        bucket=settings["RECONCILIATION_BUCKET"],
        stack=settings["STACK_NAME"],
        zone=ZoneInfo(settings["TIME_ZONE"]),
    )


def repaired(run: Run, weighed: Mapping[str, Any] | None, storage: Storage) -> Repairs:
    """The repairs that were carried out, from the files that `repair` wrote for each partition."""
    if (weighed or {}).get("repair") != "go":
        return Repairs()
    found = (
        (partition, storage.get_json(run, f"repaired/{partition:04d}.json")) for partition in range(run.partitions)
    )
    # A partition whose repair failed left no file.
    return Repairs.of({partition: done for partition, done in found if done is not None})


def write(ending: Ending, storage: Storage, where: Places) -> Report:
    """Write the report's files to S3. It is safe to repeat: it writes the same files again."""
    run = ending.run
    compared = Compared.of(storage.summaries(run))
    repairs = repaired(run, ending.weighed, storage)

    def findings() -> Iterator[tuple[int, Iterator[Mapping[str, Any]]]]:
        for partition in sorted(compared.partitions):
            yield partition, storage.findings(run, partition)

    with (
        # Both in one pass and in parts: neither disk nor memory holds every finding of a large run (decision 47).
        ObjectWriter(storage, run, FILES["lines"], "application/x-ndjson; charset=utf-8") as lines,
        ObjectWriter(storage, run, FILES["csv"], "text/csv; charset=utf-8") as rows,
    ):
        tally = report_files.write_findings(findings(), repairs, where, lines.write, rows.write)
    told = Report(ending, compared, repairs, tally)
    with ObjectWriter(storage, run, FILES["page"], "text/html; charset=utf-8") as page:
        page.write(report_page.page(told, where))
    storage.put_json(run, FILES["summary"], report_files.summary(told))
    return told


def notify(told: Report, where: Places, stack: Stack) -> None:
    """Notify the topic's subscribers where the run deserves it. They can filter by the message's attributes."""
    topic = stack.settings.get("NOTIFICATION_TOPIC")
    if not topic or not report_message.worth_telling(told):
        return
    attributes = {"mode": told.run.mode, "state": told.state}
    sns = stack.client("sns", retries={"mode": "standard", "total_max_attempts": 6})
    sns.publish(
        TopicArn=topic,
        Subject=report_message.subject(told, where),
        Message=report_message.message(told, where),
        MessageAttributes={name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()},
    )


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    ending = Ending(
        run=Run.of(event["run"]),
        execution=event["execution"],
        ended_at=from_milliseconds(stack.now()).isoformat(timespec="milliseconds"),
        weighed=event["weighed"],
        exported=event["exported"],
        failure=event["failure"],
    )
    where = places(stack)
    told = write(ending, stack.storage, where)
    stack.register.finish(ending.run, told.good)
    for one in report_files.measured(told):
        metrics.note(one.name, one.value, **one.by)
    notify(told, where, stack)  # the last: what fails before it is tried again, and nobody wants to be told twice
    result = {
        "report": key(ending.run, FILES["page"]),
        "customers": told.compared.customers,
        "findings": told.tally.count(),
        "repaired": told.tally.count("repaired"),
        "needsPerson": told.tally.count("needs_person"),
    }
    logger.info("reported", extra={"run": ending.run.id, "state": told.state, **result})
    return result
