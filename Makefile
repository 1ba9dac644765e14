# The README says what each target is for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DEMO_DIR ?= build/demo
export DATA ?=
export KEEP ?=
TESTS ?=
# One more than there are cores, as tests that need a server wait for it half of the time.
PROCESSES = $(shell $(BIN)/python -c "import os; print((os.cpu_count() or 1) + 1)")

SEED ?=
LOG ?=
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python

.PHONY: demo test lint lock bench bench-gate bench-scale
demo: $(VENV)/.installed
	@$(RUN) tools/demo.py --into "$$DEMO_DIR" --data "$$DATA" --keep "$$KEEP"

test: $(VENV)/.installed lint
	@echo "Running the tests: less than twenty minutes on two cores ..."
	@$(RUN) -m pytest --numprocesses $(PROCESSES) $(TESTS)

lint: $(VENV)/.installed
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

lock: $(VENV)/.installed
	@$(RUN) tools/lock.py

bench: $(VENV)/.installed
	@test -f "$(SEED)" -a -f "$(LOG)" || \
	  { echo "make bench SEED=the original document (Markdown) LOG=the event log (zip)" >&2; exit 2; }
	@$(BIN)/python tools/bench/run.py --seed-document "$(SEED)" --log "$(LOG)"

bench-gate: $(VENV)/.installed
	@test -f "$(LOG)" || { echo "make bench-gate LOG=the event log (zip)" >&2; exit 2; }
	@$(RUN) tools/bench/gate.py --log "$(LOG)"

# KEEP=1 keeps the logs that it makes, 5 GB, for the next time.
bench-scale: $(VENV)/.installed
	@$(RUN) tools/bench/scale.py $(if $(LOG),--log "$(LOG)") $(if $(KEEP),--keep)

# Tested with Python 3.11 to 3.14. A newer one is tried; in place of an older one uv, where it is on PATH, finds or brings one.
# Of the tools, uv comes first: it installs the others in seconds, where pip, in case it cannot, takes a minute.
$(VENV)/.installed: requirements-dev.txt
	@set -e; python="$(PYTHON)"; make_venv="$$python -m venv"; \
	version=$$("$$python" -c 'import sys; print(sys.version_info[0] * 100 + sys.version_info[1])' 2>/dev/null) || version=0; \
	if [ "$$version" -gt 314 ]; then \
	  echo "$$python is newer than 3.14, the newest Python that was tested; trying it" >&2; \
	elif [ "$$version" -lt 311 ] && command -v uv >/dev/null; then \
	  echo "$$python is not Python 3.11 or newer; uv takes another, or downloads one" >&2; \
	  make_venv="uv venv --quiet --seed --allow-existing --python >=3.11,<3.15"; \
	elif [ "$$version" -lt 311 ]; then \
	  echo "$$python is not Python 3.11 or newer, which is needed: set PYTHON=python3.13, or install uv, which downloads one" >&2; exit 1; \
	fi; \
	echo "Installing the template's own tools into $(VENV) ..."; \
	$$make_venv $(VENV) || \
	  { echo "No virtual environment could be made, see above; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	{ sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt | $(PIP) -r /dev/stdin && \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements-dev.txt; } 2>/dev/null || \
	$(PIP) -r requirements-dev.txt || \
	  { echo "The tools could not be installed: see pip's message above; is the package index reachable?" >&2; exit 1; }
	@touch $@
