from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping

import openpyxl
import pytest

from indexes.errors import LoadError
from indexes.types import Document

Read = Callable[..., Document]

CSV = """Question,Answer,ID,Similar Questions,Category
How do I pay?,"Use the app.

Or call  95588 — **any time**.",q1,How to pay|Ways to pay,Payments
What is the fee?,It is 20%.,q2,,Payments
,Orphan answer.,q3,,
No answer here?,,q4,,
What is the fee?,It is 20%.,q5,,
What is the fee?,It is 30% for gold cards.,q6,,Cards
Again?,Yes.,q1,,
"""


def check_spans(doc: Document) -> None:
    for entry in doc.faq:
        assert doc.text[entry.answer_span.start : entry.answer_span.end] == entry.answer
        assert entry.question in doc.text
    assert len({entry.faq_id for entry in doc.faq}) == len(doc.faq)


def test_answers_are_verbatim_and_bad_rows_are_named(read: Read) -> None:
    doc = read(CSV, "faq.csv", faq=True)
    check_spans(doc)
    assert [entry.faq_id for entry in doc.faq] == ["q1", "q2", "q6"]
    assert doc.faq[0].answer == "Use the app.\n\nOr call  95588 — **any time**."
    assert doc.faq[0].paraphrases == ("How to pay", "Ways to pay")
    warnings = doc.metadata["warnings"].split("\n")
    assert [line.split(":")[0] for line in warnings] == [
        "row 4",
        "row 5",
        "row 6",
        "row 8",
        "entry q6",
    ]
    assert "no question" in warnings[0] and "no answer" in warnings[1]
    assert "repeats row 3" in warnings[2] and "id 'q1'" in warnings[3]
    assert [h.title for h in doc.headings if h.level == 1] == ["Payments", "Cards"]


@pytest.mark.parametrize(
    ("question", "answer"),
    [("问题", "答案"), ("标准问", "回答"), ("Q", "A"), (" QUESTION ", "answer"), ("提问", "答")],
)
def test_column_names_in_both_languages(read: Read, question: str, answer: str) -> None:
    doc = read(f"{question},{answer}\n如何开户？,请到网点。\n", "faq.csv", faq=True)
    assert [(e.question, e.answer) for e in doc.faq] == [("如何开户？", "请到网点。")]
    assert doc.language == "zh"


def test_missing_ids_are_stable(read: Read) -> None:
    first = read("q,a\nOne?,1\nTwo?,2\n", "faq.csv", faq=True)
    second = read("q,a\nTwo?,changed\nOne?,1\n", "other.csv", faq=True)
    assert {e.question: e.faq_id for e in first.faq} == {e.question: e.faq_id for e in second.faq}
    check_spans(first)


def test_two_answers_to_one_question_without_ids_are_both_kept(read: Read) -> None:
    doc = read("q,a\nFee?,20\nFee?,30\n", "faq.csv", faq=True)
    assert [entry.answer for entry in doc.faq] == ["20", "30"]
    check_spans(doc)


@pytest.mark.parametrize("shape", ["jsonl", "json list", "json object"])
def test_json_shapes(read: Read, shape: str) -> None:
    records = [
        {
            "id": 7,
            "question": "怎么付款？",
            "answers": ["用手机银行。", "用网银。"],
            "相似问": ["如何支付"],
        },
        {"id": 8, "question": "费率？", "answers": ["3.85%"], "相似问": '["利率是多少", "利息？"]'},
    ]
    if shape == "jsonl":
        data, name = "\n".join(json.dumps(r, ensure_ascii=False) for r in records), "a.jsonl"
    else:
        value: object = records if shape == "json list" else {"version": 1, "faq": records}
        data, name = json.dumps(value, ensure_ascii=False), "a.json"
    doc = read(data, name, faq=True)
    check_spans(doc)
    assert [(e.faq_id, e.answer, e.paraphrases) for e in doc.faq] == [
        ("7", "用手机银行。", ("如何支付",)),
        ("8", "3.85%", ("利率是多少", "利息？")),
    ]


def workbook(sheets: Mapping[str, list[list[object]]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_workbooks(read: Read) -> None:
    data = workbook(
        {
            "FAQ": [
                ["Approved answers"],
                ["编号", "问题", "答案"],
                [1, "年费？", "100元\n首年免费"],
                [2, "x", None],
            ],
            "Notes": [["nothing", "here"]],
        }
    )
    doc = read(data, "faq.xlsx", faq=True)
    check_spans(doc)
    assert [(e.faq_id, e.answer) for e in doc.faq] == [("1", "100元\n首年免费")]
    assert "sheet FAQ, row 4: no answer" in doc.metadata["warnings"]
    assert "sheet Notes" in doc.metadata["warnings"]


def test_headed_documents_and_labelled_pairs(read: Read) -> None:
    doc = read(
        "# Help\n\n## How do I pay?\n\nUse the app.\n\n- or call\n\n## Fee?\n\nNone.",
        "a.md",
        faq=True,
    )
    check_spans(doc)
    assert [(e.question, e.answer) for e in doc.faq] == [
        ("How do I pay?", "Use the app.\n\n• or call"),
        ("Fee?", "None."),
    ]
    pairs = read("问：怎么开户？\n答：请到网点。\n问：收费吗？\n答：免费。\n", "a.txt", faq=True)
    assert [(e.question, e.answer) for e in pairs.faq] == [
        ("怎么开户？", "请到网点。"),
        ("收费吗？", "免费。"),
    ]


def test_tables_without_the_columns_are_refused(read: Read) -> None:
    with pytest.raises(LoadError, match=r"no question and answer columns \(found: a, b\)"):
        read("a,b\n1,2\n", "a.csv", faq=True)
    with pytest.raises(LoadError, match="no usable question and answer: row 2: no question"):
        read("q,a\n,x\n", "a.csv", faq=True)
    with pytest.raises(LoadError, match="no questions and answers found"):
        read("Just text.", "a.txt", faq=True)


def test_a_table_is_no_faq_unless_asked(read: Read) -> None:
    assert read("q,a\nOne?,1\n", "faq.csv").faq == ()
