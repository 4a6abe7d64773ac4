"""The report of a run as a notification to a topic. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from closedwon.domain.links import (
    execution_url,
)
from closedwon.reconciliation.report import FILES, Outcome, Report
from closedwon.reconciliation.report_words import (
    Places,
    command,
    differences,
    file_url,
    headline,
    missing,
    scope,
    words_of,
)
from closedwon.reconciliation.runs import key
from closedwon.words.counted import counted, duration

TOP = 5
"""How many kinds the notification names."""

SUBJECT = 100
"""The most characters of a subject (SNS, API reference: Publish)."""


def subject(report: Report, places: Places) -> str:
    """The notification's subject: ASCII, one line."""
    # SNS refuses a subject with other characters or line breaks, and with it the whole notification.
    said = f"Reconciliation ({places.stack}): {headline(report)}".encode("ascii", "replace").decode().replace("\n", " ")
    return said if len(said) <= SUBJECT else f"{said[: SUBJECT - 3]}..."


def message(report: Report, places: Places) -> str:
    """The notification's text: what happened, how much of it, where to read on."""
    ending, tally = report.ending, report.tally
    lines = [headline(report)]
    # The headline of these says why the run ended, not what it had found until then.
    if report.state in ("failed", "stopped", "asks") and ending.exported is not None:
        lines.append(differences(report))
    lines += missing(report)
    if report.state == "asks":
        lines += ["", "To let it repair, start it again:", command(report)]
    if tally.count():
        lines += ["", f"{counted(tally.count(), 'difference')} in all. The most frequent:"]
        # Not in the report's order: there is room for a few kinds only.
        often = sorted(tally.kinds, key=lambda kind: -tally.found[kind].total())
        lines += [f"- {words_of(kind).title}: {_split(tally.found[kind])}" for kind in often[:TOP]]
        if len(often) > TOP:
            lines.append(f"- and {counted(len(often) - TOP, 'other kind')}")
    lines += [
        "",
        f"Report: {file_url(report, places, 'page')}",
        # For those who fetch it with the AWS CLI: the address above leads into the console.
        f"        s3://{places.bucket}/{key(report.run, FILES['page'])}",
        f"Execution: {execution_url(ending.execution)}",
        "",
        f"Run {report.run.id} over {scope(report.run)}, stack {places.stack}; "
        f"began {places.time(report.run.started_at)} ({places.zone.key}), took {duration(ending.seconds)}.",
    ]
    return "\n".join(lines) + "\n"


def _split(found: Mapping[Outcome, int]) -> str:
    names: dict[Outcome, str] = {
        "repaired": "repaired",
        "not_repaired": "not repaired",
        "needs_person": "for somebody to look at",
    }
    return ", ".join(f"{found[outcome]:,} {name}" for outcome, name in names.items() if found[outcome])


def worth_telling(report: Report) -> bool:
    """Whether a run deserves a notification: an hourly run that found nothing does not."""
    return report.run.mode == "all" or report.state != "matches"
