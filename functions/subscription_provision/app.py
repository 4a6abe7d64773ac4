"""subscription_provision: changes the customer's subscriptions in Stigg to what its deals say.

It reads what is there, plans, and writes only what differs. A refusal of one subscription does not affect the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.aws.ledger import Ledger
from closedwon.domain.catalogue import Catalogue
from closedwon.domain.changes import Change, Create, End, Plan, opportunities_of, slot_of
from closedwon.domain.codes import Facts
from closedwon.domain.desired import Grant, Slot, Subscription
from closedwon.domain.due import only_looks
from closedwon.domain.endings import after_end, ending_of
from closedwon.domain.errors import StiggRefused, WriteUnanswered
from closedwon.domain.identifiers import CustomerId, SubscriptionId
from closedwon.domain.instants import Instant, from_milliseconds, milliseconds
from closedwon.domain.lease import Work
from closedwon.domain.marks import GRANT_KEY
from closedwon.domain.outcome import applied
from closedwon.domain.planned import Planned, currency_to_say
from closedwon.domain.records import GrantRecord, Payment, SlotRecord
from closedwon.domain.results import Applied, Ensured, Intended, Interrupted, LeaseLost
from closedwon.domain.stigg_contracts import with_contracts
from closedwon.provisioning.contracts import keep_contracts
from closedwon.provisioning.step import Step
from closedwon.stack import STACK, Stack
from closedwon.stigg.answers import payment_in
from closedwon.stigg.bodies import currency_body, end_call, grant_body, provision_body, update_body
from closedwon.stigg.client import Stigg, idempotency_key

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()


def bring_about(work: Work, execution: str, stack: Stack) -> Applied | None:
    """Work out what the customer agreed to, plan and apply.

    Out: what to record; None where the customer has to be created first: the deal that needs it was accepted since the
    step before looked.

    Raises what `closedwon.stigg.client` does, but a refusal of one subscription or grant, which is its deals' outcome.
    """
    customer = work.customer
    agreement = stack.provisioner.agreed(customer)
    desired = agreement.desired()
    # Asking Stigg whether the customer exists would cost every deal a call; the ledger knows, but for this one gap.
    if (desired.subscriptions or desired.grants) and not customer.ensured:
        return None
    planned = stack.provisioner.planned(customer, agreement)
    records = dict(planned.records)
    if only_looks(customer, milliseconds(agreement.world.now)):
        return looked(work, planned, records, execution, stack)
    return apply(work, planned, records, execution, stack)


def apply(work: Work, planned: Planned, records: dict[Slot, SlotRecord], execution: str, stack: Stack) -> Applied:
    """Apply a plan. In: what is known of each slot. Out: what to record."""
    to_do = planned.plan
    # Before any write: if this step dies, its retry finds in the ledger which IDs may be in use.
    intend(work, to_do, records, stack.ledger)
    if (currency := currency_to_say(work.customer, planned)) is not None:
        stack.stigg.update_customer(work.customer.bound_id, currency_body(currency))
        stack.ledger.record_result(work, Ensured(currency))
    # These too: a step that died may have made them without the ledger hearing of it.
    note_kept(to_do, records)
    refusals: dict[Slot, Facts] = {}
    for change in to_do.changes:
        slot = slot_of(change)
        try:
            records[slot] = make(work, change, records, execution, planned.agreement.world.catalogue, stack)
        except StiggRefused as refusal:
            plan_id = change.plan_id if isinstance(change, End) else change.subscription.plan_id
            # The outcome of this slot's deals alone; all other errors stop the step, and its retry reads Stigg again.
            refusals[slot] = Facts({"plan": plan_id, "said": str(refusal), "error": refusal.code or None})
        logger.info(
            "subscription",
            extra={"execution": execution, "change": type(change).__name__, "refused": slot in refusals},
        )
    # Credits last: they cannot be taken back.
    grants, refused_grants = grant_all(work, to_do.grants, stack.stigg)
    report = applied(work.customer, planned, records, refusals, stack.now(), grants, refused_grants)
    if not stack.settings.stigg_contracts:
        return with_contracts(report, work.customer)
    return keep_contracts(work.customer, planned.agreement, records, report, execution, stack.stigg)


def looked(work: Work, planned: Planned, records: dict[Slot, SlotRecord], execution: str, stack: Stack) -> Applied:
    """What to record where Stigg was only looked at. What others changed there stays as it is: its customer is marked,
    and the next reconciliation reports or repairs it by the stack's policies (decision 85).
    """
    to_do = planned.plan
    if to_do.changes:
        stack.event_register.mark(work.customer.account_id)
        metrics.note("StiggDiffers")
    note_kept(to_do, records)
    logger.info("looked", extra={"execution": execution, "differs": len(to_do.changes)})
    left = {id for change in to_do.changes for id in opportunities_of(change)}
    left |= {grant.opportunity_id for grant in to_do.grants}
    seen = planned._replace(plan=replace(to_do, changes=(), grants=(), approved={}))
    report = applied(work.customer, seen, records, {}, stack.now(), dict(work.customer.grants))
    report = with_contracts(report, work.customer)  # those that deals have stay
    return replace(
        report,
        # What Stigg refused, and what is to be decided, is still as it was.
        outcomes={id: outcome for id, outcome in report.outcomes.items() if id not in left},
        settles={id: settled for id, settled in report.settles.items() if id not in left},
        approved=frozenset(),
        looked=True,
    )


def intend(work: Work, to_do: Plan, records: dict[Slot, SlotRecord], ledger: Ledger) -> None:
    """Record the generations and the credits that are about to be sent, so that a retry sends the same again and
    nothing else.
    """
    # A retry finds its generations recorded already, and has nothing to raise.
    raised = {
        change.subscription.slot: change.generation
        for change in to_do.changes
        if isinstance(change, Create)
        and (
            change.subscription.slot not in records or records[change.subscription.slot].generation != change.generation
        )
    }
    # What was intended before stays as it was: it may have been granted already.
    new = {g.key: GrantRecord(g.amount) for g in to_do.grants if g.key not in work.customer.grants}
    if raised or new:
        generations = {slot.key: generation for slot, generation in raised.items()}
        ledger.record_result(work, Intended(generations, new))
    for slot, generation in raised.items():
        records[slot] = replace(records.get(slot, SlotRecord()), generation=generation, made=False)


def grant_all(work: Work, grants: tuple[Grant, ...], stigg: Stigg) -> tuple[dict[str, GrantRecord], dict[str, Facts]]:
    """Grant credits, each once: they are looked for first, all of a resource in one go.

    Out: what is known of them now, by key; what Stigg refused, by key.
    """
    customer_id = work.customer.bound_id
    records: dict[str, GrantRecord] = dict(work.customer.grants)
    refused: dict[str, Facts] = {}
    sent = _sent(customer_id, grants, stigg)
    for grant in grants:
        # The amount that was intended first, for it may have been granted: but where Stigg refused it.
        record = records.get(grant.key, GrantRecord(grant.amount))
        if record.refusals:
            record = replace(record, amount=grant.amount)
        found = sent.get(grant.key)
        if found is None:
            body = grant_body(customer_id, replace(grant, amount=record.amount))
            try:
                found = stigg.grant_credits(body, record.idempotency_key(grant.key))["id"]
            except StiggRefused as refusal:
                records[grant.key] = replace(record, refusals=record.refusals + 1)
                refused[grant.key] = Facts(
                    {"item": grant.currency_id, "said": str(refusal), "error": refusal.code or None}
                )
                continue
        records[grant.key] = replace(record, grant_id=found)
    return records, refused


def _sent(customer_id: CustomerId, grants: tuple[Grant, ...], stigg: Stigg) -> dict[str, str]:
    """The grants that stand in Stigg, by key: of an earlier try, which may not have lived to record it, or of before
    the ledger was lost and restored.
    """
    sent: dict[str, str] = {}
    for resource_id in dict.fromkeys(grant.resource_id for grant in grants):
        # One list for each resource: without that filter Stigg leaves out the grants of resources.
        for standing_grant in stigg.list_grants(customer_id, resource_id):
            if key := (standing_grant.get("metadata") or {}).get(GRANT_KEY):
                sent.setdefault(key, standing_grant["id"])
    return sent


def make(
    work: Work, change: Change, records: dict[Slot, SlotRecord], execution: str, catalogue: Catalogue, stack: Stack
) -> SlotRecord:
    """Apply one change in Stigg. Out: what to remember of its slot."""
    if isinstance(change, End):
        return end(change, records, execution, from_milliseconds(stack.now()), stack.stigg)
    customer_id = work.customer.bound_id
    links = stack.settings.backlinks(work.customer.account_id)
    record = records.get(change.subscription.slot, SlotRecord())
    if not isinstance(change, Create):
        answer = stack.stigg.update_subscription(change.subscription_id, update_body(change, links))
        id, payment = change.subscription_id, payment_in(answer)
        return standing(record, change.subscription, id, answer["status"], payment)
    sold = catalogue.plan(change.subscription.plan_id)
    body = provision_body(customer_id, change, links, paid=sold is not None and sold.pricing_type == "PAID")
    try:
        answer = stack.stigg.provision_subscription(body, idempotency_key(execution, body["id"], body))
    except StiggRefused as refusal:
        if refusal.status != 409:
            raise
        # 409: the ID was used, by a try whose answer was lost or by somebody else. The next try reads what is there.
        stack.ledger.record_result(work, Interrupted(burned=(change.subscription.slot.key,)))
        raise WriteUnanswered("the subscription's ID was used before; looking again at what stands") from refusal
    # Else it is PAYMENT_REQUIRED: the subscription waits until somebody pays at the checkout.
    succeeded = answer["status"] == "SUCCESS"
    status = answer["subscription"]["status"] if succeeded else "PAYMENT_PENDING"
    payment = payment_in(answer["subscription"]) if succeeded else None
    made = replace(record, generation=change.generation, checkout_url=answer.get("checkoutUrl"))
    return standing(made, change.subscription, answer["id"], status, payment)


def end(change: End, records: dict[Slot, SlotRecord], execution: str, at: Instant, stigg: Stigg) -> SlotRecord:
    """End a subscription. at: now. Out: what to remember of its slot."""
    record = records.get(change.slot, SlotRecord())
    # A trial ends only once the paid subscription stands: a sale that waits for payment keeps it.
    ending = ending_of(change, records.get(change.after) if change.after else None, at)
    if ending is None:
        return record
    kind, body = end_call(ending)
    if kind == "update":
        answer = stigg.update_subscription(change.subscription_id, body)
    else:
        key = idempotency_key(execution, change.subscription_id, body)
        answer = stigg.cancel_subscription(change.subscription_id, body, key)
    return after_end(record, ending, answer["status"])


def note_kept(plan: Plan, records: dict[Slot, SlotRecord]) -> None:
    """Note in the records what stands as it should."""
    for keep in plan.kept:
        slot = keep.subscription.slot
        record = records.get(slot, SlotRecord())
        records[slot] = standing(record, keep.subscription, keep.subscription_id, keep.status, keep.payment)


def standing(
    record: SlotRecord, wanted: Subscription, subscription_id: SubscriptionId, status: str, payment: Payment | None
) -> SlotRecord:
    """The record of a subscription that is as it should be. Its checkout link is dropped once it is paid."""
    checkout_url = record.checkout_url if status == "PAYMENT_PENDING" else None
    return replace(
        record,
        made=True,
        subscription_id=subscription_id,
        status=status,
        checkout_url=checkout_url,
        payment=payment,
        applied=wanted,
    )


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    step = Step.of(event)
    work = stack.leases.acquire(step, context)
    if not isinstance(work, Work):
        return step.handing_on(None)
    try:
        # A write that could be cut off before its answer does not begin: the retry plans what is left (decision 40).
        with stack.leases.held(work), stack.governor.ending_in(context.get_remaining_time_in_millis()):
            report = bring_about(work, step.execution, stack)
            if report is not None:  # else the version is not applied, and the execution goes round again
                stack.ledger.record_result(work, report)
    except LeaseLost:
        logger.warning("the lease passed on", extra={"execution": step.execution})
        return step.handing_on(None)
    return step.handing_on(work)
