# `make` alone lists what there is. Every target that needs the environment makes it first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-train models run test quick check bench clean

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TRAINING := $(VENV)/.installed-train
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@python="$$(scripts/python.sh)" && "$$python" -m venv $(VENV)

# Written last, so that an interrupted installation is taken up again.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@test -x $(BIN)/pip || $(BIN)/python -m ensurepip --upgrade >/dev/null
	$(PIP) install --quiet --constraint constraints.txt --editable ".[$$(scripts/extras.sh)]"
	@touch $@

$(TRAINING): $(INSTALLED)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[$$(scripts/extras.sh --training)]"
	@touch $@

models: $(INSTALLED)
	@$(BIN)/assistant build

setup: models ## make .venv, build the models, load the example bank

setup-train: setup $(TRAINING) ## also install what fine-tuning needs (PyTorch; about 1 GB)

run: setup ## set up if needed, then serve the page (ARGS="--port 8000" to change)
	@exec $(BIN)/assistant serve $(ARGS)

test: setup-train ## set up if needed, then run every test
	@scripts/browser.sh
	$(BIN)/pytest -n auto --dist loadfile $(ARGS)

quick: setup-train ## the tests that take no more than a few seconds each
	$(BIN)/pytest -n auto --dist loadfile -m "not slow and not browser and not gpu" $(ARGS)

check: $(TRAINING) ## style, types, import directions, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest tests/test_docs.py tests/test_layers.py

bench: setup-train ## measure speed and memory (benchmarks/README.md says what is compared)
	@for script in $$(grep -l __main__ benchmarks/*.py); do echo "== $$script"; $(BIN)/python $$script $(ARGS); done

clean: ## remove .venv and caches; your data and built models stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
