"""What other systems say is kept without what they repeat."""

from __future__ import annotations

from closedwon.wire.private import MOST_NAMES, keep_private, keep_secret, redacted


def test_every_secret_that_was_read_and_every_name_at_hand_is_hidden() -> None:
    keep_secret("server-1a2b3c", "")
    keep_private("Zephyrine Quux", "A renewal (2027)", None)
    said = "key server-1a2b3c: ZEPHYRINE QUUX has A renewal (2027), z.quux@private.example"
    assert redacted(said) == "key ***: *** has ***, ***@***"


def test_a_name_within_another_word_or_an_id_stays() -> None:
    keep_private("Enterprise", "Al")
    assert redacted("plan-enterprise is no plan of Enterprises; Enterprise: all") == (
        "plan-enterprise is no plan of Enterprises; ***: all"
    )


def test_the_whole_of_a_name_goes_before_a_part_of_it() -> None:
    keep_private("Quux", "Zephyrine Quux")
    assert redacted("Zephyrine Quux, and Quux") == "***, and ***"


def test_the_newest_names_are_kept() -> None:
    keep_private("the first")
    keep_private(*(f"name {number}" for number in range(MOST_NAMES - 1)))
    keep_private("the first")
    keep_private("one more")
    assert redacted("the first, name 0, name 1") == "***, name 0, ***"


def test_what_is_no_text_says_nothing_and_a_long_text_is_cut() -> None:
    assert redacted(None) == redacted(["x"]) == ""
    assert len(redacted("word " * 1000, limit=80)) == 80
