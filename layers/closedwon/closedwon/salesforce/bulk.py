"""Salesforce's Bulk API 2.0 queries: for results of any size, read piece by piece.

A job is started, polled until it is finished, and its result read page by page. A page is never held in memory whole:
its rows are yielded one by one while it arrives. Each page is requested by its locator, so that a reader that stopped
or was cut off can request that page again. Errors are those of `closedwon.salesforce.client`. Starting a job changes no
record, so a lost answer to that is SalesforceUnavailable as well: at worst a job runs whose result nobody reads.
"""

from __future__ import annotations

import codecs
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from closedwon.domain.errors import SalesforceRefused, SalesforceUnavailable
from closedwon.salesforce.client import formatted
from closedwon.wire.private import redacted

if TYPE_CHECKING:
    import requests

    from closedwon.salesforce.client import SalesforceClient

Json = dict[str, Any]

PAGE_RECORDS = 50_000
"""Records on a page. A page that breaks off is requested again from its start."""

TIMEOUTS = (3.05, 60.0)
"""Seconds to connect and for each read: a page's first bytes take longer than a record's."""

_CHUNK = 1 << 18
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_READ = "read results"


class Page(NamedTuple):
    """One page of a job's result.

    rows: its records, as they arrive; raises SalesforceUnavailable when the page breaks off. To be read to their end
    before the next page is asked for. locator: the next page's, None on the last.
    """

    rows: Iterator[Json]
    locator: str | None


class BulkQueries:
    """Queries by Bulk API 2.0, through a client that is logged in.

    A row is what `SalesforceClient.query` gives for the same fields, except for three things that CSV cannot show:
    it has no `attributes`; a parent none of whose selected fields has a value is None, like one that is not there; and
    a parent's boolean is None where the parent is not there.
    """

    def __init__(self, client: SalesforceClient) -> None:
        self._client = client
        self._objects: dict[str, str] = {}  # a job's object
        self._schemas: dict[str, dict[str, Json]] = {}  # an object's fields, by the name and the relationship

    def start(self, soql: str, with_deleted: bool = False, **values: Any) -> str:
        """Start a job; out: its ID.

        soql, values: as in `SalesforceClient.query`, but of up to 100,000 characters; no subqueries, aggregates or
        OFFSET. ORDER BY and LIMIT keep Salesforce from working in parallel. with_deleted: look into the recycle bin.
        """
        operation = "queryAll" if with_deleted else "query"
        body = {"operation": operation, "query": formatted(soql, values), "contentType": "CSV"}
        # Said, although they are the defaults: `_lines` and `_rows` depend on them.
        body |= {"columnDelimiter": "COMMA", "lineEnding": "LF"}
        job = self._client.rest("start query", "jobs/query", "POST", body)
        return self._known(job, "start query")

    def finished(self, job: str) -> int | None:
        """How many records a job found; None while it is under way.

        Raises SalesforceRefused with Salesforce's words where it failed or was aborted.
        """
        found = self._client.rest("look at query", f"jobs/query/{job}")
        self._known(found, "look at query")
        state = found.get("state")
        if state in ("UploadComplete", "InProgress"):
            return None
        if state != "JobComplete":
            said = redacted(found.get("errorMessage")) or "no reason given"
            raise SalesforceRefused(redacted(state, limit=80), said, operation="query")
        processed = found.get("numberRecordsProcessed") or 0
        if not isinstance(processed, int):
            raise SalesforceUnavailable("an answer without a number", operation="look at query")
        return processed

    def pages(self, job: str, locator: str | None = None, most: int = PAGE_RECORDS) -> Iterator[Page]:
        """The pages of a finished job's result, from one on.

        locator: that page's, None for the first; most: records on a page.
        """
        while True:
            params: dict[str, str | int] = {"maxRecords": most}
            if locator is not None:
                params["locator"] = locator
            with closing(self._client.stream(_READ, f"jobs/query/{job}/results", params, TIMEOUTS)) as answer:
                following = answer.headers.get("Sforce-Locator")
                if following is None:
                    raise SalesforceUnavailable("an answer without a locator", operation=_READ)
                # The word for "no more pages", by Salesforce's documentation.
                locator = None if following == "null" else following
                yield Page(self._rows(job, answer), locator)
            if locator is None:
                return

    def delete(self, job: str) -> None:
        """Delete a finished job and its result. A job that is gone already is not an error."""
        try:
            self._client.rest("delete query", f"jobs/query/{job}", "DELETE")
        except SalesforceRefused as refused:
            if refused.status != 404:
                raise
        self._objects.pop(job, None)

    def rows(self, soql: str, with_deleted: bool = False, **values: Any) -> Iterator[Json]:
        """All records of a query, waiting for its job: for callers that have the time, and start over when it breaks
        off.
        """
        job = self.start(soql, with_deleted, **values)
        wait = _FIRST_WAIT
        while self.finished(job) is None:
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
        for page in self.pages(job):
            yield from page.rows
        self.delete(job)

    def _known(self, job: Any, operation: str) -> str:
        """The ID of a job that Salesforce described; the job's object is remembered for `_shape`."""
        if not isinstance(job, dict) or not isinstance(job.get("id"), str):
            raise SalesforceUnavailable("an answer without a job", operation=operation)
        id: str = job["id"]
        if isinstance(job.get("object"), str):
            self._objects[id] = job["object"]
        return id

    def _rows(self, job: str, answer: requests.Response) -> Iterator[Json]:
        """The records of a page while it arrives."""
        import requests

        failure = ""
        try:
            table = csv.reader(_lines(answer), strict=True)  # else an open quotation mark ends a row
            header = next(table, None)
            row_of = self._shape(job, header) if header else None
            count = 0
            for cells in table:
                # A connection that breaks off in mid-row leaves a short row, which must not pass for a record.
                if row_of is None or header is None or len(cells) != len(header):
                    raise ValueError("a row that does not fit its header")
                yield row_of.made(cells)
                count += 1
            # A connection that breaks off between two rows leaves whole rows, only too few.
            if str(count) != answer.headers.get("Sforce-NumberOfRecords", str(count)):
                failure = "a page that is not whole"
        except (requests.RequestException, csv.Error, ValueError) as error:
            failure = f"a page that broke off ({type(error).__name__})"
        if failure:  # raised here, so that it does not carry the caught exception, which may quote the data
            raise SalesforceUnavailable(failure, operation=_READ)

    # From columns to rows

    def _shape(self, job: str, header: Sequence[str]) -> _Record:
        """How rows become records, by the header's dotted names (Account.Name) and the schema's types."""
        # It was started by another invocation, whose process may be gone.
        if job not in self._objects:
            self._known(self._client.rest("look at query", f"jobs/query/{job}"), "look at query")
        root = _Record()
        for place, column in enumerate(header):
            *way, name = column.split(".")
            record, at = root, self._objects.get(job)
            for step in way:
                known = self._field(at, "relationshipName", step)
                at = (known.get("referenceTo") or [None])[0]
                record = record.parents.setdefault(step, _Record())
            kind = self._field(at, "name", name).get("type")
            record.columns.append((name, place, _READERS.get(str(kind), str)))
        return root

    def _field(self, object_name: str | None, by: str, name: str) -> Json:
        """What the schema says of a field, found by its name or its relationship's; empty where it knows none."""
        if object_name is None:
            return {}
        if object_name not in self._schemas:
            fields = self._client.describe(object_name)["fields"]
            self._schemas[object_name] = {
                f"{key} {each[key].lower()}": each
                for each in fields
                for key in ("name", "relationshipName")
                if each.get(key)
            }
        return self._schemas[object_name].get(f"{by} {name.lower()}", {})


