"""Query jobs of Bulk API 2.0: the resources below jobs/query, and their results as CSV.

A job is asked about once while it is in progress, so that clients have to wait for it. Its result is what the records
were at that moment; it is worked out and written page by page, so that it may have millions of rows.

Not locked: the application holds its lock around each request. A page is written after that, from what stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sandbox.salesforce import query
from sandbox.salesforce.errors import Refusal, json_error, not_found
from sandbox.salesforce.ids import make_id
from sandbox.salesforce.store import Store

JOBS_A_DAY = 10_000
OLDEST_VERSION = 47
PAGE_RECORDS = 50_000
"""Records on a page of which the client does not say how many."""

_PIECE = 2_000
"""Rows written at a time."""

_DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
_LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
_OVER = ("JobComplete", "Aborted", "Failed")


@dataclass
class _Job:
    """One job. table: its result, once it is there."""

    id: str
    operation: str
    text: str
    object: str
    version: int
    delimiter: str
    line_ending: str
    created: datetime
    state: str = "UploadComplete"
    table: query.Table | None = None
    error: str = ""


@dataclass(frozen=True)
class Csv:
    """One page of a result. headers: what the answer's headers say of it."""

    job: _Job
    table: query.Table
    start: int
    end: int

    @property
    def headers(self) -> dict[str, str]:
        locator = "null"
        if self.end < len(self.table):
            locator = base64.urlsafe_b64encode(str(self.end).encode()).decode().rstrip("=")
        return {"Sforce-Locator": locator, "Sforce-NumberOfRecords": str(self.end - self.start)}

    def pieces(self) -> Iterator[bytes]:
        """The page, a piece at a time: the header, then rows; every value in quotes, as Salesforce writes them."""
        written = io.StringIO()
        writer = csv.writer(
            written,
            delimiter=_DELIMITERS[self.job.delimiter],
            lineterminator=_LINE_ENDINGS[self.job.line_ending],
            quoting=csv.QUOTE_ALL,
        )
        writer.writerow(self.table.header)
        for start in range(self.start, self.end, _PIECE):
            writer.writerows(self.table.rows(start, min(start + _PIECE, self.end)))
            yield written.getvalue().encode()
            written.seek(0)
            written.truncate()
        yield written.getvalue().encode()


def compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same as a gzip stream."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


