"""What the two steps that look at Stigg share: the client, and what the customer should have."""

from __future__ import annotations

import time
from functools import cache

from closedwon.catalogue import CERTAIN_SECONDS, Catalogue, kept_catalogue, read_catalogue
from closedwon.customer import Customer
from closedwon.desired import Desired, fold
from closedwon.secrets import Secret
from closedwon.settings import policy, setting
from closedwon.step import ledger
from closedwon.stigg import Stigg


@cache
def stigg() -> Stigg:
    """The stack's client of Stigg."""
    return Stigg(setting("STIGG_API_URL"), Secret(setting("STIGG_SECRET_ARN")))


def now() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def desired_of(customer: Customer) -> tuple[Desired, Catalogue]:
    """What a customer should have, by its orders in the ledger and Stigg's catalogue; and that catalogue.

    The kept snapshot is good enough to provision by; before it refuses a deal, Stigg is asked again.
    """
    standings = [state.standing for state in customer.opportunities.values()]
    kept = kept_catalogue(ledger(), now())
    if kept is not None:
        desired = fold(standings, kept, policy(), now())
        by_catalogue = any(not customer.opportunities[id].order.problems for id in desired.refused)
        if not by_catalogue or kept.age(now()) < CERTAIN_SECONDS:
            return desired, kept
    catalogue = read_catalogue(ledger(), stigg(), now())
    return fold(standings, catalogue, policy(), now()), catalogue
