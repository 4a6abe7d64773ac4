"""A strict stand-in for Stigg's REST API, with pages for its deep links.

It refuses what it does not know, replaces what Stigg replaces, cancels what Stigg cancels, and keeps Stigg's rate
limits and idempotency window. Any client can drive it: the official SDK does so in
`tests/contract/test_stigg_stand_in.py`.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from . import entitlements, keeping, models, pages
from .catalogue import CREATED, Catalogue, sandbox_catalogue
from .errors import CODES, Refused, not_found
from .limits import Idempotency, RateLimits, fingerprint
from .listing import Filter, Row, choices, page, page_of
from .service import Service
from .state import Subscription, Subscriptions

API = "/api/v1"

_HTML = "text/html; charset=utf-8"
_ANY = Filter()
_STATUSES = choices("PAYMENT_PENDING", "ACTIVE", "EXPIRED", "IN_TRIAL", "CANCELED", "NOT_STARTED")
_PACKAGE_FILTERS = {"productId": _ANY, "status": choices("DRAFT", "PUBLISHED", "ARCHIVED")}


@dataclass(frozen=True)
class _Answer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class _Endpoint:
    """How one route is answered. operation: the rate limit it counts for. entity: what it changes, for the other."""

    operation: str
    handle: Callable[..., _Answer]
    entity: Callable[[Mapping[str, Any], dict[str, Any]], str] | None = None


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Stigg:
    """Stigg's REST API (``/api/v1``) and its app's pages (``/<environment>/...``) as a WSGI application.

    api_key: the only key that is let in. rate_limits: whether Stigg's limits are kept, multiplied
    by rate_scale. now: the time of day, with a
    zone, by which subscriptions start and end and idempotency keys are forgotten. clock: seconds for the rate limits.
    defer_updates: the environment puts updates off to the end of the billing period unless they say IMMEDIATE.
    catalogue: what is for sale, the sandbox's by default. environment: first part of the pages' paths. salesforce_url:
    where the pages' links to Salesforce accounts lead (may be set later).
    """

    def __init__(
        self,
        api_key: str,
        rate_limits: bool = True,
        rate_scale: float = 1.0,
        *,
        now: Callable[[], datetime] = _utc_now,
        clock: Callable[[], float] = time.monotonic,
        defer_updates: bool = False,
        catalogue: Catalogue | None = None,
        environment: str = "sandbox",
        salesforce_url: str | None = None,
    ) -> None:
        self.catalogue = catalogue or sandbox_catalogue()
        self.environment = environment
        self.salesforce_url = salesforce_url
        self.defer_updates = defer_updates
        self._api_key = self._old_api_key = api_key.encode()
        self._rate_limits = rate_limits
        self._rate_scale = rate_scale
        self._now = now
        self._clock = clock
        self._lock = threading.RLock()
        self._endpoints = self._api()
        self._map = Map(
            [
                Rule(API + path, endpoint=(method, path), methods=[method], strict_slashes=True)
                for method, path in self._endpoints
            ],
            merge_slashes=False,
        )
        self._pages = self._page_map()
        self.reset()

    # The protocol of stand-ins

    def reset(self) -> None:
        """Forget everything that was written; the catalogue and the settings stay."""
        with self._lock:
            self._service = Service(self.catalogue, self.defer_updates)
            self._out_of_scope: frozenset[str] = frozenset()
            self._limits = RateLimits(self._clock, self._rate_limits, self._rate_scale)
            self._idempotency = Idempotency()

    def error(self, status: int) -> Response:
        """An error as the API answers it, for failures on demand."""
        return _refusal(Refused(status, CODES.get(status, "Error"), f"the stand-in answers {status}"))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        if request.path == API or request.path.startswith(API + "/"):
            response = self._answer(request)
        else:
            response = self._show(request)
        response.headers["x-request-id"] = str(uuid.uuid4())
        return response(environ, start_response)

    # For tests and the demo

    @property
    def customers(self) -> dict[str, dict[str, Any]]:
        """All customers by ID, as the API shows them."""
        with self._present() as service:
            return {customer.id: customer.json() for customer in service.book.customers.values()}

    def subscriptions(self, customer_id: str | None = None) -> list[dict[str, Any]]:
        """Subscriptions in full (of one customer, or all), oldest first.

        Besides what the API shows: `entitlements` with their values, `priceOverrides`, `charges`, `billingPeriod`,
        `unitQuantity`, `salesforceId`, `productId`.
        """
        with self._present() as service:
            now = service.now
            known = service.book.subscriptions
            wanted = known.in_order if customer_id is None else known.of(customer_id)
            return [subscription.full(now) for subscription in wanted]

    def subscription(self, subscription_id: str) -> dict[str, Any]:
        """One subscription in full. Raises `Refused` for one that is not known."""
        with self._present() as service:
            return service.subscription(subscription_id).full(service.now)

    def grants(self, customer_id: str) -> list[dict[str, Any]]:
        """A customer's credit grants, those of resources too, oldest first, as the API shows them."""
        with self._present() as service:
            now = service.now
            return [g.json(now) for g in service.book.grants.values() if g.customer_id == customer_id]

    def next_change(self) -> datetime | None:
        """When something happens to a subscription by itself next; None where nothing is to come."""
        with self._present() as service:
            known = service.book.subscriptions.in_order
            return min((at for subscription in known for at, *_ in subscription.events()), default=None)

    def entitlements(self, customer_id: str, resource_id: str | None = None) -> dict[str, float | bool | None]:
        """What a customer may use in effect: a limit by feature or currency ID, infinity for unlimited, True for on."""
        with self._present() as service:
            return {
                identifier: True if allowance.limit is None else allowance.limit
                for (_, identifier), allowance in service.allowances(customer_id, resource_id).items()
            }

    def add_customer(self, customer_id: str, **fields: Any) -> dict[str, Any]:
        """A customer made by someone else. fields: as POST /customers takes them, by wire or Python names."""
        with self._present() as service:
            wanted = models.read(models.CustomerProvision, {"id": customer_id, **fields})
            return service.provision_customer(wanted)[0].json()

    def add_subscription(self, customer_id: str, plan_id: str, **fields: Any) -> dict[str, Any]:
        """A subscription made by someone else (self-serve, by hand), under the API's own rules but no rate limit.

        fields: as POST /subscriptions takes them, by wire or Python names. Returns it in full.
        """
        with self._present() as service:
            body = {"customer_id": customer_id, "plan_id": plan_id, **fields}
            return service.provision_subscription(models.read(models.SubscriptionProvision, body)).full(self._now())

    def lose(self, customer_id: str, *, customer: bool = False) -> None:
        """A customer's subscriptions are gone without a trace, as after a restored backup; the customer too."""
        with self._present() as service:
            left = Subscriptions()
            for subscription in service.book.subscriptions.in_order:
                if subscription.customer_id != customer_id:
                    left[subscription.id] = subscription
            service.book.subscriptions = left
            if customer:
                del service.book.customers[customer_id]

    def seed(self, customers: Iterable[Mapping[str, Any]], subscriptions: Iterable[Mapping[str, Any]]) -> None:
        """Very many customers and subscriptions at once, trusted: nothing is checked, nobody is charged.

        In: customers as POST /customers takes them; subscriptions as POST /subscriptions does, each with `id` and
        `startDate`. What has started is active, or in its trial. For benchmarks.
        """
        with self._present() as service:
            for customer in customers:
                service.seed_customer(dict(customer))
            for subscription in subscriptions:
                service.seed_subscription(dict(subscription))

    def kept(self) -> list[dict[str, Any]]:
        """Everything that was written, as plain data: see `keeping`."""
        with self._present() as service:
            return list(keeping.kept(service.book))

    def put_back(self, records: Iterable[Mapping[str, Any]]) -> None:
        """What `kept` gave, in place of all that was written here."""
        with self._lock:
            self.reset()
            self._service.book = keeping.book_of(records, self.catalogue)

    def change_subscription(self, subscription_id: str, **fields: Any) -> dict[str, Any]:
        """An update made by someone else. fields: as PATCH /subscriptions/{id} takes them. Returns it in full."""
        with self._present() as service:
            wanted = models.read(models.SubscriptionUpdate, fields)
            return service.update_subscription(subscription_id, wanted).full(service.now)

    def cancel_subscription(self, subscription_id: str, **fields: Any) -> dict[str, Any]:
        """An end by someone else, at once unless fields, as POST /subscriptions/{id}/cancel takes them, say otherwise.
        Returns it in full.
        """
        with self._present() as service:
            wanted = models.read(models.SubscriptionCancel, {"cancellation_time": "IMMEDIATE", **fields})
            return service.cancel_subscription(subscription_id, wanted).full(service.now)

    def change_api_key(self, api_key: str, old: str | None = None) -> None:
        """From now on only this key is let in, as after a rotation; while it lasts, an old one too."""
        with self._lock:
            self._api_key = api_key.encode()
            self._old_api_key = (old or api_key).encode()

    def narrow_api_key(self, *resources: str) -> None:
        """The key is a scoped one, without these (``plans``, ``credits/grants``), until `reset`."""
        with self._lock:
            self._out_of_scope = frozenset(resources)

    def attach_payment_method(self, customer_id: str) -> None:
        """The customer has a card on file from now on; subscriptions that wait for payment go on waiting."""
        with self._present() as service:
            service.attach_payment_method(customer_id)

    def pay(self, subscription_id: str) -> dict[str, Any]:
        """Pay for a subscription that waits for it, as its checkout page does. Returns it in full."""
        with self._present() as service:
            return service.pay(service.subscription(subscription_id).checkout or "").full(service.now)

    # The API

    def _api(self) -> dict[tuple[str, str], _Endpoint]:
        """All endpoints, by method and path."""

        def read(handle: Callable[..., _Answer]) -> _Endpoint:
            return _Endpoint("read", handle)

        def customer(path: Mapping[str, Any], body: dict[str, Any]) -> str:
            return f"customer {path.get('id', body.get('id'))}"

        def slot(path: Mapping[str, Any], body: dict[str, Any]) -> str:
            resource = body.get("resourceId")
            return f"customer {body.get('customerId')}" + (f" resource {resource}" if resource else "")

        def subscription(path: Mapping[str, Any], body: dict[str, Any]) -> str:
            return f"subscription {path['id']}"

        return {
            ("POST", "/customers"): _Endpoint("provision customer", self._provision_customer, customer),
            ("GET", "/customers"): read(self._list_customers),
            ("GET", "/customers/<id>"): read(self._get_customer),
            ("PATCH", "/customers/<id>"): _Endpoint("update", self._update_customer, customer),
            ("GET", "/customers/<id>/entitlements"): read(self._get_entitlements),
            ("POST", "/subscriptions"): _Endpoint("provision subscription", self._provision_subscription, slot),
            ("GET", "/subscriptions"): _Endpoint("list subscriptions", self._list_subscriptions),
            ("POST", "/subscriptions/preview"): read(self._preview_subscription),
            ("GET", "/subscriptions/<id>"): read(self._get_subscription),
            ("PATCH", "/subscriptions/<id>"): _Endpoint("update", self._update_subscription, subscription),
            ("POST", "/subscriptions/<id>/cancel"): _Endpoint("cancel", self._cancel_subscription, subscription),
            ("POST", "/credits/grants"): _Endpoint("grant", self._grant_credits, slot),
            ("GET", "/credits/grants"): read(self._list_grants),
            ("GET", "/credits/custom-currencies"): read(self._list_currencies),
            ("GET", "/products"): read(self._list_products),
            ("GET", "/products/<id>"): read(self._get_product),
            ("GET", "/plans"): read(self._list_plans),
            ("GET", "/plans/<id>"): read(self._get_plan),
            ("GET", "/plans/<id>/entitlements"): read(self._list_plan_entitlements),
            ("GET", "/plans/<id>/charges"): read(self._list_plan_charges),
            ("GET", "/addons"): read(self._list_addons),
            ("GET", "/addons/<id>"): read(self._get_addon),
            ("GET", "/addons/<id>/entitlements"): read(self._list_addon_entitlements),
            ("GET", "/addons/<id>/charges"): read(self._list_addon_charges),
            ("GET", "/features"): read(self._list_features),
            ("GET", "/features/<id>"): read(self._get_feature),
        }

    def _answer(self, request: Request) -> Response:
        try:
            key = request.headers.get("X-API-KEY", "")
            if not any(hmac.compare_digest(key.encode(), known) for known in (self._api_key, self._old_api_key)):
                raise Refused(401, "Unauthenticated", "the X-API-KEY header is missing or wrong")
            try:
                route, values = self._map.bind_to_environ(request.environ).match()
            except HTTPException as no_route:
                status = no_route.code if no_route.code in (404, 405) else 404
                raise Refused(status, CODES[status], f"{request.method} {request.path}: no such endpoint") from None
            body = request.get_data(cache=True)
            path = request.path.removeprefix(f"{API}/")
            if any(path == scope or path.startswith(f"{scope}/") for scope in self._out_of_scope):
                raise Refused(403, CODES[403], "the API key lacks the scope for this")
            with self._lock:
                return self._answer_once(request, self._endpoints[route], values, body)
        except Refused as refused:
            return _refusal(refused)

    def _answer_once(self, request: Request, endpoint: _Endpoint, values: Mapping[str, Any], body: bytes) -> Response:
        """Rate limits first, then the idempotency key, then the call.

        The caller holds the lock, so that a second request under one key waits for the first and gets its answer.
        """
        self._service.catch_up(self._now())
        now = self._service.now
        fields = _object(request, body) if request.method in ("POST", "PATCH") else {}
        self._limits.count(endpoint.operation, endpoint.entity(values, fields) if endpoint.entity else None)
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        mark = fingerprint(request.path, body)
        if key is not None:
            if not key.strip():
                raise Refused(400, "BadUserInput", "Idempotency-Key is empty")
            kept = self._idempotency.look(key, mark, now)
            if kept is not None:
                replay = Response(kept.body, kept.status, content_type="application/json")
                replay.headers["x-idempotent-replay"] = "true"
                return replay
        try:
            answer = endpoint.handle(request, **values)
            response = _response(answer.status, answer.body)
        except Refused as refused:
            response = _refusal(refused)
        if key is not None:
            self._idempotency.keep(key, mark, response.status_code, response.get_data(), now)
        return response

    def _provision_customer(self, request: Request) -> _Answer:
        customer, created = self._service.provision_customer(_read(models.CustomerProvision, request))
        return _Answer(201 if created else 200, {"data": customer.json()})

    def _list_customers(self, request: Request) -> _Answer:
        rows = [
            Row(
                customer.cursor,
                customer.created_at,
                {"email": customer.fields.get("email"), "name": customer.fields.get("name")},
                customer.json,
            )
            for customer in self._service.book.customers.values()
        ]
        return _Answer(200, page(rows, request.args, {"email": _ANY, "name": _ANY}))

    def _get_customer(self, request: Request, id: str) -> _Answer:
        return _Answer(200, {"data": self._service.customer(id).json()})

    def _update_customer(self, request: Request, id: str) -> _Answer:
        return _Answer(200, {"data": self._service.update_customer(id, _read(models.CustomerUpdate, request)).json()})

    def _get_entitlements(self, request: Request, id: str) -> _Answer:
        if unknown := set(request.args) - {"resourceId"}:
            raise Refused(400, "BadUserInput", f"unknown query parameters: {', '.join(sorted(unknown))}")
        allowed = self._service.allowances(id, request.args.get("resourceId"))
        data = {
            "accessDeniedReason": None if allowed else "NoActiveSubscription",
            "entitlements": entitlements.json(self.catalogue, allowed, self._service.now),
        }
        return _Answer(200, {"data": data})

    def _provision_subscription(self, request: Request) -> _Answer:
        now = self._service.now
        subscription = self._service.provision_subscription(_read(models.SubscriptionProvision, request))
        data: dict[str, Any] = {"id": subscription.id, "entitlements": None}
        if subscription.status == "PAYMENT_PENDING":
            checkout = {
                "checkoutBillingId": f"cs_{uuid.uuid4().hex}",
                "checkoutUrl": self._checkout_url(request, subscription),
            }
            return _Answer(201, {"data": {**data, "status": "PAYMENT_REQUIRED", **checkout, "isScheduled": False}})
        if subscription.live:
            allowed = self._service.allowances(subscription.customer_id, subscription.resource_id)
            data["entitlements"] = entitlements.json(self.catalogue, allowed, now)
        data |= {
            "status": "SUCCESS",
            "subscription": subscription.json(now),
            "checkoutBillingId": None,
            "checkoutUrl": None,
            "isScheduled": subscription.status == "NOT_STARTED",
        }
        return _Answer(201, {"data": data})

    def _checkout_url(self, request: Request, subscription: Subscription) -> str:
        return f"{request.host_url}{self.environment}/checkout/{subscription.checkout}"

    def _list_subscriptions(self, request: Request) -> _Answer:
        now, known = self._service.now, self._service.book.subscriptions

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
            "customerId": _ANY,
            "planId": _ANY,
            "pricingType": choices("FREE", "PAID", "CUSTOM"),
            "resourceId": _ANY,
            "status": _STATUSES,
        }
        if (customer := request.args.get("customerId")) is not None:
            return _Answer(200, page(map(row, known.of(customer)), request.args, filters))
        return _Answer(200, page_of(known.in_order, row, known.place_of, request.args, filters))

    def _get_subscription(self, request: Request, id: str) -> _Answer:
        return _Answer(200, {"data": self._service.subscription(id).json(self._service.now)})

    def _update_subscription(self, request: Request, id: str) -> _Answer:
        subscription = self._service.update_subscription(id, _read(models.SubscriptionUpdate, request))
        return _Answer(200, {"data": subscription.json(self._service.now)})

    def _cancel_subscription(self, request: Request, id: str) -> _Answer:
        subscription = self._service.cancel_subscription(id, _read(models.SubscriptionCancel, request))
        return _Answer(200, {"data": subscription.json(self._service.now)})

    def _preview_subscription(self, request: Request) -> _Answer:
        return _Answer(200, {"data": self._service.preview_subscription(_read(models.SubscriptionPreview, request))})

    def _grant_credits(self, request: Request) -> _Answer:
        return _Answer(
            201,
            {"data": self._service.grant_credits(_read(models.GrantCreate, request)).json(self._service.now)},
        )

    def _list_grants(self, request: Request) -> _Answer:
        now = self._service.now
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
            for grant in self._service.book.grants.values()
            if grant.resource_id == asked  # without the filter: none of a resource
        ]
        filters = {"customerId": Filter(required=True), "currencyId": _ANY, "resourceId": _ANY}
        return _Answer(200, page(rows, request.args, filters))

    def _list_currencies(self, request: Request) -> _Answer:
        rows = _rows(self.catalogue.currencies, lambda _: {"status": "ACTIVE"})
        return _Answer(200, page(rows, request.args, {"status": choices("ACTIVE", "ARCHIVED")}, by_date=False))

    def _list_products(self, request: Request) -> _Answer:
        rows = _rows(self.catalogue.products, lambda product: {"id": product.id, "status": "PUBLISHED"})
        return _Answer(200, page(rows, request.args, {"id": _ANY, "status": choices("PUBLISHED", "ARCHIVED")}))

    def _get_product(self, request: Request, id: str) -> _Answer:
        return _Answer(200, {"data": _known("Product", self.catalogue.products, id).json()})

    def _list_plans(self, request: Request) -> _Answer:
        rows = _rows(self.catalogue.plans, lambda plan: {"productId": plan.product_id, "status": plan.status})
        return _Answer(200, page(rows, request.args, _PACKAGE_FILTERS))

    def _get_plan(self, request: Request, id: str) -> _Answer:
        return _Answer(200, {"data": _known("Plan", self.catalogue.plans, id).json()})

    def _list_plan_entitlements(self, request: Request, id: str) -> _Answer:
        return _entitlements_of(_known("Plan", self.catalogue.plans, id), request)

    def _list_plan_charges(self, request: Request, id: str) -> _Answer:
        used = any(subscription.plan.id == id for subscription in self._service.book.subscriptions.values())
        return _charges_of(_known("Plan", self.catalogue.plans, id), used, request)

    def _list_addons(self, request: Request) -> _Answer:
        rows = _rows(self.catalogue.addons, lambda addon: {"productId": addon.product_id, "status": addon.status})
        return _Answer(200, page(rows, request.args, _PACKAGE_FILTERS))

    def _get_addon(self, request: Request, id: str) -> _Answer:
        return _Answer(200, {"data": _known("Addon", self.catalogue.addons, id).json()})

    def _list_addon_entitlements(self, request: Request, id: str) -> _Answer:
        return _entitlements_of(_known("Addon", self.catalogue.addons, id), request)

    def _list_addon_charges(self, request: Request, id: str) -> _Answer:
        subscriptions = self._service.book.subscriptions.values()
        used = any(addon["id"] == id for subscription in subscriptions for addon in subscription.addons)
        return _charges_of(_known("Addon", self.catalogue.addons, id), used, request)

    def _list_features(self, request: Request) -> _Answer:
        rows = _rows(
            self.catalogue.features,
            lambda feature: {
                "id": feature.id,
                "featureType": feature.type,
                "meterType": feature.meter,
                "status": "ACTIVE",
            },
        )
        filters = {
            "id": _ANY,
            "featureType": choices("BOOLEAN", "NUMBER", "ENUM"),
            "meterType": choices("None", "FLUCTUATING", "INCREMENTAL"),
            "status": choices("NEW", "SUSPENDED", "ACTIVE"),
        }
        return _Answer(200, page(rows, request.args, filters))

    def _get_feature(self, request: Request, id: str) -> _Answer:
        return _Answer(200, {"data": _known("Feature", self.catalogue.features, id).json()})

    # The pages

    def _page_map(self) -> Map:
        root = f"/{self.environment}"
        return Map(
            [
                Rule(root, endpoint=self._show_customers, methods=["GET"]),
                Rule(f"{root}/customers", endpoint=self._show_customers, methods=["GET"]),
                Rule(f"{root}/customers/<id>", endpoint=self._show_customer, methods=["GET"]),
                Rule(
                    f"{root}/customers/<owner>/subscriptions/<id>",
                    endpoint=self._show_subscription,
                    methods=["GET"],
                ),
                Rule(f"{root}/subscriptions/<id>", endpoint=self._show_subscription, methods=["GET"]),
                Rule(f"{root}/checkout/<token>", endpoint=self._show_checkout, methods=["GET"]),
                Rule(f"{root}/checkout/<token>", endpoint=self._pay_at_checkout, methods=["POST"]),
            ]
        )

    def _show(self, request: Request) -> Response:
        try:
            show, values = self._pages.bind_to_environ(request.environ).match()
            with self._present():
                shown = show(request, **values)
        except Refused as refused:
            return Response(pages.missing(self.environment, refused.message), refused.status, content_type=_HTML)
        except HTTPException as no_page:
            return Response(
                pages.missing(self.environment, "There is no such page."),
                no_page.code or 404,
                content_type=_HTML,
            )
        return shown if isinstance(shown, Response) else Response(shown, content_type=_HTML)

    def _show_customers(self, request: Request) -> str:
        return pages.customers(self.environment, self._service.book.customers.values())

    def _show_customer(self, request: Request, id: str) -> str:
        book = self._service.book
        return pages.customer(
            self.environment,
            self.catalogue,
            self._service.customer(id),
            book.subscriptions.of(id),
            [g for g in book.grants.values() if g.customer_id == id],
            self._service.allowances(id),
            self.salesforce_url,
            self._service.now,
        )

    def _show_subscription(self, request: Request, id: str, owner: str | None = None) -> str:
        subscription = self._service.subscription(id)
        if owner not in (None, subscription.customer_id):
            raise not_found("Subscription", id)
        allowed = entitlements.of_subscription(self.catalogue, subscription)
        checkout = self._checkout_url(request, subscription) if subscription.checkout else None
        return pages.subscription(self.environment, self.catalogue, subscription, allowed, checkout)

    def _show_checkout(self, request: Request, token: str) -> str:
        for subscription in self._service.book.subscriptions.values():
            if subscription.checkout == token:
                return pages.checkout(self.environment, subscription)
        raise not_found("Checkout", "session")

    def _pay_at_checkout(self, request: Request, token: str) -> Response:
        paid = self._service.pay(token)
        home = f"/{self.environment}/subscriptions/{quote(paid.id)}"
        return Response(status=303, headers={"Location": (paid.checkout_options or {}).get("successUrl", home)})

    @contextmanager
    def _present(self) -> Iterator[Service]:
        """Holds the lock over a service that time has caught up with."""
        with self._lock:
            self._service.catch_up(self._now())
            yield self._service


