# The two commands of this project. Both need Python 3.11 or newer and make, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
# Two files of tests at a time, a core each: one after the other they keep one core busy.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: quickstart test gallery clean

quickstart: .venv/.installed  ## train a style; repaint the bundled photos with it and every shipped one
	$(BIN)/python scripts/quickstart.py

test: .venv/.installed  ## lint, formatting and all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTEST)

gallery: .venv/.installed  ## redraw the pictures and tables of the documents from the checkpoints
	$(BIN)/python scripts/gallery.py
	$(BIN)/python scripts/controls_sheet.py

# Touched only after a whole installation: an interrupted one is done again.
.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# By the machine's own Python, which need not be able to install anything.
.PHONY: gpu
gpu:  ## on a machine with a CUDA GPU: its tests and figures within 8 minutes, to outputs/gpu.md
	PYTHONPATH=. $(PYTHON) scripts/gpu_report.py

clean:
	rm -rf .venv outputs quickstart
