"""Contracts: what was agreed with a customer, and the custom subscriptions that are part of it.

By the SDK's texts (`resources/v1/contracts.py`, `contract_create_params`, `contract_create_response`): one
`contractId` makes one contract; its subscriptions come about together or not at all; archiving it cancels each of
them; `subscriptionIds` replaces the set. Not told there, and refused here: subscriptions of another customer or of a
plan that is not custom, one that is part of another contract, the same `contractId` for another customer, and a change
of what is archived. Not every account has contracts; what those answer is not told either: `Stigg.narrow_api_key` takes
them away.
"""

from __future__ import annotations

import copy
import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from . import bodies, changing, models, provisioning, rules
from .errors import Refused, invalid, not_found
from .packages import stamp
from .records import Contract
from .service import Service
from .state import Book, Subscription, Subscriptions


def create(service: Service, wanted: bodies.ContractCreate) -> tuple[Contract, bool]:
    """Make a contract with all its subscriptions. Out: it, and whether it is new. Raises `Refused`; then nothing is
    written.
    """
    customer = service.customer(wanted.customer_id)
    known = service.book.contracts.get(wanted.contract_id or "")
    if known is not None:
        if known.customer_id != customer.id:
            raise Refused(409, "DuplicatedEntityNotAllowed", f"contract {known.contract_id} is another customer's")
        return known, False
    _check_span(wanted.activation_start_date, wanted.activation_end_date)
    entries = wanted.subscriptions or []
    if any((entry.new_subscription is None) == (entry.existing_subscription_id is None) for entry in entries):
        raise invalid("each subscription has either newSubscription or existingSubscriptionId")
    linked = [
        _linkable(service, entry.existing_subscription_id, customer.id)
        for entry in entries
        if entry.existing_subscription_id is not None
    ]
    rules.once("subscriptions", (one.id for one in linked))
    new = [entry.new_subscription for entry in entries if entry.new_subscription is not None]
    _check_new(service, new, customer.id)
    made = Contract(
        id=str(uuid.uuid4()),
        contract_id=wanted.contract_id or f"contract-{secrets.token_hex(6)}",
        customer_id=customer.id,
        created_at=service.now,
        billing=wanted.setup_billing is not False,
        name=wanted.name,
        po_number=wanted.po_number,
        activation_start_date=wanted.activation_start_date,
        activation_end_date=wanted.activation_end_date,
    )
    service.book.contracts[made.contract_id] = made
    for one in [*linked, *(provisioning.provision(service, each) for each in new)]:
        one.contract_id = made.id
    return made, True


def _check_span(start: Any, end: Any) -> None:
    if start is not None and end is not None and end <= start:
        raise invalid("activationEndDate must lie after activationStartDate")


def _linkable(service: Service, subscription_id: str, customer_id: str, to: Contract | None = None) -> Subscription:
    """A subscription that can be part of a contract, or is part of `to`. Raises `Refused`."""
    found = service.subscription(subscription_id)
    if found.customer_id != customer_id:
        raise invalid(f"subscription {found.id} is another customer's")
    if found.plan.pricing != "CUSTOM":
        raise invalid(f"subscription {found.id} is of a plan that is not custom")
    if found.contract_id is not None and (to is None or found.contract_id != to.id):
        raise Refused(409, "Conflict", f"subscription {found.id} is part of another contract")
    if found.ended:
        raise invalid(f"subscription {found.id} has ended", "SubscriptionAlreadyCanceledOrExpired")
    return found


def _check_new(service: Service, wanted: Iterable[models.SubscriptionProvision], customer_id: str) -> None:
    """Raises `Refused` for the first that could not be made after those before it. Nothing is written."""
    scratch = replace(service, book=_copied(service.book, customer_id))
    for one in wanted:
        if one.customer_id != customer_id:
            raise invalid(f"a new subscription is for customer {one.customer_id}, not for the contract's")
        if rules.plan(service.catalogue, one.plan_id).pricing != "CUSTOM":
            raise invalid(f"plan {one.plan_id} is not custom")
        if one.id is not None and one.id in service.book.subscriptions:
            raise Refused(409, "DuplicatedEntityNotAllowed", f"subscription ID {one.id} was already used")
        provisioning.provision(scratch, one)


