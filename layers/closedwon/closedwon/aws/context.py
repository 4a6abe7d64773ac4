"""The context that Lambda gives a handler, as far as closed-won looks at it."""

from __future__ import annotations

from typing import Protocol


class Context(Protocol):
    """One invocation of a function."""

    def get_remaining_time_in_millis(self) -> int:
        """How long it has until it is cut off, in milliseconds."""
        ...
