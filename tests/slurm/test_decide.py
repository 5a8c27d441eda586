"""`yosinski decide --profile`: each round is submitted, and the same command goes on when its records are there."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import synthetic
from submitted import executable

from slurm import cluster, submission
from slurm.cluster import Element
from sweeps.decide import choosing
from yosinski.cli import cluster as commands
from yosinski.cli.main import main

PROGRAMS = {
    "srun": "",
    "squeue": "",
    "scancel": "",
    "scontrol": "",
    "sacctmgr": "",
    "sinfo": 'case "$*" in *%P*) echo "main* infinite" ;; *%c*) echo "4 8000 (null)" ;; *) hostname ;; esac',
    "sbatch": """[ "$1" = --test-only ] && exit 0
cd "$(dirname "$0")"
count=$(($(cat count 2>/dev/null || echo 40) + 1)); echo $count > count
echo "Submitted batch job $count"
""",
}
SWEEP = ["cuts=2,4", "treatments=tuned"]
Decide = Callable[..., tuple[int, str]]


@pytest.fixture
def decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Decide:
    """Runs the command with a profile, where all jobs stay in the queue; exit status and output."""
    for name, text in PROGRAMS.items():
        executable(tmp_path / "bin" / name, f"#!/bin/sh\n{text}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(cluster, "name", lambda: "here")
    monkeypatch.setattr(commands, "prepare", lambda *anything: None)

    def elements(names: object) -> dict[str, dict[int, Element]]:
        found = {made.name: made for made in submission.submissions(tmp_path / "runs")}
        return {
            name: {k: Element(made.element(ids[0]), "PENDING") for k, ids in enumerate(made.elements)}
            for name, made in found.items()
        }

    monkeypatch.setattr(cluster, "elements", elements)
    texts = [word for text in SWEEP for word in ("-p", text)]
    place = ["--runs", str(tmp_path / "runs"), "--stores", str(tmp_path / "stores")]

    def run(*words: str) -> tuple[int, str]:
        status = main(["decide", "figure2", *texts, *place, "--profile", "cpu", *words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def finish(tmp_path: Path, places: tuple[int, ...], choices: list[tuple[str, int]], points: float) -> None:
    """Records of these choices, A4B+ the best by so many points."""
    runs = choosing("figure2", SWEEP).of_cells([(place, choice) for place in places for choice in choices])
    for run in {run.id: run for one in runs for run in (one, one.parent) if run}.values():
        top1 = 0.5 + points / 100 * (run.cut == 4) + int(run.id[:4], 16) / 0xFFFF / 1000
        synthetic.finish(tmp_path / "runs", run, top1, [top1], seconds=0.0)


def submitted(tmp_path: Path) -> int:
    return sum(len(made.index) for made in submission.submissions(tmp_path / "runs"))


def test_rounds_are_submitted_and_the_same_command_goes_on(decide: Decide, tmp_path: Path) -> None:
    status, out = decide("--yes")
    assert status == 0, out
    assert submitted(tmp_path) == 4  # both bases and two copies
    sweep = next((tmp_path / "runs" / "decisions").glob("*.py"))
    assert f"round 1 is on the cluster (yosinski status {sweep} --runs {tmp_path / 'runs'})" in out
    assert out.splitlines()[-1].endswith("the same command goes on when it is done")
    status, out = decide("--yes")  # nothing has changed
    assert (status, submitted(tmp_path), "round 1 is on the cluster" in out) == (0, 4, True)
    finish(tmp_path, (0,), [("base", 0), ("tuned", 2), ("tuned", 4)], 9.0)
    status, out = decide("--yes")
    assert (status, "round 2 is on the cluster" in out) == (0, True)
    assert submitted(tmp_path) > 4


def test_it_is_decided_when_all_records_are_there(decide: Decide, tmp_path: Path) -> None:
    finish(tmp_path, (0, 1, 2), [("base", 0), ("tuned", 2), ("tuned", 3), ("tuned", 4)], 9.0)
    status, out = decide()
    assert (status, "decided with" in out, submitted(tmp_path)) == (0, True, 0)


def test_what_is_not_submitted_is_not_called_so(
    decide: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda question: "n")
    status, out = decide()
    assert (status, submitted(tmp_path)) == (0, 0)
    assert out.splitlines()[-1] == "round 1 is not on the cluster; the same command goes on"
