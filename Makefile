# The commands people and CI use alike. Each installs what it needs into .venv,
# and installs nothing again until pyproject.toml or constraints.txt change.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK   := pyproject.toml constraints.txt
PEERS  := .venv-bench
ADAPTERS := .venv-adapters
# What the oldest and the newest dependencies that pyproject.toml allows are tried with: all extras but
# Ray and aeon, and the tests of what uses them. torch is the one that is locked: its oldest takes gigabytes.
RANGE_EXTRAS := excel,mcp,mlflow,onnx,pyod,report,serve,tensorboard
RANGE_TOOLS  := pytest hypothesis httpx polars mapie crepes online-fdr
RANGE_TESTS  := tests/test_contract.py tests/test_golden.py tests/_core tests/data tests/autoencoder tests/detection \
	tests/classification tests/bundle tests/export tests/integrations tests/monitoring tests/training
AUDIT  := .venv-audit
# One thread a process: two processes of two threads each would be slower than one. Plugins
# that the tests do not use take seconds to load, as does a source that is compiled at each start.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(BIN)/python -m pytest

.PHONY: demo test test-slow test-adapters test-oldest test-newest test-all check docs bench audit format lock clean help

help:            ## print this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.demo       ## the whole pipeline on digits, which need no download
	$(BIN)/isthmus demo digits

test: $(VENV)/.dev        ## the tests, except those marked slow
	$(PYTEST) -p xdist.plugin -n 2 --dist worksteal -m 'not slow'

test-slow: $(VENV)/.scale ## the tests marked slow, which take long or need Ray; installs Ray
	$(PYTEST) -m slow

test-adapters: $(ADAPTERS)/.done  ## the tests with aeon and skore, which need other releases of what is locked
	env OMP_NUM_THREADS=1 $(ADAPTERS)/bin/python -m pytest tests/integrations -k 'aeon or pyod or skore'

test-oldest: .venv-oldest/.done  ## tests with the oldest dependencies that pyproject.toml allows, of Python 3.11
test-newest: .venv-newest/.done  ## tests with the newest dependencies, whatever is locked
test-oldest test-newest: test-%:
	env OMP_NUM_THREADS=1 .venv-$*/bin/python -m pytest -W default -m 'not slow' $(RANGE_TESTS)

test-all: test test-slow docs  ## test and test-slow, and the documentation site

check: $(VENV)/.dev       ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs       ## the documentation site, in dist/docs; runs the tutorials, and fails at a warning
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs dist/docs
	@echo "open dist/docs/index.html"

bench: $(VENV)/.demo $(PEERS)/.done    ## speed beside Keras, PyOD, skorch and scikit-learn, about twenty minutes; BENCH='--only small' for a part
	$(BIN)/python benchmarks/speed.py --short --peers-python $(PEERS)/bin/python $(BENCH)

audit:           ## known vulnerabilities of the locked versions, by pip-audit; needs the advisories of PyPI
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

format: $(VENV)/.dev      ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/.dev        ## write the versions installed now to constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable --exclude isthmus | sed 's/+cpu//' > constraints.txt

clean:           ## remove the environments and every cache
	rm -rf $(VENV) $(PEERS) $(ADAPTERS) $(AUDIT) .venv-oldest .venv-newest .mypy_cache .ruff_cache .pytest_cache docs/generated dist/docs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "isthmus needs Python 3.11 or newer; set PYTHON=python3.11 (got $$($(PYTHON) --version))"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python $(LOCK)
	@echo "installing isthmus and its dependencies into $(VENV) (a few minutes, once)"
	$(PIP) -c constraints.txt -e '.[report]'
	@touch $@

$(VENV)/.dev: $(BIN)/python $(LOCK)
	@echo "installing isthmus and the development tools into $(VENV) (a few minutes, once)"
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(BIN)/python $(LOCK)
	@echo "installing isthmus and Sphinx into $(VENV) (a few minutes, once)"
	$(PIP) -c constraints.txt -e '.[docs]'
	@touch $@ $(VENV)/.demo

$(VENV)/.scale: $(VENV)/.dev
	@echo "installing Ray into $(VENV) (80 MB, once)"
	$(PIP) -c constraints.txt -e '.[dev,scale]'
	@touch $@

$(ADAPTERS)/.done: pyproject.toml
	@echo "installing isthmus, aeon, PyOD and skore into $(ADAPTERS) (a few minutes, once)"
	$(PYTHON) -m venv $(ADAPTERS)
	$(ADAPTERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[aeon,pyod]' skore pytest hypothesis
	@touch $@

.venv-oldest/.done: RESOLUTION := lowest-direct
.venv-newest/.done: RESOLUTION := highest
.venv-oldest/.done .venv-newest/.done: pyproject.toml
	@echo "installing isthmus with dependencies by '$(RESOLUTION)' into $(@D) (a few minutes, once)"
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python --resolution $(RESOLUTION) '.[$(RANGE_EXTRAS)]' $$(grep '^torch==' constraints.txt)
	$(@D)/bin/uv pip freeze --quiet --python $(@D)/bin/python | grep -v '^isthmus' > $(@D)/installed.txt
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python -c $(@D)/installed.txt $(RANGE_TOOLS)
	@touch $@

$(PEERS)/.done: $(BIN)/python benchmarks/peers.txt
	@echo "installing the libraries that isthmus is compared with into $(PEERS) (a few minutes, 3 GB, once)"
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	@touch $@
