"""Taking deals: what the callout does with a request, from its body to an answer for each deal.

What is accepted is in the ledger before it is answered, and gets provisioned even if its execution cannot be started.
Deals that come without lines are read from Salesforce first, all in one go. One that brings its lines asks nobody, and
is taken while Salesforce is down.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aws_lambda_powertools.logging import Logger
from pydantic import BaseModel, ValidationError

from closedwon.aws.executions import start
from closedwon.aws.ledger import Claim, at_once
from closedwon.domain.customer import Acceptance, Arrival, rate_slots_for
from closedwon.domain.errors import Permanent, SalesforceLimitExceeded, Transient
from closedwon.domain.identifiers import normalised_id
from closedwon.domain.order import Order, Problem
from closedwon.intake.deal import MOST_DEALS, Deal, DealToRead, Refusal, Result, Results, errors_of, problems_of
from closedwon.intake.mapping import compile_deal, foreign, revision_of, unrecordable
from closedwon.provisioning.step import ledger
from closedwon.settings import mapping_rules
from closedwon.stigg.rate_limit import Booking, governor

logger = Logger()

CONTRACT = "800"
"""What the ID of every contract starts with."""


class RequestRefused(Exception):
    """The whole request is refused, with this message."""


class NotNow(Exception):
    """The whole request failed and nothing of it was recorded: it may be sent again after so many seconds."""

    def __init__(self, message: str, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds


def response(status: int, body: BaseModel, headers: Mapping[str, str] = {}) -> dict[str, Any]:
    """API Gateway's proxy response."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **headers},
        "body": body.model_dump_json(by_alias=True),
    }


def refusal(error: RequestRefused | NotNow) -> dict[str, Any]:
    """The response to a whole request that is refused, or is to be sent again later."""
    if isinstance(error, NotNow):
        return response(503, Refusal(message=str(error)), {"Retry-After": str(error.seconds)})
    return response(400, Refusal(message=str(error)))


def deals_of(body: str | None) -> list[Any]:
    """The deals of a request's body, not looked into yet. Raises RequestRefused."""
    return list_in(body, "deals", "deal")


def list_in(body: str | None, name: str, one: str) -> list[Any]:
    """The list of 1 to 200 that a request's body is about. Raises RequestRefused."""
    try:
        content = json.loads(body or "")
    except (ValueError, RecursionError):
        raise RequestRefused("the body is not JSON") from None
    given = content.get(name) if isinstance(content, dict) else None
    if not isinstance(given, list) or not given:
        raise RequestRefused(f'the body must be {{"{name}": [...]}} with at least one {one}')
    if len(given) > MOST_DEALS:
        raise RequestRefused(f"the body has {len(given)} {name}; one request takes at most {MOST_DEALS}")
    return given


def accept(deals: list[Any]) -> Results:
    """Answer every deal; one that is invalid does not touch the others. While the stack is paused, nothing is started:
    the sweep does it once the stack runs again.

    Raises NotNow when deals have to be read from Salesforce and it does not answer.
    """
    return _accept(deals, starts=ledger().control().mode != "pause")


def record(deals: list[Any]) -> Results:
    """As `accept`, but nothing is started and no rate slot taken: the sweep does both, after the callouts."""
    return _accept(deals, starts=False)


def _accept(deals: list[Any], starts: bool) -> Results:
    found, results = compile_all(deals)
    arrivals = judged_by_snapshot({index: one.arrival for index, one in found.items()})
    booking = rate_slots_of(arrivals.values()) if starts else None
    rate_slots = booking.starts if booking else {}
    acceptances = dict(zip(arrivals, ledger().accept(list(arrivals.values()), rate_slots, starts), strict=True))
    if booking is not None:
        answers = [(arrivals[index].order.account_id, one) for index, one in acceptances.items()]
        give_back(booking, answers)
        start_all(rate_slots, answers)
    results |= {index: result_of(acceptance) for index, acceptance in acceptances.items()}
    return Results(results=[results[index] for index in range(len(deals))])


