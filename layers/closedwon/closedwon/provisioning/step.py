"""What the steps of the state machine share: their input, taking the customer's work, and leaving it well when they
fail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from closedwon.aws.ledger import Ledger
from closedwon.domain.errors import LedgerContended, RunInputInvalid, WriteUnanswered, as_read
from closedwon.domain.lease import Busy, Current, Unanswered, Work
from closedwon.domain.results import Interrupted, LeaseLost

if TYPE_CHECKING:
    from closedwon.aws.context import Context


class Step(NamedTuple):
    """A step's input: whose work; the token the step before handed on; the execution's name."""

    account_id: str
    token: int
    execution: str

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> Step:
        with as_read(lambda _: RunInputInvalid("the input has no accountId, token and execution")):
            # A KeyError would not say what an execution that is started by hand has to be given.
            step = cls(event["accountId"], event["token"], event["execution"])
        if not isinstance(step.token, int) or not all(
            isinstance(one, str) for one in (step.account_id, step.execution)
        ):
            raise RunInputInvalid("accountId and execution must be texts, token a whole number")
        return step

    def handing_on(self, work: Work | None, /, **more: Any) -> dict[str, Any]:
        """The step's output: its token tells the next step that everything this one wrote was answered."""
        return {"accountId": self.account_id, "token": work.lease.token if work else self.token, **more}


class Leases:
    """Taking customers' work, and leaving it well when a step fails.

    In: the ledger; how long after it was sent a write without an answer may still land, in milliseconds.
    """

    def __init__(self, ledger: Ledger, lifetime: int) -> None:
        self._ledger = ledger
        self._lifetime = lifetime

    def acquire(self, step: Step, context: Context) -> Work | Busy | Current:
        """Take the customer's work for as long as this invocation can run and what it writes can still land.

        In: the step's input; Lambda's context.
        Raises WriteUnanswered while an earlier try of this step may have a write under way.
        """
        # No write is sent later than this invocation ends, and none lands later than a lifetime after that.
        lease = context.get_remaining_time_in_millis() + self._lifetime
        taken = self._ledger.acquire_lease(step.account_id, step.execution, step.token, lease)
        if isinstance(taken, Unanswered):
            raise WriteUnanswered(
                "an earlier try of this step may have a write under way; looking again when it cannot land any more"
            )
        return taken

    @contextmanager
    def held(self, work: Work) -> Iterator[None]:
        """Around what a step writes: when it fails, its retry waits for a write without an answer, and for nothing
        else.
        """
        try:
            # A function that is killed gets no further: then the lease runs to its end, after which no write of it can
            # land.
            yield
        # Another execution has the customer: its lease is not this step's to change.
        except LeaseLost:
            raise
        except Exception as error:
            until = self._lifetime if isinstance(error, WriteUnanswered) else 0
            with suppress(LeaseLost, LedgerContended):  # the error that matters is the one under way
                self._ledger.record_result(work, Interrupted(unanswered_for=until))
            raise
