"""How the stand-in says no."""

from __future__ import annotations

CODES = {
    400: "BadUserInput",
    401: "Unauthenticated",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    422: "UnprocessableEntity",
    429: "RateLimitExceeded",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
"""The code of an answer that has no more telling one. Stigg promises none: clients should go by the status."""


class Refused(Exception):
    """A request that is answered with an error.

    status: the HTTP status; code: a word for programs; message: a sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def invalid(message: str, code: str = "BadUserInput") -> Refused:
    """The request makes no sense as it is: 400."""
    return Refused(400, code, message)


def not_found(kind: str, identifier: str) -> Refused:
    """There is no such thing: 404. kind is a noun, such as ``Customer``."""
    return Refused(404, f"{kind}NotFound", f"{kind} {identifier} is not known")
