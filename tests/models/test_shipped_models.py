"""The models in the source: whole, documented, and right about sentences anyone would write."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from assistant.models import loading
from assistant.models.build.tuned import TUNED_FILE, read_tuned
from assistant.models.card import CARD_FILE, card
from assistant.models.names import DEFAULT_NAMES
from assistant.models.passport import PASSPORT_FILE, Passport, passport_from_json
from assistant.models.shipped import ShippedModel, shipped_models
from assistant.settings import Settings

SAID = {
    "intent/banking77": {
        "where is the card you sent me": "card_arrival",
        "i have lost my phone what now": "lost_or_stolen_phone",
        "how do i change my pin": "change_pin",
        "will it rain in london tomorrow": "out_of_scope",
    },
    "intent/clinc150": {
        "how do you say thank you in spanish": "translate",
        "what is the balance of my checking account": "balance",
        "play the next song": "next_song",
    },
}


@pytest.mark.parametrize("model", shipped_models(), ids=str)
def test_each_has_its_papers(model: ShippedModel) -> None:
    passport = _passport(model)
    assert (passport.task, passport.name) == (model.task, model.name)
    assert passport.shipped and passport.gate.passed
    assert passport.data.licences and "not named" not in passport.data.licences
    assert passport.metrics["test"]
    assert (model.folder / CARD_FILE).read_text(encoding="utf-8") == card(passport)
    assert {path.name for path in model.folder.iterdir()} == {TUNED_FILE, PASSPORT_FILE, CARD_FILE}
    # Nothing of the machine that made it.
    assert not [line for line in passport.to_json().splitlines() if '"/' in line]
    assert read_tuned(model.folder / TUNED_FILE).scales


@pytest.mark.parametrize("model", shipped_models(), ids=str)
def test_each_serves_and_is_right_about_plain_sentences(
    model: ShippedModel, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path / "data", device="cpu", threads=1)
    said = SAID[str(model)]
    with closing(loading.open_classifier(settings, model.task, model.name)) as served:
        given = {text: p.label for text, p in zip(said, served.classify(list(said)), strict=True)}
    assert given == said


def test_the_defaults_are_there() -> None:
    names = {(model.task, model.name) for model in shipped_models()}
    tasks = {task for task, _ in names}
    assert {(task, name) for task, name in DEFAULT_NAMES.items() if task in tasks} <= names
    several = {task for task in tasks if len([n for t, n in names if t == task]) > 1}
    assert several <= set(DEFAULT_NAMES)


def _passport(model: ShippedModel) -> Passport:
    path = model.folder / PASSPORT_FILE
    return passport_from_json(path.read_text(encoding="utf-8"), str(path))
