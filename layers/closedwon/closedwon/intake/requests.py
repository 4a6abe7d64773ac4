"""Requests: from a body to deals, and from deals to orders that can be recorded.

Deals that come without lines are read from Salesforce first, all in one go. One that brings its lines asks nobody, and
is taken while Salesforce is down.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_lambda_powertools.logging import Logger
from pydantic import ValidationError

from closedwon.domain.acceptance import Arrival
from closedwon.domain.errors import Permanent, SalesforceLimitExceeded, Transient
from closedwon.domain.identifiers import normalised_id
from closedwon.domain.instants import Instant, from_milliseconds
from closedwon.domain.order import Problem
from closedwon.intake.answers import Refusal, Result, invalid, response
from closedwon.intake.deal import MOST_DEALS, Deal, DealToRead, problems_of
from closedwon.intake.mapping import MappingRules, compile_deal, organization_problems, revision_of, unrecordable

if TYPE_CHECKING:
    from closedwon.salesforce.lookups import Source

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


def refusal(error: RequestRefused | NotNow) -> dict[str, Any]:
    """The response to a whole request that is refused, or is to be sent again later."""
    # Nothing is lost by it: the fault path of the flow records what could not be sent (decision 19).
    if isinstance(error, NotNow):
        return response(503, Refusal(message=str(error)), {"Retry-After": str(error.seconds)})
    return response(400, Refusal(message=str(error)))


def deals_of(body: str | None) -> list[Any]:
    """The deals of a request's body, not looked into yet. Raises RequestRefused."""
    return list_in(body, "deals", "deal")


def list_in(body: str | None, name: str, one: str) -> list[Any]:
    """The list of 1 to 200 that a request's body is about. Raises RequestRefused."""
    try:
        # API Gateway gives null where a request has no body.
        content = json.loads(body or "")
    except (ValueError, RecursionError):
        raise RequestRefused("the body is not JSON") from None
    given = content.get(name) if isinstance(content, dict) else None
    if not isinstance(given, list) or not given:
        raise RequestRefused(f'the body must be {{"{name}": [...]}} with at least one {one}')
    if len(given) > MOST_DEALS:
        raise RequestRefused(f"the body has {len(given)} {name}; one request takes at most {MOST_DEALS}")
    return given


class Compiled(NamedTuple):
    """A deal that can be recorded, as it was sent (or read) and as it arrives at the ledger."""

    deal: Deal
    arrival: Arrival


