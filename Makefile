# `make demo` and `make test` do their own set-up: a machine needs Python 3.11+ and make.
PYTHON ?= python3
UV     := .tools/bin/uv
TAG    := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV   := .venv-$(TAG)
RUN    := $(VENV)/bin

# What the package index does not have: a browser for the dashboard, and who reads the metrics (promtool comes with it).
SYSTEM := chromium prometheus

# Hundreds of processes import the same packages, each compiling them again where images forbid to keep the results.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types bench setup matrix system clean

demo: setup
	$(RUN)/python -m examples.demo

# Other environments and programs are for the tests marked `long`.
test: setup $(if $(findstring not long,$(TESTS)),,matrix system)
	$(RUN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(TESTS)

lint: setup
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: setup
	$(RUN)/mypy

bench: setup
	$(RUN)/python -m benchmarks

setup: $(VENV)/.ready
matrix: .matrix/$(TAG)/.ready

$(UV):
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.ready: pyproject.toml | $(UV)
	$(UV) venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	$(UV) pip install --quiet --python $(VENV) --group test --group lint -e '.[fastapi,flask,openai,anthropic,slack]'
	touch $@

# The SDK versions beside the current ones that the provider tests run against, each in an environment of its own.
.matrix/$(TAG)/.ready: tests/matrix.txt $(VENV)/.ready | $(UV)
	$(RUN)/python -m tests.matrix --uv $(UV) --into .matrix/$(TAG)
	touch $@

system:
	@missing=$$(for name in $(SYSTEM); do command -v $$name >/dev/null || echo $$name; done); \
	[ -z "$$missing" ] || { \
	  as=; [ "$$(id -u)" = 0 ] || as=sudo; \
	  $$as apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive $$as apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	} || { echo "the tests need $(SYSTEM): apt-get install $(SYSTEM)" >&2; exit 1; }

clean:
	rm -rf .tools .venv-* .matrix dist build
