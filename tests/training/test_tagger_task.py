"""Taggers: labels of sub-tokens, decoding as served, and whole runs on a tiny base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base as tiny
import tiny_rows
import torch
from seqeval.metrics import f1_score as seqeval_f1

from assistant.errors import InvalidInputError
from assistant.evaluation.entities import EntitySpan, entity_spans
from assistant.models.loading import open_tagger
from assistant.models.tagger import TagRules
from training import run as running
from training import tagging
from training.base import load_base
from training.data.rows import Row, TaggedText
from training.recipe import with_changes
from training.reporting import Silent
from training.tasks import tagger
from training.token_losses import TokenLabels

LONG = {"epochs": 16, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def row(text: str, *entities: tuple[str, str]) -> TaggedText:
    """A text as single characters, with named parts tagged at their first place."""
    tags = ["O"] * len(text)
    for label, name in entities:
        start = text.index(name)
        for place in range(start, start + len(name)):
            tags[place] = f"{'B' if place == start else 'I'}-{label}"
    offsets = tuple((i, i + 1) for i in range(len(text)))
    return TaggedText(tuple(text), tuple(tags), text, offsets)


ROWS = [
    row("Acme Ltd shares in Paris", ("ORG", "Acme Ltd"), ("LOC", "Paris")),
    row("银行公司在上海开户", ("ORG", "银行公司"), ("LOC", "上海")),
    row("上海北京", ("LOC", "上海"), ("ORG", "北京")),
    row("  Paris", ("LOC", "Paris")),
    row("Acme  Ltd", ("ORG", "Acme  Ltd")),
    row("nothing here"),
]


def tokenizer(base: Path, tmp_path: Path, limit: int = 48) -> Any:
    return load_base(tiny.recipe(base).base, tiny.settings(tmp_path)).model_tokenizer(limit)


def recipe(base: Path, folder: Path, **changes: Any) -> Any:
    tiny_rows.tagged(folder / "rows.jsonl")
    data = tiny_rows.data(folder, "rows.jsonl", **changes.pop("data", {}))
    return tiny.recipe(base, "tagger", **{"data": data, "train": LONG, **changes})


def test_labels_of_sub_tokens_decode_to_the_entities(base: Path, tmp_path: Path) -> None:
    words, head = tokenizer(base, tmp_path), tagging.make_head("tagger", ROWS)
    for item in ROWS:
        (windowed,) = words.windows([item.text])
        labels = tagging.sub_token_labels(item, windowed, head)
        shares = np.eye(len(head.labels), dtype=np.float32)[labels]
        found = TagRules(head).entities(item.text, windowed.offsets, shares)
        assert tagging.spans_of(found) == tagging.character_spans(item), item.text
    assert tagging.ceiling(words, ROWS, head).f1 == 1


def test_first_sub_token_begins_and_the_others_are_inside(base: Path, tmp_path: Path) -> None:
    words, head = tokenizer(base, tmp_path), tagging.make_head("tagger", ROWS)
    text = "Acmexyz Ltd"
    (windowed,) = words.windows([text])
    labels = tagging.sub_token_labels(row(text, ("ORG", text)), windowed, head)
    named = [head.labels[label] for label in labels]
    assert named[0] == "B-ORG"
    assert set(named[1:]) == {"I-ORG"}
    assert len(named) > 2


def test_an_entity_inside_a_sub_token_lowers_the_ceiling(base: Path, tmp_path: Path) -> None:
    words = tokenizer(base, tmp_path)
    cut = row("银行公司", ("ORG", "行"))
    assert len(words.windows(["银行公司"])[0].offsets) < 4
    assert tagging.ceiling(words, [cut], tagging.make_head("tagger", [cut])).f1 < 1


def test_long_texts_become_windows_that_hold_every_entity(base: Path, tmp_path: Path) -> None:
    words = tokenizer(base, tmp_path, limit=24)
    text = "please help " * 30 + "Paris"
    item = row(text, ("LOC", "Paris"))
    head = tagging.make_head("tagger", [item])
    examples = tagging.examples(words, [item], head)
    assert len(examples) > 3
    assert all(len(e["input_ids"]) <= 24 for e in examples)
    begins = head.labels.index("B-LOC")
    assert (examples[-1]["labels"] == begins).sum() == 1
    assert all(e["labels"][0] == tagging.IGNORED == e["labels"][-1] for e in examples)


def test_rows_without_text_are_left_out() -> None:
    assert tagging.tagged([TaggedText((), (), "   ", ()), *ROWS]) == ROWS


def test_micro_scores_are_those_of_seqeval() -> None:
    random = np.random.default_rng(3)
    tags = np.array(["O", "B-A", "I-A", "B-B", "I-B"])
    expected = [tags[random.integers(0, 5, 12)].tolist() for _ in range(60)]
    found = [[t if random.random() < 0.8 else "O" for t in line] for line in expected]
    own = tagging.micro_scores(
        [entity_spans(t) for t in expected], [entity_spans(t) for t in found]
    )
    assert own.f1 == pytest.approx(seqeval_f1(expected, found))
    assert tagging.micro_scores([[]], [[]]).f1 == 0


def test_token_loss_is_the_mean_over_labelled_tokens() -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[-100, 1, 2, -100], [-100, 0, -100, -100]])
    chances = logits.softmax(-1)
    wanted = -(chances[0, 1, 1].log() + chances[0, 2, 2].log() + chances[1, 1, 0].log()) / 3
    assert TokenLabels()(logits, {"labels": labels}).item() == pytest.approx(
        wanted.item(), abs=1e-6
    )
    nothing = TokenLabels()(logits.requires_grad_(), {"labels": torch.full((2, 4), -100)})
    nothing.backward()
    assert nothing.item() == 0


def test_no_entity_in_any_row_is_said(base: Path, tmp_path: Path) -> None:
    tiny_rows.write(
        tmp_path / "rows.jsonl", [{"text": f"card {n}", "entities": []} for n in range(30)]
    )
    made = tiny.recipe(base, "tagger", data=tiny_rows.data(tmp_path, "rows.jsonl"))
    with pytest.raises(InvalidInputError, match=r"(?i)entit"):
        running.run(made, tiny.settings(tmp_path), Silent())


def test_ways_of_classifiers_are_refused(base: Path, tmp_path: Path) -> None:
    made = recipe(base, tmp_path, tuning={"method": "few_shot"})
    with pytest.raises(InvalidInputError, match="only classifiers"):
        running.run(made, tiny.settings(tmp_path), Silent())


def test_from_rows_to_a_served_tagger(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    outcome = running.run(recipe(base, tmp_path), settings, Silent(), promote=True)
    assert outcome.promoted
    assert outcome.passport.metrics["test"]["f1"].value > 0.9
    served = open_tagger(settings)
    text = "bank Ltd shares in London 77"
    (found,) = served.tag([text])
    served.close()
    assert [(e.label, e.text) for e in found] == [("ORG", "bank Ltd"), ("LOC", "London")]
    assert served.head.temperature != 1


def test_a_tagger_of_characters_is_served_as_it_was_trained(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    wanted = with_changes(recipe(base, tmp_path), {"base.characters": True})
    first = running.run(wanted, settings, Silent(), promote=True)
    assert first.passport.metrics["test"]["f1"].value > 0.9
    served = open_tagger(settings)
    tokenizer, text = served.model.tokenizer, "银行公司在上海开户 7"
    (item,) = tokenizer.texts([text])
    assert all(end - start <= 1 for start, end in item.offsets if start < text.index(" "))
    (found,) = served.tag([text])
    served.close()
    assert [(e.label, e.text) for e in found] == [("ORG", "银行公司"), ("LOC", "上海")]
    # What goes on from it reads as it does.
    child = with_changes(recipe(base, tmp_path), {"base.model": f"registry:{first.version.ref}"})
    assert running.make_job(child, settings, Silent(), tmp_path / "child").base.characters


def test_types_never_trained_count_as_missed(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    made = recipe(base, tmp_path)
    outcome = running.run(made, settings, Silent())
    job = running.make_job(made, settings, Silent(), outcome.folder)
    rows: list[Row] = [row("Acme Ltd shares in Paris 5", ("LAW", "shares"))]
    found = tagger.evaluate(outcome.version.part("int8"), rows, job)
    assert found["recall"].value == 0
    with pytest.raises(InvalidInputError, match="no tagged rows"):
        tagger.evaluate(outcome.version.part("int8"), [], job)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["top_layers", "lora", "adalora", "prompt"])
def test_every_way_of_tuning_learns(base: Path, tmp_path: Path, method: str) -> None:
    made = recipe(
        base,
        tmp_path,
        tuning={"method": method, "rank": 8, "layers": 1, "tokens": 4},
        train={**LONG, "class_weights": "balanced", "head_learning_rate": 2e-2},
    )
    outcome = running.run(made, tiny.settings(tmp_path), Silent())
    assert outcome.passport.metrics["test"]["f1"].value > 0.5
    assert outcome.passport.trainable_parameters < outcome.passport.size_bytes


def test_spans_are_told_apart_by_type_and_place() -> None:
    a, b = EntitySpan("A", 0, 2), EntitySpan("B", 0, 2)
    assert tagging.micro_scores([[a]], [[b]]).f1 == 0
    assert tagging.micro_scores([[a, EntitySpan("A", 3, 4)]], [[a]]).recall == 0.5