def _response(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def _refusal(refused: Refused) -> Response:
    return _response(refused.status, {"message": refused.message, "code": refused.code})


def _read(model: type[models.B], request: Request) -> models.B:
    return models.read(model, request.get_data() or b"{}")


def _object(request: Request, body: bytes) -> dict[str, Any]:
    """The body as an object. A cancellation may come without one."""
    if not body and request.path.endswith("/cancel"):
        return {}
    if request.mimetype != "application/json":
        raise Refused(400, "BadUserInput", "the Content-Type must be application/json")
    try:
        fields = json.loads(body)
    except ValueError:
        raise Refused(400, "BadUserInput", "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise Refused(400, "BadUserInput", "the body is not a JSON object")
    return fields


def _known(kind: str, things: dict[str, Any], identifier: str) -> Any:
    if identifier not in things:
        raise not_found(kind, identifier)
    return things[identifier]


def _rows(things: dict[str, Any], values: Callable[[Any], dict[str, str | None]]) -> list[Row]:
    return [Row(f"at-{name}", CREATED, values(thing), thing.json) for name, thing in things.items()]


def _entitlements_of(package: Any, request: Request) -> _Answer:
    """All at once: this list takes no parameters."""
    if request.args:
        raise Refused(400, "BadUserInput", "this list takes no query parameters")
    data = [grant.json(order) for order, grant in enumerate(package.entitlements)]
    return _Answer(200, {"data": data, "pagination": {"next": None, "prev": None}})


def _charges_of(package: Any, used: bool, request: Request) -> _Answer:
    rows = [
        Row(f"at-{price.id}", CREATED, {}, lambda price=price: price.json(used))  # type: ignore[misc]
        for price in package.prices
    ]
    return _Answer(200, page(rows, request.args, {}, by_date=False))
