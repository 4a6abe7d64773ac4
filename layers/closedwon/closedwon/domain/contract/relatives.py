"""Relatives: which deals are linked with each other, by what they amend, renew or cancel. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from closedwon.domain.contract.facts import History
from closedwon.domain.contract.standing import orders_of
from closedwon.domain.identifiers import OpportunityId


def relatives_of(histories: Iterable[History]) -> dict[OpportunityId, frozenset[OpportunityId]]:
    """By deal, itself and all that it is linked with, directly or by others. In: the histories of one customer."""
    names = {history.id: _names(history) for history in histories}
    named: dict[str, set[OpportunityId]] = defaultdict(set)
    for id, some in names.items():
        for name in some:
            named[name].add(id)
    found: dict[OpportunityId, frozenset[OpportunityId]] = {}
    for id in names:
        if id not in found:
            together = _together(id, names, named)
            found |= dict.fromkeys(together, together)
    return found


def _names(history: History) -> set[str]:
    """The names of a deal and of what it refers to, by all that was ever read of it."""
    return {name for order in orders_of(history) for name in order.names | order.references}


def _together(
    id: OpportunityId, names: Mapping[OpportunityId, set[str]], named: Mapping[str, set[OpportunityId]]
) -> frozenset[OpportunityId]:
    """One deal with all that share a name with it, or with one of these. In: the names by deal; the deals by name."""
    together, waiting = {id}, [id]
    while waiting:
        for name in names[waiting.pop()]:
            waiting += named[name] - together
            together |= named[name]
    return frozenset(together)
