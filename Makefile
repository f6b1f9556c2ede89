# make leaderboard   set up and run the quick suite
# make test          set up everything and run the tests
# make check         lint, format, types, dead code, which room imports which, what the wheel holds
# make gate          hold search quality and speed to what is stored
# make docs          build the documentation site, strictly, into build/site
# make reference     store today's search quality as what the gate compares with

PYTHON ?= python3
BIN := .venv/bin

# Small matrices: threads of the linear algebra only get into each other's way.
export OMP_NUM_THREADS ?= 1

.PHONY: leaderboard test check lint types gate quality docs reference baseline clean

leaderboard: .venv/core
	$(BIN)/nasbench-kd run suites/quick.toml

# Two processes share the tests; what measures ratios of speed runs after them, alone.
test: .venv/everything
	$(BIN)/pytest --numprocesses 2 --dist worksteal --ignore tests/performance
	@mkdir -p .cache
	$(BIN)/pytest tests/performance --benchmark-json .cache/speed.json

check: lint types

lint: .venv/everything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/python -m build --wheel --no-isolation --outdir .cache/wheel . >/dev/null
	$(BIN)/check-wheel-contents .cache/wheel

types: .venv/everything
	$(BIN)/mypy

gate: quality
	@mkdir -p .cache
	$(BIN)/pytest --quiet tests/performance --benchmark-json .cache/speed.json
	$(BIN)/python -m tests.performance .cache/speed.json

quality: .venv/everything
	$(BIN)/nasbench-kd gate --suite suites/ci.toml --reference main

docs: .venv/everything
	$(BIN)/python docs/gather.py
	$(BIN)/mkdocs build --strict --quiet

reference: .venv/everything
	$(BIN)/nasbench-kd reference save main --suite suites/ci.toml

baseline: reference
	@echo "'make baseline' is now 'make reference'"

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with 'make PYTHON=python3.12 ...'"; exit 1; }
	$(PYTHON) -m venv .venv

# Modules are compiled when they are first imported: of the thousands that come along, few ever are.
# Without torch: the tables, the optimizers and the reports.
.venv/core: .venv/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --no-compile --editable '.[report,search]'
	@touch $@

.venv/everything: .venv/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --no-compile --editable '.[all,dev]'
	@touch $@ .venv/core

clean:
	rm -rf .venv build dist
