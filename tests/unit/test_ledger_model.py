"""The ledger's rules keep every promise in every interleaving of a small world, and none could be left out.

`ledger_model` says what can happen in that world, and what a quiet one must look like: Stigg holds what the
newest revisions of all accepted orders add up to, Salesforce shows it, and until then the customer is due.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from unit.ledger_model import (
    Bounds,
    Rules,
    arrival,
    check,
    without_forgetting,
    without_late_readings,
    without_lease,
    without_token,
    without_transaction,
    without_version,
)

FIRST = arrival("006A", "x", at=1)
SECOND = arrival("006A", "y", at=2)
FIRST_AGAIN = arrival("006A", "x", at=3)
WRONG = arrival("006A", "w", at=2, valid=False)
ENDS = arrival("006A", "e", at=3, ends=True)
OTHER = arrival("006B", "z", at=1)
OTHER_CHANGED = arrival("006B", "v", at=2)
OTHER_CHANGED_BACK = arrival("006B", "z", at=3)

USUAL = {
    "two revisions, two deaths": Bounds((FIRST, SECOND), 2),
    "two revisions, every fault but a lost start once": Bounds((FIRST, SECOND), 1, refusals=1, vanished=1),
    "two revisions, a lost start": Bounds((FIRST, SECOND), 1, lost=1),
    "two revisions and another opportunity of the same customer": Bounds((FIRST, SECOND, OTHER)),
    "changed and changed back": Bounds((FIRST, SECOND, FIRST_AGAIN)),
    "a refused order between two valid ones": Bounds((FIRST, WRONG, FIRST_AGAIN)),
    "two revisions and a cancellation, of which any may come late": Bounds((FIRST, SECOND, ENDS)),
    "the same order three times": Bounds((FIRST, FIRST, FIRST_AGAIN)),
    "a payment that is pending": Bounds((FIRST,), 1, unpaid=True),
    "a step that outlives its lease": Bounds((FIRST,), 2, paused=True),
}
MORE = {
    "two revisions, every fault once": Bounds((FIRST, SECOND), 1, refusals=1, vanished=1, lost=1),
    "another opportunity, every fault but a lost start once": Bounds((FIRST, SECOND, OTHER), 1, refusals=1, vanished=1),
    "four deaths": Bounds((FIRST, SECOND), 4),
    "three executions at once": Bounds((FIRST, SECOND, OTHER), 1, at_once=3),
    "the other opportunity is changed and changed back": Bounds((FIRST, OTHER, OTHER_CHANGED, OTHER_CHANGED_BACK)),
    "a pending payment, two revisions, two deaths": Bounds((FIRST, SECOND), 2, unpaid=True),
    "two revisions, a step that outlives its lease": Bounds((FIRST, SECOND), 2, paused=True),
    "a lease shorter than a start takes": Bounds((FIRST, SECOND), 2, lost=1, lease=60_000),
    "a lease longer than a start takes": Bounds((FIRST, SECOND), 2, lost=1, lease=180_000),
    "a lease that ends at odd times": Bounds((FIRST, SECOND), 1, lost=1, lease=130_000),
}
CHECKED = USUAL | MORE if os.environ.get("HYPOTHESIS_PROFILE") == "prove" else USUAL
FIRST_OF_ALL = ("two revisions, two deaths", "changed and changed back", "a payment that is pending")
"""Small worlds that `make test` looks at too; the others are left to `make prove`."""


@pytest.mark.proof
@pytest.mark.parametrize(
    "bounds",
    [
        pytest.param(bounds, id=name, marks=[] if name in FIRST_OF_ALL else pytest.mark.long)
        for name, bounds in CHECKED.items()
    ],
)
def test_whatever_happens_in_whatever_order_both_systems_end_as_the_newest_orders_say(bounds: Bounds) -> None:
    result = check(bounds)
    assert result.wrong is None, f"\n{result}"
    assert result.quiet, "nothing was checked: no state is quiet"
    print(result)


@pytest.mark.parametrize(
    ("broken", "bounds"),
    [
        pytest.param(without_lease, Bounds((FIRST, SECOND), 0), id="the lease"),
        pytest.param(without_version, Bounds((FIRST, SECOND), 0), id="the version that was taken"),
        pytest.param(without_transaction, Bounds((FIRST,), 0), id="one transaction for an accepted order"),
        pytest.param(without_late_readings, Bounds((FIRST, ENDS), 0), id="what an older reading says that comes late"),
        pytest.param(without_token, Bounds((FIRST, SECOND)), id="the token of a step that ended"),
        pytest.param(
            without_forgetting,
            Bounds((FIRST, SECOND, FIRST_AGAIN)),
            id="forgetting what Salesforce showed when the outcome changes",
            marks=pytest.mark.long,
        ),
    ],
)
def test_no_rule_can_be_left_out(broken: Callable[[], Rules], bounds: Bounds) -> None:
    result = check(bounds, broken())
    assert result.wrong is not None, f"the checker does not notice: {result}"
    # One of both systems is wrong for good.
    assert result.wrong.startswith("nothing is due, but"), f"\n{result}"
    print(result)
    assert check(bounds).wrong is None, "the same bounds with the rule in place"
