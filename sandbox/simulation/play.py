"""Plays a story: its deals go through the functions as they are, and time passes from one moment that matters to the
next, in the ledger and in Stigg.
"""

from __future__ import annotations

import io
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

from closedwon.domain.codes import NO_FACTS
from closedwon.domain.customer import Customer
from closedwon.domain.identifiers import normalised_id
from closedwon.domain.instants import milliseconds
from closedwon.intake.answers import Result
from closedwon.salesforce.package import NEWEST
from sandbox.clock import Clock
from sandbox.machine import STIGG_URL, Machine
from sandbox.settings import ParameterRefused, settings_of
from sandbox.simulation.looks import Json, Seen, look_of
from sandbox.simulation.story import Event, Story, StoryInvalid
from sandbox.stigg.app import Stigg
from sandbox.wsgi_session import session_to

SET_HERE = frozenset(
    {"SalesforceUrl", "SalesforceOrganizationId", "StiggApiUrl", "StiggAppUrl", "OwnApplicationUrl"},
)
"""Parameters that connect a stack. A story has nothing to connect it to."""

MOST_WAKES = 2_000
"""How often something may happen between two events before a story counts as one that never rests."""


class NeverRests(Exception):
    """Something is due again and again, and each time something changes: a fault of the product, not of the story."""


@dataclass
class Play:
    """A story as it is played. watch: told what is seen whenever something may have changed, by events or by itself."""

    story: Story
    watch: Callable[[Seen], None] | None = None
    looks: list[Json] = field(default_factory=list, init=False)
    """One look for each event that is over; see the story format."""
    summaries: dict[int, list[str]] = field(default_factory=dict, init=False)
    """What previews say would be done, in sentences, by the event's number."""

    def __post_init__(self) -> None:
        self.clock = Clock(self.story.events[0].moment)
        key = f"server-{secrets.token_hex(16)}"
        self.stigg = Stigg(key, rate_limits=False, now=self.clock.moment)
        settings = {**_settings(self.story), "STIGG_APP_URL": f"{STIGG_URL}/{self.stigg.environment}"}
        salesforce = Organization()
        self.machine = Machine(settings, session_to(self.stigg), key, salesforce, salesforce, self.clock)
        self.machine.ledger.keep_package(NEWEST.to_json())  # a story's organisation has all that the product shows
        self._accounts: list[str] = []
        self._resting: dict[str, int | None] = {}  # accounts that are looked at in vain; when not any more

    def run(self) -> list[Json]:
        """Play all events. Out: a look for each. Raises StoryInvalid for a deal that cannot be recorded; NeverRests."""
        with quiet():
            for event in self.story.events:
                self._pass_until(event.moment)
                more = self._happens(event)
                self._pass_until(event.moment)
                seen = self.seen()
                self.looks.append({"at": event.at, **look_of(seen), **more})
        return self.looks

    def run_on(self, until: int) -> None:
        """Let time pass after the last event for as long as something is to come, at most until then (epoch ms)."""
        with quiet():
            self._pass_until(until, wait=False)

    def seen(self) -> Seen:
        """What stands in Stigg, and what each deal says, now."""
        states = {
            id: self.machine.status(id).json()
            for account in self._accounts
            for id in self.machine.ledger.customer(account).opportunities
        }
        grants = [grant for id in self.stigg.customers for grant in self.stigg.grants(id)]
        return Seen(self.clock(), self.stigg.subscriptions(), states, grants)

    # Events

    def _happens(self, event: Event) -> Json:
        """Let an event happen. Out: what its look says of it."""
        self._resting.clear()
        match event.kind:
            case "deals":
                self._admit(event)
                self.machine.call(*event.content)
            case "preview":
                self._admit(event)
                results = self.machine.post({"deals": event.content}, "/v1/previews").json()["results"]
                self.summaries[event.number] = [sentence for result in results for sentence in result["summary"]]
                return previewed(results)
            case "approve":
                return self._approve(normalised_id(event.content, "006"))
        self.machine.wait_until_idle()
        self._tell()
        return {}

    def _admit(self, event: Event) -> None:
        """Judge an event's deals, and let their customers exist in Stigg. Raises StoryInvalid for a deal that the
        callout would not even record.
        """
        # A story has one organisation: that of its first deal.
        intake = self.machine.stack.intake
        compiled, refused = intake.compile_all(event.content)
        for index, result in sorted(refused.items()):
            raise _fault(event, index, result)
        for _, found in sorted(compiled.items()):
            order = found.arrival.order
            if order.account_id not in self._accounts:
                self._accounts.append(order.account_id)
                links = self.machine.stack.settings.backlinks(order.account_id)
                self._exists(order.customer_id or order.account_id, order.account_name, links.of_customer())
            if (payer := found.deal.terms.paying_customer_id) is not None:
                self._exists(payer, payer, {})

    def _exists(self, customer_id: str, name: str, metadata: Mapping[str, str]) -> None:
        """A customer is in Stigg, with a payment method."""
        if customer_id not in self.stigg.customers:
            self.stigg.add_customer(customer_id, name=name, metadata=dict(metadata))
            self.stigg.attach_payment_method(customer_id)

    def _approve(self, opportunity_id: str) -> Json:
        """Approve what is held of a deal as it stands. Out: why that is not possible, where it is not."""
        answer = self.machine.status(opportunity_id)
        deal = answer.json()
        if answer.status_code != 200:
            return {"error": deal["message"]}
        if not deal["approval"]:
            return {"error": f"nothing waits for approval: it is {deal['status']}. {deal['reason']}".rstrip()}
        approval = {name: deal[name] for name in ("organizationId", "opportunityId", "approval")}
        [result] = self.machine.post({"approvals": [approval]}, "/v1/approvals").json()["results"]
        self.machine.wait_until_idle()
        self._tell()
        return {} if result["status"] == "approved" else {"error": result["message"]}

    # Time

    def _pass_until(self, at: int, wait: bool = True) -> None:
        """Let happen what is due until then. wait: it is then afterwards, whether something happened or not."""
        for _ in range(MOST_WAKES):
            changes = self._stigg_changes()
            moments = [changes, *(self._due(account) for account in self._accounts)]
            moment = min((moment for moment in moments if moment is not None), default=None)
            if moment is None or moment > at:
                break
            self.clock.reach(moment)  # which may lie behind
            if changes == moment:
                self._resting.clear()
            self._wake()
            self._tell()
        else:
            raise NeverRests(f"something is still due after {MOST_WAKES:,} looks until {self.clock.moment():%Y-%m-%d}")
        if wait:
            self.clock.reach(at)

    def _stigg_changes(self) -> int | None:
        """When something happens in Stigg next by itself."""
        change = self.stigg.next_change()
        return None if change is None else _milliseconds(change)

    def _due(self, account: str) -> int | None:
        due_at = self.machine.ledger.customer(account).due_at
        return due_at if due_at is None or account not in self._resting else self._resting[account]

    def _wake(self) -> None:
        """Run the sweep, where the ledger says that something is due."""
        now = self.clock()
        due = [id for id in self._accounts if (at := self._due(id)) is not None and at <= now]
        if not due:
            return
        before, stood = {id: self._state(id) for id in due}, self.stigg.kept()
        self.machine.sweep()
        if self.stigg.kept() != stood:
            self._resting.clear()
            return
        for id in due:
            if self._state(id) != before[id]:
                self._resting.pop(id, None)
            else:
                self._rest(id)

    def _rest(self, account: str) -> None:
        """Somebody was looked at in vain, as for a payment: the same look an hour later finds the same. It is worth
        while again when a deal takes effect, or once something else has happened.
        """
        customer = self.machine.ledger.customer(account)
        desired, _ = self.machine.stack.provisioner.desired_of(customer)
        self._resting[account] = desired.next_change

    def _state(self, account: str) -> Customer:
        """A customer in the ledger without what each look changes."""
        known = self.machine.ledger.customer(account)
        opportunities = {
            id: replace(
                state,
                execution="",
                written=None,
                at=0,
                # Words and facts may name the execution, or Stigg's request.
                outcome=replace(state.outcome, reason="", facts=NO_FACTS),
            )
            for id, state in known.opportunities.items()
        }
        return replace(
            known,
            opportunities=opportunities,
            rev=0,
            lease=None,
            token=0,
            due_at=None,
            look_again_at=None,
            attempt=0,
            failures=0,
        )

    def _tell(self) -> None:
        if self.watch is not None:
            self.watch(self.seen())


