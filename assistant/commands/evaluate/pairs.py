"""``assistant eval pairs``: measure how well pairs of texts are matched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assistant.commands.common import data_dir_option, json_option, load_settings
from assistant.commands.evaluate.shared import (
    Timing,
    check_errors_file,
    choose,
    data_option,
    errors_option,
    finish,
    label_of,
    model_option,
    run_batches,
    skip_bad_option,
    tenant_option,
    warn_empty,
    write_errors,
)
from assistant.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from assistant.evaluation.bootstrap import Metric
    from assistant.evaluation.tables import PairRow, PairSet
    from assistant.settings import Settings


@dataclass(frozen=True, slots=True)
class Scorer:
    """What scored the pairs. ``scores`` (n,): probabilities of a reranker, else cosines.

    ``threshold``: from which score on the model itself says that a pair matches, if it has one.
    """

    method: str
    model: str
    scores: list[float]
    valid_scores: list[float]
    timing: Timing
    threshold: float | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which score on a pair counts as matching: one, or one for each half of the rows.

    ``per_row`` (n,): the one that goes for each row; ``source``: where it comes from.
    """

    values: tuple[float, ...]
    per_row: list[float]
    source: str


@click.command()
@data_option("text_a,text_b,label (1 or 0) as CSV, TSV or JSON Lines.")
@model_option
@tenant_option
@click.option(
    "--method",
    type=click.Choice(["auto", "reranker", "encoder"]),
    default="auto",
    show_default=True,
    help="The reranker, or the cosine of the encoder; auto: the encoder when no reranker is there.",
)
@click.option("--threshold", type=float, help="A pair matches from this score on.")
@click.option(
    "--valid",
    metavar="FILE",
    type=click.Path(exists=True, path_type=Path),
    help="Choose the threshold on these pairs, for the best accuracy.",
)
@click.option(
    "--columns",
    nargs=3,
    metavar="A B LABEL",
    help="The columns.  [default: text_a text_b label, or other usual names]",
)
@errors_option
@skip_bad_option
@json_option
@data_dir_option
def pairs(
    *,
    data: Path,
    name: str | None,
    tenant: str,
    method: str,
    threshold: float | None,
    valid: Path | None,
    columns: tuple[str, str, str] | None,
    errors: Path | None,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Measure pair matching: accuracy, F1, Spearman, ROC AUC and average precision; with intervals.

    Scored by the reranker. Where none is in use, by the cosine of the encoder, whose threshold is
    then chosen on one half of the rows for the other, unless --threshold or --valid say otherwise.
    """
    from assistant.evaluation.tables import read_pair_set

    if threshold is not None and valid is not None:
        raise InvalidInputError("--threshold and --valid both set the threshold; give one of them.")
    settings = load_settings()
    rows = read_pair_set(data, columns=columns or (), skip_bad=skip_bad)
    extra = read_pair_set(valid, columns=columns or ()) if valid else None
    check_errors_file(errors, rows.file)
    scorer = _score(settings, rows, extra, method=method, name=name, tenant=tenant)
    limit = choose_threshold(rows, scorer, threshold, extra)
    metrics = measure(rows, scorer, limit)
    write_errors(errors, wrong_rows(rows, scorer.scores, limit))
    result = {
        "data": str(rows.file),
        "columns": list(rows.columns),
        "method": scorer.method,
        "model": scorer.model,
        **scorer.timing.to_json(),
        "metrics": {key: metric.to_json() for key, metric in metrics.items()},
        "threshold": limit.values[0] if len(limit.values) == 1 else list(limit.values),
        "threshold_source": limit.source,
        "warnings": [*warn_empty(rows.empty, "pairs"), *_explained(scorer, method)],
    }
    return finish(result, rows.left_out, as_json)


def _explained(scorer: Scorer, method: str) -> list[str]:
    if method == "auto" and scorer.method == "encoder":
        return ["No reranker is in use: scored by the cosine of the encoder."]
    return []


# --- scoring -----------------------------------------------------------------------------------


def _score(
    settings: Settings,
    rows: PairSet,
    valid: PairSet | None,
    *,
    method: str,
    name: str | None,
    tenant: str,
) -> Scorer:
    if method == "encoder":
        return _by_encoder(settings, rows, valid, name)
    try:
        chosen = choose(settings, "reranker", name, tenant)
    except NotFoundError:
        if method == "reranker" or name is not None:
            raise
        return _by_encoder(settings, rows, valid, None)
    from assistant.models.loading import open_reranker

    model = open_reranker(settings, chosen.name, chosen.tenant)
    try:
        scores, timing = run_batches("Scoring", _texts(rows), model.score)
        valid_scores = run_batches("Valid", _texts(valid), model.score)[0] if valid else []
    finally:
        model.close()
    label = label_of(chosen, model.manifest.name, model.fingerprint)
    return Scorer(
        "reranker",
        label,
        [float(score) for score in scores],
        [float(score) for score in valid_scores],
        timing,
        model.head.threshold,
    )


def _by_encoder(
    settings: Settings, rows: PairSet, valid: PairSet | None, name: str | None
) -> Scorer:
    from assistant.models.loading import load_encoder

    if name is not None:
        settings = settings.model_copy(update={"encoder": name})
    encoder = load_encoder(settings)

    def cosines(batch: Sequence[tuple[str, str]]) -> list[float]:
        # Both texts as queries: matching questions is what pairs are mostly about.
        vectors = encoder.encode_queries([text for pair in batch for text in pair])
        found: list[float] = (vectors[::2] * vectors[1::2]).sum(axis=1).tolist()
        return found

    try:
        scores, timing = run_batches("Encoding", _texts(rows), cosines)
        valid_scores = run_batches("Valid", _texts(valid), cosines)[0] if valid else []
    finally:
        encoder.close()
    label = f"{encoder.name}@{encoder.fingerprint[:12]}"
    return Scorer("encoder", label, scores, valid_scores, timing, None)


def _texts(rows: PairSet) -> list[tuple[str, str]]:
    return [(row.text_a, row.text_b) for row in rows.rows]


# --- thresholds and metrics --------------------------------------------------------------------


def choose_threshold(
    rows: PairSet, scorer: Scorer, given: float | None, valid: PairSet | None
) -> Threshold:
    """Return the threshold: given, chosen on the validation pairs, the model's own, or
    cross-fitted: chosen on every other row for the rows between, so never on a row it judges."""
    from assistant.evaluation import best_threshold

    count = len(rows.rows)
    if valid is not None:
        source = f"best accuracy on {valid.file}"
        given = _fitted([row.label for row in valid.rows], scorer.valid_scores, valid.file)
        return Threshold((given,), [given] * count, source)
    if given is None and scorer.threshold is not None:
        own = scorer.threshold
        return Threshold((own,), [own] * count, "the model's own")
    if given is not None:
        return Threshold((given,), [given] * count, "--threshold")
    labels = [row.label for row in rows.rows]
    try:
        even = best_threshold(labels[::2], scorer.scores[::2], "accuracy")
        odd = best_threshold(labels[1::2], scorer.scores[1::2], "accuracy")
    except ValueError:
        raise InvalidInputError(
            f"{rows.file.name}: too few pairs of both kinds to choose a threshold on; give "
            "--threshold or --valid."
        ) from None
    per_row = [even if place % 2 else odd for place in range(count)]
    source = "best accuracy on every other row, used on the rows between"
    return Threshold((odd, even), per_row, source)


def _fitted(labels: Sequence[int], scores: Sequence[float], file: Path) -> float:
    from assistant.evaluation import best_threshold

    try:
        return best_threshold(labels, scores, "accuracy")
    except ValueError as error:
        raise InvalidInputError(f"{file}: {error}.") from None


def measure(rows: PairSet, scorer: Scorer, limit: Threshold) -> Mapping[str, Metric]:
    """Compare scores with the rows' labels."""
    from assistant.evaluation import pair_metrics

    return pair_metrics(
        [row.label for row in rows.rows],
        scorer.scores,
        threshold=limit.per_row,
        probabilities=scorer.method == "reranker",
    )


def wrong_rows(rows: PairSet, scores: Sequence[float], limit: Threshold) -> list[dict[str, Any]]:
    """Return the pairs that came out wrong, as ``--errors`` has them."""
    return [
        _wrong(row, score)
        for row, score, level in zip(rows.rows, scores, limit.per_row, strict=True)
        if (score >= level) != bool(row.label)
    ]


def _wrong(row: PairRow, score: float) -> dict[str, Any]:
    return {
        "line": row.line,
        "text_a": row.text_a,
        "text_b": row.text_b,
        "expected": row.label,
        "score": round(score, 6),
    }
