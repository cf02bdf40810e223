"""A data card as Markdown, for people."""

from __future__ import annotations

from collections.abc import Mapping

from training.data.report import DataCard, SplitCard

SHOWN_LABELS = 30


def card_markdown(card: DataCard) -> str:
    """Return the card as Markdown: splits, labels, lengths, sources, what was removed and why."""
    unused = [f"{name}: {', '.join(v)}" for name, v in card.unused_columns.items() if v]
    parts = [
        f"# Data card ({card.kind})",
        f"SHA-256 of the rows: `{card.sha256}`",
        _splits(card.splits),
        _labels(card.splits),
        _lengths(card.splits),
        _sources(card),
        _counts("Removed", card.removed, "Nothing was removed."),
        _counts("Mended", card.mended, "Nothing had to be mended."),
        _counts("Duplicates", card.duplicates, "None were looked for."),
        _counts("Leak check", card.leaks, "Not made."),
        _list("Columns not used", unused),
        _list("Warnings", list(card.warnings)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(header: list[str], rows: list[list[object]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _splits(splits: Mapping[str, SplitCard]) -> str:
    rows: list[list[object]] = [
        [
            name,
            split.rows,
            split.groups,
            ", ".join(f"{k} {v:,}" for k, v in split.languages.items()),
        ]
        for name, split in splits.items()
    ]
    return "## Rows\n\n" + _table(["split", "rows", "groups", "languages"], rows)


def _labels(splits: Mapping[str, SplitCard]) -> str:
    names: dict[str, int] = {}
    for split in splits.values():
        for label, count in split.labels.items():
            names[label] = names.get(label, 0) + count
    if not names:
        return ""
    shown = sorted(names, key=lambda label: (-names[label], label))
    rows: list[list[object]] = [
        [label, *(split.labels.get(label, 0) for split in splits.values())]
        for label in shown[:SHOWN_LABELS]
    ]
    more = f"\n\n… and {len(shown) - SHOWN_LABELS} more" if len(shown) > SHOWN_LABELS else ""
    title = f"## Labels ({len(shown)})\n\n"
    return title + _table(["label", *splits], rows) + more


def _lengths(splits: Mapping[str, SplitCard]) -> str:
    rows: list[list[object]] = []
    header: list[str] = []
    for name, split in splits.items():
        for part, quantiles in split.lengths.items():
            header = ["split", "part", *quantiles]
            rows.append([name, part, *quantiles.values()])
    return "## Characters\n\n" + _table(header, rows) if rows else ""


def _sources(card: DataCard) -> str:
    rows: list[list[object]] = [
        [s.name, s.split, s.rows_read, s.bytes, s.licence, f"`{s.sha256}`"] for s in card.sources
    ]
    header = ["file", "for", "rows read", "bytes", "licence", "SHA-256"]
    return "## Sources\n\n" + _table(header, rows)


def _counts(title: str, counts: Mapping[str, int] | Mapping[str, int | str], empty: str) -> str:
    if not counts:
        return f"## {title}\n\n{empty}"
    rows: list[list[object]] = [[name, count] for name, count in counts.items()]
    return f"## {title}\n\n" + _table(["what", "count"], rows)


def _list(title: str, items: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {item}" for item in items) if items else ""
