# Every target makes .venv and installs what it needs; that is quick once it is done.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# At most four: the tests start worker processes of their own, which take memory.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist worksteal
INSTALLED := $(VENV)/installed

.PHONY: help demo test test-all test-faults test-cluster check dashboard docs bench bench-search bench-outcome screenshots clean

help:   ## what there is to make
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(INSTALLED)   ## a search on the embedded digits, in a minute on two cores
	$(BIN)/nas search digits --study demo --trials 20

test: $(INSTALLED)   ## the tests of what a change is likely to break, without the network: minutes
	$(BIN)/python -m pytest -m "not slow and not long" $(PARALLEL)

test-all: $(INSTALLED)   ## the slow ones as well: processes that are killed, a browser, databases, Ray, faults
	$(BIN)/python -m pytest -m "not long" $(PARALLEL)

test-faults: $(INSTALLED)   ## the tests of kills, torn files, full disks and bad input, with the long ones
	$(BIN)/python -m pytest tests/faults -m "long or not long"

test-cluster: $(INSTALLED)   ## searches by hosts that fail, on network namespaces of this machine: needs root
	$(BIN)/python -m pytest tests/faults/test_hosts.py tests/faults/test_database_faults.py tests/faults/test_ray_nodes.py \
		-m "long or not long" -ra

check: $(INSTALLED)   ## format, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

dashboard: $(INSTALLED)   ## the dashboard on runs/
	$(BIN)/nas dashboard

docs: $(INSTALLED)   ## the documents as a site, in site/, with their links checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(INSTALLED)   ## reprints the figures of docs/benchmarks.md
	$(BIN)/python -m benchmarks

bench-search: $(INSTALLED)   ## reprints the figures of docs/benchmarks.md about searching: hours
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks proposals lengths choices promotions live

bench-outcome: $(INSTALLED)   ## what a person has after a time: hours; CIFAR10=FOLDER of its parquet files adds it
	$(BIN)/python -m benchmarks.outcome fashion
	$(if $(CIFAR10),$(BIN)/python -m benchmarks.outcome cifar10 --images 8000 --cifar10 $(CIFAR10))

screenshots: $(INSTALLED)   ## the pictures of the documents, from a real study; needs Chromium
	$(BIN)/python -m benchmarks.screenshots

clean:   ## removes what the other targets made, but no runs
	rm -rf $(VENV) dist build site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "nas needs Python 3.11 or newer; $(PYTHON) is older. Name another: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "This Python cannot make virtual environments. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dashboard,data,export,heic,postgresql,ray,s3,tensorboard,dev]'
	@touch $(INSTALLED)
