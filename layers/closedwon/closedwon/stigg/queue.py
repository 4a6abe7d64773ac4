"""Stigg's durable queue of events: an SQS queue in Stigg's account, read with credentials that last minutes.

Source: Stigg's documentation, *Getting temporary credentials for event queues* (docs.stigg.io).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from closedwon.aws import clients
from closedwon.domain.errors import StiggUnavailable, as_read
from closedwon.stigg.client import Stigg
from closedwon.wire.private import keep_secret

LASTING = 3600
"""Seconds that credentials are asked for: the most there are, so that Stigg is asked about once an hour."""

LEFT = 120
"""Seconds before their end at which new credentials are asked for: an invocation must not outlive them."""

AT_ONCE = 10
"""The most messages that SQS gives or deletes at once."""

LONGEST_WAIT = 20
"""The most seconds that SQS waits for a message."""

_ADDRESS = re.compile(r"https://sqs\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/")


class Message(NamedTuple):
    """One message. text: what was sent; receipt: what it is deleted by."""

    text: str
    receipt: str


class EventQueue:
    """One queue. In: a client of Stigg's edge API, which gives credentials; the queue's URL; clock, epoch seconds; what
    makes clients of AWS, as `clients.client` does.
    """

    def __init__(
        self, edge: Stigg, url: str, clock: Callable[[], float], client: Callable[..., Any] = clients.client
    ) -> None:
        self._edge = edge
        self._url = url
        self._clock = clock
        self._make = client
        self._made: tuple[float, Any] | None = None  # until when, and the client

    def receive(self, seconds: float) -> list[Message]:
        """The next messages, at most ten; none where none comes within so many seconds.

        Raises what `closedwon.stigg.client` does, and what SQS answers.
        """
        wait = max(0, min(LONGEST_WAIT, int(seconds)))
        client = self._sqs()
        try:
            answer = client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=wait)
        except client.exceptions.ClientError:
            self._made = None  # credentials that were taken back must not be tried for an hour
            raise
        return [Message(one["Body"], one["ReceiptHandle"]) for one in answer.get("Messages", ())]

    def delete(self, messages: Iterable[Message]) -> None:
        """Delete messages, at most ten. One that SQS does not delete comes again, and is a duplicate then."""
        entries = [{"Id": str(place), "ReceiptHandle": one.receipt} for place, one in enumerate(messages)]
        if entries:
            self._sqs().delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _sqs(self) -> Any:
        now = self._clock()
        if self._made is None or now >= self._made[0]:
            self._made = self._new_client(now)
        return self._made[1]

    def _new_client(self, now: float) -> tuple[float, Any]:
        """A client with new credentials, and until when it is good, in epoch seconds."""
        told = self._edge.queue_credentials(self._url, LASTING)
        with as_read(lambda mistake: StiggUnavailable(f"credentials without a field ({mistake})", operation="queue")):
            credentials = {
                "aws_access_key_id": str(told["accessKeyId"]),
                "aws_secret_access_key": str(told["secretAccessKey"]),
                "aws_session_token": str(told["sessionToken"]),
            }
            until = datetime.fromisoformat(told["expiration"]).timestamp()
        # Before anybody has them: the first error that quotes them must not show them.
        keep_secret(credentials["aws_secret_access_key"], credentials["aws_session_token"])
        # The queue says in its address where it is; at an address of another form, where the stack is.
        named = _ADDRESS.match(self._url)
        region = {"region_name": named[1]} if named else {}
        # Longer than SQS waits for a message.
        bounds = {"connect_timeout": 3, "read_timeout": LONGEST_WAIT + 5}
        retries = {"total_max_attempts": 2, "mode": "standard"}
        client = self._make
        made = client("sqs", credentials=credentials, retries=retries, **bounds, **region)
        return max(now, until - LEFT), made
