"""The REST resources below /services/data/vNN.0: which there are, and what answers each of them.

Not locked: the application holds its lock around each request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.salesforce import describe
from sandbox.salesforce.bulk import QueryJobs
from sandbox.salesforce.calls import Answer, Call
from sandbox.salesforce.composite import Composite
from sandbox.salesforce.errors import Refusal, not_found
from sandbox.salesforce.many_records import Collections
from sandbox.salesforce.queries import Queries
from sandbox.salesforce.records import Records
from sandbox.salesforce.store import Store

Resource = tuple[tuple[str, ...], dict[str, Callable[[Call], Answer]]]
"""A path, in which ``*`` is any segment, and what answers its methods."""


class Rest:
    """Answers calls from a store. limits: what the limits resource shows; user_id: who calls."""

    def __init__(self, store: Store, limits: Callable[[], dict[str, Any]], user_id: str) -> None:
        self._store = store
        self._limits = limits
        self.jobs = QueryJobs(store, user_id)
        self._table = self._resources()

    def answer(self, call: Call) -> Answer:
        """Do what is asked. Raises Refusal for what is refused as a whole."""
        methods = next((methods for path, methods in self._table if _fits(path, call.path)), None)
        if methods is None:
            raise not_found()
        if call.method not in methods:
            allowed = ",".join(methods)
            message = f"HTTP Method '{call.method}' not allowed. Allowed are {allowed}"
            raise Refusal("METHOD_NOT_ALLOWED", message, status=405)
        return methods[call.method](call)

    def _resources(self) -> list[Resource]:
        """All there are; of those that fit a path the first one counts."""
        queries, one, many = Queries(self._store), Records(self._store), Collections(self._store)
        composite = Composite(self._store, self.answer)
        return [
            ((), {"GET": self._names}),
            (("limits",), {"GET": lambda call: Answer(200, self._limits())}),
            (("query",), {"GET": queries.run}),
            (("queryAll",), {"GET": queries.run}),
            (("query", "*"), {"GET": queries.more}),
            (("queryAll", "*"), {"GET": queries.more}),
            (("sobjects",), {"GET": self._describe_global}),
            (("sobjects", "*"), {"GET": self._object, "POST": one.create}),
            (("sobjects", "*", "describe"), {"GET": self._describe}),
            (("sobjects", "*", "*"), {"GET": one.read, "PATCH": one.update, "DELETE": one.delete}),
            (
                ("sobjects", "*", "*", "*"),
                {"GET": one.read_by_key, "PATCH": one.upsert, "DELETE": one.delete_by_key},
            ),
            (("composite",), {"POST": composite.answer}),
            (("composite", "sobjects"), {"POST": many.create, "PATCH": many.update, "DELETE": many.delete}),
            (("composite", "sobjects", "*"), {"GET": many.read, "POST": many.read}),
            (("composite", "sobjects", "*", "*"), {"PATCH": many.upsert}),
            (("jobs", "query"), {"GET": self._query_jobs, "POST": self._start_job}),
            (("jobs", "query", "*"), {"GET": self._look_at_job, "PATCH": self._change_job, "DELETE": self._delete_job}),
            (("jobs", "query", "*", "results"), {"GET": self._job_results}),
        ]

    # What there is

    def _names(self, call: Call) -> Answer:
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


def _fits(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(part in ("*", given) for part, given in zip(pattern, path, strict=True))
