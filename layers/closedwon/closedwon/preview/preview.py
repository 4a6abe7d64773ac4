"""Previews: what provisioning would do with the deals of a request. Reads the ledger and Stigg, writes nothing.

The deals of one account are looked at together, as they would be provisioned. Somebody in Salesforce waits for the
answer: Stigg is given little time, and what it does not answer is left out and said.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from closedwon.aws.ledger import Ledger, at_once
from closedwon.domain.acceptance import Acceptance
from closedwon.domain.catalogue import FRESH_SECONDS, Catalogue
from closedwon.domain.changes import Create
from closedwon.domain.customer import Customer
from closedwon.domain.desired import Policy, Slot
from closedwon.domain.errors import CustomerTaken, StiggRefused, StiggThrottled, StiggUnavailable
from closedwon.domain.marks import Backlinks
from closedwon.domain.order import Order, Problem
from closedwon.intake.answers import Result
from closedwon.intake.requests import Compiled, Intake, NotNow
from closedwon.preview.answers import PreviewedInvoice, PreviewedInvoices, PreviewResult, PreviewResults
from closedwon.preview.foresight import Choices, Foresight, InStigg, foresee
from closedwon.preview.invoicing import invoice_question, not_included
from closedwon.preview.results import invalid, preview_of
from closedwon.provisioning.work import agreed_by, newest_contributing, plans_named
from closedwon.stigg.bodies import customer_difference
from closedwon.stigg.catalogue import detailed, fetch_catalogue
from closedwon.stigg.client import Stigg
from closedwon.words.changes import Calendar

T = TypeVar("T")


@dataclass(frozen=True)
class Previewer:
    """Tells what provisioning would do with deals, by the ledger and Stigg as they are now.

    stigg: a client that gives up soon; backlinks: the way from Stigg back to an account; time_zone: in which days are
    told; now: epoch milliseconds.
    """

    intake: Intake
    ledger: Ledger
    stigg: Stigg
    policy: Policy
    backlinks: Callable[[str], Backlinks]
    time_zone: str
    now: Callable[[], int]

    def preview(self, deals: list[Any], seconds: float) -> PreviewResults:
        """Preview each deal; an invalid one does not affect the others.

        In: the deals as they were sent; how many seconds there are for asking Stigg.
        Raises what is wrong with the stack itself: StiggUnauthorized, SecretInvalid, SettingMissing, SecretUnavailable.
        """
        compiled, refused = self.intake.compile_all(deals)
        results = {index: _refused(result) for index, result in refused.items()}
        accounts: dict[str, dict[int, Compiled]] = defaultdict(dict)
        for index, found in compiled.items():
            accounts[found.arrival.order.account_id][index] = found
        look = Look(self.stigg, self.ledger.snapshot(), self.now, time.monotonic() + seconds)

        def one(account_id: str) -> dict[int, PreviewResult]:
            return self.preview_account(account_id, accounts[account_id], look)

        try:
            for some in at_once(one, accounts):
                results |= some
        except StiggUnavailable as error:  # it answered, but nothing that could be read
            raise NotNow(f"{error.message}. Nothing was recorded; ask again", 60) from None
        return PreviewResults(results=[results[index] for index in range(len(deals))])

    def preview_account(self, account_id: str, deals: Mapping[int, Compiled], look: Look) -> dict[int, PreviewResult]:
        """The answers to the deals of one account, by their place in the request."""
        known, customer, acceptances = self.ledger.foresee(account_id, [found.arrival for found in deals.values()])
        at = self.now()
        try:
            # Also what the user's own application has still to prepare: it is only told, not provisioned.
            histories = [state.prepared_history for state in customer.opportunities.values()]
            plans = plans_named(histories)
            kept = look.kept(plans)
            agreement = agreed_by(customer, histories, self.policy, kept, lambda: look.catalogue(plans), at)
        except NoCatalogue:
            return {
                index: _unjudged(acceptance, customer) for index, acceptance in zip(deals, acceptances, strict=True)
            }
        newest = newest_contributing(customer, agreement.desired())
        in_stigg = InStigg(True)
        # Who has nothing and gets nothing is not asked about, as somebody waits for the answer.
        if newest is not None or customer.slots:
            in_stigg = look_at(customer, look)
            if (known_then := in_stigg.told(customer)) != customer:
                customer = known_then
                agreement = agreed_by(customer, histories, self.policy, kept, lambda: look.catalogue(plans), at)
        stack = Choices(self.policy, self.backlinks(account_id), Calendar(ZoneInfo(self.time_zone)))
        asked = [found.arrival.order.opportunity_id for found in deals.values()]
        foresight = foresee(asked, known, customer, agreement, in_stigg, stack)
        try:
            customer_changes = _customer_changes(customer, newest, in_stigg, foresight)
        # For all of them: each would be provisioned for a customer that is another account's.
        except CustomerTaken as taken:
            problem = Problem(None, "customerId", taken.message)
            return {index: invalid(found.deal.opportunity.id, [problem]) for index, found in deals.items()}
        invoices, refusals = invoices_of(foresight, look)
        return {
            index: preview_of(
                foresight, found.deal, found.arrival.order, acceptance, customer_changes, invoices, refusals
            )
            for (index, found), acceptance in zip(deals.items(), acceptances, strict=True)
        }


class Look:
    """One request's reads of Stigg: once Stigg does not answer, or time is up, it is not asked again.

    In: the client of Stigg; the kept snapshot of its catalogue; now, in epoch milliseconds; until when it is asked, by
    `time.monotonic`.
    """

    def __init__(self, stigg: Stigg, snapshot: str | None, now: Callable[[], int], until: float) -> None:
        self._stigg = stigg
        self._now = now
        self._until = until
        self._gone = False
        self._lock = Lock()
        self._catalogue: Catalogue | None = None
        self._snapshot = Catalogue.kept(snapshot)

    def ask(self, question: Callable[[Stigg], T]) -> T | None:
        """Stigg's answer; None where there is none. Raises what Stigg refuses."""
        if self._gone or time.monotonic() > self._until:
            return None
        try:
            return question(self._stigg)
        # A 429 is not waited out here: somebody waits, and the limit is there for what is provisioned.
        except (StiggUnavailable, StiggThrottled):
            self._gone = True
            return None

    def kept(self, plans: Collection[str]) -> Catalogue | None:
        """The kept snapshot of the catalogue, if it is fresh, with all of some plans; None also where Stigg does not
        tell what is missing of them.
        """
        with self._lock:
            if self._snapshot is None or self._snapshot.age(self._now()) >= FRESH_SECONDS:
                return None
            self._snapshot = more = self._detailed(self._snapshot, plans)
            return None if more.undetailed(plans) else more

    def catalogue(self, plans: Collection[str]) -> Catalogue:
        """Stigg's catalogue as it is now, with all of some plans; where Stigg does not answer, as it was. Raises
        NoCatalogue.
        """
        # Accounts are looked at in threads: the first reads it for all.
        with self._lock:
            if self._catalogue is None:
                self._catalogue = self.ask(lambda client: fetch_catalogue(client, self._now())) or self._snapshot
            if self._catalogue is None:
                raise NoCatalogue
            self._catalogue = more = self._detailed(self._catalogue, plans)
            if not more.undetailed(plans):
                return more
        # Another snapshot may know what Stigg does not tell now.
        if self._snapshot is None or self._snapshot.undetailed(plans):
            raise NoCatalogue
        return self._snapshot

    def _detailed(self, catalogue: Catalogue, plans: Collection[str]) -> Catalogue:
        """The catalogue with what some plans charge and include, as far as Stigg answers."""
        if not catalogue.undetailed(plans):
            return catalogue
        return self.ask(lambda client: detailed(catalogue, plans, client)) or catalogue


