"""The app's pages, which deep links lead to: how each path below ``/<environment>`` is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import quote

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from . import changing, entitlements, pages
from .endpoints import checkout_url
from .errors import Refused, not_found
from .service import Service

_HTML = "text/html; charset=utf-8"


class Site:
    """Shows pages.

    present: holds the lock over a service that time has caught up with. environment: the first part of the paths.
    salesforce_url: tells where links to Salesforce accounts lead.
    """

    def __init__(
        self,
        present: Callable[[], AbstractContextManager[Service]],
        environment: str,
        salesforce_url: Callable[[], str | None],
    ) -> None:
        self._present = present
        self._environment = environment
        self._salesforce_url = salesforce_url
        root = f"/{environment}"
        self._map = Map(
            [
                Rule(root, endpoint=self._customers, methods=["GET"]),
                Rule(f"{root}/customers", endpoint=self._customers, methods=["GET"]),
                Rule(f"{root}/customers/<id>", endpoint=self._customer, methods=["GET"]),
                Rule(f"{root}/customers/<owner>/subscriptions/<id>", endpoint=self._subscription, methods=["GET"]),
                Rule(f"{root}/subscriptions/<id>", endpoint=self._subscription, methods=["GET"]),
                Rule(f"{root}/checkout/<token>", endpoint=self._checkout, methods=["GET"]),
                Rule(f"{root}/checkout/<token>", endpoint=self._pay, methods=["POST"]),
            ]
        )

    def show(self, request: Request) -> Response:
        try:
            show, values = self._map.bind_to_environ(request.environ).match()
            with self._present() as service:
                shown = show(service, request, **values)
        except Refused as refused:
            return Response(pages.missing(self._environment, refused.message), refused.status, content_type=_HTML)
        except HTTPException as no_page:
            return Response(
                pages.missing(self._environment, "There is no such page."),
                no_page.code or 404,
                content_type=_HTML,
            )
        return shown if isinstance(shown, Response) else Response(shown, content_type=_HTML)

    def _customers(self, service: Service, request: Request) -> str:
        return pages.customers(self._environment, service.book.customers.values())

    def _customer(self, service: Service, request: Request, id: str) -> str:
        book = service.book
        return pages.customer(
            self._environment,
            service.catalogue,
            service.customer(id),
            book.subscriptions.of(id),
            [g for g in book.grants.values() if g.customer_id == id],
            service.allowances(id),
            self._salesforce_url(),
            service.now,
        )

    def _subscription(self, service: Service, request: Request, id: str, owner: str | None = None) -> str:
        subscription = service.subscription(id)
        if owner not in (None, subscription.customer_id):
            raise not_found("Subscription", id)
        allowed = entitlements.of_subscription(service.catalogue, subscription)
        checkout = checkout_url(service, request, subscription) if subscription.checkout else None
        return pages.subscription(self._environment, service.catalogue, subscription, allowed, checkout)

    def _checkout(self, service: Service, request: Request, token: str) -> str:
        for subscription in service.book.subscriptions.values():
            if subscription.checkout == token:
                return pages.checkout(self._environment, subscription)
        raise not_found("Checkout", "session")

    def _pay(self, service: Service, request: Request, token: str) -> Response:
        paid = changing.pay(service, token)
        home = f"/{self._environment}/subscriptions/{quote(paid.id)}"
        return Response(status=303, headers={"Location": (paid.checkout_options or {}).get("successUrl", home)})
