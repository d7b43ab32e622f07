# make demo       segment the bundled study with the bundled model, and show it where there is a display (DEMO=--hospital: a raw one)
# make test       lint and the fast tests          make test-all   the slow ones too
# make fuzz       N damaged and wicked files at every door that reads any (N=10000)
# make kills      N kills of each kind of work at random moments (N=20)
# make lint       style, types, floors, manifest   make bench      measurements against other tools
# make docs       the documentation site, into site/; a link that leads nowhere fails it
# Each sets up what it needs: system libraries (as root; otherwise it says which are missing) and a virtual environment.
# Indexes and proxies are pip's own affair (pip.conf, PIP_*).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt
# What the goals of this call need of the system, asked for at once.
LEVEL := $(if $(filter test-all test-slow,$(MAKECMDGOALS)),slow,$(if $(filter-out demo docs,$(MAKECMDGOALS)),test,app))

.PHONY: help demo docs test test-all test-fast test-slow fuzz kills lint bench screenshots clean system

help:
	@sed -n '/^# make/,/^$$/s/^# //p' Makefile

demo: $(VENV)/.app
	@$(BIN)/napari-brainseg demo $(DEMO)

test: lint test-fast

test-all: test test-slow

test-fast: $(VENV)/.dev | system
	@scripts/with-display $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

test-slow: $(VENV)/.slow | system
	@scripts/with-display $(BIN)/python -m pytest -m slow -n auto --dist worksteal

fuzz: $(VENV)/.dev
	@$(BIN)/python scripts/fuzz --cases $(or $(N),10000)

kills: $(VENV)/.dev
	@$(BIN)/python scripts/kills --kills $(or $(N),20)

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate napari_brainseg/napari.yaml

bench: $(VENV)/.dev
	@$(BIN)/python benchmarks/run.py

screenshots: $(VENV)/.dev | system
	@scripts/with-display $(BIN)/python docs/make_screenshots.py
	@scripts/with-display $(BIN)/python docs/reading_layouts.py

docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	@rm -rf $(VENV) site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# ---- setting up ------------------------------------------------------------------------------------------------------

system:
	@scripts/system-packages $(LEVEL)

# torch comes first and by its exact pin: left to a range, pip takes the newest build with gigabytes of CUDA packages.
$(VENV)/.torch: constraints.txt | system
	@echo "Making the virtual environment $(VENV) ..."
	[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || "$$(scripts/find-python)" -m venv --clear $(VENV)
	echo "Installing torch ..."
	$(PIP) torch
	touch $@

$(VENV)/.app: pyproject.toml constraints.txt $(VENV)/.torch | system
	@echo "Installing napari-brainseg and napari ..."
	$(PIP) -e '.[app]'
	touch $@

$(VENV)/.dev: $(VENV)/.app | system
	@echo "Installing what tests and checks need ..."
	$(PIP) -e '.[app,dicom,test,lint]'
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt $(VENV)/.torch
	@$(PIP) -e '.[docs]'
	touch $@

# Programs of others that judge what is written.
$(VENV)/.slow: $(VENV)/.dev | system
	@$(PIP) -e '.[app,dicom,test,lint,slow,peers]'
	$(PIP) --no-deps nnunetv2 dynamic-network-architectures acvl-utils batchgenerators batchgeneratorsv2
	touch $@
