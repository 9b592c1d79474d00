# What a developer runs. Everything is installed into .venv; nothing outside the checkout is needed.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash

.PHONY: help venv demo test test-fleet test-quick check format bench soak docs site clean

help:
	@echo "make venv        install everything into .venv"
	@echo "make demo        run the example workflow on an embedded AWS"
	@echo "make test        all tests (starts a Docker Engine where it may)"
	@echo "make test-quick  tests without Docker and without whole workflows"
	@echo "make test-fleet  a fleet of hosts in namespaces (root, on Debian)"
	@echo "make check       formatting, lint, types, templates, spelling of scripts"
	@echo "make format      format the code"
	@echo "make bench       measure, beside the public package miniwdl-aws"
	@echo "make soak        500 tasks under injected faults (10 minutes at most)"
	@echo "make docs        regenerate the CloudFormation templates and the reference"
	@echo "make site        build the documentation's site into .cache/site"

venv: .venv/installed

.venv/installed: pyproject.toml scripts/setup
	PYTHON=$(PYTHON) scripts/setup

demo: venv
	scripts/demo

test: venv
	$(BIN)/python -m pytest -n 2 --dist loadgroup --ignore=tests/fleet tests

test-fleet: venv
	$(BIN)/python -m pytest tests/fleet

test-quick: venv
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests/unit tests/emulator tests/infra

check: venv
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/python scripts/make-templates --check
	$(BIN)/cfn-lint src/miniwdl_cloud/infra/templates/*.yaml
	$(BIN)/shellcheck $$(grep -lE '^#!.*bash' scripts/* .ci/run) src/miniwdl_cloud/engines/*.bash \
	  deploy/ansible/roles/docker/files/* deploy/terraform/modules/fleet/provision \
	  deploy/terraform/fleet/environment
	$(BIN)/python scripts/make-reference --check

format: venv
	$(BIN)/ruff format src tests benchmarks examples
	$(BIN)/ruff check --fix src tests benchmarks examples

bench: venv
	$(BIN)/python -m benchmarks.bench

soak: venv
	scripts/soak

docs: venv
	$(BIN)/python scripts/make-templates
	$(BIN)/python scripts/make-reference

site: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

clean:
	rm -rf .venv .cache .miniwdl-cloud build dist
