# One entrance for everything; `make` alone lists it. Needs Python 3.11 or newer, make and git; `build` needs Python 3.13 too.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
VENV_SAM := .venv-sam
VENV_CHECKOV := .venv-checkov
VENV_LOCK := .venv-lock
PY := $(VENV)/bin/python
CANDIDATES := $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14

# Nothing that runs here may find the user's own AWS account: no profile, no configuration, made-up keys.
export PYTHONPATH := $(CURDIR):$(CURDIR)/layers/closedwon:$(CURDIR)/tests
NO_ACCOUNT := env -u AWS_PROFILE -u AWS_DEFAULT_PROFILE -u AWS_SESSION_TOKEN -u AWS_ENDPOINT_URL \
	AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true \
	AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1
RUN := $(NO_ACCOUNT) $(PY)

# Shows a dot a package; everything pip said is shown when it failed.
# What does not have the hash it was locked with is not installed.
PIP_INSTALL = -m pip install --disable-pip-version-check --no-input --no-deps --require-hashes --prefer-binary --progress-bar off
DOTS := awk '{ said = said $$0 "\n" } /^Collecting/ { printf "."; fflush() } /^Installing/ { printf " unpacking ..."; fflush() } \
	/^(Successfully|Requirement already)/ { done = 1 } /^ERROR/ { failed = 1 } \
	END { if (done && !failed) print " done"; else printf "\n%s", said }'

FIND_PYTHON = for python in $(CANDIDATES); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	  python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11 or newer with venv found (tried: $(CANDIDATES)). Install one (on Debian also its -venv package)" \
	    "or name it: make setup PYTHON=path/to/python3" >&2; exit 1; \
	fi

.PHONY: help setup demo sandbox test check checkov check-salesforce check-stigg format prove prove-long bench record-ledger build deploy rehearse-deploy check-tag release \
	lock clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.installed ## install everything into .venv (the targets below do it by themselves)

$(VENV)/.installed: requirements-dev.txt
	@if ! $(PY) -c '' 2>/dev/null; then \
	  $(FIND_PYTHON); \
	  echo "Making $(VENV) with $$("$$python" --version) ($$(command -v "$$python"))"; \
	  "$$python" -m venv --clear $(VENV); \
	fi
	@printf 'Installing %s packages, about a minute ' "$$(grep -c '==' requirements-dev.txt)"
	@$(PY) $(PIP_INSTALL) -r requirements-dev.txt 2>&1 | $(DOTS)
	@$(PY) -m pip check --disable-pip-version-check
	@touch $@

demo: setup ## a deal closes in Salesforce and arrives in Stigg, on this machine (ARGS=--stay keeps it up)
	@$(RUN) -m sandbox.demo $(ARGS)

sandbox: setup ## AWS, Stigg and Salesforce on this machine until Ctrl-C; addresses in .sandbox/endpoints.json
	@$(RUN) -m sandbox

