"""How good a served generator is: answers, grounding, refusals, rewritings, with intervals.

Everything is measured on what ``Generator`` says, that is through the exported model and the
product's own reading of its answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from assistant.dialogue.figures import figures, unsupported_figures
from assistant.evaluation import Metric
from assistant.evaluation.bootstrap import Floats, Statistic, bootstrap_all
from assistant.evaluation.reading import exact_match, f1_score
from assistant.evaluation.scores import mean_statistic, ratio_statistic
from assistant.models.generation.generator import Generator
from assistant.models.generation.prompts import read_grounded
from training.generator.rows import Row

# A name: capitalised words beyond the first of a sentence, or letters with digits; Chinese names
# cannot be told by form, so runs between quotation marks stand for them.
_NAME = re.compile(
    r"(?<![.!?]\s)(?<!^)\b[A-Z][\w&'-]+(?:\s[A-Z][\w&'-]+)*|《[^》]{1,40}》|“[^”]{1,40}”"
)


@dataclass(frozen=True, slots=True)
class Judged:
    """One row and what the model said. ``finish`` as in ``Generated``."""

    row: Row
    said: str
    finish: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Report:
    """Metrics by name and by language (``zh.answer_f1``), and the judged rows."""

    metrics: Mapping[str, Metric]
    judged: tuple[Judged, ...]

    def to_json(self) -> dict[str, object]:
        """Return plain values; the rows' texts are left out."""
        return {name: metric.to_json() for name, metric in self.metrics.items()}


def evaluate(
    opened: Generator,
    rows: Sequence[Row],
    *,
    max_tokens: int = 96,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Let the model complete every row greedily and measure; ValueError without rows.

    Rows whose prompt does not fit the context count as wrong: the model has nothing to say there.
    """
    judged = []
    limit = opened.manifest.max_tokens
    for done, row in enumerate(rows, 1):
        if opened.count_tokens(row.prompt) + max_tokens > limit:
            judged.append(Judged(row, "", "too_long", 0))
        else:
            # A line break ends every kind of answer; an untuned model goes on with new questions.
            made = opened.generate(row.prompt, max_tokens=max_tokens, stop=["\n"])
            judged.append(Judged(row, made.text, made.finish, made.tokens))
        if progress is not None:
            progress(done, len(rows))
    return Report(metrics(judged, seed=seed), tuple(judged))


def metrics(judged: Sequence[Judged], *, seed: int = 0) -> dict[str, Metric]:
    """Return all metrics that the tasks among the rows define, over all and by language."""
    found = _metrics(judged, seed)
    for language in ("en", "zh"):
        part = [j for j in judged if j.row.language == language]
        if part and len(part) < len(judged):
            found |= {f"{language}.{k}": m for k, m in _metrics(part, seed).items()}
    return found


def _metrics(judged: Sequence[Judged], seed: int) -> dict[str, Metric]:
    tasks = {
        "grounded": [j for j in judged if j.row.task in ("answer", "refuse")],
        "rewrite": [j for j in judged if j.row.task == "rewrite"],
        "other": [j for j in judged if j.row.task == "other"],
    }
    statistics = {"grounded": _grounded, "rewrite": _rewriting, "other": _plain}
    found: dict[str, Metric] = {}
    for name, part in tasks.items():
        if part:
            found |= bootstrap_all(statistics[name](part), len(part), seed=seed)
    found |= bootstrap_all(
        {"ended": mean_statistic(np.array([float(j.finish == "stop") for j in judged]))},
        len(judged),
        seed=seed,
    )
    return found


def _grounded(judged: Sequence[Judged]) -> dict[str, Statistic]:
    """Answers and refusals together: refusing is a choice that both tasks judge."""
    replies = [read_grounded(j.said) for j in judged]
    held = _floats(j.row.task == "answer" for j in judged)
    refused = _floats(r.refused for r in replies)
    said = held * (1 - refused)
    exact = _scores(exact_match, judged, [r.text for r in replies])
    f1 = _scores(f1_score, judged, [r.text for r in replies])
    # An answer given where a refusal was due is ungrounded too, whatever it says.
    answered = 1 - refused
    counts = np.array([_supported(r.text, j.row) for r, j in zip(replies, judged, strict=True)])
    cited = _floats(r.cited == _right_marks(j.row) for r, j in zip(replies, judged, strict=True))
    statistics: dict[str, Statistic] = {}
    if held.any():
        statistics |= {
            "answer_exact": ratio_statistic(exact * said, held),
            "answer_f1": ratio_statistic(f1 * said, held),
            "citation_right": ratio_statistic(cited * said, held),
        }
    if not held.all():
        statistics |= {
            "refusal_precision": ratio_statistic((1 - held) * refused, refused),
            "refusal_recall": ratio_statistic((1 - held) * refused, 1 - held),
        }
    if held.any() and not held.all():
        statistics["refusal_f1"] = _f1((1 - held) * refused, refused, 1 - held)
        statistics["right"] = mean_statistic(np.where(held > 0, f1 * said, refused))
    stated = counts * answered[:, None]
    statistics["figures_supported"] = ratio_statistic(stated[:, 0], stated[:, 1])
    statistics["names_supported"] = ratio_statistic(stated[:, 2], stated[:, 3])
    return statistics


def _rewriting(judged: Sequence[Judged]) -> dict[str, Statistic]:
    texts = [j.said for j in judged]
    return {
        "rewrite_exact": mean_statistic(_scores(exact_match, judged, texts)),
        "rewrite_f1": mean_statistic(_scores(f1_score, judged, texts)),
    }


def _plain(judged: Sequence[Judged]) -> dict[str, Statistic]:
    texts = [j.said for j in judged]
    return {
        "exact": mean_statistic(_scores(exact_match, judged, texts)),
        "f1": mean_statistic(_scores(f1_score, judged, texts)),
    }


def _scores(score: Callable[..., float], judged: Sequence[Judged], texts: Sequence[str]) -> Floats:
    return np.array(
        [score(t, j.row.references, j.row.language) for j, t in zip(judged, texts, strict=True)],
        dtype=np.float64,
    )


def _supported(text: str, row: Row) -> tuple[int, int, int, int]:
    """Return figures that stand in the evidence, all figures, names that do, all names."""
    own = figures(text)
    names = {m.group() for m in _NAME.finditer(text)}
    known = sum(name.lower() in row.evidence.lower() for name in names)
    missing = unsupported_figures(text, row.evidence)
    return len(own) - len(missing), len(own), known, len(names)


def _right_marks(row: Row) -> tuple[int, ...]:
    return read_grounded(row.response).cited


def _f1(hit: Floats, said: Floats, there: Floats) -> Statistic:
    columns = np.stack([hit, said + there], axis=1)

    def statistic(weights: Floats) -> Floats:
        sums = weights @ columns
        found: Floats = 2 * sums[:, 0] / sums[:, 1]
        return found

    return statistic


def _floats(values: Iterable[bool]) -> Floats:
    return np.array([float(v) for v in values], dtype=np.float64)


def judged_lines(judged: Sequence[Judged]) -> list[dict[str, object]]:
    """Return the rows with what was said, for reading; not for files that leave the machine."""
    return [{**asdict(j.row), "said": j.said, "finish": j.finish} for j in judged]
