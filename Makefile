# make demo   train the built-in recipe on the built-in data to its target, and draw its learning curve
# make test   all tests; those that need CIFAR-10 or a GPU skip visibly without it
# make check  the one gate: format, lint, types, import direction, tests
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin
DEMO   := demo-run

.PHONY: help demo test check format clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

# the environment, made again when what it is made of changes
$(VENV)/.made: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("hotlap needs Python 3.11 or newer; make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(RUN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.made
	@rm -rf $(DEMO)
	$(RUN)/hotlap train demo --data patterns --target 94 --out $(DEMO)

test: $(VENV)/.made
	$(RUN)/python -m pytest -q

check: $(VENV)/.made
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/python -m pytest -q

format: $(VENV)/.made
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
