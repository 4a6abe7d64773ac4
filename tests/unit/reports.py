"""Made-up runs of reconciliation and what they found, for the tests of the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from closedwon.domain.identifiers import normalised_id
from closedwon.reconciliation.finding import KINDS, Finding
from closedwon.reconciliation.report import Compared, Ending, Repairs, Report
from closedwon.reconciliation.report_files import write_findings
from closedwon.reconciliation.report_words import Places
from closedwon.reconciliation.runs import Run

ARN = "arn:aws:states:eu-central-1:123456789012:execution:closed-won-Reconcile:5c0ffee0-1111-4222-8333-444455556666"

RUN = Run(
    id="20261122T021500-5c0ffee0",
    mode="all",
    deep=False,
    approved=False,
    since="",
    started_at="2026-11-22T01:15:00.000Z",
    deals_since="2026-01-01",
    partitions=4,
)

PLACES = Places(
    salesforce_url="https://acme.my.salesforce.com",
    app_url="https://app.stigg.io/production",
    bucket="closed-won-reconciliationbucket-1x2y3z",
    stack="closed-won",
    zone=ZoneInfo("Europe/Berlin"),
)

GO: Mapping[str, Any] = {"repair": "go", "customers": 0, "toRepair": 0, "mostPercent": 5, "failedPartitions": []}
EXPORTED: Mapping[str, Any] = {
    "salesforce": {"done": True, "calls": 42, "records": 9_120},
    "stigg": {"done": True, "calls": 31, "records": 3_012},
    "ledger": {"done": True, "calls": 0, "records": 4_100},
}


def account(number: int) -> str:
    return normalised_id(f"0015g000{number:07d}")


def opportunity(number: int) -> str:
    return normalised_id(f"0065g000{number:07d}")


def finding(number: int = 1, kind: str = "wrong_addon", **changes: Any) -> Finding:
    """A difference of the customer of that number, which needs a person unless it is said otherwise."""
    usual = Finding(
        kind,
        account(number),
        customer_id=account(number),
        opportunity_id=opportunity(number),
        subscription_id=f"{account(number)}--plan-enterprise-1",
        words="The add-ons of plan-enterprise are not those of the deal.",
        should="5 addon-extra-workspace",
        is_now="3 addon-extra-workspace",
        why="the stack's policy is to report this kind of difference",
    )
    return dataclasses.replace(usual, **changes)


def repaired(number: int = 1, kind: str = "wrong_addon", **changes: Any) -> Finding:
    return finding(number, kind, **{"remedy": "repair", "why": "", **changes})


def summary(partition: int = 0, customers: int = 0, **changes: int) -> dict[str, Any]:
    """What `compare` leaves of a partition."""
    usual = {"deals": 2 * customers, "subscriptions": customers, "suspects": 0, "unconfirmed": 0}
    return {"partition": partition, "customers": customers, **usual, **changes}


class Files:
    """The files that a report streams: their texts."""

    def __init__(self) -> None:
        self.lines = ""
        self.rows = ""

    def add_line(self, text: str) -> None:
        self.lines += text

    def add_row(self, text: str) -> None:
        self.rows += text


def report(
    *findings: Iterable[Finding],
    customers: int = 1_204,
    run: Run = RUN,
    weighed: Mapping[str, Any] | None = GO,
    exported: Mapping[str, Any] | None = EXPORTED,
    failure: Mapping[str, str] | None = None,
    summaries: Iterable[Mapping[str, Any]] | None = None,
    repairs: Repairs | None = None,
    ended_at: str = "2026-11-22T01:19:12.000Z",
    files: Files | None = None,
) -> Report:
    """A report on findings by partition, as the function makes it. All was compared and repaired unless it is said
    otherwise.
    """
    if summaries is None:
        summaries = [summary(number, customers if number == 0 else 0) for number in range(run.partitions)]
    if repairs is None:
        carried_out = range(run.partitions) if weighed and weighed["repair"] == "go" else ()
        repairs = Repairs(frozenset(carried_out))
    kept = files or Files()
    tally = write_findings(
        ((partition, (one.to_json() for one in found)) for partition, found in enumerate(findings)),
        repairs,
        PLACES,
        kept.add_line,
        kept.add_row,
    )
    return Report(Ending(run, ARN, ended_at, weighed, exported, failure), Compared.of(summaries), repairs, tally)


HOSTILE = (
    "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">",
    "</style></main><a href='javascript:alert(1)'>here</a>{{ 7 * 7 }}{% raw %}",
    '=HYPERLINK("http://evil.example","here") & \'quotes\' \u202e desrever \x00',
)

LONG = "feature-" + "averylongnamewithoutanyplacetobreakit" * 12


def everything(count: int = 600) -> list[Finding]:
    """Findings of every kind, of all outcomes, with long and hostile texts among them."""
    kinds = list(KINDS)
    found = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        made = finding if number % 3 else repaired
        found.append(
            made(
                number,
                kind,
                since="2026-11-19T08:30:00.000Z" if number % 4 == 0 else "",
                by_hand=number % 5 == 1,
                lowers=number % 7 == 2,
            )
        )
    for number, text in enumerate((*HOSTILE, LONG, "Ein Satz mit Umlauten: ä ö ü – und 漢字, עברית."), start=count):
        found.append(finding(number, "wrong_entitlement", words=text, should=text, is_now=text, why=text))
    found.append(finding(count + 9, "orphan_subscription", account_id="someone@example.com", customer_id="a@b.example"))
    found.append(finding(count + 10, "orphan_subscription", subscription_id="sub/../?<x>&\"'", opportunity_id=None))
    return found
