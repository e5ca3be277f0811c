# Everything runs in $(VENV), which any target creates from the pinned requirements when needed.
#
#   make demo                      train a small PointRend on drawn images, evaluate, write pictures
#   make test                      the whole test suite; make test ARGS='tests/ops -k nms' a part
#   make test-fast                 what compiles no network: for the inner loop and before a push
#   make faults                    break the code in many places: does the suite notice each?
#   make lint type format          ruff and the arrow rule; pyright; rewrite the files
#   make parity KIT=DIR [MODEL=M] [STAGE=S]    compare with stored Detectron2 numbers
#   make docs                      the documents and the API as a site: build/docs/index.html
#   make pictures                  those of README and the gallery, of runs/demo and runs/drawn
#   make bench [KIT=DIR] [ARGS='--only predict']    speed, memory and cost: runs/bench.json
#   make ci                        lint, type, test; .ci/run adds the tests of ONNX exports
#   make VENV=.venv312 PYTHON=python3.12 test  the same on another Python, beside the first

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Tests start many processes that import the same packages. Where this is set, as in images of
# containers, each of them would compile their sources anew, which takes longer than most tests.
unexport PYTHONDONTWRITEBYTECODE

VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python
ARGS ?=
# A candidate counts only if it runs: version managers leave commands that do not.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; \
  done)

# A stamp's name carries the requirements, because a checkout does not keep file times. The demo
# needs no developer tools.
stamp = $(VENV)/.$(1)-$(shell cat $(2) | cksum | cut -d ' ' -f 1)
PACKAGES := $(call stamp,packages,requirements.txt)
STAMP := $(call stamp,installed,requirements.txt requirements-dev.txt)
# A file of tests stays in one process, which keeps what the file has compiled.
IN_WORKERS := -n 2 --dist loadfile --no-loadscope-reorder
PIP := $(RUN) -m pip --disable-pip-version-check --no-input

.PHONY: help venv demo test test-fast faults lint type format parity bench docs pictures ci

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

venv: $(STAMP)

$(PACKAGES):
	@if [ -z "$(PYTHON)" ]; then \
	  echo "Python 3.11 or newer is needed and none was found; name one: make PYTHON=/path/to/python" >&2; \
	  exit 1; \
	fi
	@$(RUN) -c '' 2>/dev/null || { \
	  echo "venv: creating $(VENV) with $(PYTHON) ($$($(PYTHON) --version))"; \
	  $(PYTHON) -m venv --clear $(VENV); }
	@echo "venv: installing what the package needs (pinned; about 1.5 GB in all, a minute or two)"
	@# Without --no-compile pip spends half a minute on byte code, most of which is never run.
	@$(PIP) install -q --no-compile -r requirements.txt
	@rm -f $(VENV)/.packages-*
	@touch $@

$(STAMP): $(PACKAGES)
	@echo "venv: installing the developer tools"
	@$(PIP) install -q --no-compile -r requirements-dev.txt
	@rm -f $(VENV)/.installed-*
	@touch $@
	@echo "venv: $(VENV) is ready"

demo: $(PACKAGES)
	$(RUN) -m pointrend_jax demo --workdir runs/demo $(ARGS)

test: $(STAMP)
	$(RUN) -m pytest $(if $(ARGS),$(ARGS),$(IN_WORKERS))

test-fast: $(STAMP)
	$(RUN) -m pytest -m 'not slow' $(IN_WORKERS) $(ARGS)

faults: $(STAMP)
	PYTHONPATH=. $(RUN) benchmarks/seeded_faults.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo --no-cache

type: $(STAMP)
	$(BIN)/pyright --pythonpath $(RUN)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: $(STAMP)
	@[ -n "$(KIT)" ] || { echo "Say where the parity kit lies: make parity KIT=DIR" >&2; exit 2; }
	$(RUN) -m parity.run --kit $(KIT) $(if $(MODEL),--model $(MODEL)) \
	  $(if $(STAGE),--stage $(STAGE)) $(ARGS)

bench: $(STAMP)
	$(RUN) -m benchmarks.speed $(if $(KIT),--kit $(KIT)) $(ARGS)

docs: $(STAMP)
	PYTHONPATH=. $(RUN) -m sphinx -q -W --keep-going -b html docs build/docs $(ARGS)
	@echo "docs: open build/docs/index.html"

pictures: $(STAMP)
	PYTHONPATH=. $(RUN) -m benchmarks.pictures $(ARGS)

# One after the other, also under `make -j`, so that the first failure is the last thing printed.
ci:
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory type
	@$(MAKE) --no-print-directory test
