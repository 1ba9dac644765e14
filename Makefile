# The README says what each target is for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DEMO_DIR ?= build/demo
export DATA ?=
export KEEP ?=
TESTS ?=

SEED ?=
LOG ?=

.PHONY: demo test lint lock bench bench-gate
demo: $(VENV)/.installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/demo.py --into "$$DEMO_DIR" --data "$$DATA" --keep "$$KEEP"

test: $(VENV)/.installed lint
	@echo "Running the tests: about ten minutes on two cores ..."
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest --numprocesses auto $(TESTS)

lint: $(VENV)/.installed
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: $(VENV)/.installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/lock.py

bench: $(VENV)/.installed
	@test -f "$(SEED)" -a -f "$(LOG)" || \
	  { echo "make bench SEED=the original document (Markdown) LOG=the event log (zip)" >&2; exit 2; }
	@$(BIN)/python tools/bench/run.py --seed-document "$(SEED)" --log "$(LOG)"

bench-gate: $(VENV)/.installed
	@test -f "$(LOG)" || { echo "make bench-gate LOG=the event log (zip)" >&2; exit 2; }
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/bench/gate.py --log "$(LOG)"

$(VENV)/.installed: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed, and $(PYTHON) is not: set PYTHON=python3.12, say" >&2; exit 1; }
	@echo "Installing the template's own tools into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt || \
	  { echo "The tools could not be installed: see pip's message above; is the package index reachable?" >&2; exit 1; }
	@touch $@
