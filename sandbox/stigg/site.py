"""The app's pages, which deep links lead to: how each path below ``/<environment>`` is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from urllib.parse import quote

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from . import billing, changing, entitlements, pages, people
from .endpoints import checkout_url
from .errors import Refused, not_found
from .service import Service

_HTML = "text/html; charset=utf-8"


_HAPPENS: Mapping[str, Callable[[Service, str], object]] = {
    "pay": billing.pay,
    "fail-payment": billing.fail_payment,
    "require-action": lambda service, id: billing.fail_payment(service, id, "ACTION_REQUIRED"),
    "void-invoice": billing.void_invoice,
    "expire-checkout": billing.expire_checkout,
    "cancel-by-billing": lambda service, id: billing.end_by(service, id, "CANCELLED_BY_BILLING"),
}
"""What a subscription's page can make happen, by the last part of its path."""


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
                Rule(f"{root}/subscriptions/<id>/<action>", endpoint=self._happens, methods=["POST"]),
                Rule(f"{root}/customers/<id>/<action>", endpoint=self._is_put_away, methods=["POST"]),
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
        return pages.customers(
            self._environment, (one for one in service.book.customers.values() if one.archived_at is None)
        )

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

    def _happens(self, service: Service, request: Request, id: str, action: str) -> Response:
        """Something happens to a subscription that no API does: its page has a button for it."""
        if action not in _HAPPENS:
            raise not_found("Page", action)
        _HAPPENS[action](service, id)
        return self._see(f"subscriptions/{quote(id)}")

    def _is_put_away(self, service: Service, request: Request, id: str, action: str) -> Response:
        """A customer is archived, or taken back. Archived it has no page."""
        if action not in ("archive", "unarchive"):
            raise not_found("Page", action)
        (people.archive if action == "archive" else people.unarchive)(service, id)
        return self._see("customers" if action == "archive" else f"customers/{quote(id)}")

    def _see(self, page: str) -> Response:
        return Response(status=303, headers={"Location": f"/{self._environment}/{page}"})

    def _checkout(self, service: Service, request: Request, token: str) -> str:
        for subscription in service.book.subscriptions.values():
            if subscription.checkout == token:
                return pages.checkout(self._environment, subscription)
        raise not_found("Checkout", "session")

    def _pay(self, service: Service, request: Request, token: str) -> Response:
        paid = changing.pay(service, token)
        home = f"/{self._environment}/subscriptions/{quote(paid.id)}"
        return Response(status=303, headers={"Location": (paid.checkout_options or {}).get("successUrl", home)})
