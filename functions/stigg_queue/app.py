"""stigg_queue: hears what Stigg says by its durable queue, which it listens to nearly all the time.

The queue is in Stigg's account and is read with credentials that last minutes, so that AWS cannot bring its messages
here by itself. A message is deleted once its customer is due; one that could not be dealt with comes again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger

from closedwon.aws import metrics
from closedwon.provisioning.hearing import Hearing
from closedwon.stack import STACK, Stack
from closedwon.stigg.queue import EventQueue

if TYPE_CHECKING:
    from closedwon.aws.context import Context

logger = Logger()

LISTENS = 3 / 4
"""The share of the time in which messages are waited for; the rest is for those that came last."""


def listen(queue: EventQueue, hearing: Hearing, time_left: Callable[[], int]) -> int:
    """Hear what comes until most of the time is over. Out: how many messages were dealt with.

    time_left: milliseconds until the invocation is cut off.
    Raises what the queue does, and the first error by which a message could not be dealt with, once the others are.
    """
    heard, errors = 0, list[Exception]()
    enough = (1 - LISTENS) * time_left()
    while (left := time_left() - enough) > 0:
        done = []
        for message in queue.receive(left / 1000):
            try:
                hearing.hear(message.text, "QUEUE")
            except Exception as error:
                logger.exception("not heard; it comes again")
                errors.append(error)
            else:
                done.append(message)
        queue.delete(done)
        heard += len(done)
        # What fails now will fail again at once: the next invocation is a minute away.
        if errors:
            raise errors[0]
    return heard


@metrics.emitted
def lambda_handler(event: dict[str, Any], context: Context, stack: Stack = STACK) -> dict[str, Any]:
    heard = listen(stack.event_queue, stack.hearing, context.get_remaining_time_in_millis)
    logger.info("listened", extra={"heard": heard})
    return {"heard": heard}
