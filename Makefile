# The two commands of the README: `make demo` and `make test`. Each makes .venv when it is missing or older than its lock.
SHELL := /bin/bash
KIND ?= cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -q
# tests that want the machine to themselves; the others run two at a time, each with one thread
ALONE := ray or ranks or jail
UNIT_TESTS := OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist loadfile -m "not ($(ALONE)) and not slow and not gpu"
export TORCH_INDEX PYTHON

.PHONY: setup demo lint check test test-slow lock docs clean help

setup: .venv/ready-$(KIND)  ## KIND=cpu or gpu; PYTHON=/path/to/python3.11 if that is not on the PATH

.venv/ready-$(KIND): requirements/$(KIND).lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(KIND)

demo: setup  ## ten minutes of reinforcement learning on this machine
	$(BIN)/python -m tower_rl.run configs/demo.yaml

lint: setup  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint  ## lint, format, types, import contracts, unit tests
	$(UNIT_TESTS)

test: setup  ## everything but the slow
	$(UNIT_TESTS)
	$(PYTEST) -m "($(ALONE)) and not slow and not gpu"

test-slow: setup  ## minutes a test
	$(PYTEST) -m "slow and not gpu" || { [ $$? -eq 5 ] && echo "there are no slow tests"; }

docs: setup  ## write docs/config.md from the configuration schema
	$(BIN)/python -m tower_rl.config.document > docs/config.md.new
	mv docs/config.md.new docs/config.md

lock:  ## resolve requirements/*.in again; scripts/lock.sh --upgrade takes newer versions
	scripts/lock.sh

clean:  ## what tools leave behind; not .venv, not runs/
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

help:  ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12