class NoCatalogue(Exception):
    """Stigg does not answer, and its catalogue was never kept, or not what the deals' plans charge."""


UNJUDGED = (
    "Stigg did not answer in time, and its catalogue is not known yet: only the deal itself was checked. Try "
    "again later."
)


def _unjudged(acceptance: Acceptance, customer: Customer) -> PreviewResult:
    """The answer to a deal without a catalogue: what it shows itself needs none."""
    if acceptance.problems:
        return invalid(acceptance.opportunity_id, acceptance.problems)
    id, customer_id = acceptance.opportunity_id, customer.customer_id
    return PreviewResult(opportunity_id=id, status="ok", warnings=[UNJUDGED], customer_id=customer_id)


def _customer_changes(customer: Customer, newest: Order | None, in_stigg: InStigg, foresight: Foresight) -> list[str]:
    """What would become of the customer itself, in sentences. newest: the deal that names it. Raises CustomerTaken."""
    if newest is None or not in_stigg.answered or in_stigg.archived:
        return []
    if in_stigg.customer is None:
        return [f"Creates the customer {customer.customer_id} in Stigg."]
    difference = customer_difference(in_stigg.customer, newest, foresight.stack.links)
    found = []
    # The rest of it is metadata and links, which closed-won writes by itself and nobody decides about.
    if changes := [name for name in ("name", "email") if name in difference]:
        found.append(f"Changes the customer's {' and '.join(changes)} in Stigg.")
    if foresight.currency is not None:
        found.append(f"Sets the customer's currency in Stigg to {foresight.currency.upper()}.")
    return found


