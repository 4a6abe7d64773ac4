"""export_salesforce: exports the opportunities, their lines and their Stigg Provisionings from Salesforce to S3.

It uses bulk queries, so that a page of 50,000 records costs one API call. In mode ``changed`` only the opportunities
that changed are exported: their accounts are read live later.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.domain.errors import MappingsUnusable, SalesforceBudgetSpent
from closedwon.reconciliation.exporting import Json, Shift, one_round
from closedwon.reconciliation.runs import Run, Storage
from closedwon.salesforce.bulk import BulkQueries
from closedwon.salesforce.client import SalesforceClient
from closedwon.salesforce.export_queries import Scope, bulk_queries
from closedwon.salesforce.mapping_records import MAPPINGS_SOQL, Unreadable, mapped, value_at
from closedwon.stack import STACK, Stack

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

PAGES_A_STEP = 4
"""Pages of a query written in one batch: few large objects, and little to repeat after a failure."""

JOB_SECONDS = 10
"""Seconds between two polls of running queries."""


class SalesforceExport:
    """One run's export of Salesforce.

    In: the run; where it is stored; the client of Salesforce, and its bulk queries; the stages of open opportunities
    that give a trial; the share of the organisation's API calls that may be used up, in percent; how many pages are
    written together.
    """

    def __init__(
        self,
        run: Run,
        storage: Storage,
        salesforce: SalesforceClient,
        queries: BulkQueries,
        trial_stages: tuple[str, ...],
        share: int,
        pages_a_step: int = PAGES_A_STEP,
    ) -> None:
        self._run = run
        self._storage = storage
        self._salesforce = salesforce
        self._queries = queries
        self._trial_stages = trial_stages
        self._share = share
        self._pages_a_step = pages_a_step

    def step(self, progress: Json) -> Json:
        """Start the queries; later write the next pages of one that is finished, or wait while none is.

        Raises what `closedwon.salesforce.client` does, SalesforceBudgetSpent and MappingsUnusable.
        """
        if "jobs" not in progress:
            jobs = self.start()
            return {**progress, "jobs": jobs, "calls": progress["calls"] + 1 + len(jobs), "wait": 1}
        jobs = progress["jobs"]
        for place, job in enumerate(jobs):
            if job["locator"] is None:  # else it is finished: a page of it was read
                progress = {**progress, "calls": progress["calls"] + 1}
                # One that is finished is written while Salesforce still works on the others.
                if self._queries.finished(job["job"]) is None:
                    continue
                self.leave_the_rest()
            records, calls, locator = self.write_pages(job)
            if locator is None:
                self._queries.delete(job["job"])
            rest = [{**job, "locator": locator}] if locator is not None else []
            left = [*jobs[:place], *rest, *jobs[place + 1 :]]
            progress = {**progress, "jobs": left, "calls": progress["calls"] + calls + (not rest)}
            return {**progress, "done": not left, "records": progress["records"] + records}
        return {**progress, "wait": JOB_SECONDS}

    def leave_the_rest(self) -> None:
        """Raises SalesforceBudgetSpent when more than the stack's share of the day's API calls is used up. To be called
        after a request: what is known of the calls is as old as the last answer.
        """
        used, most = self._salesforce.budget()
        if 100 * used > self._share * most:
            raise SalesforceBudgetSpent(
                f"{used} of the organisation's {most} API calls of the last 24 hours are used up, "
                f"more than {self._share} %"
            )

    def start(self) -> list[Json]:
        """Start all queries. Out: for each its job, and what its rows are."""
        # Before the budget is looked at: the answer's header says how many calls are used.
        records = self._salesforce.query(MAPPINGS_SOQL)
        self.leave_the_rest()
        try:
            scope = Scope(self._run.since or None, self._trial_stages)
            asked, unreachable = bulk_queries(mapped(records), scope, self._salesforce)
        # Unreadable is about one deal; here no deal can be exported, and the report names what stopped the run.
        except Unreadable as error:
            raise MappingsUnusable(f"{error.problem.field} {error.problem.message}") from None
        # The comparison reads the lines by these, even if somebody changes them meanwhile.
        self._storage.put_mappings(self._run, records)
        if unreachable:  # their deals differ from the ledger's in the comparison, and are then read one by one
            logger.warning("lines that no bulk query reaches", extra={"mappings": unreachable})
        changed = self._run.mode == "changed"  # what was deleted changed too
        return [
            {
                "job": self._queries.start(query.soql, with_deleted=changed),
                "locator": None,
                "source": query.source,
                "account": query.account,
                "opportunity": query.opportunity,
                "mapping": query.mapping,
            }
            for query in asked
        ]

    def write_pages(self, job: Json) -> tuple[int, int, str | None]:
        """Write a job's next pages. Out: how many records, how many pages, and where the next begins, None after the
        last.

        Raises SalesforceBudgetSpent.
        """
        locator = job["locator"]
        pages = self._queries.pages(job["job"], locator)
        calls = 0
        with self._storage.batch(self._run, f"{job['job']}-{locator or 'first'}") as writer:
            for page in islice(pages, self._pages_a_step):
                for account, record in records_of(page.rows, job):
                    writer.add(job["source"], account, record)
                locator = page.locator
                calls += 1
                if locator is not None:
                    self.leave_the_rest()
        # The generator still holds the last page's connection, because pages are streamed.
        pages.close()  # type: ignore[attr-defined]  # a generator
        return writer.records, calls, locator


def records_of(rows: Iterator[Json], job: Json) -> Iterator[tuple[str, Json]]:
    """The records to write, each with its account."""
    for row in rows:
        account = str(value_at(row, job["account"]))
        if job["source"] == "lines":
            yield account, {"opportunity": value_at(row, job["opportunity"]), "mapping": job["mapping"], "row": row}
        else:
            yield account, {"row": row}


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> Json:
    run = Run.of(event["run"])
    shift = Shift(context.get_remaining_time_in_millis)
    export = SalesforceExport(
        run,
        stack.storage,
        stack.quick_salesforce,
        stack.bulk_queries,
        stack.settings.trial_stages,
        int(stack.settings["SALESFORCE_API_SHARE_PERCENT"]),
    )
    progress = one_round(event["progress"], export.step, shift)
    logger.info("exported", extra={"run": run.id, **{name: progress[name] for name in ("done", "calls", "records")}})
    return progress
