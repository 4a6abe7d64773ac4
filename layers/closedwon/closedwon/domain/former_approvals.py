"""The approvals of the first version, which were keyed by its sentences: those it stored still count. Pure.

Its ID was a hash of slot, subscription, foreign subscription and reason. The sentences below are what it hashed, and no
words that anybody is shown: they never change. They can go once no ledger holds an approval from before codes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from closedwon.domain.codes import Facts, Reason


def former_approval_of(reason: Reason) -> str | None:
    """The ID that the first version gave to the approval of what is held for a reason; None where it had none."""
    form = _FORMS.get(reason.code)
    if form is None:
        return None
    facts = reason.facts
    meant = [facts.get("slot"), facts.get("subscription"), facts.get("foreign") or "", form(facts)]
    return hashlib.sha256(json.dumps(meant).encode()).hexdigest()[:16]


def _removal(facts: Facts) -> str:
    item = facts.get("item")
    was, would_be = (one.get(str(item), 0) if isinstance(one := facts.get(name), Facts) else 0 for name in _AMOUNTS)
    what = "units of the plan" if item == "plan" else item
    return (
        f"it would take away {facts.get('share')}% of what {facts.get('plan')} gives this customer ({what} from "
        f"{was} to {would_be}); more than {facts.get('percent')}% in one "
        "change needs somebody's approval."
    )


_AMOUNTS = ("before", "after")


def _no_deal(facts: Facts) -> str:
    return (
        f"no deal says {facts.get('plan')} any more, or it left Stigg's catalogue; "
        "a subscription does not end without a cancellation."
    )


def _foreign(facts: Facts) -> str:
    return (
        f"this customer already has {facts.get('plan')} of the same product (subscription {facts.get('foreign')}), "
        "which closed-won did not make. Ending it for this deal needs somebody's decision."
    )


_FORMS: Mapping[str, Callable[[Facts], str]] = {
    "removal_guard": _removal,
    "no_deal_left": _no_deal,
    "foreign_subscription": _foreign,
}
