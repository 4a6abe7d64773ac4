"""Drift: every difference between Salesforce, the ledger and Stigg for one customer, by name; and what of it is
repaired. Pure.

There is no second comparer: `fold` says what the customer should have, `plan` what would be changed, and this module
gives a plan that is not empty though nothing is due its names. What the plan cannot know is added: deals that never
arrived, what Salesforce shows, work that stands still, records that were moved, merged or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple

from closedwon.catalogue import Catalogue
from closedwon.customer import Arrival, Customer
from closedwon.desired import Policy
from closedwon.plan import Backlinks

Json = Mapping[str, Any]

Remedy = Literal["repair", "report"]

Effect = Literal["look", "accept", "rewrite", "account", "none"]
"""What settles a difference: an execution that looks at Stigg again; accepting a deal; writing an opportunity's record
or the account again; nothing that closed-won does by itself.
"""


class KindWords(NamedTuple):
    """A kind of drift for people: its title, what it means, what to do about it."""

    title: str
    meaning: str
    remedy: str


KINDS: Mapping[str, KindWords] = {}


@dataclass(frozen=True)
class DealSeen:
    """An opportunity as Salesforce has it.

    modified: its SystemModstamp, epoch milliseconds. closed_on: its close date ("2026-01-15"). trigger: what a callout
    would say of it now, None for nothing. arrival: it, compiled as the callout would; None where it is not ours or
    cannot be read: problem says why. known_to: the account whose customer the ledger has it with, None where it is
    known to nobody or was not looked up.
    """

    opportunity_id: str
    account_id: str
    modified: int
    won: bool = False
    closed: bool = False
    deleted: bool = False
    closed_on: str = ""
    trigger: str | None = None
    arrival: Arrival | None = None
    problem: str = ""
    known_to: str | None = None


@dataclass(frozen=True)
class AccountSeen:
    """The account's record and what it shows. merged_into: the account that it was merged into."""

    state: Literal["there", "merged", "deleted", "unknown"] = "there"
    merged_into: str | None = None
    customer_id: str | None = None
    customer_url: str | None = None


@dataclass(frozen=True)
class Sides:
    """What the three systems say of one customer. None: not looked at, so nothing is found from it.

    customer: the ledger's, or Customer(account_id) where it knows nothing. deals: the account's opportunities, with
    those that the ledger knows of it. provisionings: Stigg Provisioning records by opportunity. subscriptions: Stigg's
    list elements. overrides: entitlement values by subscription, where they were read one by one (a deep run). live:
    whether it was read just now, with subscriptions that ended and every deal the ledger knows; else it comes from
    exports, where neither need be.
    """

    customer: Customer
    deals: tuple[DealSeen, ...] | None = None
    account: AccountSeen | None = None
    provisionings: Mapping[str, Json] | None = None
    subscriptions: tuple[Json, ...] | None = None
    customer_in_stigg: bool | None = None
    overrides: Mapping[str, tuple[Json, ...]] | None = None
    live: bool = True


@dataclass(frozen=True)
class Watch:
    """From when on what counts. deals_since: the close date of the first deal that had to arrive ("2026-01-15", ""
    for all). overdue_ms: how long work may be due before it counts as standing still. app_url: STIGG_APP_URL.
    """

    deals_since: str = ""
    held_too_long_days: int = 7
    overdue_ms: int = 3_600_000
    app_url: str = ""


@dataclass(frozen=True)
class Finding:
    """One difference. words: one sentence for people, without personal data. should, is_now: both values in words.
    by_hand: Stigg no longer holds what closed-won wrote last. lowers: whether the repair would end or lower something.
    why: why it is not repaired, "" if it is. since: the instant it has stood, "" where that is not known.
    """

    kind: str
    account_id: str
    customer_id: str | None = None
    opportunity_id: str | None = None
    subscription_id: str | None = None
    words: str = ""
    should: str = ""
    is_now: str = ""
    by_hand: bool = False
    lowers: bool = False
    remedy: Remedy = "report"
    why: str = ""
    since: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Finding:
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True)
class Compared:
    """What was found for one customer. rev: the ledger's, at which it was compared. effects: what settles each finding,
    in their order. triggers: of deals that can be accepted, what a callout would say of them. suspect: whether to look
    at it live. under_way: somebody works on it, so nothing was compared.
    """

    account_id: str
    rev: int = 0
    findings: tuple[Finding, ...] = ()
    effects: tuple[Effect, ...] = ()
    triggers: Mapping[str, str] | None = None
    suspect: bool = False
    under_way: bool = False


@dataclass(frozen=True)
class Repair:
    """What is to be done for one customer, as long as the ledger still has it at rev. accept: opportunities to be read
    and accepted, each with its trigger. look: make it due, so that Stigg is looked at again. rewrite: opportunities
    whose record in Salesforce is to be written again. account: write the account's fields again.
    """

    account_id: str
    rev: int
    accept: tuple[tuple[str, str], ...] = ()
    look: bool = False
    rewrite: tuple[str, ...] = ()
    account: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Json) -> Repair:
        accept = tuple((id, trigger) for id, trigger in data["accept"])
        return cls(**{**data, "accept": accept, "rewrite": tuple(data["rewrite"])})


def compare(sides: Sides, catalogue: Catalogue, policy: Policy, links: Backlinks, watch: Watch, now: int) -> Compared:
    """Name every difference between Salesforce, the ledger and Stigg for one customer.

    In: what the three say; Stigg's catalogue; the stack's policy; the way back to Salesforce; what counts; now in epoch
    milliseconds.
    Out: the findings, none of them judged yet (`repair_of` does), and whether an export is to be looked at live.
    """
    raise NotImplementedError


def repair_of(
    compared: Compared,
    policies: Mapping[str, Remedy],
    by_hand: Remedy = "report",
    reductions: Remedy = "report",
) -> tuple[tuple[Finding, ...], Repair | None]:
    """Decide what is repaired. A customer is brought in line whole or not at all.

    In: what was found; a remedy by kind (`DEFAULT_POLICIES` for those left out); what happens to what was changed by
    hand, and to what ends or lowers something.
    Out: the findings with remedy and why; the repair, None where there is nothing to do.
    """
    raise NotImplementedError
