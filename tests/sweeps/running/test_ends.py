"""How a worker ended that was killed: by the accounting, by what SLURM's script wrote, by the silence of its log."""

import os
import signal
import time
from pathlib import Path

import pytest
import synthetic

from sweeps.running import ends, job, local
from sweeps.running.local import Queue
from sweeps.running.plan import plan
from yosinski.environment import Where
from yosinski.errors import BadInput

A, B = synthetic.halves()


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        ("0:9", "killed (signal 9)"),
        ("137:0", "killed (signal 9)"),
        ("139:0", "killed (signal 11)"),
        ("0:15", "killed (signal 15)"),
        ("1:0", ""),
        ("255:0", ""),
        ("0:0", ""),
        ("", ""),
    ],
)
def test_an_exit_status_names_the_signal(status: str, cause: str) -> None:
    assert ends.by_status(status) == cause


@pytest.mark.parametrize(
    ("lines", "cause"),
    [
        (["/var/spool/slurmd/job00007/slurm_script: line 23:   411 Killed                  srun python"], 9),
        (["srun: error: node1: task 0: Killed"], 9),
        (["srun: error: node1: task 0: Exited with exit code 137"], 9),
        (["srun: error: node1: task 0: Segmentation fault (core dumped)", "srun: Terminating StepId=7.0"], 11),
        (["srun: error: node1: task 0: Exited with exit code 1"], None),
        (["Killed by a signal, says the user's own line"], None),
        ([], None),
    ],
)
def test_the_script_of_slurm_names_the_signal(lines: list[str], cause: int | None) -> None:
    assert ends.by_script(lines) == (ends.killed(cause) if cause else "")


@pytest.mark.parametrize(
    ("lines", "came_to_its_end", "cause"),
    [
        ([], False, "killed (signal 9)"),
        (["UserWarning: something is slow"], False, "killed (signal 9)"),
        ([], True, "the process ended"),
        (["yosinski: no device 'cuda' here"], False, "no device 'cuda' here"),
        (["Traceback (most recent call last):", "ModuleNotFoundError: No module named 'x'"], False, None),
        (
            ["Fatal Python error: Segmentation fault", "", "Thread 0x1 (most recent call first):"],
            False,
            ends.killed(11),
        ),
    ],
)
def test_a_log_that_breaks_off_is_that_of_a_killed_worker(
    lines: list[str], came_to_its_end: bool, cause: str | None
) -> None:
    assert ends.of_worker(lines, came_to_its_end) == (cause or lines[-1])


def sleep(*_: object) -> None:
    time.sleep(600)


def refuse(*_: object) -> None:
    raise BadInput("no device 'cuda' here")


def test_a_worker_that_is_killed_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one, which is started and then killed from outside."""
    monkeypatch.setattr(local, "train_pack", sleep)
    queue = Queue(plan([synthetic.base(A)], tmp_path, 1), Where(tmp_path, tmp_path), [None])
    queue.turn()
    controller = queue.running[0,][0]
    ends_at = time.monotonic() + 60
    while not (tasks := children(int(controller.job_id))) and time.monotonic() < ends_at:
        time.sleep(0.05)
    os.kill(tasks[0], signal.SIGKILL)
    while queue.running and time.monotonic() < ends_at:
        queue.turn()
        time.sleep(0.05)
    assert len(queue.failures) == 1
    assert queue.failures[0].startswith(f"baseA: killed (signal 9) (log: {tmp_path}")


def children(pid: int) -> list[int]:
    """The processes that one has started."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_worker_that_gives_up_says_why_in_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yosinski.procedure.run_pack", refuse)
    with pytest.raises(SystemExit):
        job.train((), Where(tmp_path, tmp_path), "", bool)
    lines = capsys.readouterr().err.splitlines()
    assert ends.of_worker(lines, came_to_its_end=False) == "no device 'cuda' here"
