"""The report of a run in sentences, and where its links lead. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from closedwon.domain.errors import failure_text, safe_text
from closedwon.domain.identifiers import normalised_id
from closedwon.domain.links import (
    object_url,
    salesforce_record_url,
    stigg_customer_url,
    stigg_subscription_url,
)
from closedwon.reconciliation.finding import KINDS, Finding, KindWords
from closedwon.reconciliation.report import FILES, OUTCOMES, Report
from closedwon.reconciliation.runs import Run, key
from closedwon.words.counted import counted

LONGEST = 2_000
"""The most characters of one text of a finding."""

# In a text of somebody else they could make an ID or a sentence read as another.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters that are invisible, or reverse the direction of what follows."""


def cleaned_text(text: str) -> str:
    return safe_text(_INVISIBLE.sub(" ", text), LONGEST)


class Link(NamedTuple):
    """label: what it leads to; text: its ID; url: "" where there is no page to lead to."""

    label: str
    text: str
    url: str


@dataclass(frozen=True)
class Places:
    """Where links lead. salesforce_url, app_url: the settings SALESFORCE_URL and STIGG_APP_URL. bucket: where reports
    are kept. stack: the stack's name. zone: the time zone in which times are told.
    """

    salesforce_url: str
    app_url: str
    bucket: str
    stack: str
    zone: ZoneInfo

    def links(self, finding: Finding) -> list[Link]:
        """The records a finding is about: account and deal in Salesforce, customer and subscription in Stigg.

        What comes from Stigg without a deal has no account: its key is the customer's ID there.
        """
        found = [
            Link("Account", finding.account_id, self._record(finding.account_id, "001")),
            Link("Deal", finding.opportunity_id or "", self._record(finding.opportunity_id, "006")),
            Link("Customer", finding.customer_id or "", self._page(stigg_customer_url, finding.customer_id)),
            Link(
                "Subscription",
                finding.subscription_id or "",
                self._page(stigg_subscription_url, finding.subscription_id),
            ),
        ]
        return [link for link in found if link.text]

    def _record(self, id: str | None, prefix: str) -> str:
        try:
            return salesforce_record_url(self.salesforce_url, normalised_id(id or "", prefix))
        # The key of what has no account is a customer's ID in Stigg, and no record of Salesforce.
        except ValueError:
            return ""

    def _page(self, url: Callable[[str, str], str], id: str | None) -> str:
        return url(self.app_url, id) if id and "***" not in id else ""  # a masked ID leads nowhere

    def time(self, instant: str) -> str:
        """2026-11-22 02:15, as clocks show it there."""
        return f"{datetime.fromisoformat(instant).astimezone(self.zone):%Y-%m-%d %H:%M}"


def words_of(kind: str) -> KindWords:
    """A kind of drift for people, also one that another version of closed-won found."""
    return KINDS.get(kind) or KindWords(kind.replace("_", " ").capitalize(), "", "")


def headline(report: Report) -> str:
    """The report in one sentence."""
    if report.state == "failed":
        return f"The run failed: {reason(report)}"
    if report.state == "stopped":
        return "Stopped early: Salesforce's API calls for today are used up."
    if report.state == "asks":
        many = counted(int((report.ending.weighed or {}).get("toRepair", 0)), "customer")
        return f"{many} would change: nothing is repaired before somebody approves."
    return differences(report)


def reason(report: Report) -> str:
    """What stopped the run, in a sentence; "" where nothing did."""
    text = cleaned_text(failure_text(report.ending.failure)) if report.ending.failure else ""
    # The error may be another service's own sentence, or cut off.
    return text if not text or text.endswith((".", "…", "!", "?")) else f"{text}."


def differences(report: Report) -> str:
    """How many customers differ, in one sentence."""
    customers = report.compared.customers
    if report.tally.customers.total():
        return _those_that_differ(report)
    if not customers:
        return _nothing_compared(report)
    compared = f"{counted(customers, 'customer')} {'was' if customers == 1 else 'were'} compared"
    # What was not compared may differ, so this must not read as if everything matched.
    if _cut_short(report):
        return f"{compared}, and {'it matches' if customers == 1 else 'they match'}."
    if report.compared.unconfirmed:
        return f"{compared}; what was looked at matches."
    return f"Everything matches: {compared}."


def _those_that_differ(report: Report) -> str:
    by_outcome = report.tally.customers
    differ = by_outcome.total()
    needs, left, repaired = (by_outcome[outcome] for outcome in OUTCOMES)
    parts = [
        f"{repaired:,} repaired" if repaired else "",
        f"{left:,} not repaired" if left else "",
        f"{needs:,} {'needs' if needs == 1 else 'need'} somebody" if needs else "",
    ]
    said = ", ".join(filter(None, parts))
    of_all = counted(report.compared.customers, "customer")
    return f"{differ:,} of {of_all} {'differs' if differ == 1 else 'differ'}: {said}."


def _nothing_compared(report: Report) -> str:
    if _cut_short(report):
        return "Nothing was compared."
    if report.run.mode == "changed":
        return "Nothing has changed, so there was nothing to compare."
    return "There is nothing to compare yet."


def _cut_short(report: Report) -> bool:
    """Whether the run ended before it had compared everything."""
    return report.ending.failure is not None or bool(report.not_compared)


def missing(report: Report) -> list[str]:
    """What was not looked at or not done, and what becomes of it; a sentence each."""
    said = []
    if report.ending.failure is not None and report.ending.exported is None:
        said.append("Nothing was compared: the run ended before the exports were complete.")
    if lost := report.not_compared:
        said.append(
            f"{counted(len(lost), 'partition')} of {report.run.partitions:,} could not be compared "
            f"({_numbers(lost)}). The execution shows why; the next run over everything looks at them again."
        )
    if unseen := report.compared.unconfirmed:
        said.append(
            f"{counted(unseen, 'customer')} looked suspicious in the exports, and there was no time to look at "
            f"{'it' if unseen == 1 else 'them'} live. The next run does."
        )
    if stuck := report.not_repaired:
        said.append(
            f"Repairs failed in {counted(len(stuck), 'partition')} ({_numbers(stuck)}). The execution shows why; "
            "the next run finds again what still differs."
        )
    if moved := report.repairs.left_alone:
        was, they = ("was", "it") if moved == 1 else ("were", "they")
        said.append(f"{counted(moved, 'customer')} {was} left alone: {they} had changed since {they} {was} compared.")
    return said


def _numbers(partitions: list[int]) -> str:
    more = f" and {len(partitions) - 20:,} more" if len(partitions) > 20 else ""
    return f"number{'s' if len(partitions) > 1 else ''} {', '.join(map(str, partitions[:20]))}{more}"


def approval(report: Report) -> str:
    """What starts the run again with leave to repair: the state machine's input."""
    # Of the same mode and depth: leave was asked for what such a run finds.
    return json.dumps({"mode": report.run.mode, "deep": report.run.deep, "approved": True})


def command(report: Report) -> str:
    """The same as a command of the AWS CLI."""
    state_machine = report.ending.state_machine
    return (
        # With the region, since another may be the default where somebody pastes this.
        f"aws stepfunctions start-execution --region {state_machine.split(':')[3]} "
        f"--state-machine-arn {state_machine} --input '{approval(report)}'"
    )


SERVICES = {"salesforce": "Salesforce", "stigg": "Stigg", "ledger": "DynamoDB"}


def file_url(report: Report, places: Places, name: str) -> str:
    return object_url(report.ending.execution, places.bucket, key(report.run, FILES[name]))


def scope(run: Run) -> str:
    """What a run looks at."""
    return "what changed" if run.mode == "changed" else "all customers"
