"""Codes and facts: why a deal stands where it stands, as data. Pure.

A `Reason` is a stable code with its facts. `closedwon.words.reasons` says it in words, tests and metrics compare the
code, and an approval is keyed by code and facts. `code_list` has every code: its meaning, who settles it and how.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Fact: TypeAlias = "str | int | float | bool | tuple[Fact, ...] | Facts | None"
"""One fact: a text, a number, several of them, or facts by name (such as quantities by ID)."""


class Facts(Mapping[str, Fact]):
    """Facts by name, sorted. They never change, so that they are hashable; as JSON they are an object.

    In: lists become tuples and mappings become facts, at any depth. What is None is left out.
    """

    __slots__ = ("_facts",)

    def __init__(self, facts: Mapping[str, Any] = {}) -> None:
        self._facts = {name: _frozen(facts[name]) for name in sorted(facts) if facts[name] is not None}

    def __getitem__(self, name: str) -> Fact:
        return self._facts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._facts)

    def __len__(self) -> int:
        return len(self._facts)

    def __hash__(self) -> int:
        return hash(tuple(self._facts.items()))

    def __repr__(self) -> str:
        return f"Facts({self._facts})"

    def to_json(self) -> dict[str, Any]:
        """Plain data; the constructor is its inverse."""
        return {name: _plain(fact) for name, fact in self._facts.items()}


def _frozen(value: Any) -> Fact:
    if isinstance(value, Mapping):
        return value if isinstance(value, Facts) else Facts(value)
    if isinstance(value, list | tuple):
        return tuple(_frozen(one) for one in value)
    fact: Fact = value
    return fact


def _plain(fact: Fact) -> Any:
    if isinstance(fact, Facts):
        return fact.to_json()
    return [_plain(one) for one in fact] if isinstance(fact, tuple) else fact


NO_FACTS = Facts()


@dataclass(frozen=True)
class Reason:
    """Why something is as it is. code: one of `code_list.CODES`; facts: as that code names them.

    also: what else there is to say; it is said before this one.
    """

    code: str
    facts: Facts = NO_FACTS

    @classmethod
    def of(cls, code: str, /, **facts: Any) -> Reason:
        """A reason with facts by name; those that are None are left out."""
        return cls(code, Facts(facts))

    def knowing(self, **facts: Any) -> Reason:
        """The reason with more facts."""
        return Reason(self.code, Facts({**self.facts, **facts}))

    def beside(self, other: Reason) -> Reason:
        """The reason with another one, which is said before it."""
        also = self.facts.get("also") or ()
        assert isinstance(also, tuple)
        return self.knowing(also=(*also, Facts(other.to_json())))

    @property
    def also(self) -> tuple[Reason, ...]:
        """The reasons that are said before this one."""
        also = self.facts.get("also") or ()
        # What a newer version stored may have another form: it is left unsaid rather than not read.
        found = also if isinstance(also, tuple) else ()
        return tuple(Reason.from_json(one) for one in found if isinstance(one, Facts) and "code" in one)

    @property
    def codes(self) -> tuple[str, ...]:
        """Its code, and those of the reasons beside it."""
        return (self.code, *(one.code for one in self.also))

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "facts": self.facts.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Reason:
        return cls(data["code"], Facts(data.get("facts") or {}))


KEYS = ("deal", "slot", "subscription", "foreign", "before", "after")
"""The facts that, with the code, make an approval: what it is about, and what it is let through for. No day, no share
and no percentage: who approved 100 -> 10 seats approved that, however the guard is set by then.
"""


def approval_of(reason: Reason) -> str:
    """The ID of the approval that lets through what is held for a reason: a hash of its code and its `KEYS`."""
    key = [reason.code, Facts({name: reason.facts[name] for name in KEYS if name in reason.facts}).to_json()]
    return hashlib.sha256(json.dumps(key, separators=(",", ":")).encode()).hexdigest()[:16]


Settler = Literal["sales", "finance", "operator", "engineering", "closed-won", "nobody"]
"""Who settles it: who sells, who approves, who runs the stack, who can change the set-up of Stigg and Salesforce,
closed-won by itself; or nobody, because nothing is wrong.
"""


class Code(NamedTuple):
    """A code for people and programs: what it means, who settles it, how, and the names of its facts."""

    name: str
    meaning: str
    settles: Settler
    how: str
    facts: str = ""
