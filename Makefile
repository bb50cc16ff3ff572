# The contributor's guide in targets; CI calls the same ones. All paths are relative, since make
# cannot handle a directory with a space in its name.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Where it is set, every process compiles every module anew: 6 s of a collection's 17.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# More words for the command a target ends in, e.g. make serve ARGS='--port 9000'.
ARGS ?=

.PHONY: help venv links dev demo serve test test-unit test-aot test-ray test-gpu aot lint format bench results docs clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

venv: ## Make .venv with the pinned dependencies (nothing to do when it is up to date)
	@scripts/venv.sh

# A type checker does not see an editable install; this farm shows it the same tree.
links:
	@mkdir -p .links/nitrogen
	@for folder in kernels model pipelines platform; do \
		ln -sfn ../../$$folder .links/nitrogen/$$folder; done

dev: venv links ## Everything a contributor needs, git hooks included
	@if [ -d .git ]; then $(BIN)/python -m pre_commit install; fi

demo: venv ## Train, distil, sweep, evaluate, promote, serve and report on this machine
	$(BIN)/nitrogen run demo --out runs/demo $(ARGS)

serve: venv ## Serve the champion of the last run, or the shipped weights, in the foreground
	$(BIN)/nitrogen serve $(ARGS)

test: test-unit test-aot test-ray ## The whole suite

test-unit: venv ## The fast tests: no Ray, no GPU, no network
	$(PYTEST) -n 2 --dist loadfile --durations=8 $(ARGS)

test-aot: venv ## The GPU kernels without a GPU: interpreted, and compiled for every family
	$(PYTEST) -m aot tests/kernels $(ARGS)

test-ray: venv ## The tests that start Ray, a real S3 server or take long
	scripts/test_ray.sh $(ARGS)

test-gpu: venv ## The tests that need a GPU
	$(PYTEST) -m gpu $(ARGS)

aot: venv ## Compile every tuning candidate of the GPU kernels for every family (long)
	$(BIN)/python -m nitrogen.kernels.aot --all $(ARGS)

lint: venv links ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --package nitrogen

format: venv ## Let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: venv ## Time the operators and a whole step, JSON lines into runs/bench
	@mkdir -p runs/bench
	$(BIN)/nitrogen bench kernels --json $(ARGS) | tee runs/bench/kernels.jsonl
	$(BIN)/nitrogen bench step --json $(ARGS) | tee runs/bench/step.jsonl
	$(BIN)/python -m nitrogen.kernels.cpu.figures | tee runs/bench/figures.jsonl

# RUN: a run folder, by default the shipped weights, whose results stand in the README too, or
# shipped:NAME, which needs DATA, its prepared data set. THIN: run folders of thin models. What was
# measured is kept; an ablation gets its page if its file is there. ARGS go to bench frontier,
# --quick to all three.
RUN ?=
DATA ?=
THIN ?=
BENCH := $(if $(RUN),$(if $(filter shipped:%,$(RUN)),runs/bench/$(RUN:shipped:%=%),$(RUN)/bench),runs/bench/shipped)
QUICK := $(if $(findstring quick,$(ARGS)),--quick)
OUT ?= $(if $(RUN)$(QUICK),$(BENCH)/results,docs/results)
OF_RUN := $(if $(RUN),--run "$(RUN)")
results: venv ## Benchmark RUN (hours), then write pages and plots into OUT
	$(BIN)/nitrogen bench frontier $(OF_RUN) $(if $(DATA),--data "$(DATA)") $(addprefix --thin ,$(THIN)) --out "$(BENCH)/frontier.json" $(ARGS)
	$(BIN)/nitrogen bench attack $(OF_RUN) --out "$(BENCH)/attack.json" $(QUICK)
	$(BIN)/nitrogen bench scaling --out "$(BENCH)/scaling.json" $(QUICK)
	ablation=(); [ ! -f "$(BENCH)/ablation.json" ] || ablation=("$(BENCH)/ablation.json"); \
	$(BIN)/nitrogen bench results $(OF_RUN) --out "$(OUT)" $(if $(RUN)$(QUICK),,--readme README.md) \
		"$(BENCH)/frontier.json" "$(BENCH)/attack.json" "$(BENCH)/scaling.json" "$${ablation[@]}"

docs: venv ## Refresh the generated parts of the documents
	$(BIN)/python scripts/tree.py --write

clean: ## Remove what tools left; runs/ and .venv stay
	rm -rf .links build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
