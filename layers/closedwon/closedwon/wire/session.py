"""Requests that end in time, and connections that are not used once they have gone stale."""

from __future__ import annotations

import time
from typing import Any

import requests

TIMEOUTS = (3.05, 20.0)
"""Seconds to wait for a connection (a little over one TCP retransmission) and for each read of an answer."""

IDLE_SECONDS = 20.0
"""A connection idle for longer is not used again: while Lambda freezes a function the other side hangs up unnoticed,
and the next request would be lost in a way that looks like a write without an answer.
"""


class BoundedSession(requests.Session):
    """A session that never waits without a time-out, follows no redirect and reuses no connection gone stale.

    timeouts: seconds to connect and for each read, used where a request names none.
    """

    def __init__(self, timeouts: tuple[float, float] = TIMEOUTS) -> None:
        super().__init__()
        self.timeouts = timeouts
        self._used_at = time.time()

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As `requests.Session.send`, within the bounds above."""
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = self.timeouts
        kwargs["allow_redirects"] = False  # one followed would carry the key to another host, or make a POST a GET
        idle = time.time() - self._used_at  # not monotonic, which may stand still while the function is frozen
        if not 0 <= idle <= IDLE_SECONDS:
            self.close()  # closes the connections; the session goes on with new ones
        try:
            return super().send(request, **kwargs)
        finally:
            self._used_at = time.time()
