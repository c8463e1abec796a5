# make run        install into .venv, then the whole experiment on the embedded ratings
# make test       the checks and the quick tests: what every commit must pass, in 4 minutes
# make test-all   the checks and all tests
# make check      format, lint, import rules and types, in seconds
# make docs-check links, commands, settings and examples of the documentation
# make flower     install Flower into .venv-flower, for training on devices of their own
# make audit      compare what is installed with the advisories on PyPI (needs its JSON service)
# make stack      a night on docker/compose.yaml's services without containers; needs PostgreSQL
# make bench      training, the whole job and reading, timed; kept in benchmarks/history.jsonl
# make mutants    small faults put into the core, and how many the tests notice
# make faults     the faults of docs/reliability.md in real runs, one after the other

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

PYTEST := $(BIN)/python -m pytest

.PHONY: run check test test-all docs-check flower audit stack bench mutants faults clean

run: $(READY)
	$(BIN)/metaem run

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

test: check
	$(PYTEST) -n 2 -m "not night"

# three on two cores: many tests wait for servers
test-all: check
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder

docs-check: $(READY)
	$(PYTEST) tests/docs

bench: $(READY)
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.job
	$(BIN)/python -m benchmarks.data

audit: $(READY) .venv-audit/bin/pip-audit
	.venv-audit/bin/pip-audit --path $$($(BIN)/python -c "import site; print(*site.getsitepackages())")

.venv-audit/bin/pip-audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet pip-audit==2.10.1

mutants: $(READY)
	$(BIN)/python -m pip install --quiet cosmic-ray==8.7.0 coverage==7.17.5
	$(BIN)/python -m benchmarks.mutants

faults: $(READY)
	$(BIN)/python -m tests.faults

stack: $(READY) .venv-flower/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[servers]'
	$(BIN)/python -m tests.docker.stack

flower: .venv-flower/.ready

clean:
	rm -rf .venv .venv-flower .venv-audit

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=...')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

.venv-flower/.ready: docker/flower.txt pyproject.toml
	$(PYTHON) -m venv .venv-flower
	.venv-flower/bin/python -m pip install --quiet --requirement docker/flower.txt
	.venv-flower/bin/python -m pip install --quiet --no-deps --editable .
	touch .venv-flower/.ready
