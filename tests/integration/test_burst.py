"""A burst, with Stigg's limits on: what the governor lets through is never refused."""

from __future__ import annotations

import pytest

from benchmarks import burst
from sandbox.stigg.limits import LIMITS


@pytest.mark.long
def test_more_subscriptions_at_once_than_stigg_takes_in_a_minute_are_all_made_and_none_is_answered_429() -> None:
    subscriptions = burst.REAL_DEALS + burst.REAL_OF_TWO_PLANS
    assert subscriptions > LIMITS["provision subscription"] * burst.REAL_SCALE
    run = burst.real()
    assert run.provisioned == burst.REAL_DEALS
    assert run.subscriptions == subscriptions
    assert run.throttled == 0
    assert run.transitions == 8, "one more than without a rate slot"