class Intake:
    """Turns what a request says into deals that can be recorded, the same for provisioning and previews.

    In: the stack's rules of mapping; what gives the client of Salesforce, asked once there is something to read; now,
    in epoch milliseconds.
    """

    def __init__(self, rules: MappingRules, salesforce: Callable[[], Source], now: Callable[[], int]) -> None:
        self._rules = rules
        self._salesforce = salesforce
        self._now = now

    @property
    def organization_id(self) -> str:
        """The Salesforce organisation whose deals are taken."""
        return self._rules.organization_id

    def now(self) -> Instant:
        """Now, by the stack's clock."""
        return from_milliseconds(self._now())

    def compile_all(self, deals: list[Any]) -> tuple[dict[int, Compiled], dict[int, Result]]:
        """Read, judge and compile the deals of a request, as far as each shows itself; provisioning and previews do it
        alike.

        Out: by their place in the request, those that can be recorded, and the answers to the others.
        Raises NotNow when deals have to be read from Salesforce and it does not answer.
        """
        # Before anything is read: a deal that brought its lines never waits for Salesforce (decision 37).
        without_lines = {
            index for index, content in enumerate(deals) if isinstance(content, dict) and not content.get("lines")
        }
        whole, results = self.in_full(deals)
        valid = {}
        for index, content in enumerate(whole):
            if index not in results:
                found = self.valid_deal(content)
                if isinstance(found, Result):
                    results[index] = found
                else:
                    valid[index] = found
        valid |= self.naming_opportunities({index: deal for index, deal in valid.items() if index in without_lines})
        return {index: self.compiled(deal) for index, deal in sorted(valid.items())}, results

    def valid_deal(self, content: Any) -> Deal | Result:
        """A whole deal that can be recorded, or the answer to one that cannot."""
        try:
            deal = Deal.model_validate(content)
        except ValidationError as error:
            return invalid(opportunity_id_of(content), problems_of(content, error))
        # Answered only, while what the mapping refuses is recorded and keeps older revisions superseded (decision 6).
        if problems := unrecordable(deal, self._rules, self.now()):
            return invalid(deal.opportunity.id, problems)
        return deal

    def compiled(self, deal: Deal) -> Compiled:
        """A deal as it arrives at the ledger."""
        return Compiled(deal, Arrival(compile_deal(deal, self._rules), revision_of(deal)))

    def in_full(self, deals: list[Any]) -> tuple[list[Any], dict[int, Result]]:
        """Read from Salesforce what comes without lines; a cancellation without lines is whole: it ends all there is.
        Which opportunity the contract that it names was made from is looked up later, with all others
        (`naming_opportunities`).

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
            # Before Salesforce is asked: another organisation's ID may name a record here too (a sandbox is a copy).
            if problems := organization_problems(deal, self._rules):
                results[index] = invalid(deal.opportunity.id, problems)
                continue
            # Only what was said: a default or a null would stand instead of what is read (`deal_of`).
            to_read[index] = deal.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        whole = list(deals)
        for index, answer in self.read_from_salesforce(to_read).items():
            if isinstance(answer, Problem):
                results[index] = invalid(to_read[index]["opportunity"]["id"], [answer])
            else:
                whole[index] = answer
        return whole, results

    def read_from_salesforce(self, deals: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any] | Problem]:
        """Each deal as Salesforce has it, or why it cannot be read. Raises NotNow."""
        if not deals:
            return {}
        from closedwon.salesforce import reading  # with all it takes to ask: most requests bring their lines

        with asking_salesforce():
            # Before anything is read: what changes meanwhile makes a later revision.
            read_at = self.now()
            return dict(zip(deals, reading.read(list(deals.values()), self._salesforce(), read_at), strict=True))

    def naming_opportunities(self, deals: Mapping[int, Deal]) -> dict[int, Deal]:
        """Let deals that name a contract name the opportunity it was made from, where CPQ knows that.

        The ledger knows a base deal by its opportunity. Its contract is made later, and in the ledger only where the
        deal was sent once more since. What cannot be found out stays as it was said: the contract model finds a
        contract it was told of, and holds what names another.

        In: deals that came without lines. Out: those that name another now.
        Raises NotNow: the order must not depend on whether Salesforce was there, for the order is the deal's identity.
        """
        named = [name for deal in deals.values() for name in deal.amends if name.startswith(CONTRACT)]
        if not named:
            return {}
        from closedwon.salesforce import reading

        try:
            with asking_salesforce():
                opportunities = reading.opportunities_of(named, self._salesforce())
        # Without CPQ, or without the permission to see it, the deal keeps the contract that it named (decision 37).
        except Permanent as error:
            logger.info("contracts could not be read", extra={"error": str(error)})
            return {}
        return {
            index: naming(deal, opportunities)
            for index, deal in deals.items()
            if any(name in opportunities for name in deal.amends)
        }


def naming(deal: Deal, opportunities: Mapping[str, str]) -> Deal:
    """The same deal, with the opportunities of contracts in place of the contracts. In: opportunities by contract."""
    terms = deal.terms
    if deal.trigger == "cancellation" and not (terms.end or terms.cancel):
        # Said outright: where it is the deal's own opportunity, nothing else would tell that a contract ends.
        terms = terms.model_copy(update={"cancel": "end_of_term"})
    # Its own contract: no deal amends or renews itself, so it stays as it was said.
    elif deal.trigger != "cancellation":
        opportunities = {name: one for name, one in opportunities.items() if one != deal.opportunity.id}
    amends = tuple(dict.fromkeys(opportunities.get(name, name) for name in deal.amends))
    return deal.model_copy(update={"amends": amends, "terms": terms})


@contextmanager
def asking_salesforce() -> Iterator[None]:
    """Asking Salesforce; what passes by itself becomes NotNow."""
    try:
        yield
    # The limit is permanent to an execution, but within a day it passes: the caller may try again in an hour.
    except (Transient, SalesforceLimitExceeded) as error:
        logger.warning("Salesforce could not be read", extra={"error": str(error)})
        message = (
            f"the deals could not be read from Salesforce ({error.message}). Nothing was recorded; send them again"
        )
        raise NotNow(message, 3600 if isinstance(error, SalesforceLimitExceeded) else 60) from None


def opportunity_id_of(content: Any) -> str | None:
    """The opportunity's ID in a deal that is not valid, so that its error can be told apart."""
    opportunity = content.get("opportunity") if isinstance(content, dict) else None
    id = opportunity.get("id") if isinstance(opportunity, dict) else None
    try:
        return normalised_id(id, "006") if isinstance(id, str) else None
    except ValueError:
        return None
