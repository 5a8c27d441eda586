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
from yosinski.training.arithmetic import Arithmetic, choose_arithmetic, memory_left
from yosinski.training.stream import Stream


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


def test_a_pack_that_cannot_fit_is_halved_before_it_is_tried(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """With a GPU's memory that is made up: there is room for the larger half, and not for one byte less than all."""
    a, b = bases[0], brief(bases[1], 1.0)
    pack = [b.copy(n, treatment, a) for n in (2, 5) for treatment in ("frozen", "tuned")]
    train(where, pack)
    undisturbed = [numbers(where, run) for run in pack]
    for run in pack:
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name(f"before-{path.name}"))
    stream = Stream(procedure.stores.of(b.half, where.stores), b)
    needed = [procedure.memory_of(runs, stream, choose_arithmetic(where)) for runs in (pack, pack[:2], pack[2:])]
    assert max(needed[1:]) < needed[0]
    monkeypatch.setattr(procedure, "memory_left", lambda _: (needed[0] - 1, 10**9))
    train(where, pack)
    assert [numbers(where, run) for run in pack] == undisturbed
    made = [states.read_record(specs.folder(where.runs, run.id)) or {} for run in pack]
    assert [record["pack"] for record in made] == [2, 2, 2, 2]
    assert "too little GPU memory for a pack of 4 (at least 0.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("memory", "advice"),
    [
        ((4 * 10**5, 8 * 10**10), r"0.0004 GB of 80 GB free; other processes hold the rest: wait for them .*_DEVICES"),
        ((4 * 10**5, 5 * 10**5), r"0.0004 GB of 0.0005 GB free: take a larger GPU"),
    ],
)
def test_a_run_that_cannot_fit_alone_says_sizes_and_what_to_do(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, memory: tuple[int, int], advice: str
) -> None:
    """Whether others hold the memory or there is not more; what it has trained is kept."""
    run = brief(bases[1]).copy(4, "tuned", bases[0])
    train(where, [run], after(5))
    path = specs.folder(where.runs, run.id)
    saved = (path / "checkpoint.pt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(procedure, "memory_left", lambda _: memory)
        with pytest.raises(Failure, match=f"even alone: out of GPU memory: at least 0.00.* GB needed, {advice}"):
            train(where, [run])
    assert states.state(path) == "failed"
    assert (path / "checkpoint.pt").read_bytes() == saved
    train(where, [run])
    assert states.state(path) == "done"


def test_a_gpu_that_others_have_filled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def filled() -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", filled)
    with pytest.raises(Failure, match="other processes have filled the memory of the GPU: wait for them"):
        memory_left(Arithmetic("float32", "cuda", 1))


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
