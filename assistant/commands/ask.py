"""``assistant ask``: one question, one answer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from assistant.commands.common import (
    collection_option,
    data_dir_option,
    json_option,
    make_scope,
    open_runtime,
    print_json,
    print_line,
    tag_option,
)

if TYPE_CHECKING:
    from assistant.types import Answer


@click.command(name="ask")
@click.argument("question")
@collection_option
@tag_option
@click.option("--conversation", metavar="ID", help="Go on with an earlier conversation.")
@json_option
@data_dir_option
def command(
    question: str, collection: str, tags: tuple[str, ...], conversation: str | None, as_json: bool
) -> None:
    """Ask QUESTION and print the answer with its evidence ("-" reads it from stdin)."""
    from assistant.types import Question

    if question == "-":
        question = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").strip()
    with open_runtime() as runtime:
        answer = runtime.answer(
            Question(question, make_scope(collection, tags), conversation_id=conversation)
        )
    if as_json:
        print_json(answer.to_json())
    else:
        _print_answer(answer)


def _print_answer(answer: Answer) -> None:
    print_line(answer.answer)
    others = [c.question for c in answer.candidates if c.question not in answer.answer]
    if others:
        print_line("\nClose to it:")
    for question in others:
        print_line(f"- {question}")
    if answer.citations:
        print_line()
    for number, citation in enumerate(answer.citations, start=1):
        print_line(f"[{number}] {citation.title} ({citation.source})")
        print_line(f'    "{" ".join(citation.quote.split())}"')
    print_line()
    print_line(
        f"{answer.kind.value}, confidence {answer.confidence:.2f}, "
        f"conversation {answer.conversation_id or '-'}"
    )
