"""A strict stand-in for Stigg's REST API, with pages for its deep links.

It refuses what it does not know, replaces what Stigg replaces, cancels what Stigg cancels, and keeps Stigg's rate
limits and idempotency window. Any client can drive it: the official SDK does so in
`tests/contract/test_stigg_stand_in.py`.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from werkzeug.wrappers import Request, Response

from . import answers, billing, changing, keeping, models, people, provisioning, queue
from .api import Api
from .catalogue import sandbox_catalogue
from .errors import CODES, Refused
from .events import Events
from .limits import RateLimits
from .packages import Catalogue
from .queue import DurableQueue
from .service import Archiving, Service
from .site import Site
from .state import Subscriptions


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Stigg:
    """Stigg's REST API (``/api/v1``) and its app's pages (``/<environment>/...``) as a WSGI application.

    api_key: the only key that is let in. rate_limits: whether Stigg's limits are kept, multiplied
    by rate_scale. now: the time of day, with a
    zone, by which subscriptions start and end and idempotency keys are forgotten. clock: seconds for the rate limits.
    defer_updates: the environment puts updates off to the end of the billing period unless they say IMMEDIATE.
    archiving: what becomes of an archived customer's subscriptions, which Stigg tells in three ways.
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
        archiving: Archiving = "cancels",
        catalogue: Catalogue | None = None,
        environment: str = "sandbox",
        salesforce_url: str | None = None,
    ) -> None:
        self.catalogue = catalogue or sandbox_catalogue()
        self.environment = environment
        self.salesforce_url = salesforce_url
        self.defer_updates = defer_updates
        self.archiving: Archiving = archiving
        self._now = now
        self._lock = threading.RLock()
        self._api = Api(self._present, api_key, partial(RateLimits, clock, rate_limits, rate_scale))
        self.events = Events()
        self.queue: DurableQueue | None = None
        self._site = Site(self._present, environment, lambda: self.salesforce_url)
        self.reset()

    # The protocol of stand-ins

    def reset(self) -> None:
        """Forget everything that was written; the catalogue and the settings stay."""
        with self._lock:
            self._service = Service(self.catalogue, self.defer_updates, self.environment, self.archiving)
            self.events.begin(self._service)
            self._api.reset()

    def error(self, status: int) -> Response:
        """An error as the API answers it, for failures on demand."""
        return answers.refusal(Refused(status, CODES.get(status, "Error"), f"the stand-in answers {status}"))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = Request(environ)
        if request.path == queue.PATH and self.queue is not None:
            return self._api.credentials(request, self.queue.credentials)(environ, start_response)
        below_api = request.path.startswith("/api/")  # of whatever version, so that what is not there is told as JSON
        response = self._api.answer(request) if below_api else self._site.show(request)
        response.headers["x-request-id"] = str(uuid.uuid4())
        return response(environ, start_response)

    # For tests and the demo

    @property
    def customers(self) -> dict[str, dict[str, Any]]:
        """All customers by ID, as the API shows them; the archived ones, which it does not show, too."""
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
            return provisioning.provision(service, models.read(models.SubscriptionProvision, body)).full(self._now())

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
                provisioning.seed(service, dict(subscription))

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
            return changing.update(service, subscription_id, wanted).full(service.now)

    def cancel_subscription(self, subscription_id: str, **fields: Any) -> dict[str, Any]:
        """An end by someone else, at once unless fields, as POST /subscriptions/{id}/cancel takes them, say otherwise.
        Returns it in full.
        """
        with self._present() as service:
            wanted = models.read(models.SubscriptionCancel, {"cancellation_time": "IMMEDIATE", **fields})
            return changing.cancel(service, subscription_id, wanted).full(service.now)

    def change_api_key(self, api_key: str, old: str | None = None) -> None:
        """From now on only this key is let in, as after a rotation; while it lasts, an old one too."""
        with self._lock:
            self._api.change_key(api_key, old)

    def narrow_api_key(self, *resources: str) -> None:
        """The key is a scoped one, without these (``plans``, ``credits/grants``), until `reset`."""
        with self._lock:
            self._api.narrow_key(frozenset(resources))

    def attach_payment_method(self, customer_id: str, declines: bool = False) -> None:
        """The customer has a card on file from now on; subscriptions that wait for payment go on waiting.

        declines: charging it fails.
        """
        with self._present() as service:
            service.attach_payment_method(customer_id, declines)

    def pay(self, subscription_id: str) -> dict[str, Any]:
        """Pay for a subscription: as its checkout page does, or its open invoice. Returns it in full."""
        with self._present() as service:
            return billing.pay(service, subscription_id).full(service.now)

    def fail_payment(self, subscription_id: str, leaves: billing.Unpaid = "FAILED") -> dict[str, Any]:
        """A payment for a subscription fails, or hangs; see `billing.fail_payment`. Returns it in full."""
        with self._present() as service:
            return billing.fail_payment(service, subscription_id, leaves).full(service.now)

    def void_invoice(self, subscription_id: str) -> dict[str, Any]:
        """A subscription's open invoice is taken back. Returns the subscription in full."""
        with self._present() as service:
            return billing.void_invoice(service, subscription_id).full(service.now)

    def expire_checkout(self, subscription_id: str) -> dict[str, Any]:
        """Nobody paid in time for a subscription that waits for it. Returns it in full."""
        with self._present() as service:
            return billing.expire_checkout(service, subscription_id).full(service.now)

    def cancel_by_billing(
        self, subscription_id: str, reason: billing.EndedBy = "CANCELLED_BY_BILLING"
    ) -> dict[str, Any]:
        """The billing provider ends a subscription at once, or whatever else the reason says. Returns it in full."""
        with self._present() as service:
            return billing.end_by(service, subscription_id, reason).full(service.now)

    def auto_cancel(self, product_id: str, other_product_id: str) -> None:
        """From now on what starts of one product ends what the customer has of another one; until `reset`."""
        with self._present() as service:
            service.book.auto_cancellations.add((product_id, other_product_id))

    def archive(self, customer_id: str) -> dict[str, Any]:
        """Somebody archives a customer, as POST /customers/{id}/archive does. Returns it."""
        with self._present() as service:
            return people.archive(service, customer_id).json()

    def unarchive(self, customer_id: str) -> dict[str, Any]:
        """Somebody takes an archived customer back. Returns it."""
        with self._present() as service:
            return people.unarchive(service, customer_id).json()

    @contextmanager
    def _present(self) -> Iterator[Service]:
        """Holds the lock over a service that time has caught up with."""
        with self._lock:
            self._service.catch_up(self._now())
            try:
                yield self._service
            finally:  # what was refused changed nothing, and what happened by itself before it did
                self.events.notice(self._service)