@dataclass
class _Record:
    """How a record is made from the cells of a row. columns: of each field its name, its place and how it is read."""

    columns: list[tuple[str, int, Callable[[str], Any]]] = field(default_factory=list)
    parents: dict[str, _Record] = field(default_factory=dict)

    def made(self, cells: Sequence[str]) -> Json:
        # CSV knows no null: an empty cell is a field without a value.
        record: Json = {name: read(cells[place]) if cells[place] else None for name, place, read in self.columns}
        for relationship, parent in self.parents.items():
            found = parent.made(cells)
            # CSV shows a missing parent as empty cells, like a parent whose fields are all empty.
            record[relationship] = found if any(value is not None for value in found.values()) else None
        return record


_READERS: dict[str, Callable[[str], Any]] = {
    "boolean": lambda cell: cell == "true",
    "int": int,
    "double": float,
    "currency": float,
    "percent": float,
    "datetime": lambda cell: cell.removesuffix("Z") + "+0000" if cell[-1] == "Z" else cell,
}
"""How a cell is read, by the type of its field; everything else is text. Instants get the form that a REST query gives
them.
"""


def _lines(answer: requests.Response) -> Iterator[str]:
    """The lines of an answer as they arrive, each with its line feed; nothing else in a text ends a line."""
    # A chunk may end in the middle of a character.
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    for chunk in answer.iter_content(_CHUNK):
        # Not splitlines, which also splits at characters that a text field may hold (such as U+2028).
        *lines, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in lines:
            yield line + "\n"
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest
