# The two commands of this project. Both need Python 3.11 or newer and make, and nothing else.
PYTHON ?= python3
BIN := .venv/bin
# ISA=avx2: as on a laptop without AVX-512; ISA=default: torch's own kernels as on any x86 processor.
ISA ?= all
LIMIT_all :=
LIMIT_avx2 := ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
LIMIT_default := ONEDNN_MAX_CPU_ISA=DEFAULT ATEN_CPU_CAPABILITY=default
$(if $(filter $(ISA),all avx2 default),,$(error ISA: expected avx2 or default, found $(ISA)))
# Two files of tests at a time, a core each: one after the other they keep one core busy.
PYTEST := OMP_NUM_THREADS=1 $(LIMIT_$(ISA)) $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

.PHONY: quickstart check lint test gallery gpu clean

quickstart: .venv/.installed  ## train a style; repaint the bundled photos with it and every shipped one
	$(BIN)/python scripts/quickstart.py

check: lint  ## lint, types, contracts and the fast tests: for daily use
	$(PYTEST) -m "not slow" -q

test: lint  ## lint, types, contracts and all tests
	$(PYTEST)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

gallery: .venv/.installed  ## redraw the pictures and tables of the documents from the checkpoints
	$(BIN)/python scripts/gallery.py
	$(BIN)/python scripts/controls_sheet.py

# Touched only after a whole installation: an interrupted one is done again.
.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# By the machine's own Python, which need not be able to install anything.
gpu:  ## on a machine with a CUDA GPU: its tests and figures within 8 minutes, to outputs/gpu.md
	PYTHONPATH=. $(PYTHON) scripts/gpu_report.py

clean:
	rm -rf .venv outputs quickstart
