"""What is expected of the stand-in, operation by operation, and where what was found differs from it.

The list is `tests/contract/stigg_operations.toml`. An operation passes unless it says otherwise: it is `absent`, or
its tests are refused in one form. Both name their reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .run import Form, Outcome, Outcomes

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "tests" / "contract" / "stigg_operations.toml"

NOT_THERE = ": no such endpoint"
"""What the stand-in answers where it has nothing."""

FORMS: dict[Form, str] = {"short": "required fields", "full": "all fields", "local": "nothing sent"}


@dataclass(frozen=True)
class Refusal:
    """Why something is refused on purpose. answer: status and code; says: what the message holds; why: a sentence."""

    answer: str
    says: str
    why: str

    def fits(self, answer: str) -> bool:
        """In: ``status code: message``."""
        code, _, message = answer.partition(": ")
        return code == self.answer and self.says in message


@dataclass(frozen=True)
class Expected:
    """Of one operation. used: the product calls it. absent: the reason why the stand-in does not have it. refused: the
    reason for each form that it refuses.
    """

    used: bool = False
    absent: str = ""
    refused: Mapping[Form, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Expectations:
    """All operations, and the reasons that they name."""

    operations: Mapping[str, Expected]
    refusals: Mapping[str, Refusal]
    absences: Mapping[str, str]


def read(text: str) -> Expectations:
    """The list. Raises `ValueError` for what is wrong with it."""
    said = tomllib.loads(text)
    found = Expectations(
        {name: _expected(name, one) for name, one in said["operations"].items()},
        {name: Refusal(**one) for name, one in said["refused"].items()},
        dict(said["absent"]),
    )
    operations = found.operations.values()
    wrong = {one.absent for one in operations if one.absent} ^ set(found.absences)
    wrong |= {reason for one in operations for reason in one.refused.values()} ^ set(found.refusals)
    if wrong:
        raise ValueError(f"reasons that no operation names, or that are not there: {', '.join(sorted(wrong))}")
    return found


def _expected(name: str, said: Mapping[str, Any]) -> Expected:
    refused = {form: said[form] for form in FORMS if form in said}
    found = Expected(said.get("used", False), said.get("absent", ""), refused)
    if unknown := set(said) - {"used", "absent", *FORMS}:
        raise ValueError(f"{name}: {', '.join(sorted(unknown))} says nothing here")
    if found.absent and (found.used or refused):
        raise ValueError(f"{name} is absent, so the product cannot use it and nothing is refused")
    return found


def differences(expected: Expectations, found: Outcomes) -> list[str]:
    """Where what was found is not what is expected: a sentence each, none when all is well."""
    said = [f"{name}: the SDK has no tests of it any more" for name in expected.operations if name not in found]
    for name, forms in found.items():
        wanted = expected.operations.get(name)
        if wanted is None:
            said.append(f"{name}: is new, and the list does not say what is expected")
            continue
        for form, outcome in forms.items():
            refusal = expected.refusals.get(wanted.refused.get(form, ""))
            said += [f"{name}, {FORMS[form]}: {one}" for one in _difference(wanted, form, refusal, outcome)]
        said += [f"{name}, {FORMS[form]}: the SDK has no tests of it" for form in wanted.refused if form not in forms]
    return said


def _difference(wanted: Expected, form: Form, refusal: Refusal | None, outcome: Outcome) -> Iterator[str]:
    answers = sorted(set(outcome.answers))
    if form == "local" or not (wanted.absent or refusal):
        if answers:
            yield f"{outcome.passed} of {outcome.tests} pass: {'; '.join(answers)}"
    elif outcome.passed:
        yield f"{outcome.passed} of {outcome.tests} pass, and the list says that none does"
    elif other := [one for one in answers if not (refusal.fits(one) if refusal else one.endswith(NOT_THERE))]:
        yield f"refused otherwise than the list says: {'; '.join(other)}"
