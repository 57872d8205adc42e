# Every target works on a fresh clone: it first installs the locked environment in .venv, and again only when the lock changes.

# `make results EXPERIMENT=dials SNAKEMAKE="--dry-run"`
EXPERIMENT ?= quick
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
LOCK := requirements.lock
ENVIRONMENT := $(VENV)/.complete

# The pipeline's rules call plain `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# All tests of a file run in one worker, so that what they share is made once. `make test PYTEST="-n0 -k meter"` changes this.
RUN_PYTEST = pytest --numprocesses auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help results figures reference test test-thorough test-slurm test-fast lint format docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

results: $(ENVIRONMENT) ## Train, evaluate and draw whatever an experiment lacks, in results/quick/
	snakemake --config experiment=config/$(EXPERIMENT).yaml $(SNAKEMAKE)

figures: $(ENVIRONMENT) ## Redraw an experiment's figures
	snakemake figures --forcerun figure --config experiment=config/$(EXPERIMENT).yaml $(SNAKEMAKE)

# Summaries hold no images, which the pages show a few of. Without them an experiment stays as it is.
reference: $(ENVIRONMENT) ## Redraw the published results, results/reference/, from their summaries
	for experiment in $(patsubst results/reference/%/,%,$(wildcard results/reference/*/)); do \
	  python -m benchmark data --config config/$$experiment.yaml || { echo "$$experiment stays as it is."; continue; }; \
	  snakemake --forceall --config experiment=config/$$experiment.yaml results=results/reference from_summary=true || exit; done

test: $(ENVIRONMENT) ## Run all tests except those that start Slurm and long random sequences
	$(RUN_PYTEST) -m "not slurm and not thorough" $(PYTEST)

test-thorough: $(ENVIRONMENT) ## Edit a grid in many random ways; its tables must be those of a run from nothing
	pytest -m thorough $(PYTEST)

test-slurm: $(ENVIRONMENT) ## Run a grid through a real Slurm, started on this machine and stopped again (needs root)
	pytest -m slurm $(PYTEST)

test-fast: $(ENVIRONMENT) ## Run the tests that take less than five seconds each
	$(RUN_PYTEST) -m "not slow and not slurm" $(PYTEST)

lint: $(ENVIRONMENT) ## Check style, types, spelling and the pipeline
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint
	codespell --dictionary - --dictionary .codespell.txt

format: $(ENVIRONMENT) ## Auto-fix style
	ruff check --fix-only
	ruff format
	snakefmt Snakefile workflow

# Material's notice about its successor is switched off.
docs: $(ENVIRONMENT) ## Build the documentation site in site/; any warning fails
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --quiet
	@echo 'The site: site/index.html'

lock: $(UV) ## Resolve pyproject.toml into the lock; LOCK_OPTIONS=--upgrade for newer versions
	uv pip compile --universal --generate-hashes --group dev --no-annotate --custom-compile-command "make lock" \
	  $(LOCK_OPTIONS) --quiet --output-file $(LOCK) pyproject.toml

clean: ## Remove the environment, the caches and the site; keep results
	rm -rf $(VENV) site .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed, but `$(PYTHON)` is older. Name another: make PYTHON=/path/to/python3.12'; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  echo '`$(PYTHON) -m venv` failed. On Debian and Ubuntu, install the missing package: apt-get install python3-venv'; exit 1; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check uv==0.13.9

# Compile bytecode once, here: importing torch and timm takes ten seconds from source files and four from bytecode.
$(ENVIRONMENT): $(LOCK) | $(UV)
	uv pip sync --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode $(LOCK)
	@touch $@
