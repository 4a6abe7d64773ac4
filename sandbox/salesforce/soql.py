"""SOQL, the part of it this stand-in speaks: text -> `Select`.

    SELECT field, Parent.field, (SELECT field FROM Children ...), ... | COUNT()
    FROM object [WHERE condition] [ORDER BY field [ASC|DESC] [NULLS FIRST|LAST], ...] [LIMIT n] [OFFSET n]

Conditions: ``= != < > <= >= LIKE IN NOT IN`` with AND, OR, NOT and parentheses. As in Salesforce, AND and OR do not mix
without parentheses, and NOT stands first in its own. Literals: strings, numbers, booleans, null, dates, datetimes,
TODAY and LAST_N_DAYS:n. Anything else is MALFORMED_QUERY. Names are not checked here (see query.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import pyparsing as pp

from sandbox.salesforce.errors import Refusal
from sandbox.salesforce.values import parse_date, parse_datetime

MAX_LENGTH = 100_000  # characters, Salesforce's limit for a statement

LiteralKind = Literal["string", "number", "boolean", "null", "date", "datetime", "relative"]


@dataclass(frozen=True)
class Path:
    """A field, or a field of a parent (``Account.Owner.Name``); at: where it stands in the text."""

    names: tuple[str, ...]
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return ".".join(self.names)


@dataclass(frozen=True)
class Value:
    """A literal. relative: the number of days before today (TODAY is 0)."""

    kind: LiteralKind
    value: Any


@dataclass(frozen=True)
class Comparison:
    """operator is upper case; value is a tuple for IN and NOT IN."""

    path: Path
    operator: str
    value: Value | tuple[Value, ...]


@dataclass(frozen=True)
class Not:
    condition: Condition


@dataclass(frozen=True)
class And:
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Or:
    conditions: tuple[Condition, ...]


Condition = Comparison | Not | And | Or


@dataclass(frozen=True)
class Order:
    path: Path
    descending: bool = False
    nulls_last: bool = False


@dataclass(frozen=True)
class Select:
    """A statement. fields is empty for COUNT(); source: an object, or for a subquery a child relationship."""

    fields: tuple[Path | Select, ...]
    source: Path
    where: Condition | None = None
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0

    @property
    def counts(self) -> bool:
        return not self.fields


_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "'": "'", "\\": "\\"}
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_RESERVED = (
    "AND ASC DESC EXCLUDES FIRST FROM GROUP HAVING IN INCLUDES LAST LIKE LIMIT NOT NULL NULLS OR ORDER SELECT USING "
    "WHERE WITH"
).split()


def _unescape(loc: int, tokens: pp.ParseResults) -> Value:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if code in ("_", "%"):
            return match[0]  # LIKE's own escapes, kept until it is known whether this is a pattern
        if len(code) == 1 and code not in _ESCAPES:
            reason = f"Invalid string literal. Illegal character sequence '{match[0]}'"
            raise pp.ParseFatalException(match.string, loc, reason)
        character = _ESCAPES[code] if len(code) == 1 else chr(int(code[1:], 16))
        # A pattern still needs to tell an escaped backslash from one that escapes.
        return "\\\\" if character == "\\" else character

    return Value("string", _ESCAPE.sub(one, tokens[0][1:-1]))


def plain(text: str) -> str:
    """The characters a string literal stands for outside of LIKE."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def like(text: str) -> re.Pattern[str]:
    """The pattern a string literal stands for after LIKE: % any characters, _ one, neither when escaped."""
    parts = re.findall(r"\\.|.", text, flags=re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.compile("".join(wild.get(p) or re.escape(p[-1]) for p in parts), re.DOTALL | re.IGNORECASE)


def _parsed(kind: LiteralKind, parse: Callable[[str], date | datetime]) -> Callable[..., Value]:
    def action(text: str, loc: int, tokens: pp.ParseResults) -> Value:
        try:
            return Value(kind, parse(tokens[0]))
        except ValueError:
            raise pp.ParseFatalException(text, loc, f"Invalid {kind}: {tokens[0]}") from None

    return action


def _grammar() -> pp.ParserElement:
    def word(text: str) -> pp.ParserElement:
        return pp.Suppress(pp.CaselessKeyword(text))

    name = rf"(?!(?:{'|'.join(_RESERVED)})\b)[A-Za-z]\w*"
    path = pp.Regex(rf"{name}(?:\.{name})*", re.IGNORECASE)
    path.set_parse_action(lambda text, loc, tokens: Path(tuple(tokens[0].split(".")), loc))

    string = pp.Regex(r"'(?:[^'\\]|\\.)*'", re.DOTALL).set_parse_action(lambda t, loc, tokens: _unescape(loc, tokens))
    moment = pp.Regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)(?!\w)")
    moment.set_parse_action(_parsed("datetime", parse_datetime))
    day = pp.Regex(r"\d{4}-\d\d-\d\d(?!\w)").set_parse_action(_parsed("date", parse_date))
    number = pp.Regex(r"[+-]?\d+(?:\.\d+)?(?![\w.:-])")
    number.set_parse_action(lambda tokens: Value("number", float(tokens[0])))
    boolean = pp.CaselessKeyword("TRUE") | pp.CaselessKeyword("FALSE")
    boolean.set_parse_action(lambda tokens: Value("boolean", tokens[0] == "TRUE"))
    null = pp.CaselessKeyword("NULL").set_parse_action(lambda: Value("null", None))
    today = pp.CaselessKeyword("TODAY").set_parse_action(lambda: Value("relative", 0))
    last = pp.Regex(r"LAST_N_DAYS:(\d{1,5})(?!\w)", re.IGNORECASE)
    last.set_parse_action(lambda tokens: Value("relative", int(tokens[0].split(":")[1])))
    literal = string | moment | day | number | boolean | null | last | today

    literals = pp.Suppress("(") - pp.DelimitedList(literal) - pp.Suppress(")")
    literals.set_parse_action(lambda tokens: [tuple(tokens)])
    operator = pp.one_of("<= >= != = < >")
    like_ = pp.CaselessKeyword("LIKE")
    in_ = pp.CaselessKeyword("IN")
    not_in = (pp.CaselessKeyword("NOT") + pp.CaselessKeyword("IN")).set_parse_action(lambda: "NOT IN")
    comparison = path + ((operator - literal) | (like_ - string) | ((in_ | not_in) - literals))
    comparison.set_parse_action(lambda tokens: Comparison(tokens[0], tokens[1], tokens[2]))

    condition = pp.Forward()
    term = (pp.Suppress("(") - condition - pp.Suppress(")")) | comparison
    negated = word("NOT") - term
    negated.set_parse_action(lambda tokens: Not(tokens[0]))
    more_and = pp.OneOrMore(word("AND") - term).set_parse_action(lambda tokens: And(tuple(tokens)))
    more_or = pp.OneOrMore(word("OR") - term).set_parse_action(lambda tokens: Or(tuple(tokens)))

    def joined(tokens: pp.ParseResults) -> Condition:
        if len(tokens) == 1:
            return tokens[0]
        first, more = tokens
        return type(more)((first, *more.conditions))

    condition <<= negated | (term + pp.Optional(more_and | more_or)).set_parse_action(joined)

    direction = pp.Optional(pp.CaselessKeyword("ASC") | pp.CaselessKeyword("DESC"), "ASC")
    nulls = pp.Optional(word("NULLS") - (pp.CaselessKeyword("FIRST") | pp.CaselessKeyword("LAST")), "FIRST")
    order = path + direction + nulls
    order.set_parse_action(lambda tokens: Order(tokens[0], tokens[1] == "DESC", tokens[2] == "LAST"))
    whole = pp.Regex(r"\d{1,9}(?!\w)").set_parse_action(lambda tokens: int(tokens[0]))

    def statement(fields: pp.ParserElement) -> pp.ParserElement:
        parsed = (
            word("SELECT")
            + fields("fields")
            + word("FROM")
            - path("source")
            + pp.Optional(word("WHERE") - condition("where"))
            + pp.Optional(word("ORDER") - word("BY") - pp.Group(pp.DelimitedList(order))("order"))
            + pp.Optional(word("LIMIT") - whole("limit"))
            + pp.Optional(word("OFFSET") - whole("offset"))
        )
        return parsed.set_parse_action(_select)

    subquery = pp.Suppress("(") + statement(pp.Group(pp.DelimitedList(path))) - pp.Suppress(")")
    count = (pp.CaselessKeyword("COUNT") + "(" + ")").set_parse_action(lambda: pp.ParseResults([]))
    every = pp.Group(count | pp.DelimitedList(subquery | path))
    return (statement(every) + pp.StringEnd()).parse_with_tabs()


