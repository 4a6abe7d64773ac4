"""Redacts the texts of other systems: keys, and the names of the customers this process works on.

An error text of Stigg, Salesforce or the user's own application is worth keeping, but may quote the request, the record
or the key. Code that reads a secret, or a customer from the ledger, registers it here (`keep_secret`, `keep_private`);
`redacted` then replaces it, so that it reaches no log line, no execution's history and no notice.

It cannot know everybody: a third person whom an organisation's own validation rule or trigger names is not redacted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from closedwon.domain.errors import MESSAGE_LIMIT, safe_text

MOST_NAMES = 2000
"""The newest names are kept; a callout has at most 200 deals, each with three."""

SHORTEST_NAME, SHORTEST_SECRET = 3, 6
"""Characters; a shorter one would garble words, and is no secret."""

_secrets: dict[str, None] = {}
_names: dict[str, None] = {}


def keep_secret(*texts: str) -> None:
    """Register secrets: from now on `redacted` replaces them."""
    _secrets.update(dict.fromkeys(text for text in texts if len(text) >= SHORTEST_SECRET))


def keep_private(*names: str | None) -> None:
    """Register names: from now on `redacted` replaces them, until `MOST_NAMES` newer ones were registered."""
    for name in names:
        if name and len(name) >= SHORTEST_NAME:
            _names.pop(name, None)
            _names[name] = None  # taken out and put in again, it is the newest
    while len(_names) > MOST_NAMES:
        _names.pop(next(iter(_names)), None)


def redacted(text: object, limit: int = MESSAGE_LIMIT, hide: Iterable[str] = ()) -> str:
    """The text of another system, after `safe_text`, without the registered secrets and names.

    In: any value; the longest result in characters; further strings that must not appear.
    """
    if not isinstance(text, str):
        return ""
    for secret in list(_secrets):  # a copy: another thread may register one meanwhile
        text = text.replace(secret, "***")
    folded = text.casefold()
    for name in sorted(_names, key=len, reverse=True):  # the whole of a name before a part of it
        if name.casefold() in folded:
            # Not within an ID: plan-enterprise stays, whatever the customer is called.
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "***", text, flags=re.IGNORECASE)
    return safe_text(text, limit, hide)
