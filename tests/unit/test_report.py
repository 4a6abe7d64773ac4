"""What a run of reconciliation tells people and machines: every finding once, nothing executable, nothing private."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedwon.reconciliation.finding import KINDS, Finding
from closedwon.reconciliation.report import OUTCOMES, SHOWN, Compared, Repairs, Report
from closedwon.reconciliation.report_files import defused, measured, summary, write_findings
from closedwon.reconciliation.report_message import SUBJECT, message, subject, worth_telling
from closedwon.reconciliation.report_page import groups, page
from closedwon.reconciliation.report_words import command, headline, missing, words_of
from closedwon.words.counted import duration
from unit import reports
from unit.reports import EXPORTED, GO, HOSTILE, PLACES, RUN, Files, account, finding, repaired, report

BROKEN = {"Error": "StorageUnavailable", "Cause": json.dumps({"errorMessage": "S3 answered 503"})}
SPENT = {"Error": "SalesforceBudgetSpent", "Cause": json.dumps({"errorMessage": "83% of the day's calls are used"})}
ASK = {**GO, "repair": "ask", "toRepair": 412, "mostPercent": 5}
CHANGED = replace(RUN, mode="changed", since="2026-11-22T00:00:00Z")


class Page(HTMLParser):
    """What a browser makes of a page: elements, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def links(self) -> list[str]:
        return [value or "" for name, value in self.attributes if name == "href"]


def seen(told: Report) -> Page:
    return Page(page(told, PLACES))


def csv_rows(files: Files) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files.rows, newline="")))


# The sentence


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            report([repaired(1), finding(2), finding(3)]),
            "3 of 1,204 customers differ: 1 repaired, 2 need somebody.",
        ),
        (report([finding(1)], customers=1), "1 of 1 customer differs: 1 needs somebody."),
        (report([repaired(1, "wrong_addon"), repaired(1, "wrong_price")]), "1 of 1,204 customers differs: 1 repaired."),
        (report([repaired(1), finding(1)]), "1 of 1,204 customers differs: 1 needs somebody."),
        (report(), "Everything matches: 1,204 customers were compared."),
        (report(customers=1), "Everything matches: 1 customer was compared."),
        (report(customers=0), "There is nothing to compare yet."),
        (report(customers=0, run=CHANGED), "Nothing has changed, so there was nothing to compare."),
        (report(summaries=[reports.summary(0, 7)]), "7 customers were compared, and they match."),
        (
            report(summaries=[reports.summary(n, 7, unconfirmed=1) for n in range(4)]),
            "28 customers were compared; what was looked at matches.",
        ),
        (report(failure=BROKEN, exported=None, weighed=None, summaries=[]), "The run failed: S3 answered 503."),
        (
            report(failure={"Error": "KeyError", "Cause": '{"errorMessage": "Jo Doe"}'}, summaries=[]),
            "The run failed: An unexpected failure (KeyError).",
        ),
        (
            report(failure=SPENT, exported=None, weighed=None),
            "Stopped early: Salesforce's API calls for today are used up.",
        ),
        (
            report([repaired(n) for n in range(412)], weighed=ASK),
            "412 customers would change: nothing is repaired before somebody approves.",
        ),
    ],
)
def test_the_report_in_one_sentence(told: Report, sentence: str) -> None:
    assert headline(told) == sentence
    assert sentence in seen(told).text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59.6, "1 minute"),
        (252, "4 minutes 12 seconds"),
        (7_500, "2 hours 5 minutes"),
    ],
)
def test_how_long_it_took(seconds: float, said: str) -> None:
    assert duration(seconds) == said


# What became of a finding


def test_what_policy_repairs_is_repaired_only_where_the_repair_was_carried_out() -> None:
    files = Files()
    told = report([repaired(1)], [repaired(2)], repairs=Repairs(frozenset({0})), files=files)
    assert [row["outcome"] for row in csv_rows(files)] == ["repaired", "not_repaired"]
    assert told.not_repaired == [1]
    [said] = missing(told)
    assert said.startswith("Repairs failed in 1 partition (number 1).")


