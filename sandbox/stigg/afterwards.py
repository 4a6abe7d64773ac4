"""What becomes of a subscription besides being updated, cancelled and paid: handed on, imported, put back on track.

By the SDK's texts (`resources/v1/subscriptions`). Everything that is refused raises `Refused`; then nothing was
written.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import bodies, models, provisioning
from .changing import standing
from .errors import Refused, invalid
from .service import Service
from .state import Subscription


def drop_schedule(service: Service, subscription_id: str) -> Subscription:
    """Forget the update that waits for its time."""
    found = standing(service, subscription_id)
    if found.deferred is None:
        raise invalid(f"no update of subscription {subscription_id} is scheduled")
    found.deferred = None
    return found


def drop_pending_payment(service: Service, subscription_id: str) -> Subscription:
    """Forget the update that waits for a payment. There never is one: updates are not charged for here."""
    standing(service, subscription_id)
    raise invalid(f"no update of subscription {subscription_id} waits for a payment")


def transfer(service: Service, subscription_id: str, resource_id: str) -> Subscription:
    """Move a subscription to another resource of its customer, which must be free of one of its product."""
    found = standing(service, subscription_id)
    slot = (found.customer_id, resource_id, found.plan.product_id)
    if any(other is not found for other in service.book.in_slot(slot, trial=found.is_trial)):
        raise Refused(409, "Conflict", f"resource {resource_id} has a subscription of this product")
    found.resource_id = resource_id
    return found


def delegate(service: Service, subscription_id: str, customer_id: str) -> Subscription:
    """Give a subscription to another customer. Who paid goes on paying, unless that is who gets it."""
    found = standing(service, subscription_id)
    target = service.customer(customer_id)
    slot = (target.id, found.resource_id, found.plan.product_id)
    if any(other is not found for other in service.book.in_slot(slot, trial=found.is_trial)):
        raise Refused(409, "Conflict", f"customer {customer_id} has a subscription of this product")
    payer = found.paying_customer_id or found.customer_id
    service.book.subscriptions.hand_on(found, target.id)
    found.paying_customer_id = None if payer == target.id else payer
    return found


def migrate(service: Service, subscription_id: str) -> Subscription:
    """Move a subscription to the newest version of its plan, which it has: no plan has a second one here."""
    return standing(service, subscription_id)


def import_all(service: Service, wanted: Iterable[bodies.ImportedSubscription]) -> None:
    """Make subscriptions that stood elsewhere, up to the first that is refused."""
    for one in wanted:
        sent = one.sent()
        if "endDate" in sent:
            sent["cancellationDate"] = sent.pop("endDate")
        provisioning.provision(service, models.read(models.SubscriptionProvision, sent))
