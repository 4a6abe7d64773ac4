"""subscription_provision: brings the customer's subscriptions in Stigg to what its deals say.

Looks at what is there, plans, and writes only what differs. What one subscription is refused does not touch the
others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aws_lambda_powertools.logging import Logger

from closedwon.customer import Applied, Intended, Interrupted, LeaseLost, Work
from closedwon.desired import Slot, Subscription
from closedwon.errors import StiggRefused, WriteUnanswered
from closedwon.outcome import applied
from closedwon.plan import Actual, Change, Create, SlotRecord, plan, provision_body
from closedwon.provisioning import desired_of, now, stigg
from closedwon.settings import backlinks, policy
from closedwon.step import Step, held, ledger, take
from closedwon.stigg import idempotency_key

logger = Logger()


def bring_about(work: Work, execution: str) -> Applied:
    """Fold the customer's orders, plan and apply. Out: what to record.

    Raises what `closedwon.stigg` does, but a refusal of one subscription, which is its deals' outcome.
    """
    customer = work.customer
    desired, catalogue = desired_of(customer)
    records = {Slot.of_key(key): record for key, record in customer.slots.items()}
    actual: list[Actual] = []
    if customer.customer_id is not None and (desired.subscriptions or records):
        # Those that ended too: the ID of one is not used again.
        subscriptions = stigg().list_subscriptions(customer.customer_id)
        actual = [Actual.from_stigg(subscription, catalogue) for subscription in subscriptions]
    links = backlinks(customer.account_id)
    to_do = plan(customer.customer_id or "", desired, actual, records, policy(), links)
    intend(work, to_do.changes, records)
    for keep in to_do.kept:
        slot = keep.subscription.slot
        records[slot] = standing(records.get(slot, SlotRecord()), keep.subscription, keep.subscription_id, keep.status)
    refusals: dict[Slot, str] = {}
    for change in to_do.changes:
        slot = change.subscription.slot
        try:
            records[slot] = make(work, change, records.get(slot, SlotRecord()), execution)
        except StiggRefused as refusal:
            refusals[slot] = f"Stigg refused {change.subscription.plan_id}: {refusal}"
        logger.info(
            "subscription",
            extra={"execution": execution, "change": type(change).__name__, "refused": slot in refusals},
        )
    return applied(customer, desired, to_do, records, refusals, now())


def intend(work: Work, changes: tuple[Change, ...], records: dict[Slot, SlotRecord]) -> None:
    """Record the generations about to be used, so that no ID is ever wished for twice with another meaning."""
    raised = {
        change.subscription.slot: change.generation
        for change in changes
        if isinstance(change, Create)
        and (
            change.subscription.slot not in records or records[change.subscription.slot].generation != change.generation
        )
    }
    if raised:
        ledger().settle(work, Intended({slot.key: generation for slot, generation in raised.items()}))
    for slot, generation in raised.items():
        records[slot] = replace(records.get(slot, SlotRecord()), generation=generation, made=False)


def make(work: Work, change: Change, record: SlotRecord, execution: str) -> SlotRecord:
    """Apply one change in Stigg. Out: what to remember of its slot."""
    customer_id = work.customer.customer_id or ""
    links = backlinks(work.customer.account_id)
    if not isinstance(change, Create):
        answer = stigg().update_subscription(change.subscription_id, change.body)
        return standing(record, change.subscription, change.subscription_id, answer["status"])
    body = provision_body(customer_id, change, links)
    try:
        answer = stigg().provision_subscription(body, idempotency_key(execution, body["id"], body))
    except StiggRefused as refusal:
        if refusal.status != 409:
            raise
        ledger().settle(work, Interrupted(burned=(change.subscription.slot.key,)))
        raise WriteUnanswered("the subscription's ID was used before; looking again at what stands") from refusal
    status = answer["subscription"]["status"] if answer["status"] == "SUCCESS" else "PAYMENT_PENDING"
    made = replace(record, generation=change.generation, checkout_url=answer.get("checkoutUrl"))
    return standing(made, change.subscription, answer["id"], status)


def standing(record: SlotRecord, wanted: Subscription, subscription_id: str, status: str) -> SlotRecord:
    """What to remember of a subscription that stands as it should. A checkout link goes once it is paid."""
    checkout_url = record.checkout_url if status == "PAYMENT_PENDING" else None
    return SlotRecord(record.generation, True, subscription_id, status, checkout_url, applied=wanted)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    step = Step.of(event)
    work = take(step, context)
    if not isinstance(work, Work):
        return step.handing_on(None)
    try:
        with held(work):
            ledger().settle(work, bring_about(work, step.execution))
    except LeaseLost:
        logger.warning("the lease passed on", extra={"execution": step.execution})
        return step.handing_on(None)
    return step.handing_on(work)
