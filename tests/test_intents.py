"""A tenant's intents through the whole path: command line, answers, HTTP."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support import Run

from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Answer, AnswerKind, Intent, IntentAction, Question, Scope
from assistant.web.api import create_app

FRAUD = Intent(
    "fraud",
    (
        "I did not make this payment",
        "someone used my card without asking me",
        "there is a charge on my card I do not recognise",
        "卡被盗刷了",
        "这笔钱不是我花的",
    ),
    IntentAction.HANDOFF,
)
ADVICE = Intent(
    "advice",
    (
        "which shares should I buy",
        "is gold a good investment now",
        "will the market fall next year",
        "推荐几只股票给我",
        "现在买基金好不好",
    ),
    IntentAction.DECLINE,
    reply_zh="我们不提供投资建议。",
)


@pytest.fixture(scope="module")
def runtime(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    opened = Runtime.open(Settings(data_dir=tmp_path_factory.mktemp("intents")))
    bank = root / "examples" / "bank"
    opened.ingest([bank / "faq_en.csv", bank / "faq_zh.csv"], Scope(), faq=True)
    yield opened
    opened.close()


@pytest.fixture
def named(runtime: Runtime) -> Iterator[Runtime]:
    runtime.storage.intents.put(Scope().tenant, [FRAUD, ADVICE])
    yield runtime
    for intent in runtime.storage.intents.of(Scope().tenant):
        runtime.storage.intents.delete(Scope().tenant, intent.name)


def ask(runtime: Runtime, text: str) -> Answer:
    return runtime.answer(Question(text))


@pytest.mark.parametrize(
    "text", ["a charge on my card that I do not recognise", "我的卡被盗刷了，这钱不是我花的"]
)
def test_an_intent_to_hand_over_is_handed_over_in_both_languages(named: Runtime, text: str) -> None:
    answer = ask(named, text)
    assert answer.kind is AnswerKind.HANDOFF, answer
    assert answer.confidence >= named.settings.intent_threshold
    assert not answer.citations
    assert "retrieve" not in answer.timings_ms


def test_a_declined_question_gets_the_tenants_words_and_is_no_gap(named: Runtime) -> None:
    before = len(named.storage.gaps.recent(Scope().tenant))
    chinese, english = ask(named, "请推荐几只股票"), ask(named, "which shares should I buy now")
    assert chinese.kind is english.kind is AnswerKind.ABSTAIN
    assert chinese.answer == "我们不提供投资建议。"
    assert "can't help with questions of this kind" in english.answer
    assert len(named.storage.gaps.recent(Scope().tenant)) == before


def test_other_questions_are_answered_as_before(named: Runtime) -> None:
    answer = ask(named, "Is there a monthly fee for the Everyday Account?")
    assert answer.kind is AnswerKind.FAQ
    assert ask(named, "谢谢").kind is AnswerKind.SMALLTALK


def test_a_change_is_in_force_with_the_next_question(named: Runtime) -> None:
    text = "which shares should I buy"
    assert ask(named, text).answer == ask(named, text).answer
    named.storage.intents.put(Scope().tenant, [Intent("advice", ADVICE.examples)])
    assert "questions of this kind" not in ask(named, text).answer
    named.storage.intents.delete(Scope().tenant, "advice")
    found = named.match_intents(Scope().tenant, [text])
    assert [one.intent.name for one in found] == ["fraud"]
    assert found[0].probability < 0.5


def test_tenants_do_not_see_each_others_intents(named: Runtime) -> None:
    assert named.match_intents("other", ["I did not make this payment"]) == []
    asked = Question("I did not make this payment", Scope(tenant="other"))
    (answer,) = named.answer_many([asked])
    assert answer.kind is not AnswerKind.HANDOFF


def test_a_batch_of_several_kinds_keeps_its_order(named: Runtime) -> None:
    texts = [
        "you there?",
        "I did not make this payment",
        "which shares should I buy",
        "how do I open an account",
    ]
    kinds = [one.kind.value for one in named.answer_many([Question(text) for text in texts])]
    assert kinds[1:3] == ["handoff", "abstain"]
    assert kinds[3] in {"faq", "clarify", "grounded"}


def test_over_http(named: Runtime) -> None:
    name = f"i{uuid.uuid4().hex[:6]}"
    with TestClient(create_app(named, page=False)) as client:
        made = client.put(
            f"/api/v1/intents/{name}",
            json={"examples": ["where is the car park", "can I park here", "is there parking"]},
        )
        assert made.status_code == 200, made.text
        listed = client.get("/api/v1/intents").json()["intents"]
        assert {one["name"] for one in listed} == {"advice", "fraud", name}
        body = client.post("/api/v1/intents/match", json={"texts": ["can I park near the bank"]})
        (match,) = body.json()["matches"]
        assert match["intent"] == name
        assert match["action"] == "answer"
        assert client.delete(f"/api/v1/intents/{name}").status_code == 204
        assert client.delete(f"/api/v1/intents/{name}").status_code == 404
        few = client.put(f"/api/v1/intents/{name}", json={"examples": ["a", "b"]})
        assert few.status_code == 422
        assert "2 different examples" in few.json()["error"]["message"]


def test_the_command_line(run_assistant: Run, tmp_path: Path, root: Path) -> None:
    run = partial(run_assistant, env={"ASSISTANT_DATA_DIR": str(tmp_path / "data")})
    empty = run("intents", "match", "hello", "--json")
    assert empty.returncode == 2
    assert "no intents yet" in empty.stderr
    table = root / "examples" / "bank" / "tickets.csv"
    taken = json.loads(run("intents", "import", table, "--json").stdout)
    assert len(taken) == 20
    lines = tmp_path / "fraud.txt"
    lines.write_text("\n".join(FRAUD.examples), encoding="utf-8")
    done = run("intents", "add", "fraud_report", "--examples", lines, "--action", "handoff")
    assert done.returncode == 0, done.stderr
    again = json.loads(run("intents", "import", table, "--json").stdout)
    assert {one["name"]: one["action"] for one in again}["fraud_report"] == "handoff"
    (match,) = json.loads(run("intents", "match", "关户怎么办理", "--json").stdout)
    assert match["intent"] == "account_closing"
    assert json.loads(run("intents", "delete", "fees", "--json").stdout) == {"deleted": "fees"}
    assert "fees" not in run("intents", "list").stdout


def test_a_table_with_too_few_examples_is_refused_whole(run_assistant: Run, tmp_path: Path) -> None:
    run = partial(run_assistant, env={"ASSISTANT_DATA_DIR": str(tmp_path / "data")})
    table = tmp_path / "t.csv"
    table.write_text("text,intent\na,x\nb,x\nc,x\nd,y\n", encoding="utf-8")
    done = run("intents", "import", table)
    assert done.returncode == 2
    assert "y (1)" in done.stderr
    assert json.loads(run("intents", "list", "--json").stdout) == []