def test_a_run_that_asks_says_how_to_let_it_go_on() -> None:
    told = report([repaired(n) for n in range(412)], weighed=ASK)
    assert told.tally.count("not_repaired") == 412
    assert told.not_repaired == []
    said = (
        "aws stepfunctions start-execution --region eu-central-1 "
        "--state-machine-arn arn:aws:states:eu-central-1:123456789012:stateMachine:closed-won-Reconcile "
        """--input '{"mode": "all", "deep": false, "approved": true}'"""
    )
    assert command(told) == said
    assert said in seen(told).text
    assert said in message(told, PLACES)


@pytest.mark.parametrize(
    ("told", "state", "good"),
    [
        (report(), "matches", True),
        (report([repaired()]), "repaired", True),
        (report([finding()]), "attention", True),
        (report(summaries=[reports.summary(0, 7)]), "attention", False),
        (report(summaries=[reports.summary(n, 7, unconfirmed=1) for n in range(4)]), "attention", False),
        (report([repaired()], weighed=ASK), "asks", True),
        (report([repaired()], weighed=ASK, run=CHANGED), "asks", False),
        (report([repaired()], repairs=Repairs(), run=CHANGED), "attention", False),
        (report(failure=SPENT), "stopped", False),
        (report(failure=BROKEN), "failed", False),
    ],
)
def test_a_run_is_good_when_the_next_one_misses_nothing_by_going_on_from_it(
    told: Report, state: str, good: bool
) -> None:
    assert (told.state, told.good) == (state, good)


def test_partitions_without_a_summary_are_named_unless_there_was_nothing_to_compare_yet() -> None:
    assert report(summaries=[reports.summary(1), reports.summary(3)]).not_compared == [0, 2]
    early = report(failure=BROKEN, exported=None, weighed=None, summaries=[])
    assert early.not_compared == []
    assert missing(early) == ["Nothing was compared: the run ended before the exports were complete."]


# Files for machines

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(HOSTILE)
_findings = st.builds(
    finding,
    st.integers(0, 50),
    st.sampled_from([*KINDS, "of_another_version"]),
    words=_texts,
    should=_texts,
    is_now=_texts,
    customer_id=st.none() | _texts,
    subscription_id=st.none() | _texts,
    remedy=st.sampled_from(["repair", "report"]),
    by_hand=st.booleans(),
)


