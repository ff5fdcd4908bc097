# On a fresh Debian machine with Python >= 3.11: `make demo` runs the whole pipeline, `make ui` starts
# Prefect to watch and schedule it, `make test` passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Which of the long tests `make slow` runs: all, or those of some folders.
SLOW ?= tests
# On how many processes: those of the flows measure times and want the machine for themselves.
SLOW_PROCESSES ?= 0
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.PHONY: demo ui test slow check format clean

demo: $(VENV)/.demo
	$(BIN)/hibari demo

ui: $(VENV)/.demo
	$(BIN)/hibari up

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m slow -n $(SLOW_PROCESSES) --dist loadfile $(SLOW)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment: on Debian, apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "cannot make a virtual environment: on Debian, apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	@touch $@ $(VENV)/.demo
