"""account_write_back: writes outcomes to Salesforce, to the account and to every opportunity that changed.

The last step of a provisioning, after success and after failure. It writes the ledger's current outcomes, not those
that this execution remembers, in one composite call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain import errors
from closedwon.domain.codes import Reason
from closedwon.domain.customer import Customer
from closedwon.domain.lease import Work
from closedwon.domain.results import Failed, LeaseLost, Written
from closedwon.provisioning.step import Step
from closedwon.salesforce.answers import error_of, records_of
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.package import NEWEST, InstalledPackage
from closedwon.salesforce.write_back import composite_request
from closedwon.stack import STACK, Stack
from closedwon.words.reasons import told

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

CAUSE_LENGTH = 32_768
"""The most characters of an execution's cause (FailureDetails in Step Functions' API reference)."""


class Taken(NamedTuple):
    """What Salesforce took: the marks of outcomes, by opportunity, and whether the account; and what it refused."""

    marks: dict[str, str]
    account: bool
    faults: list[errors.ClosedWonError]


def write(customer: Customer, salesforce: SalesforceClient, app_url: str, package: InstalledPackage) -> Taken:
    """Write what Salesforce does not show yet. app_url: where Stigg's application is.

    What is refused because the organisation's package is another by now is written once more, as that one shows it.
    """
    taken = _write_once(customer, customer.unwritten, salesforce, app_url, package)
    if not any(package.changed(fault, salesforce) for fault in taken.faults):
        return taken
    # Only what was refused is left.
    left = [id for id in customer.unwritten if id not in taken.marks]
    if taken.account:
        customer = replace(customer, account_written=customer.customer_id)
    again = _write_once(customer, left, salesforce, app_url, package)
    return Taken({**taken.marks, **again.marks}, taken.account or again.account, again.faults)


def _write_once(
    customer: Customer,
    opportunities: Sequence[str],
    salesforce: SalesforceClient,
    app_url: str,
    package: InstalledPackage,
) -> Taken:
    """Write the account, where it does not show its customer yet, and these opportunities' outcomes."""
    # The package is of no matter to an account.
    shows = package.current(salesforce) if opportunities else NEWEST
    # Nothing else is read in Salesforce first: the lease keeps others from writing, so the ledger knows what is shown
    # (decision 14).
    requests = composite_request(customer, opportunities, app_url, salesforce.data_path, shows)
    results = salesforce.composite([request for request, _ in requests]) if requests else []
    return _taken(customer, [carried for _, carried in requests], results)


def _taken(customer: Customer, carried: Sequence[Sequence[str]], results: Sequence[dict[str, Any]]) -> Taken:
    """What Salesforce took of a write. carried: the opportunities of each sub-request, none of the account's."""
    marks: dict[str, str] = {}
    account = False
    faults: list[errors.ClosedWonError] = []
    for opportunities, result in zip(carried, results, strict=True):
        if not opportunities:
            account = error_of(result) is None
        # A collection that was refused as a whole has no records: its answer is that of each.
        records = records_of(result) or [result] * len(opportunities)
        # Nobody knows then which records were written, so it counts as a write without an answer.
        if len(records) != len(opportunities):
            said = f"an answer for {len(records)} of {len(opportunities)} records"
            raise errors.WriteUnanswered(said, service="Salesforce", operation="write back")
        for id, record in zip(opportunities, records, strict=True):
            if error_of(record) is None:
                # The mark of what was sent: an outcome that the ledger has got meanwhile has another, and is still to
                # be written.
                marks[id] = customer.opportunities[id].mark(customer.shown_id)
        faults += [fault for answer in (records or [result]) if (fault := error_of(answer)) is not None]
    return Taken(marks, account, faults)


def write_back(work: Work, customer: Customer, failed: bool, stack: Stack) -> tuple[Customer, str]:
    """Write what Salesforce does not show yet, and record what it took.

    In: the work; its customer as it is now; whether the provisioning failed, so that the customer stays due.
    Out: the customer as it is then; ``done``, or ``again`` when something was accepted meanwhile.
    Raises the first error Salesforce answered, transient ones before permanent ones; what it took stays taken.
    """
    try:
        marks, account, faults = write(customer, stack.salesforce, stack.settings["STIGG_APP_URL"], stack.package)
    except errors.Permanent as refused:  # the request as a whole: the lease is given back all the same
        marks, account, faults = {}, False, [refused]
    # A transient one first: the retry it leads to writes what it can, and meets the permanent ones again.
    fault = min(faults, key=lambda fault: not isinstance(fault, errors.Transient), default=None)
    # No retry of this step helps against a permanent one: the lease is given back, and the sweep tries later.
    hopeless = fault is not None and not isinstance(fault, errors.Transient)
    customer, follows = stack.ledger.record_result(work, Written(marks, account, failed=failed or hopeless))
    # Only now, when it is recorded what Salesforce took: a retry sends only the rest.
    if fault is not None:
        raise fault
    return customer, follows


