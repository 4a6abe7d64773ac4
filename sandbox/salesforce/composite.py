"""The composite resource: many requests in one, each of which may refer to answers before it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sandbox.salesforce import bodies
from sandbox.salesforce.calls import Answer, Call, parse_url
from sandbox.salesforce.errors import Refusal, json_error
from sandbox.salesforce.store import Store

MAX_SUBREQUESTS, MAX_COLLECTIONS_AND_QUERIES = 25, 5

_REFERENCE = re.compile(r"@\{([A-Za-z]\w*)((?:\[\d+\])*(?:\.\w+(?:\[\d+\])*)*)\}")
_REFERENCE_ID = re.compile(r"[A-Za-z]\w*")
_HEAVY = re.compile(r"/services/data/v\d+\.0/(composite/sobjects|query|queryAll)\b")
"""Addresses of collections and queries."""


class Composite:
    """Answers sub-requests one after the other. answer: answers one, as it would alone."""

    def __init__(self, store: Store, answer: Callable[[Call], Answer]) -> None:
        self._store = store
        self._answer = answer

    def answer(self, call: Call) -> Answer:
        body = call.object_body()
        if unknown := set(body) - {"allOrNone", "collateSubrequests", "compositeRequest"}:
            raise json_error(f'Unrecognized field "{min(unknown)}"')
        parts = body.get("compositeRequest")
        if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
            raise json_error("compositeRequest has to be an array of objects")
        _check(parts)
        answers = self._all_parts(parts) if bodies.flag(body, "allOrNone") else self._each_part(parts)
        shown = [
            {
                "body": answer.body,
                "httpHeaders": answer.headers,
                "httpStatusCode": answer.status,
                "referenceId": reference,
            }
            for reference, answer in answers.items()
        ]
        return Answer(200, {"compositeResponse": shown})

    def _each_part(self, parts: list[dict[str, Any]]) -> dict[str, Answer]:
        answers: dict[str, Answer] = {}
        for part in parts:
            answers[part["referenceId"]] = self._part_answered(part, answers, all_or_none=False)
        return answers

    def _all_parts(self, parts: list[dict[str, Any]]) -> dict[str, Answer]:
        """Do all of them, or none once one failed."""
        before = self._store.mark()
        answers: dict[str, Answer] = {}
        for part in parts:
            answer = self._part_answered(part, answers, all_or_none=True)
            answers[part["referenceId"]] = answer
            if answer.status >= 400 or answer.failed:
                self._store.undo(before)
                message = "The transaction was rolled back since another operation in the same transaction failed."
                halted = Answer(400, Refusal("PROCESSING_HALTED", message).as_error())
                return {one["referenceId"]: halted for one in parts} | {part["referenceId"]: answer}
        return answers

    def _part_answered(self, part: dict[str, Any], answers: Mapping[str, Answer], all_or_none: bool) -> Answer:
        try:
            return self._part(part, answers, all_or_none)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.as_error())

    def _part(self, part: dict[str, Any], answers: Mapping[str, Answer], all_or_none: bool) -> Answer:
        version, path, parameters = parse_url(_resolved(part["url"], answers))
        if path[:1] not in (("sobjects",), ("query",), ("queryAll",)) and path[:2] != (
            "composite",
            "sobjects",
        ):
            raise Refusal("INVALID_INPUT", "This resource cannot be used in a composite request")
        headers = part.get("httpHeaders") or {}
        options = str(headers.get("Sforce-Query-Options", "")) if isinstance(headers, dict) else ""
        call = Call(part["method"], version, path, parameters, options=options, all_or_none=all_or_none)
        return self._answer(replace(call, body=_resolved(part.get("body"), answers)))


def _check(parts: list[dict[str, Any]]) -> None:
    """Raises Refusal for sub-requests that are malformed, or too many."""
    if len(parts) > MAX_SUBREQUESTS:
        message = f"The number of subrequests ({len(parts)}) exceeds the limit of {MAX_SUBREQUESTS}"
        raise Refusal("LIMIT_EXCEEDED", message)
    references: set[str] = set()
    for part in parts:
        reference = _checked(part)
        if reference in references:
            raise json_error(f"Duplicate referenceId: {reference}")
        references.add(reference)
    if sum(bool(_HEAVY.match(part["url"])) for part in parts) > MAX_COLLECTIONS_AND_QUERIES:
        message = f"No more than {MAX_COLLECTIONS_AND_QUERIES} subrequests can be collections or queries"
        raise Refusal("LIMIT_EXCEEDED", message)


def _checked(part: dict[str, Any]) -> str:
    """The reference of a sub-request that is well formed."""
    if unknown := set(part) - {"method", "url", "referenceId", "body", "httpHeaders"}:
        raise json_error(f'Unrecognized field "{min(unknown)}"')
    if not isinstance(part.get("url"), str) or part.get("method") not in ("GET", "POST", "PATCH", "DELETE", "PUT"):
        raise json_error("Each subrequest needs a url and a method in upper case")
    reference = part.get("referenceId")
    if not isinstance(reference, str) or not _REFERENCE_ID.fullmatch(reference):
        raise json_error("Each subrequest needs a referenceId of letters, digits and underscores")
    return reference


def _resolved(value: Any, answers: Mapping[str, Answer]) -> Any:
    """A sub-request's url or body with every @{reference.field} replaced; PROCESSING_HALTED when one has no value."""

    def found(match: re.Match[str]) -> str:
        here: Any = answers[match[1]].body if match[1] in answers and answers[match[1]].status < 400 else None
        for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", match[2]):
            here = _step(here, name, index)
        if here is None or isinstance(here, (dict, list)):
            message = f"Invalid reference specified. No value for {match[1]}{match[2]} found in {match[1]}"
            raise Refusal("PROCESSING_HALTED", message)
        return here if isinstance(here, str) else json.dumps(here)

    if isinstance(value, str):
        return _REFERENCE.sub(found, value)
    if isinstance(value, list):
        return [_resolved(one, answers) for one in value]
    if isinstance(value, dict):
        return {name: _resolved(one, answers) for name, one in value.items()}
    return value


def _step(here: Any, name: str, index: str) -> Any:
    """One step into an answer: to a field by its name, or to an item by its index. None where the way ends."""
    if name:
        return here.get(name) if isinstance(here, dict) else None
    return here[int(index)] if isinstance(here, list) and int(index) < len(here) else None
