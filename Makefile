# odkd: `make help` lists what there is.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SIDE_BY_SIDE := -n 2 --dist loadfile

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "odkd needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

.PHONY: help
help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 12

.PHONY: install
install: $(VENV)/.installed  ## make .venv and install odkd with everything for development

.PHONY: run
run: $(VENV)/.installed  ## the main job: distil online on the embedded video (ARGS="key=value ...")
	$(BIN)/odkd $(ARGS)

.PHONY: test
test: $(VENV)/.installed  ## the default tests: CPU, no network, a few minutes, two files at a time
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.installed  ## the slow tests: kills, servers, real video
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m slow $(ARGS)

.PHONY: dashboard
dashboard: $(VENV)/.installed  ## MLflow's pages on what has been run, at http://127.0.0.1:5000
	@echo "open  http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/outputs/mlflow.db --host 127.0.0.1 $(ARGS)

.PHONY: lint
lint: $(VENV)/.installed  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.installed  ## mypy, strict
	$(BIN)/mypy

SITE := build/docs

.PHONY: docs
docs: $(VENV)/.installed  ## the documentation as a site, in build/docs; broken links and warnings are errors
	rm -rf $(SITE)
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet docs $(SITE)
	@echo "open $(SITE)/index.html"

.PHONY: docs-serve
docs-serve: docs  ## build the site and serve it at http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(SITE) 8000

.PHONY: bench
bench: $(VENV)/.installed  ## speed and memory against plain baselines (ARGS="loop plain memory precision")
	$(BIN)/python scripts/benchmark.py $(ARGS)

.PHONY: clean-cache
clean-cache:  ## delete decoded frames, labels and digests (runs stay)
	rm -rf outputs/cache
