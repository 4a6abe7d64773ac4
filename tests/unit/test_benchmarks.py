"""What the benchmarks count is what they say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks import callout, contract, results
from benchmarks.cold_start import ColdStart, Comparison
from benchmarks.lines import Line
from benchmarks.one_deal import Calls, Transitions
from benchmarks.organisation import Text
from benchmarks.reconcile import phases
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


def test_a_phase_lasts_until_the_next_one_is_entered_and_the_last_until_the_end() -> None:
    def event(second: int, name: str = "") -> dict[str, Any]:
        entered = {"stateEnteredEventDetails": {"name": name}} if name else {}
        return {"timestamp": datetime(2026, 1, 1, 2, 15, second, tzinfo=UTC), **entered}

    names = ["Begin", "Export", "ExportStigg", "Compare", "Weigh", "ToRepair", "Report", "HowItEnded"]
    history = [event(3 * place, name) for place, name in enumerate(names)]
    seconds, exported = phases([*history, event(30)])
    assert seconds == {"Begin": 3, "Export": 6, "Compare": 3, "Weigh": 6, "Report": 12}
    assert exported == datetime(2026, 1, 1, 2, 15, 9, tzinfo=UTC).timestamp()


def test_a_text_is_copied_with_other_words_where_the_old_ones_stood() -> None:
    text = Text({"id": "acme-product", "of": ["acme", "acmes"]}, ["acme", "acme-product", "gone"])
    assert json.loads(text.with_({"acme": "b", "acme-product": "a"})) == {"id": "a", "of": ["b", "bs"]}


def test_the_callouts_benchmark_measures_deals_that_were_accepted() -> None:
    assert all(milliseconds > 0 for milliseconds in callout.measure(rounds=1))


def test_what_was_kept_last_is_known_of_each_figure(tmp_path: Path) -> None:
    first = [Line("calls", "5", "<= 5", True), Line("seconds", "9", "<= 8", False)]
    path = results.keep(first, results.machine(), tmp_path)
    assert results.last_kept(tmp_path)["seconds"] == ("9", json.loads(path.read_text())["commit"])
    assert {"processors", "processor", "python", "system"} <= json.loads(path.read_text())["machine"].keys()
    path.rename(tmp_path / "2000-01-01T0000-old.json")
    results.keep([Line("calls", "4", "<= 5", True)], {}, tmp_path)
    assert {what: measured for what, (measured, _) in results.last_kept(tmp_path).items()} == {
        "calls": "4",
        "seconds": "9",
    }


def test_every_customer_of_the_contract_benchmark_comes_to_something_and_nothing_is_held_but_what_should_be() -> None:
    answers = {one.name: one for one in contract.compare(None, lambda _: None, rounds=1, share=0.02)}
    assert answers.keys() == contract.CUSTOMERS.keys()
    for name, one in answers.items():
        held = one.deals if name.startswith("held") else 0
        assert (len(one.ours.waiting), one.ours.coming > 0) == (held, not held), name
        assert bool(one.ours.stands) == (not held), name
    assert len(contract.of_resources(1)[0]["lines"]) == contract.LINES == 50


def test_versions_that_do_not_come_to_the_same_are_not_compared() -> None:
    ours = contract.Answer(1.0, {"a": {"seats": 1}}, (), 1)
    contract.Compared("a", 1, ours, None).checked()
    with pytest.raises(contract.NotComparable, match="seats"):
        contract.Compared("a", 1, ours, ours._replace(stands={"a": {"seats": 2}})).checked()
