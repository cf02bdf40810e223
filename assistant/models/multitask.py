"""Everything a multi-task model knows of a text, from one pass of its shared encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assistant.models.classifier import Prediction, predictions
from assistant.models.headed import HeadedModel
from assistant.models.manifest import ModelManifest
from assistant.models.tagger import Entity, Tagger


@dataclass(frozen=True, slots=True)
class Analysis:
    """What all heads say of one text, by the head's name."""

    predictions: Mapping[str, Prediction]
    entities: Mapping[str, tuple[Entity, ...]]


class MultiTask:
    """All sequence heads and taggers of one model. Thread-safe.

    A text longer than ``max_tokens`` is classified by its beginning and searched for entities in
    windows; any other costs one pass, however many heads there are.
    """

    def __init__(self, model: HeadedModel) -> None:
        """Raise ModelError when a token head is no tagger."""
        self.model = model
        self._sequence = [head for head in model.manifest.heads if head.kind == "sequence"]
        token = [head.name for head in model.manifest.heads if head.kind == "token"]
        self._taggers = {name: Tagger(model, name) for name in token}

    @property
    def manifest(self) -> ModelManifest:
        return self.model.manifest

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        """Return what every head says of each text.

        Raises TooLargeError as ``Tagger.tag``; a few texts may raise BusyError.
        """
        for tagger in self._taggers.values():
            tagger.check_lengths(texts)
        items = self.model.tokenizer.windows(texts)
        # Without a tagger, nobody reads on after the first window.
        windows = [item.windows if self._taggers else item.windows[:1] for item in items]
        flat = iter(self.model.run([w.tokens for group in windows for w in group]))
        outputs = [[next(flat) for _ in group] for group in windows]
        found = {head.name: predictions(head, [o[0] for o in outputs]) for head in self._sequence}
        return [
            Analysis(
                {name: rows[place] for name, rows in found.items()},
                {
                    name: tagger.decoded(text, items[place], outputs[place])
                    for name, tagger in self._taggers.items()
                },
            )
            for place, text in enumerate(texts)
        ]

    def close(self) -> None:
        """Finish what is running and stop the workers."""
        self.model.close()
