# odkd: `make help` lists what there is.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SIDE_BY_SIDE := -n 2 --dist loadfile
ONE_BY_ONE := -n 2 --dist load --maxschedchunk 1
# What pip installs as torch, before all else; empty: the release in constraints.txt. For example TORCH="torch==2.11.*", or for
# a machine without a GPU TORCH="torch --index-url ADDRESS" with the address that PyTorch's "Get started" page shows for CPU.
TORCH ?= $(shell cat $(VENV)/torch 2> /dev/null)
# The releases that the published numbers were made with; empty: whatever pip finds.
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PINS := $(if $(CONSTRAINTS),--constraint $(VENV)/constraints.txt)

$(VENV)/constraints.txt: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "odkd needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(if $(TORCH),,command -v nvidia-smi > /dev/null || echo "no NVIDIA GPU found: 'make help' tells how to save 4.5 GB with TORCH=...")
	$(if $(TORCH),$(PIP) $(TORCH))
	@echo '$(TORCH)' > $(VENV)/torch
	$(if $(CONSTRAINTS),$(if $(TORCH),grep -vE '^torch(vision)?==' $(CONSTRAINTS),cat $(CONSTRAINTS)) > $@,touch $@)

$(VENV)/.run: $(VENV)/constraints.txt
	$(PIP) $(PINS) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/constraints.txt
	$(PIP) $(PINS) --editable '.[dev]'
	touch $@ $(VENV)/.run

.PHONY: help
help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 16
	@echo
	@echo 'TORCH="torch==2.11.*"                  before the first target: the torch that pip installs'
	@echo 'TORCH="torch --index-url ADDRESS"      a torch for the CPU alone, 4.5 GB less: ADDRESS is on PyTorch'"'"'s page "Get started"'
	@echo 'CONSTRAINTS=                           the newest releases instead of those in constraints.txt'

.PHONY: install
install: $(VENV)/.dev  ## make .venv and install odkd with everything for development

.PHONY: run
run: $(VENV)/.run  ## the main job: distil online on the embedded video (ARGS="key=value ...")
	$(BIN)/odkd $(ARGS)

.PHONY: test
test: $(VENV)/.dev  ## the default tests: CPU, no network, a few minutes, two files at a time
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.dev  ## the slow tests: kills, servers, real video
	$(BIN)/python -m pytest $(ONE_BY_ONE) -m "slow and not long" $(ARGS)

.PHONY: test-long
test-long: $(VENV)/.dev  ## the benchmark's slow cases and the dry run of the GPU check, about 8 minutes
	$(BIN)/python -m pytest -m long $(ARGS)

.PHONY: test-lowest
test-lowest:  ## the default tests with the oldest releases that pyproject.toml allows, in an environment of their own
	$(PYTHON) scripts/test_versions.py lowest $(ARGS)

.PHONY: test-newest
test-newest:  ## the default tests with the newest releases that pip finds
	$(PYTHON) scripts/test_versions.py newest $(ARGS)

.PHONY: dashboard
dashboard: $(VENV)/.run  ## MLflow's pages on what has been run, at http://127.0.0.1:5000
	test -x $(BIN)/mlflow && $(BIN)/python -c 'import flask' 2>/dev/null || $(PIP) $(PINS) --editable '.[dashboard]'
	@echo "open  http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=odkd"
	$(BIN)/mlflow ui --backend-store-uri sqlite:///$(CURDIR)/outputs/mlflow.db --host 127.0.0.1 $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

SITE := build/docs

.PHONY: docs
docs: $(VENV)/.dev  ## the documentation as a site, in build/docs; broken links and warnings are errors
	rm -rf $(SITE)
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet docs $(SITE)
	@echo "open $(SITE)/index.html"

.PHONY: docs-serve
docs-serve: docs  ## build the site and serve it at http://127.0.0.1:8000
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(SITE) 8000

.PHONY: bench
bench: $(VENV)/.dev  ## speed and memory against plain baselines and physical limits (ARGS="loop 'de*'"; ARGS=--list, --help)
	$(BIN)/python scripts/benchmark.py $(ARGS)

# Without the network: this environment if there is one, otherwise the Python that has torch.
.PHONY: gpu
gpu:  ## what odkd promises on a GPU, checked within 8 minutes; without one, a dry run (ARGS="repeat speed")
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) scripts/gpu_check.py $(ARGS)

.PHONY: faults
faults: $(VENV)/.dev  ## kills, errors, odd inputs and a long run, hours; tables in docs/reliability.md (ARGS="--only soak --page")
	$(BIN)/python scripts/faults.py $(if $(ARGS),$(ARGS),--page)

.PHONY: audit
audit: $(VENV)/.dev  ## known faults of the pinned releases: by pip-audit and a network, or by a stored list (ARGS=--stored)
	$(BIN)/python scripts/audit.py $(ARGS)

.PHONY: clean-cache
clean-cache:  ## delete decoded frames, labels and digests (runs stay)
	rm -rf outputs/cache
