"""The command line: ``assistant`` or ``python -m assistant``.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but some items failed, 130 interrupted.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence

import click

from assistant import __version__
from assistant.commands.common import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_WRONG_USE,
    data_dir_option,
    note,
)
from assistant.errors import AssistantError, InvalidInputError

# name -> (module, one line of help). The module is imported when its command is run.
COMMANDS = {
    "build": ("build", "Make the models and load the example bank."),
    "serve": ("serve", "Serve the page and the API."),
    "ingest": ("ingest", "Load files and folders into a collection."),
    "ask": ("ask", "Ask one question."),
    "batch": ("batch", "Answer a table of questions."),
    "classify": ("classify", "Label the texts of a table: intent, sentiment, topic, risk."),
    "entities": ("entities", "Find the entities in the texts of a table."),
    "eval": ("evaluate", "Measure quality on a folder of test data."),
    "train": ("train", "Train a model as a recipe says."),
    "collections": ("collections", "List, inspect and delete collections."),
    "documents": ("documents", "List and delete documents."),
    "intents": ("intents", "Kinds of questions you name by examples: hand them over, or decline."),
    "models": ("models", "The registry of trained models: list, check, promote and roll back."),
    "doctor": ("doctor", "Check this installation."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when used, so that ``--help`` is quick."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"assistant.commands.{COMMANDS[name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="assistant")
@data_dir_option
def cli() -> None:
    """Answers from your own FAQ and documents, in Chinese and English, with evidence.

    Settings are environment variables, ASSISTANT_<NAME>; docs/configuration.md lists them.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure is told in one message."""
    _set_up_logging()
    try:
        result = cli.main(args=arguments, prog_name="assistant", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:
        return _tell(error)
    return result if isinstance(result, int) else 0


def _tell(error: BaseException) -> int:
    """Say what went wrong on stderr and return the exit code."""
    if isinstance(error, AssistantError):
        note(f"Error: {error}")
        return EXIT_WRONG_USE if isinstance(error, InvalidInputError) else EXIT_FAILED
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, click.Abort | KeyboardInterrupt):
        note("Interrupted.")
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # The reader of our output has gone (as with `| head`); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    logging.getLogger(__name__).debug("unexpected", exc_info=error)
    note(
        f"Unexpected error: {type(error).__name__}: {error}\n"
        "This is a defect; ASSISTANT_LOG_LEVEL=debug shows where it comes from."
    )
    return EXIT_FAILED


def main() -> None:
    """Entry point of the ``assistant`` script."""
    sys.exit(run())


def _set_up_logging() -> None:
    """Log to stderr: our own messages from the level set, libraries from warnings on."""
    level = os.environ.get("ASSISTANT_LOG_LEVEL", "info").upper()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("assistant", "indexes"):
        logging.getLogger(name).setLevel(
            level if level in {"DEBUG", "INFO", "WARNING", "ERROR"} else "INFO"
        )
