"""How each endpoint of the API is answered: customers, subscriptions and credits; the catalogue's are in `for_sale`.

Each handler takes the service, the request and what its path says; the caller holds the lock. What is refused raises
`Refused`.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request

from . import (
    changing,
    contract_endpoints,
    credit_endpoints,
    customer_endpoints,
    entitlements,
    for_sale,
    models,
    provisioning,
    usage_endpoints,
)
from .answers import ANY, Answer, Endpoint, of_customer, of_slot, of_subscription, query, read
from .listing import Filter, Row, choices, page, page_of
from .service import Service
from .state import Subscription

_STATUSES = choices("PAYMENT_PENDING", "ACTIVE", "EXPIRED", "IN_TRIAL", "CANCELED", "NOT_STARTED")


def checkout_url(service: Service, request: Request, subscription: Subscription) -> str:
    """The page at which a subscription is paid for."""
    return f"{request.host_url}{service.environment}/checkout/{subscription.checkout}"


# Customers


def provision_customer(service: Service, request: Request) -> Answer:
    customer, created = service.provision_customer(read(models.CustomerProvision, request))
    return Answer(201 if created else 200, {"data": customer.json()})


def list_customers(service: Service, request: Request) -> Answer:
    rows = [
        Row(
            customer.cursor,
            customer.created_at,
            {"email": customer.fields.get("email"), "name": customer.fields.get("name")},
            customer.json,
        )
        for customer in service.book.customers.values()
        if customer.archived_at is None
    ]
    return Answer(200, page(rows, request.args, {"email": ANY, "name": ANY}))


def get_customer(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": service.customer(id).json()})


def update_customer(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": service.update_customer(id, read(models.CustomerUpdate, request)).json()})


def get_entitlements(service: Service, request: Request, id: str) -> Answer:
    """For a customer that is archived, or was never there, nothing but the reason: the SDK's type knows both."""
    resource, stranger = query(request, "resourceId").get("resourceId"), service.stranger(id)
    allowed = {} if stranger else service.allowances(id, resource)
    data = {
        "accessDeniedReason": stranger or (None if allowed else "NoActiveSubscription"),
        "entitlements": entitlements.json(service.catalogue, allowed, service.now),
    }
    return Answer(200, {"data": data})


# Subscriptions


def provision_subscription(service: Service, request: Request) -> Answer:
    now = service.now
    subscription = provisioning.provision(service, read(models.SubscriptionProvision, request))
    data: dict[str, Any] = {"id": subscription.id, "entitlements": None}
    if subscription.status == "PAYMENT_PENDING":
        checkout = {
            "checkoutBillingId": f"cs_{uuid.uuid4().hex}",
            "checkoutUrl": checkout_url(service, request, subscription),
        }
        return Answer(201, {"data": {**data, "status": "PAYMENT_REQUIRED", **checkout, "isScheduled": False}})
    if subscription.live:
        allowed = service.allowances(subscription.customer_id, subscription.resource_id)
        data["entitlements"] = entitlements.json(service.catalogue, allowed, now)
    data |= {
        "status": "SUCCESS",
        "subscription": subscription.json(now),
        "checkoutBillingId": None,
        "checkoutUrl": None,
        "isScheduled": subscription.status == "NOT_STARTED",
    }
    return Answer(201, {"data": data})


def list_subscriptions(service: Service, request: Request) -> Answer:
    now, known = service.now, service.book.subscriptions

    def row(subscription: Subscription) -> Row:
        values = {
            "customerId": subscription.customer_id,
            "planId": subscription.plan.id,
            "pricingType": subscription.plan.pricing,
            "resourceId": subscription.resource_id,
            "status": subscription.status,
        }
        return Row(subscription.cursor, subscription.created_at, values, lambda: subscription.json(now))

    filters = {
        "customerId": ANY,
        "planId": ANY,
        "pricingType": choices("FREE", "PAID", "CUSTOM"),
        "resourceId": ANY,
        "status": _STATUSES,
    }
    if (customer := request.args.get("customerId")) is not None:
        return Answer(200, page(map(row, known.of(customer)), request.args, filters))
    return Answer(200, page_of(known.in_order, row, known.place_of, request.args, filters))


def preview_subscription(service: Service, request: Request) -> Answer:
    return Answer(200, {"data": provisioning.preview(service, read(models.SubscriptionPreview, request))})


def get_subscription(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": service.subscription(id).json(service.now)})


def update_subscription(service: Service, request: Request, id: str) -> Answer:
    subscription = changing.update(service, id, read(models.SubscriptionUpdate, request))
    return Answer(200, {"data": subscription.json(service.now)})


def cancel_subscription(service: Service, request: Request, id: str) -> Answer:
    subscription = changing.cancel(service, id, read(models.SubscriptionCancel, request))
    return Answer(200, {"data": subscription.json(service.now)})


# Credits


def grant_credits(service: Service, request: Request) -> Answer:
    grant = service.grant_credits(read(models.GrantCreate, request))
    return Answer(201, {"data": grant.json(service.now)})


def list_grants(service: Service, request: Request) -> Answer:
    now = service.now
    asked = request.args.get("resourceId")
    rows = [
        Row(
            grant.cursor,
            grant.created_at,
            {
                "customerId": grant.customer_id,
                "currencyId": grant.currency_id,
                "resourceId": grant.resource_id,
            },
            lambda grant=grant: grant.json(now),  # type: ignore[misc]
        )
        for grant in service.book.grants.values()
        if grant.resource_id == asked  # without the filter: none of a resource
    ]
    filters = {"customerId": Filter(required=True), "currencyId": ANY, "resourceId": ANY}
    return Answer(200, page(rows, request.args, filters))


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("POST", "/customers"): Endpoint("provision customer", provision_customer, of_customer),
    ("GET", "/customers"): Endpoint("read", list_customers),
    ("GET", "/customers/<id>"): Endpoint("read", get_customer),
    ("PATCH", "/customers/<id>"): Endpoint("update", update_customer, of_customer),
    ("GET", "/customers/<id>/entitlements"): Endpoint("read", get_entitlements),
    ("POST", "/subscriptions"): Endpoint("provision subscription", provision_subscription, of_slot),
    ("GET", "/subscriptions"): Endpoint("list subscriptions", list_subscriptions),
    ("POST", "/subscriptions/preview"): Endpoint("read", preview_subscription),
    ("GET", "/subscriptions/<id>"): Endpoint("read", get_subscription),
    ("PATCH", "/subscriptions/<id>"): Endpoint("update", update_subscription, of_subscription),
    ("POST", "/subscriptions/<id>/cancel"): Endpoint("cancel", cancel_subscription, of_subscription, bare=True),
    ("POST", "/credits/grants"): Endpoint("grant", grant_credits, of_slot),
    ("GET", "/credits/grants"): Endpoint("read", list_grants),
    **for_sale.ENDPOINTS,
    **customer_endpoints.ENDPOINTS,
    **contract_endpoints.ENDPOINTS,
    **credit_endpoints.ENDPOINTS,
    **usage_endpoints.ENDPOINTS,
}
"""The first version of the API, by method and path."""

ENDPOINTS_OF_SECOND: Mapping[tuple[str, str], Endpoint] = usage_endpoints.ENDPOINTS_OF_SECOND
"""What there is of the second one."""
