"""``closedwon reconcile``: start a run of reconciliation, follow it, fetch its report."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Literal

import click
from botocore.exceptions import ClientError
from rich.status import Status

from closedwon.domain.links import execution_url, object_url
from closedwon.reconciliation.finding import KINDS
from closedwon.reconciliation.report import FILES
from closedwon.reconciliation.runs import Run
from closedwon.words.counted import counted, duration
from ops import show
from ops.executions import Execution, Executions
from ops.show import json_option, say, stop
from ops.stack import Chosen

Json = dict[str, Any]

ACTS_AS = "ReportFunction"

EVERY = 2
"""Seconds between two looks at a run while waiting."""

INTERRUPTED = 130

DOING = {
    "Begin": "Beginning",
    "Export": "Reading Salesforce, Stigg and the ledger",
    "Compare": "Comparing",
    "Weigh": "Weighing what was found",
    "Repair": "Repairing",
    "Report": "Writing the report",
}
"""What a run is doing, by the state it is in."""


class Reconciliation:
    """Runs of a stack's reconciliation."""

    def __init__(self, chosen: Chosen) -> None:
        self.stack = chosen.stack
        self._storage = self.stack.parts(ACTS_AS).storage
        self._client = self.stack.client("stepfunctions")
        self.executions = Executions(self._client, self.stack.outputs["ReconcileStateMachineArn"])

    def under_way(self) -> Execution | None:
        """The run that is under way, if there is one."""
        return next(self.executions.listed("RUNNING"), None)

    def start(self, mode: str, deep: bool, approved: bool) -> Execution:
        """Start a run. Raises ClickException while one is under way."""
        # Only to say so early: of two that start at once, the register of runs lets one go on.
        if running := self.under_way():
            stop(
                f"a run is under way since {running.started:%Y-%m-%d %H:%M:%S %Z}, and there is one at a time. Follow "
                f"it with --follow, or look at {execution_url(running.arn)}"
            )
        given = json.dumps({"mode": mode, "deep": deep, "approved": approved})
        started = self._client.start_execution(stateMachineArn=self.executions.state_machine, input=given)
        return Execution(started["executionArn"], "RUNNING", started["startDate"])

    def follow(self, arn: str, status: Status) -> Execution:
        """Wait for a run's end, saying what it is doing."""
        while (now := self.executions.describe(arn)).status == "RUNNING":
            # The states in between, such as choices, say nothing to an operator.
            entered = [step.state for step in self.executions.steps(arn) if step.state in DOING]
            seconds = f" ({duration(time.time() - now.started.timestamp())})" if now.started else ""
            status.update(f"{DOING[entered[-1]] if entered else 'Beginning'} ...{seconds}")
            time.sleep(EVERY)
        return now

    def result(self, ended: Execution) -> Json:
        """How a run ended: what it found, and where its report is."""
        run = ended.output.get("run") or {}
        if not run and ended.failed:  # a failed execution has no output: the report's own record says whose it is
            run = self._run_of(ended.arn)
        # A run that stopped for lack of API calls ends well, and says so in its output.
        failure = ended.output.get("failure") or {}
        summary = self._storage.get_json(Run.of(run), FILES["summary"]) if run else None
        return {
            **ended.to_json(),
            "error": ended.error or failure.get("Error", ""),
            "run": run.get("run"),
            "summary": summary,
            "report": self.place(run["run"]) if run and summary else None,
        }

    def _run_of(self, arn: str) -> Json:
        """The last run, if it was this execution's."""
        last = self.last()
        summary = self._read(f"runs/{last}/{FILES['summary']}") if last else None
        found: Json = json.loads(summary) if summary else {}
        return found if found.get("execution") == arn else {}

    def place(self, run: str) -> Json:
        """Where a run's report is."""
        bucket, key = self.stack.outputs["ReconciliationBucketName"], f"runs/{run}/{FILES['page']}"
        url = object_url(self.executions.state_machine, bucket, key)
        return {"bucket": bucket, "key": key, "url": url}

    def last(self) -> str | None:
        """The newest run that has a report."""
        bucket = self.stack.outputs["ReconciliationBucketName"]
        listing = self.stack.client("s3").get_paginator("list_objects_v2")
        # By folder: one entry for each run, in place of one for each of its files.
        pages = listing.paginate(Bucket=bucket, Prefix="runs/", Delimiter="/")
        names = [one["Prefix"].split("/")[1] for page in pages for one in page.get("CommonPrefixes", ())]
        newest = sorted(names, reverse=True)  # their names begin with the time
        # The newest may be under way, or have died before its report.
        return next((name for name in newest if self._read(f"runs/{name}/{FILES['summary']}") is not None), None)

    def _read(self, key: str) -> bytes | None:
        bucket = self.stack.outputs["ReconciliationBucketName"]
        try:
            body: bytes = self.stack.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error.response["Error"].get("Code") in ("NoSuchKey", "404"):
                return None
            raise
        return body

    def download(self, file: Path) -> str:
        """Write the last report to a file. Out: whose it is. Raises ClickException where there is none."""
        run = self.last()
        page = self._read(f"runs/{run}/{FILES['page']}") if run else None
        if page is None:
            stop("there is no report yet: `closedwon reconcile --wait` makes one")
        try:
            file.write_bytes(page or b"")
        except OSError as error:
            stop(f"{file} cannot be written: {error.strerror}")
        return str(run)


MARKS = {"matches": "ok", "repaired": "ok", "failed": "problem"}
"""How the headline is marked, by how the run ended: a warning for the others."""


