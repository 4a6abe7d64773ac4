"""The report of a run for machines: every finding as JSON and CSV, the summary, the metrics. Pure."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from closedwon.reconciliation.finding import Finding
from closedwon.reconciliation.report import OUTCOMES, Outcome, Repairs, Report, Tally
from closedwon.reconciliation.report_words import Places, cleaned_text, headline, words_of

Json = dict[str, Any]


def write_findings(
    partitions: Iterable[tuple[int, Iterable[Mapping[str, Any]]]],
    repairs: Repairs,
    places: Places,
    write_line: Callable[[str], object],
    write_row: Callable[[str], object],
) -> Tally:
    """Write every finding as a line of JSON and as a row of CSV, and count.

    In: findings by partition, as `compare` left them; what was repaired; where links lead; what takes the text of both
    files, piece by piece. Out: the count. Only one customer's partition, and what the page shows, is held at a time.
    """
    tally = Tally()
    rows = csv.writer(_Sink(write_row), lineterminator="\r\n")  # RFC 4180
    rows.writerow(COLUMNS)
    for partition, findings in partitions:
        customers: dict[str, Outcome] = {}
        for data in findings:
            finding = cleaned(Finding.from_json(data))
            outcome = _outcome(finding, partition in repairs.partitions)
            tally.add(finding, outcome)
            # by the ID as it came: those that are masked would all be one
            customers[data["account_id"]] = min(customers.get(data["account_id"], outcome), outcome, key=OUTCOMES.index)
            if outcome == "not_repaired":
                tally.stuck.add(partition)
            line = {**vars(finding), "outcome": outcome}
            write_line(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n")
            rows.writerow([defused(cell) for cell in _row(finding, outcome, places)])
        tally.customers.update(customers.values())
    return tally


class _Sink(NamedTuple):
    """What csv writes to."""

    write: Callable[[str], object]


def _outcome(finding: Finding, carried_out: bool) -> Outcome:
    if finding.remedy == "report":
        return "needs_person"
    # By partition, since `repair` notes how many it carried out, not which.
    return "repaired" if carried_out else "not_repaired"


def cleaned(finding: Finding) -> Finding:
    """A finding that is fit to be shown: each text is one line of visible characters, without e-mail addresses."""
    texts = {name: cleaned_text(value) for name, value in vars(finding).items() if isinstance(value, str)}
    return replace(finding, **texts)  # type: ignore[arg-type]  # each stays the text it was


COLUMNS = (
    "outcome",
    "kind",
    "title",
    "account_id",
    "opportunity_id",
    "customer_id",
    "subscription_id",
    "words",
    "should",
    "is_now",
    "why",
    "by_hand",
    "lowers",
    "since",
    "account_url",
    "opportunity_url",
    "customer_url",
    "subscription_url",
)
"""The CSV's columns."""

_FORMULA = re.compile(r"\s*[=+\-@\t\r＝＋－＠]")
"""The beginning of a cell that a spreadsheet would take for a formula (OWASP, CSV injection)."""


def defused(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    # Spreadsheets take a cell that begins with an apostrophe as text.
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _row(finding: Finding, outcome: Outcome, places: Places) -> list[str]:
    links = {link.label: link.url for link in places.links(finding)}
    return [
        outcome,
        finding.kind,
        words_of(finding.kind).title,
        finding.account_id,
        finding.opportunity_id or "",
        finding.customer_id or "",
        finding.subscription_id or "",
        finding.words,
        finding.should,
        finding.is_now,
        finding.why,
        "yes" if finding.by_hand else "no",
        "yes" if finding.lowers else "no",
        finding.since,
        *(links.get(label, "") for label in ("Account", "Deal", "Customer", "Subscription")),
    ]


def summary(report: Report) -> Json:
    """The report's numbers, as JSON."""
    ending, tally = report.ending, report.tally
    return {
        **report.run.to_json(),
        "execution": ending.execution,
        "endedAt": ending.ended_at,
        "seconds": round(ending.seconds, 3),
        "state": report.state,
        "headline": headline(report),
        "error": (ending.failure or {}).get("Error", ""),
        "repair": ending.decided,
        "customers": report.compared.customers,
        "deals": report.compared.deals,
        "subscriptions": report.compared.subscriptions,
        "suspects": report.compared.suspects,
        "unconfirmed": report.compared.unconfirmed,
        "customersThatDiffer": tally.customers.total(),
        "findings": tally.count(),
        "repaired": tally.count("repaired"),
        "notRepaired": tally.count("not_repaired"),
        "needsPerson": tally.count("needs_person"),
        "kinds": {kind: {outcome: tally.found[kind][outcome] for outcome in OUTCOMES} for kind in tally.kinds},
        "dealsAccepted": report.repairs.accepted,
        "customersMadeDue": report.repairs.made_due,
        "customersLeftAlone": report.repairs.left_alone,
        "partitionsNotCompared": report.not_compared,
        "partitionsNotRepaired": report.not_repaired,
        "calls": ending.calls,
    }


class Measured(NamedTuple):
    """A value of one of `closedwon.aws.metrics`. by: its dimensions besides the stack."""

    name: str
    value: float
    by: Mapping[str, str] = {}


def measured(report: Report) -> list[Measured]:
    """The metrics of a run: drift of all kinds together, and of each kind that was found."""
    tally = report.tally
    return [
        # By mode, because the alarm on missing runs counts only runs over everything.
        Measured("RunsGood", int(report.good), {"Mode": report.run.mode}),
        Measured("RunsAsking", int(report.state == "asks")),
        Measured("DriftFound", tally.count()),
        Measured("DriftRepaired", tally.count("repaired")),
        Measured("DriftNeedsPerson", tally.count("needs_person")),
        Measured("CustomersCompared", report.compared.customers),
        Measured("PartitionsFailed", len({*report.not_compared, *report.not_repaired})),
        Measured("RunSeconds", report.ending.seconds),
        # Not of kinds without a finding: CloudWatch bills each of them as a metric of its own.
        *(Measured("DriftFound", tally.found[kind].total(), {"Kind": kind}) for kind in tally.kinds),
    ]
