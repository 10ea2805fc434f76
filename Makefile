PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# The pins hold inside isolated builds, too (pydensecrf2 is compiled). As a URL, because pip takes
# these variables for lists and would cut a path at its blanks.
EMPTY :=
HASH := \#
AS_URL = $(subst $(EMPTY) $(EMPTY),%20,$(subst $(HASH),%23,$(subst %,%25,$(1))))
export PIP_CONSTRAINT := file://$(call AS_URL,$(CURDIR))/constraints.txt
export PIP_BUILD_CONSTRAINT := $(PIP_CONSTRAINT)

# A process a core that may be used, of one thread: two of two threads would wait for each other.
PYTEST = PYTEST_XDIST_AUTO_NUM_WORKERS=$$(python -c 'import joblib; print(joblib.cpu_count())') \
	OMP_NUM_THREADS=1 pytest -n auto --dist loadfile --no-loadscope-reorder
SLOW := $(addprefix tests/,pipeline stages studies training test_cost.py inference/test_export.py draw/test_page.py draw/test_page_trains.py draw/test_server.py)

.PHONY: help repro check repair test test-fast test-slow chaos bench lint clean
KILLS ?= 200
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

repro: check repair ## run the pipeline, JOBS=N trainings side by side (default: one per core or GPU); print what holds
	@LAUNCH='$(LAUNCH)' python -c 'from pipeline.jobs import main; main()' $(JOBS)
	dvc repro
	@echo; cat results/summary.md
	@echo; echo "All tables and figures: $(CURDIR)/results/report/index.html"

check: $(READY) ## name what is wrong in the parameter files in use, and in the checkout
	@python -m pipeline.check

repair: $(READY) ## after a crash: delete truncated files and stale locks left by DVC
	@python -c 'from pipeline.repair import main; main()'

test: $(READY) ## all tests, a file at a time on each core
	$(PYTEST)

test-fast: $(READY) ## the tests that train nothing and run no DVC
	$(PYTEST) $(addprefix --ignore=,$(SLOW))

test-slow: $(READY) ## the others
	$(PYTEST) $(SLOW)

chaos: $(READY) ## kill the pipeline KILLS=200 times at random moments; it must end with the same bytes
	CHAOS_KILLS=$(KILLS) CHAOS_JOBS=$(or $(JOBS),2) pytest -s -n 0 tests/stages/test_chaos.py

bench: $(READY) ## hot paths against what a user would run instead; writes bench/RESULTS.md
	python -m bench

lint: $(READY) ## rules, format and types
	ruff check .
	ruff format --check .
	mypy

clean: ## delete what the pipeline wrote, but not the cache in .dvc
	rm -rf data/*/ runs unfinished
	git clean -fdXq results

# Made under a name of its own at the end, so that an install that broke off starts over.
$(READY): pyproject.toml setup.py constraints.txt $(wildcard bpg/*/*.cpp)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; give another: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -e '.[dev]'
	touch $@
