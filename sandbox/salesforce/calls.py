"""One request below /services/data/vNN.0, and one answer, whether alone or inside a composite."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sandbox.salesforce.bulk import Csv
from sandbox.salesforce.errors import Refusal, json_error, not_found

OLDEST_VERSION, LATEST_VERSION = 31, 66

_VERSION = re.compile(r"v(\d{1,3})\.0")


@dataclass(frozen=True)
class Call:
    """One request. path: the decoded segments below the version. body: parsed JSON, None when there is none.

    all_or_none: whether an enclosing composite demands it, which overrides a collection's own wish.
    """

    method: str
    version: int
    path: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    options: str = ""
    all_or_none: bool = False

    @property
    def base(self) -> str:
        return f"/services/data/v{self.version}.0"

    def object_body(self) -> dict[str, Any]:
        """The body, which has to be a JSON object."""
        if not isinstance(self.body, dict):
            raise json_error("The HTTP entity body is required, and has to be a JSON object, for this request")
        return self.body


@dataclass
class Answer:
    """status and JSON body of an answer. failed: some records of a collection were refused. csv: the body, instead."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    csv: Csv | None = None


def parse_url(url: str) -> tuple[int, tuple[str, ...], dict[str, str]]:
    """Version, segments and query of an address below /services/data; NOT_FOUND for others."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise not_found() from None
    match [unquote(segment) for segment in parts.path.split("/") if segment]:
        case ["services", "data", version, *segments] if found := _VERSION.fullmatch(version):
            number = int(found[1])
        case _:
            raise not_found()
    if 20 < number < OLDEST_VERSION:
        raise Refusal("UNSUPPORTED_API_VERSION", "This API version is retired", status=410)
    if not OLDEST_VERSION <= number <= LATEST_VERSION:
        raise not_found()
    return number, tuple(segments), dict(parse_qsl(parts.query, keep_blank_values=True))


def versions() -> list[dict[str, str]]:
    """The list at /services/data: three releases a year, named after seasons."""
    listed = []
    for version in range(OLDEST_VERSION, LATEST_VERSION + 1):
        years, season = divmod(version - 66, 3)  # 66 is Spring '26
        label = f"{('Spring', 'Summer', 'Winter')[season]} '{26 + years + (season == 2)}"
        listed.append({"label": label, "url": f"/services/data/v{version}.0", "version": f"{version}.0"})
    return listed
