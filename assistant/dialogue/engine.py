"""The one path from a question to an answer, for one question or many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from assistant.dialogue import replies
from assistant.dialogue.followup import is_follow_up, is_fragment, rewrites
from assistant.dialogue.intents import IntentSource
from assistant.dialogue.normalise import normalise
from assistant.dialogue.policy import Assessment, Decision, Policy, Understood
from assistant.dialogue.rules import Rules
from assistant.dialogue.weighing import Weighing
from assistant.types import (
    Answer,
    AnswerKind,
    IntentAction,
    IntentMatch,
    Question,
    Retrieved,
    Scope,
)
from indexes.language import detect_language
from indexes.types import FloatArray, Language

Key = TypeVar("Key", bound=Hashable)
_SMALLTALK_LIMIT = 80
_HANDOFF_LIMIT = 600
RETRIEVE = 20
"""Entries and chunks looked for, of each."""
_ALONE_HANDICAP = 0.2
Spelling = Callable[[Scope, str], str]
"""A question as a collection would spell it."""


class QueryEncoder(Protocol):
    """Turns questions into unit vectors (n, dim), float32."""

    def encode_queries(self, texts: Sequence[str]) -> FloatArray: ...


class Evidence(Protocol):
    """Finds evidence; one ``Retrieved`` a query, in order."""

    def search(
        self, scope: Scope, texts: Sequence[str], vectors: FloatArray, k: int
    ) -> list[Retrieved]: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer, and the question as it was understood (for the next follow-up).

    ``declined``: the tenant wants such questions left unanswered, so nothing is missing.
    """

    answer: Answer
    standalone: str
    declined: bool = False


@dataclass(slots=True)
class _Pending:
    """A question under way. ``readings`` are the ways to take its words, of which the first
    ``leaning`` add what came before."""

    question: Question
    language: Language
    readings: tuple[str, ...]
    leaning: int = 0
    decided: Decision | None = None
    standalone: str = ""
    empty: bool = False
    declined: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)


