"""Events of the stand-in: what its webhook and its durable queue tell of changes.

As Stigg says of itself (docs.stigg.io, *Webhooks*, and its API reference): flat objects, sent at least once and in no
order, with a plain secret in a header; what is not answered 2xx within 30 seconds is sent again, three times at once
and three times 30 seconds apart, and is then lost. Who is told may be disturbed: twice, late, out of order, never.
"""

from __future__ import annotations

import heapq
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Literal

import requests

from .customers import Customer
from .packages import stamp
from .service import Service
from .state import Subscription, Subscriptions

HEADER = "Stigg-Webhooks-Secret"
PATIENCE = 30.0
"""Seconds that Stigg waits for an answer."""
AGAIN = (0.0, 0.0, 0.0, 30.0, 30.0, 30.0)
"""Seconds before each of the tries that follow a first one that failed."""

Trouble = Literal["twice", "late", "shuffled", "never"]
"""What may happen to an event: it is sent once more, a moment later; it comes late; others overtake it; it is lost."""

Json = dict[str, Any]


@dataclass
class Delivery:
    """One event on its way. attempts: when each try went out, by the monotonic clock, and what was answered (0: no
    answer); outcome: once there is one.
    """

    event: Json
    attempts: list[tuple[float, int]] = field(default_factory=list)
    outcome: Literal["", "delivered", "lost"] = ""


class Events:
    """What changes is told: to a webhook, and to a durable queue, where there are any.

    scale: what the times between tries and of lateness are multiplied by. Nothing is told before `to` says to whom.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale
        self._webhook: tuple[str, str] | None = None
        self._queue: Callable[[str], None] | None = None
        self._book: Subscriptions | None = None
        self._told: dict[str, Json] = {}
        self._customers: dict[str, Json] = {}
        self.calm()
        self._numbers = count()
        self._due: list[tuple[float, int, Delivery]] = []
        self._open = 0
        self._condition = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self.sent: list[Delivery] = []
        """All events so far, oldest first."""

    # Whom to tell

    def to(self, url: str, secret: str) -> None:
        """Tell a webhook from now on."""
        self._webhook = url, secret
        self._start()

    def to_queue(self, send: Callable[[str], None]) -> None:
        """Put each event into a durable queue from now on, as text."""
        self._queue = send
        self._start()

    def disturb(self, seed: object, share: float, *troubles: Trouble) -> None:
        """From now on disturb a share (0 to 1) of what the webhook is told."""
        self._disturbing: tuple[Random, float, Sequence[Trouble]] = Random(f"{seed}"), share, troubles  # nosec B311

    def calm(self) -> None:
        """Disturb nothing any more."""
        self.disturb("", 0)

    @property
    def _listened_to(self) -> bool:
        return self._webhook is not None or self._queue is not None

    def stop(self) -> None:
        """Tell nobody any more."""
        self._webhook = self._queue = None
        with self._condition:
            self._stopped = True
            self._condition.notify_all()

    def wait_until_told(self, seconds: float = 60.0) -> None:
        """Wait until everything is delivered, or lost. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        with self._condition:
            while self._open:
                if not self._condition.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{self._open} events are still on their way")

    # What happened

    def begin(self, service: Service) -> None:
        """What is in this book is known: only what changes from here on is told."""
        book = service.book
        self._book = book.subscriptions
        if not self._listened_to:
            return
        book.subscriptions.noticed = set()
        self._told = {one.id: _shown(one, service) for one in book.subscriptions.in_order}
        self._customers = {id: customer.json() for id, customer in book.customers.items()}
        with self._condition:
            self._due.clear()
            self._open = 0
            self.sent.clear()

    def notice(self, service: Service) -> None:
        """Tell what changed since the last time. The caller holds the lock over the service."""
        if not self._listened_to:
            return
        if service.book.subscriptions is not self._book:
            self.begin(service)
        for customer in service.book.customers.values():
            self._compare_customer(customer)
        for subscription in sorted(service.book.subscriptions.take_noticed(), key=lambda one: one.place):
            self._compare(subscription, service)

    def _compare_customer(self, customer: Customer) -> None:
        before, now = self._customers.get(customer.id), customer.json()
        if before == now:
            return
        self._customers[customer.id] = now
        kind = "created" if before is None else "updated"
        self.tell(
            {"type": f"customer.{kind}", "entityId": customer.id, "id": customer.id, "customer": _who(customer.id)}
        )

    def _compare(self, subscription: Subscription, service: Service) -> None:
        before, now = self._told.get(subscription.id), _shown(subscription, service)
        if before == now:
            return
        self._told[subscription.id] = now
        for name in _names(before, now):
            self.tell({"type": f"subscription.{name}", **_envelope(subscription)})

    def tell(self, event: Mapping[str, Any]) -> None:
        """Tell an event, as it is, with IDs of its own."""
        told = {"messageId": str(uuid.uuid4()), "traceId": str(uuid.uuid4()), **event}
        if self._queue is not None:
            self._queue(json.dumps(told))
        if self._webhook is None:
            return
        delivery = Delivery(told)
        self.sent.append(delivery)
        random, share, troubles = self._disturbing
        trouble = random.choice(troubles) if random.random() < share else None
        match trouble:
            case "never":
                delivery.outcome = "lost"
            case "late":
                self._later(delivery, 20.0)
            case "shuffled":
                self._later(delivery, random.uniform(0, 3))
            case "twice":
                self._later(delivery, 0)
                self._later(Delivery(told), random.uniform(0, 3))
            case _:
                self._later(delivery, 0)

    # On its way

    def _start(self) -> None:
        with self._condition:
            self._book = None  # what there is by now is known
            if not self._threads:
                self._threads = [threading.Thread(target=self._work, daemon=True, name="events") for _ in range(8)]
                for thread in self._threads:
                    thread.start()

    def _later(self, delivery: Delivery, seconds: float) -> None:
        with self._condition:
            if not delivery.attempts:
                self._open += 1
            heapq.heappush(self._due, (time.monotonic() + seconds * self.scale, next(self._numbers), delivery))
            self._condition.notify()

    def _next(self) -> Delivery | None:
        with self._condition:
            while not self._stopped:
                now = time.monotonic()
                if self._due and self._due[0][0] <= now:
                    return heapq.heappop(self._due)[2]
                self._condition.wait(self._due[0][0] - now if self._due else None)
            return None

    def _work(self) -> None:
        while (delivery := self._next()) is not None:
            status = self._post(delivery.event)
            delivery.attempts.append((time.monotonic(), status))
            failed = not 200 <= status < 300
            if failed and len(delivery.attempts) <= len(AGAIN):
                self._later(delivery, AGAIN[len(delivery.attempts) - 1])
                continue
            delivery.outcome = "lost" if failed else "delivered"
            with self._condition:
                self._open = max(0, self._open - 1)
                self._condition.notify_all()

    def _post(self, event: Json) -> int:
        if self._webhook is None:
            return 0
        url, secret = self._webhook
        try:
            return requests.post(url, json=event, headers={HEADER: secret}, timeout=PATIENCE).status_code
        except requests.RequestException:
            return 0


