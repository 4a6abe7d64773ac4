"""The one exception of this stand-in, and Salesforce's shapes for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Refusal(Exception):
    """What Salesforce refuses: its code (``INVALID_FIELD`` ...), message, the fields concerned and the HTTP status.

    The same refusal is an error of a request (`as_error`) or of one record among many (`as_record_error`).
    """

    def __init__(self, code: str, message: str, fields: Sequence[str] | None = None, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.fields = None if fields is None else list(fields)
        self.status = status

    @property
    def unreadable(self) -> bool:
        """Whether the request could not even be read: such a record spoils its whole collection."""
        return self.code in ("INVALID_FIELD", "JSON_PARSER_ERROR")

    def as_error(self) -> list[dict[str, Any]]:
        """The body of a refused request; errors of a record's fields name them."""
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields is not None:
            error["fields"] = self.fields
        return [error]

    def as_record_error(self) -> dict[str, Any]:
        """An entry of ``errors`` in a collection's result."""
        return {"statusCode": self.code, "message": self.message, "fields": self.fields or []}


def not_found(message: str = "The requested resource does not exist") -> Refusal:
    return Refusal("NOT_FOUND", message, status=404)


def deleted() -> Refusal:
    return Refusal("ENTITY_IS_DELETED", "entity is deleted", fields=[], status=404)


def json_error(message: str) -> Refusal:
    return Refusal("JSON_PARSER_ERROR", message)
