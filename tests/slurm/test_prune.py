"""Pruning: what goes is never missed, what stays is everything else, and a second time there is nothing left."""

import os
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import synthetic

from analysis import frame
from slurm import submission
from slurm.prune import DAY, HOUR, Surplus, by_reason, prunable, prune
from slurm.submission import Submission, jobs
from yosinski import files
from yosinski.errors import BadInput, Failure
from yosinski.experiment.run import Run
from yosinski.records import attempts, specs
from yosinski.records.attempts import Attempt
from yosinski.records.specs import folder

A, B = synthetic.halves()
BASE, OTHER = synthetic.base(A), synthetic.base(B)
COPY = synthetic.copy(BASE, B, 3)
OLD = ".weights.safetensors.0123456789ab.tmp"


def write(path: Path, age: float = 0.0, size: int = 10) -> Path:
    """A file of so many bytes, written so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return aged(path, age)


def aged(path: Path, age: float) -> Path:
    """Make a file or directory look as if it was written so long ago."""
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def begun(runs: Path, run: Run, job: str = "") -> Attempt:
    """Claim a run, and leave a row of its curve, a heartbeat and a checkpoint."""
    attempt = attempts.claim(runs, run, job)
    assert attempt is not None
    attempt.append(synthetic.row(10, 0.2))
    attempt.beat(1, 2)
    attempt.save("checkpoint.pt", lambda path: path.touch())
    return attempt


def sent(runs: Path, token: str, *elements: tuple[Run, ...], code: str = "code-1") -> Submission:
    """A submission with what submitit leaves behind, and the code that it imports."""
    write(jobs(runs, code) / "sweeps" / "running" / "job.py")
    aged(jobs(runs, code), 2 * HOUR)
    for name in ("7_submission.sh", "7_0_submitted.pkl", "7_0_0_log.out", "7_0_0_log.err"):
        write(jobs(runs, token) / name)
    ids = tuple(tuple(run.id for run in element) for element in elements)
    snapshot: dict[str, str | None] = {"path": f"/elsewhere/jobs/{code}", "hash": "1", "commit": None}
    return submission.write(runs, Submission(token, "mine", 0.0, "me", "here", {}, {}, snapshot, ids, job="7"))


def content(place: Path) -> dict[Path, bytes | None]:
    """All directories and, with their bytes, all files; the lock of submissions does not count."""
    found = {path: path.read_bytes() if path.is_file() else None for path in place.rglob("*")}
    return {path: value for path, value in found.items() if path.name not in ("lock", "submissions")}


def gone(runs: Path, live: Collection[str] = ()) -> set[str]:
    """Prune; returns what is no longer there, the topmost of it only. A second time there is nothing left to prune."""
    before = content(runs)
    found = prunable(runs, live)
    assert all(surplus.path.exists() for surplus in found)
    assert content(runs) == before
    assert prune(runs, live, found) == found
    after = content(runs)
    assert after.items() <= before.items()
    assert prunable(runs, live) == []
    assert prune(runs, live, found) == []
    assert content(runs) == after
    lost = before.keys() - after.keys()
    freed = sum(len(before[path] or b"") for path in lost)
    assert freed == sum(surplus.size for surplus in found)
    return {str(path.relative_to(runs)) for path in lost if path.parent not in lost}


def test_nothing_of_a_clean_directory_is_pruned(tmp_path: Path) -> None:
    for run in (BASE, OTHER, COPY):
        synthetic.finish(tmp_path, run, 0.5, (0.1, 0.5))
    synthetic.manifest(tmp_path, "mine", [BASE, OTHER, COPY])
    assert gone(tmp_path) == set()


def test_a_finished_sweeps_frame_is_the_same_before_and_after(tmp_path: Path) -> None:
    listed = synthetic.sweep([1, 3])
    for k, run in enumerate(listed):
        synthetic.finish(tmp_path, run, k / 100, (0.1, k / 100), state="stuck" if k == 5 else "done")
        for name in ("checkpoint.pt", "progress.json", "weights.safetensors"):
            write(folder(tmp_path, run.id) / name)
        write(folder(tmp_path, run.id) / OLD, 2 * HOUR)
    sent(tmp_path, "a" * 12, tuple(listed))
    before = frame(tmp_path)
    lost = gone(tmp_path)
    assert len(lost) == 3 * len(listed) + 3
    assert frame(tmp_path).equals(before)
    names = {path.name for path in folder(tmp_path, BASE.id).iterdir()}
    assert names == {"run.json", "curve.csv", "weights.safetensors", "record.json", "claim.1.json"}


def test_what_unfinished_runs_need_stays(tmp_path: Path) -> None:
    begun(tmp_path, BASE).fail("for now")
    begun(tmp_path, OTHER).release()
    begun(tmp_path, COPY).finish({"state": "blocked", "reason": "its base has failed"})
    for run in (BASE, OTHER, COPY):
        for name in ("record.json.damaged-1", "checkpoint.pt.damaged-1", "record.json.stale-1", ".mine.tmp"):
            write(folder(tmp_path, run.id) / name, 10 * DAY)
    assert gone(tmp_path) == set()


def test_temporary_files_go_when_they_are_old_and_nobody_can_be_writing_them(tmp_path: Path) -> None:
    interrupted, running, done = BASE, OTHER, COPY
    begun(tmp_path, interrupted).release()
    begun(tmp_path, running)
    synthetic.finish(tmp_path, done, 0.5)
    for run in (interrupted, running, done):
        write(folder(tmp_path, run.id) / OLD, 2 * HOUR)
        write(folder(tmp_path, run.id) / ".record.json.00000000000f.tmp", HOUR / 2)
    assert gone(tmp_path) == {str(folder(Path(), run.id) / OLD) for run in (interrupted, done)}


# --------------------------------------------------------------------------------------------------------- submissions


def test_a_submission_goes_with_its_code_when_all_of_its_runs_have_ended(tmp_path: Path) -> None:
    synthetic.finish(tmp_path, BASE, 0.5)
    begun(tmp_path, OTHER).release()
    sent(tmp_path, "a" * 12, (BASE,), code="code-a")
    sent(tmp_path, "b" * 12, (BASE,), (OTHER,), code="code-b")
    sent(tmp_path, "c" * 12, (BASE,), (COPY,), code="code-c")  # the copy has no directory yet
    a = {f"jobs/{'a' * 12}", f"submissions/{'a' * 12}.json", "jobs/code-a"}
    assert gone(tmp_path) == a
    assert [left.token for left in submission.submissions(tmp_path)] == ["b" * 12, "c" * 12]


def test_live_submissions_are_untouched(tmp_path: Path) -> None:
    synthetic.finish(tmp_path, BASE, 0.5)
    for token in ("a", "b"):
        sent(tmp_path, token * 12, (BASE,), code="code-a")
    sent(tmp_path, "c" * 12, (BASE,), code="code-c")
    assert gone(tmp_path, ["a" * 12, "b" * 12, "c" * 12]) == set()
    assert gone(tmp_path, {"b" * 12, "c" * 12}) == {f"jobs/{'a' * 12}", f"submissions/{'a' * 12}.json"}
    assert gone(tmp_path, {"b" * 12}) == {f"jobs/{'c' * 12}", f"submissions/{'c' * 12}.json", "jobs/code-c"}
    assert gone(tmp_path) == {f"jobs/{'b' * 12}", f"submissions/{'b' * 12}.json", "jobs/code-a"}


def test_code_that_was_just_copied_is_kept_for_who_is_submitting(tmp_path: Path) -> None:
    specs.enrol(tmp_path, BASE)
    for name, age in (("code-old", 2 * HOUR), ("code-new", HOUR / 2)):
        write(jobs(tmp_path, name) / "sweeps" / "running" / "job.py")
        aged(jobs(tmp_path, name), age)
    assert gone(tmp_path) == {"jobs/code-old"}


def test_what_a_killed_submission_left_goes_when_nobody_can_be_submitting_it(tmp_path: Path) -> None:
    specs.enrol(tmp_path, BASE)
    for name, age in ((".code-old", 2 * HOUR), ("0123456789ab", 25 * HOUR), ("ba9876543210", 2 * HOUR)):
        write(jobs(tmp_path, name) / "7_submitted.pkl")
        aged(jobs(tmp_path, name), age)
    assert gone(tmp_path) == {"jobs/.code-old", "jobs/0123456789ab"}


def test_a_pruning_that_was_interrupted_is_completed_by_repeating_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic.finish(tmp_path, BASE, 0.5)
    sent(tmp_path, "a" * 12, (BASE,))
    found = prunable(tmp_path, ())

    def refuse(path: Path, missing_ok: bool) -> None:
        raise PermissionError(13, "not yours", path)

    monkeypatch.setattr(Path, "unlink", refuse)
    note = tmp_path / "submissions" / f"{'a' * 12}.json"
    with pytest.raises(Failure, match=f"^cannot delete {note}: not yours$"):
        prune(tmp_path, (), found)
    monkeypatch.undo()
    assert not jobs(tmp_path, "a" * 12).exists()
    assert gone(tmp_path) == {f"submissions/{'a' * 12}.json", "jobs/code-1"}


# ---------------------------------------------------------------------------------------------------------- local jobs

LOCAL = ("{}_submitted.pkl", "{}_0_result.pkl", "{}_0_log.out", "{}_0_log.err", "{}_submission.sh")


def test_what_local_jobs_left_goes_after_a_day_unless_they_still_hold_a_run(tmp_path: Path) -> None:
    begun(tmp_path, BASE, "101")
    begun(tmp_path, OTHER, "102").release()
    for job in ("101", "102", "103", "104"):
        for name in LOCAL:
            write(jobs(tmp_path) / name.format(job), 2 * DAY)
    write(jobs(tmp_path) / "104_0_log.out", DAY / 2)  # still writing
    for name in ("notes.txt", "my_notes.txt", "5.txt"):
        write(jobs(tmp_path) / name, 9 * DAY)
    assert gone(tmp_path) == {f"jobs/{name.format(job)}" for job in ("102", "103") for name in LOCAL}


# ------------------------------------------------------------------------------------------------ what was agreed to


def test_what_was_needed_again_since_is_kept(tmp_path: Path) -> None:
    for run in (BASE, OTHER):
        synthetic.finish(tmp_path, run, 0.5)
        write(folder(tmp_path, run.id) / "checkpoint.pt")
    found = prunable(tmp_path, ())
    files.set_aside(folder(tmp_path, BASE.id) / "record.json", "stale")
    write(folder(tmp_path, OTHER.id) / "progress.json")  # nobody agreed to this one
    checkpoint = folder(tmp_path, OTHER.id) / "checkpoint.pt"
    assert prune(tmp_path, (), found) == [Surplus(checkpoint, 10, "checkpoint or heartbeat of a finished run")]
    assert (folder(tmp_path, BASE.id) / "checkpoint.pt").exists()
    assert (folder(tmp_path, OTHER.id) / "progress.json").exists()


def test_nobody_submits_while_it_is_pruned(tmp_path: Path) -> None:
    specs.enrol(tmp_path, BASE)
    code = jobs(tmp_path, "code-old")
    write(code / "sweeps" / "running" / "job.py")
    aged(code, 2 * HOUR)
    found = prunable(tmp_path, ())
    assert [surplus.path for surplus in found] == [code]
    with ThreadPoolExecutor(1) as other, submission.lock(tmp_path):
        pruned = other.submit(prune, tmp_path, (), found)
        time.sleep(0.2)
        sent(tmp_path, "a" * 12, (BASE,), code="code-old")  # what was copied once is used again
    assert pruned.result() == []
    assert code.exists()


def test_sizes_are_told_by_reason(tmp_path: Path) -> None:
    synthetic.finish(tmp_path, BASE, 0.5)
    write(folder(tmp_path, BASE.id) / "checkpoint.pt", size=1000)
    write(folder(tmp_path, BASE.id) / "progress.json", size=5)
    write(folder(tmp_path, BASE.id) / OLD, 2 * HOUR, size=7)
    assert by_reason(prunable(tmp_path, ())) == {
        "checkpoint or heartbeat of a finished run": [1000, 5],
        "file that was never completed": [7],
    }


def test_damaged_files_and_missing_directories_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"^no runs directory {tmp_path / 'nowhere'}$"):
        prunable(tmp_path / "nowhere", ())
    synthetic.finish(tmp_path, BASE, 0.5)
    sent(tmp_path, "a" * 12, (BASE,))
    for file in (tmp_path / "submissions" / f"{'a' * 12}.json", folder(tmp_path, BASE.id) / "record.json"):
        synthetic.damage(file)
        with pytest.raises(BadInput, match=f"^{file} is damaged$"):
            prunable(tmp_path, ())


def features(stores: Path, name: str, parent: Run | None) -> Path:
    """Stored features of a base, as far as pruning looks at them."""
    path = stores / "features" / name
    write(path / "features.npy")
    files.write_json(path / "features.json", {"of": {"parent": parent.id if parent else None}})
    return path


def test_features_go_when_no_copy_of_their_base_is_left_to_train(tmp_path: Path) -> None:
    runs, stores = tmp_path / "runs", tmp_path / "stores"
    synthetic.finish(runs, BASE, 0.7)
    synthetic.finish(runs, OTHER, 0.7)
    synthetic.finish(runs, COPY, 0.7)
    waiting = synthetic.copy(OTHER, A, 3)
    specs.enrol(runs, waiting)
    over, needed = features(stores, "over", BASE), features(stores, "needed", OTHER)
    somebodys = [features(stores, "elsewhere", synthetic.base(A, seed=5)), features(stores, "random", None)]
    assert prunable(runs, ()) == []
    found = prunable(runs, (), stores=stores)
    assert [surplus.path for surplus in found] == [over]
    assert prune(runs, (), found, stores) == found
    assert not over.exists()
    assert all(path.exists() for path in (needed, *somebodys))
    synthetic.finish(runs, waiting, 0.7)
    assert [surplus.path for surplus in prunable(runs, (), stores=stores)] == [needed]
