"""What a job does before it trains: the store on the node's own disk, and no need for what it was made of."""

import shutil
from pathlib import Path

import pytest
from imagenet import make_tree

from slurm import job
from yosinski import procedure
from yosinski.data import find
from yosinski.data import store as data_stores
from yosinski.data.half import Half
from yosinski.data.halves import split
from yosinski.data.pictures import making
from yosinski.environment import Where
from yosinski.errors import BadInput, Failure
from yosinski.experiment.recipes import SKETCH
from yosinski.experiment.run import Run
from yosinski.records import specs, states


@pytest.fixture
def half(tmp_path: Path) -> Half:
    """Two natural classes of a tree that has been stored in `stores` and deleted."""
    text = f"imagenet-32:{make_tree(tmp_path / 't', 4, train=3, val=2)}"
    begun = making.begin(text, tmp_path / "stores")
    assert isinstance(begun, making.Making)
    making.fill(begun, workers=1)
    half = split(find.card(text), "natman").b
    shutil.rmtree(tmp_path / "t")
    return half


def test_a_store_is_copied_to_the_nodes_own_disk_once(
    half: Half, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCH", str(tmp_path / "node"))
    left = tmp_path / "node" / f".{data_stores.location(half, tmp_path).name}.killed"
    left.mkdir(parents=True)
    there = job.stage(half, tmp_path / "stores", "$SCRATCH")
    assert there == tmp_path / "node"
    copied, original = data_stores.of(half, there), data_stores.of(half, tmp_path / "stores")
    assert (copied.images == original.images).all()
    assert copied.card == original.card
    assert not left.exists()
    shutil.rmtree(tmp_path / "stores")
    assert job.stage(half, tmp_path / "stores", "$SCRATCH") == there
    with pytest.raises(BadInput, match="no such variable"):
        job.stage(half, tmp_path / "stores", "$NOWHERE_AT_ALL")


def test_a_store_that_does_not_fit_the_node_is_not_copied(
    half: Half, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(BadInput, match=r"imagenet-32-\w+ needs 0.0 GB, .*node.* has 0.0 GB free"):
        job.stage(half, tmp_path / "stores", str(tmp_path / "node"))
    assert not list((tmp_path / "node").glob("imagenet-*"))


def test_a_copy_that_fails_leaves_nothing_behind(half: Half, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        job.stage(half, tmp_path / "stores", str(tmp_path / "node"))
    assert [path.suffix for path in (tmp_path / "node").iterdir()] == [".lock"]


def test_runs_need_the_store_alone(half: Half, tmp_path: Path) -> None:
    where = Where(tmp_path / "runs", tmp_path / "stores", device="cpu", precision="float32")
    run = Run("alexnet32", half, SKETCH.with_values({"epochs": 2.0, "evaluations": 1}))
    specs.enrol(where.runs, run)
    procedure.run_pack([run.id], where)
    record = states.read_record(specs.folder(where.runs, run.id))
    assert record is not None
    assert record["per_class"]["test"]["images"] == [1, 1]


def test_a_half_of_another_version_of_what_travels_with_the_package_is_refused(stores: Path) -> None:
    old = Half("emoji", "f00d", ("ant", "bear"))
    with pytest.raises(Failure, match=r"half .* was made of another version of emoji: its fingerprint is f00d"):
        data_stores.of(old, stores)