def look_at(customer: Customer, look: Look) -> InStigg:
    """What Stigg holds of a customer. One that it does not know has no subscriptions."""
    customer_id = customer.customer_id or ""
    # In a tuple, because None means no answer, and of a customer that it does not know Stigg's answer is None, too.
    answer = look.ask(lambda client: (client.get_customer(customer_id),))
    if answer is None:
        return InStigg(False)
    if answer[0] is None:
        # As provisioning does it: of a customer that was there it is asked whether it was archived.
        archived = customer.ensured and look.ask(lambda client: client.is_archived(customer_id))
        return InStigg(archived is not None, archived=bool(archived))
    subscriptions = look.ask(lambda client: client.list_subscriptions(customer_id))
    return InStigg(False) if subscriptions is None else InStigg(True, answer[0], subscriptions)


def invoices_of(foresight: Foresight, look: Look) -> tuple[dict[Slot, PreviewedInvoices], dict[Slot, str]]:
    """Stigg's invoices for what is made or changed, by slot; and where Stigg refuses to compute them, why."""
    found: dict[Slot, PreviewedInvoices] = {}
    refusals: dict[Slot, str] = {}
    if not foresight.in_stigg.answered:
        return found, refusals
    for change in foresight.invoiced():
        missing = not_included(foresight, change)
        invoices: Mapping[str, Any] = {}
        if foresight.in_stigg.customer is None:
            said = "the invoices: Stigg previews them only for a customer it knows, and this one is new"
            missing.insert(0, said)
        else:
            body = invoice_question(foresight, change)
            try:
                answer = look.ask(lambda client, body=body: client.preview_subscription(body))  # type: ignore[misc]
            # That it refuses is an answer, too, and becomes a warning: provisioning would probably be refused as well.
            except StiggRefused as refusal:
                missing.insert(0, f"the invoices: Stigg refuses to preview them ({refusal.message})")
                refusals[change.subscription.slot] = refusal.message
            else:
                if answer is None:
                    missing.insert(0, "the invoices: Stigg did not answer in time")
                invoices = answer or {}
        # An update was asked about as if it were new: what that would cost at once, the change does not.
        at_once = invoices.get("immediateInvoice") if isinstance(change, Create) else None
        found[change.subscription.slot] = PreviewedInvoices(
            plan_id=change.subscription.plan_id,
            immediate=PreviewedInvoice.from_stigg(at_once),
            recurring=PreviewedInvoice.from_stigg(invoices.get("recurringInvoice")),
            not_included=missing,
        )
    return found, refusals


def _refused(result: Result) -> PreviewResult:
    """The answer to a deal that cannot be read, or belongs elsewhere."""
    return invalid(result.opportunity_id, [Problem(e.line, e.field, e.message, e.code) for e in result.errors])
