"""``closedwon history``: lists what was provisioned lately, failures first; or what waits for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import click

from closedwon.aws.ledger import Ledger, at_once
from closedwon.domain.errors import ClosedWonError
from closedwon.domain.instants import iso_of
from closedwon.domain.links import salesforce_record_url
from closedwon.stack import Stack as Parts
from closedwon.words.counted import counted
from ops import show
from ops.executions import STATUSES, Execution, Executions, opportunity_of
from ops.look import ACTS_AS
from ops.show import json_option, say
from ops.stack import Chosen
from ops.who import resolved

Json = dict[str, Any]

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

WAITS = ("Held", "Failed", "Payment required")
"""The statuses of deals that wait for people."""

SHORT = 160
"""The most characters of a cause in the table."""


class Since(click.ParamType[datetime]):
    """How far back: 30m, 2h, 3d; or an instant, in UTC where it names no zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        # The short form first: no instant is written like that.
        if found := re.fullmatch(r"(\d{1,6})([smhdw])", value):
            return datetime.now(UTC) - timedelta(**{UNITS[found[2]]: int(found[1])})
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: say 30m, 2h, 3d, or 2026-01-15 or 2026-01-15T09:00Z", param, ctx)
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def found(
    executions: Executions,
    statuses: Sequence[str],
    since: datetime,
    limit: int,
    cause: str = "",
    opportunities: Iterable[str] | None = None,
) -> tuple[list[Execution], bool]:
    """Executions of each of these statuses in turn, newest first in each. limit: of each status.

    cause: only those whose error or cause says so. opportunities: only those that are named after one of these.
    Out: the executions, and whether there are more.
    """
    wanted = None if opportunities is None else set(opportunities)
    every: list[Execution] = []
    more = False
    for status in statuses:
        # Lazily: the error of each failure is one more request, and those beyond the limit are never shown.
        some = (one for one in executions.since(status, since) if wanted is None or opportunity_of(one.name) in wanted)
        kept = list(islice(_saying(executions, some, cause), limit + 1))  # one more tells whether there are more
        every += kept[:limit]
        more = more or len(kept) > limit
    return every, more


def _saying(executions: Executions, some: Iterable[Execution], cause: str) -> Iterator[Execution]:
    """Those that failed with their errors, which are not listed; only those that say so."""
    for one in some:
        if one.failed:
            # A redrive, or its 90 days, may have changed it since: it is told as it was found.
            one = replace(executions.describe(one.arn), status=one.status)
        if cause.lower() in f"{one.error} {one.cause}".lower():  # "" is in every text
            yield one


def waiting(most: int, parts: Parts) -> list[Json]:
    """The deals that wait for people, the longest first, as Salesforce shows them."""
    # From Salesforce, for the ledger has an index of what is due, and what waits for people is not.
    rows = parts.quick_salesforce.query(
        "SELECT Opportunity_ID__c, Account__c, Status__c, Reason__c, Provisioned_At__c, Approval_ID__c "
        f"FROM Stigg_Provisioning__c WHERE Status__c IN {{waits}} ORDER BY Provisioned_At__c LIMIT {int(most) + 1}",  # nosec B608 - a number
        waits=list(WAITS),
    )
    return [
        {
            "opportunityId": row["Opportunity_ID__c"],
            "accountId": row["Account__c"],
            "status": row["Status__c"],
            "since": row["Provisioned_At__c"],
            "reason": row["Reason__c"] or "",
            "approval": row["Approval_ID__c"],
            "url": salesforce_record_url(parts.settings["SALESFORCE_URL"], row["Opportunity_ID__c"]),
        }
        for row in rows
    ]


def overdue(most: int, ledger: Ledger) -> list[Json]:
    """The customers that the ledger has due by now: the sweep starts them."""
    accounts = list(islice(ledger.overdue(0), most + 1))  # one more tells whether there are more
    # The index has the account only.
    customers = at_once(ledger.customer, accounts)
    return [
        {
            "accountId": one.account_id,
            "dueAt": iso_of(one.due_at) if one.due_at is not None else None,
            "failures": one.failures,
            "working": one.lease.owner if one.lease else None,
        }
        for one in customers
    ]


def deals_now(every: Iterable[Execution], ledger: Ledger) -> dict[str, str]:
    """What became of the deals of those that failed, by the ledger: most were tried again since."""
    ids = sorted({id for one in every if one.failed and (id := opportunity_of(one.name))})
    known = zip(ids, at_once(ledger.find, ids), strict=True)
    return {id: found[1].outcome.status for id, found in known if found}


