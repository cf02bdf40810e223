"""Classifying and tagging: this project's int8 models against transformers pipelines on PyTorch.

``python -m benchmarks.classify [--threads 2] [--rounds 3] [--texts 200] [--json FILE]``

Both sides have the same weights: the base encoder with BERT's own heads (pooler and classifier; a
linear layer on the tokens), drawn at random, because speed does not depend on what they learned.
The texts are real: questions to a bank and Chinese newswire, from the folder that
ASSISTANT_DEV_DATA names. Every contender has the same number of threads, and they take turns within
each round, so that whatever else the machine does hits all alike. The figure is the best round of
each, from the text to labels or entities: texts a second, and the processor time a text takes,
which with ``--threads 1`` says the same on a machine that is busy with other work (PyTorch's
threads wait for each other, so with two of them it loses far more there). Needs the ``train``
extra.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assistant.models.build.bases import BaseEncoder, open_base
from assistant.models.build.tuned import TunedWeights
from assistant.models.build.tuned_build import build_tuned
from assistant.models.classifier import Classifier
from assistant.models.heads import HeadSpec
from assistant.models.loading import classifier_from, tagger_from
from assistant.models.tagger import Tagger
from assistant.settings import Settings
from training.bert import hugging_face_folder, torch_model

TARGET = 3.0
OURS = "this project int8"
INTENTS = HeadSpec("intent", "sequence", tuple(f"intent_{n}" for n in range(77)), pooling="first")
TAGS = HeadSpec("tagger", "token", ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"))
Run = Callable[[Sequence[str]], Any]


class Speed(NamedTuple):
    """Texts a second by the clock, and milliseconds of processor time a text."""

    texts_per_second: float
    cpu_ms: float


def dev_data() -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / "data" / "dev"
    return Path(os.environ.get("ASSISTANT_DEV_DATA", default))


def questions(count: int) -> list[str]:
    with (dev_data() / "banking77" / "valid.csv").open(encoding="utf-8", newline="") as stream:
        return [row["text"] for row in csv.DictReader(stream)][:count]


def newswire(count: int) -> list[str]:
    with (dev_data() / "msra_ner" / "train.jsonl").open(encoding="utf-8") as stream:
        return [json.loads(line)["text"] for line in stream][:count]


def heads_at_random(base: BaseEncoder) -> dict[str, np.ndarray]:
    random, hidden = np.random.default_rng(7), base.weights.shape.hidden
    sizes = {
        "head.intent.dense.w": (hidden, hidden),
        "head.intent.dense.b": (hidden,),
        "head.intent.out.w": (len(INTENTS.labels), hidden),
        "head.intent.out.b": (len(INTENTS.labels),),
        "head.tagger.out.w": (len(TAGS.labels), hidden),
        "head.tagger.out.b": (len(TAGS.labels),),
    }
    return {
        name: random.normal(scale=0.1, size=size).astype(np.float32) for name, size in sizes.items()
    }


def served(base: BaseEncoder, head: HeadSpec, folder: Path, threads: int) -> Classifier | Tagger:
    """Build and open one of our models, without a prefix, which the pipelines do not know."""
    tensors = {
        name: value
        for name, value in heads_at_random(base).items()
        if name.startswith(f"head.{head.name}.")
    }
    tuned = TunedWeights(
        name=head.name,
        task=head.name,
        base=base.name,
        base_sha256=base.sha256,
        max_tokens=512,
        query_prefix="",
        passage_prefix="",
        licence=base.licence,
        heads=(head,),
        tensors=tensors,
    )
    manifest = build_tuned(tuned, base, folder, "int8")
    settings = Settings(threads=threads, device="cpu")
    return (classifier_from if head is INTENTS else tagger_from)(folder, manifest, settings)


def pipelines(base: BaseEncoder, head: HeadSpec, folder: Path) -> dict[str, Run]:
    """Return transformers' pipeline for the same model, by how it is called."""
    import torch
    from transformers import (
        AutoTokenizer,
        BertForSequenceClassification,
        BertForTokenClassification,
        pipeline,
    )

    encoder = torch_model(base.weights)
    config = encoder.config
    config.id2label = dict(enumerate(head.labels))
    config.label2id = {label: place for place, label in enumerate(head.labels)}
    kind = BertForSequenceClassification if head is INTENTS else BertForTokenClassification
    model = kind(config).eval()
    model.bert.load_state_dict(encoder.state_dict(), strict=False)
    tensors = {name: torch.from_numpy(v) for name, v in heads_at_random(base).items()}
    state = {f"classifier.{p}": tensors[f"head.{head.name}.out.{q}"] for p, q in _PARTS}
    if head is INTENTS:
        state |= {f"bert.pooler.dense.{p}": tensors[f"head.intent.dense.{q}"] for p, q in _PARTS}
    unexpected = model.load_state_dict(state, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"The pipeline's model lacks {unexpected}.")
    tokenizer = AutoTokenizer.from_pretrained(hugging_face_folder(base.weights, folder))
    if head is INTENTS:
        options = {"task": "text-classification", "top_k": None}
    else:
        options = {"task": "token-classification", "aggregation_strategy": "simple"}
    run = pipeline(model=model, tokenizer=tokenizer, device="cpu", **options)

    def by_length(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        found = run([texts[place] for place in order], batch_size=32)
        back = {place: result for place, result in zip(order, found, strict=True)}
        return [back[place] for place in range(len(texts))]

    return {
        "pipeline, batch 1": lambda texts: run(list(texts)),
        "pipeline, batch 32": lambda texts: run(list(texts), batch_size=32),
        "pipeline, batch 32, sorted by length": by_length,
    }


_PARTS = (("weight", "w"), ("bias", "b"))


def check_same_model(ours: Classifier, pipe: Run, texts: Sequence[str]) -> float:
    """Return the mean largest difference in probability; ValueError when it is not one model."""
    differences = []
    for found, wanted in zip(ours.classify(texts), pipe(texts), strict=True):
        theirs = {one["label"]: one["score"] for one in wanted}
        differences.append(max(abs(p - theirs[name]) for name, p in found.probabilities.items()))
    mean = float(np.mean(differences))
    if mean > 0.05:
        raise ValueError(f"The two models differ by {mean:.3f} in probability.")
    return mean


def measure(runs: dict[str, Run], texts: Sequence[str], rounds: int) -> dict[str, Speed]:
    """Return the best of ``rounds`` interleaved rounds of each contender."""
    walls = dict.fromkeys(runs, float("inf"))
    works = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run(texts[:32])
    for _ in range(rounds):
        for name, run in runs.items():
            start, work = time.perf_counter(), time.process_time()
            run(texts)
            works[name] = min(works[name], time.process_time() - work)
            walls[name] = min(walls[name], time.perf_counter() - start)
    count = len(texts)
    return {
        name: Speed(round(count / walls[name], 2), round(works[name] / count * 1e3, 3))
        for name in runs
    }


def compare(threads: int, rounds: int, count: int) -> dict[str, Any]:
    """Measure both tasks, telling each as soon as it is done, and return all figures."""
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    base = open_base("e5-small-zh-en")
    report: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": threads,
        "rounds": rounds,
        "texts": count,
        "speeds": {},
        "ratios": {},
    }
    with tempfile.TemporaryDirectory() as place:
        for head, texts in ((INTENTS, questions(count)), (TAGS, newswire(count))):
            ours = served(base, head, Path(place) / head.name, threads)
            theirs = pipelines(base, head, Path(place) / "hf")
            if isinstance(ours, Classifier):
                pipe = theirs["pipeline, batch 32"]
                report["difference"] = check_same_model(ours, pipe, texts[:64])
            run: Run = ours.classify if isinstance(ours, Classifier) else ours.tag
            speeds = measure({OURS: run, **theirs}, texts, rounds)
            ours.close()
            report["speeds"][head.name] = {name: one._asdict() for name, one in speeds.items()}
            report["ratios"][head.name] = {
                name: round(speeds[OURS].texts_per_second / speed.texts_per_second, 2)
                for name, speed in speeds.items()
                if name != OURS
            }
            show(head.name, speeds)
    return report


def show(task: str, speeds: dict[str, Speed]) -> None:
    print(f"{task:38} {'texts/s':>9} {'ratio':>7} {'CPU ms':>9} {'ratio':>7}")
    ours = speeds[OURS]
    for name, (speed, work) in speeds.items():
        ratios = ours.texts_per_second / speed, work / ours.cpu_ms
        print(f"  {name:36} {speed:9.1f} {ratios[0]:7.2f} {work:9.2f} {ratios[1]:7.2f}", flush=True)


def reached(report: dict[str, Any]) -> bool:
    """Whether the target is reached against the pipeline as it is usually called."""
    return all(
        ratio >= TARGET
        for ratios in report["ratios"].values()
        for name, ratio in ratios.items()
        if "sorted" not in name
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    if not dev_data().is_dir():
        print(f"No texts: set ASSISTANT_DEV_DATA to the folder of data sets ({dev_data()}).")
        return 2
    report = compare(options.threads, options.rounds, options.texts)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    done = reached(report)
    print(f"target: at least {TARGET} times a pipeline: {'reached' if done else 'MISSED'}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