def rate_slots_of(arrivals: Iterable[Arrival]) -> Booking:
    """Reserve the rate slots of executions: when that of each account may begin. See `customer.rate_slots_for`."""
    orders: dict[str, list[Order]] = {}
    for order, _ in arrivals:
        orders.setdefault(order.account_id, []).append(order)
    return governor().book({account_id: rate_slots_for(some) for account_id, some in sorted(orders.items())})


def give_back(booking: Booking, answers: Iterable[tuple[str, Acceptance]]) -> None:
    """Give back the rate slots of accounts for which nothing new came: a callout that is sent twice, because its
    answer was lost, must not keep others waiting twice. What it starts again runs already; where it does not, its
    writes reserve their own rate slots.
    """
    used = {account_id for account_id, one in answers if one.start and one.status != "duplicate"}
    try:
        governor().give_back(booking, used)
    except Exception:  # what was accepted is to be started and answered
        logger.exception("rate slots not given back")


class Compiled(NamedTuple):
    """A deal that can be recorded, as it was sent (or read) and as it arrives at the ledger."""

    deal: Deal
    arrival: Arrival


def compile_all(deals: list[Any]) -> tuple[dict[int, Compiled], dict[int, Result]]:
    """Read, judge and compile the deals of a request, as far as each shows itself; provisioning and previews do it
    alike.

    Out: by their place in the request, those that can be recorded, and the answers to the others.
    Raises NotNow when deals have to be read from Salesforce and it does not answer.
    """
    without_lines = {
        index for index, content in enumerate(deals) if isinstance(content, dict) and not content.get("lines")
    }
    whole, results = in_full(deals)
    valid = {}
    for index, content in enumerate(whole):
        if index not in results:
            found = valid_deal(content)
            if isinstance(found, Result):
                results[index] = found
            else:
                valid[index] = found
    valid |= naming_opportunities({index: deal for index, deal in valid.items() if index in without_lines})
    return {index: compiled(deal) for index, deal in sorted(valid.items())}, results


def valid_deal(content: Any) -> Deal | Result:
    """A whole deal that can be recorded, or the answer to one that cannot."""
    try:
        deal = Deal.model_validate(content)
    except ValidationError as error:
        return invalid(opportunity_id_of(content), problems_of(content, error))
    if problems := unrecordable(deal, mapping_rules(), datetime.now(UTC)):
        return invalid(deal.opportunity.id, problems)
    return deal


def compiled(deal: Deal) -> Compiled:
    """A deal as it arrives at the ledger."""
    return Compiled(deal, Arrival(compile_deal(deal, mapping_rules()), revision_of(deal)))


def in_full(deals: list[Any]) -> tuple[list[Any], dict[int, Result]]:
    """Read from Salesforce what comes without lines; a cancellation without lines is whole: it ends all there is. Which
    opportunity the contract that it names was made from is looked up later, with all others (`naming_opportunities`).

    Out: the deals in their order, as if they had been sent whole; the answers to those that cannot be read.
    """
    results: dict[int, Result] = {}
    to_read: dict[int, dict[str, Any]] = {}
    for index, content in enumerate(deals):
        if (
            not isinstance(content, dict)
            or content.get("lines") is not None
            or content.get("trigger") == "cancellation"
        ):
            continue
        try:
            deal = DealToRead.model_validate(content)
        except ValidationError as error:
            results[index] = invalid(opportunity_id_of(content), problems_of(content, error))
            continue
        if problems := foreign(deal, mapping_rules()):
            results[index] = invalid(deal.opportunity.id, problems)
            continue
        to_read[index] = deal.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    whole = list(deals)
    for index, answer in read_from_salesforce(to_read).items():
        if isinstance(answer, Problem):
            results[index] = invalid(to_read[index]["opportunity"]["id"], [answer])
        else:
            whole[index] = answer
    return whole, results


def read_from_salesforce(deals: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any] | Problem]:
    """Each deal as Salesforce has it, or why it cannot be read. Raises NotNow."""
    if not deals:
        return {}
    from closedwon.salesforce import reading  # with all it takes to ask: most requests bring their lines

    with asking_salesforce():
        return dict(zip(deals, reading.read(list(deals.values()), reading.salesforce()), strict=True))


