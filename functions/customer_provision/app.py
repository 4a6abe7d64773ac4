"""customer_provision: takes the customer's work and makes sure the customer exists in Stigg, as its account says.

The first step of a provisioning. Where only Salesforce is behind, or nothing is due, it says so and Stigg is not
asked. While the stack is paused it takes nothing; while it only watches (shadow), it tells what it would do.
"""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.customer import Ensured, Naming, Work
from closedwon.domain.desired import Slot
from closedwon.provisioning.step import Step, acquire_lease, held, ledger
from closedwon.provisioning.work import desired_of, newest_contributing, planned, stigg
from closedwon.settings import backlinks, policy
from closedwon.stigg.bodies import customer_body, customer_difference
from closedwon.stigg.client import idempotency_key
from closedwon.stigg.rate_limit import governor

logger = Logger()

NOTHING = "nothing to provision"


def ensure_customer(work: Work, execution: str) -> str:
    """Make the customer, or change what differs; a customer whose every deal is refused is not made.

    Out: what was done: `NOTHING`, ``made``, ``changed`` or ``unchanged``.
    Raises what `closedwon.stigg.client` does, and CustomerTaken.
    """
    customer = work.customer
    desired, _ = desired_of(customer)
    newest = newest_contributing(customer, desired)
    if newest is None or customer.customer_id is None:
        return NOTHING
    links = backlinks(customer.account_id)
    existing = stigg().get_customer(customer.customer_id)
    difference = customer_difference(existing, newest, links) if existing is not None else {}
    if customer.asks and not customer.named:  # from here on the user's own application cannot choose its ID any more
        ledger().record_result(work, Naming())
    if existing is None:
        body = customer_body(customer.customer_id, newest, links)
        stigg().provision_customer(body, idempotency_key(execution, customer.customer_id, body))
        return "made"
    if not difference:
        return "unchanged"
    stigg().update_customer(customer.customer_id, difference)
    return "changed"


def would(account_id: str) -> list[str]:
    """What provisioning would do for a customer now, in sentences; nothing is written. Raises what
    `closedwon.stigg.client` does.
    """
    from zoneinfo import ZoneInfo  # what only watching takes keeps no start waiting

    from closedwon.words.changes import Calendar, sentences

    customer = ledger().customer(account_id)
    desired, catalogue = desired_of(customer)
    newest = newest_contributing(customer, desired)
    words = []
    if newest is not None and customer.customer_id is not None and stigg().get_customer(customer.customer_id) is None:
        words = [f"Creates the customer {customer.customer_id} in Stigg."]
    applied = {Slot.of_key(key): record.applied for key, record in customer.slots.items() if record.applied}
    calendar = Calendar(ZoneInfo(policy().time_zone))
    return [*words, *sentences(planned(customer, desired, catalogue), applied, calendar)]


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    step = Step.of(event)
    mode = ledger().control().mode
    if mode == "pause":
        return step.handing_on(None, work="paused")
    if mode == "shadow":
        return step.handing_on(None, work="shadow", would=would(step.account_id))
    work = acquire_lease(step, context)
    if not isinstance(work, Work):
        logger.info("nothing to take", extra={"execution": step.execution, "found": type(work).__name__})
        return step.handing_on(None, work="none")
    if work.needs == "provision":
        if work.customer.unasked:  # arrived since the user's own application was asked
            return step.handing_on(work, work="ask")
        with held(work), governor().ending_in(context.get_remaining_time_in_millis()):
            done = ensure_customer(work, step.execution)
            if done != NOTHING and not work.customer.ensured:  # else the next step makes no subscription
                ledger().record_result(work, Ensured())
        logger.info(
            "customer",
            extra={"execution": step.execution, "account": step.account_id, "done": done},
        )
    return step.handing_on(work, work=work.needs)
