# Two commands: `make bench` measures this machine, `make test` runs every test. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HELM3 := $(VENV)/.helm3
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --no-emit-package dagster-warm

# With it, each of the hundreds of processes that are started here would compile the project again.
unexport PYTHONDONTWRITEBYTECODE

# A line of pyproject.toml's [project].
project = $(shell sed -n '/^\[project]/,/^\[/s/^$(1) = "\(.*\)"/\1/p' pyproject.toml)
BUILDER ?= $(shell docker version >/dev/null 2>&1 && echo docker || echo podman)
IMAGE ?= $(call project,name):$(call project,version)

.PHONY: bench test test-thorough test-kubernetes lint image lock clean

bench: $(STAMP)  ## Measure launches in a code location of 5,000 assets, as it is and behind the warm server; print and write the answer.
	@$(BIN)/python -m bench_orchestrator try -m synthetic_locations.catalog -a a5k --html results/try.html

test: lint $(HELM3)  ## Lint, type check, and every mechanism once: all unit tests, and real deployments, kills and a PostgreSQL. Fetches nothing.
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder  # in the order of tests/conftest.py

test-thorough: $(STAMP) $(HELM3)  ## What takes too long for every day: ten times as many examples of every property, all experiments end to end, all sweeps on PostgreSQL, Dagster's own server held to the same behaviour, other releases of Dagster, both distributions installed from their wheels, 500 runs.
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "thorough or hypothesis" --hypothesis-profile thorough --timeout 1800

test-kubernetes: $(STAMP) $(HELM3)  ## What needs a cluster: KUBECONFIG's, or one that is built here (Debian and root; six minutes, once).
	@$(BIN)/python -m pytest -m kubernetes --timeout 3600 tests/kubernetes

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

$(STAMP): requirements.lock pyproject.toml packages/dagster-warm/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e . -e packages/dagster-warm
	@touch $(STAMP)

$(HELM3): $(STAMP) tests/helm/install_helm3.py  # tests fetch nothing
	@$(BIN)/python tests/helm/install_helm3.py
	@touch $(HELM3)

image:  ## Build the image that helm/ installs (variables: BUILDER=podman IMAGE BASE_IMAGE BUILD_OPTIONS, and pip's PIP_CONFIG_FILE PIP_CERT).
	@DOCKER_BUILDKIT=1 $(BUILDER) build $(if $(findstring podman,$(BUILDER)),--format docker) \
		--file helm/image/Dockerfile --tag $(IMAGE) $${BASE_IMAGE:+--build-arg BASE_IMAGE="$$BASE_IMAGE"} \
		--build-arg TITLE=$(call project,name) --build-arg VERSION=$(call project,version) \
		--build-arg DESCRIPTION="$(call project,description)" \
		$${PIP_CONFIG_FILE:+--secret id=pip.conf,src="$$PIP_CONFIG_FILE"} $${PIP_CERT:+--secret id=ca.pem,src="$$PIP_CERT"} \
		$(BUILD_OPTIONS) .

lock:  ## Renew requirements.lock, and the image's without what is for development, from pyproject.toml (after `make bench` or `make test`).
	$(COMPILE) --group dev --extra all pyproject.toml -o requirements.lock
	$(COMPILE) --constraint requirements.lock --extra all pyproject.toml -o helm/image/requirements.lock

clean:  ## Remove the environment and everything the bench wrote, results included.
	rm -rf $(VENV) .bench results history storage schedules logs