def naming_opportunities(deals: Mapping[int, Deal]) -> dict[int, Deal]:
    """Let deals that name a contract name the opportunity it was made from, where CPQ knows that.

    The ledger knows a base deal by its opportunity. Its contract is made later, and in the ledger only where the deal
    was sent once more since. What cannot be found out stays as it was said: the chain finds a contract it was told of,
    and holds what names another.

    In: deals that came without lines. Out: those that name another now.
    Raises NotNow: the order must not depend on whether Salesforce was there, for the order is the deal's identity.
    """
    named = {index: deal.amends for index, deal in deals.items() if deal.amends and deal.amends.startswith(CONTRACT)}
    if not named:
        return {}
    from closedwon.salesforce import reading

    try:
        with asking_salesforce():
            opportunities = reading.opportunities_of(named.values(), reading.salesforce())
    except Permanent as error:
        logger.info("contracts could not be read", extra={"error": str(error)})
        return {}
    return {
        index: naming(deals[index], opportunities[contract])
        for index, contract in named.items()
        if contract in opportunities
    }


def naming(deal: Deal, opportunity_id: str) -> Deal:
    """The same deal, with the contract's opportunity in place of the contract."""
    terms = deal.terms
    if deal.trigger == "cancellation" and not (terms.end or terms.cancel):
        # Said outright: where it is the deal's own opportunity, nothing else would tell that a contract ends.
        terms = terms.model_copy(update={"cancel": "end_of_term"})
    elif deal.trigger != "cancellation" and opportunity_id == deal.opportunity.id:
        return deal
    return deal.model_copy(update={"amends": opportunity_id, "terms": terms})


@contextmanager
def asking_salesforce() -> Iterator[None]:
    """Asking Salesforce; what passes by itself becomes NotNow."""
    try:
        yield
    except (Transient, SalesforceLimitExceeded) as error:
        logger.warning("Salesforce could not be read", extra={"error": str(error)})
        message = (
            f"the deals could not be read from Salesforce ({error.message}). Nothing was recorded; send them again"
        )
        raise NotNow(message, 3600 if isinstance(error, SalesforceLimitExceeded) else 60) from None


def judged_by_snapshot(arrivals: dict[int, Arrival]) -> dict[int, Arrival]:
    """Two plans of one product are answered at once where the kept catalogue shows them; else by the deal's status."""
    if all(len(arrival.order.of_kind("Plan")) < 2 for arrival in arrivals.values()):
        return arrivals
    from closedwon.domain.catalogue import Catalogue
    from closedwon.domain.desired import same_product_problems  # with all of the fold

    catalogue = Catalogue.kept(ledger().snapshot())
    if catalogue is None:
        return arrivals
    return {
        index: arrival._replace(order=arrival.order.refused(same_product_problems(arrival.order, catalogue)))
        for index, arrival in arrivals.items()
    }


def start_all(rate_slots: Mapping[str, int], accepted: Iterable[tuple[str, Acceptance]]) -> None:
    """Start each execution once, for its account's rate slot."""
    wanted = {a.execution: account_id for account_id, a in accepted if a.start and a.execution}
    start_each([Claim(account_id, execution, rate_slots[account_id]) for execution, account_id in wanted.items()])


def start_each(claims: Collection[Claim]) -> None:
    """Start executions. One that cannot be started now is due in the ledger: the sweep starts it soon."""

    def start_one(claim: Claim) -> None:
        try:
            start()(claim)
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


def invalid(opportunity_id: str | None, problems: Iterable[Problem]) -> Result:
    return Result(opportunity_id=opportunity_id, status="invalid", errors=errors_of(problems))


def opportunity_id_of(content: Any) -> str | None:
    """The opportunity's ID in a deal that is not valid, so that its error can be told apart."""
    opportunity = content.get("opportunity") if isinstance(content, dict) else None
    id = opportunity.get("id") if isinstance(opportunity, dict) else None
    try:
        return normalised_id(id, "006") if isinstance(id, str) else None
    except ValueError:
        return None
