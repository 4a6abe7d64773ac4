"""How the endpoints below a customer are answered: archived, linked, given a card or a feature, checked, imported."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from werkzeug.wrappers import Request

from . import billing, bodies, checking, contracts, people, promotional
from .answers import ANY, Answer, Endpoint, of_customer, query, read
from .errors import Refused, invalid
from .listing import Row, choices, moment, page
from .packages import CREATED, stamp
from .records import Invoice
from .service import Service


def archive(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": people.archive(service, id).json()})


def unarchive(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": people.unarchive(service, id).json()})


def import_all(service: Service, request: Request) -> Answer:
    return Answer(200, {"data": {"newCustomers": people.import_all(service, read(bodies.CustomerImport, request))}})


def attach_payment_method(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": people.attach(service, id, read(bodies.PaymentMethodAttach, request)).json()})


def detach_payment_method(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": people.detach(service, id).json()})


def list_resources(service: Service, request: Request, id: str) -> Answer:
    rows = [
        Row(f"at-{resource}", since, {}, lambda resource=resource, since=since: _resource(resource, since))  # type: ignore[misc]
        for resource, since in people.resources(service, id).items()
    ]
    return Answer(200, page(rows, request.args, {}, by_date=False))


def list_contracts(service: Service, request: Request, id: str) -> Answer:
    service.customer(id)
    query(request)
    found = [contract for contract in service.book.contracts.values() if contract.customer_id == id]
    return Answer(200, {"data": [contracts.json(service, contract) for contract in found]})


def list_invoices(service: Service, request: Request, id: str) -> Answer:
    """The latest invoice of each subscription: what came before it is not remembered, and what it says not told."""
    asked = request.args.copy()
    if asked.pop("orderBy", "issueDate") != "issueDate":
        raise Refused(422, "NotInTheSandbox", "invoices are in the order of their issue here")
    newest_first = asked.pop("orderDir", "ASC") == "DESC"
    since, until = (asked.pop(name, None) for name in ("issuedAfter", "issuedBefore"))
    contract_of = {contract.id: contract.contract_id for contract in service.book.contracts.values()}
    rows = [
        Row(
            f"at-{invoice.billing_id}",
            invoice.created_at,
            {"contractExternalId": contract_of.get(held.contract_id or ""), "stateIn": invoice.status},
            lambda held=held, invoice=invoice: _invoice(id, contract_of.get(held.contract_id or ""), invoice),  # type: ignore[misc]
        )
        for held, invoice in billing.invoices_of(service, id)
        if (since is None or moment("issuedAfter", since) <= invoice.created_at)
        and (until is None or invoice.created_at <= moment("issuedBefore", until))
    ]
    filters = {"contractExternalId": ANY, "stateIn": choices("OPEN", "CANCELED", "PAID")}
    return Answer(200, page(rows if newest_first else rows[::-1], asked, filters, by_date=False))


def _invoice(customer_id: str, contract_id: str | None, invoice: Invoice) -> dict[str, Any]:
    return {
        "contractExternalId": contract_id,
        "customerExternalId": customer_id,
        "invoiceExternalId": invoice.billing_id,
        "invoiceId": invoice.billing_id,
        "issueDate": stamp(invoice.created_at),
        "lineItems": [],
        "state": invoice.status,
    }


def _resource(id: str, since: datetime) -> dict[str, Any]:
    return {"id": id, "createdAt": stamp(since), "updatedAt": stamp(since)}


# Integrations


def list_links(service: Service, request: Request, id: str) -> Answer:
    rows = [
        Row(f"at-{link['id']}", CREATED, {"vendorIdentifier": link["vendorIdentifier"]}, lambda link=link: _link(link))  # type: ignore[misc]
        for link in people.links(service, id)
    ]
    return Answer(200, page(rows, request.args, {"vendorIdentifier": choices(*people.LINKED)}, by_date=False))


def link(service: Service, request: Request, id: str) -> Answer:
    return Answer(201, {"data": _link(people.link(service, id, read(bodies.IntegrationLink, request)))})


def get_link(service: Service, request: Request, id: str, integration: str) -> Answer:
    return Answer(200, {"data": _link(people.linked(service, id, integration))})


def update_link(service: Service, request: Request, id: str, integration: str) -> Answer:
    entity = read(bodies.IntegrationUpdate, request).synced_entity_id
    return Answer(200, {"data": _link(people.relink(service, id, integration, entity))})


def unlink(service: Service, request: Request, id: str, integration: str) -> Answer:
    return Answer(200, {"data": _link(people.unlink(service, id, integration))})


def _link(link: Mapping[str, Any]) -> dict[str, Any]:
    return {**link, "syncData": None}


# Entitlements


def grant_promotions(service: Service, request: Request, id: str) -> Answer:
    wanted = read(bodies.PromotionalEntitlementCreate, request).promotional_entitlements
    made = promotional.grant(service, id, wanted)
    return Answer(201, {"data": [promotional.json(service, one) for one in made]})


def list_promotions(service: Service, request: Request, id: str) -> Answer:
    service.customer(id)
    rows = [
        Row(
            one.cursor,
            one.created_at,
            {"status": promotional.status(one, service.now)},
            lambda one=one: promotional.json(service, one),  # type: ignore[misc]
        )
        for one in service.book.promotions.values()
        if one.customer_id == id
    ]
    return Answer(200, page(rows, request.args, {"status": choices("Active", "Expired", "Paused")}))


def revoke_promotion(service: Service, request: Request, id: str, feature: str) -> Answer:
    return Answer(200, {"data": promotional.json(service, promotional.revoke(service, id, feature))})


_CHECKED = ("currencyId", "featureId", "requestedUsage", "requestedValues", "resourceId")
_RESERVED = ("reservationExpiresAt", "reservationId", "reservationMetadata", "reservationTtlSeconds", "reserveAmount")


def check_entitlement(service: Service, request: Request, id: str) -> Answer:
    asked = query(request, *_CHECKED, *_RESERVED)
    feature, currency = asked.get("featureId"), asked.get("currencyId")
    if (feature is None) == (currency is None):
        raise invalid("either featureId or currencyId is asked for")
    if any(name in asked for name in _RESERVED):
        raise Refused(422, "NotInTheSandbox", "credits cannot be reserved here")
    usage = asked.get("requestedUsage")
    if usage is not None and not usage.isdecimal():
        raise invalid("requestedUsage must be a whole number")
    values = asked["requestedValues"].split(",") if "requestedValues" in asked else []
    wanted = checking.Asked(None if usage is None else int(usage), values)
    resource = asked.get("resourceId")
    if feature is not None:
        return Answer(200, {"data": checking.of_feature(service, id, resource, feature, wanted)})
    return Answer(200, {"data": checking.of_currency(service, id, resource, currency or "", wanted)})


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/customers/<id>/archive"): Endpoint("update", archive, of_customer, bare=True),
    ("POST", "/customers/<id>/unarchive"): Endpoint("update", unarchive, of_customer, bare=True),
    ("POST", "/customers/import"): Endpoint("update", import_all),
    ("POST", "/customers/<id>/payment-method"): Endpoint("update", attach_payment_method, of_customer),
    ("DELETE", "/customers/<id>/payment-method"): Endpoint("update", detach_payment_method, of_customer),
    ("GET", "/customers/<id>/resources"): Endpoint("read", list_resources),
    ("GET", "/customers/<id>/invoices"): Endpoint("read", list_invoices),
    ("GET", "/customers/<id>/contracts"): Endpoint("read", list_contracts),
    ("GET", "/customers/<id>/integrations"): Endpoint("read", list_links),
    ("POST", "/customers/<id>/integrations"): Endpoint("update", link, of_customer),
    ("GET", "/customers/<id>/integrations/<integration>"): Endpoint("read", get_link),
    ("PATCH", "/customers/<id>/integrations/<integration>"): Endpoint("update", update_link, of_customer),
    ("DELETE", "/customers/<id>/integrations/<integration>"): Endpoint("update", unlink, of_customer),
    ("GET", "/customers/<id>/promotional-entitlements"): Endpoint("read", list_promotions),
    ("POST", "/customers/<id>/promotional-entitlements"): Endpoint("update", grant_promotions, of_customer),
    ("DELETE", "/customers/<id>/promotional-entitlements/<feature>"): Endpoint("update", revoke_promotion, of_customer),
    ("GET", "/customers/<id>/entitlements/check"): Endpoint("read", check_entitlement),
}
"""By method and path."""
