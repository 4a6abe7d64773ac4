"""What one run of reconciliation found and did, told to people and to machines. Pure.

People get one page (``report.html.j2``) and a few lines of plain text, machines every finding as a line of JSON and a
row of CSV, a summary, and metrics. There may be hundreds of thousands of findings: they pass by one at a time, and only
those that the page shows are kept.

No personal data leaves in any of them: an ID that is an e-mail address is masked, and not linked.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from closedwon.domain.errors import failure_text, safe_text
from closedwon.domain.identifiers import normalised_id
from closedwon.domain.links import (
    execution_url,
    object_url,
    salesforce_record_url,
    state_machine_url,
    stigg_customer_url,
    stigg_subscription_url,
)
from closedwon.reconciliation.drift import KINDS, Finding, KindWords
from closedwon.reconciliation.runs import Run, key
from closedwon.words.changes import listed

Json = dict[str, Any]

Outcome = Literal["needs_person", "not_repaired", "repaired"]
"""What became of a finding. not_repaired: policy would have it repaired, and this run did not come to it."""

OUTCOMES: tuple[Outcome, ...] = ("needs_person", "not_repaired", "repaired")
"""In the order in which a report tells them. A customer's is the first of its findings'."""

State = Literal["matches", "repaired", "attention", "asks", "stopped", "failed"]
"""How a run as a whole ended, from good to bad."""

SHOWN = 500
"""The most findings on the page: beyond, people filter the CSV."""

LONGEST = 2_000
"""The most characters of one text of a finding."""

FILES = {
    "page": "report/report.html",
    "csv": "report/findings.csv",
    "lines": "report/findings.jsonl",
    "summary": "report/summary.json",
}
"""Where a run keeps what is written here."""

_STOPPED = ("SalesforceBudgetSpent", "SalesforceLimitExceeded")
"""The errors that stop a run without a fault: the state machine ends well after them."""

_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters that are not seen, or turn around what follows."""


# What a run did


class Repairs(NamedTuple):
    """What was carried out. partitions: those whose repairs were; accepted: deals; made_due: customers provisioned
    again; left_alone: customers who had moved on since they were compared.
    """

    partitions: frozenset[int] = frozenset()
    accepted: int = 0
    made_due: int = 0
    left_alone: int = 0

    @classmethod
    def of(cls, done: Mapping[int, Mapping[str, int]]) -> Repairs:
        """From what `repair` left of each partition, by partition."""
        total: Counter[str] = Counter()
        for one in done.values():
            total.update(one)
        return cls(frozenset(done), total["accepted"], total["madeDue"], total["leftAlone"])


class Compared(NamedTuple):
    """What the partitions' summaries say together. partitions: those that have one; unconfirmed: suspects that there
    was no time to look at.
    """

    partitions: frozenset[int] = frozenset()
    customers: int = 0
    deals: int = 0
    subscriptions: int = 0
    suspects: int = 0
    unconfirmed: int = 0

    @classmethod
    def of(cls, summaries: Iterable[Mapping[str, Any]]) -> Compared:
        partitions = set()
        total: Counter[str] = Counter()
        for summary in summaries:
            partitions.add(summary["partition"])
            total.update({name: summary[name] for name in cls._fields[1:]})
        return cls(frozenset(partitions), **{name: total[name] for name in cls._fields[1:]})


@dataclass
class Tally:
    """Findings, counted as they pass by. found: by kind and outcome; customers: by their outcome; shown: the first of
    each kind and outcome, for the page; stuck: partitions whose findings were not repaired though they could be.
    """

    found: dict[str, Counter[Outcome]] = field(default_factory=lambda: defaultdict(Counter))
    customers: Counter[Outcome] = field(default_factory=Counter)
    shown: dict[tuple[Outcome, str], list[Finding]] = field(default_factory=lambda: defaultdict(list))
    stuck: set[int] = field(default_factory=set)

    def count(self, outcome: Outcome | None = None) -> int:
        """How many findings there are, of one outcome or of all."""
        return sum(each.total() if outcome is None else each[outcome] for each in self.found.values())

    def add(self, finding: Finding, outcome: Outcome) -> None:
        self.found[finding.kind][outcome] += 1
        kept = self.shown[outcome, finding.kind]
        if len(kept) < SHOWN:
            kept.append(finding)


