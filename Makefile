# Every target works on a fresh clone: it first lays the locked environment in .venv, and does so again only when the lock changes.

PYTHON ?= python3
VENV := .venv
ENVIRONMENT := $(VENV)/.complete
LOCK := requirements.lock
UV := uv==0.13.9

# Rules of the pipeline call plain `python`.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help results figures reference test test-fast lint format lock clean

help: ## This list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

results: $(ENVIRONMENT) ## Train, evaluate and draw what is missing of the quick experiment: results/quick/
	snakemake $(SNAKEMAKE)

figures: $(ENVIRONMENT) ## Redraw the quick experiment's figures from its records
	snakemake --forcerun figures --until figures $(SNAKEMAKE)

reference: $(ENVIRONMENT) ## Run the experiments whose results are published, and lay them in results/reference/
	snakemake reference $(SNAKEMAKE)

test: $(ENVIRONMENT) ## All tests
	pytest --numprocesses 2 --dist loadgroup $(PYTEST)

test-fast: $(ENVIRONMENT) ## The tests that take less than five seconds each
	pytest --numprocesses 2 --dist loadgroup -m "not slow" $(PYTEST)

lint: $(ENVIRONMENT) ## Style, types and the pipeline's own lint
	ruff check
	ruff format --check
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

format: $(ENVIRONMENT) ## Mend what can be mended by itself
	ruff check --fix-only
	ruff format
	snakefmt Snakefile workflow

lock: ## Resolve pyproject.toml anew into the lock
	uv pip compile --universal --generate-hashes --upgrade --all-groups --no-annotate \
	  --custom-compile-command "make lock" --quiet --output-file $(LOCK) pyproject.toml

clean: ## Remove the environment and all caches; results stay
	rm -rf $(VENV) .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Bytecode is compiled here because importing torch and timm from source alone takes most of ten seconds.
$(ENVIRONMENT): $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed as `$(PYTHON)`; name another one: make PYTHON=/path/to/python3.12'; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV) || \
	  { echo '`$(PYTHON) -m venv` fails; on Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(UV)
	$(VENV)/bin/uv pip sync --quiet --python $(VENV)/bin/python --require-hashes --compile-bytecode $(LOCK)
	@touch $@
