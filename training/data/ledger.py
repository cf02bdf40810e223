"""The account of what was dropped and mended: every lost row is counted and written down."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TextIO

from assistant.tables import clean_text
from training.data.masking import mask_personal_data
from training.data.spec import PersonalData

SHOWN_CHARS = 500


class RowProblem(Exception):
    """A row cannot be used. ``reason`` is one of few phrases to count by, ``detail`` the case."""

    def __init__(self, reason: str, detail: str = "", text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.text = text


class Ledger:
    """Counts of dropped rows by reason (each also a line of ``path``), of repairs, and warnings.

    A line of the file holds source, reason, detail and the first 500 characters of the text, with
    personal data of the kinds in ``mask`` masked as in the rows that are kept.
    """

    def __init__(self, path: Path | None = None, *, mask: Sequence[PersonalData] = ()) -> None:
        self._mask = tuple(mask)
        self.rejected: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.warnings: list[str] = []
        self.unused_columns: dict[str, tuple[str, ...]] = {}
        self._stream: TextIO | None = path.open("w", encoding="utf-8") if path else None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream:
            self._stream.close()

    def reject(self, source: str, reason: str, detail: str = "", text: str = "") -> None:
        """Count a dropped row and write it down."""
        self.rejected[reason] += 1
        if self._stream is None:
            return
        line = {"source": source, "reason": reason}
        if detail:
            line["detail"] = self._shown(detail)
        line["text"] = self._shown(text)
        self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _shown(self, text: str) -> str:
        # A little more than is shown is masked, so that no number is cut before it is known.
        masked, _ = mask_personal_data(text[: SHOWN_CHARS + 100], self._mask)
        return clean_text(masked[:SHOWN_CHARS])

    def mend(self, what: str, count: int = 1) -> None:
        """Count repairs."""
        if count:
            self.repairs[what] += count

    def warn(self, message: str) -> None:
        """Note something the user should know; the same message once."""
        if message not in self.warnings:
            self.warnings.append(message)
