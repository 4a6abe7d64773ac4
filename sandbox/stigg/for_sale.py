"""How the endpoints of the catalogue are answered: currencies, products, plans, add-ons, features, coupons.

Each handler takes the service, the request and what its path says; the caller holds the lock. What is refused raises
`Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from werkzeug.wrappers import Request

from .answers import ANY, Answer, Endpoint, query
from .errors import not_found
from .listing import Row, choices, page
from .packages import CREATED, Package
from .service import Service

_PACKAGE_FILTERS = {"productId": ANY, "status": choices("DRAFT", "PUBLISHED", "ARCHIVED")}


def list_currencies(service: Service, request: Request) -> Answer:
    rows = _rows(service.catalogue.currencies, lambda _: {"status": "ACTIVE"})
    return Answer(200, page(rows, request.args, {"status": choices("ACTIVE", "ARCHIVED")}, by_date=False))


def list_users_of_currency(service: Service, request: Request, id: str) -> Answer:
    """The plans and add-ons that come with credits of a currency."""
    _known("CustomCurrency", service.catalogue.currencies, id)
    query(request)
    kinds: tuple[tuple[str, Mapping[str, Package]], ...] = (
        ("Plan", service.catalogue.plans),
        ("Addon", service.catalogue.addons),
    )
    data = [
        {"id": package.id, "displayName": package.display_name, "type": kind}
        for kind, packages in kinds
        for package in packages.values()
        if package.status != "ARCHIVED" and any((one.kind, one.id) == ("CREDIT", id) for one in package.entitlements)
    ]
    return Answer(200, {"data": data})


def list_products(service: Service, request: Request) -> Answer:
    rows = _rows(service.catalogue.products, lambda product: {"id": product.id, "status": "PUBLISHED"})
    return Answer(200, page(rows, request.args, {"id": ANY, "status": choices("PUBLISHED", "ARCHIVED")}))


def get_product(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": _known("Product", service.catalogue.products, id).json()})


def list_plans(service: Service, request: Request) -> Answer:
    rows = _rows(service.catalogue.plans, lambda plan: {"productId": plan.product_id, "status": plan.status})
    return Answer(200, page(rows, request.args, _PACKAGE_FILTERS))


def get_plan(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": _known("Plan", service.catalogue.plans, id).json()})


def list_plan_entitlements(service: Service, request: Request, id: str) -> Answer:
    return _entitlements_of(_known("Plan", service.catalogue.plans, id), request)


def list_plan_charges(service: Service, request: Request, id: str) -> Answer:
    used = any(subscription.plan.id == id for subscription in service.book.subscriptions.values())
    return _charges_of(_known("Plan", service.catalogue.plans, id), used, request)


def list_overage_charges(service: Service, request: Request, id: str) -> Answer:
    """No plan here charges for what is used beyond its limits."""
    _known("Plan", service.catalogue.plans, id)
    return Answer(200, page([], request.args, {}, by_date=False))


def list_addons(service: Service, request: Request) -> Answer:
    rows = _rows(service.catalogue.addons, lambda addon: {"productId": addon.product_id, "status": addon.status})
    return Answer(200, page(rows, request.args, _PACKAGE_FILTERS))


def get_addon(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": _known("Addon", service.catalogue.addons, id).json()})


def list_addon_entitlements(service: Service, request: Request, id: str) -> Answer:
    return _entitlements_of(_known("Addon", service.catalogue.addons, id), request)


def list_addon_charges(service: Service, request: Request, id: str) -> Answer:
    subscriptions = service.book.subscriptions.values()
    used = any(addon["id"] == id for subscription in subscriptions for addon in subscription.addons)
    return _charges_of(_known("Addon", service.catalogue.addons, id), used, request)


def list_features(service: Service, request: Request) -> Answer:
    rows = _rows(
        service.catalogue.features,
        lambda feature: {
            "id": feature.id,
            "featureType": feature.type,
            "meterType": feature.meter,
            "status": "ACTIVE",
        },
    )
    filters = {
        "id": ANY,
        "featureType": choices("BOOLEAN", "NUMBER", "ENUM"),
        "meterType": choices("None", "FLUCTUATING", "INCREMENTAL"),
        "status": choices("NEW", "SUSPENDED", "ACTIVE"),
    }
    return Answer(200, page(rows, request.args, filters))


def get_feature(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": _known("Feature", service.catalogue.features, id).json()})


def list_coupons(service: Service, request: Request) -> Answer:
    rows = _rows(service.catalogue.coupons, lambda coupon: {"id": coupon.id, "status": "ACTIVE", "type": "PERCENTAGE"})
    filters = {"id": ANY, "status": choices("ACTIVE", "ARCHIVED"), "type": choices("FIXED", "PERCENTAGE")}
    return Answer(200, page(rows, request.args, filters))


def get_coupon(service: Service, request: Request, id: str) -> Answer:
    return Answer(200, {"data": _known("Coupon", service.catalogue.coupons, id).json()})


def _known(kind: str, things: dict[str, Any], identifier: str) -> Any:
    if identifier not in things:
        raise not_found(kind, identifier)
    return things[identifier]


def _rows(things: dict[str, Any], values: Callable[[Any], dict[str, str | None]]) -> list[Row]:
    return [Row(f"at-{name}", CREATED, values(thing), thing.json) for name, thing in things.items()]


def _entitlements_of(package: Any, request: Request) -> Answer:
    """All at once: this list takes no parameters."""
    query(request)
    data = [grant.json(order) for order, grant in enumerate(package.entitlements)]
    return Answer(200, {"data": data, "pagination": {"next": None, "prev": None}})


def _charges_of(package: Any, used: bool, request: Request) -> Answer:
    rows = [
        Row(f"at-{price.id}", CREATED, {}, lambda price=price: price.json(used))  # type: ignore[misc]
        for price in package.prices
    ]
    return Answer(200, page(rows, request.args, {}, by_date=False))


ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {
    ("GET", "/credits/custom-currencies"): Endpoint("read", list_currencies),
    ("GET", "/credits/custom-currencies/<id>/associated-entities"): Endpoint("read", list_users_of_currency),
    ("GET", "/coupons"): Endpoint("read", list_coupons),
    ("GET", "/coupons/<id>"): Endpoint("read", get_coupon),
    ("GET", "/products"): Endpoint("read", list_products),
    ("GET", "/products/<id>"): Endpoint("read", get_product),
    ("GET", "/plans"): Endpoint("read", list_plans),
    ("GET", "/plans/<id>"): Endpoint("read", get_plan),
    ("GET", "/plans/<id>/entitlements"): Endpoint("read", list_plan_entitlements),
    ("GET", "/plans/<id>/charges"): Endpoint("read", list_plan_charges),
    ("GET", "/plans/<id>/overage-charges"): Endpoint("read", list_overage_charges),
    ("GET", "/addons"): Endpoint("read", list_addons),
    ("GET", "/addons/<id>"): Endpoint("read", get_addon),
    ("GET", "/addons/<id>/entitlements"): Endpoint("read", list_addon_entitlements),
    ("GET", "/addons/<id>/charges"): Endpoint("read", list_addon_charges),
    ("GET", "/features"): Endpoint("read", list_features),
    ("GET", "/features/<id>"): Endpoint("read", get_feature),
}
"""By method and path."""
