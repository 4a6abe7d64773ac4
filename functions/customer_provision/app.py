"""customer_provision: acquires the customer's lease, and makes sure the customer exists in Stigg, as its account says.

The first step of a provisioning. Where only Salesforce is behind, or nothing is due, it says so without a call to
Stigg. While the stack is paused it does nothing; in shadow mode it answers what it would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Slot
from closedwon.domain.due import only_looks
from closedwon.domain.lease import Work
from closedwon.domain.results import Ensured, Naming
from closedwon.provisioning.step import Step
from closedwon.provisioning.work import newest_contributing
from closedwon.stack import STACK, Stack
from closedwon.stigg.answers import currency_of
from closedwon.stigg.bodies import customer_body, customer_difference
from closedwon.stigg.client import idempotency_key

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

NOTHING = "nothing to provision"


class Reached(NamedTuple):
    """What became of the customer in Stigg. done: `NOTHING`, ``made``, ``changed``, ``unchanged``, or ``archived``, by
    somebody; what: as it is to be remembered.
    """

    done: str
    what: Ensured = Ensured()


def ensure_customer(work: Work, execution: str, stack: Stack) -> Reached:
    """Create the customer in Stigg, or change what differs. A customer whose every deal is refused is not created, and
    one that somebody archived is left as it is.

    Raises what `closedwon.stigg.client` does, and CustomerTaken.
    """
    customer = work.customer
    agreement = stack.provisioner.agreed(customer)
    newest = newest_contributing(customer, agreement.desired())
    if newest is None or customer.customer_id is None:
        return Reached(NOTHING)
    links = stack.settings.backlinks(customer.account_id)
    # Read for every deal, although the ledger knows that it exists: people change customers in Stigg, and a name or
    # a link that was removed is found this way.
    existing = stack.stigg.get_customer(customer.customer_id)
    # Before `Naming`: an ID that turns out to be another account's (CustomerTaken) must not become final.
    difference = customer_difference(existing, newest, links) if existing is not None else {}
    if existing is None and _was_archived(customer, stack):
        return Reached("archived", Ensured(archived=True))
    if customer.asks and not customer.named:  # from here on the user's own application cannot choose its ID any more
        stack.ledger.record_result(work, Naming())
    if existing is None:
        body = customer_body(customer.customer_id, newest, links, agreement.currency)
        stack.stigg.provision_customer(body, idempotency_key(execution, customer.customer_id, body))
        return Reached("made", Ensured(agreement.currency))
    # Where it has no currency, it is said with the first subscription that asks for money (`subscription_provision`).
    billed_in = Ensured(currency_of(existing))
    if not difference:
        return Reached("unchanged", billed_in)
    stack.stigg.update_customer(customer.customer_id, difference)
    return Reached("changed", billed_in)


def _was_archived(customer: Customer, stack: Stack) -> bool:
    """Whether somebody archived a customer that Stigg does not find."""
    # Archived, it answers like one that never was: made again, it would be another customer under the same ID.
    return customer.ensured and customer.customer_id is not None and stack.stigg.is_archived(customer.customer_id)


def is_known(customer: Customer, found: Ensured) -> bool:
    """Whether the ledger has of a customer what was found in Stigg."""
    currency = found.currency or customer.currency
    return customer.ensured and (customer.currency, customer.archived) == (currency, found.archived)


def would(account_id: str, stack: Stack) -> list[str]:
    """What provisioning would do for a customer now, in sentences; nothing is written. Raises what
    `closedwon.stigg.client` does.
    """
    from zoneinfo import ZoneInfo  # what only watching takes keeps no start waiting

    from closedwon.words.changes import Calendar, sentences

    # Without the lease: nothing is written in here, so others may go on meanwhile.
    customer = stack.ledger.customer(account_id)
    agreement = stack.provisioner.agreed(customer)
    newest = newest_contributing(customer, agreement.desired())
    id = customer.customer_id
    is_new = newest is not None and id is not None and stack.stigg.get_customer(id) is None
    if is_new and _was_archived(customer, stack):
        return [f"The customer {id} is archived in Stigg: nothing is done."]
    words = [f"Creates the customer {id} in Stigg."] if is_new else []
    applied = {Slot.of_key(key): record.applied for key, record in customer.slots.items() if record.applied}
    calendar = Calendar(ZoneInfo(stack.settings["TIME_ZONE"]))
    return [*words, *sentences(stack.provisioner.planned(customer, agreement).plan, applied, calendar)]


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    step = Step.of(event)
    # Read where an execution begins: what writes already is finished, and nothing new begins (decision 51).
    mode = stack.ledger.control().mode
    if mode == "pause":
        return step.handing_on(None, work="paused")
    if mode == "shadow":
        return step.handing_on(None, work="shadow", would=would(step.account_id, stack))
    work = stack.leases.acquire(step, context)
    if not isinstance(work, Work):
        logger.info("nothing to take", extra={"execution": step.execution, "found": type(work).__name__})
        return step.handing_on(None, work="none")
    if work.needs == "provision":
        if work.customer.unasked:  # arrived since the user's own application was asked
            return step.handing_on(work, work="ask")
        with stack.leases.held(work), stack.governor.ending_in(context.get_remaining_time_in_millis()):
            # Where Stigg is only looked at, what somebody did to the customer there stays as it is (decision 85).
            looks = only_looks(work.customer, stack.now())
            done, found = Reached(NOTHING) if looks else ensure_customer(work, step.execution, stack)
            if done != NOTHING and not is_known(work.customer, found):  # else the next step makes no subscription
                stack.ledger.record_result(work, found)
        logger.info(
            "customer",
            extra={"execution": step.execution, "account": step.account_id, "done": done},
        )
    return step.handing_on(work, work=work.needs)
