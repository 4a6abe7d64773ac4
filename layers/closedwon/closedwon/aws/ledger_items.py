"""What the ledger's items hold: customers, opportunities and orders as the table keeps them, and back. Pure.

The table of keys is in `ledger`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from closedwon.domain.customer import Customer, Lease, OpportunityState
from closedwon.domain.errors import LedgerUnreadable, as_read
from closedwon.domain.order import Order, Revision
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.stored import Json, given_of, told_of
from closedwon.wire.private import keep_private

Item = dict[str, Any]

READABLE = 1_000
"""Bytes up to which a body is stored as it is. DynamoDB charges by the kilobyte: deflated, an order of 50 lines is a
tenth of its size, and a small one would gain nothing.
"""


class Accepted(NamedTuple):
    """An order as it was accepted. at: when, in epoch milliseconds."""

    at: int
    revision: Revision
    order: Order


class Stored(NamedTuple):
    """A customer as the table holds it.

    whole: whether all its items were read, and not only some deals; then slots, grants and approvals are unknown. revs:
    of each item read beside the head, by sort key, the customer's `rev` as of which it was written; 0 for those of the
    first version. total: the sum of all these, as the head says; 0 where the first version wrote it. inherited: what
    the head still holds of slots, grants and approvals, as the first version put it there.
    """

    customer: Customer
    whole: bool = True
    revs: Mapping[str, int] = {}
    total: int = 0
    inherited: Mapping[str, Any] = {}

    def is_leased(self, account_id: str, lease: Lease) -> bool:
        """Whether it is that account's customer under that lease."""
        held = self.customer.lease
        return self.customer.account_id == account_id and held is not None and held.token == lease.token


class Part(NamedTuple):
    """What is stored of a customer outside its head: a mapping of its fields, each entry an item of its own.

    kind: how the sort keys of its items begin. told: what an entry's body says; read: an entry from its body.
    """

    kind: str
    of: Callable[[Customer], Mapping[str, Any]]
    told: Callable[[Any], Any]
    read: Callable[[Any], Any]


PARTS = {
    "opportunities": Part(
        "OPPORTUNITY", lambda customer: customer.opportunities, OpportunityState.to_json, OpportunityState.from_json
    ),
    "slots": Part("SLOT", lambda customer: customer.slots, SlotRecord.to_json, SlotRecord.from_json),
    "grants": Part("GRANT", lambda customer: customer.grants, GrantRecord.to_json, GrantRecord.from_json),
    "approved": Part("APPROVAL", lambda customer: dict.fromkeys(customer.approved), lambda _: {}, lambda _: None),
}
"""The parts of a customer, by their fields."""

KINDS = {part.kind: name for name, part in PARTS.items()}
"""The fields of a customer that are stored outside its head, by how the sort keys of their items begin."""

HEAD = "CUSTOMER"
"""The sort key of a customer's head. It comes before those of all parts."""

INHERITED = ("slots", "grants", "approved")
"""The parts that the first version kept in the head."""


def keep_names_private(orders: Iterable[Order]) -> None:
    """Register the names of a customer and its opportunities, so that no error text shows them from here on. E-mail
    addresses need no registration: they are recognised by their form.
    """
    for order in orders:
        keep_private(order.account_name, order.opportunity_name)


# Reading


def stored_of(account_id: str, items: Iterable[Item], whole: bool = True) -> Stored | None:
    """A customer from its items, the head among them. None where there is no head, or where the items are not all as
    they were at one moment: then they are to be read again.

    A read may come between the items of one transaction, or find some of them not yet at the place that it asked.
    """
    by_key = {item["sk"]["S"]: item for item in items}
    head = by_key.pop(HEAD, None)
    if head is None:
        return None
    with as_read(lambda mistake: unreadable(f"ACCOUNT#{account_id}", mistake)):
        rev, total = _number(head, "rev"), _number(head, "revs")
        revs = {sk: _number(item, "rev") for sk, item in by_key.items()}
        if whole and not _of_one_moment(rev, total, revs.values()):
            return None
        body = json.loads(text_of(head))
        inherited = {name: body.pop(name) for name in INHERITED if name in body}
        customer = _customer_of(account_id, rev, {**body, **inherited} if whole else body, _texts(by_key))
    return Stored(customer, whole, revs, total, inherited)