# By default a worker more than there are processors, for tests also wait; at most four, for each has a sandbox of its
# own, which takes a gigabyte. A few chosen tests need no workers.
WORKERS = $(shell $(PY) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')
SEVERAL = $(if $(findstring .py,$(ARGS))$(findstring -k,$(ARGS)),,--numprocesses $(WORKERS) --dist worksteal)

test: setup ## unit, integration and contract tests (ARGS="-k name" chooses, WORKERS=4 sets how many at once)
	@$(RUN) -m pytest $(SEVERAL) $(ARGS)

check: setup ## style, types, template, state machines, secrets, security (ARGS="mypy ruff" chooses)
	@$(RUN) -m tools.check $(ARGS)

# Without --skip-download it would ask its maker for texts, which it does not need.
checkov: $(VENV_CHECKOV)/.installed ## what checkov has against the template; .checkov.yaml says what is let through, and why
	@$(NO_ACCOUNT) LOG_LEVEL=ERROR $(VENV_CHECKOV)/bin/checkov --config-file .checkov.yaml --skip-download $(ARGS)

$(VENV_CHECKOV)/.installed: requirements-checkov.txt
	@if ! $(VENV_CHECKOV)/bin/python -c '' 2>/dev/null; then $(FIND_PYTHON); "$$python" -m venv --clear $(VENV_CHECKOV); fi
	@printf 'Installing checkov, about a minute '
	@$(VENV_CHECKOV)/bin/python $(PIP_INSTALL) -r requirements-checkov.txt 2>&1 | $(DOTS)
	@touch $@

check-salesforce: setup ## the Salesforce package, as far as it can be checked without an organisation (needs Node and Java)
	@$(RUN) -m tools.check_salesforce

check-stigg: setup ## the official Stigg SDK's own tests against the stand-in, as listed in tests/contract (downloads them)
	@$(RUN) -m tools.check_stigg

format: setup ## put every Python file into the project's style
	@$(PY) -m ruff check --quiet --fix-only .
	@$(PY) -m ruff format .

prove: setup ## faults, deliberate defects, hostile input, load: a table at the end, twenty minutes (ARGS=campaign chooses, ARGS=--short)
	@$(RUN) -m proof $(ARGS)

prove-long: setup ## the same at full size: hours
	@$(RUN) -m proof --long $(ARGS)

bench: setup ## measurements; results are printed
	@$(RUN) -m benchmarks $(ARGS)

record-ledger: setup ## record the ledger and both stand-ins of made-up customers, for later versions to play (ARGS=stack): minutes
	@$(RUN) -m recorded $(ARGS)

build: setup $(VENV_SAM)/.installed ## what sam deploy uploads, with Python 3.13 bytecode (needs python3.13)
	@$(NO_ACCOUNT) $(PY) -m tools.compile_build --sam $(VENV_SAM)/bin/sam

# With the user's own AWS credentials. Functions, layer and state machines change in one stack update, or not at all.
deploy: ## ENV=sandbox|staging|production: build, then change that stack (GUIDED=1 asks for its parameters)
	@[ -n "$(ENV)" ] || { echo "Which environment? make deploy ENV=staging (samconfig.toml names them)" >&2; exit 2; }
	@$(MAKE) build
	@$(VENV_SAM)/bin/sam deploy --config-env $(ENV) $(if $(GUIDED),--guided) $(ARGS)
	@echo "Now see whether it is well: ./closedwon --stack <its name> smoke"

rehearse-deploy: build ## package, upload and make a change set, in an emulator on this machine (ENV=staging)
	@$(RUN) -m tools.rehearse_deploy --sam $(VENV_SAM)/bin/sam --environment $(or $(ENV),staging)

check-tag: setup ## is TAG=v1.2.3 the version that package, template and changelog say?
	@$(RUN) -m tools.release --tag "$$TAG"

release: build ## the archive to deploy from and the release's text, in .build/release/
	@$(RUN) -m tools.release

$(VENV_SAM)/.installed: requirements-build.txt
	@if ! $(VENV_SAM)/bin/python -c '' 2>/dev/null; then $(FIND_PYTHON); "$$python" -m venv --clear $(VENV_SAM); fi
	@printf 'Installing the SAM CLI, about a minute '
	@$(VENV_SAM)/bin/python $(PIP_INSTALL) -r requirements-build.txt 2>&1 | $(DOTS)
	@touch $@

# Takes the newest versions that fit, for every Python and system at once, and proves that a compiler is never needed;
# UPGRADE= (nothing) keeps the versions there are. The layer's are pinned in its .in file: all of them, by hand.
UPGRADE := --upgrade
UV_COMPILE = $(VENV_LOCK)/bin/uv pip compile --quiet --universal --generate-hashes --only-binary :all: --no-header --no-annotate

lock: ## resolve every requirements*.in into its .txt anew, with hashes (UPGRADE= keeps the versions)
	@$(FIND_PYTHON); [ -x $(VENV_LOCK)/bin/uv ] || { "$$python" -m venv $(VENV_LOCK); $(VENV_LOCK)/bin/python -m pip install -q uv; }
	@compile() { \
	  echo "# Every package, pinned with its hashes; made by \`make lock\`: edit the .in file instead." > "$$1.txt.new"; \
	  if [ -f "$$1.txt" ]; then cp "$$1.txt" $(VENV_LOCK)/pinned.txt; else : > $(VENV_LOCK)/pinned.txt; fi; \
	  $(UV_COMPILE) "$${@:2}" -o $(VENV_LOCK)/pinned.txt "$$1.in" > /dev/null; \
	  cat $(VENV_LOCK)/pinned.txt >> "$$1.txt.new"; \
	}; \
	compile layers/closedwon/requirements --no-deps --python-version 3.11; \
	mv layers/closedwon/requirements.txt.new layers/closedwon/requirements.txt; \
	for name in dev build checkov; do \
	  compile requirements-$$name --python-version 3.11 $(UPGRADE); \
	  for version in 3.11 3.12 3.13 3.14; do \
	    $(VENV_LOCK)/bin/uv pip install --quiet --dry-run --only-binary :all: --python-version $$version \
	      --target $(VENV_LOCK)/unused -r requirements-$$name.txt.new; \
	  done; \
	  mv requirements-$$name.txt.new requirements-$$name.txt; \
	done

clean: ## remove everything made here, the virtual environments too
	rm -rf $(VENV) $(VENV_SAM) $(VENV_CHECKOV) $(VENV_LOCK) .aws-sam .sandbox .build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
