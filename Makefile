# make setup | run | test | check | lint | bench | baseline | lock | clean
#
#   METHOD=cam DATASET=shapes make run      ARGS="--smoke --seed 1" make run
#   EXECUTOR=docker make run                in containers; the first time, their images are built (10 minutes)
#   PYTHON=/path/to/python3.12 make setup   a certain interpreter (only when .venv is made)

METHOD ?= vwe
DATASET ?= shapes
EXECUTOR ?= local
ARGS ?=
PYTHON ?=

# The first interpreter that really runs: a version manager's shim may be there and fail.
PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3)
CHECK := import ensurepip, os, sys, sysconfig, venv; \
	sys.exit(not ((3, 11) <= sys.version_info[:2] <= (3, 12) \
	and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))))
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile
UV_LOCK := uv pip compile --quiet --no-config --no-header --no-annotate --universal --generate-hashes \
	--python-version 3.11

.PHONY: setup run test check lint bench baseline lock clean

setup: .venv/installed

run: setup
	.venv/bin/harness run --method "$(METHOD)" --dataset "$(DATASET)" --executor "$(EXECUTOR)" $(ARGS)

# Files are spread over processes, in the order of their names: tests/e2e has the longest and begins.
# ARGS="--numprocesses 0" has everything in one process.
test: setup
	.venv/bin/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

# The regression check on a short recipe, and the baseline that it compares with (docs/regression.md).
BASELINE := benchmarks/baselines/cam-shapes-check.json
CHECKED := --method cam --dataset shapes --variant check --executor local

check: setup
	.venv/bin/harness run $(CHECKED) --work-dir work/check
	.venv/bin/harness check --baseline $(BASELINE) --junit work/check/junit.xml \
		--run "$$(ls -d work/check/runs/* | tail -n 1)" $(ARGS)

baseline: setup
	rm -rf work/baseline
	for seed in 0 1 2 3 4 5 6 7; do \
		.venv/bin/harness run $(CHECKED) --work-dir work/baseline --seed $$seed || exit; \
	done
	.venv/bin/harness check --update --baseline $(BASELINE) \
		$$(printf -- '--run %s ' work/baseline/runs/*) $(ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: setup
	.venv/bin/python -m pytest benchmarks --benchmark-only $(ARGS)

# A changed lock makes a new environment: it is what the lock says, not what it was before plus that.
# --no-deps: the lock is complete, and pip need not resolve again (see requirements/overrides.txt).
# --no-build-isolation: sources are built with what build.lock pins; onedl-mmcv then finds no torch yet
# and leaves its operators out, which need a compiler for minutes and which nothing here uses.
.venv/locked: requirements/build.lock requirements/dev.lock
	@command -v "$${CXX:-c++}" >/dev/null || { \
		echo "make: no C++ compiler found: install one (Debian and Ubuntu: apt-get install g++), or set CXX." >&2; \
		exit 1; }
	@for python in $(PYTHONS); do \
		if "$$python" -c '$(CHECK)' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "make: no working Python 3.11 or 3.12 with venv and headers among" $(PYTHONS)": install one" \
			"(Debian and Ubuntu: apt-get install python3-dev python3-venv), or set PYTHON=/path/to/python3.11." >&2; \
		exit 1; \
	fi; \
	echo "Making .venv with $$("$$found" --version) ($$found)"; \
	"$$found" -m venv --clear .venv
	@echo "Installing the locked packages: about 3 GB to download, two minutes on a fast network"
	@$(PIP) --require-hashes --no-deps -r requirements/build.lock
	@$(PIP) --require-hashes --no-deps --no-build-isolation -r requirements/dev.lock
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# Needs uv on the PATH. Keeps the versions that are locked where the .in files allow them; add
# ARGS=--upgrade for newer ones. The locks hold for Python 3.11 and 3.12.
lock:
	$(UV_LOCK) $(ARGS) --override requirements/overrides.txt requirements/runtime.in -o requirements/runtime.lock
	$(UV_LOCK) $(ARGS) --override requirements/overrides.txt -c requirements/runtime.lock \
		requirements/dev.in -o requirements/dev.lock
	$(UV_LOCK) $(ARGS) -c requirements/runtime.lock requirements/build.in -o requirements/build.lock

clean:
	rm -rf .venv build *.egg-info .benchmarks .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
