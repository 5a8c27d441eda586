PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
YOSINSKI := $(BIN)/yosinski

.PHONY: help install figure2 figure2-full fuse branch test test-slow test-all test-slurm bench lint clean

help:
	@echo "make figure2       train 58 small networks on emoji and draw the paper's figure 2, first with frozen copies alone"
	@echo "make figure2-full  the same on four splits: 232 networks, with intervals"
	@echo "make fuse          train 34 networks that join two inputs and draw where they should meet"
	@echo "make branch        train 11 networks, most for two tasks, and draw down to where they may share"
	@echo "make test          all tests but those that take minutes or need a SLURM"
	@echo "make test-all      those that take minutes, too (make test-slow: these alone)"
	@echo "make test-slurm    those, on a small SLURM of their own (root; slurm/testbed up --install has what it needs)"
	@echo "make bench         a grid beside plain PyTorch and a tuned version of it; counts of a step (benchmarks/README.md)"
	@echo "make lint          ruff and pyright"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "yosinski needs Python 3.11 or newer; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@

FIGURE2 := --sweep figure2 --where split=random:0

figure2: install
	@echo "The whole figure, with fine-tuned copies:"
	@$(YOSINSKI) plan figure2 --measure --brief
	@echo "First its curves of frozen copies:"
	$(YOSINSKI) run figure2 -p treatments=frozen
	$(YOSINSKI) draw 2 $(FIGURE2) --out figures/figure2.png --out figures/figure2.pdf
	@echo "figures/figure2.png has the frozen copies; now the fine-tuned ones:"
	$(YOSINSKI) run figure2
	$(YOSINSKI) draw 2 $(FIGURE2) --out figures/figure2.png --out figures/figure2.pdf
	@$(YOSINSKI) advise $(FIGURE2) | head -n 8

figure2-full: install
	$(YOSINSKI) run figure2 -p splits=random:0,random:1,random:2,random:3
	$(YOSINSKI) draw 2 --sweep figure2 --out figures/figure2-full.png --out figures/figure2-full.pdf

fuse: install
	$(YOSINSKI) run fuse
	$(YOSINSKI) draw fuse --sweep fuse --out figures/fuse.png --out figures/fuse.pdf

branch: install
	$(YOSINSKI) run branch -p cuts=3,5,7 -p scored=A
	$(YOSINSKI) draw branch --sweep branch --out figures/branch.png --out figures/branch.pdf

# Tests start many processes, which need not compile our modules each.
test test-slow test-slurm: export PYTHONDONTWRITEBYTECODE :=

test: install
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: install
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-all: test test-slow

test-slurm: install
	YOSINSKI_TEST_SLURM=1 $(BIN)/python -m pytest -n 3 $(ONLY) tests/slurm/test_slurm.py

bench: install
	$(BIN)/python benchmarks/plain.py
	$(BIN)/python benchmarks/counts.py

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf figures build *.egg-info