@given(st.lists(st.lists(_findings, max_size=8), max_size=4))
def test_every_finding_is_a_line_of_json_a_row_of_csv_and_counted_once(partitions: list[list[Finding]]) -> None:
    files = Files()
    told = report(*partitions, files=files)
    kinds = [one.kind for found in partitions for one in found]
    lines = [json.loads(line) for line in files.lines.splitlines()]
    rows = csv_rows(files)
    assert [line["kind"] for line in lines] == [row["kind"] for row in rows] == kinds
    assert [line["outcome"] for line in lines] == [row["outcome"] for row in rows]
    assert files.rows.count("\r\n") == len(kinds) + 1
    assert told.tally.count() == sum(told.tally.count(outcome) for outcome in OUTCOMES) == len(kinds)
    accounts = {(place, one.account_id) for place, found in enumerate(partitions) for one in found}
    assert told.tally.customers.total() == len(accounts)
    Page(page(told, PLACES))


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "＝1", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(cell: str) -> None:
    assert defused(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "5 addon-a", "a=b", "plan-enterprise", "'quoted'", "48,000.00 USD"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert defused(cell) == cell


def test_the_csv_leads_to_the_records() -> None:
    files = Files()
    report([finding(2, subscription_id="s/2")], files=files)
    [row] = csv_rows(files)
    assert row["account_url"] == f"https://acme.my.salesforce.com/{account(2)}"
    assert row["opportunity_url"] == f"https://acme.my.salesforce.com/{reports.opportunity(2)}"
    assert row["customer_url"] == f"https://app.stigg.io/production/customers/{account(2)}"
    assert row["subscription_url"] == "https://app.stigg.io/production/subscriptions/s%2F2"


@pytest.mark.long
def test_however_many_findings_there_are_only_what_the_page_shows_is_held() -> None:
    def findings(partition: int) -> Iterator[dict[str, Any]]:
        for number in range(2_000):
            yield {**one, "account_id": account(2_000 * partition + number)}

    class Written:
        bytes = 0

        def add(self, text: str) -> None:
            self.bytes += len(text)

    one = finding(1).to_json()
    lines, rows = Written(), Written()
    tracemalloc.start()
    try:
        tally = write_findings(((n, findings(n)) for n in range(10)), Repairs(), PLACES, lines.add, rows.add)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tally.count() == tally.customers.total() == 20_000
    assert min(lines.bytes, rows.bytes) > 9_000_000
    assert peak < 3_000_000


def test_the_summary_holds_the_numbers() -> None:
    told = report(
        [repaired(1, "missed_deal"), finding(2)],
        [finding(9)],
        summaries=[reports.summary(0, 5, suspects=3), reports.summary(1, 6, unconfirmed=1)],
        repairs=Repairs(frozenset({0, 1}), accepted=1, left_alone=2),
    )
    numbers = summary(told)
    assert (numbers["customers"], numbers["customersThatDiffer"], numbers["unconfirmed"]) == (11, 3, 1)
    assert (numbers["findings"], numbers["repaired"], numbers["needsPerson"], numbers["notRepaired"]) == (3, 1, 2, 0)
    assert numbers["kinds"]["wrong_addon"] == {"needs_person": 2, "not_repaired": 0, "repaired": 0}
    assert numbers["partitionsNotCompared"] == [2, 3]
    assert (numbers["seconds"], numbers["state"]) == (252, "attention")
    assert numbers["calls"] == {"salesforce": 42, "stigg": 31}
    json.dumps(numbers)


def test_the_metrics_are_those_that_alarms_are_built_on() -> None:
    told = report([repaired(1), finding(2, "missed_deal"), finding(3)], summaries=[reports.summary(0, 5)])
    values = {(one.name, one.by.get("Kind", "")): one.value for one in measured(told)}
    assert values == {
        ("RunsGood", ""): 0,
        ("RunsAsking", ""): 0,
        ("DriftFound", ""): 3,
        ("DriftRepaired", ""): 1,
        ("DriftNeedsPerson", ""): 2,
        ("CustomersCompared", ""): 5,
        ("PartitionsFailed", ""): 3,
        ("RunSeconds", ""): 252,
        ("DriftFound", "missed_deal"): 1,
        ("DriftFound", "wrong_addon"): 2,
    }


# The page


def test_no_text_of_others_becomes_an_element_an_attribute_or_a_link() -> None:
    calm, hostile = (
        seen(report([finding(1)])),
        seen(report([finding(1, words=" ".join(HOSTILE), should=HOSTILE[0], is_now=HOSTILE[1], why=HOSTILE[2])])),
    )
    assert hostile.tags == calm.tags
    assert hostile.links == calm.links
    assert "script" not in hostile.tags
    assert HOSTILE[0] in hostile.text
    assert "{{ 7 * 7 }}" in hostile.text


def test_every_link_is_to_https_within_the_page_or_to_nothing() -> None:
    links = seen(report(reports.everything())).links
    assert {link.split(":")[0] for link in links if not link.startswith("#")} == {"https", "data"}
    assert not any("***" in link or "@" in link for link in links)


def test_every_kind_is_explained_and_its_findings_are_within_reach() -> None:
    told = seen(report(reports.everything()))
    for kind in KINDS:
        assert words_of(kind).title in told.text
        assert words_of(kind).meaning in told.text
        assert words_of(kind).remedy in told.text
    anchors = {f"#{value}" for name, value in told.attributes if name == "id"}
    assert {link for link in told.links if link.startswith("#")} <= anchors


def test_the_page_shows_what_needs_a_person_first_and_a_share_of_every_kind() -> None:
    many = [repaired(n, "stale_write_back") for n in range(600)]
    many += [finding(n, "changed_by_hand") for n in range(600, 1_300)] + [finding(1_300, "deleted_deal")]
    told = report(many)
    shown = groups(told.tally)
    assert [(g.kind, g.count, len(g.findings)) for g in shown["needs_person"]] == [
        ("changed_by_hand", 700, SHOWN - 1),
        ("deleted_deal", 1, 1),
    ]
    assert [(g.count, len(g.findings)) for g in shown["repaired"]] == [(600, 0)]
    text = seen(told).text
    assert "201 more of this kind are in the CSV." in text
    assert "It shows 500 of 1,301 differences" in text


def test_a_run_without_a_difference_shows_no_empty_lists() -> None:
    told = seen(report())
    assert "table" not in told.tags
    assert "Needs somebody" not in told.text


def test_no_e_mail_address_leaves_in_any_form() -> None:
    files = Files()
    told = report(
        [finding(1, account_id="jo@example.com", customer_id="jo@example.com", words="for jo@example.com")], files=files
    )
    for text in (page(told, PLACES), message(told, PLACES), files.lines, files.rows, json.dumps(summary(told))):
        assert "jo@" not in text
        assert "jo%40" not in text


def test_two_customers_whose_ids_are_masked_are_still_two() -> None:
    told = report([finding(1, account_id="jo@example.com"), finding(2, account_id="al@example.com")])
    assert told.tally.customers.total() == 2


# The notification


@given(st.builds(lambda text: {"Error": "StiggRefused", "Cause": json.dumps({"errorMessage": text})}, st.text()))
def test_the_subject_is_short_ascii_in_one_line(failure: dict[str, str]) -> None:
    said = subject(report(failure=failure), PLACES)
    assert said.isascii()
    assert said.isprintable()
    assert len(said) <= SUBJECT


def test_the_notification_counts_and_says_where_to_read_on() -> None:
    found = [finding(n, kind) for n, kind in enumerate(KINDS)] + [repaired(99, "wrong_price")]
    told = message(report(found), PLACES)
    assert "25 of 1,204 customers differ: 1 repaired, 24 need somebody." in told
    assert "- Other prices: 1 repaired, 1 for somebody to look at" in told
    assert "- and 19 other kinds" in told
    assert "s3://closed-won-reconciliationbucket-1x2y3z/runs/20261122T021500-5c0ffee0/report/report.html" in told
    assert "https://eu-central-1.console.aws.amazon.com/states/home?region=eu-central-1#/v2/executions/" in told


def test_nobody_is_told_of_every_hour_in_which_all_was_well() -> None:
    assert not worth_telling(report(run=CHANGED))
    assert worth_telling(report(run=RUN))
    assert worth_telling(report([repaired()], run=CHANGED))
    assert worth_telling(report(failure=SPENT, run=CHANGED))


def test_what_the_partitions_say_adds_up() -> None:
    assert Compared.of([reports.summary(0, 5, suspects=2), reports.summary(3, 6)]) == Compared(
        frozenset({0, 3}), customers=11, deals=22, subscriptions=11, suspects=2
    )
    assert Repairs.of(
        {0: {"accepted": 1, "madeDue": 2, "leftAlone": 0}, 3: {"accepted": 0, "madeDue": 3, "leftAlone": 1}}
    ) == (
        frozenset({0, 3}),
        1,
        5,
        1,
    )
    assert report(exported={**EXPORTED, "stigg": None}).ending.calls == {"salesforce": 42}
