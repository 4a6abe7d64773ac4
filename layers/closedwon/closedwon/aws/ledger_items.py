"""What the ledger's items hold: customers, opportunities and orders as the table keeps them, and back. Pure.

The table of keys is in `ledger`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import accumulate
from typing import Any, NamedTuple

from closedwon.domain.customer import Customer, Lease, OpportunityState
from closedwon.domain.errors import LedgerUnreadable, as_read
from closedwon.domain.order import Order, Revision
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.wire.private import keep_private

OPPORTUNITIES_A_TRANSACTION = 20
"""A transaction takes 100 items; an opportunity needs at most three."""

BYTES_A_TRANSACTION = 3_500_000
"""A transaction takes 4 MB; this leaves room for the head. An opportunity with 200 lines is usually about 170 KB, with
the longest IDs, and provisioned before, nearly 600.
"""

Item = dict[str, Any]
Json = dict[str, Any]


class Accepted(NamedTuple):
    """An order as it was accepted. at: when, in epoch milliseconds."""

    at: int
    revision: Revision
    order: Order


def keep_names_private(orders: Iterable[Order]) -> None:
    """Register the names of a customer and its opportunities, so that no error text shows them from here on. E-mail
    addresses need no registration: they are recognised by their form.
    """
    for order in orders:
        keep_private(order.account_name, order.opportunity_name)


def customer_of(account_id: str, rev: int, head: str, opportunities: Mapping[str, str]) -> Customer:
    """A customer from what the table holds: the body of its head, and those of its opportunities by their IDs."""
    with as_read(lambda mistake: unreadable(f"ACCOUNT#{account_id}", mistake)):
        body = json.loads(head)
        return Customer(
            **{
                **body,  # one of a newer version fails here: what was dropped, the next write would lose
                "rev": rev,
                "lease": Lease(*body["lease"]) if body["lease"] else None,
                "slots": {key: SlotRecord.from_json(record) for key, record in body["slots"].items()},
                "grants": {key: GrantRecord(**record) for key, record in body["grants"].items()},
                "approved": tuple(body["approved"]),
                "opportunities": {
                    id: OpportunityState.from_json(json.loads(text)) for id, text in opportunities.items()
                },
            }
        )


def unreadable(pk: str, mistake: str) -> LedgerUnreadable:
    """The error of an item that is not as closed-won writes it. In: its partition key; the name of Python's error."""
    return LedgerUnreadable(f"the ledger's {pk} cannot be read ({mistake})")


def exported(line: bytes) -> tuple[str, Json] | None:
    """One line of DynamoDB's export of the table (DYNAMODB_JSON): an account and its head, or one of its opportunities,
    with plain values. None for everything else the ledger holds.
    """
    if b'"ACCOUNT#' not in line:  # most lines are orders: they are not worth reading
        return None
    with as_read(lambda mistake: unreadable("export", mistake)):
        item = json.loads(line)["Item"]
        kind, _, account_id = item["pk"]["S"].partition("#")
        if kind != "ACCOUNT":
            return None
        plain = {name: int(value["N"]) if "N" in value else value["S"] for name, value in item.items()}
        return account_id, plain


def head_item(customer: Customer, rev: int) -> Item:
    body = {f.name: getattr(customer, f.name) for f in fields(customer) if f.name not in ("rev", "opportunities")}
    # Opportunities are items of their own: a head with all deals would outgrow DynamoDB's 400 KB.
    body["slots"] = {key: record.to_json() for key, record in customer.slots.items()}
    body["grants"] = {key: asdict(record) for key, record in customer.grants.items()}
    item: Item = {
        "pk": {"S": f"ACCOUNT#{customer.account_id}"},
        "sk": {"S": "CUSTOMER"},
        "rev": {"N": str(rev)},
        "body": {"S": json.dumps(body, separators=(",", ":"))},
    }
    # Only due customers have these attributes, so that the index holds nothing else (a sparse index).
    if customer.due_at is not None:
        item |= {"due": {"S": "DUE"}, "due_at": {"N": str(customer.due_at)}}
    return item


def fitting(of_each: Sequence[list[Item]]) -> int:
    """How many of the opportunities, whose writes are given, fit into one transaction: at least one."""
    sizes = (sum(_size(put["Put"]["Item"]) for put in puts) for puts in of_each)
    fitting = sum(together <= BYTES_A_TRANSACTION for together in accumulate(sizes))
    return max(1, min(fitting, OPPORTUNITIES_A_TRANSACTION))  # one always fits: what does not was refused


def _size(item: Item) -> int:
    """The size of an item in bytes, as DynamoDB counts: names and values. Everything written here is ASCII."""
    return sum(len(name) + len(text) for name, value in item.items() for text in value.values())


def opportunity_item(account_id: str, id: str, state: OpportunityState) -> Item:
    return {
        "pk": {"S": f"ACCOUNT#{account_id}"},
        "sk": {"S": f"OPPORTUNITY#{id}"},
        "body": {"S": json.dumps(state.to_json(), separators=(",", ":"))},
    }


def owner_item(pk: str, account_id: str) -> Item:
    return {"pk": {"S": pk}, "sk": {"S": "OWNER"}, "account_id": {"S": account_id}}


def order_item(account_id: str, id: str, state: OpportunityState, now: int) -> Item:
    # Padded, so that the keys sort as numbers do; 13 digits last until the year 2286.
    revision = f"{state.revision.modified:013d}.{state.revision.read:013d}"
    return {
        "pk": {"S": f"OPPORTUNITY#{id}"},
        "sk": {"S": f"ORDER#{revision}#{state.order.digest[:16]}"},  # the digest parts two saves of one millisecond
        "account_id": {"S": account_id},
        "accepted_at": {"N": str(now)},
        "body": {"S": json.dumps(state.order.to_json(), separators=(",", ":"))},
    }


def accepted_order(item: Item) -> Accepted:
    with as_read(lambda mistake: unreadable(item["pk"]["S"], mistake)):
        modified, read = item["sk"]["S"].split("#")[1].split(".")
        order = Order.from_json(json.loads(item["body"]["S"]))
        return Accepted(int(item["accepted_at"]["N"]), Revision(int(modified), int(read)), order)
