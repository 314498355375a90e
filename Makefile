.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint faults soak down clean bench lock
BIN := .venv/bin

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## install what is missing (system packages, Python environment, jars)
	@scripts/setup

demo: setup ## the whole path on this machine; ARGS=--once stops afterwards
	@$(BIN)/millrace demo $(ARGS)

test: setup ## every test but the long ones, on real parts; ARGS selects
	@$(BIN)/python -m pytest -m "not long" $(ARGS)

check: setup lint ## two minutes: the gates and the tests that need no service
	@$(BIN)/python -m pytest -m "not spark and not stack and not postgres and not long" $(ARGS)

lint: setup ## ruff, mypy, import-linter, sqlfluff, event schemas
	@$(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/sqlfluff lint -q oltp pipelines dbt/models && $(BIN)/python -m connectors.event_schemas

faults: setup ## every fault and every other long test, and a small soak
	@$(BIN)/python -m pytest tests/faults -o timeout=1200 $(ARGS)
	@$(BIN)/python -m pytest -m long --ignore=tests/faults -o timeout=1200 $(ARGS)
	@$(BIN)/python -m tests.faults.soak --swipes 20000 --accounts 200 --kills 2

SWIPES ?= 1000000
ACCOUNTS ?= 1000
KILLS ?= 8
soak: setup ## a million swipes while workers are killed; SWIPES, ACCOUNTS, KILLS, ARGS=--seed=7
	@$(BIN)/python -m tests.faults.soak --swipes $(SWIPES) --accounts $(ACCOUNTS) --kills $(KILLS) $(ARGS)

down: ## stop everything
	@! test -x $(BIN)/millrace || $(BIN)/millrace down

clean: ## stop everything and forget its state
	@! test -x $(BIN)/millrace || $(BIN)/millrace down --purge

bench: setup ## one benchmark: make bench NAME=...
	@$(BIN)/python -m bench.$(NAME)

lock: ## resolve requirements.in again
	@$(BIN)/uv pip compile -q --generate-hashes --no-header --no-emit-index-url -o requirements.lock requirements.in
