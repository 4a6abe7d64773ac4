"""The REST resources below /services/data/vNN.0: one `Call` in, one `Answer` out, whether alone or inside a composite.

Not locked: the application holds its lock around each request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sandbox.salesforce import describe, query
from sandbox.salesforce.bulk import Csv, QueryJobs
from sandbox.salesforce.errors import Refusal, json_error, not_found
from sandbox.salesforce.ids import to_18
from sandbox.salesforce.schema import Field, SObject
from sandbox.salesforce.store import Store
from sandbox.salesforce.tables import Record
from sandbox.salesforce.values import to_json

OLDEST_VERSION, LATEST_VERSION = 31, 66
PAGE_SIZES = range(200, 2001)
MAX_SUBREQUESTS, MAX_COLLECTIONS_AND_QUERIES = 25, 5  # Composite's limits
MAX_RECORDS = 200  # sObject Collections' limit; 2,000 when only reading
MAX_CURSORS = 50

_VERSION = re.compile(r"v(\d{1,3})\.0")
_REFERENCE = re.compile(r"@\{([A-Za-z]\w*)((?:\[\d+\])*(?:\.\w+(?:\[\d+\])*)*)\}")
_REFERENCE_ID = re.compile(r"[A-Za-z]\w*")


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


class Rest:
    """Answers calls from a store. limits: what the limits resource shows; user_id: who calls."""

    def __init__(self, store: Store, limits: Callable[[], dict[str, Any]], user_id: str) -> None:
        self._store = store
        self._limits = limits
        self.jobs = QueryJobs(store, user_id)
        self._cursors: dict[str, list[dict[str, Any]]] = {}
        self._cursor_number = 0

    def answer(self, call: Call) -> Answer:
        """Do what is asked. Raises Refusal for what is refused as a whole."""
        methods = self._resource(call.path)
        if call.method not in methods:
            allowed = ",".join(methods)
            message = f"HTTP Method '{call.method}' not allowed. Allowed are {allowed}"
            raise Refusal("METHOD_NOT_ALLOWED", message, status=405)
        return methods[call.method](call)

    def _resource(self, path: tuple[str, ...]) -> dict[str, Callable[[Call], Answer]]:
        match path:
            case ():
                return {"GET": self._resources}
            case ("limits",):
                return {"GET": lambda call: Answer(200, self._limits())}
            case ("query" | "queryAll",):
                return {"GET": self._query}
            case ("query" | "queryAll", _):
                return {"GET": self._query_more}
            case ("sobjects",):
                return {"GET": self._describe_global}
            case ("sobjects", _):
                return {"GET": self._object, "POST": self._create}
            case ("sobjects", _, "describe"):
                return {"GET": self._describe}
            case ("sobjects", _, _):
                return {"GET": self._read, "PATCH": self._update, "DELETE": self._delete}
            case ("sobjects", _, _, _):
                return {"GET": self._read_by_key, "PATCH": self._upsert, "DELETE": self._delete_by_key}
            case ("composite",):
                return {"POST": self._composite}
            case ("composite", "sobjects"):
                return {"POST": self._create_many, "PATCH": self._update_many, "DELETE": self._delete_many}
            case ("composite", "sobjects", _):
                return {"GET": self._read_many, "POST": self._read_many}
            case ("composite", "sobjects", _, _):
                return {"PATCH": self._upsert_many}
            case ("jobs", "query"):
                return {"GET": self._query_jobs, "POST": self._start_job}
            case ("jobs", "query", _):
                return {"GET": self._look_at_job, "PATCH": self._change_job, "DELETE": self._delete_job}
            case ("jobs", "query", _, "results"):
                return {"GET": self._job_results}
        raise not_found()

    # What there is

    def _resources(self, call: Call) -> Answer:
        names = ("composite", "jobs", "limits", "query", "queryAll", "sobjects")
        return Answer(200, {name: f"{call.base}/{name}" for name in names})

    def _describe_global(self, call: Call) -> Answer:
        listed = [describe.summary(one, call.base) for one in self._store.schema.objects.values()]
        return Answer(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed})

    def _object(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        return Answer(200, {"objectDescribe": describe.summary(target, call.base), "recentItems": []})

    def _describe(self, call: Call) -> Answer:
        return Answer(200, describe.detail(self._store.schema, self._store.object(call.path[1]), call.base))

    # Queries

    def _query(self, call: Call) -> Answer:
        text = call.query.get("q")
        if text is None:
            raise Refusal("MALFORMED_QUERY", "SOQL statement is required: parameter q")
        result = query.run(self._store, text, call.base, with_deleted=call.path[0] == "queryAll")
        size = _page_size(call.options)
        if len(result.records) <= size:
            return Answer(200, {"totalSize": result.size, "done": True, "records": result.records})
        self._cursor_number += 1
        cursor = f"01g5g0{self._cursor_number:09d}AAA"
        self._cursors[cursor] = result.records
        if len(self._cursors) > MAX_CURSORS:
            del self._cursors[next(iter(self._cursors))]
        return self._page(call, cursor, 0, size)

    def _query_more(self, call: Call) -> Answer:
        cursor, _, start = call.path[1].rpartition("-")
        if cursor not in self._cursors or not start.isdecimal() or int(start) >= len(self._cursors[cursor]):
            raise Refusal("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._page(call, cursor, int(start), _page_size(call.options))

    def _page(self, call: Call, cursor: str, start: int, size: int) -> Answer:
        records = self._cursors[cursor]
        body: dict[str, Any] = {"totalSize": len(records), "done": start + size >= len(records)}
        if not body["done"]:
            body["nextRecordsUrl"] = f"{call.base}/{call.path[0]}/{cursor}-{start + size}"
        return Answer(200, {**body, "records": records[start : start + size]})

    # Queries in bulk

    def _start_job(self, call: Call) -> Answer:
        return Answer(200, self.jobs.start(call.object_body(), call.version))

    def _query_jobs(self, call: Call) -> Answer:
        return Answer(200, self.jobs.all(call.version))

    def _look_at_job(self, call: Call) -> Answer:
        return Answer(200, self.jobs.look(call.path[2], call.version))

    def _change_job(self, call: Call) -> Answer:
        return Answer(200, self.jobs.change(call.path[2], call.object_body(), call.version))

    def _delete_job(self, call: Call) -> Answer:
        self.jobs.delete(call.path[2], call.version)
        return Answer(204)

    def _job_results(self, call: Call) -> Answer:
        page = self.jobs.results(call.path[2], dict(call.query), call.version)
        return Answer(200, headers=page.headers, csv=page)

    # One record

    def _create(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        values = _values(target, call.object_body())
        if _keys(values, "Id"):
            message = "cannot specify Id in an insert call"
            raise Refusal("INVALID_FIELD_FOR_INSERT_UPDATE", message, ["Id"])
        return _created(call, target, self._store.insert(target, values))

    def _read(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        return Answer(200, self._shown(call, target, self._store.record(target, call.path[2])))

    def _update(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        values = _values(target, call.object_body())
        _refuse_key(values, "Id")
        self._store.update(target, call.path[2], values)
        return Answer(204)

    def _delete(self, call: Call) -> Answer:
        self._store.delete(self._store.object(call.path[1]), call.path[2])
        return Answer(204)

    def _read_by_key(self, call: Call) -> Answer:
        target, record = self._keyed(call)
        return Answer(200, self._shown(call, target, record))

    def _delete_by_key(self, call: Call) -> Answer:
        target, record = self._keyed(call)
        self._store.delete(target, record["Id"])
        return Answer(204)

    def _upsert(self, call: Call) -> Answer:
        target = self._store.object(call.path[1])
        key = self._key(target, call.path[2])
        values = _values(target, call.object_body())
        _refuse_key(values, "Id")
        _refuse_key(values, key.name)
        record_id, created = self._store.upsert(target, key, call.path[3], values)
        if created:
            return _created(call, target, record_id)
        if call.version < 46:  # until then an update answered nothing
            return Answer(204)
        return Answer(200, {"id": record_id, "success": True, "errors": [], "created": False})

    def _key(self, target: SObject, name: str) -> Field:
        found = target.field(name)
        if not found or not found.external_id:
            raise not_found(f"Provided external ID field does not exist or is not accessible: {name}")
        return found

    def _keyed(self, call: Call) -> tuple[SObject, Record]:
        target = self._store.object(call.path[1])
        record = self._store.by_key(target, self._key(target, call.path[2]), call.path[3])
        if not record:
            raise not_found()
        return target, record

    def _shown(self, call: Call, target: SObject, record: Record) -> dict[str, Any]:
        names = call.query.get("fields")
        fields = list(target.fields.values()) if names is None else _named(target, names.split(","))
        shown: dict[str, Any] = {"attributes": query.attributes(target, record, call.base)}
        shown.update({one.name: to_json(record[one.name]) for one in fields})
        if names is not None:
            shown.setdefault("Id", record["Id"])
        return shown

    # Many records

    def _create_many(self, call: Call) -> Answer:
        def create(record: dict[str, Any]) -> dict[str, Any]:
            target = self._typed(record)
            values = _values(target, record)
            if _keys(values, "Id"):
                message = "cannot specify Id in an insert call"
                raise Refusal("INVALID_FIELD_FOR_INSERT_UPDATE", message, ["Id"])
            return {"id": self._store.insert(target, values)}

        return self._many(call, self._records(call), _flag(call.object_body(), "allOrNone"), create)

    def _update_many(self, call: Call) -> Answer:
        def update(record: dict[str, Any]) -> dict[str, Any]:
            target = self._typed(record)
            values = _values(target, record)
            record_id = _pop(values, "Id")
            if not isinstance(record_id, str):
                raise Refusal("MISSING_ARGUMENT", "Id not specified in an update call", [])
            self._update_one(target, record_id, values)
            return {"id": to_18(record_id)}

        return self._many(call, self._records(call), _flag(call.object_body(), "allOrNone"), update)

    def _upsert_many(self, call: Call) -> Answer:
        target = self._store.object(call.path[2])
        named = target.field(call.path[3])
        key = named if named and named.kind == "id" else self._key(target, call.path[3])
        records = self._records(call)
        given = [
            str(_values(target, record).get(name)).lower() for record in records for name in _keys(record, key.name)
        ]

        def upsert(record: dict[str, Any]) -> dict[str, Any]:
            if self._typed(record) is not target:
                raise json_error(f"The records' type has to be {target.name}")
            values = _values(target, record)
            value = _pop(values, key.name)
            if key.kind == "id" and value is None:
                return {"id": self._store.insert(target, values), "created": True}
            if value is None or value == "":
                raise Refusal("MISSING_ARGUMENT", f"{key.name} not specified", [])
            if given.count(str(value).lower()) > 1:
                raise Refusal("DUPLICATE_VALUE", f"Duplicate external id specified: {value}", [key.name])
            if key.kind == "id":
                value = str(value)
                self._update_one(target, value, values)
                return {"id": to_18(value), "created": False}
            if _keys(values, "Id"):
                raise Refusal("INVALID_FIELD_FOR_INSERT_UPDATE", "cannot specify both an external ID and Id", ["Id"])
            record_id, created = self._store.upsert(target, key, value, values)
            return {"id": record_id, "created": created}

        return self._many(call, records, _flag(call.object_body(), "allOrNone"), upsert)

    def _delete_many(self, call: Call) -> Answer:
        record_ids = [one for one in call.query.get("ids", "").split(",") if one]
        if not record_ids:
            raise Refusal("INVALID_INPUT", "The ids parameter is required")

        def delete(record_id: str) -> dict[str, Any]:
            target = self._store.schema.of_id(record_id)
            if not target:
                raise Refusal("MALFORMED_ID", f"malformed id {record_id}", [])
            try:
                self._store.delete(target, record_id)
            except Refusal as refusal:
                raise _among_many(refusal) from None
            return {"id": to_18(record_id)}

        return self._many(call, record_ids, call.query.get("allOrNone", "").lower() == "true", delete)

    def _read_many(self, call: Call) -> Answer:
        target = self._store.object(call.path[2])
        if call.method == "GET":
            record_ids, names = (call.query.get(one, "").split(",") for one in ("ids", "fields"))
        else:
            record_ids, names = (_texts(call.object_body(), one) for one in ("ids", "fields"))
        if len(record_ids) > 2000:
            raise _too_many(2000)
        fields = _named(target, names)
        shown: list[dict[str, Any] | None] = []
        for record_id in record_ids:
            try:
                record = self._store.record(target, record_id)
            except Refusal:
                shown.append(None)
                continue
            one: dict[str, Any] = {"attributes": query.attributes(target, record, call.base)}
            shown.append(one | {f.name: to_json(record[f.name]) for f in fields})
        return Answer(200, shown)

    def _update_one(self, target: SObject, record_id: str, values: Mapping[str, Any]) -> None:
        try:
            self._store.update(target, record_id, values)
        except Refusal as refusal:
            raise _among_many(refusal) from None

    def _many(self, call: Call, items: list[Any], all_or_none: bool, do: Callable[[Any], dict[str, Any]]) -> Answer:
        """Do each item, HTTP 200 whatever comes of it; an item that cannot even be read refuses the whole request."""
        if len(items) > MAX_RECORDS:
            raise _too_many(MAX_RECORDS)
        all_or_none = all_or_none or call.all_or_none
        before = self._store.mark()
        results: list[dict[str, Any]] = []
        for item in items:
            try:
                results.append({**do(item), "success": True, "errors": []})
            except Refusal as refusal:
                if refusal.unreadable:
                    self._store.undo(before)
                    raise
                results.append({"success": False, "errors": [refusal.as_record_error()]})
        failed = not all(result["success"] for result in results)
        if failed and all_or_none:
            self._store.undo(before)
            results = list(map(_rolled_back, results))
        return Answer(200, results, failed=failed)

    def _records(self, call: Call) -> list[dict[str, Any]]:
        body = call.object_body()
        if unknown := set(body) - {"allOrNone", "records"}:
            raise json_error(f'Unrecognized field "{min(unknown)}"')
        records = body.get("records")
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise json_error("records has to be an array of objects")
        return records

    def _typed(self, record: Mapping[str, Any]) -> SObject:
        kind = record.get("attributes")
        name = kind.get("type") if isinstance(kind, dict) else None
        if not isinstance(name, str):
            raise json_error("Each record needs attributes with a type")
        target = self._store.schema.get(name)
        if not target:
            raise Refusal("INVALID_TYPE", f"sObject type '{name}' is not supported.", [])
        return target

    # Many requests in one

    def _composite(self, call: Call) -> Answer:
        body = call.object_body()
        if unknown := set(body) - {"allOrNone", "collateSubrequests", "compositeRequest"}:
            raise json_error(f'Unrecognized field "{min(unknown)}"')
        parts = body.get("compositeRequest")
        if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
            raise json_error("compositeRequest has to be an array of objects")
        self._check_parts(parts)
        answers = self._all_parts(parts) if _flag(body, "allOrNone") else self._each_part(parts)
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

    def _check_parts(self, parts: list[dict[str, Any]]) -> None:
        if len(parts) > MAX_SUBREQUESTS:
            message = f"The number of subrequests ({len(parts)}) exceeds the limit of {MAX_SUBREQUESTS}"
            raise Refusal("LIMIT_EXCEEDED", message)
        references: set[str] = set()
        heavy = 0
        for part in parts:
            if unknown := set(part) - {"method", "url", "referenceId", "body", "httpHeaders"}:
                raise json_error(f'Unrecognized field "{min(unknown)}"')
            if not isinstance(part.get("url"), str) or part.get("method") not in (
                "GET",
                "POST",
                "PATCH",
                "DELETE",
                "PUT",
            ):
                raise json_error("Each subrequest needs a url and a method in upper case")
            reference = part.get("referenceId")
            if not isinstance(reference, str) or not _REFERENCE_ID.fullmatch(reference):
                raise json_error("Each subrequest needs a referenceId of letters, digits and underscores")
            if reference in references:
                raise json_error(f"Duplicate referenceId: {reference}")
            references.add(reference)
            heavy += bool(re.match(r"/services/data/v\d+\.0/(composite/sobjects|query|queryAll)\b", part["url"]))
        if heavy > MAX_COLLECTIONS_AND_QUERIES:
            message = f"No more than {MAX_COLLECTIONS_AND_QUERIES} subrequests can be collections or queries"
            raise Refusal("LIMIT_EXCEEDED", message)

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
        return self.answer(replace(call, body=_resolved(part.get("body"), answers)))


def _rolled_back(result: dict[str, Any]) -> dict[str, Any]:
    """What becomes of one record's result where another failed and all or none was asked for."""
    if not result["success"]:
        return result
    message = "Record rolled back because not all records were valid and the request was using AllOrNone header"
    halted = Refusal("ALL_OR_NONE_OPERATION_ROLLED_BACK", message, [])
    return {"success": False, "errors": [halted.as_record_error()]}


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


