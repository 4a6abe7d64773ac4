"""What a customer's deals cost to work out: the contract model, and an earlier commit's beside it, in one run.

Both get the same deals, as the callout sends them, and the same catalogue, and have to come to the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.folders import BUILD, ROOT, unpack
from benchmarks.timing import ACCOUNT, ORGANIZATION

Json = dict[str, Any]

FEATURES, ADDONS = 40, 9
LINES = 1 + ADDONS + FEATURES
"""Of a deal that sells all there is."""

FIRST_DAY, LAST_DAY = date(2026, 7, 1), date(2028, 6, 30)
NOW = datetime(2026, 10, 1, 12, tzinfo=UTC)
SAVED = "2026-06-20T09:15:31.000Z"

LONGEST = 600
"""Seconds after which a version has not answered."""


class NotComparable(Exception):
    """A version did not answer, or not what the other does; the message says what."""


class Answer(NamedTuple):
    """What a version said. seconds: of CPU; waiting: the deals that are held; coming: moments that were planned."""

    seconds: float
    stands: Mapping[str, Mapping[str, int]]
    waiting: tuple[str, ...]
    coming: int


@dataclass(frozen=True)
class Compared:
    """One customer. before: what the earlier commit said, None where none was asked for."""

    name: str
    deals: int
    ours: Answer
    before: Answer | None

    @property
    def ratio(self) -> float:
        """Our time to the earlier commit's."""
        return self.ours.seconds / self.before.seconds if self.before else 0.0

    def checked(self) -> Compared:
        """Itself; NotComparable where the two do not come to the same."""
        ours, theirs = self.ours, self.before
        if theirs is not None and (ours.stands, ours.waiting) != (theirs.stands, theirs.waiting):
            slots = [
                slot for slot in {**ours.stands, **theirs.stands} if ours.stands.get(slot) != theirs.stands.get(slot)
            ]
            such = f", such as {slots[0]}: {ours.stands.get(slots[0])}, {theirs.stands.get(slots[0])}" if slots else ""
            waiting = f"{len(ours.waiting)} and {len(theirs.waiting)} deals wait"
            raise NotComparable(f"{self.name}: {len(slots)} slots are not the same{such}; {waiting}")
        return self


def opportunity(number: int) -> str:
    return f"0065g{number:010d}"


def catalogue() -> str:
    """A catalogue of one product, as the ledger keeps it: a plan, add-ons and features."""
    addons, features = [f"addon-{n}" for n in range(ADDONS)], [f"feature-{n}" for n in range(FEATURES)]
    return json.dumps(
        {
            "plans": {"plan-enterprise": ["product-platform", "PAID", addons, []]},
            "addons": dict.fromkeys(addons),
            "features": dict.fromkeys(features, "NUMBER"),
            "currencies": [],
            "readAt": 0,
        }
    )


def deal(number: int, trigger: str, lines: list[Json], **more: Any) -> Json:
    """A deal as the callout sends it."""
    return {
        "organizationId": ORGANIZATION,
        "trigger": trigger,
        "opportunity": {"id": opportunity(number), "systemModstamp": SAVED, "readAt": SAVED},
        "account": {"id": ACCOUNT, "name": "Northwind Traders"},
        "lines": lines,
        **more,
    }


def line(kind: str, id: str, quantity: int, **more: Any) -> Json:
    return {"stiggType": kind, "stiggId": id, "quantity": quantity, **more}


def everything(more: int = 0) -> list[Json]:
    """A line of all there is to sell; the last feature's quantity rises after a year."""
    features = [line("Entitlement", f"feature-{n}", 10 + n + more) for n in range(FEATURES - 2)]
    ramp = [
        line("Entitlement", f"feature-{FEATURES - 1}", 5, end="2027-06-30"),
        line("Entitlement", f"feature-{FEATURES - 1}", 8, start="2027-07-01"),
    ]
    addons = [line("Add-on", f"addon-{n}", 2) for n in range(ADDONS)]
    return [line("Plan", "plan-enterprise", 1), *addons, *features, *ramp]


def term(first: date = FIRST_DAY) -> Json:
    terms = {"billingPeriod": "ANNUALLY", "paymentCollection": "INVOICE", "end": LAST_DAY.isoformat()}
    return {"terms": {**terms, "start": first.isoformat()}}


