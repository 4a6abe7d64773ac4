"""The findings of a reconciliation: their kinds in words, and which are repaired. Pure; `drift` finds them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple

Json = Mapping[str, Any]

Remedy = Literal["repair", "report"]

Effect = Literal["look", "show", "accept", "rewrite", "account", "hidden", "none"]
"""What removes a difference: an execution that reads Stigg again and changes it (look), or only shows what it found
(show); accepting a deal; writing an opportunity's record (rewrite) or the account again; nothing that closed-won does
by itself (none). hidden: no execution sees the difference, but one may overwrite it.
"""


class KindWords(NamedTuple):
    """A kind of drift for people: its title, what it means, what to do about it."""

    title: str
    meaning: str
    remedy: str


KINDS: Mapping[str, KindWords] = {
    "missed_deal": KindWords(
        "Deal that never arrived",
        "Salesforce has a deal that the flow should have sent, and the ledger has never heard of it.",
        "Accept it: it is read from Salesforce and provisioned as if it had just been closed.",
    ),
    "missed_revision": KindWords(
        "Change to a deal that never arrived",
        "A deal was changed in Salesforce after closed-won last heard of it, in something that matters to Stigg.",
        "Check the change, then send the deal again from Salesforce.",
    ),
    "mapping_changed": KindWords(
        "Deal that reads differently now",
        "The deal was not touched, but its products or the mapping were: sent today, it would give something else.",
        "Decide whether the customer should get what the deal says today; if so, send it again from Salesforce.",
    ),
    "missing_customer": KindWords(
        "Customer missing in Stigg",
        "closed-won made or found this customer in Stigg, and it is not there any more.",
        "Make it again, with its subscriptions.",
    ),
    "missing_subscription": KindWords(
        "Subscription missing in Stigg",
        "The deals give this customer a subscription that Stigg does not hold.",
        "Make it.",
    ),
    "wrong_plan": KindWords(
        "Other plan",
        "The customer has another plan than the deals say.",
        "Replace the subscription by the one the deals say.",
    ),
    "wrong_addon": KindWords(
        "Other add-ons",
        "The subscription's add-ons are not those of the deals.",
        "Set the add-ons to what the deals say.",
    ),
    "wrong_entitlement": KindWords(
        "Other entitlements or units",
        "The subscription's entitlements, or the units it charges, are not those of the deals.",
        "Set the entitlements and units to what the deals say.",
    ),
    "wrong_price": KindWords(
        "Other prices",
        "The prices or discounts in Stigg are not those of the deals.",
        "Set the prices to what the deals say.",
    ),
    "wrong_date": KindWords(
        "Other dates",
        "The subscription starts or ends on another day than the deals say, or should have ended.",
        "Set the date to what the deals say, or end the subscription.",
    ),
    "archived_customer": KindWords(
        "Customer archived in Stigg",
        "Somebody archived this customer in Stigg. Nothing can be sold to it, and closed-won changes nothing on it.",
        "Unarchive it in Stigg, or end its deals in Salesforce.",
    ),
    "ended_elsewhere": KindWords(
        "Ended by Stigg or billing",
        "Stigg or billing ended the subscription (a checkout that expired, a failed payment), and no deal ends it.",
        "Nothing gives it back by itself: approve on the deal that it is sold again, or cancel the deal.",
    ),
    "payment_changed": KindWords(
        "Payment failed, or was made",
        "Collecting the payment of a subscription failed, or succeeded again, and the deal does not show it yet.",
        "Show it on the deal; access stays as it is.",
    ),
    "changed_by_hand": KindWords(
        "Changed in Stigg by hand",
        "Somebody ended the subscription in Stigg, or changed what closed-won keeps on it.",
        "Ask who changed it. Then change the deal, or let closed-won set it back.",
    ),
    "missing_write_back": KindWords(
        "Status missing in Salesforce",
        "Salesforce does not show what became of the deal, or the account does not show its customer.",
        "Write it again.",
    ),
    "stale_write_back": KindWords(
        "Status outdated in Salesforce",
        "Salesforce shows something else than what became of the deal.",
        "Write it again.",
    ),
    "orphan_subscription": KindWords(
        "Subscription without a deal",
        "Stigg holds a subscription that closed-won once made, and no deal gives it.",
        "Find out whose it is; end it in Stigg, or close a deal for it.",
    ),
    "foreign_subscription": KindWords(
        "Subscription of somebody else in the way",
        "Where a deal's subscription should be there is one that closed-won did not make.",
        "Approve replacing it on the deal, or end it in Stigg. One that matches the deal can be adopted.",
    ),
    "held_too_long": KindWords(
        "Deal that waits for somebody",
        "The deal has been held or refused for days, and nobody has done anything about it.",
        "The deal's status in Salesforce says what to do.",
    ),
    "failed_not_rerun": KindWords(
        "Work that stands still",
        "A deal was accepted and is not provisioned, and nothing is going to try again by itself.",
        "Start it again.",
    ),
    "moved_deal": KindWords(
        "Deal moved to another account",
        "A deal that was provisioned belongs to another account now. Access is never moved by itself.",
        "Move it back, or cancel it here and close it anew on the other account.",
    ),
    "merged_account": KindWords(
        "Account merged or deleted",
        "The account of this customer was merged into another one, or deleted.",
        "Decide which customer in Stigg stays, and move or end the other's subscriptions.",
    ),
    "deleted_deal": KindWords(
        "Deal deleted",
        "A deal that gives access is deleted in Salesforce. Access does not end by itself.",
        "Restore it from the recycle bin, or end its access by a cancellation.",
    ),
    "unreadable_deal": KindWords(
        "Deal that cannot be read",
        "A deal in Salesforce cannot be turned into an order.",
        "Mend the deal or its products as the words say.",
    ),
}
"""Every kind of drift, in the order in which a report tells them."""

# The others are what people did, or have to decide about: repairing those would overwrite or guess.
_REPAIRED = (
    "missed_deal missing_customer missing_subscription wrong_plan wrong_addon wrong_entitlement wrong_price wrong_date "
    "missing_write_back stale_write_back failed_not_rerun payment_changed"
).split()

DEFAULT_POLICIES: Mapping[str, Remedy] = {kind: "repair" if kind in _REPAIRED else "report" for kind in KINDS}
"""What happens to each kind where the stack does not choose."""

PLACES = {kind: place for place, kind in enumerate(KINDS)}
"""The place of each kind in that order."""


@dataclass(frozen=True)
class Finding:
    """One difference. words: a sentence for people, without personal data. should, is_now: both values in words.
    by_hand: Stigg no longer holds what closed-won wrote last. lowers: whether the repair would end or lower something.
    why: why it is not repaired, "" if it is. since: the instant since which it has stood, "" where that is not known.
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
        # Code of two versions may write and read one run while an update is under way: a field that is new is left out.
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True)
class Compared:
    """The findings of one customer. rev: the customer's `rev` at which it was compared. effects: what removes each
    finding, in their order. triggers: the triggers of deals that can be accepted. suspect: whether to read the customer
    live. under_way: an execution works on it, so nothing was compared.
    """

    account_id: str
    rev: int = 0
    findings: tuple[Finding, ...] = ()
    effects: tuple[Effect, ...] = ()
    triggers: Mapping[str, str] = field(default_factory=dict)
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


