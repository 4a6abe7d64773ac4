"""``closedwon restore``: restores the ledger from a backup."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import click

from ops import show
from ops.stack import Chosen

ITEMS_A_REQUEST = 25
"""The most items BatchWriteItem writes."""

OF_THE_MOMENT = ("GOVERNOR#", "CONTROL", "CATALOGUE", "PACKAGE")
"""Items that are not restored, because they describe the present only: budgets, the stack's mode, the catalogue, what
the Salesforce organisation's package has.
"""


@click.command()
@click.argument("table")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def restore(chosen: Chosen, table: str, yes: bool) -> None:
    """Restore the ledger from TABLE.

    TABLE is a DynamoDB table that was restored from a backup of the ledger. Provisioning must be paused. Deals accepted
    since the backup are then missing from the ledger: run `reconcile --mode all` afterwards, which finds them in
    Salesforce.
    """
    stack = chosen.stack
    live = stack.outputs["LedgerTableName"]
    if table == live:
        raise click.ClickException(f"{table} is the ledger itself: name the table that was restored from its backup")
    client = stack.client("dynamodb")
    found = {item_key(item) for item in items(client, table)}
    # Any other table, taken for a backup, would have the whole ledger deleted.
    if not any(pk.startswith("ACCOUNT#") for pk, _ in found):
        raise click.ClickException(f"{table} is no ledger: it has no customer")
    # What was written after the backup would contradict what is put back, so it is deleted.
    newer = [key for item in items(client, live) if (key := item_key(item)) not in found]
    customers = sum(sk == "CUSTOMER" for _, sk in found)
    if stack.parts().ledger.control().mode != "pause":
        raise click.ClickException(
            "the stack is not paused; pause it first, so that nothing writes meanwhile: closedwon pause"
        )
    if not yes:
        question = f"Put {customers} customers from {table} into {live}, and delete {len(newer)} newer items there?"
        click.confirm(question, abort=True)
    # Read a second time, for a ledger with every order ever accepted may not fit into memory.
    puts = ({"PutRequest": {"Item": item}} for item in items(client, table))
    # Written here with the operator's credentials: no function of the stack may delete from the ledger.
    deletes = ({"DeleteRequest": {"Key": {"pk": {"S": pk}, "sk": {"S": sk}}}} for pk, sk in newer)
    with show.progress() as progress:
        task = progress.add_task("Restoring", total=len(found) + len(newer))
        for some in chain(chunks(puts), chunks(deletes)):
            write(client, live, some)
            progress.advance(task, len(some))
    show.check("ok", f"The ledger is what {table} holds: {customers} customers.")
    show.say("Next: resume, and reconcile everything, which finds in Salesforce what was accepted since the backup.")
    show.verbatim("  ./closedwon resume")
    show.verbatim("  ./closedwon reconcile --mode all --wait")


def items(client: Any, table: str) -> Iterator[dict[str, Any]]:
    """The items of a table that belong to customers and deals."""
    # Consistent, so that nothing written just before the pause is overlooked and left standing.
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from (item for item in page["Items"] if not item["pk"]["S"].startswith(OF_THE_MOMENT))


def item_key(item: dict[str, Any]) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def chunks(requests: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while some := list(islice(requests, ITEMS_A_REQUEST)):
        yield some


def write(client: Any, table: str, requests: list[dict[str, Any]]) -> None:
    """Write a batch; what DynamoDB left unprocessed is sent again."""
    while requests:
        requests = client.batch_write_item(RequestItems={table: requests})["UnprocessedItems"].get(table, [])
