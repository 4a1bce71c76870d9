# Needs Python >= 3.11 with venv, and nothing else: each target makes the environment that it works in.
# PYTHON=/path/to/python3.12 picks another interpreter than the first suitable one on PATH.

SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(SUITABLE)' 2>/dev/null && command -v $$p && break; done)
UNSUITABLE := LeadPulse needs Python >= 3.11 with the venv module (Debian: apt install python3-venv). \
	Name one with: make PYTHON=/path/to/python3.11
FOR ?= 30s
MINUTES ?= 20
SEED ?=
EVENTS ?= 1000000
JOBS ?= 3
TIMES ?= 20
UPGRADE ?=
REQUESTS ?= 1000000
RUNS ?= 5
BENCH ?=
FACTOR ?= 10
LEADS ?= 1000000
KILLS ?= 20
ACT_KILLS ?= 50
STATES ?= 100000

.DELETE_ON_ERROR:
.PHONY: help demo test core check fmt docs properties planted soak pressure webhooks acts states fuzz alerts calls bench compiled lock audit services images
.DEFAULT_GOAL := help

help:
	@echo 'make demo      webhooks and a page with the pixel, scored and acted on live for $(FOR) (FOR=10m for longer), with servers of its own'
	@echo 'make test      lint, types, prose and all tests, on real Kafka and Redis where Java 17, Maven and redis-server are there (JOBS=1 one by one)'
	@echo 'make core      the tests of the pure core alone, in half a minute: a tenth of the examples of make test'
	@echo 'make check     lint, types and the prose check alone'
	@echo 'make fmt       format the code, and write what is generated from it'
	@echo 'make docs      write what is generated: schemas, metrics, dashboards, the map of the code and its figures'
	@echo 'make properties  the core against the oracle, on $(TIMES) times as many random grids and histories as make test (TIMES=5 for fewer)'
	@echo 'make planted   a fault in the core for every property, one after the other: which test sees it (minutes)'
	@echo 'make soak      every fault again and again under load for $(MINUTES) minutes, and a report (MINUTES=60 SEED=1)'
	@echo 'make pressure  a backlog of $(EVENTS) events, stalls, slow networks, large dossiers: what a worker needs of memory (EVENTS=100000)'
	@echo 'make webhooks  collectors and mappers killed $(KILLS) times, Kafka away for a minute: answers, events and memory (KILLS=5)'
	@echo 'make acts      processes killed or frozen $(ACT_KILLS) times while they act on every kind of target: no act is seen twice (ACT_KILLS=10)'
	@echo 'make states    states of $(STATES) leads at a mock HubSpot that enforces its limits: time, requests, memory (STATES=2000)'
	@echo 'make fuzz      $(REQUESTS) odd requests to a collector on real Kafka: none is a fault, none is without an answer (REQUESTS=20000)'
	@echo 'make alerts    faults under a real Prometheus, each alert firing and clearing, windows $(FACTOR) times as short as deployed (FACTOR=1)'
	@echo 'make calls     how long each call holds Redis, with $(LEADS) leads in one partition: 20 ms at most (LEADS=100000)'
	@echo 'make bench     LeadPulse, its rivals and the floor over one log in turn, $(RUNS) times (RUNS=1 BENCH="--events 40000 --only quix")'
	@echo 'make compiled  a wheel for this machine and Python in dist/, its scoring core compiled (needs a C compiler and Python.h)'
	@echo 'make services  real Kafka and Redis until Ctrl-C, for work by hand'
	@echo 'make audit     known vulnerabilities of what requirements/*.lock pin, as PyPI knows them (needs a network)'
	@echo 'make lock      requirements/*.lock after a change in pyproject.toml (UPGRADE=--upgrade for newer versions)'
	@echo 'make images    whether the digests that images are pinned by are still those of their tags (needs Docker and a network)'

demo: .venv/.installed
	.venv/bin/leadpulse demo --for $(FOR)

check: .venv-dev/.installed
	.venv-dev/bin/ruff check
	.venv-dev/bin/ruff format --check
	.venv-dev/bin/mypy
	.venv-dev/bin/python -m ops.dev.prose
	@held=$$(git ls-files -ci --exclude-standard 2>/dev/null); test -z "$$held" || \
		{ echo "in the repository, though .gitignore leaves it out (git rm --cached): $$held" >&2; exit 1; }

fmt: docs
	.venv-dev/bin/ruff check --fix
	.venv-dev/bin/ruff format

docs: .venv-dev/.installed
	.venv-dev/bin/python -m schemas
	.venv-dev/bin/leadpulse grid schema > grids/grid.schema.json
	.venv-dev/bin/leadpulse act schema > ops/automations/automations.schema.json
	.venv-dev/bin/python -m ops.dev.metrics_page > docs/metrics.md
	.venv-dev/bin/python -m ops.grafana
	.venv-dev/bin/python -m ops.dev.map
	.venv-dev/bin/python -m ops.dev.actions
	.venv-dev/bin/python -m ops.dev.shape

# Most tests wait for servers: three at a time, file by file, keep two cores busy. The longest files begin: tests/conftest.py.
test: check
	.venv-dev/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# What one runs after each change of the core. The compiled form, and all examples, are for `make test`.
