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
"""What was taken as an ID in Stigg before it was known what Stigg takes. Orders that are stored may have such IDs, and
lines of other deals name them (`intake.references`).
"""

STIGG_ID_LENGTH = 255
"""The most characters of one."""

ENTITY_ID = r"^[a-zA-Z0-9][a-zA-Z0-9_|.-]*$"
CUSTOMER_ID = r"^[a-zA-Z0-9][a-zA-Z0-9_|.@-]*$"
"""What Stigg takes as the ID of a customer; of a plan or a resource it takes no @, and no pattern was found for the
others. Source: Stigg's API reference of POST /customers, /plans and /subscriptions; 1 to 255 characters each.
"""

_ENTITY_MARKS = "_ | . -"
_CUSTOMER_MARKS = "_ | . @ -"


def entity_id_fault(id: str) -> str | None:
    """Why Stigg does not take a text as the ID of a plan, resource or what else is sold; None where it does."""
    return _id_fault(id, ENTITY_ID, f"letters, digits and {_ENTITY_MARKS}")


def customer_id_fault(id: str) -> str | None:
    """Why Stigg does not take a text as a customer's ID; None where it does."""
    return _id_fault(id, CUSTOMER_ID, f"letters, digits and {_CUSTOMER_MARKS}")


def _id_fault(id: str, pattern: str, has: str) -> str | None:
    """What is wrong with an ID, as the rest of a sentence, with the character that is."""
    if not id:
        return "is empty"
    if len(id) > STIGG_ID_LENGTH:
        return f"is longer than {STIGG_ID_LENGTH} characters"
    if re.fullmatch(pattern, id):
        return None
    for character in id:
        # Behind a first character that is right: only whether it can be anywhere in an ID.
        if not re.fullmatch(pattern, f"a{character}"):
            return f"has {_named(character)} in it: an ID in Stigg has {has}"
    return f"begins with {_named(id[0])}: an ID in Stigg begins with a letter or a digit"


def _named(character: str) -> str:
    """A character as people can find it: what does not show is told by its number."""
    if character == " ":
        return "a space"
    return character if character.isprintable() else f"U+{ord(character):04X}"


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
