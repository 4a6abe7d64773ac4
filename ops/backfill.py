"""Backfill: brings in the deals that were won before closed-won was there, oldest first, customer by customer.

First a dry run: it reads everything and writes nothing. Then the run: it accepts deals in the ledger, exactly as a
callout does, and leaves the rest to the sweep. By default only what stands in Stigg already is brought in.
"""

from __future__ import annotations

import json
import math
import shlex
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from closedwon.aws.ledger import Ledger, at_once
from closedwon.domain.errors import ClosedWonError, Transient
from closedwon.reconciliation.backfill import CHANGES, VERDICTS, Outlook, new_deals, outlook
from closedwon.reconciliation.drift import CustomerView
from closedwon.salesforce.bulk import BulkQueries
from closedwon.stack import Stack as Parts
from closedwon.stigg.catalogue import SharedCatalogue, fetch_catalogue
from closedwon.words.counted import counted, duration
from ops.stack import Chosen

T = TypeVar("T")
Entry = dict[str, Any]

ACCOUNTS_AT_ONCE = 25
"""Customers looked at together: Salesforce is asked about all of them at once."""

WAITS = (1, 5, 20, 60)
"""Seconds before a request is tried again that failed and may go well later."""

EXAMPLES = 5
"""Customers named for each verdict; all are in the file."""

WIDTH = 110
"""Columns that are written to. Commands are never broken."""

INTERRUPTED = 130
"""The exit code of who is ended by Ctrl-C, as shells have it."""

GOES_ON = "The same command goes on from there."


@dataclass(frozen=True)
class Task:
    """What is asked. since, until: days, inclusive; until None for today. mode: only look; bring in what stands in
    Stigg already; or also what has to be made or changed.
    """

    stack: str
    since: str
    until: str | None
    mode: Literal["dry", "run", "create"]

    @property
    def last(self) -> str:
        return self.until or datetime.now(UTC).date().isoformat()

    @property
    def file(self) -> Path:
        """Where the result goes if nobody says otherwise."""
        # With `until` as it was given, not `last`: what was stopped before midnight goes on after it.
        return Path("-".join(filter(None, ("backfill", self.stack, self.since, self.until, self.mode))) + ".jsonl")

    def command(self, *options: str) -> str:
        until = ("--until", self.until) if self.until else ()
        words = ("./closedwon", "--stack", self.stack, "backfill", "--since", self.since, *until, *options)
        return shlex.join(words)


class Progress:
    """What became of each customer, a JSON object a line. While it is under way the file is called ``.part``, and its
    first line says what was asked: who asks the same again goes on after what is done.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path = path
        self.done: dict[str, Entry] = {}
        self._part = path.with_name(f"{path.name}.part")
        asked = json.dumps({"stack": task.stack, "since": task.since, "until": task.until, "mode": task.mode})
        lines = self._part.read_text().split("\n")[:-1] if self._part.exists() else []  # one may be torn: the last
        # Going on would mix customers that were looked at for other days, or in another mode.
        if lines and lines[0] != asked:
            raise click.ClickException(f"{self._part} belongs to another backfill, {lines[0]}; delete it to start anew")
        for line in lines[1:]:
            entry = json.loads(line)
            self.done[entry["account_id"]] = entry
        # Written anew without the torn line, or the next entry would be appended to it.
        self._part.write_text("".join(f"{line}\n" for line in (asked, *lines[1:])))

    def add(self, entry: Entry) -> None:
        self.done[entry["account_id"]] = entry
        # Opened for each entry, so that it is written out before the next customer begins.
        with self._part.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def finish(self) -> None:
        """All is done: who asks again starts anew."""
        # In this order: a run that dies in between goes on with nothing left, and finishes again.
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in self.done.values()))
        self._part.unlink()


def patiently(work: Callable[[], T]) -> T:
    """Do what may fail for a while. Raises the last error."""
    for wait in WAITS:
        try:
            return work()
        except Transient:  # any other error needs a person: waiting would not help
            time.sleep(wait)
    return work()  # the last try: its error is told


@contextmanager
def in_one_piece() -> Iterator[None]:
    """What is begun in here is done, and noted as done, before Ctrl-C takes effect."""
    # Interrupted between accepting and noting, a run that goes on would tell these deals as known and not as accepted.
    asked: list[int] = []
    usual = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if asked:  # only where nothing failed: else this would hide that error
        raise KeyboardInterrupt


def accounts_with_deals(since: str, until: str, queries: BulkQueries) -> list[str]:
    """The accounts with opportunities won from one day to another, the one with the oldest first."""
    # Sorted here, for ORDER BY keeps the Bulk API from working in parallel.
    oldest: dict[str, str] = {}
    soql = (
        # A deal without an account has no customer to give anything to.
        "SELECT AccountId, CloseDate FROM Opportunity WHERE IsWon = TRUE AND AccountId != NULL "
        f"AND CloseDate >= {date.fromisoformat(since)} AND CloseDate <= {date.fromisoformat(until)}"  # nosec B608 - dates
    )
    for row in queries.rows(soql):
        account_id, closed = row["AccountId"], row["CloseDate"]
        oldest[account_id] = min(closed, oldest.get(account_id, closed))
    return sorted(oldest, key=lambda id: (oldest[id], id))


def looked_at(
    accounts: Sequence[str], since: str, until: str, catalogue: SharedCatalogue, parts: Parts
) -> Iterator[Outlook]:
    """What bringing in each customer's deals would do."""
    look = partial(outlook_on, since=since, until=until, catalogue=catalogue, parts=parts)

    def look_at(some: Sequence[str]) -> list[Outlook]:
        # Not deep: what may be used is further reads in Stigg, and is needed only where there are new deals.
        return at_once(look, parts.live.views(some, deep=False))

    for start in range(0, len(accounts), ACCOUNTS_AT_ONCE):
        yield from patiently(partial(look_at, accounts[start : start + ACCOUNTS_AT_ONCE]))


