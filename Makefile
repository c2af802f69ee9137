# The commands people and CI use alike. Each installs what it needs into .venv,
# and installs nothing again until pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK   := pyproject.toml constraints.txt
PEERS  := .venv-bench
# One thread a process: two processes of two threads each would be slower than one.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test test-slow test-all check bench format lock clean help

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.demo       ## the whole story on digits that need no download
	$(BIN)/isthmus demo digits

test: $(VENV)/.dev        ## the tests, but for those that are long by nature or need Ray
	$(PYTEST) -n 2 --dist worksteal -m 'not slow'

test-slow: $(VENV)/.scale ## the tests that make test leaves out; Ray is installed for them
	$(PYTEST) -m slow

test-all: test test-slow  ## both

check: $(VENV)/.dev       ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.demo $(PEERS)/.done    ## speed beside the peers, about twenty minutes; BENCH='--only small'
	$(BIN)/python benchmarks/speed.py --short --peers-python $(PEERS)/bin/python $(BENCH)

format: $(VENV)/.dev      ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/.dev        ## write down the exact set installed now
	$(BIN)/python -m pip freeze --exclude-editable --exclude isthmus | sed 's/+cpu//' > constraints.txt

clean:           ## remove the environments and every cache
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "isthmus needs Python 3.11 or newer; set PYTHON=python3.11 (got $$($(PYTHON) --version))"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(LOCK)
	@echo "installing isthmus and what it stands on into $(VENV) (a few minutes, once)"
	$(PIP) -c constraints.txt -e '.[report]'
	@touch $@

$(VENV)/.dev: $(BIN)/python $(LOCK)
	@echo "installing isthmus with the test tools into $(VENV) (a few minutes, once)"
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.scale: $(VENV)/.dev
	@echo "installing Ray into $(VENV) (80 MB, once)"
	$(PIP) -c constraints.txt -e '.[dev,scale]'
	@touch $@

$(PEERS)/.done: $(BIN)/python benchmarks/peers.txt
	@echo "installing what isthmus is measured against into $(PEERS) (a few minutes, 3 GB, once)"
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	@touch $@
