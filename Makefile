# Every target sets up what it needs. PYTHON: any Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Bytecode once, on all cores: freqtrade's start is 20 s slower without, where the machine forbids Python to write it.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
# A user's own strategies are not linted.
OURS := setup.py docs/make_pictures.py docs/site.py liqsignals tests benchmarks user_data/strategies/SqueezeMomentum.py user_data/strategies/RejectionFade.py \
	user_data/strategies/LiqSignalsFreqAI.py
PAIRS ?= BTC/USDT:USDT ETH/USDT:USDT
STRATEGY ?= SqueezeMomentum RejectionFade
# The strategy's own unless given.
TIMEFRAME ?=
MARKET := build/market
# A day of the SIMULATED market on which both strategies trade.
FROM ?= 2025-03-10T00:00:00Z
HOURS ?= 24
# Two processes, whole files each: the tests of bots wait for their bots half of the time.
TWO := -n 2 --dist loadfile

.PHONY: help setup demo quick test check backtest paper parity soak week bench viewers kill kill-orders fuzz properties pictures docs compat hashes clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       both strategies on the SIMULATED market, offline (sets up first)"
	@echo "make backtest DATADIR=... [TIMERANGE=20250801-20260228] [PAIRS='A B'] [STRATEGY='S T'] [TIMEFRAME=1h] [OFFLINE=1]"
	@echo "make paper      a real dry-run bot on the SIMULATED market, a day in minutes (needs libfaketime); [HOURS=24] [STRATEGY=...] [DATADIR=... FROM=...]"
	@echo "make parity DATADIR=... TIMERANGE=20251124-20251201 [STRATEGY=S] [PAIRS='A B']: are the backtest's trades the bot's trades?"
	@echo "make test       lint, types and tests"
	@echo "make quick      the tests that need no bot, no freqtrade process and no large market (two minutes)"
	@echo "make bench      speed and accuracy tables, as ratios within one run"
	@echo "make viewers    memory of the live page's server over 24 market hours with 20 viewers (five minutes)"
	@echo "make kill       kill -9 of record and download at 200 random instants each; make fuzz: a million broken inputs for every parser"
	@echo "make properties every property of the tests with 300 draws of one seed (half an hour); [SEED=1]"
	@echo "make kill-orders  kill -9 of a live bot at 200 random orders, and 200 faults of the signed endpoints (about an hour)"
	@echo "make soak       a week of a real bot with random faults and kill -9 (about an hour)"
	@echo "make week       a week of bot, recorder, page and watcher in live rehearsal, with faults and kills (more than an hour); [DAYS=2 SEED=1]"
	@echo "make docs       the documentation as pages in build/site, that load nothing from elsewhere"
	@echo "make compat FREQTRADE=2026.10   the quick tests and the demo with another freqtrade, in build/compat"
	@echo "make pictures   the pictures of README.md and docs/reading-the-map.md, from the SIMULATED market"
	@echo "make hashes     deploy/hashed/*.txt anew, after each change of constraints.txt or of what pyproject.toml requires"
	@echo "make setup      only the environment: $(BIN)/liqsignals, $(BIN)/freqtrade"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# Pinned by constraints.txt, so that a fresh machine gets what was tested.
$(VENV)/.setup: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing freqtrade and liqsignals into $(VENV) (about a minute) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[bot,sim]'
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.setup
	@echo "installing the test tools ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt -e '.[bot,sim,dev]'
	@$(COMPILE)
	@touch $@

setup: $(VENV)/.setup

demo: setup
	@$(BIN)/liqsignals demo

backtest: setup
	@test -n "$(DATADIR)" || { echo "make backtest needs DATADIR=<the folder that holds futures/>" >&2; exit 2; }
	@$(BIN)/liqsignals backtest --datadir "$(DATADIR)" --pairs "$(PAIRS)" --strategy "$(STRATEGY)" $(if $(TIMEFRAME),--timeframe "$(TIMEFRAME)") \
		$(if $(TIMERANGE),--timerange "$(TIMERANGE)") $(if $(OFFLINE),--offline)

paper: setup
	@test -n "$(DATADIR)" || test -d $(MARKET)/binance || $(BIN)/liqsignals simulate --out $(MARKET)
	@for strategy in $(STRATEGY); do $(BIN)/liqsignals paper --datadir "$(or $(DATADIR),$(MARKET)/binance)" \
		--from "$(FROM)" --hours $(HOURS) --pairs "$(PAIRS)" --strategy $$strategy $(if $(TIMEFRAME),--timeframe "$(TIMEFRAME)") || exit; done