def outlook_on(view: CustomerView, since: str, until: str, catalogue: SharedCatalogue, parts: Parts) -> Outlook:
    """What bringing in one customer's deals would do."""
    if new_deals(view, since, until)[0]:
        # What stands from before closed-won has no mark, and is just what the deals are compared with.
        view = replace(view, allowed=parts.live.allowed(view.subscriptions or (), ours=False))
    settings = parts.settings
    links = settings.backlinks(view.customer.account_id)
    return outlook(view, since, until, catalogue(view.plan_ids), settings.policy, links, parts.now())


def bring_in(found: Outlook, mode: str, ledger: Ledger) -> Entry:
    """Accept a customer's deals, if they are to be. Out: what became of it."""
    # Adopting changes nobody's access; whatever would change it has to be asked for.
    wanted = mode != "dry" and (found.verdict == "adopt" or (mode == "create" and found.verdict in CHANGES))
    # The sweep starts them, behind callouts. A try whose answer was lost is safe to repeat: it is a duplicate then.
    answers = patiently(lambda: ledger.accept(found.arrivals, starts=False)) if wanted else []
    refused = [f"{answer.opportunity_id}: {problem}" for answer in answers for problem in answer.problems]
    if refused:  # by the ledger: another account has that customer
        found = replace(found, verdict="refused", words=tuple(refused))
    return {**found.to_json(), "accepted": sum(answer.status == "accepted" for answer in answers)}


def run(task: Task, path: Path, parts: Parts) -> Progress:
    """Look at every customer and, unless it is a dry run, bring in its deals. Shows how far it is; can be interrupted
    and started again. Raises ClickException for what other systems refuse.
    """
    progress = Progress(path, task)
    try:
        _run(task, progress, parts)
    except KeyboardInterrupt:
        click.echo(f"\nStopped after {counted(len(progress.done), 'customer')}. {GOES_ON}", err=True)
        raise SystemExit(INTERRUPTED) from None
    except ClosedWonError as error:
        raise click.ClickException(f"{error}\n{GOES_ON}") from None
    progress.finish()
    return progress


def _run(task: Task, progress: Progress, parts: Parts) -> None:
    until = task.last
    # Progress goes to the standard error: the standard output is for what was found.
    click.echo("Asking Salesforce which customers have won deals ...", err=True)
    accounts = patiently(lambda: accounts_with_deals(task.since, until, parts.bulk_queries))
    left = [id for id in accounts if id not in progress.done]
    if progress.done:
        done = counted(len(progress.done), "customer")
        click.echo(f"{done} {_were(len(progress.done))} done before; {len(left):,} {_are(len(left))} left.", err=True)
    if not left:  # Stigg need not be asked
        return
    catalogue = SharedCatalogue(lambda: fetch_catalogue(parts.stigg, parts.now()), parts.stigg, None)
    patiently(lambda: catalogue(()))  # read before anything is counted: without it nothing goes
    outlooks: Any = click.progressbar(
        looked_at(left, task.since, until, catalogue, parts),
        length=len(left),
        label="Looking" if task.mode == "dry" else "Bringing in",
        file=sys.stderr,
        show_pos=True,
    )
    with outlooks:
        for found in outlooks:
            with in_one_piece():
                progress.add(bring_in(found, task.mode, parts.ledger))


def summary(task: Task, progress: Progress, a_minute: float) -> str:
    """What was found and done, for people. a_minute: how many customers Stigg's limits let through a minute."""
    entries = list(progress.done.values())
    days = f"from {task.since} to {task.last}"
    if not entries:
        return f"No customer has deals that were won {days}: there is nothing to bring in."
    told = f"{counted(len(entries), 'customer')} {'has' if len(entries) == 1 else 'have'} deals that were won {days}:"
    return "\n".join([told, "", *_counts(entries), *_examples(entries), "", *_ending(task, entries, a_minute)])


def _counts(entries: Sequence[Entry]) -> Iterator[str]:
    counts = {verdict: _count(entries, verdict) for verdict in VERDICTS}
    width = max(len(f"{count:,}") for count in counts.values())
    for verdict, meaning in VERDICTS.items():
        if counts[verdict]:
            yield f"  {counts[verdict]:>{width},}  {verdict:<7}  {meaning}"


