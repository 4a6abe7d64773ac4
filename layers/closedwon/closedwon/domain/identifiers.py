"""IDs. Salesforce's have 15 characters where case matters, or 18 where a suffix carries the case; those in Stigg are
chosen by people.
"""

from __future__ import annotations

import re
from typing import NewType

AccountId = NewType("AccountId", str)
"""A Salesforce account's record ID, 18 characters."""

OpportunityId = NewType("OpportunityId", str)
"""A Salesforce opportunity's record ID, 18 characters."""

ContractId = NewType("ContractId", str)
"""A Salesforce contract's record ID, 18 characters."""

CustomerId = NewType("CustomerId", str)
"""A customer's ID in Stigg."""

SubscriptionId = NewType("SubscriptionId", str)
"""A subscription's ID in Stigg."""

STIGG_ID = r"^[.]*[A-Za-z0-9_:@|-][A-Za-z0-9_.:@|-]*$"
"""What closed-won takes as an ID in Stigg: letters, digits, a few marks. It becomes part of addresses and of keys: one
of dots alone would name another place.
"""

STIGG_ID_LENGTH = 255
"""The most characters of one."""

_RECORD_ID = re.compile(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?")
_KINDS = {"001": "an account's ID", "006": "an opportunity's ID", "00D": "an organisation's ID"}
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
# Only ASCII has to be known: `_RECORD_ID` lets nothing else through.
_CAPITALS = str.maketrans({chr(code): "1" if chr(code).isupper() else "0" for code in range(128)})


def normalised_id(value: str, key_prefix: str = "") -> str:
    """The 18-character form of a Salesforce record ID.

    In: an ID of 15 or 18 characters; key_prefix, the three characters that IDs of its object start with ("006" for
    opportunities), or nothing to take any object's.
    Out: 18 characters, the same for both forms of one record's ID.
    Raises ValueError with a message for the person who sent it. Source: Salesforce's suffix holds one bit for each
    capital letter, five to a character.
    """
    if not _RECORD_ID.fullmatch(value):
        raise ValueError("is not a Salesforce record ID (15 or 18 letters and digits)")
    if not value.startswith(key_prefix):
        raise ValueError(
            f"is not {_KINDS.get(key_prefix, 'an ID of this kind of record')} (those start with {key_prefix})"
        )
    base = value[:15]
    bits = base.translate(_CAPITALS)[::-1]  # the first character of each five is the lowest bit
    suffix = _SUFFIX[int(bits[10:], 2)] + _SUFFIX[int(bits[5:10], 2)] + _SUFFIX[int(bits[:5], 2)]
    # A suffix has capitals only, so one in small letters still says the same.
    if len(value) == 18 and value[15:].upper() != suffix:
        raise ValueError("is not a Salesforce record ID: its last three characters do not fit the rest")
    return base + suffix
