# Two commands on a fresh machine: `make quickstart` and `make test`. Both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2

.PHONY: quickstart test test-all check fuzz browser lint docs mutants bench bench-check clean

quickstart: $(VENV)/installed
	$(BIN)/selfwise quickstart

# threads that wait do not spin: two of a test would hold up the tests beside it, and themselves
PYTEST = OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -n $(JOBS)
SPREAD = --dist worksteal --durations=10

# what takes less than ten seconds a test
test: $(VENV)/installed-test lint
	$(PYTEST) -m "not slow" $(SPREAD)

# and what takes longer: kills, several processes, training; with how much of the code was run
test-all: $(VENV)/installed-test lint
	$(PYTEST) $(SPREAD) --cov=selfwise --cov-report=term --cov-fail-under=90

# while one writes: style, types, arrows, sizes, what every method keeps, and the fast tests of a room
# that import what differs from the last commit, or METHOD; no training, no other process
CHANGED = $(patsubst selfwise/%.py,%,$(shell git diff --name-only HEAD -- 'selfwise/*.py'; \
  git ls-files --others --exclude-standard -- 'selfwise/*.py'))
# either way of importing a module, in the tests of its room, or in all where the room has none
IMPORTS = selfwise\.$(subst /,.,$(1))\b|from selfwise\.$(subst /,.,$(patsubst %/,%,$(dir $(1)))) import .*\b$(notdir $(1))\b
TESTS_OF = $(or $(wildcard tests/$(firstword $(subst /, ,$(1)))),tests)
FACTS = $(foreach path,$(CHANGED) $(METHOD:%=methods/%),$(shell \
  grep -rlE --include='test_*.py' '$(call IMPORTS,$(path))' $(call TESTS_OF,$(path))))
check: $(VENV)/installed-test lint
	$(PYTEST) -q \
	  -k "not test_overfits_one_batch" -m fast \
	  tests/test_layers.py tests/test_sizes.py tests/methods/test_contract.py $(sort $(FACTS))

# 200 damaged files of each kind that a reader takes, of which `make test` tries a few: none is a
# traceback, takes 10 s of processor time, or more memory than the limit
fuzz: $(VENV)/installed-test
	FUZZ_MUTATIONS=200 $(PYTEST) -q tests/fuzz $(SPREAD)

# a browser, in which `make test` then opens a report
browser:
	tests/browser/install

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the site, in docs/_build/html; a warning is an error
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build/html

# change one operator or number at a time, in the lines that differ from main or in FILES=..., and
# see whether a test of the room notices
mutants: $(VENV)/installed-dev
	$(BIN)/python -m tests.mutants $(FILES)

# every row by turns with what people use, written to benchmarks/results.jsonl
bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks --quick
	$(BIN)/python -m benchmarks.costs
	$(BIN)/python -m benchmarks table

# few short turns of every row: has a ratio fallen since it was last written down?
bench-check: $(VENV)/installed-test
	$(BIN)/python -m benchmarks check

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[test,bench,docs]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .coverage docs/_build docs/_generated