class QueryJobs:
    """The jobs of one organisation."""

    def __init__(self, store: Store, user_id: str) -> None:
        self._store = store
        self._user_id = user_id
        self._jobs: dict[str, _Job] = {}
        self._failures: list[str] = []
        self.started = 0

    def clear(self) -> None:
        """There are no jobs, and there were none."""
        self._jobs.clear()
        self._failures.clear()
        self.started = 0

    def fail_next(self, message: str) -> None:
        """The next job that is started fails, with these words."""
        self._failures.append(message)

    def start(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        """Start a job; out: what Salesforce says of it. Raises Refusal."""
        self._check_version(version)
        known = {"operation", "query", "contentType", "columnDelimiter", "lineEnding"}
        if unknown := set(body) - known:
            raise json_error(f'Unrecognized field "{min(unknown)}"')
        operation = _one_of(body, "operation", ("query", "queryAll"))
        _one_of(body, "contentType", ("CSV",), "CSV")
        delimiter = _one_of(body, "columnDelimiter", tuple(_DELIMITERS), "COMMA")
        line_ending = _one_of(body, "lineEnding", tuple(_LINE_ENDINGS), "LF")
        text = body.get("query")
        if not isinstance(text, str) or not text:
            raise Refusal("INVALIDJOB", "InvalidJob : Must specify a query")
        target = query.check_bulk(self._store, text)
        if self.started >= JOBS_A_DAY:
            raise Refusal("LIMIT_EXCEEDED", "The number of query jobs a day is used up")
        self.started += 1
        id, now = make_id("750", self.started), self._store.now()
        job = _Job(id, operation, text, target.name, version, delimiter, line_ending, now)
        if self._failures:
            job.error = self._failures.pop(0)
        self._jobs[id] = job
        return self._shown(job)

    def all(self, version: int) -> dict[str, Any]:
        """All jobs."""
        self._check_version(version)
        return {"done": True, "records": [self._shown(job) for job in self._jobs.values()], "nextRecordsUrl": None}

    def look(self, id: str, version: int) -> dict[str, Any]:
        """How far a job is: in progress when it is asked for the first time."""
        job = self._job(id, version)
        if job.state == "UploadComplete":
            job.state = "InProgress"
            if not job.error:
                job.table = query.table(self._store, job.text, with_deleted=job.operation == "queryAll")
        elif job.state == "InProgress":
            job.state = "Failed" if job.error else "JobComplete"
        return {**self._shown(job), "retries": 0, "totalProcessingTime": 1_000}

    def change(self, id: str, body: dict[str, Any], version: int) -> dict[str, Any]:
        """Abort a job."""
        job = self._job(id, version)
        if body != {"state": "Aborted"}:
            raise Refusal("INVALIDJOB", "InvalidJob : The state of a query job can only be set to Aborted")
        if job.state in _OVER:
            raise Refusal("INVALIDJOBSTATE", f"Aborting already {job.state} Job not allowed")
        job.state, job.table = "Aborted", None
        return self._shown(job)

    def delete(self, id: str, version: int) -> None:
        """Delete a job that is over."""
        job = self._job(id, version)
        if job.state not in _OVER:
            raise Refusal("INVALIDJOBSTATE", f"Deleting {job.state} Job not allowed")
        del self._jobs[job.id]

    def results(self, id: str, parameters: dict[str, str], version: int) -> Csv:
        """One page of a finished job's result."""
        job = self._job(id, version)
        if job.state != "JobComplete" or job.table is None:
            raise Refusal("INVALIDJOBSTATE", f"Job is in state {job.state}: there are no results")
        if unknown := set(parameters) - {"locator", "maxRecords"}:
            raise Refusal("INVALID_QUERY_PARAMETER", f"unknown parameter: {min(unknown)}")
        most = parameters.get("maxRecords", str(PAGE_RECORDS))
        if not re.fullmatch(r"[1-9]\d{0,8}", most):
            raise Refusal("INVALID_QUERY_PARAMETER", f"Invalid maxRecords: {most}")
        start = _start(parameters["locator"]) if "locator" in parameters else 0
        if start and start >= len(job.table):
            raise _bad_locator(parameters["locator"])
        return Csv(job, job.table, start, min(start + int(most), len(job.table)))

    def _job(self, id: str, version: int) -> _Job:
        self._check_version(version)
        job = next((job for job in self._jobs.values() if id in (job.id, job.id[:15])), None)
        if not job:
            raise not_found()
        if job.version != version:
            reason = f"the job was created with API version {job.version}.0, and asked for with {version}.0"
            raise Refusal("INVALIDVERSION", f"InvalidVersion : {reason}")
        return job

    def _check_version(self, version: int) -> None:
        if version < OLDEST_VERSION:
            raise not_found()

    def _shown(self, job: _Job) -> dict[str, Any]:
        created = job.created.strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        shown = {
            "id": job.id,
            "operation": job.operation,
            "object": job.object,
            "createdById": self._user_id,
            "createdDate": created,
            "systemModstamp": created,
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version),
            "jobType": "V2Query",
            "lineEnding": job.line_ending,
            "columnDelimiter": job.delimiter,
        }
        if job.state in _OVER:
            shown["numberRecordsProcessed"] = len(job.table) if job.table else 0
            shown["isPkChunkingSupported"] = True
        if job.state == "Failed":
            shown["errorMessage"] = job.error
        return shown


def _one_of(body: dict[str, Any], name: str, values: tuple[str, ...], default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or value not in values:
        raise Refusal("INVALIDJOB", f"InvalidJob : {name} has to be one of {', '.join(values)}")
    return value


def _start(locator: str) -> int:
    try:
        start = base64.b64decode(locator + "=" * (-len(locator) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad_locator(locator) from None
    if not start.isdigit() or int(start) == 0:
        raise _bad_locator(locator)
    return int(start)


def _bad_locator(locator: str) -> Refusal:
    return Refusal("INVALID_QUERY_LOCATOR", f"invalid query locator: {locator}")