def _texts(items: Mapping[str, Item]) -> dict[str, str]:
    """The bodies of items by their sort keys, but for those of kinds that a newer version added."""
    return {sk: text_of(item) for sk, item in items.items() if sk.partition("#")[0] in KINDS}


def _number(item: Item, name: str) -> int:
    """A number of an item; 0 where the first version wrote it, which had none."""
    return int(item.get(name, {"N": "0"})["N"])


def _of_one_moment(rev: int, total: int, revs: Collection[int]) -> bool:
    """Whether items are as they were when a head was written, by what both bear.

    What is written raises the head's `rev`; every other item bears the `rev` as of which it was written, and the head
    the sum of these. So if no item is newer than the head and the sum is right, none is older: each older or missing
    one makes it less, and nothing makes it more.
    """
    return sum(revs) == total and max(revs, default=0) <= rev


def customer_of(account_id: str, rev: int, head: str, items: Mapping[str, str]) -> Customer:
    """A customer from what the table holds: the body of its head, and those of its other items by their sort keys."""
    with as_read(lambda mistake: unreadable(f"ACCOUNT#{account_id}", mistake)):
        return _customer_of(account_id, rev, json.loads(head), items)


def _customer_of(account_id: str, rev: int, body: Json, items: Mapping[str, str]) -> Customer:
    # As the first version kept them; what is stored outside of the head since counts instead.
    parts: dict[str, dict[str, Any]] = {
        "opportunities": {},
        "slots": {key: SlotRecord.from_json(told) for key, told in body.get("slots", {}).items()},
        "grants": {key: GrantRecord.from_json(told) for key, told in body.get("grants", {}).items()},
        "approved": dict.fromkeys(body.get("approved", ())),
    }
    for sk, text in items.items():
        kind, _, key = sk.partition("#")
        name = KINDS.get(kind)
        if name is None:  # a newer version's
            continue
        told = json.loads(text)
        if told is None:  # gone since
            parts[name].pop(key, None)
        else:
            parts[name][key] = PARTS[name].read(told)
    lease = body.get("lease")
    given = {
        **given_of(Customer, body),
        **parts,
        "approved": tuple(parts["approved"]),
        "lease": Lease(*lease[: len(Lease._fields)]) if lease else None,
        "rev": rev,
    }
    return Customer(**given)


def text_of(item: Item) -> str:
    """An item's body, a JSON text: stored as it is, or deflated. Raises ValueError where it is neither."""
    body = item["body"]
    return str(body["S"]) if "S" in body else inflated(body["B"])


def inflated(body: bytes) -> str:
    """A deflated body's text. Raises ValueError where it is none."""
    try:
        return zlib.decompress(body).decode()
    except zlib.error as error:
        raise ValueError("not deflated") from error


def unreadable(pk: str, mistake: str) -> LedgerUnreadable:
    """The error of an item that is not as closed-won writes it. In: its partition key; the name of Python's error."""
    return LedgerUnreadable(f"the ledger's {pk} cannot be read ({mistake})")


def exported(line: bytes) -> tuple[str, Json] | None:
    """One line of DynamoDB's export of the table (DYNAMODB_JSON): an account and its head, or another of its items,
    with plain values. None for everything else the ledger holds.
    """
    if b'"ACCOUNT#' not in line:  # most lines are orders: they are not worth reading
        return None
    with as_read(lambda mistake: unreadable("export", mistake)):
        item = json.loads(line)["Item"]
        kind, _, account_id = item["pk"]["S"].partition("#")
        if kind != "ACCOUNT":
            return None
        plain: Json = {name: value["S"] for name, value in item.items() if "S" in value}
        plain |= {name: int(value["N"]) for name, value in item.items() if "N" in value}
        if "B" in item.get("body", {}):
            plain["body"] = inflated(base64.b64decode(item["body"]["B"]))
        return account_id, plain


def accepted_order(item: Item) -> Accepted:
    with as_read(lambda mistake: unreadable(item["pk"]["S"], mistake)):
        modified, read = item["sk"]["S"].split("#")[1].split(".")
        order = Order.from_json(json.loads(text_of(item)))
        return Accepted(int(item["accepted_at"]["N"]), Revision(int(modified), int(read)), order)


# Writing


