# Every target makes the environment it needs; run `make` for the list.
# LORABENCH_PYTHON picks the interpreter (3.11 or 3.12); TORCH=cpu installs PyTorch's build without CUDA, for laptops.

LORABENCH_PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TORCH ?=
STUDY ?= configs/mini.toml
RUN ?= results/mini

.PHONY: help install grid test check report notebooks clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## */  make \1|/' | column -t -s '|'

install: $(READY)  ## make .venv with everything in it: 3.5 GB down, 7 GB on disk (TORCH=cpu: less than 1 and 3)

# uv inside the environment: the machine needs Python and make, nothing else. Bytecode is compiled here, half a minute,
# because every command and worker would pay eight seconds for it where PYTHONDONTWRITEBYTECODE is set. Another build
# of PyTorch brings its own companions, so the locked ones of CUDA stay out.
LOCKED = $(if $(TORCH),grep -vE '^(cuda|nvidia|triton)',cat) requirements.lock
$(READY): requirements.lock pyproject.toml
	@$(LORABENCH_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "lorabench needs Python 3.11 or 3.12: make LORABENCH_PYTHON=python3.12 ..."; exit 2; }
	test -x $(BIN)/python || $(LORABENCH_PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@echo "$(if $(TORCH),PyTorch for $(TORCH):,With CUDA: 3.5 GB to download and 7 GB in .venv. TORCH=cpu:) less than 1 GB and 3 GB."
	$(LOCKED) | VIRTUAL_ENV=.venv $(BIN)/uv pip install --compile-bytecode $(if $(TORCH),--torch-backend $(TORCH)) -r -
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

grid: $(READY)  ## run the study of the miniature world (STUDY=configs/....toml for another)
	$(BIN)/lorabench grid $(STUDY)

test: $(READY)  ## run the test-suite, offline
	$(BIN)/python -m pytest

check: $(READY)  ## style and unused code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

report: $(READY)  ## write the report of the study again
	$(BIN)/lorabench report $(STUDY)

notebooks: $(READY)  ## open the notebooks on the results in RUN=results/mini
	LORABENCH_RUN=$(abspath $(RUN)) $(BIN)/jupyter lab notebooks

clean:  ## remove results of runs and caches; keeps .venv and results/reference
	find results -mindepth 1 -maxdepth 1 ! -name reference ! -name README.md -exec rm -rf {} +
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
	rm -rf .pytest_cache .ruff_cache catboost_info build
