"""One clock for a product and its stand-ins in this process."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Now, in epoch milliseconds, when it is called.

    In: where it stands still but for being moved; None: it goes with the machine's own, and can be moved ahead of it.
    """

    def __init__(self, at: int | None = None) -> None:
        self._at = at
        self._ahead = 0

    def __call__(self) -> int:
        return self._ahead + (time.time_ns() // 1_000_000 if self._at is None else self._at)

    def moment(self) -> datetime:
        """Now, in UTC."""
        return datetime.fromtimestamp(self() / 1000, UTC)

    def forward(self, milliseconds: int) -> None:
        """So much time passes at once."""
        self._ahead += milliseconds

    def reach(self, at: int) -> None:
        """Time passes until then, in epoch milliseconds; none where that has been."""
        self.forward(max(0, at - self()))
