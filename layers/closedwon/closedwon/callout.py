"""Taking deals: what the callout does with a request, from its body to an answer for each deal.

What is accepted is in the ledger before it is answered, and gets provisioned even if its execution cannot be started.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aws_lambda_powertools.logging import Logger
from pydantic import ValidationError

from closedwon.catalogue import Catalogue
from closedwon.customer import Acceptance, Arrival
from closedwon.deal import MOST_DEALS, Deal, LineError, Result, Results, problems_of
from closedwon.desired import same_product_problems
from closedwon.identifiers import normalised_id
from closedwon.ledger import AT_ONCE
from closedwon.mapping import compile_deal, revision_of, unrecordable
from closedwon.order import Problem
from closedwon.settings import mapping_rules
from closedwon.start import start
from closedwon.step import ledger

logger = Logger()


class RequestRefused(Exception):
    """The whole request is refused, with this message."""


def deals_of(body: str | None) -> list[Any]:
    """The deals of a request's body, not looked into yet. Raises RequestRefused."""
    try:
        content = json.loads(body or "")
    except (ValueError, RecursionError):
        raise RequestRefused("the body is not JSON") from None
    deals = content.get("deals") if isinstance(content, dict) else None
    if not isinstance(deals, list) or not deals:
        raise RequestRefused('the body must be {"deals": [...]} with at least one deal')
    if len(deals) > MOST_DEALS:
        raise RequestRefused(f"the body has {len(deals)} deals; one request takes at most {MOST_DEALS}")
    return deals


def accept(deals: list[Any]) -> Results:
    """Answer every deal; one that is invalid does not touch the others."""
    compiled, results = compile_all(deals)
    arrivals = judged_by_snapshot({index: found.arrival for index, found in compiled.items()})
    acceptances = dict(zip(arrivals, ledger().accept(list(arrivals.values())), strict=True))
    start_all((arrivals[index].order.account_id, acceptance) for index, acceptance in acceptances.items())
    results |= {index: result_of(acceptance) for index, acceptance in acceptances.items()}
    return Results(results=[results[index] for index in range(len(deals))])


class Compiled(NamedTuple):
    """A deal that can be recorded, as it was sent and as it arrives at the ledger."""

    deal: Deal
    arrival: Arrival


def compile_all(deals: list[Any]) -> tuple[dict[int, Compiled], dict[int, Result]]:
    """Judge and compile the deals of a request, as far as each shows itself; provisioning and previews do it alike.

    Out: by their place in the request, those that can be recorded, and the answers to the others.
    """
    compiled: dict[int, Compiled] = {}
    results: dict[int, Result] = {}
    now = datetime.now(UTC)
    for index, content in enumerate(deals):
        try:
            deal = Deal.model_validate(content)
        except ValidationError as error:
            results[index] = invalid(opportunity_id_of(content), problems_of(content, error))
            continue
        if problems := unrecordable(deal, mapping_rules(), now):
            results[index] = invalid(deal.opportunity.id, problems)
            continue
        compiled[index] = Compiled(deal, Arrival(compile_deal(deal, mapping_rules()), revision_of(deal)))
    return compiled, results


def judged_by_snapshot(arrivals: dict[int, Arrival]) -> dict[int, Arrival]:
    """Two plans of one product are answered at once where the kept catalogue shows them; else by the deal's status."""
    if all(len(arrival.order.of_kind("Plan")) < 2 for arrival in arrivals.values()):
        return arrivals
    snapshot = ledger().snapshot()
    if snapshot is None:
        return arrivals
    catalogue = Catalogue.from_json(snapshot)
    return {
        index: arrival._replace(order=arrival.order.refused(same_product_problems(arrival.order, catalogue)))
        for index, arrival in arrivals.items()
    }


def start_all(accepted: Iterable[tuple[str, Acceptance]]) -> None:
    """Start each execution once. One that cannot be started now is due in the ledger: the sweep starts it soon."""
    executions = {a.execution: account_id for account_id, a in accepted if a.start and a.execution}

    def start_one(execution: str) -> None:
        try:
            start()(execution, executions[execution])
        except Exception:
            logger.exception("not started; the sweep will", extra={"execution": execution})

    if len(executions) == 1:
        start_one(next(iter(executions)))
    elif executions:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(start_one, executions))


def result_of(acceptance: Acceptance) -> Result:
    return Result(
        opportunity_id=acceptance.opportunity_id,
        status=acceptance.status,
        execution=acceptance.execution,
        errors=errors_of(acceptance.problems),
    )


def invalid(opportunity_id: str | None, problems: Iterable[Problem]) -> Result:
    return Result(opportunity_id=opportunity_id, status="invalid", errors=errors_of(problems))


def errors_of(problems: Iterable[Problem]) -> list[LineError]:
    return [LineError(line=problem.line, field=problem.field, message=problem.message) for problem in problems]


def opportunity_id_of(content: Any) -> str | None:
    """The opportunity's ID in a deal that is not valid, so that its error can be told apart."""
    opportunity = content.get("opportunity") if isinstance(content, dict) else None
    id = opportunity.get("id") if isinstance(opportunity, dict) else None
    try:
        return normalised_id(id, "006") if isinstance(id, str) else None
    except ValueError:
        return None
