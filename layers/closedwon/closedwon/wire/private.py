"""What other systems say, freed of what they repeat: keys, and the names of the customers at hand.

An error text of Stigg, of Salesforce or of the user's own application is worth keeping, and may quote the request, the
record or the key. Whoever reads a secret, or a customer from the ledger, says so here; `redacted` then lets none of
them through to a log line, an execution's history or a notice.

What cannot be known here stays: a third person whom an organisation's own validation rule or trigger names.
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
    """From now on no text of another system shows these."""
    _secrets.update(dict.fromkeys(text for text in texts if len(text) >= SHORTEST_SECRET))


def keep_private(*names: str | None) -> None:
    """From now on no text of another system shows these names, until many others came after them."""
    for name in names:
        if name and len(name) >= SHORTEST_NAME:
            _names.pop(name, None)
            _names[name] = None
    while len(_names) > MOST_NAMES:
        _names.pop(next(iter(_names)), None)


def redacted(text: object, limit: int = MESSAGE_LIMIT, hide: Iterable[str] = ()) -> str:
    """`safe_text` of what another system said, without secrets this process has read and names it has at hand.

    In: any value; the longest result in characters; further strings that must not appear.
    """
    if not isinstance(text, str):
        return ""
    for secret in list(_secrets):
        text = text.replace(secret, "***")
    folded = text.casefold()
    for name in sorted(_names, key=len, reverse=True):  # the whole of a name before a part of it
        if name.casefold() in folded:
            # Not within an ID: plan-enterprise stays, whatever the customer is called.
            text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "***", text, flags=re.IGNORECASE)
    return safe_text(text, limit, hide)
