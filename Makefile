# make demo   train the built-in recipe on the built-in data to its target, and draw its learning curve
# make test   the tests, a process a core, in a random order; those that need CIFAR-10 or a GPU skip without it
# make test-all   those too that take long: kills, clocks, exported programs
# make check  the one gate: format, lint, types, import direction, all tests
# make coverage   the whole suite, by line and branch: a table, the total, the ten files that are covered least
# make mutants    the code of a room changed in small ways, one at a time: which changes no test sees (docs/testing.md)
# make docs   the reference as a site in build/site/, its notebooks run, its links checked
# make dist   wheel and source distribution in dist/, with what is in them checked
# make try-dist   both installed by pip alone into fresh environments and tried there; with PYTHON=python3.12 by that one
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin
DEMO   := demo-run
# a file's tests stay in one process, where what they share is made once
TESTS  := $(RUN)/python -m pytest -n auto --dist loadfile

.PHONY: help demo test test-all check coverage mutants docs dist try-dist format clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# the environment, made again when what it is made of changes
$(VENV)/.made: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("hotlap needs Python 3.11 or newer; make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	@echo "installing into $(VENV): about two minutes"
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.made
	@rm -rf $(DEMO)
	$(RUN)/hotlap train demo --data patterns --target 94 --out $(DEMO)

test: $(VENV)/.made
	$(TESTS) -m "not slow"

test-all: $(VENV)/.made
	$(TESTS)

check: $(VENV)/.made
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(TESTS)

# what a failed test leaves is reported too
coverage: $(VENV)/.made
	@rm -rf build/coverage && mkdir -p build/coverage
	-$(RUN)/python -m coverage run -m pytest -q -n auto --dist loadfile
	$(RUN)/python -m coverage combine --quiet
	$(RUN)/python -m coverage report
	@echo "The ten that are covered least:"
	@$(RUN)/python -m coverage report --sort=cover | sed -n '3,12p'

# ROOM=plan, optim, measure or data; SAMPLE=100 of its mutants, drawn with a fixed seed, or all
mutants: $(VENV)/.made
	$(RUN)/python tests/mutants.py $(ROOM) $(if $(SAMPLE),--sample $(SAMPLE))

docs: $(VENV)/.made
	$(RUN)/python -m sphinx -q -W --keep-going -d build/doctrees -c docs/making . build/site
	$(RUN)/python docs/making/links.py build/site *.md docs records benchmarks
	@echo "build/site/index.html"

dist: $(VENV)/.made
	@test -z "$$(git status --porcelain)" || { echo "make dist: there are changes that are not committed" >&2; exit 1; }
	@rm -rf dist
	$(RUN)/python -m build --no-isolation --outdir dist
	$(RUN)/python -m twine check --strict dist/*
	$(RUN)/python tests/release/contents.py dist

try-dist: dist
	$(PYTHON) tests/release/trying.py dist

format: $(VENV)/.made
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(DEMO) build dist mutants docs/reference .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache
