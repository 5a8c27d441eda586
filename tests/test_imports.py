"""One direction: nothing downstream is imported upstream, and what needs no torch loads none."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("yosinski", "sweeps", "slurm", "analysis")
HEAVY = ("torch", "torch._dynamo", "torchvision", "submitit", "tokenizers", "transformers")

# Rooms from bottom to top: a module imports from its own room and from those in earlier lines.
ROOMS = """
yosinski.errors yosinski.identity yosinski.environment
yosinski.files yosinski.randomness
yosinski.networks
yosinski.data
yosinski.experiment
yosinski.records
yosinski.training yosinski.pretrained
yosinski.procedure
yosinski.prediction
yosinski
sweeps analysis
slurm
yosinski.cli
yosinski.__main__
""".strip().splitlines()
RANK = {room: rank for rank, line in enumerate(ROOMS) for room in line.split()}
TOP = ("yosinski.cli", "yosinski.__main__")
ENTRY = {  # what is loaded when a job or a trial starts, and not before
    "sweeps.running.job": {"yosinski.procedure"},
    "sweeps.running.trials": {"yosinski.training.timing"},
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


def room(module: str) -> str:
    """The room that a module lies in."""
    first, _, rest = module.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if rest and first == "yosinski" else first


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
        "import json\nfrom yosinski.experiment import run, cost\nfrom yosinski.experiment.run import Run\n"
        "if TYPE_CHECKING:\n    import submitit\ntry:\n    import a\nexcept ImportError:\n    pass\n"
        "def f():\n    import torch\n"
    )
    top = {"json", "yosinski.experiment.run", "yosinski.experiment.cost", "a"}
    assert imported(source, everywhere=False) == top
    assert imported(source, everywhere=True) == top | {"submitit", "torch"}


def test_every_module_lies_in_a_room() -> None:
    assert {room(module) for module in MODULES} == RANK.keys()


@pytest.mark.parametrize("module", MODULES)
def test_modules_import_from_lower_rooms_only(module: str) -> None:
    rooms = {room(other) for other in ours(module)} - {room(module)}
    assert {other for other in rooms if RANK[other] >= RANK[room(module)]} == set()


def test_no_modules_import_each_other() -> None:
    graph = TopologicalSorter({name: ours(name) - {name} for name in MODULES})
    graph.prepare()  # CycleError, which names them


def test_a_circle_is_seen() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"a"}}).prepare()


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) in ("sweeps", "slurm")])
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
    assert lazily <= ENTRY.get(module, set())


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "analysis"])
def test_analysis_reads_records_and_nothing_heavy(module: str) -> None:
    source = MODULES[module].read_text(encoding="utf-8")
    read = {other for other in map(room, ours(module)) if other != "analysis"}
    assert not read & {"sweeps", "yosinski.training", "yosinski.pretrained", "yosinski.prediction"}
    assert not {name.split(".")[0] for name in imported(source, everywhere=True)} & set(HEAVY)


def loaded_by(code: str, cwd: Path) -> set[str]:
    """Which heavy packages are loaded in a fresh interpreter after this code."""
    program = f"{code}\nimport sys\nprint('loaded:', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


COMMANDS = {
    "help": "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0",
    "plan": "assert main(['plan', 'figure2']) == 0",
    "plan as JSON": "assert main(['plan', 'figure2', '--json']) == 0",
    "halves": "assert main(['halves', 'natman']) == 0",
    "the paper's halves": "assert main(['halves', 'paper:2', '--json']) == 0",
    "data show": "assert main(['data', 'show', 'emoji']) == 0",
    "plan of texts": "assert main(['plan', 'figure2', '--data', 'words:en', '-p', 'network=textnet']) == 0",
    "bad input": "assert main(['plan', 'figure9']) == 2",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_train_nothing_load_no_torch(command: str, tmp_path: Path) -> None:
    assert loaded_by(f"from yosinski.cli.main import main\n{COMMANDS[command]}", tmp_path) == set()


def test_analysis_loads_no_torch(tmp_path: Path) -> None:
    everything = ", ".join(name for name in MODULES if name.startswith("analysis"))
    assert loaded_by(f"import {everything}", tmp_path) == set()


STEPS = """
import torch
from yosinski.experiment.recipes import EMOJI
from yosinski.training.steps.optimiser import Group, Optimiser, take
weight = torch.nn.Parameter(torch.ones(1))
weight.sum().backward()
for recipe in (EMOJI, EMOJI.with_values({"optimiser": "adamw"})):
    before = weight.item()
    take([(Optimiser(recipe, [Group({"weight": weight})]), 0.1)])
    assert weight.item() < before
"""


def test_steps_do_not_load_torchs_compiler(tmp_path: Path) -> None:
    assert loaded_by(STEPS, tmp_path) == {"torch"}


def test_what_is_loaded_is_seen(tmp_path: Path) -> None:
    assert loaded_by("import submitit", tmp_path) >= {"submitit"}
