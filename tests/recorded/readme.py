"""The README beside the recorded data: what it is, and what each customer stands for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from recorded.files import Recording, read
from recorded.shop import Stack

ABOUT = """\
What the ledger, Stigg's stand-in and Salesforce's held of these customers, as it was made through the product's public
ways on running sandboxes (`make record-ledger`, tests/recorded). tests/unit/test_recorded_ledger.py plays it: a release
changes nobody's access or price by itself.

Made once, by that commit's code, and not made again: what later versions store differently, they have to read from
here. tests/recorded/files.py says what each file holds. All people, companies and addresses are made up.
"""


def readme(folder: Path, stacks: list[Stack]) -> str:
    """The text of it. In: the folder of the recording; the stacks in their order."""
    kept = [read(folder / stack.name) for stack in stacks if (folder / stack.name / "stack.json").exists()]
    parts = [
        f"# The ledger as {kept[0].stack['commit']} stored it\n\n{ABOUT}",
        counts(kept),
    ]
    for one in kept:
        stack = one.stack
        parts.append(f"## {stack['name']}\n\n{stack['standsFor']} Recorded {stack['moment']}.\n")
        rows = ["| customer | stands for | its deals | found |", "|---|---|---|---|"]
        for customer in one.customers:
            deals = Counter(deal["status"] for deal in customer["deals"].values() if deal)
            statuses = ", ".join(f"{n} {status}" if n > 1 else status for status, n in deals.items()) or "unknown"
            findings = ", ".join(dict.fromkeys(f["kind"] for f in customer["verdict"]["findings"]))
            if customer["verdict"]["underWay"]:
                findings = "under way"
            rows.append(f"| {customer['name']} | {customer['standsFor']} | {statuses} | {findings} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def counts(kept: list[Recording]) -> str:
    """How often each trigger and each status is in it."""
    triggers = Counter(deal["trigger"] for one in kept for deal in one.newest)
    statuses = Counter(
        deal["status"] for one in kept for customer in one.customers for deal in customer["deals"].values() if deal
    )
    customers = sum(len(one.customers) for one in kept)
    told = f"Deals by trigger: {_told(triggers)}. By status: {_told(statuses)}."
    return f"{customers} customers at {len(kept)} stacks. {told}\n"


def _told(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counter.items()))