class Teller:
    """Tells it to people."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone

    def when(self, instant: datetime | str | None) -> str:
        if not instant:
            return ""
        if isinstance(instant, str):
            instant = datetime.fromisoformat(instant)
        return f"{instant.astimezone(self.zone):%m-%d %H:%M:%S}"

    def executions(
        self, every: Sequence[Execution], now: Mapping[str, str], more: bool, since: datetime, limit: int
    ) -> None:
        failed = [one for one in every if one.failed]
        others = [one for one in every if not one.failed]
        if not every:
            say(f"Nothing was found since {since.astimezone(self.zone):%Y-%m-%d %H:%M}.")
        if failed:
            self.failures(failed, now)
        if others:
            say(f"{counted(len(others), 'other')}:")
            show.table(("when", "deal", "status", "seconds"), map(self.row, others))
        if more:
            say(f"There are more: only the newest {limit} of each status are shown. --limit shows more of them.")
        if failed:
            self.what_to_do(failed[0])

    def failures(self, failed: Sequence[Execution], now: Mapping[str, str]) -> None:
        errors = Counter(one.error or one.status for one in failed)
        say(f"{counted(len(failed), 'failure')}: {', '.join(f'{n} {error}' for error, n in errors.most_common())}.")
        rows = [
            (*self.row(one), now.get(opportunity_of(one.name) or "", ""), one.error, _short(one.cause))
            for one in failed
        ]
        columns = ("when", "deal", "status", "seconds", "the deal now", "error", "cause")
        show.table(columns, rows, whole=("when", "deal", "status"))

    def what_to_do(self, one: Execution) -> None:
        """How to look at one that failed, and to try again what did."""
        say("What happened to one of them, and to try again what failed:")
        show.verbatim(f"  {show.command('status', opportunity_of(one.name) or one.name)}")
        show.verbatim(f"  {show.command('replay', '--failed-since', '2h', '--dry-run')}")

    def row(self, one: Execution) -> tuple[object, ...]:
        seconds = "" if one.seconds is None else f"{one.seconds:.1f}"
        return self.when(one.started), opportunity_of(one.name) or one.name, one.status, seconds

    def waiting(self, deals: Sequence[Json], limit: int) -> None:
        many = f"{counted(len(deals[:limit]), 'deal')} {'waits' if len(deals) == 1 else 'wait'}"
        say(f"{many} for people, the longest first, as Salesforce shows {'it' if len(deals) == 1 else 'them'}:")
        rows = [
            (
                self.when(one["since"]),
                one["opportunityId"],
                one["status"],
                "yes" if one["approval"] else "",
                one["reason"],
            )
            for one in deals[:limit]
        ]
        columns = ("since", "deal", "status", "can be approved", "reason")
        show.table(columns, rows, whole=("since", "deal", "status"))

    def due(self, due: Sequence[Json]) -> None:
        say(f"{counted(len(due), 'customer')} due in the ledger by now, for the sweep to start:")
        rows = [(self.when(one["dueAt"]), one["accountId"], one["failures"] or "", one["working"] or "") for one in due]
        show.table(("due since", "account", "failures", "execution that had it last"), rows)

    def held(self, deals: Sequence[Json] | None, due: Sequence[Json], limit: int) -> None:
        if deals:
            self.waiting(deals, limit)
        elif deals is not None:
            say("No deal waits for people.")
        if due:
            self.due(due[:limit])
        else:
            say("Nothing is due in the ledger.")
        if len(deals or ()) > limit or len(due) > limit:
            say(f"There are more: only {limit} of each are shown. --limit shows more of them.")
        if deals:
            say("What happened to one of them, and to let through what can be approved:")
            show.verbatim(f"  {show.command('status', deals[0]['opportunityId'])}")
            show.verbatim(f"  {show.command('approve', 'OPPORTUNITY')}")


def _short(cause: str) -> str:
    return cause if len(cause) <= SHORT else f"{cause[: SHORT - 1]}…"


@click.command(short_help="List what was provisioned lately, failures first.")
@click.option("--since", type=Since(), default="24h", show_default=True, help="How far back: 30m, 3d; or a time.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([*STATUSES], case_sensitive=False),
    multiple=True,
    help="Only executions with this status; can be repeated.",
)
@click.option("--cause", default="", help="Only failures whose error or cause contains this, such as StiggUnavailable.")
@click.option("--account", metavar="ID", help="Only those of one customer: any ID that `status` takes.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many of each status."
)
@click.option("--held", is_flag=True, help="List the deals that wait for people, and what is due, instead.")
@json_option
@click.pass_obj
def history(
    chosen: Chosen,
    since: datetime,
    statuses: Sequence[str],
    cause: str,
    account: str | None,
    limit: int,
    held: bool,
    as_json: bool,
) -> None:
    """List what was provisioned lately: failures first, then the others, newest first.

    Each line is one execution of the provisioning state machine. Failures are tried again by themselves, unless a deal
    was refused: --held lists what waits for people.
    """
    parts = chosen.stack.parts(*ACTS_AS)
    teller = Teller(ZoneInfo(parts.settings["TIME_ZONE"]))
    if held:
        _held(teller, limit, as_json, parts)
        return
    machine = Executions(chosen.stack.client("stepfunctions"), chosen.stack.outputs["ProvisionStateMachineArn"])
    # Executions are named after opportunities, and can be looked for by nothing else.
    opportunities = resolved(account, parts).customer.opportunities if account else None
    every, more = found(machine, _asked_for(statuses, cause), since, limit, cause, opportunities)
    now = deals_now(every, parts.ledger)
    if as_json:
        listed = [
            {**one.to_json(), "opportunityId": (id := opportunity_of(one.name)), "dealNow": now.get(id or "")}
            for one in every
        ]
        show.as_json({"since": since.isoformat(), "executions": listed, "more": more})
    else:
        teller.executions(every, now, more, since, limit)


def _asked_for(statuses: Sequence[str], cause: str) -> list[str]:
    """The statuses to look for: all where none is named."""
    wanted = [one for one in STATUSES if one in (statuses or STATUSES)]
    if cause:
        return [one for one in wanted if one not in ("RUNNING", "SUCCEEDED")]  # nothing went wrong with those
    return wanted


def _held(teller: Teller, limit: int, as_json: bool, parts: Parts) -> None:
    """What waits. Where Salesforce cannot be asked, what is due is told all the same."""
    due, why = overdue(limit, parts.ledger), ""
    try:
        deals = waiting(limit, parts)
    except ClosedWonError as error:
        deals, why = [], str(error)
    if as_json:
        cut = len(deals) > limit or len(due) > limit
        show.as_json({"waiting": None if why else deals[:limit], "due": due[:limit], "more": cut, "notReached": why})
    else:
        teller.held(None if why else deals, due, limit)
    if why:
        show.stop(f"Salesforce could not be asked, so the deals that wait for people are not told: {why}")
