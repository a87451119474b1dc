# make sweep: the default study, from nothing to table and figure.   SEEDS='[1, 2]': of these seeds alone.
# make test: every part of the suite, in minutes.   make test-all: every test this machine can run, the slow ones too.
# make gate: has a change of code changed results? The default study against kept trials of other seeds.
# make test-slurm: those that need a SLURM cluster, on one that they start.
# make docs: the documentation as a site, in site/.   make docs-serve: the same on http://127.0.0.1:8000, while it changes.
# make docs-reference: writes the pages of docs/reference that are made from code, and the schema of sweep files.
# make docs-studies: writes the tables and figures of docs/explanation/studies.md from the kept records.
# make test-long: many more faults; it says which, and how they went.
# make gpu PARTS=smoke|all|1,2,...: what to run first on a GPU; docs/how-to/gpu.md. make gpu-wheels: packages for that machine.
# make gpu-rehearse: the same on a CPU, without the packages that such a machine may lack.
PYTHON ?= python3
PARTS ?= smoke
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # else each process compiles the suite again, and pytest all tests
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: sweep gate test test-slow test-all test-slurm test-long check docs docs-serve docs-reference
.PHONY: docs-studies gpu gpu-wheels gpu-rehearse clean

sweep: .venv/installed
	$(BIN)/python -m suite.sweep sweeps/width_vs_acc.yaml $(if $(SEEDS),--set 'seed=$(SEEDS)')

gate: .venv/installed
	$(BIN)/python -m analysis.gate sweeps/width_vs_acc.yaml

# Three workers keep two cores busy: many tests wait for processes.
PYTEST := $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test: .venv/installed-test
	$(PYTEST) -m "not slow"

test-slow: .venv/installed-test
	$(PYTEST) -m slow

test-all: test test-slow

test-slurm: .venv/installed-test
	$(BIN)/python -m pytest tests/slurm/cluster

test-long: .venv/installed-test
	$(BIN)/python -m pytest tests/launch/test_kills.py -k fire --hits 6 -s
	$(BIN)/python -m pytest -m long --long
	$(BIN)/python -m pytest tests/sweep/test_faults.py -k fire --hits 100 -s

check: .venv/installed-check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

gpu: # by $(PYTHON), as that machine has it: it cannot fill .venv
	$(PYTHON) -m benchmarks.gpu --parts '$(PARTS)' $(if $(OUT),--out '$(OUT)')

gpu-wheels: .venv/installed
	$(BIN)/python -m benchmarks.gpu.wheels

gpu-rehearse: .venv/installed-test
	$(BIN)/python -m benchmarks.gpu.rehearse

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --dev-addr 127.0.0.1:8000

docs-reference: .venv/installed-test
	PYTHONPATH=.:tests $(BIN)/python -m support.reference_pages docs/reference
	$(BIN)/python -m suite schema > sweeps/sweep.schema.json

docs-studies: .venv/installed-test
	PYTHONPATH=.:tests $(BIN)/python -m support.study_page

clean:
	rm -rf .venv results dist site .pytest_cache .mypy_cache .ruff_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing the pinned packages into .venv ..."
	$(PIP) --editable .
	touch $@

.venv/installed-%: .venv/bin/python pyproject.toml constraints.txt
	@echo "installing the pinned packages into .venv, those for make $* too ..."
	$(PIP) --editable '.[$*]'
	touch $@ .venv/installed
