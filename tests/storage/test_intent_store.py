"""Intents in the database: kept whole, refused whole, and how a change shows."""

from __future__ import annotations

import pytest

from assistant.errors import InvalidInputError, NotFoundError
from assistant.storage import Storage
from assistant.storage.intents import MAX_INTENTS
from assistant.types import Intent, IntentAction

FRAUD = Intent(
    "fraud",
    ("not my payment", "卡被盗刷了", "stolen card"),
    IntentAction.HANDOFF,
    "请稍等",
    "One moment",
)


def test_an_intent_comes_back_as_it_was(storage: Storage) -> None:
    storage.intents.put("t", [FRAUD])
    assert storage.intents.of("t") == [FRAUD]
    assert storage.intents.of("other") == []


def test_another_takes_its_place_and_the_state_shows_every_change(storage: Storage) -> None:
    states = [storage.intents.state("t")]
    for examples in (("a", "b", "c"), ("a", "b", "d"), ("a", "b", "c")):
        storage.intents.put("t", [Intent("one", examples)])
        states.append(storage.intents.state("t"))
    storage.intents.put("t", [Intent("two", ("a", "b", "c"))])
    states.append(storage.intents.state("t"))
    storage.intents.delete("t", "two")
    states.append(storage.intents.state("t"))
    assert len(set(states)) == len(states) - 1  # two came last and went: as it was before
    assert [one.examples for one in storage.intents.of("t")] == [("a", "b", "c")]


def test_examples_are_cleaned_and_counted_once(storage: Storage) -> None:
    (kept,) = storage.intents.put("t", [Intent("x", (" a  b ", "a b", "c", "", "d\0"))])
    assert kept.examples == ("a b", "c", "d�")


@pytest.mark.parametrize(
    ("intent", "said"),
    [
        (Intent("x", ("a", "b", "a")), "has 2 different examples; give 3 to 200"),
        (Intent("x", ("a", "b", "c" * 501)), "has 501 characters; at most 500"),
        (Intent("a/b", ("a", "b", "c")), "not a valid name"),
        (Intent("x", ("a", "b", "c"), reply_en="x" * 2001), "2001 characters; at most 2000"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_lost(
    storage: Storage, intent: Intent, said: str
) -> None:
    storage.intents.put("t", [FRAUD])
    with pytest.raises(InvalidInputError, match=said):
        storage.intents.put("t", [Intent("fraud", ("d", "e", "f")), intent])
    assert storage.intents.of("t") == [FRAUD]


def test_there_is_a_limit(storage: Storage) -> None:
    many = [Intent(f"i{n}", ("a", "b", "c")) for n in range(MAX_INTENTS)]
    storage.intents.put("t", many)
    storage.intents.put("t", many[:2])  # in their own place
    with pytest.raises(InvalidInputError, match=f"would have {MAX_INTENTS + 1} intents"):
        storage.intents.put("t", [FRAUD])
    assert len(storage.intents.of("t")) == MAX_INTENTS


def test_deleting_what_is_not_there_is_told(storage: Storage) -> None:
    with pytest.raises(NotFoundError, match="no intent 'none'"):
        storage.intents.delete("t", "none")
