# `make` builds the environment and says what else there is.

PYTHON ?= python3
BIN := .venv/bin
MADE := .venv/.made

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env demo test check accept docs bench lock servers clean

help: env  ## build the environment in .venv, then show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(MADE)

$(MADE): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "PeakWatch needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true). Name another one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments: its module venv is missing (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@echo "environment: .venv (a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: env  ## the whole line on this machine in about a minute: meters, breach, e-mail
	@$(BIN)/peakwatch demo

test: servers check  ## real servers, all checks, all tests
	@# one thread of Polars a worker: they would take the cores from each other
	@POLARS_MAX_THREADS=1 $(BIN)/pytest --numprocesses=3 --dist=worksteal

check: env  ## lint, format, types, import contracts, generated pages; no test
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@report=$$($(BIN)/lint-imports 2>&1) || { echo "$$report"; exit 1; }
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python -W ignore::DeprecationWarning deploy/grafana/generate.py --check

servers:  ## unpack mosquitto and influxdb into .servers for the tests
	@deploy/servers.sh

accept: env  ## write what the golden cases of tests/cases expect anew
	@PEAKWATCH_ACCEPT=1 $(BIN)/pytest --quiet tests/cases
	@git --no-pager diff --stat tests/cases

docs: env  ## write docs/tables.md, docs/rules.md and the Grafana files anew
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -W ignore::DeprecationWarning deploy/grafana/generate.py

bench: env  ## run every benchmark of bench/
	@set -e; for file in bench/*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

lock: env  ## resolve the dependencies anew into constraints.txt
	@$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --all-extras --group dev \
		--generate-hashes --no-header --output-file constraints.txt

clean:  ## remove caches and what the demo made; .venv and .servers stay
	@rm -rf demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find ingest rules pipelines docs tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
