"""The command line as a user has it: real processes, a real queue, kill -9, two at once, bad input."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from commands import yosinski
from ended import all_numbers
from sharing import Shared
from this_process import packs_in_this_process

from yosinski import files
from yosinski.cli.main import main
from yosinski.records import claims, specs, states

COMMAND = [sys.executable, "-m", "yosinski"]


@pytest.fixture(scope="module")
def sweep(small_split_file: Path) -> list[str]:
    """A sweep of two bases and two copies, one direction, cut at 3: every pack is a process that loads torch."""
    values = {"splits": small_split_file, "directions": "AB", "cuts": "3", "treatments": "frozen", "recipe": "sketch"}
    recipe = {"recipe.batch_size": 32, "recipe.epochs": 12, "recipe.evaluations": 6}
    return ["figure2", *(f"-p{name}={value}" for name, value in (values | recipe).items())]


def process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


def here(runs: Path, stores: Path) -> list[str]:
    return ["--runs", str(runs), "--stores", str(stores), "--device", "cpu", "--precision", "float32"]


def descendants_training(runs: Path) -> list[int]:
    """The processes that hold claims in a runs directory."""
    claims = [json.loads(path.read_text()) for path in runs.glob("*/*/claim.*.json")]
    return sorted({claim["pid"] for claim in claims if not claim["released"]})


@pytest.fixture(scope="module")
def undisturbed(shared: Shared, stores: Path, sweep: list[str]) -> Path:
    """The runs directory of a sweep that nothing disturbed, not even processes."""

    def run(runs: Path) -> None:
        with packs_in_this_process():
            done = yosinski("run", *sweep, *here(runs, stores))
        assert done.status == 0, done.errors

    return shared("undisturbed", run)


def test_a_sweep_runs_and_nothing_is_left(undisturbed: Path, sweep: list[str], stores: Path) -> None:
    assert sorted(state for state, *_ in all_numbers(undisturbed).values()) == ["done"] * 4
    plan = json.loads(yosinski("plan", *sweep, "--runs", undisturbed, "--json").out)
    assert (plan["done"], plan["left"], plan["packs"]) == (4, 0, [])
    again = yosinski("run", *sweep, *here(undisturbed, stores))
    assert again.status == 0
    assert "nothing is left to do" in again.out


def test_stopped_by_ctrl_c_killed_and_then_given_twice_at_once_a_command_gives_the_same_numbers_and_repeats_nothing(
    undisturbed: Path, sweep: list[str], stores: Path, tmp_path: Path
) -> None:
    command = [*COMMAND, "run", *sweep, *here(tmp_path, stores), "--workers", "1"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for_a_checkpoint(tmp_path, first)
    os.killpg(first.pid, signal.SIGINT)  # what a terminal does: the whole group hears it
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130
    assert errors.strip() == "yosinski: stopped; the same command goes on"
    assert descendants_training(tmp_path) == []
    assert "interrupted" in {states.state(path) for path in specs.scan(tmp_path)}

    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for_a_checkpoint(tmp_path, second)
    second.kill()
    killed = descendants_training(tmp_path)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    second.wait()
    for pid in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
    attempts = {path: claims.latest_attempt(path) + (states.state(path) != "done") for path in specs.scan(tmp_path)}
    assert "interrupted" in {states.state(path) for path in attempts}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert all_numbers(tmp_path) == all_numbers(undisturbed)
    assert {path: claims.latest_attempt(path) for path in specs.scan(tmp_path)} == attempts


def wait_for_a_checkpoint(runs: Path, process: "subprocess.Popen[str]") -> None:
    """Wait until somebody has written one, and so has something to lose."""
    written = checkpoints(runs)
    deadline = time.monotonic() + 120
    while checkpoints(runs) <= written:
        assert time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


def checkpoints(runs: Path) -> set[tuple[Path, int]]:
    """All checkpoints of a runs directory, each with the time at which it was written."""
    found = set()
    for path in runs.glob("*/*/checkpoint.pt"):
        with contextlib.suppress(FileNotFoundError):  # its run has ended
            found.add((path, path.stat().st_mtime_ns))
    return found


def test_figures_and_frame_from_the_command_line(undisturbed: Path, tmp_path: Path) -> None:
    outs = [tmp_path / f"figure2.{suffix}" for suffix in ("png", "pdf", "svg")]
    drawn = yosinski("draw", "2", "--runs", undisturbed, *(f"--out={out}" for out in outs))
    assert drawn.status == 0, drawn.errors
    assert all(out.stat().st_size > 5000 for out in outs)
    assert (tmp_path / "figure2.csv").exists()
    curves = yosinski("draw", "curves", "--runs", undisturbed, "--run", "A3B", "--out", tmp_path / "curves.png")
    assert curves.status == 0, curves.errors
    for suffix in ("csv", "parquet"):
        made = yosinski("frame", "--runs", undisturbed, "--out", tmp_path / f"frame.{suffix}")
        assert made.status == 0, made.errors
        assert made.out.startswith(f"{tmp_path}/frame.{suffix}: 24 rows")


def test_halves_of_the_paper_need_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def halves(*arguments: str) -> dict[str, list[str]]:
        return json.loads(yosinski("halves", *arguments, "--json").out)

    monkeypatch.chdir(tmp_path)

    paper = halves("paper:2")
    assert [len(paper[letter]) for letter in "AB"] == [500, 500]
    assert halves("random:2", "--data", "imagenet") == paper
    assert halves("natman", "--data", "imagenet") == halves("paper:natman")
    (tmp_path / "mine.json").write_text(json.dumps(paper))
    assert halves("mine.json", "--data", "imagenet") == paper
    assert yosinski("halves", "paper:2").out.startswith("A: 500 classes of imagenet\n  n01440764, ")
    assert list(tmp_path.iterdir()) == [tmp_path / "mine.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("plan figure9", "unknown sweep 'figure9'; choose from: figure2"),
        ("plan figure2 -p network=vgg", "unknown network 'vgg'; near it: vgg"),
        ("plan figure2 -p data=cifar", "unknown data set 'cifar'; choose from: emoji"),
        ("plan figure2 -p depth=3", "unknown parameter 'depth'; choose from: data, network, splits"),
        ("plan figure2 -p cuts=0", "alexnet32 has no cut 0; it has 7: 1 (conv1) to 7 (fc7)"),
        ("plan figure2 -p cuts=8", "alexnet32 has no cut 8; it has 7: 1 (conv1) to 7 (fc7)"),
        ("plan figure2 -p cuts=three", "unknown cut of alexnet32 'three'"),
        ("plan figure2 -p splits=odd", "unknown split 'odd'; choose from: random:SEED, natman"),
        ("plan figure2 -p splits=empty.json", "half A has 0 class(es); a half needs at least two"),
        ("plan figure2 -p splits=one.json", "half A has 1 class(es); a half needs at least two"),
        ("plan figure2 -p recipe.epoch=3", "unknown recipe value 'epoch'; choose from: epochs"),
        ("plan figure2 -p recipe=big", "unknown recipe 'big'; choose from: emoji, sketch"),
        ("plan missing.py", "no sweep file missing.py"),
        ("plan figure2 --device cuda", "no GPU found for --device cuda; choose from: auto, cpu"),
        (
            "plan figure2 --device mps",
            "--device mps is the GPU of an Apple machine, which this is not; choose from: auto",
        ),
        ("plan transfer", "sweep transfer needs data: give --data DATA, such as imagefolder:PATH"),
        ("run figure2 --stores file/there", "cannot make the stores directory file/there: Not a directory"),
        ("run figure2 -p network=resnet18@32 --processes 2", "baseA (8e2134c2): resnet18@32 has batch norm"),
        ("run figure2 --workers 0", "--workers must be 1 to "),
        ("run figure2 --workers 2000", "--workers must be 1 to "),
        ("plan figure2 -p treatments=joint", "unknown value of treatments 'joint'; choose from: frozen, tuned"),
        ("status nowhere", "'nowhere' is none of: a sweep (figure2, "),
        ("status figure2 --runs nowhere", "no runs directory nowhere"),
        ("submit figure2 --profile nowhere", "unknown profile 'nowhere'; choose from: "),
        ("run figure2 --runs file", "cannot write to the runs directory file"),
        ("draw 9", "unknown figure '9'; choose from: 2, 3, S1, preserved, curves"),
        ("draw 2 --runs nowhere", "no runs directory nowhere"),
        ("frame --runs nowhere --out frame.csv", "no runs directory nowhere"),
        ("plan figure2 -p data=imagenet", "data set 'imagenet' does not say where its images are"),
        ("plan figure2 -p data=imagenet:nowhere", "data set imagenet:"),
        ("data store imagenet:file", "data set imagenet:"),
        ("data store imagenet-8:file", "data set 'imagenet-8:file': the side must be 16 to 1024, not 8"),
        ("data store emoji --workers 0", "--workers must be at least 1, not 0"),
        ("data show cifar", "unknown data set 'cifar'; choose from: emoji, imagenet:PATH"),
        ("halves paper:0 --data emoji", "split paper:0 takes the 1000 classes of ILSVRC-2012; emoji lacks n01440764"),
        ("halves natmen", "unknown split 'natmen'; choose from: random:SEED, natman"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text('{"A": [], "B": ["ant", "dog"]}')
    (tmp_path / "one.json").write_text('{"A": ["ant"], "B": ["dog", "cow"]}')
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert main(arguments.split()) == 2
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert refused.err.startswith(f"yosinski: {message}")


def test_a_process_that_refuses_says_so_and_where_if_asked() -> None:
    refused = process("plan", "figure9")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "Traceback" in process("plan", "figure9", "--debug").stderr


def test_a_record_of_a_newer_format_and_a_damaged_one(
    undisturbed: Path, sweep: list[str], stores: Path, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-r", f"{undisturbed}/.", tmp_path], check=True)
    newer, damaged = [path / "record.json" for path in specs.scan(tmp_path)][:2]
    kept = newer.read_text()
    newer.write_text(kept.replace('"format": 1', '"format": 2'))
    refused = yosinski("run", *sweep, *here(tmp_path, stores))
    assert refused.status == 2
    assert f"{newer} is of format 2; this version reads up to format 1: update yosinski" in refused.errors
    newer.write_text(kept)

    damaged.write_text("{")
    refused = yosinski("run", *sweep, *here(tmp_path, stores))
    assert refused.status == 2
    assert f"{damaged} is damaged; it was set aside as record.json.damaged-1" in refused.errors
    assert (damaged.parent / "record.json.damaged-1").read_text() == "{"
    with packs_in_this_process():
        assert yosinski("run", *sweep, *here(tmp_path, stores)).status == 0
    assert all_numbers(tmp_path) == all_numbers(undisturbed)


def test_a_damaged_checkpoint_is_a_failure_that_the_next_run_mends(
    undisturbed: Path, sweep: list[str], stores: Path, tmp_path: Path
) -> None:
    subprocess.run(["cp", "-r", f"{undisturbed}/.", tmp_path], check=True)
    path = next(p for p in specs.scan(tmp_path) if files.read_json(p / "run.json")["name"] == "A3B")
    (path / "record.json").unlink()
    (path / "checkpoint.pt").write_bytes(b"torn")
    with packs_in_this_process():
        failed = yosinski("run", *sweep, *here(tmp_path, stores))
    assert failed.status == 1
    assert "checkpoint.pt is damaged and was set aside as checkpoint.pt.damaged-1" in failed.errors
    assert "Traceback" not in failed.errors
    with packs_in_this_process():
        assert yosinski("run", *sweep, *here(tmp_path, stores)).status == 0
    assert all_numbers(tmp_path) == all_numbers(undisturbed)


def test_a_users_own_sweep(small_split_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from sweeps.figure2 import figure2\n"
        "from yosinski import EMOJI\n"
        "def sweep(cut: int = 2):\n"
        "    return [run for augment in (True, False) for run in figure2(\n"
        f"        splits=('{small_split_file}',), cuts=(cut,), recipe=EMOJI.with_values({{'augment': augment}}))]\n"
    )
    monkeypatch.chdir(tmp_path)
    planned = yosinski("plan", "mine.py", "-p", "cut=4", "--json")
    assert planned.status == 0, planned.errors
    plan = json.loads(planned.out)
    assert plan["left"] == 2 * (2 + 8)
    assert {run["cut"] for run in plan["runs"]} == {0, 4}
