"""Makes docs/codes.md: every code with its meaning, who settles it and how.

With ``--write`` it is written; without, compared. The codes are those of `domain.code_list` (deals), `domain.errors`
(failures) and `reconciliation.finding` (drift).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from closedwon.aws.notices import UNEXPECTED as NOTHING_KNOWN
from closedwon.aws.notices import WHAT_TO_DO
from closedwon.domain.code_list import FACTS, HELD, REFUSED, TOLD
from closedwon.domain.codes import KEYS, Code, Settler
from closedwon.domain.errors import FAILURES, UNEXPECTED, ClosedWonError, Transient
from closedwon.reconciliation.finding import DEFAULT_POLICIES, KINDS

PATH = Path(__file__).resolve().parent.parent / "docs" / "codes.md"

ABOUT = """# Codes

Every hold, refusal, failure and finding has a code. A code keeps its name and meaning; its words may change. It is in
the status of a deal (`GET /v1/provisionings/{opportunityId}`: `code` and `facts`), in a preview (`codes`), in
`./closedwon status --json`, in a reconciliation's report (`kind`) and in CloudWatch (metric `DealsByCode`).

Made from the code by `python -m tools.codes --write`; `make check` compares. A new code is added in
`domain/code_list.py`, with its words in `words/reasons.py`.
"""

WAITING = """Status *Held*. Nothing of the deal is done, and what was provisioned before stays. Besides its own
facts, a hold may say `deal`, `others`, `slot` and `day`."""

PARTS = (
    ("Deals that wait", WAITING, HELD),
    ("Deals that are refused", "Status *Failed*, until the cause is mended.", REFUSED),
    ("What else a deal says", "Nothing is wrong: when it takes effect, or what became of it.", TOLD),
)

FAILED = """Status *Failed*. The execution stopped, and the customer is tried again by itself: after 5 minutes, after
15 minutes, then every hour. Each is a class of `domain.errors`; in executions and in the metric `Failures` it has its
name in CamelCase. Facts: `said`, `execution`."""

DRIFT = """A reconciliation found that Salesforce, the ledger and Stigg differ. `closed-won` settles it unless the
stack's policy says `report`; see [reconciliation](reconciliation.md)."""

APPROVAL = f"""An approval lets through one hold. It is keyed by the code and by the facts
{", ".join(f"`{k}`" for k in KEYS)}, as far as the code has them: by no percentage, day or wording."""


def failures() -> Iterable[Code]:
    """The codes of failures, by their classes."""
    for name, found in FAILURES.items():
        said = " ".join((found.__doc__ or "").split("\n\n")[0].split())
        how = WHAT_TO_DO.get(found.__name__, "")
        yield Code(name, said.replace("``", "`"), _settles(found), how)
    yield Code(UNEXPECTED, "A bug, or an error of AWS.", "engineering", NOTHING_KNOWN)


def _settles(found: type[ClosedWonError]) -> Settler:
    return "closed-won" if issubclass(found, Transient) else "engineering"


def drift() -> Iterable[Code]:
    """The kinds of drift."""
    for name, kind in KINDS.items():
        yield Code(name, kind.meaning, "closed-won" if DEFAULT_POLICIES[name] == "repair" else "operator", kind.remedy)


def table(codes: Iterable[Code]) -> str:
    rows = ["| code | meaning | who settles it | how | facts |", "|---|---|---|---|---|"]
    for code in codes:
        facts = " ".join(f"`{name}`" for name in code.facts.split())
        rows.append(f"| `{code.name}` | {_cell(code.meaning)} | {code.settles} | {_cell(code.how)} | {facts} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def document() -> str:
    """The text of docs/codes.md."""
    parts = [ABOUT]
    parts += [f"## {title}\n\n{about}\n\n{table(codes)}\n" for title, about, codes in PARTS]
    parts.append(f"## Failures\n\n{FAILED}\n\n{table(failures())}\n")
    parts.append(f"## Drift\n\n{DRIFT}\n\n{table(drift())}\n")
    parts.append(f"## Approvals\n\n{APPROVAL}\n")
    facts = "\n".join(f"| `{name}` | {_cell(meaning)} |" for name, meaning in FACTS.items())
    parts.append(f"## Facts\n\n| fact | what it says |\n|---|---|\n{facts}\n")
    return "\n".join(parts)


def main() -> int:
    """0 when docs/codes.md is what the code says, else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="make docs/codes.md")
    text = document()
    if parser.parse_args().write:
        PATH.write_text(text, encoding="utf-8")
    elif not PATH.exists() or PATH.read_text(encoding="utf-8") != text:
        print("docs/codes.md is not what the code says: run python -m tools.codes --write")
        return 1
    print("docs/codes.md is what the code says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