@dataclass(frozen=True)
class Ending:
    """How a run came to its end, as the state machine tells it.

    execution: its ARN. ended_at: an ISO instant. weighed: whether it was to be repaired, None where it did not come so
    far. exported: what the exports took, by source, None likewise. failure: the error that stopped it.
    """

    run: Run
    execution: str
    ended_at: str
    weighed: Mapping[str, Any] | None = None
    exported: Mapping[str, Any] | None = None
    failure: Mapping[str, str] | None = None

    @property
    def state_machine(self) -> str:
        """The state machine's ARN."""
        *start, name, _ = self.execution.split(":")
        return ":".join((*start[:-1], "stateMachine", name))

    @property
    def seconds(self) -> float:
        started, ended = (datetime.fromisoformat(instant) for instant in (self.run.started_at, self.ended_at))
        return max(0.0, (ended - started).total_seconds())

    @property
    def decided(self) -> str:
        """``go``, ``ask`` or ``nothing``; "" where it was not weighed."""
        return str((self.weighed or {}).get("repair", ""))

    @property
    def calls(self) -> dict[str, int]:
        """API calls that the exports took, by service."""
        exported = {source: progress or {} for source, progress in (self.exported or {}).items()}
        return {source: int(progress["calls"]) for source, progress in exported.items() if progress.get("calls")}


@dataclass(frozen=True)
class Report:
    """All that is to be told."""

    ending: Ending
    compared: Compared
    repairs: Repairs
    tally: Tally

    @property
    def run(self) -> Run:
        return self.ending.run

    @property
    def not_compared(self) -> list[int]:
        """Partitions that could not be compared, in a run that came to comparing."""
        if self.ending.exported is None:
            return []
        return sorted(set(range(self.run.partitions)) - self.compared.partitions)

    @property
    def not_repaired(self) -> list[int]:
        """Partitions whose repair was begun and failed."""
        return sorted(self.tally.stuck) if self.ending.decided == "go" else []

    @property
    def whole(self) -> bool:
        """Whether everything was looked at that was to be looked at."""
        return self.ending.failure is None and not self.not_compared and not self.compared.unconfirmed

    @property
    def good(self) -> bool:
        """Whether the next run in mode ``changed`` may go on from here. Only a run over everything finds again what
        was not repaired.
        """
        return self.whole and (self.run.mode == "all" or not self.tally.count("not_repaired"))

    @property
    def state(self) -> State:
        if self.ending.failure is not None:
            return "stopped" if self.ending.failure.get("Error") in _STOPPED else "failed"
        if self.ending.decided == "ask":
            return "asks"
        if not self.whole or self.tally.count("needs_person") or self.tally.count("not_repaired"):
            return "attention"
        return "repaired" if self.tally.count() else "matches"


