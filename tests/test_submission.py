"""Submissions: which arrays, what is written about them, the code that they take along, the script of their jobs."""

import argparse
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic

from sweeps import cluster, submission
from sweeps.cluster import Element, Limits
from sweeps.figure2 import figure2
from sweeps.plan import Pack, in_order, packs
from sweeps.profile import Profile, profile_from
from sweeps.submission import Array, Submission, arrays
from yosinski import data
from yosinski.commands import cluster as commands
from yosinski.environment import Where
from yosinski.files import Damaged
from yosinski.spec import BadInput, Failure, Run

A, B = synthetic.halves()
BASE_A, BASE_B = synthetic.base(A), synthetic.base(B)
A2B, B2B, A3B, B2A = (synthetic.copy(*of) for of in ((BASE_A, B, 2), (BASE_B, B, 2), (BASE_A, B, 3), (BASE_B, A, 2)))
PROFILE = Profile("mine")
CODE: dict[str, str | None] = {"path": "/code", "hash": "0" * 16, "commit": None}
FREE = Limits(1001, None, 0)


def alone(*runs: Run) -> tuple[Pack, ...]:
    """Packs of one run each."""
    return tuple(Pack((run,)) for run in runs)


def drafted(runs: Path, made: Sequence[Pack], profile: Profile = PROFILE, **changes: Any) -> Submission:
    """A submission of these packs that waits for nothing."""
    found = submission.draft(Array(tuple(made), ()), "figure2", profile, Where(runs, runs / "stores"), CODE)
    return replace(found, **changes)