def _texts(body: Mapping[str, Any], name: str) -> list[str]:
    value = body.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise json_error(f"{name} is required, and has to be an array of strings")
    return value


def _page_size(options: str) -> int:
    found = re.search(r"batchSize\s*=\s*(\d+)", options, re.IGNORECASE)
    return min(max(int(found[1]), PAGE_SIZES[0]), PAGE_SIZES[-1]) if found else PAGE_SIZES[-1]


def _named(target: SObject, names: list[str]) -> list[Field]:
    found = []
    for name in names:
        one = target.field(name.strip()) if isinstance(name, str) else None
        if not one:
            raise Refusal("INVALID_FIELD", f"No such column '{name}' on sobject of type {target.name}")
        found.append(one)
    return found


def _values(target: SObject, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's fields without its attributes, which name its type."""
    kind = record.get("attributes")
    if kind is not None and (
        not isinstance(kind, dict) or str(kind.get("type", target.name)).lower() != target.name.lower()
    ):
        raise json_error("attributes do not fit the record's type")
    return {name: value for name, value in record.items() if name != "attributes"}


def _keys(values: Mapping[str, Any], name: str) -> list[str]:
    return [one for one in values if one.lower() == name.lower()]


def _pop(values: dict[str, Any], name: str) -> Any:
    found = None
    for one in _keys(values, name):
        found = values.pop(one)
    return found


def _refuse_key(values: Mapping[str, Any], name: str) -> None:
    if _keys(values, name):
        raise Refusal("INVALID_FIELD", f"The {name} field should not be specified in the sobject data.")


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise json_error(f"{name} has to be true or false")
    return value


def _created(call: Call, target: SObject, record_id: str) -> Answer:
    body: dict[str, Any] = {"id": record_id, "success": True, "errors": []}
    if call.method == "PATCH" and call.version >= 46:
        body["created"] = True
    return Answer(201, body, {"Location": f"{call.base}/sobjects/{target.name}/{record_id}"})


def _among_many(refusal: Refusal) -> Refusal:
    """A record that is not there: a resource not found when asked alone, a bad reference in a collection."""
    if refusal.code == "NOT_FOUND":
        return Refusal("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [])
    return refusal


def _too_many(limit: int) -> Refusal:
    message = f"record limit reached. cannot submit more than {limit} records into this request."
    return Refusal("EXCEEDED_ID_LIMIT", message)
