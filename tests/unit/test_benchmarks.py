"""What the benchmarks count is what they say."""

from __future__ import annotations

from benchmarks.cold_start import ColdStart, Comparison
from benchmarks.one_deal import Calls, Transitions
from sandbox.stand_in import Exchange


def exchange(at: float, method: str, path: str) -> Exchange:
    return Exchange(0, method, path, at)


def test_a_state_counts_when_entered_a_retry_again_and_the_start_once() -> None:
    names = "ExecutionStarted TaskStateEntered LambdaFunctionScheduled LambdaFunctionFailed LambdaFunctionScheduled"
    names += " LambdaFunctionSucceeded TaskStateExited ChoiceStateEntered ChoiceStateExited SucceedStateEntered"
    counted = Transitions.of({"type": name} for name in names.split())
    assert counted == Transitions(states=3, retries=1)
    assert counted.total == 5


def test_logging_in_and_previewing_are_calls_but_no_writes() -> None:
    stigg = [
        exchange(1, "GET", "/api/v1/customers/a"),
        exchange(3, "POST", "/api/v1/subscriptions/preview"),
        exchange(4, "POST", "/api/v1/subscriptions"),
    ]
    salesforce = [
        exchange(2, "POST", "/services/oauth2/token"),
        exchange(5, "POST", "/services/data/v66.0/composite"),
    ]
    counted = Calls.of(stigg, salesforce)
    assert [request.split()[0] for request in counted.requests] == "Stigg Salesforce Stigg Stigg Salesforce".split()
    assert counted.writes == 2


def test_a_ratio_is_the_median_of_the_rounds_ratios_so_that_a_slow_round_is_slow_for_both() -> None:
    ours = [ColdStart(ready, 0, 0) for ready in (1.0, 10.0, 3.0)]
    usual = [ColdStart(ready, 0, 0) for ready in (4.0, 40.0, 6.0)]
    assert Comparison("sweep", ours, usual, usual).ratio(usual, "ready") == 0.25