def names(array: Array) -> list[str]:
    return [run.name for pack in array.packs for run in pack.runs]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def executable(path: Path, text: str = "") -> Path:
    """A program, in a folder that is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


# -------------------------------------------------------------------------------------------------------------- arrays


def test_copies_wait_for_their_own_base_only() -> None:
    made = arrays(alone(BASE_A, A2B, BASE_B, B2B, A3B, B2A), (), 100)
    assert [(names(array), array.parents) for array in made] == [
        (["baseA", "baseB"], ()),
        (["A2B", "A3B"], (BASE_A,)),
        (["B2B", "B2A"], (BASE_B,)),
    ]


def test_bases_that_have_ended_are_not_waited_for() -> None:
    made = arrays(alone(A2B, B2B, A3B, B2A), [BASE_A.id], 100)
    assert [(names(array), array.parents) for array in made] == [(["A2B", "A3B"], ()), (["B2B", "B2A"], (BASE_B,))]
    both = arrays(alone(A2B, B2B), [BASE_A.id, BASE_B.id], 100)
    assert [(names(array), array.parents) for array in both] == [(["A2B", "B2B"], ())]


def test_what_waits_for_nothing_comes_first_wherever_it_stood() -> None:
    made = arrays(alone(A2B, BASE_B, B2B, BASE_A), (), 100)
    assert [names(array) for array in made] == [["baseB", "baseA"], ["A2B"], ["B2B"]]


def test_an_array_has_no_more_elements_than_the_cluster_takes() -> None:
    copies = [synthetic.copy(BASE_A, B, n) for n in range(1, 8)]
    made = arrays(alone(BASE_A, *copies), (), 3)
    assert [len(array.packs) for array in made] == [1, 3, 3, 1]
    assert sum((array.packs for array in made), ()) == alone(BASE_A, *copies)
    assert {array.parents for array in made[1:]} == {(BASE_A,)}
    assert [len(array.packs) for array in arrays(alone(*copies), [BASE_A.id], 1)] == [1] * 7
    assert arrays([], (), 3) == []


def test_figure2_on_four_splits_is_an_array_of_bases_and_one_per_base(monkeypatch: pytest.MonkeyPatch) -> None:
    card = data.card("emoji")
    monkeypatch.setattr(data, "card", lambda name: card)
    runs = in_order(figure2(splits=tuple(f"random:{k}" for k in range(4))))
    bases = {run.id for run in runs if run.treatment == "base"}
    assert (len(runs), len(bases)) == (232, 8)
    made = arrays(packs(runs, size=14), (), 1001)
    assert len(made) <= 20
    assert len(made) == 1 + 8
    assert {run.id for pack in made[0].packs for run in pack.runs} == bases
    assert sorted(parent.id for array in made[1:] for parent in array.parents) == sorted(bases)
    assert {len(pack.runs) for array in made[1:] for pack in array.packs} == {14}
    for array in made:
        assert {run.parent for pack in array.packs for run in pack.runs} == (set(array.parents) or {None})


@pytest.mark.parametrize("size", [1, 3, 14])
@pytest.mark.parametrize("largest", [1, 5, 1001])
def test_every_run_is_in_one_array_once_after_what_it_waits_for(size: int, largest: int) -> None:
    runs = synthetic.sweep(range(1, 8), splits=("random:0", "random:1"))
    made = arrays(packs(in_order(runs), size=size), (), largest)
    assert Counter(run.id for array in made for pack in array.packs for run in pack.runs) == Counter(
        run.id for run in in_order(runs)
    )
    assert max(len(array.packs) for array in made) <= largest
    assert max(len(pack.runs) for array in made for pack in array.packs) <= size
    before: set[str] = set()
    for array in made:
        assert {parent.id for parent in array.parents} <= before
        before |= {run.id for pack in array.packs for run in pack.runs}


# --------------------------------------------------------------------------------------------------------------- files


def test_a_submissions_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    rich = Profile("mine", setup=("a", "b"), options={"nice": "1"}, gpus=1)
    for profile, first in (
        (rich, drafted(tmp_path, [Pack((A2B, A3B)), Pack((B2B,))], rich, waits_for=("5_0", "6"), job="7")),
        (PROFILE, drafted(tmp_path, [Pack((BASE_A,))])),
    ):
        assert submission.write(tmp_path, first) is first
        found = submission.read(tmp_path / "submissions" / f"{first.token}.json")
        assert replace(found, profile=first.profile) == first
        assert profile_from(found.profile, "mine") == profile
        assert submission.write(tmp_path, found) == submission.read(tmp_path / "submissions" / f"{first.token}.json")


def test_submissions_are_listed_from_the_oldest(tmp_path: Path) -> None:
    assert submission.submissions(tmp_path) == []
    made = [drafted(tmp_path, alone(BASE_A), created=created, token=f"{created:.0f}") for created in (30.0, 10.0, 20.0)]
    for each in made:
        submission.write(tmp_path, each)
    with submission.lock(tmp_path):
        assert [each.token for each in submission.submissions(tmp_path)] == ["10", "20", "30"]


@pytest.mark.parametrize("change", ["half", "missing", "more", "elements"])
def test_a_damaged_submission_is_named(change: str, tmp_path: Path) -> None:
    submission.write(tmp_path, drafted(tmp_path, alone(BASE_A), token="abc"))
    path = tmp_path / "submissions" / "abc.json"
    content = json.loads(path.read_text())
    if change == "half":
        path.write_text(path.read_text()[:40])
    elif change == "missing":
        path.write_text(json.dumps({key: value for key, value in content.items() if key != "code"}))
    elif change == "more":
        path.write_text(json.dumps({**content, "colour": "red"}))
    else:
        path.write_text(json.dumps({**content, "elements": 3}))
    with pytest.raises(Damaged, match=f"^{path} is damaged$"):
        submission.submissions(tmp_path)


def test_a_submission_of_a_newer_format_is_refused_and_not_called_damaged(tmp_path: Path) -> None:
    submission.write(tmp_path, drafted(tmp_path, alone(BASE_A), token="abc"))
    synthetic.damage(tmp_path / "submissions" / "abc.json", lambda content: content.update(format=2))
    with pytest.raises(BadInput, match="is of format 2") as caught:
        submission.submissions(tmp_path)
    assert not isinstance(caught.value, Damaged)


def test_an_element_is_named_as_slurm_names_it(tmp_path: Path) -> None:
    several = drafted(tmp_path, [Pack((A2B, A3B)), Pack((B2B,))], job="7")
    assert [several.element(run.id) for run in (A2B, A3B, B2B)] == ["7_0", "7_0", "7_1"]
    assert drafted(tmp_path, [Pack((A2B, A3B))], job="7").element(A3B.id) == "7"


def test_the_name_of_a_job_carries_its_token(tmp_path: Path) -> None:
    tokens = {drafted(tmp_path, alone(BASE_A)).token for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch("[0-9a-f]{12}", token) for token in tokens)
    assert drafted(tmp_path, alone(BASE_A), token="abc").name == "yosinski-abc"


def test_a_job_on_a_gpu_computes_there_and_others_do_not(tmp_path: Path) -> None:
    profile = Profile("mine", gpus=1, precision="bfloat16", threads=3)
    assert drafted(tmp_path, alone(BASE_A), profile).where == {
        "stores": str(tmp_path / "stores"),
        "device": "cuda",
        "precision": "bfloat16",
        "threads": 3,
        "change_arithmetic": False,
    }
    assert drafted(tmp_path, alone(BASE_A)).where["device"] == "cpu"


# ----------------------------------------------------------------------------------------------------------- scheduled

Answers = dict[str, dict[int, Element]]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """What SLURM says of the jobs of a name."""
    said: Answers = {}
    monkeypatch.setattr(cluster, "elements", lambda names: {name: said.get(name, {}) for name in names})
    return said


def written(runs: Path, answers: Answers, made: Sequence[Pack], job: str, created: float, *states: str) -> Submission:
    """A submission on file, and SLURM's word for each of its elements (none: SLURM knows nothing of it)."""
    found = submission.write(runs, drafted(runs, made, job=job, created=created, token=f"t{job}"))
    elements = [found.element(pack.runs[0].id) for pack in made]
    answers[found.name] = {k: Element(elements[k], state) for k, state in enumerate(states)}
    return found