def tell(
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
    return "repaired" if carried_out else "not_repaired"


def cleaned(finding: Finding) -> Finding:
    """A finding fit to be shown: each text one line of seen characters, without e-mail addresses."""
    texts = {name: _cleaned(value) for name, value in vars(finding).items() if isinstance(value, str)}
    return replace(finding, **texts)  # type: ignore[arg-type]  # each stays the text it was


def _cleaned(text: str) -> str:
    return safe_text(_INVISIBLE.sub(" ", text), LONGEST)


# For machines

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
"""How a cell begins that a spreadsheet would calculate (OWASP, CSV injection)."""


def defused(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
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
    """The report in numbers."""
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
        "kinds": {kind: {outcome: tally.found[kind][outcome] for outcome in OUTCOMES} for kind in _kinds(tally)},
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
    """What a run is measured by: all kinds of drift together, and each kind there is."""
    tally = report.tally
    return [
        Measured("RunsGood", int(report.good), {"Mode": report.run.mode}),
        Measured("RunsAsking", int(report.state == "asks")),
        Measured("DriftFound", tally.count()),
        Measured("DriftRepaired", tally.count("repaired")),
        Measured("DriftNeedsPerson", tally.count("needs_person")),
        Measured("CustomersCompared", report.compared.customers),
        Measured("PartitionsFailed", len({*report.not_compared, *report.not_repaired})),
        Measured("RunSeconds", report.ending.seconds),
        *(Measured("DriftFound", tally.found[kind].total(), {"Kind": kind}) for kind in _kinds(tally)),
    ]


def _kinds(tally: Tally) -> list[str]:
    """The kinds that were found, in the order in which a report tells them."""
    places = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(tally.found, key=lambda kind: (places.get(kind, len(places)), kind))


# For people


class Link(NamedTuple):
    """label: what it leads to; text: its ID; url: "" where there is no page to lead to."""

    label: str
    text: str
    url: str


@dataclass(frozen=True)
class Places:
    """Where links lead. salesforce_url, app_url: the settings SALESFORCE_URL and STIGG_APP_URL. bucket: where reports
    are kept. stack: the stack's name. zone: the time zone in which times are told.
    """

    salesforce_url: str
    app_url: str
    bucket: str
    stack: str
    zone: ZoneInfo

    def links(self, finding: Finding) -> list[Link]:
        """The records a finding is about: account and deal in Salesforce, customer and subscription in Stigg.

        What comes from Stigg without a deal has no account: its key is the customer's ID there.
        """
        found = [
            Link("Account", finding.account_id, self._record(finding.account_id, "001")),
            Link("Deal", finding.opportunity_id or "", self._record(finding.opportunity_id, "006")),
            Link("Customer", finding.customer_id or "", self._page(stigg_customer_url, finding.customer_id)),
            Link(
                "Subscription",
                finding.subscription_id or "",
                self._page(stigg_subscription_url, finding.subscription_id),
            ),
        ]
        return [link for link in found if link.text]

    def _record(self, id: str | None, prefix: str) -> str:
        try:
            return salesforce_record_url(self.salesforce_url, normalised_id(id or "", prefix))
        except ValueError:
            return ""

    def _page(self, url: Callable[[str, str], str], id: str | None) -> str:
        return url(self.app_url, id) if id and "***" not in id else ""  # a masked ID leads nowhere

    def time(self, instant: str) -> str:
        """2026-11-22 02:15, as clocks show it there."""
        return f"{datetime.fromisoformat(instant).astimezone(self.zone):%Y-%m-%d %H:%M}"


def words_of(kind: str) -> KindWords:
    """A kind of drift for people, also one that another version of closed-won found."""
    return KINDS.get(kind) or KindWords(kind.replace("_", " ").capitalize(), "", "")


def counted(number: int, one: str, many: str = "") -> str:
    """1 customer, 1,204 customers."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """2 hours 5 minutes; 4 minutes 12 seconds; 42 seconds."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        parts = [counted(hours, "hour"), counted(minutes, "minute") if minutes else ""]
    elif minutes:
        parts = [counted(minutes, "minute"), counted(rest, "second") if rest else ""]
    else:
        parts = [counted(rest, "second")]
    return " ".join(filter(None, parts))


def headline(report: Report) -> str:
    """The report in one sentence."""
    if report.state == "failed":
        return f"The run failed: {_reason(report)}"
    if report.state == "stopped":
        return "Stopped early: Salesforce's API calls for today are used up."
    if report.state == "asks":
        many = counted(int((report.ending.weighed or {}).get("toRepair", 0)), "customer")
        return f"{many} would change: nothing is repaired before somebody approves."
    return differences(report)


def _reason(report: Report) -> str:
    """What stopped the run, in a sentence; "" where nothing did."""
    text = _cleaned(failure_text(report.ending.failure)) if report.ending.failure else ""
    return text if not text or text.endswith((".", "…", "!", "?")) else f"{text}."


def differences(report: Report) -> str:
    """How many customers differ, in one sentence."""
    customers, by_outcome = report.compared.customers, report.tally.customers
    differ = by_outcome.total()
    if differ:
        needs, left, repaired = (by_outcome[outcome] for outcome in OUTCOMES)
        parts = [
            f"{repaired:,} repaired" if repaired else "",
            f"{left:,} not repaired" if left else "",
            f"{needs:,} {'needs' if needs == 1 else 'need'} somebody" if needs else "",
        ]
        said = ", ".join(filter(None, parts))
        return f"{differ:,} of {counted(customers, 'customer')} {'differs' if differ == 1 else 'differ'}: {said}."
    if report.ending.failure is not None or report.not_compared:
        return (
            f"{_compared(customers)}, and {'it matches' if customers == 1 else 'they match'}."
            if customers
            else ("Nothing was compared.")
        )
    if not customers:
        return (
            "Nothing has changed, so there was nothing to compare."
            if report.run.mode == "changed"
            else ("There is nothing to compare yet.")
        )
    if report.compared.unconfirmed:
        return f"{_compared(customers)}; what was looked at matches."
    return f"Everything matches: {_compared(customers)}."


def _compared(customers: int) -> str:
    return f"{counted(customers, 'customer')} {'was' if customers == 1 else 'were'} compared"


def missing(report: Report) -> list[str]:
    """What was not looked at or not done, and what becomes of it; a sentence each."""
    said = []
    if report.ending.failure is not None and report.ending.exported is None:
        said.append("Nothing was compared: the run ended before the exports were complete.")
    if lost := report.not_compared:
        said.append(
            f"{counted(len(lost), 'partition')} of {report.run.partitions:,} could not be compared "
            f"({_numbers(lost)}). The execution shows why; the next run over everything looks at them again."
        )
    if unseen := report.compared.unconfirmed:
        said.append(
            f"{counted(unseen, 'customer')} looked suspicious in the exports, and there was no time to look at "
            f"{'it' if unseen == 1 else 'them'} live. The next run does."
        )
    if stuck := report.not_repaired:
        said.append(
            f"Repairs failed in {counted(len(stuck), 'partition')} ({_numbers(stuck)}). The execution shows why; "
            "the next run finds again what still differs."
        )
    if moved := report.repairs.left_alone:
        said.append(
            f"{counted(moved, 'customer')} {'was' if moved == 1 else 'were'} left alone: "
            f"{'it' if moved == 1 else 'they'} had changed since {'it was' if moved == 1 else 'they were'} compared."
        )
    return said


def _numbers(partitions: list[int]) -> str:
    more = f" and {len(partitions) - 20:,} more" if len(partitions) > 20 else ""
    return f"number{'s' if len(partitions) > 1 else ''} {', '.join(map(str, partitions[:20]))}{more}"


def approval(report: Report) -> str:
    """What starts the run again with leave to repair: the state machine's input."""
    return json.dumps({"mode": report.run.mode, "deep": report.run.deep, "approved": True})


def command(report: Report) -> str:
    """The same as a command of the AWS CLI."""
    state_machine = report.ending.state_machine
    return (
        f"aws stepfunctions start-execution --region {state_machine.split(':')[3]} "
        f"--state-machine-arn {state_machine} --input '{approval(report)}'"
    )


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
        kinds = [kind for kind in _kinds(tally) if tally.found[kind][outcome]]
        shares = dict.fromkeys(kinds, 0)
        for place, kind in enumerate(sorted(kinds, key=lambda kind: len(tally.shown[outcome, kind]))):
            shares[kind] = min(len(tally.shown[outcome, kind]), limit // (len(kinds) - place))
            limit -= shares[kind]
        shown[outcome] = [
            Group(kind, words_of(kind), tally.found[kind][outcome], tally.shown[outcome, kind][: shares[kind]])
            for kind in kinds
        ]
    return shown


def page(report: Report, places: Places) -> str:
    """The page for people: one file that needs nothing else."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
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
        reason=_reason(report),
        asked=_asked(report),
        differences=differences(report),
        missing=missing(report),
        approval=approval(report),
        command=command(report),
        duration=duration(ending.seconds),
        totals=_totals(report),
        kinds=_kinds(tally),
        first={kind: next(anchors[one] for one in OUTCOMES if tally.found[kind][one]) for kind in _kinds(tally)},
        sections=_SECTIONS,
        intros={
            "needs_person": "closed-won leaves these alone; each says why.",
            "not_repaired": "closed-won repairs these once somebody approves."
            if report.state == "asks"
            else "closed-won would repair these, and this run did not come to it. A later run does.",
            "repaired": "Each was set going as a closed deal is. The deal in Salesforce shows how it ended; what still "
            "differs is found again by the next run.",
        },
        shown=shown,
        shown_count=f"{shown_count:,}",
        hidden=tally.count() - shown_count,
        calls=listed(
            [f"{counted(n, 'call')} to {_SERVICES.get(name, name)}" for name, n in ending.calls.items()] or [""]
        ),
        location=f"s3://{places.bucket}/{key(run, '')}",
        execution_url=execution_url(ending.execution),
        state_machine_url=state_machine_url(ending.state_machine),
        file_urls={name: _file_url(report, places, name) for name in FILES},
    )


_SECTIONS: tuple[tuple[Outcome, str, str], ...] = (
    ("needs_person", "needs", "Needs somebody"),
    ("not_repaired", "open", "Not repaired yet"),
    ("repaired", "repaired", "Repaired"),
)
"""The page's lists of findings: outcome, anchor, title."""

_SERVICES = {"salesforce": "Salesforce", "stigg": "Stigg", "ledger": "DynamoDB"}


def _asked(report: Report) -> str:
    """Why somebody is asked."""
    weighed = report.ending.weighed or {}
    repairs, most = int(weighed.get("toRepair", 0)), weighed.get("mostPercent")
    many = f"{repairs:,} of {counted(report.compared.customers, 'customer')} would change"
    return f"{many}, more than the {most}% that this stack repairs without asking." if most is not None else f"{many}."


def _totals(report: Report) -> list[tuple[str, int]]:
    """The numbers to be shown large. Those of what did not happen are left out."""
    compared, tally, repairs = report.compared, report.tally, report.repairs
    numbers = [
        ("Customers compared", compared.customers, True),
        ("Deals", compared.deals, True),
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


def _file_url(report: Report, places: Places, name: str) -> str:
    return object_url(report.ending.execution, places.bucket, key(report.run, FILES[name]))


# The notification

TOP = 5
"""How many kinds the notification names."""

SUBJECT = 100
"""The most characters of a subject (SNS, API reference: Publish)."""


def subject(report: Report, places: Places) -> str:
    """The notification's subject: ASCII, one line."""
    said = f"Reconciliation ({places.stack}): {headline(report)}".encode("ascii", "replace").decode().replace("\n", " ")
    return said if len(said) <= SUBJECT else f"{said[: SUBJECT - 3]}..."


def message(report: Report, places: Places) -> str:
    """The notification's text: what happened, how much of it, where to read on."""
    ending, tally = report.ending, report.tally
    lines = [headline(report)]
    if report.state in ("failed", "stopped", "asks") and ending.exported is not None:
        lines.append(differences(report))
    lines += missing(report)
    if report.state == "asks":
        lines += ["", "To let it repair, start it again:", command(report)]
    if tally.count():
        lines += ["", f"{counted(tally.count(), 'difference')} in all. The most frequent:"]
        often = sorted(_kinds(tally), key=lambda kind: -tally.found[kind].total())
        lines += [f"- {words_of(kind).title}: {_split(tally.found[kind])}" for kind in often[:TOP]]
        if len(often) > TOP:
            lines.append(f"- and {counted(len(often) - TOP, 'other kind')}")
    lines += [
        "",
        f"Report: {_file_url(report, places, 'page')}",
        f"        s3://{places.bucket}/{key(report.run, FILES['page'])}",
        f"Execution: {execution_url(ending.execution)}",
        "",
        f"Run {report.run.id} over {scope(report.run)}, stack {places.stack}; "
        f"began {places.time(report.run.started_at)} ({places.zone.key}), took {duration(ending.seconds)}.",
    ]
    return "\n".join(lines) + "\n"


def scope(run: Run) -> str:
    """What a run looks at."""
    return "what changed" if run.mode == "changed" else "all customers"


def _split(found: Mapping[Outcome, int]) -> str:
    names: dict[Outcome, str] = {
        "repaired": "repaired",
        "not_repaired": "not repaired",
        "needs_person": "for somebody to look at",
    }
    return ", ".join(f"{found[outcome]:,} {name}" for outcome, name in names.items() if found[outcome])


def worth_telling(report: Report) -> bool:
    """Whether anybody wants to hear of it: not of every hour in which all was well."""
    return report.run.mode == "all" or report.state != "matches"