core: .venv-dev/.installed
	EXAMPLES_TIMES=0.1 .venv-dev/bin/python -m pytest -q -n $(JOBS) tests/core --ignore=tests/core/test_compiled.py

properties: .venv-dev/.installed
	EXAMPLES_TIMES=$(TIMES) .venv-dev/bin/python -m pytest --timeout=7200 tests/core/test_properties.py

planted: .venv-dev/.installed
	.venv-dev/bin/python -m tests.planted

soak: .venv-dev/.installed
	.venv-dev/bin/python -m tests.system.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

pressure: .venv-dev/.installed
	.venv-dev/bin/python -m tests.system.pressure --events $(EVENTS)

webhooks: .venv-dev/.installed
	.venv-dev/bin/python -m tests.system.webhooks --kills $(KILLS)

acts: .venv-dev/.installed
	ACT_KILLS=$(ACT_KILLS) .venv-dev/bin/python -m pytest -q -s -n 0 tests/system/test_act_targets.py

states: .venv-dev/.installed
	.venv-dev/bin/python -m tests.benchmarks.sync_states $(STATES)

fuzz: .venv-dev/.installed
	.venv-dev/bin/python -m tests.system.fuzz --requests $(REQUESTS) $(if $(SEED),--seed $(SEED))

alerts: .venv-dev/.installed
	.venv-dev/bin/python -m tests.system.alerts --factor $(FACTOR) --results .cache/alerts.jsonl --write ops/runbook.md

calls: .venv-dev/.installed
	.venv-dev/bin/python -m tests.benchmarks.bench_redis --leads $(LEADS)

bench: .venv-dev/.installed .venv-rivals/.made
	.venv-dev/bin/python -m tests.benchmarks.race --runs $(RUNS) --results .cache/race.jsonl --write docs/benchmarks.md $(BENCH)

# From a copy: what an older build left must not get into the wheel.
compiled: .venv-dev/.installed
	@rm -rf .cache/wheel && mkdir -p .cache/wheel && cp -r setup.py pyproject.toml README.md LICENSE worker schemas grids .cache/wheel
	LEADPULSE_COMPILE=1 .venv-dev/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--no-index --wheel-dir dist ./.cache/wheel
	@ls dist/leadpulse-*.whl

services: .venv-dev/.installed
	@.venv-dev/bin/python -m ops.dev

# An environment holds what its lock says and nothing else, so a changed lock makes it anew.
.venv/.made: requirements/build.lock requirements/demo.lock
.venv-dev/.made: requirements/build.lock requirements/dev.lock
.venv/.made .venv-dev/.made:
	@$(or $(PYTHON),false) -c '$(SUITABLE)' || { echo '$(UNSUITABLE)' >&2; exit 1; }
	@echo 'making $(@D)' >&2
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes $(addprefix -r ,$^)
	@touch $@

# What a rival of the benchmarks needs stays out of ours.
.venv-rivals/.made: tests/benchmarks/rivals/requirements.txt
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

.venv/.installed .venv-dev/.installed: %/.installed: %/.made pyproject.toml
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	@touch $@

# Without the index's address, with hashes, for every platform and Python >= 3.11; each lock agrees with the smaller one.
COMPILE = .venv-dev/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header $(UPGRADE)
lock: .venv-dev/.installed
	$(COMPILE) --group build -o requirements/build.lock
	$(COMPILE) pyproject.toml -o requirements/run.lock
	$(COMPILE) pyproject.toml --extra demo -c requirements/run.lock -o requirements/demo.lock
	$(COMPILE) pyproject.toml --extra dev -c requirements/demo.lock -o requirements/dev.lock
	$(COMPILE) pyproject.toml requirements/archive.in --extra archive -c requirements/dev.lock -o requirements/archive.lock
	$(COMPILE) tests/benchmarks/rivals/requirements.in -o tests/benchmarks/rivals/requirements.txt

# In an environment of its own, so that it checks ours and is no part of it. Strict, because a package that could not be
# looked up is else reported as one without vulnerabilities.
AUDIT = .venv-dev/bin/uv tool run --from pip-audit==2.10.1 pip-audit --strict --disable-pip --require-hashes --progress-spinner off
audit: .venv-dev/.installed
	$(AUDIT) -r requirements/build.lock -r requirements/dev.lock

# To renew one: put the digest that this names in the place of the old one, in Dockerfile (twice) and docker-compose.yml, run
# `docker compose build --pull` and `docker compose up`, and look at http://localhost:8080/readyz.
PINNED = grep -ohE '[a-z/]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}' Dockerfile docker-compose.yml | sort -u
images:
	@$(PINNED) | { failed=0; while IFS=@ read -r tag pinned; do \
		now=$$(docker buildx imagetools inspect "$$tag" --format '{{.Manifest.Digest}}') || exit 1; \
		if [ "$$now" = "$$pinned" ]; then echo "$$tag is at its pinned digest"; \
		else echo "$$tag is at $$now by now, pinned is $$pinned"; failed=1; fi; done; exit $$failed; }