def of_resources(count: int) -> list[Json]:
    """Deals of a resource each."""
    return [
        deal(n, "closed_won", everything(n), resourceId=f"unit-{n}", **term(FIRST_DAY + timedelta(days=n % 180)))
        for n in range(count)
    ]


def of_one_slot(count: int) -> list[Json]:
    """Deals of one slot, which add up."""
    return [deal(n, "closed_won", everything(n), **term(FIRST_DAY + timedelta(days=n % 180))) for n in range(count)]


def amendments(count: int) -> list[Json]:
    """A contract, and amendments of one day each, each quoted on the one before it."""
    base = deal(0, "closed_won", [line("Plan", "plan-enterprise", 1), line("Entitlement", "feature-0", 10)], **term())
    return [
        base,
        *(
            deal(
                number,
                "amendment",
                [line("Entitlement", "feature-0", 1, priorQuantity=9 + number), line("Add-on", "addon-0", 1)],
                quantities="differences",
                amends=opportunity(0),
                terms={"start": (FIRST_DAY + timedelta(days=number * 720 // count)).isoformat()},
            )
            for number in range(1, count)
        ),
    ]


def without_base(count: int) -> list[Json]:
    """Amendments of fifty lines of a contract that never came: all are held."""
    lines = [line("Add-on", f"addon-{n}", 1) for n in range(ADDONS)]
    lines += [line("Entitlement", f"feature-{n}", 1) for n in range(FEATURES)]
    lines.append(line("Entitlement", "feature-0", 1, start="2027-07-01"))
    return [
        deal(number, "amendment", lines, quantities="differences", amends=opportunity(9999), **_from(number))
        for number in range(1, count + 1)
    ]


def _from(number: int) -> Json:
    return {"terms": {"start": (FIRST_DAY + timedelta(days=number)).isoformat()}}


class Shape(NamedTuple):
    """How a customer's deals are made up. most_seconds: the goal, where there is one beside the earlier commit's."""

    deals: Callable[[int], list[Json]]
    many: int
    most_seconds: float | None = None


CUSTOMERS = {
    f"deals of {LINES} lines, of as many resources": Shape(of_resources, 200),
    f"deals of {LINES} lines, of one slot": Shape(of_one_slot, 200),
    "amendments with their contract": Shape(amendments, 800, 1),
    f"held amendments of {LINES} lines without a base": Shape(without_base, 40, 0.5),
}


def compare(commit: str | None, progress: Callable[[str], None], rounds: int = 3, share: float = 1.0) -> list[Compared]:
    """Work out each customer's deals, with an earlier commit's closed-won too. share: of the deals, for a small run.

    Raises NotComparable; BuildError where there is no such commit.
    """
    before = None if commit is None else earlier(commit)
    found = []
    for name, shape in CUSTOMERS.items():
        count = max(2, round(shape.many * share))
        question = {
            "catalogue": catalogue(),
            "deals": shape.deals(count),
            "now": round(1000 * NOW.timestamp()),
            "rounds": rounds,
        }
        progress(f"{count} {name}")
        ours = ask(ROOT / "layers" / "closedwon", "contract_today", question)
        theirs = None
        if before is not None:
            progress(f"{count} {name}, at {commit}")
            theirs = ask(*before, question)
        found.append(Compared(name, count, ours, theirs).checked())
    return found


def earlier(commit: str) -> tuple[Path, str]:
    """The package as a commit has it, and the module that asks it. Raises BuildError."""
    folder = BUILD / "contract-before"
    unpack(commit, folder, "layers/closedwon/closedwon")
    package = folder / "layers" / "closedwon"
    return package, "contract_today" if (package / "closedwon" / "domain" / "contract").is_dir() else "contract_first"


def ask(package: Path, module: str, question: Json) -> Answer:
    """Have one version work out a customer's deals, in a process of its own. Raises NotComparable."""
    path = os.pathsep.join(map(str, (package, ROOT)))
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}"],
            input=json.dumps(question),
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotComparable(f"{package}: no answer in {LONGEST} s") from None
    if done.returncode:
        raise NotComparable(f"{package}: {done.stderr[-3000:]}")
    told = json.loads(done.stdout)
    if not told["kept"]:
        raise NotComparable(f"{package}: the plan changes what stands as it should")
    return Answer(told["seconds"], told["stands"], tuple(told["waiting"]), told["coming"])
