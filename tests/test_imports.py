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
HEAVY = ("torch", "torchvision", "submitit")


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


def circles() -> list[list[str]]:
    """Modules that import each other, directly or not, also within functions."""
    graph = TopologicalSorter({name: ours(name) - {name} for name in MODULES})
    try:
        graph.prepare()
    except CycleError as error:
        return [error.args[1]]
    return []


def test_no_modules_import_each_other() -> None:
    assert circles() == []


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
    assert not any(name.startswith(("sweeps", "slurm")) for name in ours(module))
    assert not {name.split(".")[0] for name in imported(source, everywhere=True)} & set(HEAVY)


def test_nobody_imports_the_command_line() -> None:
    for module in MODULES.keys() - ROOT_OF_ALL:
        assert not ROOT_OF_ALL & ours(module)
    assert not any("yosinski.__main__" in ours(module) for module in MODULES)


def test_the_experiment_imports_neither_sweeps_nor_analysis() -> None:
    for module in [name for name in MODULES if name.startswith("yosinski") and name not in ROOT_OF_ALL]:
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
