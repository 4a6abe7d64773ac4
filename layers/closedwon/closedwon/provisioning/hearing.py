"""Hearing Stigg's events: each makes its customer due, and an execution looks. Nothing else of an event is used.

Webhook and durable queue bring the same events, one or both, each as often as they like.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.aws.event_register import EventRegister, Way
from closedwon.aws.executions import Start
from closedwon.aws.ledger import Ledger
from closedwon.stigg.events import CREATED, Event, event_in
from closedwon.stigg.rate_limit import Governor

logger = Logger()

SOON = 60_000
"""Milliseconds within which a look's rate slot has to come. Where none does, the sweep starts the customer: callouts
never wait long behind a flood of events.
"""

Became = Literal["look", "none", "duplicate", "own", "unknown", "unconcerned", "unreadable"]
"""What became of an event: a look was started or put to be due; a look that is to come sees it, or it came before; it
tells of what closed-won itself just made; its customer is not in the ledger; it does not concern subscriptions; it
could not be read.
"""


class Hearing:
    """Hears events. In: the ledger; the register of events; the governor; what starts executions."""

    def __init__(self, ledger: Ledger, register: EventRegister, governor: Governor, start: Callable[[], Start]) -> None:
        self._ledger = ledger
        self._register = register
        self._governor = governor
        self._start = start

    def hear(self, text: str | None, way: Way) -> Became:
        """Deal with one event. When this returns, its customer is due, and the event may be forgotten.

        Raises LedgerContended, and whatever DynamoDB raises; then it is to be sent again.
        """
        event = event_in(text)
        became = self._dealt_with(event) if event is not None else "unreadable"
        metrics.note("StiggEvents", Became=became)
        self._register.note(way)
        # Neither the customer's ID, which can be an e-mail address, nor anything else that somebody chose.
        logger.info("event", extra={"way": way, "became": became})
        return became

    def _dealt_with(self, event: Event) -> Became:
        if not event.concerns or event.customer_id is None:
            return "unconcerned"
        if self._register.is_known(event.message_id):
            return "duplicate"
        account_id = self._ledger.bound_to(event.customer_id)
        if account_id is None:
            return "unknown"  # of a customer that closed-won never gave anything
        became = self._heard(account_id, event)
        # Only now: who is cut off before is sent the event again, and does the same once more.
        self._register.keep(event.message_id)
        return became

    def _heard(self, account_id: str, event: Event) -> Became:
        @cache  # the rule that asks may run several times
        def rate_slot() -> int | None:
            if self._ledger.control().mode != "run":
                return None  # it stays due until the stack runs again
            return next(iter(self._governor.rate_slots(1, SOON)), None)

        made = event.subscription_id if event.type == CREATED else None
        became, claim = self._ledger.hear(account_id, made, rate_slot)
        if claim is not None:
            try:
                self._start()(claim)
            except Exception:
                logger.exception("not started; the sweep will", extra={"execution": claim.execution})
        return became
