# make demo      the example site at http://127.0.0.1:8000/
# make test      the whole test suite (ten to fifteen minutes on two free cores)
# make test-quick  its quick part: no browser, no other servers (under two minutes)
# make check     ruff, mypy
# make docs      the documentation, into docs/_build/html
# make coverage  the suite once more, counting the package's lines and branches
# make release   the package in dist/, checked, and what is left to do by hand
# make bench     the benchmarks, beside other servers (they need wrk; about an hour)
#
# Everything is installed into .venv, at the first run. Variables:
#   PYTHON=python3.12      the interpreter (3.11 or newer)
#   VENV=.venv-3.12        another environment
#   DJANGO='django~=5.2'   another Django in it
#   ADDRESS=8001           where the demo listens, as runserver takes it
#   ARGS='-k mount'        further arguments for pytest
#   ARGS=--quick           or for the benchmarks (ARGS=--help shows them all)

PYTHON := $(or $(PYTHON),$(shell \
	for python in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& echo $$python && break; \
	done))
VENV := .venv
ADDRESS := 127.0.0.1:8000
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(DJANGO)

.PHONY: demo test test-quick check coverage docs release bench clean

demo: $(VENV)/installed
	@$(BIN)/python manage.py demo
	@trap : INT; $(BIN)/python manage.py runserver $(ADDRESS) || { \
		echo "If that port is in use, choose another one: make demo ADDRESS=8001" >&2; exit 1; }

# Other people's packages and Sphinx, for the tests that need them; without them these are skipped.
PACKAGES := $(CI)
test: $(VENV)/installed-test $(if $(PACKAGES),$(VENV)/installed-packages $(VENV)/installed-docs)
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

test-quick: $(VENV)/installed-test
	QUICK=1 $(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(ARGS)

check: $(VENV)/installed-test $(VENV)/installed-lint
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy

coverage: $(VENV)/installed-test
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --numprocesses=2 --dist=loadfile $(ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "The documentation is at docs/_build/html/index.html"

# With the tag of a release, whatever it lacks is an error: make release TAG=v1.2.3
release: $(VENV)/installed-release
	rm -rf build dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	@$(BIN)/python .ci/release $(TAG)

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info

# An installation is made again when the requirements change.
$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(INSTALL) -e .
	@touch $@

$(VENV)/installed-%: pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[$*]'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
