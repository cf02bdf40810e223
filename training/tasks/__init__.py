"""The tasks, one module each: what rows they learn from, how they train, how they are measured."""

from __future__ import annotations

import importlib
from typing import cast

from training.job import TaskModule


def task_module(task: str) -> TaskModule:
    """Return the module of a recipe's task."""
    return cast("TaskModule", importlib.import_module(f"training.tasks.{task}"))