def repair_of(
    compared: Compared,
    policies: Mapping[str, Remedy],
    by_hand: Remedy = "report",
    reductions: Remedy = "report",
) -> tuple[tuple[Finding, ...], Repair | None]:
    """Decide what is repaired. A customer is repaired whole or not at all: an execution applies its whole plan, so the
    plan must not contain a change that is only to be reported.

    In: what was found; a remedy by kind (`DEFAULT_POLICIES` for those left out); what happens to what was changed by
    hand, and to what ends or lowers something.
    Out: the findings with remedy and why; the repair, None where there is nothing to do.
    """
    chosen = {**DEFAULT_POLICIES, "changed_by_hand": by_hand, **policies}
    whys = [
        _why(finding, effect, chosen, by_hand, reductions)
        for finding, effect in zip(compared.findings, compared.effects, strict=True)
    ]
    # Accepting a deal provisions the customer, which would also overwrite what only a close look shows.
    accepts = any(effect == "accept" and not why for effect, why in zip(compared.effects, whys, strict=True))
    touched = ("look", "hidden") if accepts else ("look",)
    in_the_way = [
        finding
        for finding, effect, why in zip(compared.findings, compared.effects, whys, strict=True)
        if effect in touched and why
    ]
    if in_the_way:
        # A few are enough to find the cause, and this goes with every finding of the customer.
        said = " ".join(dict.fromkeys(finding.words for finding in in_the_way[:3]))
        also = f"repairing it would also undo or change what is only reported: {said}"
        whys = [
            # What Salesforce shows is written again regardless: that changes nothing in Stigg.
            also if effect in ("look", "accept") and not why else why
            for effect, why in zip(compared.effects, whys, strict=True)
        ]
    judged = tuple(
        replace(finding, remedy="report" if why else "repair", why=why)
        for finding, why in zip(compared.findings, whys, strict=True)
    )
    return judged, _repair(compared, judged)


def _why(finding: Finding, effect: Effect, chosen: Mapping[str, Remedy], by_hand: Remedy, reductions: Remedy) -> str:
    """Why a finding, by itself, is not repaired; "" where it is."""
    # What no execution can do comes before the policies: another policy would not help.
    if effect == "hidden":
        return "as things are, no provisioning would set it back: set it back in Stigg, or change the deal"
    if effect == "none":
        return "closed-won does not settle this by itself"
    if finding.by_hand and by_hand == "report":
        return "it was changed in Stigg by hand, and the stack's policy leaves such changes to people"
    if chosen[finding.kind] == "report":
        return "the stack's policy is to report this kind of difference"
    if finding.lowers and reductions == "report":
        return "the repair would end or lower something, and the stack's policy leaves that to people"
    return ""


def _repair(compared: Compared, judged: tuple[Finding, ...]) -> Repair | None:
    """The repair of what is to be repaired."""
    by_effect: dict[Effect, list[Finding]] = defaultdict(list)
    for finding, effect in zip(judged, compared.effects, strict=True):
        if finding.remedy == "repair":
            by_effect[effect].append(finding)
    if not by_effect:
        return None

    def ids(effect: Effect) -> tuple[str, ...]:
        return tuple(dict.fromkeys(f.opportunity_id for f in by_effect[effect] if f.opportunity_id))

    return Repair(
        compared.account_id,
        compared.rev,
        accept=tuple((id, compared.triggers[id]) for id in ids("accept")),
        look=bool(by_effect["look"] or by_effect["show"]),
        rewrite=ids("rewrite"),
        account=bool(by_effect["account"]),
    )
