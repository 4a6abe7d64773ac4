"""What the demo's chapters share: the sandbox, its first deal, and how things are waited for and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from html import unescape
from typing import Any

from sandbox.narration import Narration
from sandbox.onlooker import Onlooker
from sandbox.sandbox import Sandbox

FIRST_CALLOUT = "first callout answered in"
WARM_CALLOUT = "a later one in"
FIRST_DEAL = "first deal, callout to done"
SECOND_DEAL = "second deal, callout to done"
STATES = "states passed"
FIRST_REQUESTS = "first deal, HTTP round trips"
SECOND_REQUESTS = "second deal, HTTP round trips"
NUMBERS = (FIRST_CALLOUT, WARM_CALLOUT, FIRST_DEAL, SECOND_DEAL, STATES, FIRST_REQUESTS, SECOND_REQUESTS)
"""The numbers at the end, in their order."""

LONGEST = 60.0
"""Seconds an execution may take here before the story goes on without it."""


class Story:
    """What is told, over a sandbox that runs and in which nothing was sold yet.

    account_id, opportunity_id, subscription_id, deal, execution: the first deal's, as far as it was told. called: when
    its callout was sent, by the monotonic clock. numbers: those for the end, by name.
    """

    def __init__(self, sandbox: Sandbox, out: Narration) -> None:
        self.sandbox, self.out, self.look = sandbox, out, Onlooker(sandbox)
        self.today = datetime.now(UTC).date()
        self.account_id = self.opportunity_id = self.subscription_id = ""
        self.deal: dict[str, Any] = {}
        self.execution: str | None = None
        self.numbers: dict[str, str] = {}
        self.called = 0.0

    def opens(self, url: str | None, what: str, *promised: str) -> None:
        """Open a link and look for what it promises."""
        if not url:
            self.out.check(f"a link opens {what}", "a link", None)
            return
        status, html = self.look.open(url)
        page = unescape(html)
        missing = [part for part in promised if part not in page]
        found = f"{status}" + (f", without {', '.join(missing)}" if missing else "")
        self.out.check(
            f"it opens {what}",
            f"200, with {', '.join(promised)}",
            found,
            status == 200 and not missing,
        )
        self.out.link(url)

    def ends(self, execution: str) -> str:
        """Wait for an execution's end. Out: its status."""
        with self.out.waiting("the execution"):
            try:
                return str(self.sandbox.wait([execution], LONGEST)[0]["status"])
            except TimeoutError:
                return f"RUNNING after {LONGEST:.0f} s"

    def at_once(self, deal: Mapping[str, Any]) -> list[Any]:
        """The same callout from five callers at the same time."""
        with self.out.waiting("five callouts at once"), ThreadPoolExecutor(5) as pool:
            return list(pool.map(lambda _: self.sandbox.call(deal), range(5)))


def quantity(value: Any) -> str:
    """A number as people write it."""
    if value is True:
        return "included"
    return f"{value:,.0f}" if isinstance(value, (int, float)) else str(value)


def first_result(answer: Any) -> dict[str, Any]:
    """What a callout with one deal was told of it; empty where it was refused as a whole."""
    try:
        results = answer.json().get("results") or [{}]
    except ValueError:
        return {}
    found: dict[str, Any] = results[0]
    return found
