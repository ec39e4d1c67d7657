# make setup services services-down demo test check bench quality soak lock     ARGS="..." is passed on; PYTHON=python3.12 picks another
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.PHONY: setup services services-down demo test check bench quality soak lock
.DEFAULT_GOAL := setup

## The environment in .venv: what requirements.lock pins, by hash, and this checkout.
setup: $(VENV)/made
	@:

$(VENV)/made: requirements.lock pyproject.toml | $(VENV)/bin/pip
	@echo "setup: installing $$(grep -c '^[a-z].*==' requirements.lock) packages into $(VENV) (about half a minute)"
	@$(PIP) install --progress-bar off --require-hashes --only-binary :all: --requirement requirements.lock
	@echo "setup: installing this checkout"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done, the command is $(BIN)/haidang"

# Debian's Python comes without what makes environments.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "setup: Python 3.11 or later is needed, this is %d.%d: make PYTHON=python3.11" % v[:2])'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "setup: installing venv for $(PYTHON)"; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
	    "$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >/dev/null; }
	@echo "setup: making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)

## The real parts on this machine; the last line says where they are. ARGS: some of their names.
services: setup
	@$(BIN)/python -m services up $(ARGS)

services-down: setup
	@$(BIN)/python -m services down $(ARGS)

## Everything on this machine: services, simulators, ingest, alerts. ARGS="--for 30": seconds.
demo: setup
	@$(BIN)/haidang demo $(ARGS)

## All tests, against real servers: of three processes, each with its own, one mostly waits.
test: setup
	@$(BIN)/python -m services root || test "$$HAIDANG_TEST_ALLOW_SKIP" = 1
	@$(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

## Style, types, layers.
check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

## Precision, recall and time to detect of each kind of rule. ARGS="--week": also a week of 400 honest vessels.
quality: setup
	@$(BIN)/python -m services root
	@$(BIN)/python -m quality $(ARGS)

## Ten minutes of random faults; what was lost, doubled or leaked. ARGS="--for 60 --seed 7".
soak: setup
	@$(BIN)/python -m tests.soak $(ARGS)

## Ours and the peers' on the same input. ARGS="--only mqtt --rounds 1 --json"; docs/bench.md says how to read it.
bench: setup
	@$(BIN)/python -m bench $(ARGS)

## requirements.lock anew, from pyproject.toml. Run it with the oldest Python supported.
lock: setup
	@$(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); print(*p["build-system"]["requires"], *p["dependency-groups"]["dev"], *p["dependency-groups"]["bench"], sep="\n")' > $(VENV)/dev.in
	@echo "lock: resolving (about a minute)"
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options \
	  --extra embedded --extra chat --output-file requirements.lock $(ARGS) pyproject.toml $(VENV)/dev.in
