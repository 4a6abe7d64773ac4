"""What the two steps that look at Stigg share: the client, and what the customer should have."""

from __future__ import annotations

import time
from functools import cache

from closedwon.catalogue import Catalogue, catalogue_for
from closedwon.customer import Customer
from closedwon.desired import Desired, Standing, fold, stigg_ids
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
    """What a customer should have, by its orders in the ledger and Stigg's catalogue."""
    standings = [Standing(state.order, state.provisioned) for state in customer.opportunities.values()]
    catalogue = catalogue_for(stigg_ids(standings), ledger(), stigg(), now())
    return fold(standings, catalogue, policy(), now()), catalogue
