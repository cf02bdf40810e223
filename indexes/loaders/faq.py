"""Approved questions and answers out of tables, records and headed documents."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from indexes.errors import LoadError
from indexes.loaders.text import TextBuilder, clean_characters, clean_line
from indexes.types import FaqEntry, Heading, Span

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "question": (
        *("question", "questions", "q", "title", "query", "standard question", "prompt"),
        *("问题", "标准问", "标准问题", "问", "提问", "问句", "問題", "標準問題"),
    ),
    "answer": (
        *("answer", "answers", "a", "reply", "response", "standard answer"),
        *("答案", "回答", "标准答案", "标准回答", "答", "回复", "解答", "答复", "標準答案", "回覆"),
    ),
    "id": ("id", "faq_id", "faqid", "no", "number", "编号", "序号", "標號", "編號", "序號", "key"),
    "paraphrases": (
        *("paraphrases", "paraphrase", "similar", "similar questions", "similar question"),
        *("alternatives", "variants", "variations", "aliases", "alternative questions"),
        *("相似问", "相似问题", "相似问法", "扩展问", "同义问", "其他问法", "相似問題", "相似問"),
    ),
    "category": ("category", "topic", "class", "section", "类别", "分类", "类目", "類別", "分類"),
}
_KEY_NOISE = re.compile(r"[\s_\-:：*]+")
_PAIR = re.compile(
    r"^[ \t]*(?:Q|Question|问|问题)\s*\d{0,4}\s*[:：.、]\s*(?P<question>[^\n]+)\n+"
    r"[ \t]*(?:A|Answer|答|答案|回答)\s*\d{0,4}\s*[:：.、]\s*(?P<answer>.+?)"
    r"(?=\n+[ \t]*(?:Q|Question|问|问题)\s*\d{0,4}\s*[:：.、]|\Z)",
    re.M | re.S | re.I,
)


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a table of questions; ``place`` says where, for messages."""

    place: str
    fields: Mapping[str, object]


def _normal_key(key: str) -> str:
    return _KEY_NOISE.sub(" ", key).strip().lower()


def find_columns(names: Iterable[str]) -> dict[str, str]:
    """Map ``question``, ``answer``, ``id``, ``paraphrases`` and ``category`` to column names.

    Only those that are there appear; an earlier alias wins over a later one.
    """
    known: dict[str, str] = {}
    for name in names:
        known.setdefault(_normal_key(name), name)
    columns = {}
    for role, aliases in _ALIASES.items():
        for alias in aliases:
            if _normal_key(alias) in known:
                columns[role] = known[_normal_key(alias)]
                break
    return columns


def write_faq(records: Sequence[Record], builder: TextBuilder) -> tuple[FaqEntry, ...]:
    """Write a readable listing of the entries; return them with the spans of their answers.

    A record without question or answer, or that repeats an earlier id or an earlier question with
    its answer, is left out and named in ``builder.warnings``. Raises ``LoadError`` when nothing is
    left.
    """
    names = dict.fromkeys(name for record in records[:200] for name in record.fields)
    columns = find_columns(names)
    if "question" not in columns or "answer" not in columns:
        found = ", ".join(list(names)[:12]) or "none"
        raise LoadError(
            f"no question and answer columns (found: {found}); "
            "name them question and answer, or 问题 and 答案"
        )
    entries: list[FaqEntry] = []
    seen: dict[str, str] = {}
    taken: set[str] = set()
    category = ""
    for record in records:
        problem = _problem(record, columns, seen)
        if problem:
            builder.warnings.append(f"{record.place}: {problem}")
            continue
        new_category = clean_line(_text(record.fields.get(columns.get("category", ""))))
        if new_category and new_category != category:
            category = new_category
            builder.heading(1, category)
        entries.append(_write_entry(record, columns, builder, taken))
        taken.add(entries[-1].faq_id)
    if not entries:
        first = builder.warnings[0] if builder.warnings else "the table has no rows"
        raise LoadError(f"no usable question and answer: {first}")
    _warn_same_question(entries, builder)
    return tuple(entries)


