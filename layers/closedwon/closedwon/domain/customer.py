"""One customer as the ledger knows it: its deals, what became of them, and what it still needs. Pure.

A customer is a Salesforce account with the customer it is bound to in Stigg. Every verb of the ledger reads the
customer, applies one rule and writes it back on the condition that nobody wrote it in between: the rules see one
customer's history in one order, which is why they can be checked exhaustively (tests/unit/test_ledger_model.py). The
rules are in `acceptance`, `lease`, `results` and `due`; `aws.ledger` stores what they return.

Times are epoch milliseconds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from closedwon.domain.application import Application, begins, prepared
from closedwon.domain.codes import NO_FACTS, Facts, Reason
from closedwon.domain.contract.facts import Contribution, History, Reading, is_selling, record
from closedwon.domain.identifiers import AccountId, CustomerId, SubscriptionId
from closedwon.domain.instants import Instant, from_iso, iso_utc
from closedwon.domain.order import SENT_AGAIN, Order, Revision, with_names
from closedwon.domain.records import GrantRecord, SlotRecord
from closedwon.domain.stored import Json, given_of, told_of
from closedwon.domain.stored_opportunity import STORED_APART, readings_of, readings_to_json, without_pointers

Status = Literal[
    "Provisioning", "Provisioned", "Payment required", "Scheduled", "Held", "Failed", "Superseded", "Ended"
]


class SubscriptionLink(NamedTuple):
    """One subscription a deal contributes to, as Salesforce shows it. status is Stigg's."""

    plan_id: str
    subscription_id: SubscriptionId
    status: str
    checkout_url: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a deal: status, the code of its reason with facts, the subscriptions it contributes to.

    reason: the words of code and facts as they are recorded and shown, empty until then (`words.reasons` says them);
    the first version stored words alone. approval: the ID of what waits for approval. due_at: when a scheduled change
    takes effect, epoch milliseconds. contract_id: the contract in Stigg that the deal's subscription is part of,
    where the account has contracts. extra: see `domain.stored`.
    """

    status: Status = "Provisioning"
    reason: str = ""
    subscriptions: tuple[SubscriptionLink, ...] = ()
    approval: str | None = None
    due_at: int | None = None
    code: str = ""
    facts: Facts = NO_FACTS
    contract_id: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def because(
        cls,
        status: Status,
        why: Reason,
        subscriptions: tuple[SubscriptionLink, ...] = (),
        approval: str | None = None,
        due_at: int | None = None,
    ) -> Outcome:
        """The outcome that a deal has for a reason."""
        return cls(status, "", subscriptions, approval, due_at, why.code, why.facts)

    @property
    def why(self) -> Reason | None:
        """Its reason; None where it has none, or was stored without a code."""
        return Reason(self.code, self.facts) if self.code else None

    def is_still(self, other: Outcome) -> bool:
        """Whether nothing became of the deal since another outcome. Words are no difference: the same code and facts
        may be said otherwise by another version, or not have been said yet.
        """
        if not (self.code and other.code):
            return self == other
        return replace(self, reason="") == replace(other, reason="")

    def shown(self) -> Json:
        """What Salesforce shows of it: all but the facts."""
        return {name: value for name, value in self.to_json().items() if name != "facts"}

    def to_json(self) -> Json:
        """Plain data for the ledger; `from_json` is its inverse."""
        told = {**told_of(self), "facts": self.facts.to_json()}
        # Fields that came after the first version only where they say something: else every mark would be another,
        # and with an upgrade all there is would be written to Salesforce again.
        return {name: value for name, value in told.items() if name in _FIRST or value not in (None, "", (), {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Outcome:
        links = tuple(SubscriptionLink(*link[: len(SubscriptionLink._fields)]) for link in data["subscriptions"])
        return cls(**{**given_of(cls, data), "subscriptions": links, "facts": Facts(data.get("facts") or {})})


_FIRST = ("status", "reason", "subscriptions", "approval", "due_at")
"""The fields that an outcome had in the first version."""


@dataclass(frozen=True)
class OpportunityState:
    """One opportunity in the ledger.

    version: the customer's version that its newest order made. written: the mark of the outcome that Salesforce shows
    for certain: None again as soon as there is another outcome, because a write of that one may land without an answer.
    at: when the outcome was reached. application: what the user's own application said about it, None where it was not
    asked. learned: of a cancellation that ends something with its billing period, when that is, as Stigg said at the
    time: by slot key and generation (`learned_key`). products: by `pieces.part_key`, where its settled parts belong.
    sells, trial: see `facts.History`, where they are not the newest reading; said, first, settled, begun: see there.
    extra: see `domain.stored`.
    """

    order: Order
    revision: Revision
    version: int
    execution: str
    outcome: Outcome = Outcome()
    at: int = 0
    written: str | None = None
    application: Application | None = None
    learned: Mapping[str, Instant] = field(default_factory=dict, hash=False)
    products: Mapping[str, str] = field(default_factory=dict, hash=False)
    sells: Reading | None = None
    trial: Reading | None = None
    said: tuple[tuple[Revision, str], ...] = ()
    first: Revision | None = None
    settled: Contribution | None = None
    begun: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def history(self) -> History:
        """What is kept of its readings."""
        newest = Reading(self.order, self.revision)
        return History(
            newest=newest,
            sells=newest if is_selling(self.order) else self.sells,
            trial=newest if is_selling(self.order) and self.order.trigger == "trial" else self.trial,
            said=self.said,
            first=self.first,
            settled=self.settled,
            begun=self.begun,
        )

    @property
    def prepared_history(self) -> History:
        """The same with what the user's own application answered: as it is provisioned."""
        if self.application is None or not self.application.answered:
            return self.history
        return self.history.with_orders(lambda order: prepared(order, self.application))

    @property
    def stands(self) -> bool:
        """Whether Stigg stands for its newest readings."""
        return self.prepared_history.stands

    def with_history(self, history: History) -> OpportunityState:
        """The opportunity with another history, as `facts.record`, `settle` or `begin` returned it."""
        newest = history.newest
        return replace(
            self,
            # Learned for one cancellation: if the deal is cancelled once more, Stigg is asked once more.
            learned=self.learned if history.lapses_since == self.history.lapses_since else {},
            order=newest.order,
            revision=newest.revision,
            sells=None if history.sells == newest else history.sells,
            trial=None if history.trial == newest else history.trial,
            said=history.said,
            first=history.first,
            settled=history.settled,
            begun=history.begun,
        )

    def sent_again(self, order: Order, revision: Revision) -> OpportunityState:
        """The opportunity when its newest order arrives once more: it keeps every name that was ever said."""
        newer = revision > self.revision
        kept = with_names(self.order, order)
        if newer and order.form == self.order.form:
            kept = with_names(order, self.order)  # CPQ may have numbered its lines differently
        elif newer:
            kept = replace(kept, **{name: getattr(order, name) for name in SENT_AGAIN})
        # A contract that was made anew is called by its new name.
        contract_id = order.contract_id if newer and order.contract_id else kept.contract_id

        def named(stood: Order) -> Order:
            # What stands, or stands again should the newest be held, is found by the same names.
            return with_names(replace(stood, contract_id=contract_id or stood.contract_id), kept)

        newest = Reading(replace(kept, contract_id=contract_id), max(revision, self.revision))
        history = replace(self.history.with_orders(named), newest=newest)
        if is_selling(newest.order):
            history = replace(history, sells=newest)
        # Sent again it says the same, only later: what was said first stays first.
        return self.with_history(record(history, Reading(newest.order, revision)))

    def with_learned(self, ends: Mapping[str, Instant]) -> OpportunityState:
        """The opportunity after it was learned when what it cancels is over."""
        # Where the deal is won again by now, what was learned has gone with the cancellation.
        return replace(self, learned={**self.learned, **ends}) if ends and self.history.lapses_since else self

    def mark(self, shown_id: str | None) -> str:
        """A short hash of everything Salesforce is to show: another mark means that it has to be written again."""
        # The customer's ID too: each Stigg Provisioning shows it, but only once the customer exists in Stigg.
        shown = [self.outcome.shown(), shown_id]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]

    def became(self, outcome: Outcome, now: int) -> OpportunityState:
        """The opportunity with an outcome; unchanged, with its time, where it has that outcome already."""
        return self if outcome.is_still(self.outcome) else replace(self, outcome=outcome, at=now, written=None)

    def to_json(self) -> Json:
        """Plain data for the ledger; `from_json` is its inverse."""
        data = told_of(self)
        for name in (*_OF_READINGS, "learned", "products"):
            del data[name]
        data["outcome"] = self.outcome.to_json()
        data["application"] = None if self.application is None else self.application.to_json()
        kept = History(
            Reading(self.order, self.revision), self.sells, self.trial, self.said, self.first, self.settled, self.begun
        )
        later = {
            "learned": {key: iso_utc(at) for key, at in self.learned.items()},
            "products": dict(self.products),
        }
        return data | readings_to_json(kept) | {name: value for name, value in later.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OpportunityState:
        data = without_pointers(data)
        kept, application = readings_of(data), data.get("application")
        known = {name: value for name, value in data.items() if name not in STORED_APART}
        return cls(
            **{
                **given_of(cls, known),
                **{name: getattr(kept, name) for name in _OF_READINGS},
                "order": kept.newest.order,
                "revision": kept.newest.revision,
                "application": application and Application.from_json(application),
                "outcome": Outcome.from_json(data["outcome"]),
                "learned": {key: from_iso(at) for key, at in data.get("learned", {}).items()},
                "products": dict(data.get("products", {})),
            }
        )


_OF_READINGS = ("sells", "trial", "said", "first", "settled", "begun")
"""The fields that are kept of readings beside the newest one; see `stored_opportunity`."""


def learned_key(slot_key: str, generation: int) -> str:
    """The key of a learned end: the subscription of one slot and generation."""
    return f"{slot_key}#{generation}"


RULES = 2
"""The rules by which deals are read now: those of the contract model. The first version's were another's."""


class Lease(NamedTuple):
    """The right to write for a customer, and until when its owner's writes may still land.

    token: rises each time the lease is acquired; a step that ends hands it to the next one. answered: the step failed,
    but had an answer to everything it wrote.
    """

    owner: str
    token: int
    until: int
    answered: bool = False


@dataclass(frozen=True)
class Customer:
    """A customer in the ledger.

    rev: raised by every write of it: the condition of the next one. version: raised by every accepted order. applied:
    the version that Stigg stands for. customer_id: its ID in Stigg, bound by the first valid order. ensured: whether it
    exists there. due_at: when the sweep is to start it, None when nothing is due. look_again_at: when Stigg has to be
    read again, for a pending payment or a later start. heard_at: when Stigg is to be looked at because it said that
    something changed, None where it said nothing since; heard_token: the newest lease's when it said so. attempt:
    executions requested so far. slots: what is remembered of each slot, by its key. account_written: the customer ID
    that the account in Salesforce shows. approved: approvals whose change is not made yet. grants: the credits that
    were granted or are about to be, by their keys. asks: whether new starts go to the user's own application first.
    named: whether its ID may be in use in Stigg already, so that it stays. currency: what Stigg bills it in, as it
    said; None where it has none, or nobody asked yet. archived: whether somebody archived it in Stigg. rules: by whose
    rules Stigg was compared last with its deals: 1 for the first version's, `RULES` for today's.
    extra: see `domain.stored`.
    """

    account_id: AccountId
    rev: int = 0
    version: int = 0
    applied: int = 0
    customer_id: CustomerId | None = None
    ensured: bool = False
    lease: Lease | None = None
    token: int = 0
    due_at: int | None = None
    look_again_at: int | None = None
    heard_at: int | None = None
    heard_token: int = 0
    attempt: int = 0
    failures: int = 0
    account_written: str | None = None
    approved: tuple[str, ...] = ()
    grants: dict[str, GrantRecord] = field(default_factory=dict)
    asks: bool = False
    named: bool = False
    currency: str | None = None
    archived: bool = False
    rules: int = 1
    slots: dict[str, SlotRecord] = field(default_factory=dict)
    opportunities: dict[str, OpportunityState] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def learned(self) -> dict[tuple[str, str], Instant]:
        """When what cancellations end with its billing period is over: by opportunity and `learned_key`."""
        return {(id, key): at for id, state in self.opportunities.items() for key, at in state.learned.items()}

    @property
    def bound_id(self) -> CustomerId:
        """Its ID in Stigg; empty until a valid order binds it: nothing of it is in Stigg before."""
        return self.customer_id or CustomerId("")

    @property
    def shown_id(self) -> CustomerId | None:
        """Its ID in Stigg as Salesforce shows it: None until it exists there."""
        return self.customer_id if self.ensured else None

    @property
    def unwritten(self) -> list[str]:
        """The opportunities whose outcome Salesforce does not show yet, of those that have one."""
        return [
            id
            for id, state in self.opportunities.items()
            # A deal that nothing came of yet has nothing to show, unless the user's own application says why it waits.
            if (state.outcome.status != "Provisioning" or state.outcome.reason or state.outcome.code)
            and state.written != state.mark(self.shown_id)
        ]

    @property
    def certain_id(self) -> CustomerId | None:
        """Its ID in Stigg once that is final; None while the user's own application may still choose it."""
        # An ID in a valid deal was chosen by people: the user's own application cannot name another.
        chosen = any(s.order.customer_id and not s.order.problems for s in self.opportunities.values())
        stays = self.ensured or self.named or chosen or self.customer_id != CustomerId(self.account_id)
        return self.customer_id if stays else None

    @property
    def unprepared(self) -> dict[str, OpportunityState]:
        """The opportunities that the user's own application has still to prepare, and which wait for it. It is never
        asked about what was provisioned before it was configured.
        """
        if not self.asks:
            return {}
        orders = {id: state.order for id, state in self.opportunities.items()}
        return {
            id: state
            for id, state in self.opportunities.items()
            if state.settled is None
            and not (state.application and state.application.answered)
            and begins(state.order, orders)
        }

    @property
    def histories(self) -> list[History]:
        """What is kept of its deals, without those that the user's own application has not prepared yet."""
        unprepared = self.unprepared
        return [state.prepared_history for id, state in self.opportunities.items() if id not in unprepared]

    @property
    def unasked(self) -> list[str]:
        """The unprepared opportunities that the application was never asked about: they arrived since it was asked."""
        return [id for id, state in self.unprepared.items() if state.application is None]

    @property
    def account_unwritten(self) -> bool:
        # Not before it exists in Stigg: the link on the account would lead nowhere.
        return self.ensured and self.account_written != self.customer_id


def erased(customer: Customer) -> Customer:
    """The customer without what could name a person. Nothing becomes due, because what was sold stays the same."""

    # All orders of an opportunity alike, because digests hold the names: one left out would look like a change.
    states = {
        id: state.with_history(state.history.with_orders(Order.nameless))
        for id, state in customer.opportunities.items()
    }
    return replace(customer, opportunities=states)