def _select(tokens: pp.ParseResults) -> Select:
    return Select(
        fields=tuple(tokens["fields"]),
        source=tokens["source"],
        where=tokens.get("where"),
        order=tuple(tokens.get("order", ())),
        limit=tokens.get("limit"),
        offset=tokens.get("offset", 0),
    )


_STATEMENT = _grammar()


def parse(text: str) -> Select:
    """Parse a statement. Raises Refusal MALFORMED_QUERY, saying where."""
    if len(text) > MAX_LENGTH:
        raise Refusal("QUERY_TOO_COMPLICATED", f"SOQL statements cannot be longer than {MAX_LENGTH} characters.")
    try:
        return _STATEMENT.parse_string(text)[0]
    except pp.ParseBaseException as error:
        rest = text[error.loc :].split(maxsplit=1)
        reason = f"unexpected token: '{rest[0]}'" if rest else "unexpected token: '<EOF>'"
        if error.msg.startswith("Invalid "):
            reason = error.msg
        raise Refusal("MALFORMED_QUERY", located(text, error.loc, reason)) from None
    except RecursionError:
        raise Refusal("MALFORMED_QUERY", "too many nested conditions") from None


def located(text: str, at: int, reason: str) -> str:
    """Salesforce's way of pointing at a place in a statement."""
    before = text[:at]
    row, column = before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1
    start = max(0, at - 20)
    excerpt = " ".join(text[start : at + 40].splitlines())
    return f"\n{excerpt}\n{' ' * (at - start)}^\nERROR at Row:{row}:Column:{column}\n{reason}"
