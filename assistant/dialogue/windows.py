"""The part of a chunk that speaks to a question: what models that read both together are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assistant.types import ChunkHit, sentence_vectors
from indexes.types import FloatArray

WINDOW_TOKENS = 24
"""Reading costs time by the token. A sentence or two hold what a question is after: twice as many
windows tell more than windows twice as long."""
TITLE_TOKENS = 12
_BYTES_A_TOKEN = 4
"""Of UTF-8, English as well as Chinese: an estimate that spares counting."""


@dataclass(frozen=True, slots=True)
class Window:
    """Whole sentences of a chunk, as half-open code points of its document.

    ``text`` begins with ``lead`` code points that are not the chunk's: its title.
    """

    text: str
    lead: int
    start: int
    end: int


def window(hit: ChunkHit, vector: FloatArray, tokens: int = WINDOW_TOKENS) -> Window:
    """Return the sentence nearest to ``vector`` (dim,) with its neighbours, about ``tokens`` long.

    A chunk without sentences is taken from its start, and a sentence too long by itself is taken
    whole: the reader's tokeniser cuts it.
    """
    title = _cut(hit.title.strip(), TITLE_TOKENS)
    lead = f"{title}\n" if title else ""
    texts = [sentence.text for sentence in hit.sentences]
    cosines = sentence_vectors(hit.sentences) @ vector if texts else vector[:0]
    found = nearest_sentences(texts, cosines, tokens)
    if found is None:
        text = _cut(hit.text, tokens)
        return Window(lead + text, len(lead), hit.start, hit.start + len(text))
    start, end = hit.sentences[found[0]].span.start, hit.sentences[found[1]].span.end
    text = hit.text[start - hit.start : end - hit.start]
    return Window(lead + text, len(lead), start, end)


def nearest_sentences(
    texts: Sequence[str], cosines: FloatArray, tokens: int
) -> tuple[int, int] | None:
    """Return the places of the first and last sentence of a window about ``tokens`` long: the
    sentence of the highest cosine (sentences,) and its neighbours. None where there are none."""
    if not texts:
        return None
    sizes = [_tokens(text) for text in texts]
    first = last = int(cosines.argmax())
    size = sizes[first]
    while True:
        # The nearer one of its neighbours, as long as there is room for it.
        open_ = [i for i in (first - 1, last + 1) if 0 <= i < len(sizes)]
        fitting = [i for i in open_ if size + sizes[i] <= tokens]
        if not fitting:
            return first, last
        chosen = max(fitting, key=lambda i: float(cosines[i]))
        first, last, size = min(first, chosen), max(last, chosen), size + sizes[chosen]


def _tokens(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass")) // _BYTES_A_TOKEN + 1


def _cut(text: str, tokens: int) -> str:
    """Return the beginning of ``text``, about ``tokens`` long."""
    room = tokens * _BYTES_A_TOKEN
    return text.encode("utf-8", "ignore")[:room].decode("utf-8", "ignore")