def _shown(subscription: Subscription, service: Service) -> Json:
    """What of a subscription makes an event when it changes: the billing period goes on without one."""
    told = subscription.full(service.now)
    return {name: value for name, value in told.items() if not name.startswith("currentBillingPeriod")}


def _names(before: Json | None, now: Json) -> list[str]:
    """The names of the events of a change."""
    if before is None:
        return ["created", "trial_started"] if now["status"] == "IN_TRIAL" else ["created"]
    if before["status"] != now["status"] and now["status"] in ("CANCELED", "EXPIRED"):
        return [now["status"].lower()]
    return ["updated"]


def _envelope(subscription: Subscription) -> Json:
    def at(moment: Any) -> str | None:
        return stamp(moment) if moment else None

    return {
        "entityId": subscription.id,
        "id": subscription.id,
        "status": subscription.status,
        "startDate": at(subscription.start_date),
        "endDate": at(subscription.ended_at),
        "cancellationDate": at(subscription.cancellation_date),
        "trialEndDate": at(subscription.trial_end_date),
        "billingPeriod": subscription.billing_period,
        "customer": _who(subscription.customer_id),
        "plan": {"id": subscription.plan.id},
        "addons": [dict(addon) for addon in subscription.addons],
        "metadata": dict(subscription.metadata),
    }


def _who(customer_id: str) -> Json:
    return {"id": customer_id, "crmId": None}
