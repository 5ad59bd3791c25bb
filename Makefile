# Run `make` for the list of commands.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

define HELP
The streaming anomaly monitor

  make demo    train on real traffic, stream it through the daemon, watch the alerts
  make test    run the tests, on Apache Kafka where Java and Maven (or KAFKA_HOME) are there
  make lint    check style, types, and which package may import which
  make bench   measure it through Apache Kafka, beside others that do the same
  make chaos   make things go wrong under load, and see that nothing is lost or double
  make fuzz    look for input that a decoder or parser does not account for
  make docs    write the reference pages of docs/, and schemas/, from the code
  make setup   only make the environment in $(VENV), with the command $(BIN)/monitor
  make clean   remove $(VENV) and everything else that these commands have made

Each makes its own environment first and needs nothing but Python 3.11 or newer.

  make demo KEEP=1              stay up until Ctrl-C
  make demo BROKER=host:port    use that Kafka instead of the embedded broker
  make test ARGS="-k alerts"    arguments for pytest
  make chaos ARGS="--only kill --times 20"   one fault, so often; all of them take hours
  make fuzz ARGS="--seconds 600 --inputs 2000000"   so much for each target, at most
  make ... PYTHON=python3.12    the Python to use; a torch >= 2.6 of its own is kept
  make ... TORCH_INDEX=URL      take torch from this index, such as one of CPU builds: some 2 GB
                                less to download than the ordinary build with CUDA
endef

.PHONY: help demo test lint bench chaos fuzz docs setup setup-dev setup-bench setup-fuzz clean
.DEFAULT_GOAL := help

help:
	$(info $(HELP))
	@:

demo: setup
	$(BIN)/monitor demo $(if $(filter-out 0,$(KEEP)),--keep) $(if $(BROKER),--broker $(BROKER))

test: setup-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/monitor schemas --check

bench: setup-bench
	$(BIN)/python -m tests.bench $(ARGS)

chaos: setup-dev
	$(BIN)/python -m tests.chaos $(ARGS)

fuzz: setup-fuzz
	$(BIN)/python -m tests.fuzz $(ARGS)

docs: setup-dev
	$(BIN)/python -m tests.docs.generate
	$(BIN)/monitor schemas

setup: $(VENV)/.installed-demo

setup-dev: $(VENV)/.installed-dev

setup-bench: $(VENV)/.installed-bench

setup-fuzz: $(VENV)/.installed-fuzz

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis \
		.import_linter_cache demo-run bench-results chaos-results fuzz-results
	find monitor tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: the pinned packages, and torch from wherever it is had with the least to fetch.

IS_RECENT := import sys; sys.exit(sys.version_info < (3, 11))
HAS_TORCH := import sys, torch; \
	sys.exit(tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6))
# A line for a .pth file that adds the packages beside this Python's torch.
TORCH_SITE := import pathlib, torch; \
	print(f"import site; site.addsitedir({str(pathlib.Path(torch.__file__).parents[1])!r})")
SITE_PACKAGES := import sysconfig; print(sysconfig.get_path("purelib"))

PINS := $(VENV)/constraints.txt
# The second variable holds for the tools that build the package.
PIP_INSTALL := PIP_CONSTRAINT=$(PINS) PIP_BUILD_CONSTRAINT=$(PINS) \
	$(BIN)/python -m pip install --disable-pip-version-check

ifdef TORCH_INDEX
SIZE := about 0.4 GB to download with a CPU build of torch, more with another
else ifeq ($(shell uname -s),Linux)
SIZE := about 2.9 GB to download and 5.8 GB on disk, as torch brings CUDA; \
	TORCH_INDEX=URL takes a smaller build from elsewhere
else
SIZE := about 0.4 GB to download
endif

$(VENV)/.made:
	@[ -x $(BIN)/python ] || $(PYTHON) -c '$(IS_RECENT)' || { \
		echo "The monitor needs Python 3.11 or newer and $(PYTHON) is not:" \
			"name one, as in make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	@$(BIN)/python -c '$(HAS_TORCH)' 2>/dev/null || ! $(PYTHON) -c '$(HAS_TORCH)' 2>/dev/null || \
		$(PYTHON) -c '$(TORCH_SITE)' > "$$($(BIN)/python -c '$(SITE_PACKAGES)')/torch-site.pth"
	@touch $@

$(VENV)/.installed-demo: EXTRAS := demo
$(VENV)/.installed-dev: EXTRAS := demo,dev
$(VENV)/.installed-bench: EXTRAS := demo,dev,bench
$(VENV)/.installed-fuzz: EXTRAS := demo,dev,fuzz
$(VENV)/.installed-%: $(VENV)/.made pyproject.toml constraints.txt
	@if $(BIN)/python -c '$(HAS_TORCH)' 2>/dev/null; then \
		sed '/^# torch/,$$d' constraints.txt > $(PINS); \
		echo "Setting up $(VENV) with the torch that is there: at most 0.3 GB to download."; \
	else \
		cp constraints.txt $(PINS); \
		echo "Setting up $(VENV): $(SIZE)."; \
		[ -z "$(TORCH_INDEX)" ] || \
			$(PIP_INSTALL) --no-deps --index-url "$(TORCH_INDEX)" torch; \
	fi
	$(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.installed-demo
