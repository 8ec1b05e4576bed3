# make demo   the whole path on the sample logs and pages of examples/
# make test   everything CI checks          make soak   the long drills
# make bench  speed, side by side           make docs   regenerate docs/ from the code
.DELETE_ON_ERROR:
.PHONY: demo test soak bench docs format clean

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
PYTEST = $(BIN)/python -m pytest
# Files of tests that run at a time; many of them wait for processes more than they compute.
JOBS ?= 3

# COVERAGE=1 counts the lines that run, in processes that tests start, too, which takes as long again.
ifdef COVERAGE
COUNTING = --cov --cov-report=term:skip-covered --cov-fail-under=90
endif

# uv where it is on the PATH, pip otherwise; both read the same files.
ifdef UV
CREATE = $(UV) venv --quiet --python $(PYTHON) $(VENV)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt
else
CREATE = $(PYTHON) -m venv $(VENV)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
endif

# A stamp stands for an installation; it is older than what it was made from when that changes.
$(BIN)/python:
	$(CREATE)

$(VENV)/.core: pyproject.toml constraints.txt expdb/__init__.py | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(INSTALL) -e '.[dev,mlflow]'
	@touch $@

demo: $(VENV)/.core
	@BIN=$(BIN) sh examples/demo.sh

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "not soak" -n $(JOBS) --dist loadfile $(COUNTING)

soak: $(VENV)/.dev
	$(PYTEST) -m soak -s

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.startup --write
	$(BIN)/python -m benchmarks.tables --write
	$(BIN)/python -m benchmarks.page --write
	$(BIN)/python -m benchmarks.ingest --mlflow-files 1000 --write
	$(BIN)/python -m benchmarks.ingest --files 10000 --no-mlflow --write
	$(BIN)/python -m benchmarks.ingest --kind lines --files 10000 --rounds 3 --write
	$(BIN)/python -m benchmarks.postgres --write
	$(BIN)/python -m benchmarks.readers --write
	$(BIN)/python -m benchmarks.launch --write
	$(BIN)/python -m benchmarks.tracking --write
	$(BIN)/python -m benchmarks.plot --write
	$(BIN)/python -m benchmarks.documents --write
	$(BIN)/python -m benchmarks.train --write
	$(BIN)/python -m benchmarks.ingest --memory --write

docs: $(VENV)/.dev
	$(BIN)/python -m docs.generate

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs/demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