def _examples(entries: Sequence[Entry]) -> Iterator[str]:
    """Some customers of each verdict that has more to say, with what it says; without those that were brought in."""
    for verdict in VERDICTS:
        some = [e for e in entries if e["verdict"] == verdict and e["words"] and not e["accepted"]]
        if some:
            yield ""
            yield f"{verdict}:"
        for entry in some[:EXAMPLES]:
            yield from _told(f"  {entry['account_id']}  ", entry["words"])
        if len(some) > EXAMPLES:
            yield f"  and {counted(len(some) - EXAMPLES, 'more customer')}"


def _told(first: str, said: Iterable[str]) -> Iterator[str]:
    """Sentences below each other, beside what they are about."""
    for words in said:
        yield from textwrap.wrap(
            " ".join(words.split()), WIDTH, initial_indent=first, subsequent_indent=" " * len(first)
        )
        first = " " * len(first)


def _ending(task: Task, entries: Sequence[Entry], a_minute: float) -> Iterator[str]:
    """What was done, and what to do next."""
    adopted = _count(entries, "adopt")
    changed = _count(entries, *CHANGES)
    settled = _count(entries, "held", "refused")
    yield "Nothing was written." if task.mode == "dry" else _brought_in(entries, a_minute)
    if task.mode == "dry" and adopted:
        yield f"To adopt what stands in Stigg ({counted(adopted, 'customer')}, {_takes(adopted, a_minute)}):"
        yield f"  {task.command('--run')}"
    if task.mode != "create" and changed:
        many = adopted + changed if task.mode == "dry" else changed  # after a run, those are adopted already
        more = adopted or task.mode == "run"
        also = "To make and change what is told above as well" if more else "To make and change what is told above"
        yield f"{also} ({counted(many, 'customer')}, {_takes(many, a_minute)}):"
        yield f"  {task.command('--run', '--create')}"
    if settled:
        yield (
            f"{counted(settled, 'customer')} {'needs' if settled == 1 else 'need'} somebody first: settle what is told "
            "above in Salesforce or Stigg, then start again."
        )


def _brought_in(entries: Sequence[Entry], a_minute: float) -> str:
    accepted = [entry for entry in entries if entry["accepted"]]
    if not accepted:
        return "There was nothing to bring in: no deal was accepted."
    deals = sum(entry["accepted"] for entry in accepted)
    return (
        f"{counted(deals, 'deal')} of {counted(len(accepted), 'customer')} {_were(deals)} accepted. The sweep "
        f"brings {'it' if deals == 1 else 'them'} to Stigg, after callouts: {_takes(len(accepted), a_minute)}."
    )


def _count(entries: Iterable[Entry], *verdicts: str) -> int:
    return sum(entry["verdict"] in verdicts for entry in entries)


def _takes(customers: int, a_minute: float) -> str:
    """How long Stigg's limits let it take: one customer a rate slot."""
    return f"about {duration(60 * max(1, math.ceil(customers / a_minute)))}"


def _were(number: int) -> str:
    return "was" if number == 1 else "were"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--since", required=True, type=DAY, metavar="DAY", help="Deals closed on this day (2024-01-31) or later.")
@click.option("--until", type=DAY, metavar="DAY", help="Deals closed on this day or earlier; by default today.")
@click.option("--run", "really", is_flag=True, help="Bring the deals in. Without it, nothing is written.")
@click.option("--create", is_flag=True, help="With --run: also create and change subscriptions in Stigg.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="The file that gets what is found.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found, a JSON object for each customer.")
@click.pass_obj
def backfill(
    chosen: Chosen,
    since: datetime,
    until: datetime | None,
    really: bool,
    create: bool,
    file: Path | None,
    as_json: bool,
) -> None:
    """Bring in deals that were won before closed-won was there.

    Without --run it only shows how many customers there are, what is wrong with the mapping, what would be adopted,
    created or held, and how long that would take. With --run it brings in the customers whose deals stand in Stigg
    already, and reports the others. It can be stopped (Ctrl-C) and started again. Exit code 1 when it could not be
    done, 130 when it was stopped.
    """
    if create and not really:
        raise click.UsageError("--create goes with --run")
    if until is not None and until < since:
        raise click.UsageError("--until is before --since")
    days = since.date().isoformat(), until.date().isoformat() if until else None
    mode: Literal["dry", "run", "create"] = ("create" if create else "run") if really else "dry"
    task = Task(chosen.stack.name, *days, mode=mode)
    parts = chosen.stack.parts()
    path = file or task.file
    done = run(task, path, parts)
    if as_json:
        for entry in done.done.values():
            click.echo(json.dumps(entry))
    else:
        settings = parts.settings
        # What the governor lets through: closed-won's share of Stigg's limit.
        a_minute = int(settings["STIGG_WRITES_PER_MINUTE"]) * int(settings["STIGG_SHARE_PERCENT"]) / 100
        click.echo(summary(task, done, a_minute))
    click.echo(f"Every customer is in {path}.", err=as_json)
