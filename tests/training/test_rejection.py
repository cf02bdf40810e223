"""What fits no label is rejected at a chosen cost."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tiny_base as tiny

from assistant.models import loading
from assistant.models.heads import HeadSpec
from training.calibrating import rejection_threshold
from training.data.rows import LabelledText
from training.reporting import Silent
from training.run import run
from training.sections import Head
from training.tasks.classifier import calibrated

HEAD = HeadSpec("label", "sequence", ("a", "b", "oos"), reject_label="oos")


@pytest.mark.parametrize("cost", [0.0, 0.01, 0.05, 0.3])
def test_the_bar_rejects_at_most_its_share_of_right_answers(cost: float) -> None:
    right = np.random.default_rng(0).uniform(0.2, 1, 997)
    bar = rejection_threshold(right, cost)
    assert (right < bar - 1e-4).mean() <= cost
    assert (right < bar + 0.01).mean() > cost
    assert rejection_threshold(np.zeros(0), cost) == 0.0


def test_the_bar_is_set_on_right_answers_in_scope() -> None:
    random = np.random.default_rng(1)
    truth = np.arange(300) % 3
    logits = random.normal(size=(300, 3)).astype(np.float32)
    logits[np.arange(300), truth] += 3
    rows = [LabelledText(str(i), (HEAD.labels[label],)) for i, label in enumerate(truth)]
    found = calibrated(HEAD, logits, rows, Head(reject_label="oos", reject_cost=0.1))
    shares = np.exp(logits / found.temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    right = shares.max(axis=1)[(shares.argmax(axis=1) == truth) & (truth < 2)]
    assert (right < found.threshold).mean() == pytest.approx(0.1, abs=0.01)
    # A bar of one's own stays, and so does a head that rejects nothing.
    section = Head(reject_label="oos", reject_below=0.42)
    assert calibrated(HEAD, logits, rows, section).threshold == HEAD.threshold
    plain = HeadSpec("label", "sequence", HEAD.labels)
    assert calibrated(plain, logits, rows, Head()).threshold == plain.threshold


def test_a_recipe_ends_in_a_model_that_rejects(tmp_path: Path) -> None:
    section = {"reject_label": "oos", "reject_cost": 0.2}
    recipe = tiny.intent_recipe(
        tiny.base_folder(tmp_path / "base"), tmp_path, "reject", heads={"label": section}
    )
    settings = tiny.settings(tmp_path)
    outcome = run(recipe, settings, Silent(), promote=True)
    assert outcome.passport.metrics["test"]["accuracy"].value > 0.5
    with closing(loading.open_classifier(settings, "intent", "reject")) as served:
        assert 0 < served.head.threshold < 1
        assert served.head.reject_label == "oos"
