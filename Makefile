# `make demo` and `make test` do their own set-up: a machine needs Python 3.11+ and make.
PYTHON ?= python3
UV     := .tools/bin/uv
TAG    := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV   := .venv-$(TAG)
RUN    := $(VENV)/bin

SYSTEM := chromium

.PHONY: demo test lint types bench setup matrix system clean

demo: setup
	$(RUN)/python -m examples.demo

test: setup matrix system
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

# A browser for the tests of the dashboard: the package index has none.
system:
	@command -v $(SYSTEM) >/dev/null || { \
	  as=; [ "$$(id -u)" = 0 ] || as=sudo; \
	  $$as apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as apt-get install -qq -y --no-install-recommends $(SYSTEM) >/dev/null; \
	} || { echo "the tests of the dashboard need Chromium: apt-get install chromium" >&2; exit 1; }

clean:
	rm -rf .tools .venv-* .matrix dist build
