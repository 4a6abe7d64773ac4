"""resource_provision: asks the user's own application for accounts or workspaces, before anything is created in Stigg.

The first step of a provisioning where such an application is configured. It is asked once about each deal that begins
something; its answer, its refusal or its "not yet" is in the ledger before the next step begins, and concerns that one
deal only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.application import Application
from closedwon.domain.customer import OpportunityState
from closedwon.domain.errors import ApplicationAnswerInvalid, ApplicationRefused, ApplicationUnavailable
from closedwon.domain.lease import Work
from closedwon.domain.order import Order
from closedwon.domain.results import Prepared
from closedwon.own_application.bodies import idempotency_key, request_body
from closedwon.own_application.client import LONGEST, TIMEOUTS, NotYet, OwnApplication
from closedwon.provisioning.step import Step
from closedwon.provisioning.work import Provisioner
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

ONE_REQUEST = round(1000 * (sum(TIMEOUTS) + LONGEST + 2))
"""How long asking about one opportunity and recording the answer may take, in milliseconds."""


def prepare(work: Work, execution: str, context: Context, stack: Stack) -> None:
    """Ask about every deal that the application has to prepare; each answer is recorded at once.

    What there is no time left for stays unasked, and the next step sends the execution here again. Without an
    application there is nothing to ask, and nothing waits for it any more.
    Raises ApplicationUnavailable when some could not be asked: those are recorded too, and asked again by a retry.
    """
    application, now = stack.own_application, stack.now
    customer = work.customer
    # The ledger has to know, because deals that wait for the application count for nothing yet.
    if customer.asks != (application is not None):
        customer, _ = stack.ledger.record_result(work, Prepared({}, asks=application is not None))
    if application is None:
        return
    # The work is from before `asks` was recorded.
    waiting = [
        state for state in replace(work.customer, asks=True).unprepared.values() if is_due(state, execution, now())
    ]
    provisioner: Provisioner = stack.provisioner  # named here, so that a start imports it, not the first deal
    # Before the application is asked: a deal with a wrong plan must not leave a workspace behind.
    refused = provisioner.catalogue_refusals([state.order for state in waiting])
    unavailable: ApplicationUnavailable | None = None
    # Those never asked come first: one that hangs cannot keep the others from being asked.
    for place, state in enumerate(sorted(waiting, key=lambda state: state.application is not None)):
        # The first is asked in any case, so that each invocation gets on.
        if place and context.get_remaining_time_in_millis() < ONE_REQUEST:
            break
        id = state.order.opportunity_id
        before = state.application or Application(since=now())
        try:
            if id in refused:
                # No time to ask again: nothing changes until the deal or the catalogue is corrected.
                said = Application(before.since, problem="\n".join(str(problem) for problem in refused[id]))
            else:
                # Not the work's customer: the answer about one deal may have chosen the ID for those after it.
                customer_id = state.order.customer_id or customer.certain_id
                said = answer(application, stack.settings.organization_id, state.order, customer_id, before, now)
        except ApplicationUnavailable as error:
            unavailable = error
            said = before.failed(str(error), now(), unreached_by=execution)
        # After each answer, not after all: a step that dies must not ask again about what was answered.
        customer, _ = stack.ledger.record_result(work, Prepared({id: said}))
        logger.info("asked", extra={"execution": execution, "opportunity": id, "answered": said.answered})
    if unavailable is not None:
        raise unavailable


def is_due(state: OpportunityState, execution: str, now: int) -> bool:
    """Whether the application is to be asked now, in epoch milliseconds, about an opportunity it has not prepared."""
    return state.application is None or state.application.asks(execution, now)


def answer(
    application: OwnApplication,
    organization_id: str,
    order: Order,
    customer_id: str | None,
    before: Application,
    now: Callable[[], int],
) -> Application:
    """Ask about one opportunity.

    In: the application; the Salesforce organisation; the order; the customer's ID in Stigg, None while the application
    may choose it; what the application said before; now, in epoch milliseconds.
    Out: what is known of it then. Raises ApplicationUnavailable, and what reading the secret does.
    """
    body = request_body(order, organization_id, customer_id)
    try:
        said = application.ask(body, idempotency_key(organization_id, order.opportunity_id))
    # Recorded, not raised: it is about this deal alone, and the customer's others go on.
    except (ApplicationRefused, ApplicationAnswerInvalid) as error:
        return before.failed(str(error), now())
    if isinstance(said, NotYet):
        return Application(before.since, ask_again_at=said.ask_again_at)
    return Application(before.since, True, said.customer_id, said.resource_id, said.metadata)


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    step = Step.of(event)
    if stack.ledger.control().mode != "run":  # the next step says so
        return step.handing_on(None)
    work = stack.leases.acquire(step, context)
    if not isinstance(work, Work):
        return step.handing_on(None)
    if work.needs == "provision":
        with stack.leases.held(work):
            prepare(work, step.execution, context, stack)
    return step.handing_on(work)
