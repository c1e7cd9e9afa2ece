# Every target sets up .venv when it is missing or out of date, and reuses it otherwise.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

SEED ?= 0

.PHONY: demo test test-all check format docs clean

demo: $(STAMP)            ## fine-tuning, SATS and joint training on built-in data; make demo SEED=3 FLAGS="--epochs 20"
	$(BIN)/sats demo --seed $(SEED) --out runs/demo $(FLAGS)

test: $(STAMP)            ## fast tests, a process of one thread for each core
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 8

test-all: $(STAMP)        ## fast and slow tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --maxprocesses 8 -m "slow or not slow"

check: $(STAMP)           ## format, lint, types, readability limits
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python tools/measure.py src/sats --gate

format: $(STAMP)          ## rewrite the files as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)            ## the site, into docs/_build/html; any warning is an error
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]" --constraint constraints.txt
	touch $(STAMP)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache docs/_build
