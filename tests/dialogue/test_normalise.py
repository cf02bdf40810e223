"""Questions are cleaned, or refused with value, limit and remedy."""

import pytest

from assistant.dialogue.normalise import normalise
from assistant.errors import InvalidInputError, TooLargeError


def test_control_characters_and_spaces_go() -> None:
    assert normalise("  what\x00 is\r\n the\tfee ", 100) == "what is the fee"


def test_emoji_and_right_to_left_stay() -> None:
    assert normalise("مرحبا 😀", 100) == "مرحبا 😀"


def test_lone_surrogates_become_replacement_characters() -> None:
    assert normalise("fee \ud800?", 100) == "fee \ufffd?"
    normalise("fee \ud800?", 100).encode()


@pytest.mark.parametrize("text", ["", "   ", "\x00\x00", "\ud800", "\n\t"])
def test_nothing_left_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        normalise(text, 100)


def test_too_long_states_value_and_limit() -> None:
    with pytest.raises(TooLargeError, match=r"1,000,000 characters; at most 4,000"):
        normalise("a" * 1_000_000, 4000)