def reason_of(failure: dict[str, str], execution: str) -> Reason:
    """A failure as the deal's reason."""
    said = errors.failure_text(failure)
    return Reason.of(errors.code_of(failure.get("Error", "")), said=said, execution=execution)


def refusals_of(customer: Customer, written: list[str], execution: str) -> str:
    """Why deals of this execution are refused, for its cause; empty when none is.

    An execution's history is read by more people than the deal is: no e-mail address, which a customer's ID can be.
    """
    states = customer.opportunities
    ids = sorted(id for id, state in states.items() if id in written or state.execution == execution)
    refused = [f"{id}: {told(states[id].outcome)}" for id in ids if states[id].outcome.status == "Failed"]
    lines = [errors.safe_text(line) for reason in refused for line in reason.splitlines()]
    return "\n".join(lines)[:CAUSE_LENGTH]


HOUR = 3_600_000
"""The longest that a failed customer waits for its next try, in milliseconds."""


def count_failure(cause: str, said: str, step: Step, event: dict[str, Any], customer: Customer, stack: Stack) -> None:
    """Count a failure of the execution, and notify those who have to correct it. Never raises itself."""
    from closedwon.aws.notices import Failure  # only here: as a rule nothing fails

    metrics.note("Failures", Cause=cause)
    states = customer.opportunities.values()
    # Not those the mapping refused: sales mends them, and the notice is for engineering.
    waiting = sum(state.outcome.status == "Failed" and not state.order.problems for state in states)
    arn = event.get("executionArn", "")  # executions that began before there was one go on without
    failure = Failure(cause, said, step.execution, arn, waiting)
    try:
        if stack.notifier.notify(failure, lambda: stack.ledger.waiting(HOUR)):
            logger.info("notified", extra={"execution": step.execution, "cause": cause})
    except Exception:  # the deals' outcomes are written: a notice must not undo that
        logger.exception("notice not sent", extra={"execution": step.execution, "cause": cause})


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    step = Step.of(event)
    failure = event.get("failure")
    work = stack.leases.acquire(step, context)
    # Another execution has the customer, or everything is shown: who holds the lease writes the outcomes (decision 4).
    if not isinstance(work, Work):
        return step.handing_on(None, result="provisioned", cause="")
    customer = work.customer
    try:
        with stack.leases.held(work):
            if failure:
                # Recorded before it is written: if this step dies now, the next write-back shows the failure all the
                # same.
                customer, _ = stack.ledger.record_result(work, Failed(reason_of(failure, step.execution)))
            # Before they are written: afterwards nothing tells which deals this execution showed.
            written = customer.unwritten
            customer, follows = write_back(work, customer, failure is not None, stack)
    except LeaseLost:
        logger.warning("the lease passed on", extra={"execution": step.execution})
        return step.handing_on(None, result="provisioned", cause="")
    # Retried by its name (provision.asl.yaml): what passes by itself is not counted as a failure.
    except errors.Transient:
        raise
    except Exception as error:
        if failure:
            count_failure(failure["Error"], errors.failure_text(failure), step, event, customer, stack)
        # Only our own errors are written to be shown; the text of a bug may quote what it was working on.
        said = str(error) if isinstance(error, errors.ClosedWonError) else "An unexpected failure."
        count_failure(type(error).__name__, said, step, event, customer, stack)
        raise
    if failure:
        count_failure(failure["Error"], errors.failure_text(failure), step, event, customer, stack)
    cause = refusals_of(customer, written, step.execution)
    logger.info("written back", extra={"execution": step.execution, "opportunities": len(written), "follows": follows})
    result = "again" if follows == "again" else "refused" if cause else "provisioned"
    if result == "refused" and not failure:
        metrics.note("Failures", Cause="DealRefused")
    return step.handing_on(work if follows == "again" else None, result=result, cause=cause)