def test_a_run_belongs_to_its_last_job_or_to_a_live_one(tmp_path: Path, answers: Answers) -> None:
    of = lambda: submission.scheduled(tmp_path, [BASE_A.id])[BASE_A.id]  # noqa: E731
    assert submission.scheduled(tmp_path, [BASE_A.id]) == {}
    written(tmp_path, answers, alone(BASE_A), "1", 1.0, "FAILED")
    assert (of().submission.job, of().element, of().live) == ("1", Element("1", "FAILED"), False)
    written(tmp_path, answers, alone(BASE_A, BASE_B), "2", 2.0, "TIMEOUT", "RUNNING")
    assert of().element == Element("2_0", "TIMEOUT")
    written(tmp_path, answers, alone(BASE_A), "3", 3.0, "PENDING")
    assert (of().element, of().live) == (Element("3", "PENDING"), True)
    written(tmp_path, answers, alone(BASE_A), "4", 4.0, "CANCELLED")
    assert of().element == Element("3", "PENDING")
    assert set(submission.scheduled(tmp_path, [BASE_A.id, BASE_B.id, A2B.id])) == {BASE_A.id, BASE_B.id}


def test_a_job_of_which_slurm_knows_nothing_is_not_live(tmp_path: Path, answers: Answers) -> None:
    written(tmp_path, answers, alone(BASE_A), "1", 1.0)
    found = submission.scheduled(tmp_path, [BASE_A.id])[BASE_A.id]
    assert (found.submission.job, found.element, found.live) == ("1", None, False)


def test_slurm_is_asked_for_the_jobs_of_the_wanted_runs_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submission.write(tmp_path, drafted(tmp_path, alone(BASE_A), token="a"))
    submission.write(tmp_path, drafted(tmp_path, alone(BASE_B, B2B), token="b"))
    asked: list[str] = []

    def elements(names: Iterable[str]) -> Answers:
        asked.extend(names)
        return {name: {} for name in asked}

    monkeypatch.setattr(cluster, "elements", elements)
    assert submission.scheduled(tmp_path, [A2B.id]) == {}
    assert asked == []
    submission.scheduled(tmp_path, [B2B.id])
    assert asked == ["yosinski-b"]


def pickles(runs: Path, token: str) -> dict[str, bytes]:
    """What lies in a submission's folder."""
    return {path.name: path.read_bytes() for path in submission.jobs(runs, token).iterdir()}