class Organization:
    """Salesforce, of which a story tells only its deals: it shows whatever is written, and there is nothing to read."""

    data_path = "/services/data/v66.0"

    def composite(self, requests: Sequence[Mapping[str, Any]]) -> list[Json]:
        """All records are taken."""
        return [
            {
                "httpStatusCode": 200,
                "body": [{"success": True, "errors": []} for _ in request["body"].get("records", ())],
            }
            for request in requests
        ]

    def query(self, soql: str, **values: Any) -> list[Json]:
        """Nothing is found: no contract that CPQ made, say."""
        return []


@contextmanager
def quiet() -> Iterator[None]:
    """What the functions log and measure, they write nowhere."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def previewed(results: Iterable[Json]) -> Json:
    """What a preview's look says: warnings, reasons and codes of all deals."""
    told: Json = {"warnings": [], "reasons": [], "codes": []}
    for result in results:
        told["warnings"] += result["warnings"]
        told["reasons"] += [f"{error['field']} {error['message']}" for error in result["errors"]]
        told["reasons"] += [change["reason"] for change in result["changes"] if change["reason"]]
        told["codes"] += result["codes"]
    return told


def _settings(story: Story) -> dict[str, str]:
    """The settings of the story's stack. Raises StoryInvalid."""
    for name in sorted(SET_HERE.intersection(story.parameters)):
        raise StoryInvalid(f"parameters.{name}: cannot be set: a story is connected to nothing")
    try:
        settings = settings_of(story.parameters)
    except ParameterRefused as refused:
        raise StoryInvalid(f"parameters.{refused.name}: {refused}") from None
    organization = next((id for id in map(_organization, _deals(story)) if id), "00D5g000004xYzAEAU")
    return {**settings, "STACK_NAME": "story", "SALESFORCE_ORGANIZATION_ID": organization}


def _organization(deal: Mapping[str, Any]) -> str | None:
    """A deal's organisation; None where it names none that there can be: the callout says so."""
    try:
        return normalised_id(deal["organizationId"], "00D")
    except (KeyError, TypeError, ValueError):
        return None


def _deals(story: Story) -> Iterator[Mapping[str, Any]]:
    for event in story.events:
        if event.kind in ("deals", "preview"):
            yield from event.content


def _fault(event: Event, index: int, result: Result) -> StoryInvalid:
    """Why a deal cannot be recorded, by its first fault."""
    error = result.errors[0]
    line = f", line {error.line}" if error.line is not None else ""
    return event.fault(f"{event.kind} {index + 1}{line}, {error.field}", error.message)


def _milliseconds(moment: Any) -> int:
    """A moment in epoch milliseconds, or the next one where it lies between two: it has come by then."""
    whole = milliseconds(moment)
    return whole if not moment.microsecond % 1000 else whole + 1
