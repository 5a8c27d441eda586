"""One direction: nothing downstream is imported upstream, and what needs no torch loads none."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("yosinski", "sweeps", "analysis")
HEAVY = ("torch", "torchvision", "submitit")

# Every module may import from modules in earlier lines only. `data` looks up its data sets lazily.
ORDER = """
yosinski
yosinski.errors yosinski.identity yosinski.health yosinski.telling
yosinski.architectures
yosinski.recipes
yosinski.spec
yosinski.files yosinski.claims yosinski.cuts yosinski.own_code
yosinski.traced
yosinski.own
yosinski.data
yosinski.data.emoji yosinski.data.synsets
yosinski.halves yosinski.records yosinski.environment yosinski.cost
yosinski.data.store
yosinski.data.scanning
yosinski.data.listing yosinski.data.pickles yosinski.data.hashes yosinski.data.oddities
yosinski.data.jpegs
yosinski.data.imagenet yosinski.data.folders yosinski.data.cifar yosinski.data.torchvision_sets
yosinski.data.lists
yosinski.data.sources
yosinski.data.cards yosinski.data.decoding
yosinski.outside
yosinski.data.making yosinski.data.stream yosinski.data.survey yosinski.data.sheet
yosinski.data.moments
yosinski.layers yosinski.libraries yosinski.segments yosinski.recording yosinski.batches
yosinski.recorded
yosinski.graph
yosinski.own_graph
yosinski.networks
yosinski.surgery yosinski.torch_files yosinski.clock
yosinski.features yosinski.saved yosinski.fitting
yosinski.weights
yosinski.export
yosinski.pack
yosinski.devices
yosinski.evaluation yosinski.checkpoints
yosinski.bottleneck
yosinski.training
yosinski.run
yosinski.predictors
yosinski.predicting
""".strip().splitlines()
RANK = {module: rank for rank, line in enumerate(ORDER) for module in line.split()}
LAZY = {
    ("yosinski.data", "yosinski.data.emoji"),
    ("yosinski.data", "yosinski.data.cards"),
    ("yosinski.architectures", "yosinski.traced"),
    ("yosinski.architectures", "yosinski.own"),
    ("yosinski.traced", "yosinski.own"),
    ("yosinski.own", "yosinski.own_graph"),
    ("yosinski.libraries", "yosinski.own_graph"),
    ("yosinski.graph", "yosinski.own_graph"),
    ("yosinski.traced", "yosinski.graph"),
    ("yosinski.outside", "yosinski.weights"),
}


def modules() -> dict[str, Path]:
    """All of our modules by name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
ROOT_OF_ALL = {"yosinski.__main__", *(name for name in MODULES if name.startswith("yosinski.commands"))}


def at_top(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported: not what is in functions or under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from at_top(node)


def imported(source: str, everywhere: bool) -> set[str]:
    """What a module imports, modules and packages alike; `from a import b` counts as a.b where that is a module."""
    tree = ast.parse(source)
    found = set()
    for node in ast.walk(tree) if everywhere else at_top(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their layer"
            assert node.module is not None
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return found


def ours(module: str, everywhere: bool = True) -> set[str]:
    """Which of our modules a module imports."""
    return imported(MODULES[module].read_text(encoding="utf-8"), everywhere) & MODULES.keys()


def test_imports_are_found_as_they_are_written() -> None:
    source = (
        "import json\nfrom yosinski import spec, cost\nfrom yosinski.spec import Run\n"
        "if TYPE_CHECKING:\n    import submitit\ntry:\n    import a\nexcept ImportError:\n    pass\n"
        "def f():\n    import torch\n"
    )
    top = {"json", "yosinski.spec", "yosinski.cost", "a"}
    assert imported(source, everywhere=False) == top
    assert imported(source, everywhere=True) == top | {"submitit", "torch"}


def test_every_module_of_the_experiment_has_its_place() -> None:
    assert {name for name in MODULES if name.startswith("yosinski")} - ROOT_OF_ALL == RANK.keys()


@pytest.mark.parametrize("module", RANK)
def test_modules_import_from_earlier_layers_only(module: str) -> None:
    wrong = {other for other in ours(module) if RANK.get(other, 999) >= RANK[module]}
    assert {(module, other) for other in wrong} <= LAZY
    assert not wrong & ours(module, everywhere=False)


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("sweeps")])
def test_sweeps_load_nothing_that_needs_torch_until_a_job_starts(module: str) -> None:
    reached, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += ours(name, everywhere=False)
    for name in reached:
        loaded = imported(MODULES[name].read_text(encoding="utf-8"), everywhere=False)
        assert not {other.split(".")[0] for other in loaded} & set(HEAVY), name
    lazily = {other for other in ours(module) if other.startswith("yosinski")} - ours(module, everywhere=False)
    assert lazily <= {"yosinski.run"}
    assert not any(other.startswith("analysis") for other in ours(module))


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("analysis")])
def test_analysis_reads_records_only(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    allowed = {
        "yosinski.architectures",
        "yosinski.errors",
        "yosinski.identity",
        "yosinski.spec",
        "yosinski.files",
        "yosinski.halves",
        "yosinski.records",
        "yosinski.data",
        "yosinski.telling",
    }
    assert {name for name in ours(module) if not name.startswith("analysis")} <= allowed
    assert not {name.split(".")[0] for name in imported(source, everywhere=True)} & set(HEAVY)


def test_nobody_imports_the_command_line() -> None:
    for module in MODULES.keys() - ROOT_OF_ALL:
        assert not ROOT_OF_ALL & ours(module)
    assert not any("yosinski.__main__" in ours(module) for module in MODULES)


def test_the_experiment_imports_neither_sweeps_nor_analysis() -> None:
    for module in RANK:
        assert not any(name.startswith(("sweeps", "analysis")) for name in ours(module)), module


def loaded_by(code: str, cwd: Path) -> set[str]:
    """Which heavy packages are loaded in a fresh interpreter after this code."""
    told = f"{code}\nimport sys\nprint('loaded:', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, cwd=cwd, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


COMMANDS = {
    "help": "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0",
    "plan": "assert main(['plan', 'figure2']) == 0",
    "plan as JSON": "assert main(['plan', 'figure2', '--json']) == 0",
    "halves": "assert main(['halves', 'natman']) == 0",
    "the paper's halves": "assert main(['halves', 'paper:2', '--json']) == 0",
    "data show": "assert main(['data', 'show', 'emoji']) == 0",
    "bad input": "assert main(['plan', 'figure9']) == 2",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_train_nothing_load_no_torch(command: str, tmp_path: Path) -> None:
    assert loaded_by(f"from yosinski.__main__ import main\n{COMMANDS[command]}", tmp_path) == set()


def test_analysis_loads_no_torch(tmp_path: Path) -> None:
    everything = ", ".join(name for name in MODULES if name.startswith("analysis"))
    assert loaded_by(f"import {everything}", tmp_path) == set()


def test_what_is_loaded_is_seen(tmp_path: Path) -> None:
    assert loaded_by("import submitit", tmp_path) >= {"submitit"}