parity: setup
	@test -n "$(DATADIR)" -a -n "$(TIMERANGE)" || { echo "make parity needs DATADIR=... and TIMERANGE=..." >&2; exit 2; }
	@for strategy in $(STRATEGY); do $(BIN)/liqsignals parity --datadir "$(DATADIR)" --timerange "$(TIMERANGE)" \
		--pairs "$(PAIRS)" --strategy $$strategy $(if $(TIMEFRAME),--timeframe "$(TIMEFRAME)") || exit; done

check: $(VENV)/.dev
	$(BIN)/ruff format --check $(OURS)
	$(BIN)/ruff check $(OURS)
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

# The contracts on small tapes, with fewer examples a property; `make test` is whole.
quick: $(VENV)/.dev
	$(BIN)/ruff check $(OURS)
	HYPOTHESIS_PROFILE=quick $(BIN)/pytest $(TWO) -m "not slow"

test: check
	$(BIN)/pytest $(TWO)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# Long runs: not in `make test`, which has small ones.
# kill -9 of a live bot at random orders, and faults of the signed endpoints; ALONE=1: without the watch's remedies.
kill-orders: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/kill_orders.py --kills $(or $(KILLS),200) --seed $(or $(SEED),1) $(if $(ALONE),--alone)
	PYTHONPATH=tests $(BIN)/python tests/kill_orders.py --faults $(or $(FAULTS),200) --seed $(or $(SEED),1) $(if $(ALONE),--alone)

viewers: $(VENV)/.dev
	$(BIN)/python -m benchmarks.viewers --hours $(HOURS)

kill: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/kill_record.py $(or $(KILLS),200) $(or $(SEED),1)
	PYTHONPATH=tests $(BIN)/python tests/kill_download.py $(or $(KILLS),200) $(or $(SEED),1)

soak: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/soak.py --days $(or $(DAYS),7) --seed $(or $(SEED),1)

week: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/week.py --days $(or $(DAYS),7) --seed $(or $(SEED),1)

fuzz: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python tests/fuzz_parsers.py $(or $(INPUTS),1000000) $(or $(SEED),1)

# Every property with 300 draws of one seed instead of 15 that are always the same.
properties: $(VENV)/.dev
	HYPOTHESIS_PROFILE=many $(BIN)/pytest -m hypothesis -o faulthandler_timeout=0 --hypothesis-seed=$(or $(SEED),1)

pictures: $(VENV)/.dev
	$(BIN)/python docs/make_pictures.py

docs: $(VENV)/.dev
	@$(BIN)/python -m mkdocs build --quiet && echo "build/site/index.html"

# The newest of all that the requirements allow, not what constraints.txt pins.
compat: | $(BIN)/python
	@test -n "$(FREQTRADE)" || { echo "make compat needs FREQTRADE=<version>" >&2; exit 2; }
	rm -rf build/compat
	$(BIN)/python -m venv build/compat/venv
	build/compat/venv/bin/python -m pip install -qq --disable-pip-version-check "freqtrade==$(FREQTRADE)" 'TA-Lib>=0.6' -e '.[sim,dev]'
	build/compat/venv/bin/python -m pip list --format=freeze --disable-pip-version-check | grep -iE '^(freqtrade|ccxt|numba|numpy|pandas)=='
	HYPOTHESIS_PROFILE=quick build/compat/venv/bin/python -m pytest $(TWO) -m "not slow"
	build/compat/venv/bin/liqsignals demo --out build/compat/market

# For every Python and machine of Linux and macOS, so without what only Windows needs. One package is to be had as source
# only, as liqsignals is, and what builds it must be there before.
# uv reads no settings of pip's: where another index than its own is meant, set UV_DEFAULT_INDEX.
HASHED := build/hashes/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-package colorama --no-emit-package winloop --custom-compile-command "make hashes" -c constraints.txt
hashes: | $(BIN)/python
	$(BIN)/python -m venv build/hashes
	build/hashes/bin/python -m pip install -qq --disable-pip-version-check uv
	echo setuptools | $(HASHED) - -o deploy/hashed/build.txt
	$(HASHED) --extra bot --extra sim --extra truth pyproject.toml -o deploy/hashed/requirements.txt

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache .hypothesis
