"""What endpoints answer, and how requests are read and answers written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from werkzeug.wrappers import Request, Response

from . import models
from .errors import Refused
from .listing import Filter

ANY = Filter()


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Endpoint:
    """How one route is answered. operation: the rate limit it counts for. entity: what it changes, for the other."""

    operation: str
    handle: Callable[..., Answer]
    entity: Callable[[Mapping[str, Any], dict[str, Any]], str] | None = None


def response(status: int, body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), status, content_type="application/json")


def refusal(refused: Refused) -> Response:
    return response(refused.status, {"message": refused.message, "code": refused.code})


def read(model: type[models.B], request: Request) -> models.B:
    """The body as a model. Raises `Refused`."""
    return models.read(model, request.get_data() or b"{}")


def fields(request: Request, body: bytes) -> dict[str, Any]:
    """The body as an object. A cancellation may come without one. Raises `Refused`."""
    if not body and request.path.endswith("/cancel"):
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
