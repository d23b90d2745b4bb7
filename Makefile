# make sinusoid: see it work. make demo: play with it. make test: check it. All set themselves up.
PYTHON ?= python3
BIN := .venv/bin
# from npm, for the page of the documentation that adapts in the browser
RUNTIME := .npm/node_modules/onnxruntime-web/dist
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# tests import the same files in hundreds of processes
export PYTHONDONTWRITEBYTECODE :=

.PHONY: sinusoid demo test test-slow lint docs dist twine-check release-check peers clean

sinusoid: .venv/installed
	$(BIN)/mamlax train sinusoid
	@echo "Figures: runs/sinusoid/0/figures/"

# two small models, trained on the spot, and a page to try them on
demo: .venv/installed-serve
	$(BIN)/python examples/demo.py

test: .venv/installed-dev
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow -n 2 --dist loadfile

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: .venv/installed-dev
	$(BIN)/zensical build --clean --strict
	if [ -d $(RUNTIME) ]; then $(BIN)/mamlax page docs/demo/*.safetensors --out site/demo --runtime $(RUNTIME); fi

# the files of a release: an sdist, and a wheel made from it
dist: .venv/installed-dev
	rm -rf dist
	$(BIN)/pyproject-build

# whether a package index would take them
twine-check: build/twine/installed
	build/twine/bin/twine check --strict dist/*

# all of a release but the upload, see docs/developer/release.md
release-check: .venv/installed-dev
	$(BIN)/pytest tests/package
	@test -z "$$(git status --porcelain)" || { git status --short; \
	  echo "These files are changed or not in git. Commit them, so that the release is what the tag has."; exit 1; }
	$(MAKE) lint
	$(MAKE) docs
	$(MAKE) test
	$(MAKE) dist
	$(MAKE) twine-check
	$(BIN)/pytest -m slow tests/package
	@ls dist

# the environment that benchmarks/peers compares with
peers: .venv-peers/installed

clean:
	rm -rf .venv .venv-peers .pytest_cache build dist site .cache

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mamlax needs Python 3.11 or newer; say PYTHON=python3.12 make ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -e '.[cli]'
	@touch $@

.venv/installed-serve: .venv/installed
	$(BIN)/pip install --quiet -e '.[serve]'
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet -e '.[dev]'
	@touch $@

.venv-peers/installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet -r benchmarks/peers/requirements.txt
	@touch $@

build/twine/installed:
	$(PYTHON) -m venv build/twine
	build/twine/bin/pip install --quiet 'twine>=6'
	@touch $@
