# One word for each thing that is done with this repository; CI uses the same words.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
MEMBERS := schemas runtime agent controller cli deploy/local

.PHONY: setup check unit test test-whole-fleet test-services test-rest demo bench simulate generate lock

setup: $(BIN)/.ready

$(BIN)/.ready: requirements.lock $(MEMBERS:%=%/pyproject.toml)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation $(MEMBERS:%=-e ./%)
	@touch $@

check: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/conventions

unit: setup
	@$(BIN)/pytest -q tests/unit tests/property tests/golden

# Two side by side, as one waits for servers while the other computes; each says what it found when it has ended.
test: check
	@$(MAKE) --no-print-directory -j 2 --output-sync=target test-whole-fleet test-services test-rest

test-whole-fleet:
	@$(BIN)/pytest tests/e2e $(ARGS)

test-services:
	@$(BIN)/pytest tests/integration tests/suites $(ARGS)

test-rest:
	@$(BIN)/pytest --ignore=tests/e2e --ignore=tests/integration --ignore=tests/suites --ignore=tests/conventions $(ARGS)

demo: setup
	@$(BIN)/python -m fleetbus.local.demo $(ARGS)

bench: setup
	@$(BIN)/python -m tests.bench $(ARGS)

simulate: setup
	@$(BIN)/pytest -q tests/simulation $(ARGS)

generate: setup
	@$(BIN)/python -m fleetbus.schemas.generate && $(BIN)/python -m fleetbus.agent.manifests && $(BIN)/python -m fleetbus.cli.ceremony.manifests && $(BIN)/python -m fleetbus.cli.generate && $(BIN)/python -m tests.attacks

lock:
	@$(BIN)/uv lock --quiet && $(BIN)/uv export --quiet --frozen --all-packages --no-emit-workspace --no-header --output-file requirements.lock
