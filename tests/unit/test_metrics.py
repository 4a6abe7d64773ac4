"""What CloudWatch reads off the log: one line for each combination of dimensions, and nothing where nobody listens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from closedwon.aws import metrics
from closedwon.aws.ledger_metrics import measure
from closedwon.aws.metrics import METRICS, NAMESPACE, emitted, note, take
from closedwon.domain.contract.facts import settle
from closedwon.domain.customer import Customer, OpportunityState, Outcome, Status
from closedwon.domain.identifiers import AccountId
from closedwon.domain.order import Revision
from unit.domain import an_order, plan


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    take()


def told(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_a_handler_tells_what_was_noted_by_whomever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STACK_NAME", "prod")

    @emitted
    def handler(event: str) -> str:
        for status in ("Held", "Provisioned", "Provisioned"):
            note("Deals", Status=status)
        note("SecondsToProvisioned", 4.5)
        note("SecondsToProvisioned", 2.0)
        note("SalesforceApiUsedPercent", 12.5)
        note("SalesforceApiUsedPercent", 12.6)
        return event

    assert handler("event") == "event"
    held, provisioned, plain = told(capsys.readouterr().out)
    assert held["Stack"] == "prod"
    assert (held["Status"], held["Deals"]) == ("Held", 1)
    assert (provisioned["Status"], provisioned["Deals"]) == ("Provisioned", 2)  # counts are added up
    assert plain["SecondsToProvisioned"] == [4.5, 2.0]  # times are each told, for percentiles
    assert plain["SalesforceApiUsedPercent"] == 12.6
    [about] = plain["_aws"]["CloudWatchMetrics"]
    assert about == {
        "Namespace": NAMESPACE,
        "Dimensions": [["Stack"]],
        "Metrics": [
            {"Name": "SecondsToProvisioned", "Unit": "Seconds"},
            {"Name": "SalesforceApiUsedPercent", "Unit": "Percent"},
        ],
    }


def test_a_handler_that_fails_tells_what_it_noted(capsys: pytest.CaptureFixture[str]) -> None:
    @emitted
    def handler() -> None:
        note("Throttled", System="Stigg")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        handler()
    [line] = told(capsys.readouterr().out)
    assert (line["System"], line["Throttled"]) == ("Stigg", 1)
    assert take() == []


def test_outside_a_handler_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(20_000):
        note("GovernorWaits")
    assert capsys.readouterr().out == ""
    assert len(take()) == 10_000  # and it does not grow for ever


def test_a_line_holds_no_more_values_than_cloudwatch_reads() -> None:
    for second in range(250):
        note("SecondsToProvisioned", second)
    lines = [json.loads(line) for line in metrics.lines(take(), "prod", 0)]
    assert [len(line["SecondsToProvisioned"]) for line in lines] == [100, 100, 50]


def test_a_metric_has_its_dimensions_and_no_others() -> None:
    dimensions: tuple[tuple[str, dict[str, Any]], ...] = (
        ("Deals", {}),
        ("Due", {"Kind": "x"}),
        ("DriftFound", {"Status": "x"}),
    )
    for name, by in dimensions:
        with pytest.raises(ValueError, match=name):
            note(name, **by)
    note("DriftFound", 3)
    note("DriftFound", 3, Kind="wrong_plan")


def test_every_metric_says_what_it_counts() -> None:
    assert all(metric.unit in ("Count", "Seconds", "Percent", "None") for metric in METRICS.values())
    assert all(len(metric.by) <= 1 for metric in METRICS.values())  # with the stack: what alarms can name


# Which outcomes count

CLOSED = 1_795_000_000_000
SECOND, DAY = 1000, 86_400_000
ORDER = an_order(plan())


def state(status: Status, at: int, provisioned: bool = False, **more: Any) -> Customer:
    """A customer with one deal, which closed at CLOSED and got this outcome `at` milliseconds later."""
    outcome = Outcome(status, **more)
    deal = OpportunityState(ORDER, Revision(CLOSED, 0), 1, "one", outcome=outcome, at=CLOSED + at)
    if provisioned:
        deal = deal.with_history(settle(deal.history, deal.history.contribution))
    return Customer(AccountId("001"), opportunities={ORDER.opportunity_id: deal})


def measured(before: Customer, after: Customer) -> dict[str, Any]:
    measure(before, after)
    return {noted.name: noted.by[0][1] if noted.by else noted.value for noted in take()}


def test_a_deal_counts_when_its_status_changes() -> None:
    begun = state("Provisioning", 1 * SECOND)
    done = state("Provisioned", 4 * SECOND, provisioned=True)
    assert measured(Customer(AccountId("001")), begun) == {}
    assert measured(begun, done) == {"Deals": "Provisioned", "SecondsToProvisioned": 4.0}
    assert measured(done, done) == {}
    assert measured(Customer(AccountId("001")), state("Failed", 0)) == {
        "Deals": "Failed",
        "DealsByCode": "other",
    }  # refused as it arrived
    assert measured(state("Failed", 0, reason="one"), state("Failed", 1, reason="another try")) == {}
    held = {"Deals": "Held", "DealsByCode": "no_base"}
    assert measured(begun, state("Held", 5, code="no_base")) == {**held, "Held": "Change"}
    assert measured(begun, state("Held", 5, code="no_base", approval="removal")) == {**held, "Held": "Approval"}


def test_only_codes_that_there_are_become_a_dimension() -> None:
    begun = state("Provisioning", 1 * SECOND)
    for code, told in (
        ("stigg_unauthorized", "stigg_unauthorized"),
        ("unexpected", "unexpected"),
        ("of_a_newer_version", "other"),
        ("", "other"),
    ):
        assert measured(begun, state("Failed", 5, code=code))["DealsByCode"] == told


def test_the_time_is_that_of_the_first_provisioning_and_of_closed_won_alone() -> None:
    done = state("Provisioned", 90 * SECOND, provisioned=True)
    assert measured(state("Failed", 30 * SECOND), done)["SecondsToProvisioned"] == 90.0  # an outage counts
    for waited in ("Scheduled", "Held", "Payment required"):  # for a date, or for somebody
        assert measured(state(waited, SECOND), done) == {"Deals": "Provisioned"}
    again = state("Provisioning", SECOND, provisioned=True)
    assert measured(again, done) == {"Deals": "Provisioned"}
    old = state("Provisioned", 300 * DAY + SECOND, provisioned=True)
    assert measured(state("Provisioning", 300 * DAY), old) == {"Deals": "Provisioned"}  # from the backfill
