# The lab's commands. `make` alone lists them.

# Only root makes namespaces and mounts; a user is asked for that right by sudo.
KEPT := LABKIT_PORT,LABKIT_ROOT,LABKIT_RUN,LABKIT_CGROUP,PEERS
ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=$(KEPT))
PEERS ?=
export PEERS

.DEFAULT_GOAL := help
.PHONY: help lab setup test check bench clean reset

help:  ## List the commands
	@sed -n 's/^\([a-z]*\):[^#]*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

lab: setup  ## Set up, start JupyterLab and print the address to open (LABKIT_PORT=8888)
	@$(ROOT) .venv/bin/labkit lab

setup:  ## Set up alone: Debian packages, .venv, images; quick when there is nothing to do
	@scripts/setup

test:  ## Set up and run everything; PEERS=1 adds other people's programs, and nothing is skipped
	@scripts/setup --extra test $(if $(filter 1,$(PEERS)),--peers)
	@$(ROOT) scripts/test

check:  ## Format, lint, types, layers and unit tests, in under a minute
	@scripts/setup --extra test
	@scripts/check

bench: setup  ## How fast, beside other runtimes
	@$(ROOT) .venv/bin/python -m bench

clean:  ## Remove .venv and what tools left in the project; images and saved notebooks stay
	@$(ROOT) rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache artifacts
	@$(ROOT) find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

reset:  ## Take away everything that labkit made in the kernel
	@$(ROOT) .venv/bin/labkit reset
