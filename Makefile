PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
RELEASING := .venv-release
# CIFAR for the tests and studies that want it; they skip where it is absent
export LOTTERY_POOLS_DATA ?= $(abspath ../shared/data)

.PHONY: demo test test-all gpu test-gpu bench-gpu study-gpu study-gpu-controls lint bench docs study-small lock release audit clean

demo: .venv/core
	$(BIN)/lottery-pools run --preset demo --evaluation.trained-baselines held-out-training tuned-ticket --out runs/demo

test: lint
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile

test-all: lint
	$(BIN)/python -m pytest -n auto --dist loadfile

# On a machine with a GPU, with the Python and the PyTorch that are there: `make test-gpu GPU_PYTHON=python3`. Packages that
# it lacks are found where PYTHONPATH says.
GPU_PYTHON ?= $(BIN)/python
ON_GPU := PYTHONPATH=src:.$${PYTHONPATH:+:$$PYTHONPATH} $(GPU_PYTHON)
test-gpu:
	LOTTERY_POOLS_TEST_GPU=1 $(ON_GPU) -m pytest -p no:cacheprovider -m gpu tests/gpu

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.mnist1d
	$(BIN)/python -m benchmarks.corruptions --images 200
	test ! -d $(LOTTERY_POOLS_DATA)/cifar100 || $(BIN)/python -m benchmarks.training --data $(LOTTERY_POOLS_DATA)/cifar100
	test ! -d $(LOTTERY_POOLS_DATA)/cifar100 || $(BIN)/python -m benchmarks.evaluation --data $(LOTTERY_POOLS_DATA)/cifar100

# Three tickets of a study trained again (some minutes), and their rows beside the committed ones
study-small: $(INSTALLED)
	$(BIN)/lottery-pools run --preset studies/cifar10-resnet.toml --data.name $(LOTTERY_POOLS_DATA)/cifar10 \
	    --seeds 0 --pruning.levels 2 --pooling.methods average interpolation trimmed-soup --evaluation.trained-baselines \
	    --evaluation.corruptions --threads 1 --out runs/study-small
	$(BIN)/python -m studies.small runs/study-small docs/results/cifar10-resnet

# About 90 seconds on an H100
bench-gpu:
	$(ON_GPU) -m benchmarks.gpu --out gpu.jsonl

# All that a GPU has to show, within so many seconds (docs/howto/gpu.md): each stage leaves what it has, and goes on from
# there when it is called again. In parts: make gpu GPU_SECONDS=260 GPU_STAGES="tests benchmark"
GPU_SECONDS ?= 560
GPU_STAGES ?= tests benchmark $(STUDIES)
GPU_OUT ?= runs/gpu
gpu:
	$(ON_GPU) -m benchmarks.gpu_session --seconds $(GPU_SECONDS) --stages $(GPU_STAGES) --out $(GPU_OUT) \
	    --data $(LOTTERY_POOLS_DATA)/cifar100 --runs $(STUDY_RUNS) --results $(STUDY_RESULTS) \
	    --options="$(STUDY_OPTIONS)"

# Two networks of full width on CIFAR-100: about 7 minutes on an H100. Goes on where it was stopped. Only small files
# (rows, recipes, settings, a report) are left in $(STUDY_RESULTS). To try it elsewhere:
# make study-gpu STUDY_OPTIONS="--device cpu --limit 20 --pruning.levels 1" STUDY_RUNS=runs/tried \
#     STUDY_RESULTS=runs/tried/results
STUDIES ?= cifar100-vgg16 cifar100-resnet18
STUDY_OPTIONS ?= --device cuda
STUDY_RUNS ?= runs
STUDY_RESULTS ?= docs/results
STUDY_SECONDS ?= 36000
study-gpu:
	$(MAKE) gpu GPU_STAGES="$(STUDIES)" GPU_SECONDS=$(STUDY_SECONDS)

# The controls of the same studies, and the paper's rule by likelihood: about as long again
study-gpu-controls:
	$(MAKE) study-gpu STUDY_OPTIONS="$(STUDY_OPTIONS) --pooling.methods interpolation-likelihood \
	    --evaluation.trained-baselines tuned-ticket tuned-pool"

docs: $(INSTALLED)
	$(BIN)/mkdocs build

# What the demo needs, and no more
.venv/core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(INSTALLED): .venv/core tests/other_software.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cluster,data,dev,docs,onnx,tensorboard]'
	$(BIN)/pip install --quiet --no-compile --no-deps --requirement tests/other_software.txt
	touch $@

# What is published, in dist/: wheel, source archive, SBOM, checksums. They are built twice and compared, and tried in
# clean environments (installs PyTorch twice and runs the tests: half an hour; RELEASE=--tests=none leaves them out)
release: $(RELEASING)/ready
	$(RELEASING)/bin/python -m release $(RELEASE)

# Known vulnerabilities of all that is pinned; needs a vulnerability service, and says so where there is none
audit: $(RELEASING)/ready
	@$(RELEASING)/bin/python -m release.audit

# Pins anew, by version and digest, what is installed (`pip install --require-hashes -r requirements-lock.txt`) and what
# builds a release
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
    --custom-compile-command 'make lock'
lock: $(RELEASING)/ready
	$(RELEASING)/bin/$(LOCK) --constraint constraints.txt --extra cluster --extra data --extra tensorboard \
	    pyproject.toml --output-file requirements-lock.txt
	$(RELEASING)/bin/$(LOCK) release/requirements.in --output-file release/requirements.txt

# Apart from .venv, whose packages a release must not depend on
$(RELEASING)/ready: release/requirements.txt
	rm -rf $(RELEASING)
	$(PYTHON) -m venv $(RELEASING)
	$(RELEASING)/bin/pip install --quiet --require-hashes --requirement release/requirements.txt
	touch $@

clean:
	rm -rf .venv $(RELEASING) dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