def entries_of_text(text: str, headings: Sequence[Heading]) -> tuple[FaqEntry, ...]:
    """Entries of a document that has them as headed sections, or as lines `Q: ...` `A: ...`."""
    pairs = [
        (clean_line(match.group("question")), match.start("answer"), match.end("answer"))
        for match in _PAIR.finditer(text)
    ]
    if not pairs:
        pairs = list(_headed_pairs(text, headings))
    entries = []
    for question, start, end in pairs:
        answer = text[start:end].rstrip()
        if question and answer:
            entries.append(
                FaqEntry(_hash(question), question, answer, Span(start, start + len(answer)))
            )
    if not entries:
        raise LoadError(
            "no questions and answers found; give a table with the columns question and answer, "
            "or a document with each question as a heading above its answer"
        )
    return tuple({entry.faq_id: entry for entry in reversed(entries)}.values())[::-1]


def _headed_pairs(text: str, headings: Sequence[Heading]) -> Iterable[tuple[str, int, int]]:
    for index, heading in enumerate(headings):
        start = heading.start + len(heading.title)
        end = headings[index + 1].start if index + 1 < len(headings) else len(text)
        start += len(text[start:end]) - len(text[start:end].lstrip())
        yield heading.title, min(start, end), end


def _problem(record: Record, columns: Mapping[str, str], seen: dict[str, str]) -> str:
    """What keeps the record out, or ""; notes its id and its question with answer in ``seen``."""
    question = clean_line(_text(record.fields.get(columns["question"])))
    if not question:
        return "no question"
    answer = clean_line(_text(record.fields.get(columns["answer"])))
    if not answer:
        return f"no answer to {question[:60]!r}"
    identifier = _identifier(record, columns)
    if identifier and f"id:{identifier}" in seen:
        return f"its id {identifier!r} was given before, in {seen[f'id:{identifier}']}; left out"
    same = f"q:{question.casefold()}\n{answer}"
    if same in seen:
        return f"repeats {seen[same]}: {question[:60]!r}; left out"
    seen.update({f"id:{identifier}": record.place} if identifier else {}, **{same: record.place})
    return ""


def _warn_same_question(entries: Sequence[FaqEntry], builder: TextBuilder) -> None:
    """Two answers to one question are kept, since products differ, but someone should know."""
    first: dict[str, str] = {}
    for entry in entries:
        known = first.setdefault(entry.question.casefold(), entry.faq_id)
        if known != entry.faq_id:
            builder.warnings.append(
                f"entry {entry.faq_id}: its question {entry.question[:60]!r} has another answer "
                f"in entry {known}; both are kept"
            )


def _write_entry(
    record: Record, columns: Mapping[str, str], builder: TextBuilder, taken: Collection[str]
) -> FaqEntry:
    question = clean_line(_text(record.fields[columns["question"]]))
    answer = _answer(record.fields[columns["answer"]])
    paraphrases = _paraphrases(record.fields.get(columns.get("paraphrases", "")), question)
    builder.heading(2, question)
    start, end = builder.verbatim(answer)
    identifier = _identifier(record, columns) or _hash(question)
    if identifier in taken:
        identifier = _hash(f"{question}\n{answer}")
    return FaqEntry(identifier, question, answer, Span(start, end), paraphrases)


def _identifier(record: Record, columns: Mapping[str, str]) -> str:
    return clean_line(_text(record.fields.get(columns.get("id", ""))))


def _hash(question: str) -> str:
    return "q-" + hashlib.sha256(question.casefold().encode()).hexdigest()[:16]


def _answer(value: object) -> str:
    # The approved words stay as they are; only what no screen or store can hold is taken out.
    return clean_characters(_text(value)).replace("\r\n", "\n").replace("\r", "\n").strip()


def _text(value: object) -> str:
    if value is None or isinstance(value, Mapping):
        return ""
    if isinstance(value, list | tuple):
        return next((text for item in value if (text := _text(item))), "")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _paraphrases(value: object, question: str) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else _split_list(_text(value))
    cleaned = (clean_line(_text(part)) for part in parts)
    return tuple(dict.fromkeys(part for part in cleaned if part and part != question))


def _split_list(text: str) -> list[object]:
    if text.lstrip().startswith("["):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list):
            return parsed
    return list(re.split(r"[|\n｜]+", text))