def test_a_job_whose_reply_was_lost_is_adopted_once(tmp_path: Path, answers: Answers) -> None:
    submission.write(tmp_path, drafted(tmp_path, [Pack((A2B, A3B)), *alone(B2B, BASE_A)]))
    first = submission.submissions(tmp_path)[0]
    folder = submission.closed(submission.jobs(tmp_path, first.token))
    for name in ("0a", "1b", "2c"):
        (folder / f"{name}.pkl").write_bytes(b"train_element")
    answers[first.name] = {k: Element(f"77_{k}", "PENDING") for k in range(3)}
    looked = submission.scheduled(tmp_path, [B2B.id])[B2B.id]
    assert looked.submission.job is None  # who only looks does not change anything
    assert set(pickles(tmp_path, first.token)) == {"0a.pkl", "1b.pkl", "2c.pkl"}

    found = submission.scheduled(tmp_path, [B2B.id], adopting=True)[B2B.id]
    assert found.submission == replace(first, job="77")
    assert found.submission.element(B2B.id) == "77_1"
    there = pickles(tmp_path, first.token)
    assert {name: there[f"{name}_submitted.pkl"] for name in ("77_0", "77_1", "77_2")} == dict.fromkeys(
        ("77_0", "77_1", "77_2"), b"train_element"
    )
    assert not [name for name in there if name.endswith(".tmp")]

    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    submission.scheduled(tmp_path, [B2B.id], adopting=True)
    submission.adopt(tmp_path, found.submission, "77")
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert submission.submissions(tmp_path) == [replace(first, job="77")]


def test_adopting_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    first = submission.write(tmp_path, drafted(tmp_path, alone(A2B, B2B)))
    folder = submission.closed(submission.jobs(tmp_path, first.token))
    (folder / "1b.pkl").write_bytes(b"train_element")
    (folder / "77_0_submitted.pkl").write_bytes(b"train_element")  # already given to the first one
    submission.adopt(tmp_path, first, "77")
    assert pickles(tmp_path, first.token)["77_1_submitted.pkl"] == b"train_element"


def test_a_job_that_is_no_array_is_adopted_under_its_own_number(tmp_path: Path) -> None:
    first = drafted(tmp_path, [Pack((A2B, A3B))])
    (submission.closed(submission.jobs(tmp_path, first.token)) / "0a.pkl").write_bytes(b"x")
    assert submission.adopt(tmp_path, first, "77").job == "77"
    assert set(pickles(tmp_path, first.token)) == {"0a.pkl", "77_submitted.pkl"}


# ---------------------------------------------------------------------------------------------------------------- lock

LOCK_IN_CHILD = """
import sys
from pathlib import Path
from sweeps import submission
with submission.lock(Path(sys.argv[1])):
    print("in, after:", (Path(sys.argv[1]) / "trace").read_text(), flush=True)
"""


def test_a_second_process_says_for_whom_it_waits_and_goes_on_when_that_one_is_through(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCK_IN_CHILD, str(tmp_path)]
    (tmp_path / "trace").write_text("nothing")
    with submission.lock(tmp_path):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert other.stderr is not None
        said = other.stderr.readline()  # from here on it waits
        time.sleep(0.2)
        (tmp_path / "trace").write_text("the first one's work")
        assert other.poll() is None
    out, errors = other.communicate(timeout=60)
    assert out == "in, after: the first one's work\n"
    assert re.fullmatch(r"waiting for another submission to this directory, by \S+ on \S+\n", said)
    assert (other.returncode, errors) == (0, "")


def test_the_lock_is_free_again_after_an_error_and_after_a_death(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError), submission.lock(tmp_path):
        raise RuntimeError
    dying = "import os, sys, pathlib\nfrom sweeps import submission\n"
    dying += "with submission.lock(pathlib.Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", dying, str(tmp_path)], check=False).returncode == 9
    with submission.lock(tmp_path):
        pass
    assert capsys.readouterr().err == ""


# ------------------------------------------------------------------------------------------------------------ snapshot


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
    monkeypatch.setattr(submission, "__file__", str(root / "sweeps" / "submission.py"))
    return root


