"""The official Stigg SDK's types as a contract for JSON.

`accepts` checks a body we send against a params type (a TypedDict whose wire names sit in `PropertyInfo`); `answers`
checks a body we get against a response model. Both know every field: an unknown one is a fault, not a guest.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Required,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import pydantic
from stigg._utils import PropertyInfo
from typing_extensions import is_typeddict

M = TypeVar("M", bound=pydantic.BaseModel)

_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")


def accepts(params_type: type, body: Any) -> bool:
    """Whether a JSON body fits one of the SDK's params types; for `assert accepts(...)`.

    params_type: such as `stigg.types.v1.SubscriptionProvisionParams`. body: JSON as Python values (camelCase names),
    or the JSON text. Headers among the params (X-ACCOUNT-ID ...) are no part of a body. Returns True, or raises
    AssertionError naming every fault with its path.
    """
    found = faults(params_type, json.loads(body) if isinstance(body, str | bytes) else body)
    if found:
        raise AssertionError(f"{params_type.__name__} does not accept this: " + "; ".join(found))
    return True


def faults(params_type: type, body: Any) -> list[str]:
    """What is wrong with a body, one sentence each; empty when it fits. See `accepts`."""
    return list(_faults(params_type, body, "body"))


def answers(model: type[M], body: str | bytes) -> M:
    """Parse an answer strictly: required fields there, types and enumerations right, no field the model does not know.

    Raises `pydantic.ValidationError`, or AssertionError naming the unknown fields.
    """
    parsed = model.model_validate_json(body, strict=True)
    unknown = list(_unknown(parsed, model.__name__))
    if unknown:
        raise AssertionError("fields the SDK does not know: " + ", ".join(unknown))
    return parsed


def fields(params_type: type) -> dict[str, Any]:
    """The fields of a params type by their wire names, with their full annotations, without headers."""
    found = {}
    for name, annotation in get_type_hints(params_type, include_extras=True).items():
        alias = next((info.alias for info in _infos(annotation) if info.alias), name)
        if not alias.startswith("X-"):
            found[alias] = annotation
    return found


def bare(annotation: Any) -> Any:
    """An annotation without Required, NotRequired and Annotated."""
    while get_origin(annotation) in (Annotated, Required, NotRequired):
        annotation = get_args(annotation)[0]
    return annotation


def required(annotation: Any) -> bool:
    """Whether a field's annotation says Required, at any depth of wrapping."""
    while (origin := get_origin(annotation)) in (Annotated, Required, NotRequired):
        if origin is Required:
            return True
        annotation = get_args(annotation)[0]
    return False


def _infos(annotation: Any) -> Iterable[PropertyInfo]:
    while (origin := get_origin(annotation)) in (Annotated, Required, NotRequired):
        if origin is Annotated:
            yield from (extra for extra in annotation.__metadata__ if isinstance(extra, PropertyInfo))
        annotation = get_args(annotation)[0]


def _faults(annotation: Any, value: Any, path: str) -> Iterable[str]:
    dated = any(info.format == "iso8601" for info in _infos(annotation))
    annotation = bare(annotation)
    origin = get_origin(annotation)
    if is_typeddict(annotation):
        yield from _object(annotation, value, path)
    elif origin in (Union, types.UnionType):
        yield from _union(get_args(annotation), value, path, dated)
    elif origin is Literal:
        choices = get_args(annotation)
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            shown = ", ".join(map(repr, choices[:6])) + (" ..." if len(choices) > 6 else "")
            yield f"{path} must be one of {shown}"
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            yield f"{path} must be an object"
        else:
            for name, item in value.items():
                yield from _faults(get_args(annotation)[1], item, f"{path}.{name}")
    elif origin is not None:  # Iterable, List and the SDK's own SequenceNotStr are all lists on the wire
        if not isinstance(value, list):
            yield f"{path} must be a list"
        else:
            for place, item in enumerate(value):
                yield from _faults(get_args(annotation)[0], item, f"{path}[{place}]")
    else:
        yield from _scalar(annotation, value, path, dated)


def _object(params_type: Any, value: Any, path: str) -> Iterable[str]:
    if not isinstance(value, dict):
        yield f"{path} must be an object"
        return
    known = fields(params_type)
    yield from (f"{path}.{name} is not known" for name in value if name not in known)
    for name, annotation in known.items():
        if name in value:
            yield from _faults(annotation, value[name], f"{path}.{name}")
        elif required(annotation):
            yield f"{path}.{name} is required"


def _union(variants: Sequence[Any], value: Any, path: str, dated: bool) -> Iterable[str]:
    if dated and (value is not None or type(None) not in variants):
        # A date travels as text: of `Union[str, datetime]` only the text's format counts.
        yield from _scalar(datetime, value, path, dated)
        return
    named = [variant for variant in variants if is_typeddict(bare(variant)) and isinstance(value, dict)]
    for variant in named:  # told apart by a literal `type`: complain about the one that is meant
        literal = bare(fields(bare(variant)).get("type"))
        if len(named) > 1 and get_origin(literal) is Literal and value.get("type") in get_args(literal):
            yield from _faults(variant, value, path)
            return
    each = [list(_faults(variant, value, path)) for variant in variants]
    if all(each):
        yield (
            min(each, key=len)[0] if len(named) == 1 else f"{path} fits no variant: {'; '.join(one[0] for one in each)}"
        )


def _scalar(kind: Any, value: Any, path: str, dated: bool) -> Iterable[str]:
    if kind is Any or kind is object:
        return
    if dated or kind is datetime:
        if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
            yield f"{path} must be an ISO 8601 date-time with a zone"
    elif kind in (None, type(None)):
        if value is not None:
            yield f"{path} must be null"
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{path} must be a number"
    elif kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            yield f"{path} must be a whole number"
    elif not isinstance(value, kind):
        yield f"{path} must be of type {kind.__name__}"


def _unknown(value: Any, path: str) -> Iterable[str]:
    if isinstance(value, pydantic.BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or ())
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _unknown(item, f"{path}[{place}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _unknown(item, f"{path}.{name}")
