"""Holds the records of decisions together, and makes their index.

A record is ``docs/decisions/NNNN-slug.md``: its title, date, status and topic, then what was decided and why. With
``--write``, ``docs/decisions/README.md`` is made from them; without, it is compared.
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "decisions"
INDEX = "README.md"

TOPICS = (
    "Ledger and order",
    "Reading and mapping",
    "Life of a deal",
    "Stigg",
    "Salesforce",
    "Reconciliation",
    "Security",
    "Operations",
    "Speed",
    "Proof",
    "Sandbox and tests",
)

NAME = re.compile(r"(?P<number>\d{4})-[a-z0-9]+(?:-[a-z0-9]+)*\.md")
HEAD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>[^\n]+)\n\n"
    r"- Date: (?P<date>\S+)\n"
    r"- Status: (?P<status>[^\n]+)\n"
    r"- Topic: (?P<topic>[^\n]+)\n\n"
    r"(?P<text>\S.*)",
    re.DOTALL,
)
LINK = r"\[\d+\]\(\d{4}-[a-z0-9-]+\.md\)"
STATUS = re.compile(rf"accepted|(?:superseded|amended) by {LINK}(?:, {LINK})*(?: and {LINK})?")

ABOUT = """# Decisions

What was decided, when and why. A record is not rewritten when things change: a new one is added, and the status of the
old one names it. *Superseded* means that the new record counts instead; *amended*, that it changes or narrows a part.

Made from the records by `python -m tools.check_decisions --write`; `make check` compares. To add one, take the next
number and the form of the newest record.
"""


class Record(NamedTuple):
    """A decision, as its file says it."""

    file: str
    number: int
    title: str
    date: str
    status: str
    topic: str


def read(path: Path) -> Record | str:
    """A record, or what is wrong with its file."""
    named, head = NAME.fullmatch(path.name), HEAD.fullmatch(path.read_text(encoding="utf-8"))
    if not named:
        return "is not named NNNN-slug.md"
    if not head:
        return "does not begin with title, Date, Status and Topic, in this order, and then a text"
    if int(named["number"]) != int(head["number"]):
        return f"has the number {head['number']} in its title"
    try:
        date.fromisoformat(head["date"])
    except ValueError:
        return f"{head['date']} is no date"
    if not STATUS.fullmatch(head["status"]):
        return "Status is neither accepted nor superseded or amended by a linked record"
    if head["topic"] not in TOPICS:
        return f"{head['topic']} is no topic; there are {', '.join(TOPICS)}"
    return Record(path.name, int(head["number"]), head["title"], head["date"], head["status"], head["topic"])


def index(records: list[Record]) -> str:
    """The text of the index: the records by topic."""
    parts = [ABOUT]
    for topic in TOPICS:
        rows = [
            f"| {one.number} | [{one.title}]({one.file}) | {one.date} | {one.status} |"
            for one in records
            if one.topic == topic
        ]
        if rows:
            parts.append("\n".join([f"## {topic}\n", "| | decision | date | status |", "|---|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def problems(folder: Path) -> tuple[list[Record], list[str]]:
    """The records in order of their numbers, and what is wrong with them, a line each."""
    records: list[Record] = []
    wrong = []
    files = {path.name for path in folder.glob("*.md")}
    for name in sorted(files - {INDEX}):
        found = read(folder / name)
        if isinstance(found, str):
            wrong.append(f"{name}: {found}")
            continue
        records.append(found)
        for linked in re.findall(r"\]\((\d{4}-[^)#]+)", (folder / name).read_text(encoding="utf-8")):
            if linked not in files:
                wrong.append(f"{name}: there is no {linked}")
    numbers = [one.number for one in records]
    if not wrong and numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"numbers are missing or given twice: {numbers}")
    return records, wrong


def main() -> int:
    """0 when the records are in order and the index is theirs, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="make the index")
    records, wrong = problems(FOLDER)
    text = index(records)
    path = FOLDER / INDEX
    if parser.parse_args().write and not wrong:
        path.write_text(text, encoding="utf-8")
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        wrong.append(f"{INDEX} is not made from the records: run python -m tools.check_decisions --write")
    print("\n".join(wrong) or f"{len(records)} decisions, all in the index")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
