"""How the endpoints of contracts are answered, and those below a subscription."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from werkzeug.wrappers import Request

from . import afterwards, billing, bodies, changing, contracts
from .answers import ANY, Answer, Endpoint, of_contract, of_subscription, read
from .listing import Row, choices, page
from .service import Service


def create_contract(service: Service, request: Request) -> Answer:
    contract, created = contracts.create(service, read(bodies.ContractCreate, request))
    return Answer(201 if created else 200, {"data": contracts.json(service, contract)})


def list_contracts(service: Service, request: Request) -> Answer:
    rows = [
        Row(
            one.cursor,
            one.created_at,
            {
                "customerExternalId": one.customer_id,
                "name": contracts.shown_name(service, one),
                "state": one.state(service.now),
            },
            lambda one=one: contracts.json(service, one),  # type: ignore[misc]
        )
        for one in service.book.contracts.values()
    ]
    filters = {"customerExternalId": ANY, "name": ANY, "state": choices("DRAFT", "ACTIVE", "CANCELED", "END_BILLING")}
    return Answer(200, page(rows, request.args, filters, by_date=False))


def get_contract(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": contracts.json(service, contracts.known(service, id))})


def update_contract(service: Service, request: Request, id: str) -> Answer:
    contract = contracts.update(service, id, read(bodies.ContractUpdate, request))
    return Answer(200, {"data": contracts.json(service, contract)})


def archive_contract(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": contracts.json(service, contracts.archive(service, id))})


# Subscriptions


def drop_schedule(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": {"id": afterwards.drop_schedule(service, id).id}})


def drop_pending_payment(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": {"id": afterwards.drop_pending_payment(service, id).id}})


def transfer(service: Service, request: Request, id: str) -> Answer:
    resource = read(bodies.SubscriptionTransfer, request).destination_resource_id
    return Answer(200, {"data": afterwards.transfer(service, id, resource).json(service.now)})


def delegate(service: Service, request: Request, id: str) -> Answer:
    customer = read(bodies.SubscriptionDelegate, request).target_customer_id
    return Answer(200, {"data": afterwards.delegate(service, id, customer).json(service.now)})


def migrate(service: Service, request: Request, id: str) -> Answer:
    read(bodies.SubscriptionMigrate, request)
    return Answer(200, {"data": afterwards.migrate(service, id).json(service.now)})


def import_subscriptions(service: Service, request: Request) -> Answer:
    afterwards.import_all(service, read(bodies.SubscriptionImport, request).subscriptions)
    return Answer(200, {"data": {"taskId": str(uuid.uuid4())}})


def mark_invoice_as_paid(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": {"id": billing.mark_as_paid(service, id).id}})


def sync_usage(service: Service, request: Request, id: str) -> Answer:
    """No billing provider is connected to hear of usage."""
    changing.standing(service, id)
    return Answer(200, {"data": {"triggered": False}})


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/contracts"): Endpoint("provision subscription", create_contract, of_contract),
    ("GET", "/contracts"): Endpoint("read", list_contracts),
    ("GET", "/contracts/<id>"): Endpoint("read", get_contract),
    ("PATCH", "/contracts/<id>"): Endpoint("update", update_contract, of_contract),
    ("POST", "/contracts/<id>/archive"): Endpoint("cancel", archive_contract, of_contract, bare=True),
    ("DELETE", "/subscriptions/<id>/future-update/schedule"): Endpoint("update", drop_schedule, of_subscription),
    ("DELETE", "/subscriptions/<id>/future-update/pending-payment"): Endpoint(
        "update", drop_pending_payment, of_subscription
    ),
    ("POST", "/subscriptions/<id>/transfer"): Endpoint("update", transfer, of_subscription),
    ("POST", "/subscriptions/<id>/delegate"): Endpoint("update", delegate, of_subscription),
    ("POST", "/subscriptions/<id>/migrate"): Endpoint("update", migrate, of_subscription, bare=True),
    ("POST", "/subscriptions/<id>/invoice/paid"): Endpoint("update", mark_invoice_as_paid, of_subscription, bare=True),
    ("POST", "/subscriptions/<id>/usage/sync"): Endpoint("update", sync_usage, of_subscription, bare=True),
    ("POST", "/subscriptions/import"): Endpoint("provision subscription", import_subscriptions),
}
"""By method and path."""
