"""Snapshots: the code that jobs take along."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slurm import snapshot
from yosinski.data.halves import Split
from yosinski.experiment.recipes import SKETCH
from yosinski.experiment.run import Run
from yosinski.records import specs


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    done = subprocess.run(["git", "-C", str(root), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository that looks like ours, and that the code seems to have been imported from."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "checkout"
    content = {
        "README.md": b"read me",
        ".gitignore": b"__pycache__/\n",
        "sweeps/submission.py": b"code",
        "sweeps/__pycache__/submission.cpython-311.pyc": b"compiled",
        "yosinski/__init__.py": b"",
        "yosinski/data/emoji.npz": b"\x00\xff",
        "yosinski/data/__pycache__/x.pyc": b"compiled",
    }
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "all")
    monkeypatch.setattr(snapshot, "__file__", str(root / "slurm" / "snapshot.py"))
    return root


def inside(path: str | None) -> dict[str, bytes]:
    root = Path(str(path))
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_a_snapshot_holds_the_code_and_nothing_else(tmp_path: Path, checkout: Path) -> None:
    found = snapshot.snapshot(tmp_path / "runs")
    assert inside(found["path"]) == {
        "sweeps/submission.py": b"code",
        "yosinski/__init__.py": b"",
        "yosinski/data/emoji.npz": b"\x00\xff",
    }
    assert Path(str(found["path"])).is_absolute()
    assert Path(str(found["path"])).parent == tmp_path / "runs" / "jobs"
    assert [path.name for path in (tmp_path / "runs" / "jobs").iterdir()] == [f"code-{found['hash']}"]


def test_a_snapshot_is_named_by_its_content(tmp_path: Path, checkout: Path) -> None:
    runs = tmp_path / "runs"
    first = snapshot.snapshot(runs)
    made = Path(str(first["path"])).stat().st_mtime_ns
    assert snapshot.snapshot(runs) == first
    assert Path(str(first["path"])).stat().st_mtime_ns == made
    code = checkout / "sweeps" / "submission.py"
    for change in (
        lambda: code.write_bytes(b"edoc"),
        lambda: code.rename(code.with_name("submissions.py")),
        lambda: (checkout / "yosinski" / "new.py").touch(),
    ):
        change()
        other = snapshot.snapshot(runs)
        assert other["path"] != first["path"]
        assert other["hash"] != first["hash"]
        assert snapshot.snapshot(runs) == other
    assert inside(first["path"])["sweeps/submission.py"] == b"code"  # what was submitted stays as it was
    assert len(list((runs / "jobs").iterdir())) == 4
    (checkout / "sweeps" / "__pycache__" / "other.pyc").touch()
    (checkout / "README.md").write_text("changed")
    assert snapshot.snapshot(runs) == other


def test_a_snapshot_names_the_commit_of_its_code_unless_that_was_changed(tmp_path: Path, checkout: Path) -> None:
    commit = lambda: snapshot.snapshot(tmp_path / "runs")["commit"]  # noqa: E731
    head = git(checkout, "rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", head)
    assert commit() == head
    (checkout / "README.md").write_text("no code")
    assert commit() == head
    code = checkout / "yosinski" / "__init__.py"
    code.write_text("x = 1")
    assert commit() is None
    git(checkout, "add", "yosinski")
    assert commit() is None
    git(checkout, "commit", "--quiet", "--message", "more")
    assert commit() == git(checkout, "rev-parse", "HEAD") != head
    (checkout / "sweeps" / "new.py").touch()
    assert commit() is None
    (checkout / "sweeps" / "new.py").unlink()
    code.unlink()
    assert commit() is None


def test_code_that_is_in_no_repository_or_only_within_another_one_has_no_commit(tmp_path: Path, checkout: Path) -> None:
    runs = tmp_path / "runs"
    shutil.rmtree(checkout / ".git")
    assert snapshot.snapshot(runs)["commit"] is None
    git(tmp_path, "init", "--quiet")  # as where a virtual environment lies in somebody's project
    git(tmp_path, "add", "checkout")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    assert snapshot.snapshot(runs)["commit"] is None


def test_a_checkout_behind_a_link_has_its_commit(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").symlink_to(checkout)
    monkeypatch.setattr(snapshot, "__file__", str(tmp_path / "home" / "slurm" / "snapshot.py"))
    assert snapshot.snapshot(tmp_path / "runs")["commit"] == git(checkout, "rev-parse", "HEAD")


def test_the_snapshot_of_this_code_can_be_imported_from_where_it_lies(tmp_path: Path) -> None:
    found = snapshot.snapshot(tmp_path / "my runs")
    imported = "from sweeps.running import job; from yosinski.experiment import run"
    show = f"{imported}; print(run.__file__, job.__file__, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(found["path"])}
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"{found['path']}/yosinski/experiment/run.py",
        f"{found['path']}/sweeps/running/job.py",
    ]


def test_a_job_finds_the_code_of_somebodys_network_in_the_runs_directory(tmp_path: Path, small_split: Split) -> None:
    """With nothing but the snapshot on its path, and whatever has become of the file."""
    path, runs = tmp_path / "net.py", tmp_path / "runs"
    (tmp_path / "width.py").write_text("WIDTH = 4")
    path.write_text(
        "from torch import nn\nfrom width import WIDTH\n\n\ndef build(num_classes):\n"
        "    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, num_classes)\n"
        "    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU(), *pooled)\n"
    )
    run = Run(f"{path}:build@32", small_split.a, SKETCH)
    specs.enrol(runs, run)
    path.write_text("raise SystemExit")
    (tmp_path / "width.py").unlink()
    show = (
        "import pathlib, sys; from yosinski.networks import build; from yosinski.records import specs\n"
        "run = specs.load(pathlib.Path(sys.argv[1]), sys.argv[2])\n"
        "print(run.network, *(name for name, _ in build.build(run.network, 2).named_children()))"
    )
    environment = {**os.environ, "PYTHONPATH": str(snapshot.snapshot(runs)["path"])}
    command = [sys.executable, "-c", show, str(runs), run.id]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [run.network, "0", "head"]
