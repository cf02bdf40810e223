"""All heads of a multi-task model at once: intent, sentiment, topic and entities from one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assistant.errors import TooLargeError
from assistant.models.classifier import Prediction, predictions
from assistant.models.headed import HeadedModel
from assistant.models.tagger import MAX_CHARACTERS, Entity, TagRules, merged
from assistant.models.tokens import probabilities


@dataclass(frozen=True, slots=True)
class Analysis:
    """What every head says of a text, by head name; what ``Classifier`` and ``Tagger`` say."""

    predictions: Mapping[str, Prediction]
    entities: Mapping[str, tuple[Entity, ...]]


class MultiTask:
    """Runs each text once and lets every head judge it. Thread-safe.

    Sequence heads judge a long text by its beginning, token heads read all of it in windows; the
    first window serves both.
    """

    def __init__(self, model: HeadedModel) -> None:
        """Raise ModelError when a token head has labels that are no BIO tags."""
        self.model = model
        heads = model.manifest.heads
        self._sequence = [head for head in heads if head.kind == "sequence"]
        self._token = [(head, TagRules(head)) for head in heads if head.kind == "token"]

    def analyse(self, texts: Sequence[str]) -> list[Analysis]:
        """Return what every head says of each text.

        Raises TooLargeError for a text too long for a tagger; a few texts may raise BusyError (see
        HeadedModel).
        """
        longest = max(map(len, texts), default=0)
        if longest > MAX_CHARACTERS:
            raise TooLargeError(
                f"A text has {longest:,} characters; the limit is {MAX_CHARACTERS:,}: split it."
            )
        items = self.model.tokenizer.windows(texts)
        # Without a token head, nothing beyond the first window is looked at.
        read = [item.windows if self._token else item.windows[:1] for item in items]
        found = iter(self.model.run([window.tokens for windows in read for window in windows]))
        outputs = [[next(found) for _ in windows] for windows in read]
        first = [own[0] for own in outputs]
        judged = {head.name: predictions(head, first) for head in self._sequence}
        analyses = []
        for place, (text, item, own) in enumerate(zip(texts, items, outputs, strict=True)):
            entities = {
                head.name: rules.entities(
                    text,
                    item.offsets,
                    probabilities(head, merged(item, [values[head.name] for values in own])),
                )
                for head, rules in self._token
            }
            analyses.append(Analysis({n: rows[place] for n, rows in judged.items()}, entities))
        return analyses

    def close(self) -> None:
        """Finish what is running and stop the workers. Safe to call twice."""
        self.model.close()
