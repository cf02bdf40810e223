"""Opening fine-tuned models: from the registry, from a folder, in the right role only."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import tuned_models as made
from versions_support import passport

from assistant.errors import InvalidInputError, ModelError
from assistant.models import loading, shipped
from assistant.models.heads import HeadSpec
from assistant.models.manifest import read_manifest
from assistant.models.multitask import MultiTask
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings

RISK = HeadSpec("risk", "sequence", ("bad", "good"))


def add(
    settings: Settings, task: str, name: str, *heads: HeadSpec, promote: bool = True
) -> Version:
    folder = settings.data_dir / f"{task}-{name}"
    made.built(folder / "int8", *heads, precision="int8", task=task)
    store = ModelStore.of(settings)
    version = store.add(folder, task=task, name=name, passport=passport(task, name))
    return store.promote(version) if promote else version


def test_every_kind_opens_from_the_registry(settings: Settings) -> None:
    add(settings, "sentiment", "s", made.SENTIMENT)
    add(settings, "tagger", "t", made.TAGS)
    add(settings, "reranker", "r", made.PAIR)
    add(settings, "reader", "q", made.SPAN)
    classifier = loading.open_classifier(settings, "sentiment")
    tagger = loading.open_tagger(settings, tenant="somebody")
    reranker = loading.open_reranker(settings, "r")
    reader = loading.open_reader(settings, "q@v1")
    assert classifier.classify(["card"])[0].label in made.SENTIMENT.labels
    assert tagger.tag([""]) == [()]
    assert reranker.score([("a", "b")]).shape == (1,)
    assert reader.read("card?", ["lost card"])[0].text
    served = (classifier, tagger, reranker, reader)
    refs = ["sentiment/s@v1", "tagger/t@v1", "reranker/r@v1", "reader/q@v1"]
    assert [one.ref for one in served] == refs
    assert len({one.fingerprint for one in served}) == 4
    for one in served:
        assert one.choice is not None and one.choice.device == "cpu"
        one.close()


def test_nothing_in_use_says_what_to_do(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "nothing")
    with pytest.raises(ModelError, match="assistant train"):
        loading.open_reader(settings)
    add(settings, "reader", "q", made.SPAN, promote=False)
    with pytest.raises(ModelError, match="assistant models promote reader/"):
        loading.open_reader(settings, "q")
    reader = loading.open_reader(settings, "q@v1")  # for evaluation before promotion
    reader.close()
    with pytest.raises(ModelError, match="v7 does not exist"):
        loading.open_reader(settings, "q@v7")
    with pytest.raises(InvalidInputError, match="ends in no version"):
        loading.open_reader(settings, "q@latest")
    with pytest.raises(InvalidInputError, match="no task 'mood'"):
        loading.open_classifier(settings, "mood")


def test_folders_open_in_their_role_only(settings: Settings, tmp_path: Path) -> None:
    made.built(tmp_path / "tagger" / "int8", made.TAGS, precision="int8", task="tagger")
    path = str(tmp_path / "tagger")
    loading.open_tagger(settings, path).close()
    loading.open_tagger(settings, f"{path}/int8").close()
    with pytest.raises(ModelError, match="cannot classify texts: it is of another kind"):
        loading.open_classifier(settings, "intent", path)
    with pytest.raises(ModelError, match="cannot judge pairs"):
        loading.open_reranker(settings, path)
    with pytest.raises(ModelError, match="cannot read answers out of passages"):
        loading.open_reader(settings, path)
    with pytest.raises(ModelError, match="No built model"):
        loading.open_tagger(settings, str(tmp_path / "nowhere"))
    model = tmp_path / "tagger" / "int8" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelError, match="changed or cut short"):
        loading.open_tagger(settings, path)


def test_a_plain_encoder_serves_no_purpose(settings: Settings, tmp_path: Path) -> None:
    made.built(tmp_path / "e", task="encoder")
    with pytest.raises(ModelError, match="none, it is a plain encoder"):
        loading.open_classifier(settings, "intent", str(tmp_path / "e"))


def test_verified_folders_open_without_the_registry(settings: Settings, tmp_path: Path) -> None:
    heads = {
        "classifier": made.SENTIMENT,
        "tagger": made.TAGS,
        "reranker": made.PAIR,
        "reader": made.SPAN,
    }
    for kind, head in heads.items():
        manifest = made.built(tmp_path / kind, head, task=kind)
        served = getattr(loading, f"{kind}_from")(tmp_path / kind, manifest, settings)
        assert served.head == head
        served.close()


def test_half_precision_needs_a_gpu(settings: Settings, tmp_path: Path) -> None:
    made.built(tmp_path / "m", made.SENTIMENT)
    path = tmp_path / "m" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "precision": "fp16"}))
    on_cpu = settings.model_copy(update={"device": "cpu"})
    with pytest.raises(ModelError, match="needs CUDA, but device is set to cpu"):
        loading.model_from(tmp_path / "m", read_manifest(tmp_path / "m"), on_cpu)


def test_a_multitask_model_stands_in(settings: Settings) -> None:
    add(settings, "multitask", "all", made.SENTIMENT, RISK, made.TAGS)
    sentiment = loading.open_classifier(settings, "sentiment")
    assert sentiment.head == made.SENTIMENT
    tagger = loading.open_tagger(settings)
    assert tagger.head == made.TAGS
    # Of the topic models that come with the product none stands for the others.
    with pytest.raises(ModelError, match=r"several topic models, name one: .*reuters_r8"):
        loading.open_classifier(settings, "topic")
    add(settings, "sentiment", "own", replace(made.SENTIMENT, temperature=2.0))
    own = loading.open_classifier(settings, "sentiment")
    assert own.ref == "sentiment/own@v1"
    for one in (sentiment, tagger, own):
        one.close()


def test_a_head_of_ones_own_goes_before_several_that_came_along(settings: Settings) -> None:
    add(settings, "multitask", "all", made.SENTIMENT, replace(made.SENTIMENT, name="topic"))
    with closing(loading.open_classifier(settings, "topic")) as served:
        assert served.ref == "multitask/all@v1"
        assert served.head.name == "topic"


def test_all_heads_from_one_pass_say_what_each_says_alone(settings: Settings) -> None:
    add(settings, "multitask", "all", made.SENTIMENT, RISK, made.TAGS)
    both = MultiTask(loading.open_multitask(settings))
    classifier = loading.open_classifier(settings, "sentiment")
    tagger = loading.open_tagger(settings)
    texts = ["lost card", "", "银行卡丢了？ bank " * 20]
    found = both.analyse(texts)
    alone = classifier.classify_heads(texts)
    assert [row.predictions["risk"] for row in found] == alone["risk"]
    assert [row.predictions["sentiment"] for row in found] == alone["sentiment"]
    assert [row.entities["tagger"] for row in found] == tagger.tag(texts)
    assert both.analyse([]) == []
    for one in (both, classifier, tagger):
        one.close()