def tell(result: Json, command: str) -> None:
    """How a run ended."""
    summary = result["summary"]
    # Both were started in the same moment, before either showed in the list.
    if result["error"] == "RunUnderWay":
        say("Another run had just begun, and there is one at a time: nothing was done.")
        return
    if summary is None:
        why = f"{result['error']}: {result['cause']}"
        show.check("problem", f"The run ended without a report ({result['status']}). {why}")
        return
    show.check(MARKS.get(summary["state"], "warning"), summary["headline"])
    if summary["error"]:
        say(f"  {summary['error']}: {result['cause']}".rstrip(": "))
    say()
    tell_numbers(summary)
    if summary["state"] == "asks":
        say("So much differs that nothing was repaired. Look at the report; to let it repair all of that:")
        show.verbatim(f"  {command} --approved")
    say("The report, and how to have it as a file:")
    show.verbatim(f"  {result['report']['url']}")
    show.verbatim(f"  {show.command('reconcile', '--report', 'report.html')}")


def tell_numbers(summary: Json) -> None:
    """What a run looked at, and what it found."""
    looked_at = ", ".join(counted(summary[f"{one}s"], one) for one in ("customer", "deal", "subscription"))
    show.facts(
        (
            ("Run", summary["run"]),
            ("Took", duration(summary["seconds"])),
            ("Looked at", looked_at),
            ("Repaired", f"{summary['repaired']:,}" if summary["repaired"] else ""),
            ("Not repaired", f"{summary['notRepaired']:,}" if summary["notRepaired"] else ""),
            ("For people", f"{summary['needsPerson']:,}" if summary["needsPerson"] else ""),
        )
    )
    if summary["kinds"]:
        say()
        outcomes = ("repaired", "not_repaired", "needs_person")
        rows = [
            # The stack may be newer than this checkout, and find kinds that it does not know.
            (KINDS[kind].title if kind in KINDS else kind, *(counts[one] or "" for one in outcomes))
            for kind, counts in summary["kinds"].items()
        ]
        show.table(("difference", "repaired", "not repaired", "for people"), rows)
    else:
        say()


def download(reconciliation: Reconciliation, file: Path, as_json: bool) -> None:
    """Write the last run's report to a file, and tell so."""
    run = reconciliation.download(file)
    if as_json:
        show.as_json({"run": run, "file": str(file)})
    else:
        say(f"The report of {run} is in {file}.")


def waited_for(reconciliation: Reconciliation, arn: str) -> Json:
    """How a run ended, once it has. Raises SystemExit when somebody does not want to wait any longer."""
    try:
        with Status("Beginning ...", console=show.console(err=True)) as status:
            ended = reconciliation.follow(arn, status)
    except KeyboardInterrupt:
        say("Not waited for any longer; the run goes on.", err=True)
        raise SystemExit(INTERRUPTED) from None
    return reconciliation.result(ended)


def tell_started(running: Execution, follow: bool, waits: bool, as_json: bool) -> None:
    """Where a run can be looked at, and how to follow it where this command does not wait."""
    if not as_json:
        say("Under way:" if follow else "Started:")
        show.verbatim(f"  {execution_url(running.arn)}")
    if waits:
        return
    if as_json:
        show.as_json({**running.to_json(), "summary": None, "report": None})
    else:
        say("To follow it:")
        show.verbatim(f"  {show.command('reconcile', '--follow')}")


def _check_options(mode: str, deep: bool, waits: bool, report: Path | None) -> None:
    """Raises UsageError for options that contradict each other."""
    if deep and mode != "all":
        raise click.UsageError("--deep goes with --mode all")
    if report and waits:
        raise click.UsageError("--report starts nothing, and waits for nothing: leave out --wait and --follow")


@click.command(short_help="Find drift between Salesforce, ledger and Stigg, and repair it.")
@click.option(
    "--mode",
    type=click.Choice(["changed", "all"]),
    default="changed",
    show_default=True,
    help="What changed since the last good run, or everything.",
)
@click.option("--deep", is_flag=True, help="With --mode all: compare entitlement values too.")
@click.option("--approved", is_flag=True, help="Repair, however much differs: you have read the last report.")
@click.option("--wait", is_flag=True, help="Wait until it ends, and show how it went.")
@click.option("--follow", is_flag=True, help="Start nothing; wait for the run that is under way.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Start nothing; write the last run's report to this file.",
)
@json_option
@click.pass_obj
def reconcile(
    chosen: Chosen,
    mode: Literal["changed", "all"],
    deep: bool,
    approved: bool,
    wait: bool,
    follow: bool,
    report: Path | None,
    as_json: bool,
) -> None:
    """Find every difference between Salesforce, the ledger and Stigg, and repair those that policy allows.

    It runs by itself every hour and every night; this starts a run now. Exit code 1 when the run failed, stopped, or
    asks before it repairs.
    """
    _check_options(mode, deep, waits=wait or follow, report=report)
    reconciliation = Reconciliation(chosen)
    if report:
        download(reconciliation, report, as_json)
        return
    if follow:
        running = reconciliation.under_way() or stop("no run is under way")
    else:
        running = reconciliation.start(mode, deep, approved)
    tell_started(running, follow, wait or follow, as_json)
    if not (wait or follow):
        return
    result = waited_for(reconciliation, running.arn)
    if as_json:
        show.as_json(result)
    else:
        # The same run again: approved is what the report showed.
        options = ["--mode", mode, *(["--deep"] if deep else []), "--wait"]
        tell(result, show.command("reconcile", *options))
    # A script must not take a run that waits for somebody, or did not finish, for a good one.
    if result["summary"] is None or result["summary"]["state"] in ("failed", "stopped", "asks"):
        raise SystemExit(1)
