# The two commands of the README: `make demo` and `make test`. Each makes .venv when it is missing.
SHELL := /bin/bash
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
KIND ?= cpu
PY := .venv/bin/python
export TORCH_INDEX PYTHON

.PHONY: setup demo check test test-slow lock docs clean

setup: .venv/ready

.venv/ready: requirements/$(KIND).lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(KIND)

demo: setup
	$(PY) -m tower_rl.run configs/demo.yaml

check: setup  ## lint, types, import contracts, unit tests
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m importlinter.cli lint 2>/dev/null || .venv/bin/lint-imports
	$(PY) -m pytest -q -m "not ray and not slow and not gpu"

test: setup  ## everything but the slow
	$(PY) -m pytest -q -m "not slow and not gpu"

test-slow: setup
	$(PY) -m pytest -q -m "slow and not gpu"

docs: setup  ## regenerate docs/config.md
	$(PY) -m tower_rl.config.document > docs/config.md

lock:  ## resolve requirements/*.in again (needs uv on the PATH; finds torch where pip would)
	scripts/lock.sh

clean:
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache build *.egg-info
