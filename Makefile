# make run   shows HAL at work on this machine        make test   checks everything
#
# Both need only Python 3.11 or later with pip. Everything goes into .venv, from which it can be removed with it.
# The install is editable, so that what runs and what is tested is this tree; its bytecode is compiled here, because a
# command that compiles itself at each start (PYTHONDONTWRITEBYTECODE=1) would be several times slower.

.PHONY: run test lint types pytest compile docs
.DELETE_ON_ERROR:

DISTRIBUTIONS := . ./hal_plugin_slurm ./hal_plugin_aws ./hal_plugin_ml
SOURCES := hal_core plugins $(wildcard hal_plugin_*/src)
PYPROJECTS := $(DISTRIBUTIONS:%=%/pyproject.toml)
EDITABLE := $(DISTRIBUTIONS:%=-e %)
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A venv without pip of its own (Debian without python3-venv) is filled by the pip outside it.
PIP = $$( [ -x $(BIN)/pip ] && echo $(BIN)/python -m pip || echo $$(cat .venv/made-by) -m pip --python $(BIN)/python )

run: .venv/installed compile
	$(BIN)/hal demo

test: lint types pytest

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed-for-tests
	$(BIN)/mypy

# Two at a time what needs nothing but itself; then, two files at a time, what starts daemons, other programs and machines.
# Its sockets lie in --basetemp: the paths of sockets are short.
TESTS_BY_FILE := tests/end_to_end hal_plugin_slurm/tests hal_plugin_aws/tests
TESTS_BESIDE := $(filter-out $(TESTS_BY_FILE),$(patsubst %/,%,$(sort $(dir $(wildcard tests/*/test_*.py hal_plugin_*/tests/test_*.py)))))
pytest: .venv/installed-for-tests compile
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(TESTS_BESIDE); \
	beside=$$?; short=$$(mktemp -d); \
	$(BIN)/python -m pytest --basetemp $$short --numprocesses 2 --dist loadfile $(TESTS_BY_FILE) && rm -rf $$short && exit $$beside

# A link that leads nowhere, or a page that nothing leads to, fails.
docs: .venv/installed-for-tests
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs/site -d build/doctrees -b html . build/site
	@echo "open build/site/README.html"

compile: .venv/installed
	@$(BIN)/python -m compileall -q $(SOURCES)

.venv/installed: .venv/made-by $(PYPROJECTS)
	@echo "installing HAL and its plugins into .venv (a minute or less)"
	@$(PIP) install --quiet "hatchling>=1.25" editables
	@$(PIP) install --quiet --no-build-isolation $(EDITABLE)
	@touch $@

.venv/installed-for-tests: .venv/installed
	@echo "installing what the tests need"
	@$(PIP) install --quiet --no-build-isolation -e ".[test]"
	@touch $@

.venv/made-by:
	@python="$$(for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	    $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$each && break; done)"; \
	if [ -z "$$python" ]; then echo "HAL needs Python 3.11 or later; none was found" >&2; exit 1; fi; \
	echo "making .venv with $$python"; \
	[ -x $(BIN)/python ] || $$python -m venv .venv 2>/dev/null || $$python -m venv --clear --without-pip .venv; \
	echo "$$python" > $@
