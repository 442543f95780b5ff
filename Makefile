# Each target sets up what it needs on a fresh machine: Python 3.11 and a package index, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# constraints.txt pins torch's release; without an NVIDIA driver its CPU build is taken where that index answers.
CPU_INDEX  := https://download.pytorch.org/whl/cpu
REACHABLE  := $(PYTHON) -c "import urllib.request as u; u.urlopen('$(CPU_INDEX)/torch/', timeout=5)" 2>/dev/null
TORCH_ARGS  = $(shell command -v nvidia-smi >/dev/null 2>&1 || ! $(REACHABLE) || echo --extra-index-url $(CPU_INDEX))

.PHONY: quickstart test test-all lint bench setup clean

quickstart: setup
	$(BIN)/selectit run recipes/quickstart.yaml

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu and not network"

test-all: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not gpu and not network"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p selectit

# Ratios within one run, on the demonstration data; docs/performance.md says how to use others.
bench: setup
	$(BIN)/python benchmarks/scoring.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/finetune.py --rounds 1

setup: $(VENV)/.installed sandbox

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH_ARGS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,dedup,deepspeed,ifeval,judge,math,qlora,ray,slurm]"
	touch $@

# HumanEval runs model-written code only inside bubblewrap; without it that benchmark is reported as not run.
.PHONY: sandbox
sandbox:
	@command -v bwrap >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "installing bubblewrap, the sandbox of HumanEval"; \
	    (apt-get install -y -qq bubblewrap || (apt-get update -qq && apt-get install -y -qq bubblewrap)) >/dev/null 2>&1 \
	      || echo "bubblewrap could not be installed; HumanEval will be reported as not run"; \
	  else echo "bubblewrap is absent (apt install bubblewrap); HumanEval will be reported as not run"; fi; }

clean:
	rm -rf runs build dist *.egg-info
