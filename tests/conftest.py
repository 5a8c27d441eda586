"""What several tests share: the emoji store, and two small tasks with a recipe that learns them in seconds."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sharing import Shared
from threadpoolctl import threadpool_limits

from slurm import cluster
from slurm.cluster import Element
from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.halves import Split, split
from yosinski.data.store import Store
from yosinski.experiment.recipes import SKETCH, Recipe

# Classes that differ in colour and outline: five of them are learned in some fifty steps.
SMALL = {
    "A": ["tangerine", "frog", "penguin", "pencil", "volcano"],
    "B": ["tomato", "spouting-whale", "panda", "banana", "locomotive"],
}


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is remembered of directories does not go where the user's caches are."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("caches"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Libraries compute with one thread, also in processes that tests start: more on busy cores wait for each other."""
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Gets a directory (or a file) by its name, which the first worker of pytest-xdist that asks for it makes."""
    base = tmp_path_factory.getbasetemp()
    common = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def get(name: str, make: Callable[[Path], object]) -> Path:
        with (common / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (common / f"{name}.made").exists():
                make(common / name)
                (common / f"{name}.made").touch()
        return common / name

    return get


@pytest.fixture(scope="session")
def stores(shared: Shared) -> Path:
    """A stores directory with emoji in it."""
    return shared("stores", lambda path: data_stores.load(find.card("emoji"), path))


@pytest.fixture(scope="session")
def store(stores: Path) -> Store:
    """The store of emoji."""
    return data_stores.load(find.card("emoji"), stores)


@pytest.fixture(scope="session")
def small_split_file(shared: Shared) -> Path:
    """A split file with two disjoint halves of five classes each."""
    return shared("small.json", lambda path: path.write_text(json.dumps(SMALL), encoding="utf-8"))


@pytest.fixture(scope="session")
def small_split(small_split_file: Path) -> Split:
    """The two halves of the split file."""
    return split(find.card("emoji"), str(small_split_file))


@pytest.fixture(scope="session")
def small_recipe() -> Recipe:
    """Enough training for a base on five classes to be far above chance, in about a second."""
    return SKETCH.with_values({"batch_size": 32, "epochs": 6.0, "evaluations": 3})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[int, Element]]:
    """What SLURM says of the jobs of a name."""
    elements: dict[str, dict[int, Element]] = {}
    monkeypatch.setattr(cluster, "name", lambda: "here")
    monkeypatch.setattr(cluster, "elements", lambda names: {name: elements.get(name, {}) for name in names})
    return elements
