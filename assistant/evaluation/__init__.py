"""Measuring models: metrics with confidence intervals, and the folders they are measured on.

Needs numpy only. Metrics take what was expected and what was predicted; they know no model.
"""

from assistant.evaluation.bootstrap import (
    Comparison,
    Metric,
    bootstrap,
    bootstrap_all,
    compare,
    paired_test,
)
from assistant.evaluation.classification import (
    OUT_OF_SCOPE,
    USUAL_NAMES,
    ClassificationReport,
    accuracy,
    classification_report,
    macro_f1,
    multilabel_report,
)
from assistant.evaluation.entities import EntityReport, entity_report, entity_spans, iob2_tags
from assistant.evaluation.pairs import pair_metrics
from assistant.evaluation.reading import ReadingReport, exact_match, f1_score, reading_report
from assistant.evaluation.scores import RiskCoverage, best_threshold, reliability, risk_coverage

__all__ = [
    "OUT_OF_SCOPE",
    "USUAL_NAMES",
    "ClassificationReport",
    "Comparison",
    "EntityReport",
    "Metric",
    "ReadingReport",
    "RiskCoverage",
    "accuracy",
    "best_threshold",
    "bootstrap",
    "bootstrap_all",
    "classification_report",
    "compare",
    "entity_report",
    "entity_spans",
    "exact_match",
    "f1_score",
    "iob2_tags",
    "macro_f1",
    "multilabel_report",
    "pair_metrics",
    "paired_test",
    "reading_report",
    "reliability",
    "risk_coverage",
]
