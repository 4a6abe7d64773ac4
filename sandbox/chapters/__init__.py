"""The demo's chapters, in their order: each tells its part of a story, and checks it."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.chapters import first_deal, life, mistakes, payment, reconciliation, repeats
from sandbox.chapters.story import Story

CHAPTERS: tuple[tuple[str, Callable[[Story], None]], ...] = (
    ("A deal is won in Salesforce", first_deal.won),
    ("Salesforce calls", first_deal.calls),
    ("The provisioning runs", first_deal.runs),
    ("What Stigg holds now", first_deal.stigg_holds),
    ("What Salesforce shows now", first_deal.salesforce_shows),
    ("The same callout, five times at once", repeats.five_at_once),
    ("An older revision comes late", repeats.comes_late),
    ("A deal names a plan that Stigg does not have", mistakes.wrong_id),
    ("A deal names an ID that cannot be one", mistakes.wrong_prefix),
    ("A deal is paid for by card", payment.tell),
    ("A deal's life, from trial to cancellation", life.tell),
    ("A lost callout and an edit by hand are found", reconciliation.tell),
)