def inside(path: str | None) -> dict[str, bytes]:
    root = Path(str(path))
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_a_snapshot_holds_the_code_and_nothing_else(tmp_path: Path, checkout: Path) -> None:
    found = submission.snapshot(tmp_path / "runs")
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
    first = submission.snapshot(runs)
    made = Path(str(first["path"])).stat().st_mtime_ns
    assert submission.snapshot(runs) == first
    assert Path(str(first["path"])).stat().st_mtime_ns == made
    code = checkout / "sweeps" / "submission.py"
    for change in (
        lambda: code.write_bytes(b"edoc"),
        lambda: code.rename(code.with_name("submissions.py")),
        lambda: (checkout / "yosinski" / "new.py").touch(),
    ):
        change()
        other = submission.snapshot(runs)
        assert other["path"] != first["path"]
        assert other["hash"] != first["hash"]
        assert submission.snapshot(runs) == other
    assert inside(first["path"])["sweeps/submission.py"] == b"code"  # what was submitted stays as it was
    assert len(list((runs / "jobs").iterdir())) == 4
    (checkout / "sweeps" / "__pycache__" / "other.pyc").touch()
    (checkout / "README.md").write_text("changed")
    assert submission.snapshot(runs) == other


def test_a_snapshot_names_the_commit_of_its_code_unless_that_was_changed(tmp_path: Path, checkout: Path) -> None:
    commit = lambda: submission.snapshot(tmp_path / "runs")["commit"]  # noqa: E731
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
    assert submission.snapshot(runs)["commit"] is None
    git(tmp_path, "init", "--quiet")  # as where a virtual environment lies in somebody's project
    git(tmp_path, "add", "checkout")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    assert submission.snapshot(runs)["commit"] is None


