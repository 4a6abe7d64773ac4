"""What becomes of customers besides being provisioned: archived, imported, linked to other systems, given a card.

By the SDK's texts and docs.stigg.io (*Archive Customer*, *Unarchiving customers*): archiving takes name and e-mail
away for good and cancels what the customer holds. Everything that is refused raises `Refused`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from . import bodies, models
from .customers import Customer
from .errors import Refused, invalid, not_found
from .service import Service

LINKED = frozenset(("STRIPE", "ZUORA", "HUBSPOT", "AWS_MARKETPLACE"))
"""The vendors whose links the endpoints of integrations show; a customer shows those of others itself."""


def archive(service: Service, customer_id: str) -> Customer:
    """Archive a customer. What it holds ends at once, as `CustomerArchived`, or as the service's `archiving` says."""
    customer, now = service.customer(customer_id), service.now
    standing = [held for held in service.book.subscriptions.of(customer_id) if not held.ended]
    if service.archiving == "refuses" and any(held.live and held.plan.pricing != "FREE" for held in standing):
        raise invalid(f"customer {customer_id} has paid or custom subscriptions", "CannotDeleteCustomerError")
    for held in standing if service.archiving == "cancels" else ():
        held.cancellation_date = now
        held.end("CANCELED", "CustomerArchived", now)
    customer.fields |= {"name": None, "email": None}
    customer.archived_at = customer.updated_at = now
    return customer


def unarchive(service: Service, customer_id: str) -> Customer:
    """Take a customer back. Neither name and e-mail nor its subscriptions come back."""
    customer = service.book.customers.get(customer_id)
    if customer is None:
        raise not_found("Customer", customer_id)
    if customer.archived_at is None:
        raise invalid(f"customer {customer_id} is not archived")
    customer.archived_at, customer.updated_at = None, service.now
    return customer


def import_all(service: Service, wanted: bodies.CustomerImport) -> list[str]:
    """Make customers, and change those there are. Out: the IDs of the new ones."""
    new = []
    for one in wanted.customers:
        if one.salesforce_id is not None:
            raise Refused(422, "NotInTheSandbox", "Salesforce is not connected here: link customers by integrations")
    for one in wanted.customers:
        sent = {name: value for name, value in one.sent().items() if name not in ("paymentMethodId", "updatedAt")}
        customer, created = service.provision_customer(models.read(models.CustomerProvision, sent))
        if one.payment_method_id is not None:
            _pays_by(service, customer, one.payment_method_id)
        if created:
            new.append(customer.id)
    return new


def attach(service: Service, customer_id: str, wanted: bodies.PaymentMethodAttach) -> Customer:
    """Give a customer a card, in place of the one it had."""
    customer = service.customer(customer_id)
    _pays_by(service, customer, wanted.payment_method_id)
    if wanted.billing_currency is not None:
        customer.fields["billingCurrency"] = wanted.billing_currency
    customer.updated_at = service.now
    return customer


def _pays_by(service: Service, customer: Customer, payment_method_id: str) -> None:
    service.attach_payment_method(customer.id)
    customer.payment_method = {**(customer.payment_method or {}), "billingId": payment_method_id}


def detach(service: Service, customer_id: str) -> Customer:
    """Take a customer's card away."""
    customer = service.customer(customer_id)
    if customer.payment_method is None:
        raise not_found("PaymentMethod", f"of {customer_id}")
    customer.payment_method, customer.updated_at = None, service.now
    return customer


# Links to other systems


def links(service: Service, customer_id: str, vendors: Iterable[str] = LINKED) -> list[dict[str, Any]]:
    """A customer's links to some vendors."""
    shown = set(vendors)
    return [link for link in _links(service.customer(customer_id)) if link["vendorIdentifier"] in shown]


def _links(customer: Customer) -> list[dict[str, Any]]:
    known: list[dict[str, Any]] = customer.fields.setdefault("integrations", [])
    return known


def link(service: Service, customer_id: str, wanted: bodies.IntegrationLink) -> dict[str, Any]:
    """Link a customer to another system: once for each integration."""
    customer = service.customer(customer_id)
    if any(known["id"] == wanted.id for known in _links(customer)):
        raise Refused(409, "DuplicatedEntityNotAllowed", f"customer {customer_id} is linked by {wanted.id} already")
    made = wanted.sent()
    _links(customer).append(made)
    customer.updated_at = service.now
    return made


def linked(service: Service, customer_id: str, integration_id: str) -> dict[str, Any]:
    """One link."""
    for known in links(service, customer_id):
        if known["id"] == integration_id:
            return known
    raise not_found("Integration", integration_id)


def relink(service: Service, customer_id: str, integration_id: str, entity_id: str | None) -> dict[str, Any]:
    """Say anew what a customer is in the other system."""
    if entity_id is None:
        raise invalid("syncedEntityId is required to link an integration")
    known = linked(service, customer_id, integration_id)
    known["syncedEntityId"] = entity_id
    service.customer(customer_id).updated_at = service.now
    return known


def unlink(service: Service, customer_id: str, integration_id: str) -> dict[str, Any]:
    """Take a link away."""
    known = linked(service, customer_id, integration_id)
    customer = service.customer(customer_id)
    customer.fields["integrations"] = [one for one in _links(customer) if one is not known]
    customer.updated_at = service.now
    return known


def resources(service: Service, customer_id: str) -> dict[str, datetime]:
    """A customer's resources, and since when there are any records of them; the first first."""
    service.customer(customer_id)
    book = service.book
    since = [(one.created_at, one.resource_id) for one in book.subscriptions.of(customer_id)]
    since += [(one.created_at, one.resource_id) for one in book.grants.values() if one.customer_id == customer_id]
    found: dict[str, datetime] = {}
    for at, resource in sorted(since, key=lambda one: one[0]):
        if resource is not None:
            found.setdefault(resource, at)
    return found
