# Every target works on a fresh clone: it first lays the locked environment in .venv, and again only when the lock changes.

# `make results EXPERIMENT=dials SNAKEMAKE="--dry-run"`
EXPERIMENT ?= quick
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
LOCK := requirements.lock
ENVIRONMENT := $(VENV)/.complete

# The pipeline's rules call plain `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# One worker keeps one file: what a file's tests share is made once.  `make test PYTEST="-n0 -k meter"` for more or less.
RUN_PYTEST = pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help results figures reference test test-slurm test-fast lint format lock clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

results: $(ENVIRONMENT) ## Train, evaluate and draw whatever is missing of an experiment: results/quick/
	snakemake --config experiment=config/$(EXPERIMENT).yaml $(SNAKEMAKE)
	@echo 'The report: results/$(EXPERIMENT)/report.html'

figures: $(ENVIRONMENT) ## Redraw an experiment's figures
	snakemake figures --forcerun figure --config experiment=config/$(EXPERIMENT).yaml $(SNAKEMAKE)

# Records hold no images, and only pictures of inputs need them: without a network, the rest is drawn all the same.
reference: $(ENVIRONMENT) ## Redraw the published results, results/reference/, from their records
	for experiment in $(notdir $(wildcard results/reference/*)); do \
	  python -m benchmark data --config config/$$experiment.yaml || echo 'The gallery is drawn without these.'; \
	  snakemake --forceall --config experiment=config/$$experiment.yaml results=results/reference partial=true || exit; done

test: $(ENVIRONMENT) ## All tests but those that start a Slurm
	$(RUN_PYTEST) -m "not slurm" $(PYTEST)

test-slurm: $(ENVIRONMENT) ## A grid through a real Slurm, started on this machine and stopped again: needs root
	pytest -m slurm $(PYTEST)

test-fast: $(ENVIRONMENT) ## The tests that take less than five seconds each
	$(RUN_PYTEST) -m "not slow and not slurm" $(PYTEST)

lint: $(ENVIRONMENT) ## Style, types and the pipeline's own lint
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: $(ENVIRONMENT) ## Mend what style asks for and a tool can mend
	ruff check --fix-only
	ruff format
	snakefmt Snakefile workflow

lock: $(UV) ## Resolve pyproject.toml into the lock; LOCK_OPTIONS=--upgrade for newer versions
	uv pip compile --universal --generate-hashes --group dev --no-annotate --custom-compile-command "make lock" \
	  $(LOCK_OPTIONS) --quiet --output-file $(LOCK) pyproject.toml

clean: ## Remove the environment and the caches; results stay
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed, and `$(PYTHON)` is not it; name another: make PYTHON=/path/to/python3.12'; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  echo '`$(PYTHON) -m venv` failed; on Debian and Ubuntu, install its missing part: apt-get install python3-venv'; exit 1; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

# Bytecode is compiled once, here: importing torch and timm from source files takes ten seconds, from bytecode four.
$(ENVIRONMENT): $(LOCK) | $(UV)
	uv pip sync --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode $(LOCK)
	@touch $@
