"""Backfill: brings in the deals that were won before closed-won was there, oldest first, customer by customer.

First a dry run: it reads everything and writes nothing. Then the run: it accepts deals in the ledger, exactly as a
callout does, and leaves the rest to the sweep. By default only what stands in Stigg already is brought in.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import click

from closedwon import reading
from closedwon.backfill import CHANGES, VERDICTS, Outlook, outlook
from closedwon.bulk import BulkQueries
from closedwon.callout import record
from closedwon.catalogue import read_catalogue
from closedwon.provisioning import now, stigg
from closedwon.reconciling import live
from closedwon.settings import backlinks, policy, setting
from closedwon.step import ledger

ACCOUNTS_AT_ONCE = 25
"""Customers looked at together: Salesforce is asked about all of them at once."""


class Progress:
    """What was done with each customer, in a file: who starts again goes on after it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                self.done[entry["account_id"]] = entry

    def add(self, outlook: Outlook, accepted: int) -> None:
        entry = {**outlook.to_json(), "accepted": accepted}
        self.done[outlook.account_id] = entry
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def accounts_with_deals(since: str, until: str) -> list[str]:
    """The accounts with opportunities won from one day to another, the one with the oldest first."""
    oldest: dict[str, str] = {}
    queries = BulkQueries(reading.salesforce())
    soql = (
        "SELECT AccountId, CloseDate FROM Opportunity WHERE IsWon = TRUE AND AccountId != NULL "
        f"AND CloseDate >= {date.fromisoformat(since)} AND CloseDate <= {date.fromisoformat(until)}"  # nosec B608 - dates
    )
    for row in queries.rows(soql):
        account_id, closed = row["AccountId"], row["CloseDate"]
        oldest[account_id] = min(closed, oldest.get(account_id, closed))
    return sorted(oldest, key=lambda id: (oldest[id], id))


def looked_at(accounts: list[str], since: str, until: str) -> Iterator[Outlook]:
    """What bringing in each customer's deals would do."""
    catalogue = read_catalogue(ledger(), stigg(), now())
    for start in range(0, len(accounts), ACCOUNTS_AT_ONCE):
        for sides in live().sides(accounts[start : start + ACCOUNTS_AT_ONCE], deep=False):
            links = backlinks(sides.customer.account_id)
            yield outlook(sides, since, until, catalogue, policy(), links, now())


def bring_in(found: Outlook, create: bool) -> int:
    """Accept a customer's deals, if they are to be. Out: how many were."""
    if found.verdict != "adopt" and not (create and found.verdict in CHANGES):
        return 0
    results = record(live().given(dict(found.deals))).results
    return sum(result.status == "accepted" for result in results)


def run(since: str, until: str, path: Path, *, dry: bool, create: bool) -> Progress:
    """Look at every customer and, unless it is a dry run, bring in its deals. Shows how far it is; can be interrupted
    and started again.
    """
    progress = Progress(path)
    accounts = [id for id in accounts_with_deals(since, until) if id not in progress.done]
    if progress.done:
        click.echo(f"{len(progress.done)} customers were done before ({path}); {len(accounts)} are left.", err=True)
    try:
        outlooks: Any = click.progressbar(
            looked_at(accounts, since, until),
            length=len(accounts),
            label="Looking" if dry else "Bringing in",
            file=click.get_text_stream("stderr"),
        )
        with outlooks:
            for found in outlooks:
                progress.add(found, 0 if dry else bring_in(found, create))
    except KeyboardInterrupt:
        raise click.ClickException(
            f"paused after {len(progress.done)} customers; the same command goes on from there"
        ) from None
    return progress


def summary(progress: Progress, dry: bool) -> str:
    """What was found and done, for people."""
    entries = list(progress.done.values())
    counts = Counter(entry["verdict"] for entry in entries)
    lines = [f"{_counted(len(entries), 'customer')} with deals won in that time."]
    lines += [
        f"{counts[verdict]:>8}  {verdict:8} {meaning}" for verdict, meaning in VERDICTS.items() if counts[verdict]
    ]
    lines += ["", *_examples(entries)]
    accepted = sum(entry["accepted"] for entry in entries)
    if dry:
        lines.append("Nothing was written. --run brings in what would be adopted; with --create what would be made or")
        lines.append("changed as well.")
        lines += [_duration(entries, verdicts) for verdicts in (("adopt",), ("adopt", *CHANGES))]
    else:
        were = "was" if accepted == 1 else "were"
        lines.append(f"{_counted(accepted, 'deal')} {were} accepted. The sweep brings them to Stigg, callouts first.")
    return "\n".join(lines)


def _examples(entries: Iterable[dict[str, Any]], most: int = 10) -> Iterator[str]:
    told = [(entry, words) for entry in entries for words in entry["words"]]
    for entry, words in told[:most]:
        yield f"{entry['account_id']}  {entry['verdict']}: {words}"
    if len(told) > most:
        yield f"... and {len(told) - most} more, in the file."
    if told:
        yield ""


def _duration(entries: Iterable[dict[str, Any]], verdicts: tuple[str, ...]) -> str:
    """How long Stigg's limits let it take: one customer a turn."""
    customers = sum(entry["verdict"] in verdicts for entry in entries)
    a_minute = int(setting("STIGG_WRITES_PER_MINUTE")) * int(setting("STIGG_SHARE_PERCENT")) / 100
    minutes = math.ceil(customers / a_minute)
    told = f"{_counted(customers, 'customer')}, about {_counted(minutes, 'minute')} at {a_minute:.0f} a minute"
    return f"{' or '.join(verdicts)}: {told}."


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def environment_of(stack: str) -> None:
    """Take the settings of a deployed stack, as its functions have them. Raises ClickException in their words."""
    import boto3
    import botocore.exceptions

    try:
        resource = boto3.client("cloudformation").describe_stack_resource(
            StackName=stack, LogicalResourceId="RepairFunction"
        )
        name = resource["StackResourceDetail"]["PhysicalResourceId"]
        configuration = boto3.client("lambda").get_function_configuration(FunctionName=name)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise click.ClickException(f"AWS said: {error}") from None
    os.environ.update({name: str(value) for name, value in configuration["Environment"]["Variables"].items()})
