"""What one run of reconciliation found and did. Pure.

People get one page (`report_page`) and a few lines of plain text (`report_message`), machines every finding as a line
of JSON and a row of CSV, a summary, and metrics (`report_files`). What all of them say in sentences is in
`report_words`. There may be hundreds of thousands of findings: they pass by one at a time, and only those that the page
shows are kept.

No personal data leaves in any of them: an ID that is an e-mail address is masked, and not linked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from closedwon.reconciliation.finding import KINDS, Finding
from closedwon.reconciliation.runs import Run

Outcome = Literal["needs_person", "not_repaired", "repaired"]
"""The outcome of a finding. not_repaired: policy allows its repair, but this run did not reach it."""

OUTCOMES: tuple[Outcome, ...] = ("needs_person", "not_repaired", "repaired")
"""In the order of the report. A customer's outcome is the first of its findings' outcomes in this order."""

State = Literal["matches", "repaired", "attention", "asks", "stopped", "failed"]
"""How a run as a whole ended, from good to bad."""

SHOWN = 500
"""The most findings on the page: beyond, people filter the CSV."""

FILES = {
    "page": "report/report.html",
    "csv": "report/findings.csv",
    "lines": "report/findings.jsonl",
    "summary": "report/summary.json",
}
"""The names of the report's files, below the run."""

_STOPPED = ("SalesforceBudgetSpent", "SalesforceLimitExceeded")
"""Errors that stop a run without being failures: the state machine succeeds after them."""


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

    @property
    def kinds(self) -> list[str]:
        """The kinds that were found, in the order in which a report tells them."""
        places = {kind: place for place, kind in enumerate(KINDS)}
        # A kind that only another version of closed-won knows comes last: a run may outlive an update.
        return sorted(self.found, key=lambda kind: (places.get(kind, len(places)), kind))

    def add(self, finding: Finding, outcome: Outcome) -> None:
        self.found[finding.kind][outcome] += 1
        kept = self.shown[outcome, finding.kind]
        # So many of each kind and outcome, because one of them may have the whole page to itself.
        if len(kept) < SHOWN:
            kept.append(finding)


@dataclass(frozen=True)
class Ending:
    """How a run ended, from the state machine's data.

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
        # arn:aws:states:<region>:<account>:execution:<state machine>:<execution>
        *start, name, _ = self.execution.split(":")
        return ":".join((*start[:-1], "stateMachine", name))

    @property
    def seconds(self) -> float:
        started, ended = (datetime.fromisoformat(instant) for instant in (self.run.started_at, self.ended_at))
        # By two clocks, that of Step Functions and that of the function: they may differ.
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
    """Everything that the report shows."""

    ending: Ending
    compared: Compared
    repairs: Repairs
    tally: Tally

    @property
    def run(self) -> Run:
        return self.ending.run

    @property
    def not_compared(self) -> list[int]:
        """The partitions that could not be compared, in a run that reached the comparison."""
        if self.ending.exported is None:
            return []
        return sorted(set(range(self.run.partitions)) - self.compared.partitions)

    @property
    def not_repaired(self) -> list[int]:
        """Partitions whose repair was begun and failed."""
        # Without leave to repair nothing was begun, so nothing failed.
        return sorted(self.tally.stuck) if self.ending.decided == "go" else []

    @property
    def whole(self) -> bool:
        """Whether everything was compared that the run is about."""
        return self.ending.failure is None and not self.not_compared and not self.compared.unconfirmed

    @property
    def good(self) -> bool:
        """Whether the next run in mode ``changed`` may start from this one. Only a run over everything finds again what
        was not repaired.
        """
        return self.whole and (self.run.mode == "all" or not self.tally.count("not_repaired"))

    @property
    def state(self) -> State:
        if self.ending.failure is not None:
            return "stopped" if self.ending.failure.get("Error") in _STOPPED else "failed"
        # Before `attention`, which is true as well: the page has to say how to let the repair go on.
        if self.ending.decided == "ask":
            return "asks"
        if not self.whole or self.tally.count("needs_person") or self.tally.count("not_repaired"):
            return "attention"
        return "repaired" if self.tally.count() else "matches"
