"""The procedure where disk or memory is too small: what is trained is kept, and packs go on in halves."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ended import after, numbers
from packs import brief, train

from yosinski import procedure
from yosinski.environment import Where
from yosinski.errors import Failure
from yosinski.experiment.run import Run
from yosinski.records import attempts, claims, specs, states
from yosinski.training import loop, pulse


def test_a_full_disk_is_said_and_what_is_trained_is_kept(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    a, b = bases
    run = b.copy(5, "frozen", a)
    train(where, [run], after(9))
    path = specs.folder(where.runs, run.id)
    saved = (path / "checkpoint.pt").read_bytes()
    real = attempts.Attempt.save

    def full(self: attempts.Attempt, name: str, write: Callable[[Path], None]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(attempts.Attempt, "save", full)
    with pytest.raises(Failure, match="no space left on the disk of"):
        train(where, [run])
    assert (path / "checkpoint.pt").read_bytes() == saved
    monkeypatch.setattr(attempts.Attempt, "save", real)
    train(where, [run])
    assert states.state(path) == "done"


def room_for(monkeypatch: pytest.MonkeyPatch, most: int, steps: int = 2, of: Run | None = None) -> None:
    """A GPU on which after so many steps there is room for so many members, or none for this one."""
    at_cuts, made = loop.at_cuts, iter(range(10**9))

    def full(members: list[Any], *rest: Any) -> Any:
        if next(made) >= steps and (len(members) > most or of in [member.run for member in members]):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return at_cuts(members, *rest)

    monkeypatch.setattr(loop, "at_cuts", full)


def test_a_pack_that_is_too_large_for_a_gpu_goes_on_in_halves(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """From the last checkpoints, or from the beginning; with the numbers of an undisturbed training."""
    a, b = bases[0], brief(bases[1])
    pack = [b.copy(n, treatment, a) for n in (2, 5) for treatment in ("frozen", "tuned")] + [b.copy(4, "thawed", a)]
    train(where, pack)
    undisturbed = [numbers(where, run) for run in pack]
    for seconds in (0.0, 600.0):  # between checkpoints
        for run in pack:
            path = specs.folder(where.runs, run.id)
            path.rename(path.with_name(f"before-{seconds:.0f}-{path.name}"))
        with monkeypatch.context() as patch:
            patch.setattr(pulse, "SAVE_EVERY", seconds)
            room_for(patch, 2, steps=7)
            train(where, pack)
        assert [numbers(where, run) for run in pack] == undisturbed
        made = [states.read_record(specs.folder(where.runs, run.id)) or {} for run in pack]
        assert [record["pack"] for record in made] == [2, 2, 1, 2, 2]
        assert [record["gpu_memory"] for record in made] == [None] * 5
        assert capsys.readouterr().err.count("goes on in halves") == 2


def test_a_run_that_is_too_large_alone_fails_alone(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bases
    pack = [b.copy(n, "tuned", a) for n in (2, 4, 6)]
    room_for(monkeypatch, 3, of=pack[1])
    with pytest.raises(Failure, match="too large for this GPU, even alone: out of GPU memory: CUDA out of memory"):
        train(where, pack)
    paths = [specs.folder(where.runs, run.id) for run in pack]
    assert [states.state(path) for path in paths] == ["done", "failed", "done"]
    assert "CUDA out of memory" in (paths[1] / "failure.json").read_text()


def test_another_failure_is_not_taken_for_too_little_memory(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bases

    def broken(*_: Any) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(loop, "at_cuts", broken)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train(where, [b.copy(2, "tuned", a), b.copy(3, "tuned", a)])


def test_runs_that_wait_for_their_turn_show_life(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bases
    run = b.copy(2, "tuned", a)
    specs.enrol(where.runs, run)
    attempt = attempts.claim(where.runs, run)
    assert attempt is not None
    claim = attempt.path / "claim.1.json"
    os.utime(claim, (1, 1))
    monkeypatch.setattr(claims, "SILENCE", 0.0)
    stopping = procedure.showing_life([attempt], lambda: True)
    assert stopping()
    assert claim.stat().st_mtime > 1e9
    attempt.release()
