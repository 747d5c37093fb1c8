# Needs GNU make and Python 3.11 or newer; everything else goes into .venv.
PYTHON ?= python3
ARGS ?=
# Test processes; 0 runs all in one. Compiling is most of the work and uses one core.
WORKERS ?= 2
# How long `make fuzz` goes on.
HOURS ?= 1

# Tests that share a study go to one process, in the order of tests/conftest.py.
SHARED := --dist loadgroup --no-loadscope-reorder
VENV := .venv
BENCH := .venv-bench
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(BENCH)/.installed
CHECK_PYTHON := import sys; sys.exit(sys.version_info < (3, 11))
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv study test benchmarks-smoke lint format types doctest fuzz house bench scaling bench-compile bench-init bench-curvature bench-forecast bench-probes bench-resnet bench-streaming parity lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=$(PYTHON), ARGS (to study, test, benchmarks-smoke, fuzz, bench), WORKERS=$(WORKERS) (tests, fuzz), HOURS=$(HOURS) (fuzz)"

venv: $(STAMP) ## Make .venv with the pinned packages and this checkout

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c "$(CHECK_PYTHON)" 2>/dev/null || { \
	  echo "'$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo 'not there'), but Python" \
	    "3.11 or newer is needed; name one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

study: $(STAMP) ## Run the first study, configs/effects_digits.yaml (again: resume it)
	$(BIN)/initopt run configs/effects_digits.yaml $(ARGS)

test: $(STAMP) ## Run all tests but those of the benchmarks
	$(BIN)/python -m pytest -n $(WORKERS) $(SHARED) --ignore=tests/benchmarks $(ARGS)

benchmarks-smoke: $(STAMP) ## Try every benchmark on a tiny network
	$(BIN)/python -m pytest -n $(WORKERS) $(SHARED) tests/benchmarks $(ARGS)

lint: $(STAMP) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## Check types
	$(BIN)/pyright

doctest: $(STAMP) ## Run the examples in the docstrings
	$(BIN)/python -m pytest --doctest-modules initopt_jax

house: $(STAMP) ## Draw docs/house.png from the package's imports
	$(BIN)/python docs/house.py

fuzz: $(STAMP) ## Try odd configs, files, damage, labels and kills for HOURS=1; keep what is found
	$(BIN)/python -m tests.fuzz $(HOURS) --workers $(WORKERS) $(ARGS)

bench: $(BENCH_STAMP) ## Compare speed with PyTorch, Lightning and plain JAX (own environment)
	$(BENCH)/bin/python -m benchmarks.throughput $(ARGS)

scaling: $(BENCH_STAMP) ## Measure how cost grows, and draw docs/scaling.png (own environment)
	$(BENCH)/bin/python -m benchmarks.scaling $(ARGS)

bench-compile: $(BENCH_STAMP) ## Measure what compilation costs the first study (own environment)
	$(BENCH)/bin/python -m benchmarks.compile $(ARGS)

bench-init: $(BENCH_STAMP) ## Measure how long first weights take (own environment)
	$(BENCH)/bin/python -m benchmarks.initializers $(ARGS)

bench-curvature: $(STAMP) ## Measure how long the sharpness of 100 networks takes
	$(BIN)/python -m benchmarks.curvature $(ARGS)

bench-forecast: $(STAMP) ## Compare the rough time of --dry-run with that of the first study
	$(BIN)/python -m benchmarks.forecast $(ARGS)

bench-probes: $(STAMP) ## Measure what light probes cost the first study
	$(BIN)/python -m benchmarks.probes $(ARGS)

parity: $(BENCH_STAMP) ## Compare steps with Optax, PyTorch and Keras; write docs/parity.md
	KERAS_BACKEND=jax $(BENCH)/bin/python -m benchmarks.parity $(ARGS)

bench-resnet: $(BENCH_STAMP) ## Compare a small ResNet-9 with PyTorch (own environment)
	$(BENCH)/bin/python -m benchmarks.resnet $(ARGS)

bench-streaming: $(BENCH_STAMP) ## Measure what streaming a training split costs (own environment)
	$(BENCH)/bin/python -m benchmarks.streaming $(ARGS)

$(BENCH_STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c "$(CHECK_PYTHON)" || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet torch==2.13.0
	$(BENCH)/bin/python -m pip install --quiet -r requirements.lock lightning==2.6.6
	$(BENCH)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@

lock: ## Resolve the ranges of pyproject.toml anew into requirements.lock
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && set -e && \
	$(PYTHON) -m venv "$$folder" && \
	"$$folder/bin/python" -m pip install --quiet --editable '.[dev]' && \
	"$$folder/bin/python" -m pip freeze --exclude-editable > "$$folder/frozen" && \
	{ echo "# Every package of the runtime, the tests and the tools, exactly. Made by: make lock"; \
	  LC_ALL=C sort -f "$$folder/frozen" \
	    | sed '/^uvloop==/s/$$/; sys_platform != "win32"/'; } > "$$folder/lock" && \
	cp "$$folder/lock" requirements.lock

clean: ## Remove caches and build products (keeps .venv and runs)
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find initopt_jax experiments benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
