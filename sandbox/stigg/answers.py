"""What endpoints answer, and how requests are read and answers written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from . import models
from .errors import Refused
from .listing import Filter, known_once

ANY = Filter()


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """How one route is answered. operation: the rate limit it counts for. entity: what it changes, for the other.

    bare: it takes requests without a body.
    """

    operation: str
    handle: Callable[..., Answer]
    entity: Callable[[Mapping[str, Any], dict[str, Any]], str] | None = None
    bare: bool = False


def response(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def refusal(refused: Refused) -> Response:
    return response(refused.status, {"message": refused.message, "code": refused.code})


def query(request: Request, *known: str) -> Mapping[str, str]:
    """The query's parameters, each of them known and given once. Raises `Refused`."""
    known_once(request.args, known)
    return request.args


def read(model: type[models.B], request: Request) -> models.B:
    """The body as a model. Raises `Refused`."""
    return models.read(model, request.get_data() or b"{}")


def fields(request: Request, body: bytes, bare: bool) -> dict[str, Any]:
    """The body as an object. bare: there need not be one. Raises `Refused`."""
    if not body and bare:
        return {}
    if request.mimetype != "application/json":
        raise Refused(400, "BadUserInput", "the Content-Type must be application/json")
    try:
        found = json.loads(body)
    except ValueError:
        raise Refused(400, "BadUserInput", "the body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "BadUserInput", "the body is not a JSON object")
    return found


# What a mutation changes, for the limit on its entity


def of_customer(path: Mapping[str, Any], body: dict[str, Any]) -> str:
    return f"customer {path.get('id', body.get('id'))}"


def of_slot(path: Mapping[str, Any], body: dict[str, Any]) -> str:
    resource = body.get("resourceId")
    return f"customer {body.get('customerId')}" + (f" resource {resource}" if resource else "")


def of_subscription(path: Mapping[str, Any], body: dict[str, Any]) -> str:
    return f"subscription {path['id']}"


def of_contract(path: Mapping[str, Any], body: dict[str, Any]) -> str:
    return f"contract {path.get('id', body.get('contractId'))}"


def of_grant(path: Mapping[str, Any], body: dict[str, Any]) -> str:
    return f"credit grant {path['id']}"
