"""``assistant eval``: measure quality on a folder of test data."""

from __future__ import annotations

import click

from assistant.commands.common import data_dir_option
from assistant.commands.evaluate.classify import classify
from assistant.commands.evaluate.ner import ner
from assistant.commands.evaluate.pairs import pairs
from assistant.commands.evaluate.qa import qa
from assistant.commands.evaluate.retrieval import retrieval


@click.group(name="eval")
@data_dir_option
def command() -> None:
    """Measure quality on a folder of test data."""


for _sub_command in (retrieval, classify, pairs, qa, ner):
    command.add_command(_sub_command)
