"""export_ledger: exports the customers from the ledger to S3.

For a reconciliation of everything, DynamoDB itself exports the table as it is at one moment, which costs no read
capacity; here that export is read and partitioned. In mode ``changed`` only the accounts are written that are long
overdue, and those whose subscriptions an event of Stigg's showed to be changed there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws.event_register import EventRegister
from closedwon.aws.ledger import Ledger
from closedwon.aws.ledger_items import exported
from closedwon.domain.errors import LedgerExportFailed, safe_text
from closedwon.domain.instants import from_iso, milliseconds
from closedwon.reconciliation.exporting import Json, Shift, one_round
from closedwon.reconciliation.runs import PartitionWriter, Run, Storage, key
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

OVERDUE_MILLISECONDS = 3_600_000
"""How long a customer has to be due before a run in mode ``changed`` compares it: an hour."""

EXPORT_SECONDS = 20
"""Seconds between two polls of an export, which takes minutes."""

LINES_A_STEP = 200_000
"""Lines written in one batch: few large objects, and only seconds of work to repeat after a failure."""


class LedgerExport:
    """One run's export of the table. Keeps the file it reads open from step to step.

    In: the run; where it is stored; a boto3 DynamoDB client; the table's ARN; how many lines are written together.
    """

    def __init__(
        self, run: Run, storage: Storage, dynamodb: Any, table_arn: str, lines_a_step: int = LINES_A_STEP
    ) -> None:
        self._run = run
        self._storage = storage
        self._dynamodb = dynamodb
        self._table_arn = table_arn
        self._lines_a_step = lines_a_step
        self._open: tuple[int, int, Iterator[bytes]] | None = None

    def step(self, progress: Json) -> Json:
        """Start the export, or poll it, or write the next lines of its files."""
        if "export" not in progress:
            return {**progress, "export": self._ask(), "calls": 1, "wait": EXPORT_SECONDS}
        if "files" not in progress:
            files = self._files(progress["export"])
            calls = progress["calls"] + 1
            if files is None:
                return {**progress, "calls": calls, "wait": EXPORT_SECONDS}
            return {**progress, "calls": calls, "files": files, "file": 0, "line": 0}
        return self._write(progress)

    def _ask(self) -> str:
        """Start the export. Out: its ARN. The client token is the run, so starting again gives the same export."""
        answer = self._dynamodb.export_table_to_point_in_time(
            TableArn=self._table_arn,
            ClientToken=self._run.id,
            S3Bucket=self._storage.bucket,
            S3Prefix=key(self._run, "ledger"),
            ExportFormat="DYNAMODB_JSON",
        )
        return str(answer["ExportDescription"]["ExportArn"])

    def _files(self, arn: str) -> str | None:
        """The key of the list of the export's files; None while it is under way. Raises LedgerExportFailed."""
        export = self._dynamodb.describe_export(ExportArn=arn)["ExportDescription"]
        if export["ExportStatus"] == "IN_PROGRESS":
            return None
        if export["ExportStatus"] != "COMPLETED":
            why = safe_text(export.get("FailureMessage")) or "no reason given"
            raise LedgerExportFailed(f"DynamoDB could not export the ledger: {why}")
        manifest = json.loads(b"".join(self._storage.lines_of(export["ExportManifest"])))
        return str(manifest["manifestFilesS3Key"])

    def _write(self, progress: Json) -> Json:
        # The list stays in S3, because what the state machine carries is limited to 256 KB.
        files = [json.loads(line)["dataFileS3Key"] for line in self._storage.lines_of(progress["files"])]
        file, line = progress["file"], progress["line"]
        # Only where there is no file at all: the step that ends the last file says so itself.
        if file == len(files):
            return {**progress, "done": True}
        taken = written = 0
        with self._storage.batch(self._run, f"ledger-{file}-{line}") as writer:
            for text in islice(self._from(files, file, line), self._lines_a_step):
                taken += 1
                self._add(writer, text)
            written = writer.records
        self._open = (file, line + taken, self._open[2]) if self._open else None
        # A file that ends just at a step's end gives the next step nothing, and is over then.
        over = taken < self._lines_a_step
        return {
            **progress,
            "file": file + 1 if over else file,
            "line": 0 if over else line + taken,
            "done": over and file + 1 == len(files),
            "records": progress["records"] + written,
        }

    def _from(self, files: list[str], file: int, line: int) -> Iterator[bytes]:
        """The lines of a file from a given one on: where the last step stopped, or counted from the beginning."""
        if self._open is None or self._open[:2] != (file, line):
            lines = self._storage.unzipped_lines(files[file])
            # Reads over the first lines: a gzip file cannot be entered in the middle.
            next(islice(lines, line, line), None)
            self._open = (file, line, lines)
        return self._open[2]

    @staticmethod
    def _add(writer: PartitionWriter, text: bytes) -> None:
        if (found := exported(text)) is None:
            return
        account, item = found
        writer.add("customers", account, {"item": item})
        if item["sk"] == "CUSTOMER":
            # Subscriptions without our metadata are exported under the customer's ID: this leads from there to the
            # account (decision 43).
            customer_id = json.loads(item["body"]).get("customer_id")
            if customer_id is not None and customer_id != account:
                writer.add("owners", customer_id, {"account": account})


def noticed(run: Run, progress: Json, storage: Storage, ledger: Ledger, register: EventRegister) -> Json:
    """Write the accounts that are long overdue, and those that were marked since the last run, all at once."""
    since = milliseconds(from_iso(run.since))
    with storage.batch(run, "overdue") as writer:
        for account in dict.fromkeys([*ledger.overdue(OVERDUE_MILLISECONDS), *register.marked(since)]):
            writer.add("customers", account, {})
    return {**progress, "done": True, "records": writer.records}


def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> Json:
    run = Run.of(event["run"])
    shift = Shift(context.get_remaining_time_in_millis)
    export = LedgerExport(run, stack.storage, stack.dynamodb, stack.settings["LEDGER_TABLE_ARN"])

    def changed(so_far: Json) -> Json:
        return noticed(run, so_far, stack.storage, stack.ledger, stack.event_register)

    step = export.step if run.mode == "all" else changed
    progress = one_round(event["progress"], step, shift)
    logger.info("exported", extra={"run": run.id, **{name: progress[name] for name in ("done", "calls", "records")}})
    return progress