class Dialogue:
    """Answers questions. Thread-safe: it keeps no state between calls."""

    def __init__(
        self,
        encoder: QueryEncoder,
        evidence: Evidence,
        policy: Policy,
        rules: Rules,
        *,
        weighing: Weighing | None = None,
        spelling: Spelling | None = None,
        intents: IntentSource | None = None,
        intent_threshold: float = 0.7,
        question_limit: int,
        handoff_contact: str,
        model_versions: Mapping[str, str],
    ) -> None:
        """``weighing``: what models that read the evidence make of it; None leaves them out.
        ``spelling`` mends mistyped words before anything is looked for.
        ``intents`` that tenants have named are acted on from ``intent_threshold`` on."""
        self._encoder = encoder
        self._evidence = evidence
        self._policy = policy
        self._rules = rules
        self._weighing = weighing
        self._spelling = spelling
        self._intents = intents
        self._intent_threshold = intent_threshold
        self._limit = question_limit
        self._contact = handoff_contact
        self._versions = dict(model_versions)

    def answer_many(self, questions: Sequence[Question]) -> list[Outcome]:
        """Answer in order. ``timings_ms`` of a batch are shares of the whole.

        Raises ``InvalidInputError`` for an unusable question (see ``normalise``).
        """
        clock = _Clock(len(questions))
        pending = [self._understand(q) for q in questions]
        clock.lap("understand")
        open_ = [p for p in pending if p.decided is None]
        if open_:
            self._answer_open(open_, clock)
        timings = clock.timings()
        return [Outcome(self._finish(p, timings), p.standalone, p.declined) for p in pending]

    def match_intents(self, tenant: str, texts: Sequence[str]) -> list[IntentMatch]:
        """Return the tenant's intent nearest to each text; nothing where it has none.

        Raises ``InvalidInputError`` for an unusable text.
        """
        matcher = self._intents.matcher(tenant) if self._intents else None
        if matcher is None or not texts:
            return []
        clean = [normalise(text, self._limit) for text in texts]
        languages = [detect_language(text) for text in clean]
        return matcher.match(self._encoder.encode_queries(clean), languages)

    def _answer_open(self, open_: Sequence[_Pending], clock: _Clock) -> None:
        """Decide the questions that no rule has decided."""
        if self._spelling is not None:
            for p in open_:
                p.readings = tuple(self._spelling(p.question.scope, r) for r in p.readings)
        texts = [r for p in open_ for r in p.readings]
        vectors = self._encoder.encode_queries(texts)
        clock.lap("encode")
        owners = [p for p in open_ for _ in p.readings]
        if self._intents is not None:
            self._act_on_intents(owners, vectors, self._intents)
            clock.lap("intents")
            left = [i for i, p in enumerate(owners) if p.decided is None]
            if not left:
                return
            open_ = [p for p in open_ if p.decided is None]
            owners, texts, vectors = (
                [owners[i] for i in left],
                [texts[i] for i in left],
                vectors[left],
            )
        found = self._search(owners, texts, vectors)
        clock.lap("retrieve")
        languages = [p.language for p in owners]
        read = [Understood(*one) for one in zip(texts, languages, vectors, strict=True)]
        self._decide(open_, read, self._weigh(owners, read, found, clock))
        clock.lap("decide")

    def _act_on_intents(
        self, owners: Sequence[_Pending], vectors: FloatArray, intents: IntentSource
    ) -> None:
        """Decide the questions whose intent the tenant hands over or declines."""
        for tenant, rows in _rows_by([p.question.scope.tenant for p in owners]):
            matcher = intents.matcher(tenant)
            if matcher is None:
                continue
            languages = [owners[i].language for i in rows]
            for i, match in zip(rows, matcher.match(vectors[rows], languages), strict=True):
                pending = owners[i]
                sure = match.probability >= self._intent_threshold
                if sure and pending.decided is None:
                    pending.decided = self._by_intent(match, pending.language)
                    declined = match.intent.action is IntentAction.DECLINE
                    pending.declined = pending.decided is not None and declined

    def _by_intent(self, match: IntentMatch, language: Language) -> Decision | None:
        intent = match.intent
        own = intent.reply_zh if language == "zh" else intent.reply_en
        if intent.action is IntentAction.HANDOFF:
            reply = own or self._rules.handoff_reply(language, self._contact)
            return Decision(AnswerKind.HANDOFF, match.probability, reply)
        if intent.action is IntentAction.DECLINE:
            return Decision(AnswerKind.ABSTAIN, match.probability, own or replies.decline(language))
        return None

    def _understand(self, question: Question) -> _Pending:
        text = normalise(question.text, self._limit)
        language = detect_language(text)
        pending = _Pending(question, language, (text,), standalone=text)
        if len(text) <= _HANDOFF_LIMIT and self._rules.wants_person(text):
            reply = self._rules.handoff_reply(language, self._contact)
            pending.decided = Decision(AnswerKind.HANDOFF, 1.0, reply)
        elif len(text) <= _SMALLTALK_LIMIT and (reply_ := self._rules.smalltalk(text)):
            pending.decided = Decision(AnswerKind.SMALLTALK, 1.0, reply_.in_language(language))
        elif is_follow_up(text, question.history):
            pending.readings = rewrites(text, question.history)
            pending.leaning = len(pending.readings)
        elif question.history and is_fragment(text):
            leaning = rewrites(text, question.history)
            pending.readings, pending.leaning = (*leaning, text), len(leaning)
        if pending.decided and question.history:
            # "Thanks" between two questions must not become what a follow-up leans on.
            pending.standalone = question.history[-1].standalone
        return pending

    def _search(
        self, owners: Sequence[_Pending], texts: Sequence[str], vectors: FloatArray
    ) -> list[Retrieved]:
        found: list[Retrieved | None] = [None] * len(texts)
        for scope, rows in _rows_by([p.question.scope for p in owners]):
            results = self._evidence.search(
                scope, [texts[i] for i in rows], vectors[rows], RETRIEVE
            )
            for i, result in zip(rows, results, strict=True):
                found[i] = result
        return [f for f in found if f is not None]

    def _weigh(
        self,
        owners: Sequence[_Pending],
        read: Sequence[Understood],
        found: Sequence[Retrieved],
        clock: _Clock,
    ) -> Sequence[Retrieved]:
        """Return the evidence as the models of each tenant see it."""
        if self._weighing is None:
            return found
        weighed = list(found)
        for tenant, rows in _rows_by([p.question.scope.tenant for p in owners]):
            seen = self._weighing(
                tenant, [read[i] for i in rows], [found[i] for i in rows], clock.lap
            )
            for i, one in zip(rows, seen.found, strict=True):
                weighed[i] = one
                owners[i].versions = seen.versions
        return weighed

    def _decide(
        self,
        pending: Sequence[_Pending],
        understood: Sequence[Understood],
        found: Sequence[Retrieved],
    ) -> None:
        at = 0
        for p in pending:
            rows = range(at, at + len(p.readings))
            at = rows.stop
            read = []
            for number, i in enumerate(rows):
                evidence, before = found[i], ""
                if number < p.leaning:
                    evidence = news_to(p.question, evidence)
                    before = p.question.history[-1].standalone
                seen = self._policy.assess(understood[i], evidence, before)
                read.append(_Reading(understood[i], evidence, seen))
            best = _preferred(read, p.leaning)
            p.decided = self._policy.decide(best.question, best.found, best.assessment)
            p.standalone = best.question.text
            p.empty = not best.found.chunks and not best.found.faqs

    def _finish(self, pending: _Pending, timings: Mapping[str, float]) -> Answer:
        decision = pending.decided
        if decision is None:
            raise AssertionError("every pending question is decided before it is finished")
        return Answer(
            answer=decision.text or _own_words(decision, pending),
            kind=decision.kind,
            confidence=round(decision.confidence, 4),
            language=pending.language,
            faq_id=decision.faq_id,
            citations=decision.citations,
            candidates=decision.candidates,
            conversation_id=pending.question.conversation_id or "",
            model_versions={**self._versions, **pending.versions},
            timings_ms=timings,
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    question: Understood
    found: Retrieved
    assessment: Assessment


def _preferred(read: Sequence[_Reading], leaning: int) -> _Reading:
    """Take the most trusted reading; one that ignores the conversation must be clearly better, or
    find the same entry and be no worse: the next follow-up then leans on it alone."""

    def trust(number: int) -> float:
        alone = leaning and number >= leaning
        return read[number].assessment.best - (_ALONE_HANDICAP if alone else 0.0)

    best = max(range(len(read)), key=trust)
    if best < leaning:
        for alone in read[leaning:]:
            same = _entry(alone) is not None and _entry(alone) == _entry(read[best])
            if same and alone.assessment.best >= read[best].assessment.best:
                return alone
    return read[best]


def _entry(reading: _Reading) -> str | None:
    return reading.found.faqs[0].faq_id if reading.found.faqs else None


def _rows_by(keys: Sequence[Key]) -> Iterator[tuple[Key, list[int]]]:
    """Yield each key once, with its places."""
    for key in dict.fromkeys(keys):
        yield key, [i for i, other in enumerate(keys) if other == key]


def news_to(question: Question, found: Retrieved) -> Retrieved:
    """Leave out the entry that answered the turn before: a follow-up asks for something else."""
    said = question.history[-1].answer
    faqs = tuple(h for h in found.faqs if h.answer != said)
    return replace(found, faqs=faqs) if len(faqs) < len(found.faqs) else found


def _own_words(decision: Decision, pending: _Pending) -> str:
    if decision.kind is AnswerKind.CLARIFY:
        return replies.clarify(pending.language, decision.candidates)
    if pending.empty:
        return replies.empty_collection(pending.language)
    return replies.abstain(pending.language)


class _Clock:
    """Wall time of each step, in milliseconds a question."""

    def __init__(self, questions: int) -> None:
        self._questions = max(1, questions)
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = self._laps.get(name, 0.0) + now - self._last
        self._last = now

    def timings(self) -> dict[str, float]:
        rows: Iterable[tuple[str, float]] = (
            *self._laps.items(),
            ("total", self._last - self._start),
        )
        return {name: round(1000 * s / self._questions, 3) for name, s in rows}
