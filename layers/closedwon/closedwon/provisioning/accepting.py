"""Accepting deals: each is in the ledger before it is answered, and its execution is started.

What was accepted gets provisioned even if its execution cannot be started now: the sweep does it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws.executions import Start
from closedwon.aws.ledger import Claim, Ledger, at_once
from closedwon.domain.acceptance import Acceptance, Arrival
from closedwon.domain.due import rate_slots_for
from closedwon.domain.order import Order
from closedwon.intake.answers import Result, Results, errors_of
from closedwon.intake.requests import Intake
from closedwon.stigg.rate_limit import Booking, Governor

logger = Logger()


def accept(deals: list[Any], intake: Intake, ledger: Ledger, governor: Governor, start: Start) -> Results:
    """Answer every deal; one that is invalid does not touch the others. While the stack is paused, nothing is started:
    the sweep does it once the stack runs again.

    Raises NotNow when deals have to be read from Salesforce and it does not answer.
    """
    # In shadow mode executions are started: each deal has one that says what it would do (decision 51).
    if ledger.control().mode == "pause":
        return record(deals, intake, ledger)
    arrivals, results = _checked(deals, intake, ledger)
    # Before accepting: the due time that is recorded lies after the rate slot, or the sweep would start it again
    # (decision 40).
    booking = rate_slots_of(arrivals.values(), governor)
    acceptances = ledger.accept(list(arrivals.values()), booking.starts, starts=True)
    accounts = [arrival.order.account_id for arrival in arrivals.values()]
    answers = list(zip(accounts, acceptances, strict=True))
    give_back(booking, answers, governor)
    start_all(booking.starts, answers, start)
    return _answered(results, arrivals, acceptances)


def record(deals: list[Any], intake: Intake, ledger: Ledger) -> Results:
    """As `accept`, but nothing is started and no rate slot taken: the sweep does both, after the callouts."""
    arrivals, results = _checked(deals, intake, ledger)
    return _answered(results, arrivals, ledger.accept(list(arrivals.values()), starts=False))


def _checked(deals: list[Any], intake: Intake, ledger: Ledger) -> tuple[dict[int, Arrival], dict[int, Result]]:
    """By their place in the request: what arrives at the ledger, and the answers to the others."""
    found, results = intake.compile_all(deals)
    return checked_by_snapshot({index: one.arrival for index, one in found.items()}, ledger), results


def _answered(results: dict[int, Result], arrivals: Iterable[int], acceptances: Iterable[Acceptance]) -> Results:
    """All answers, in the order of the request's deals."""
    answers = results | {index: result_of(one) for index, one in zip(arrivals, acceptances, strict=True)}
    return Results(results=[answers[index] for index in sorted(answers)])


def rate_slots_of(arrivals: Iterable[Arrival], governor: Governor) -> Booking:
    """Reserve the rate slots of executions: when that of each account may begin. See `due.rate_slots_for`."""
    orders: dict[str, list[Order]] = {}
    for order, _ in arrivals:
        orders.setdefault(order.account_id, []).append(order)
    return governor.book({account_id: rate_slots_for(some) for account_id, some in sorted(orders.items())})


def give_back(booking: Booking, answers: Iterable[tuple[str, Acceptance]], governor: Governor) -> None:
    """Give back the rate slots of accounts for which nothing new came: a callout that is sent twice, because its
    answer was lost, must not keep others waiting twice. What it starts again runs already; where it does not, its
    writes reserve their own rate slots.
    """
    used = {account_id for account_id, one in answers if one.start and one.status != "duplicate"}
    try:
        governor.give_back(booking, used)
    except Exception:  # what was accepted is to be started and answered
        logger.exception("rate slots not given back")


def checked_by_snapshot(arrivals: dict[int, Arrival], ledger: Ledger) -> dict[int, Arrival]:
    """Two plans of one product are answered at once where the kept catalogue shows them; else by the deal's status."""
    # As a rule: then neither the snapshot is read nor the contract model imported.
    if all(len(arrival.order.of_kind("Plan")) < 2 for arrival in arrivals.values()):
        return arrivals
    from closedwon.domain.catalogue import Catalogue
    from closedwon.domain.on_offer import same_product_problems  # with all of the catalogue's rules

    # Only what is kept: accepting never waits for Stigg, so that deals are taken while Stigg is down.
    catalogue = Catalogue.kept(ledger.snapshot())
    if catalogue is None:
        return arrivals
    return {
        index: arrival._replace(order=arrival.order.refused(same_product_problems(arrival.order, catalogue)))
        for index, arrival in arrivals.items()
    }


def start_all(rate_slots: Mapping[str, int], accepted: Iterable[tuple[str, Acceptance]], start: Start) -> None:
    """Start each execution once, for its account's rate slot."""
    # Deals of one account that were accepted together share an execution.
    wanted = {a.execution: account_id for account_id, a in accepted if a.start and a.execution}
    claims = [Claim(account_id, execution, rate_slots[account_id]) for execution, account_id in wanted.items()]
    start_each(claims, start)


def start_each(claims: Collection[Claim], start: Start) -> None:
    """Start executions. One that cannot be started now is due in the ledger: the sweep starts it soon."""

    def start_one(claim: Claim) -> None:
        try:
            start(claim)
        except Exception:
            logger.exception("not started; the sweep will", extra={"execution": claim.execution})

    at_once(start_one, claims)


def result_of(acceptance: Acceptance) -> Result:
    return Result(
        opportunity_id=acceptance.opportunity_id,
        status=acceptance.status,
        execution=acceptance.execution,
        errors=errors_of(acceptance.problems),
    )