def head_item(customer: Customer, rev: int, total: int, inherited: Mapping[str, Any]) -> Item:
    """A customer's head. total, inherited: see `Stored`."""
    body = {name: value for name, value in told_of(customer).items() if name != "rev" and name not in PARTS}
    if customer.rules == 1:  # as the first version stored it, here and below
        del body["rules"]
    for name in ("currency", "archived"):
        if not body[name]:
            del body[name]
    if customer.heard_at is None:
        del body["heard_at"], body["heard_token"]
    item: Item = {
        "pk": {"S": f"ACCOUNT#{customer.account_id}"},
        "sk": {"S": HEAD},
        "rev": {"N": str(rev)},
        "revs": {"N": str(total)},
        "body": {"S": _text({**body, **inherited})},
    }
    # Only due customers have these attributes, so that the index holds nothing else (a sparse index).
    if customer.due_at is not None:
        item |= {"due": {"S": "DUE"}, "due_at": {"N": str(customer.due_at)}}
    return item


def part_items(stored: Stored, changed: Customer) -> dict[str, Item]:
    """The items to write so that the table holds what a customer has become, by sort key; each still without its `rev`.

    What the first version kept in the head, and no item holds yet, is among them.
    """
    found: dict[str, Item] = {}
    for part in PARTS.values():
        before, after = part.of(stored.customer), part.of(changed)
        for key in {**before, **after}:
            sk = f"{part.kind}#{key}"
            if key not in after:
                told = None  # gone, and stays as an item that says so: the sum of the revs has to stay right
            elif key in before and sk in stored.revs and before[key] == after[key]:
                continue
            else:
                told = part.told(after[key])
            found[sk] = {
                "pk": {"S": f"ACCOUNT#{changed.account_id}"},
                "sk": {"S": sk},
                "body": body_of(_text(told)),
            }
    return found


def body_of(text: str) -> Item:
    """A body as it is stored, an attribute of an item; `text_of` is its inverse."""
    if len(text) <= READABLE:
        return {"S": text}
    return {"B": zlib.compress(text.encode(), 9)}


PART_BYTES = 300_000
"""How much of a snapshot one item holds at most: DynamoDB takes 400 KB, with keys and names."""


def catalogue_items(text: str) -> Iterator[Item]:
    """The items that hold a snapshot of the catalogue, in the order in which they are written; see `snapshot_of`.

    One that fits is one item. Of a larger one the first item comes last and names the others, so that no half of it is
    taken for a whole.
    """
    key = {"pk": {"S": "CATALOGUE"}, "sk": {"S": "CATALOGUE"}}
    body = zlib.compress(text.encode(), 9)
    if len(body) <= PART_BYTES:
        yield {**key, "body": body_of(text)}
        return
    digest = hashlib.sha256(body).hexdigest()
    parts = [body[at : at + PART_BYTES] for at in range(0, len(body), PART_BYTES)]
    for number, part in enumerate(parts):
        yield {**key, "sk": {"S": f"PART#{number:03}"}, "of": {"S": digest}, "body": {"B": part}}
    yield {**key, "of": {"S": digest}}


def snapshot_of(items: Iterable[Item]) -> str | None:
    """The snapshot that items hold. None where there is none, or none that can be read: its parts are of several that
    were written at one time, or another version wrote it otherwise. It is a cache.
    """
    by_key = {item["sk"]["S"]: item for item in items}
    first = by_key.pop("CATALOGUE", None)
    if first is None:
        return None
    try:
        if "body" in first:  # parts that are left of a larger one say nothing
            return text_of(first)
        body = b"".join(part["body"]["B"] for _, part in sorted(by_key.items()) if part["of"] == first["of"])
        return inflated(body) if hashlib.sha256(body).hexdigest() == first["of"]["S"] else None
    except (LookupError, TypeError, ValueError):
        return None


def _text(told: Any) -> str:
    return json.dumps(told, separators=(",", ":"))


def size_of(item: Item) -> int:
    """The size of an item in bytes, as DynamoDB counts: names and values. A number counts for less than its digits."""
    return sum(
        len(name) + len(one if isinstance(one, bytes) else one.encode())
        for name, value in item.items()
        for one in value.values()
    )


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
        "body": body_of(_text(state.order.to_json())),
    }
