"""The report of a run as one page for people (``report.html.j2``). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from closedwon.domain.links import (
    execution_url,
    state_machine_url,
)
from closedwon.reconciliation.finding import Finding, KindWords
from closedwon.reconciliation.report import FILES, OUTCOMES, SHOWN, Outcome, Report, Tally
from closedwon.reconciliation.report_words import (
    SERVICES,
    Places,
    approval,
    command,
    differences,
    file_url,
    headline,
    missing,
    reason,
    words_of,
)
from closedwon.reconciliation.runs import key
from closedwon.words.changes import listed
from closedwon.words.counted import counted, duration


@dataclass(frozen=True)
class Group:
    """The findings of one kind and outcome. count: all of them; findings: those that are shown."""

    kind: str
    words: KindWords
    count: int
    findings: list[Finding]


def groups(tally: Tally, limit: int = SHOWN) -> dict[Outcome, list[Group]]:
    """The findings that the page shows, at most `limit`: what needs a person first. Where a kind has more than fits,
    the kinds share what room there is, so that none crowds out another.
    """
    shown: dict[Outcome, list[Group]] = {}
    for outcome in OUTCOMES:
        kinds = [kind for kind in tally.kinds if tally.found[kind][outcome]]
        shares = dict.fromkeys(kinds, 0)
        # The kinds with the fewest first: what they leave of their share goes to the others.
        for place, kind in enumerate(sorted(kinds, key=lambda kind: len(tally.shown[outcome, kind]))):
            shares[kind] = min(len(tally.shown[outcome, kind]), limit // (len(kinds) - place))
            limit -= shares[kind]
        shown[outcome] = [
            Group(kind, words_of(kind), tally.found[kind][outcome], tally.shown[outcome, kind][: shares[kind]])
            for kind in kinds
        ]
    return shown


def page(report: Report, places: Places) -> str:
    """The page for people, as one HTML file without further resources."""
    # Here, so that only the step that writes a page pays for the import.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        # Not by the file's ending, as `select_autoescape` does it: .j2 is none of those that it escapes.
        autoescape=True,
        # A name that is not there fails the step and its test, instead of leaving a gap in the page.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(counted=counted, words_of=words_of, links=places.links, time=places.time)
    environment.filters["together"] = lambda text: re.sub(r"(?<=\d) ", "\u00a0", text)  # a number and its word
    environment.globals.update(day=lambda instant: places.time(instant)[:10])
    run, ending, tally = report.run, report.ending, report.tally
    shown = groups(tally)
    shown_count = sum(len(group.findings) for found in shown.values() for group in found)
    anchors = {outcome: id for outcome, id, _ in _SECTIONS}
    return environment.get_template("report.html.j2").render(
        report=report,
        run=run,
        ending=ending,
        tally=tally,
        places=places,
        state=report.state,
        headline=headline(report),
        reason=reason(report),
        asked=_asked(report),
        differences=differences(report),
        missing=missing(report),
        approval=approval(report),
        command=command(report),
        duration=duration(ending.seconds),
        totals=_totals(report),
        kinds=tally.kinds,
        first={kind: next(anchors[one] for one in OUTCOMES if tally.found[kind][one]) for kind in tally.kinds},
        sections=_SECTIONS,
        intros=_intros(asks=report.state == "asks"),
        shown=shown,
        shown_count=f"{shown_count:,}",
        hidden=tally.count() - shown_count,
        calls=listed(
            [f"{counted(n, 'call')} to {SERVICES.get(name, name)}" for name, n in ending.calls.items()] or [""]
        ),
        location=f"s3://{places.bucket}/{key(run, '')}",
        execution_url=execution_url(ending.execution),
        state_machine_url=state_machine_url(ending.state_machine),
        file_urls={name: file_url(report, places, name) for name in FILES},
    )


_SECTIONS: tuple[tuple[Outcome, str, str], ...] = (
    ("needs_person", "needs", "Needs somebody"),
    ("not_repaired", "open", "Not repaired yet"),
    ("repaired", "repaired", "Repaired"),
)
"""The page's lists of findings: outcome, anchor, title."""


def _intros(asks: bool) -> dict[Outcome, str]:
    """The introduction of each list of findings. asks: whether the run waits for approval."""
    later = "closed-won would repair these, and this run did not come to it. A later run does."
    return {
        "needs_person": "closed-won leaves these alone; each says why.",
        "not_repaired": "closed-won repairs these once somebody approves." if asks else later,
        "repaired": "Each was set going as a closed deal is. The deal in Salesforce shows how it ended; what still "
        "differs is found again by the next run.",
    }


def _asked(report: Report) -> str:
    """Why the run asks for approval."""
    weighed = report.ending.weighed or {}
    repairs, most = int(weighed.get("toRepair", 0)), weighed.get("mostPercent")
    many = f"{repairs:,} of {counted(report.compared.customers, 'customer')} would change"
    return f"{many}, more than the {most}% that this stack repairs without asking." if most is not None else f"{many}."


def _totals(report: Report) -> list[tuple[str, int]]:
    """The numbers that are shown large; zeros are left out."""
    compared, tally, repairs = report.compared, report.tally, report.repairs
    numbers = [
        ("Customers compared", compared.customers, True),
        ("Deals", compared.deals, True),
        # In mode `changed` nothing is exported from Stigg and all customers are looked at: these two would say nothing.
        ("Subscriptions", compared.subscriptions, report.run.mode == "all"),
        ("Suspects looked at", compared.suspects - compared.unconfirmed, report.run.mode == "all"),
        ("Customers that differ", tally.customers.total(), True),
        ("Differences", tally.count(), True),
        ("Repaired", tally.count("repaired"), bool(tally.count())),
        ("Not repaired yet", tally.count("not_repaired"), False),
        ("Needs somebody", tally.count("needs_person"), bool(tally.count())),
        ("Missed deals accepted", repairs.accepted, False),
        ("Customers provisioned again", repairs.made_due, False),
    ]
    return [(name, number) for name, number, always in numbers if number or always]