def _copied(book: Book, customer_id: str) -> Book:
    """A book to try things in: all customers, and the subscriptions of one."""
    subscriptions = Subscriptions()
    for one in book.subscriptions.of(customer_id):
        tried = copy.copy(one)
        tried.__dict__["changed"] = None
        subscriptions[tried.id] = tried
    return Book(customers=dict(book.customers), subscriptions=subscriptions)


def known(service: Service, contract_id: str) -> Contract:
    """The contract of an ID. Raises `Refused` (404)."""
    found = service.book.contracts.get(contract_id)
    if found is None:
        raise not_found("Contract", contract_id)
    return found


def update(service: Service, contract_id: str, wanted: bodies.ContractUpdate) -> Contract:
    """Change what is sent; `subscriptionIds` replaces the set. Those that are left out go on without a contract."""
    contract = _standing(service, contract_id)
    sent = wanted.model_fields_set
    start = wanted.activation_start_date or contract.activation_start_date
    end = wanted.activation_end_date or contract.activation_end_date
    _check_span(start, end)
    if wanted.subscription_ids is not None:
        rules.once("subscriptionIds", wanted.subscription_ids)
        linked = [_linkable(service, id, contract.customer_id, contract) for id in wanted.subscription_ids]
        for one in part_of(service, contract):
            one.contract_id = None
        for one in linked:
            one.contract_id = contract.id
    contract.activation_start_date, contract.activation_end_date = start, end
    if "name" in sent:
        contract.name = wanted.name
    if "po_number" in sent:
        contract.po_number = wanted.po_number
    contract.billing = contract.billing or wanted.setup_billing is True
    return contract


def _standing(service: Service, contract_id: str) -> Contract:
    contract = known(service, contract_id)
    if contract.canceled_at is not None:
        raise invalid(f"contract {contract_id} was archived")
    return contract


def archive(service: Service, contract_id: str) -> Contract:
    """End a contract, and at once each of its subscriptions."""
    contract = _standing(service, contract_id)
    for one in part_of(service, contract):
        if not one.ended:
            changing.cancel(service, one.id, models.read(models.SubscriptionCancel, {"cancellation_time": "IMMEDIATE"}))
    contract.canceled_at = service.now
    return contract


def part_of(service: Service, contract: Contract) -> Iterator[Subscription]:
    """The contract's subscriptions, oldest first, those that have ended too."""
    return (one for one in service.book.subscriptions.of(contract.customer_id) if one.contract_id == contract.id)


def shown_name(service: Service, contract: Contract) -> str:
    """The purchase order's number when set, else the contract's name, else the customer's."""
    customer = service.book.customers.get(contract.customer_id)
    return contract.po_number or contract.name or (customer and customer.fields.get("name")) or contract.customer_id


def json(service: Service, contract: Contract) -> dict[str, Any]:
    """A contract as the API shows it. No billing provider has any invoices for it here."""
    state = contract.state(service.now)
    products = service.catalogue.products
    return {
        "id": contract.id,
        "activationEndDate": contract.activation_end_date and stamp(contract.activation_end_date),
        "activationStartDate": contract.activation_start_date and stamp(contract.activation_start_date),
        "billingId": f"billing-{contract.contract_id}" if contract.billing else None,
        "billingState": state if contract.billing else None,
        "contractId": contract.contract_id,
        "createdAt": stamp(contract.created_at),
        "customerExternalId": contract.customer_id,
        "externalId": contract.contract_id,
        "latestInvoice": None,
        "name": shown_name(service, contract),
        "nextInvoice": None,
        "poNumber": contract.po_number,
        "refId": contract.contract_id,
        "state": state,
        "subscriptions": [
            {
                "planDisplayName": one.plan.display_name,
                "productDisplayName": products[one.plan.product_id].display_name,
                "subscriptionId": one.id,
            }
            for one in part_of(service, contract)
        ],
    }