def test_a_checkout_behind_a_link_has_its_commit(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").symlink_to(checkout)
    monkeypatch.setattr(submission, "__file__", str(tmp_path / "home" / "sweeps" / "submission.py"))
    assert submission.snapshot(tmp_path / "runs")["commit"] == git(checkout, "rev-parse", "HEAD")


def test_the_snapshot_of_this_code_can_be_imported_from_where_it_lies(tmp_path: Path) -> None:
    found = submission.snapshot(tmp_path / "my runs")
    show = "import yosinski.spec, sweeps.job; print(yosinski.spec.__file__, sweeps.job.__file__, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(found["path"])}
    done = subprocess.run(
        [sys.executable, "-c", show], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{found['path']}/yosinski/spec.py", f"{found['path']}/sweeps/job.py"]


# -------------------------------------------------------------------------------------------------------------- script


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs that come before all others, with a `srun` in it that only says how it was called."""
    folder = tmp_path / "bin"
    executable(folder / "srun", '#!/bin/sh\nprintf "%s\\n" "PYTHONPATH=$PYTHONPATH" "SITE=$SITE" "$@"\n')
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def asked(script: str) -> dict[str, str]:
    """The options that a batch script gives to sbatch."""
    lines = [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH ")]
    found = {line.partition("=")[0]: line.partition("=")[2] for line in lines}
    assert len(found) == len(lines), "an option is given twice"
    return found


RICH = Profile(
    "rich",
    partition="gpu",
    account="us",
    qos="high",
    constraint="a100",
    gpus=1,
    cpus=4,
    memory="16G",
    time="1:30:00",
    grace=90,
    throttle=3,
    setup=("export SITE='of ours'",),
    python="apptainer exec --nv torch.sif python3",
    options={"mail-type": "FAIL", "nice": "100"},
)


def test_the_batch_script_asks_for_what_the_profile_says(tmp_path: Path, programs: Path) -> None:
    made = drafted(tmp_path, alone(BASE_A, A2B, BASE_B, B2B, A3B), RICH, token="abc")
    folder = submission.jobs(tmp_path, "abc")
    assert asked(submission.script(tmp_path, made, RICH)) == {
        "job-name": "yosinski-abc",
        "comment": "'yosinski figure2'",
        "partition": "gpu",
        "account": "us",
        "qos": "high",
        "constraint": "a100",
        "gpus-per-node": "1",
        "cpus-per-task": "4",
        "ntasks-per-node": "1",
        "nodes": "1",
        "mem": "16384M",
        "time": "90",
        "signal": "USR2@90",
        "array": "0-4%3",
        "requeue": "",
        "open-mode": "append",
        "chdir": str(folder),
        "output": f"{folder}/%A_%a_0_log.out",
        "error": f"{folder}/%A_%a_0_log.err",
        "wckey": "submitit",
        "mail-type": "FAIL",
        "nice": "100",
    }


def test_what_a_profile_leaves_out_is_left_to_the_cluster(tmp_path: Path, programs: Path) -> None:
    options = asked(submission.script(tmp_path, drafted(tmp_path, alone(BASE_A)), PROFILE))
    left = {"partition", "account", "qos", "constraint", "gpus-per-node", "array", "dependency"}
    assert options.keys().isdisjoint(left)
    assert options["output"].endswith("/%j_0_log.out")
    several = drafted(tmp_path, alone(BASE_A, BASE_B))
    assert asked(submission.script(tmp_path, several, PROFILE))["array"] == "0-1%2"


def test_memory_that_a_profile_leaves_out_is_left_to_the_cluster(tmp_path: Path, programs: Path) -> None:
    """For sbatch 0 is not its default: it is all memory of the node."""
    options = asked(submission.script(tmp_path, drafted(tmp_path, alone(BASE_A)), Profile("mine", memory="")))
    assert "mem" not in options


def test_jobs_wait_until_those_of_their_bases_have_ended_in_whatever_way(tmp_path: Path, programs: Path) -> None:
    copies = submission.waiting(drafted(tmp_path, alone(A2B, B2B)), ["9", "5_1", "9"])
    assert copies.waits_for == ("5_1", "9")
    assert asked(submission.script(tmp_path, copies, PROFILE))["dependency"] == "afterany:5_1:9"


def test_the_batch_script_starts_the_snapshot_in_the_sites_environment(tmp_path: Path, programs: Path) -> None:
    runs = tmp_path / "my runs"
    code: dict[str, str | None] = {**CODE, "path": "/some where/code"}
    made = drafted(runs, alone(BASE_A, A2B), RICH, code=code)
    done = subprocess.run(
        ["bash"], input=submission.script(runs, made, RICH), capture_output=True, text=True, check=True
    )
    python_path, site, *called = done.stdout.splitlines()
    assert python_path == "PYTHONPATH=/some where/code"
    assert site == "SITE=of ours"
    assert "--cpus-per-task=4" in called
    started = called[called.index("sh") :]
    assert started[3:] == [
        *("apptainer", "exec", "--nv", "torch.sif", "python3"),
        *("-u", "-m", "submitit.core._submit", str(submission.jobs(runs, made.token))),
    ]
    # SIGTERM and SIGUSR2 do not end what is started so before it has handlers of its own.
    for signal in ("TERM", "USR2"):
        survives = [*started[:3], "sh", "-c", f"kill -{signal} $$; echo alive"]
        assert subprocess.run(survives, capture_output=True, text=True, check=False).stdout == "alive\n"


def test_without_a_command_of_its_own_a_profile_starts_this_environments_python(tmp_path: Path, programs: Path) -> None:
    text = submission.script(tmp_path, drafted(tmp_path, alone(BASE_A)), PROFILE)
    done = subprocess.run(["bash"], input=text, capture_output=True, text=True, check=True)
    assert sys.executable in done.stdout.splitlines()


# ------------------------------------------------------------------------------------------------------------- sending

SBATCH = """#!/bin/sh
cd "$(dirname "$0")"
if [ -e refuse ]; then cat refuse >&2; exit 1; fi
count=$(($(cat count 2>/dev/null || echo 40) + 1)); echo $count > count
cp "$1" job-$count.sh
if [ -e late ]; then cat late >&2; exit 1; fi
echo "Submitted batch job $count"
"""


@pytest.fixture
def sbatch(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an `sbatch` that keeps what it is given as job-41.sh and so on; `refuse` and `late` stop it."""
    executable(programs / "sbatch", SBATCH)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    return programs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A runs directory whose path is absolute, as `submit` makes it."""
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


Send = Callable[..., submission.Sent]


@pytest.fixture
def send(runs: Path, sbatch: Path, answers: Answers) -> Send:
    """Submits arrays."""

    def send(planned: Sequence[Array], limits: Limits = FREE, **flying: str) -> submission.Sent:
        return submission.send_all(runs, "figure2", planned, PROFILE, Where(runs, runs), flying, limits)

    return send


def test_folders_of_pickles_are_closed_to_others(runs: Path, send: Send) -> None:
    before = os.umask(0)
    try:
        sent = send(arrays(alone(BASE_A, BASE_B), (), 100)).queued[0]
    finally:
        os.umask(before)
    folder = submission.jobs(runs, sent.token)
    assert {path.name for path in folder.glob("*.pkl")} == {"41_0_submitted.pkl", "41_1_submitted.pkl"}
    assert mode(folder) == 0o700
    assert mode(runs / "jobs") == 0o700
    assert mode(Path(str(sent.code["path"]))) == 0o700
    (runs / "jobs").chmod(0o777)
    submission.closed(runs / "jobs")
    assert mode(runs / "jobs") == 0o700


def test_copies_are_sent_after_their_base_and_wait_for_its_job(runs: Path, send: Send, sbatch: Path) -> None:
    sent = send(arrays(alone(BASE_A, BASE_B, A2B, A3B, B2B), (), 100))
    assert (sent.deferred, sent.reason) == ((), "")
    assert [(one.job, one.waits_for) for one in sent.queued] == [("41", ()), ("42", ("41_0",)), ("43", ("41_1",))]
    assert asked((sbatch / "job-43.sh").read_text())["dependency"] == "afterany:41_1"
    assert asked((sbatch / "job-42.sh").read_text())["job-name"] == sent.queued[1].name
    assert [one.job for one in submission.submissions(runs)] == ["41", "42", "43"]
    assert len({one.code["path"] for one in sent.queued}) == 1


def test_copies_wait_for_a_base_that_was_queued_before(send: Send) -> None:
    sent = send(arrays(alone(A2B), (), 100), **{BASE_A.id: "9_3"})
    assert [one.waits_for for one in sent.queued] == [("9_3",)]


def test_what_finds_no_room_is_deferred_with_what_waits_for_it(send: Send) -> None:
    planned = arrays(alone(BASE_A, BASE_B, A2B, A3B, B2B), (), 100)
    sent = send(planned, Limits(1001, 10, 8))
    assert [list(one.index) for one in sent.queued] == [[BASE_A.id, BASE_B.id]]
    assert sent.deferred == tuple(planned[1:])
    assert sent.reason == "MaxSubmitJobs of 10 is reached"
    sent = send(planned, Limits(1001, 10, 9))
    assert [list(one.index) for one in sent.queued] == [[BASE_A.id]]
    assert sum((array.packs for array in sent.deferred), ()) == alone(BASE_B, A2B, A3B, B2B)
    sent = send(planned, Limits(1001, 10, 6))
    assert [list(one.index) for one in sent.queued] == [[BASE_A.id, BASE_B.id], [A2B.id, A3B.id]]
    assert send(planned, Limits(1001, 10, 12)).queued == ()


def test_a_refusal_for_a_quota_defers_the_rest_and_leaves_nothing_behind(runs: Path, send: Send, sbatch: Path) -> None:
    (sbatch / "refuse").write_text(
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: "
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n"
    )
    planned = arrays(alone(BASE_A, BASE_B, A2B), (), 100)
    sent = send(planned)
    assert (sent.queued, sent.deferred) == ((), tuple(planned))
    assert sent.reason.startswith("sbatch: AssocMaxSubmitJobLimit")
    assert submission.submissions(runs) == []
    assert all(path.name.startswith("code-") for path in (runs / "jobs").iterdir())
    (sbatch / "refuse").write_text("sbatch: error: invalid partition specified: gpus\n")
    with pytest.raises(Failure, match=r"^sbatch: .*invalid partition specified: gpus"):
        send(planned)
    assert submission.submissions(runs) == []


@pytest.mark.parametrize("packed", [alone(BASE_A, BASE_B), alone(BASE_A)], ids=["array", "one job"])
def test_a_job_that_was_queued_although_sbatch_failed_is_found_by_its_name(
    packed: tuple[Pack, ...], runs: Path, send: Send, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sbatch / "late").write_text("sbatch: error: Batch job submission failed: Socket timed out\n")
    silent = iter([True, False])

    def elements(names: Iterable[str]) -> Answers:
        if next(silent):
            raise cluster.NoAnswer("the SLURM controller does not answer")
        jobs = ["41_0", "41_1"] if len(packed) > 1 else ["41"]
        return {name: {k: Element(job, "PENDING") for k, job in enumerate(jobs)} for name in names}

    monkeypatch.setattr(cluster, "elements", elements)
    sent = send(arrays(packed, (), 100)).queued[0]
    assert sent.job == "41"
    assert submission.submissions(runs)[0].job == "41"
    names = {f"{sent.element(pack.runs[0].id)}_submitted.pkl" for pack in packed}
    assert {path.name for path in submission.jobs(runs, sent.token).glob("*_*.pkl")} == names


def test_what_may_have_been_queued_is_kept_until_slurm_answers(
    runs: Path, send: Send, sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sbatch / "late").write_text("sbatch: error: Batch job submission failed: Socket timed out\n")

    def silent(names: Iterable[str]) -> Answers:
        raise cluster.NoAnswer("the SLURM controller does not answer")

    monkeypatch.setattr(cluster, "elements", silent)
    with pytest.raises(Failure):
        send(arrays(alone(BASE_A, BASE_B), (), 100))
    monkeypatch.setattr(
        cluster, "elements", lambda names: {name: {k: Element(f"41_{k}", "PENDING") for k in (0, 1)} for name in names}
    )
    found = submission.scheduled(runs, [BASE_B.id], adopting=True)
    assert found.keys() == {BASE_B.id}
    assert found[BASE_B.id].submission.element(BASE_B.id) == "41_1"
    names = {path.name for path in submission.jobs(runs, found[BASE_B.id].submission.token).glob("*_*.pkl")}
    assert names == {"41_0_submitted.pkl", "41_1_submitted.pkl"}


# ---------------------------------------------------------------------------------------------------- a whole command

SINFO = """#!/bin/sh
case "$*" in
*%P*) echo "main* infinite" ;;
*%n*) echo "$(hostname) localhost" ;;
*%c*) echo "4 8000 (null)" ;;
esac
"""


def test_copies_are_queued_behind_their_base_whatever_it_is_healed_with(
    runs: Path, sbatch: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One base was lost with its node and needs no more; the other one, with a copy behind it, needs more memory."""
    for name, text in {"squeue": "", "scancel": "", "scontrol": "", "sacctmgr": "", "sinfo": SINFO}.items():
        executable(sbatch / name, text or "#!/bin/sh\n")
    executable(sbatch / "sbatch", SBATCH.replace('cd "', '[ "$1" = --test-only ] && exit 0\ncd "', 1))
    monkeypatch.setattr(commands, "sweep_runs", lambda options: ([BASE_A, BASE_B, B2B], {}))
    monkeypatch.setattr(commands, "prepare", lambda *anything: None)
    written(runs, answers, alone(BASE_A, BASE_B), "5", 1.0, "NODE_FAIL", "OUT_OF_MEMORY")
    written(runs, answers, alone(B2B), "6", 2.0, "CANCELLED")
    options = argparse.Namespace(
        **{"sweep": "figure2", "parameters": [], "runs": runs, "stores": runs, "profile": None},
        **{"dry_run": False, "yes": True, "change_arithmetic": False, "debug": False},
    )
    assert commands.heal(options) == 0
    jobs = {run_id: made for made in submission.submissions(runs)[2:] for run_id in made.index}
    assert jobs.keys() == {BASE_A.id, BASE_B.id, B2B.id}
    assert jobs[BASE_A.id].profile["memory"] == "4G"
    assert jobs[BASE_B.id].profile["memory"] == "8192M"
    assert jobs[B2B.id].waits_for == (jobs[BASE_B.id].element(BASE_B.id),)
