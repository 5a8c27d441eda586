"""Submissions: what is written about them, which job a run belongs to, and who may submit."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from submitted import A2B, A3B, B2B, BASE_A, BASE_B, PROFILE, Answers, alone, drafted, written

from slurm import cluster, submission
from slurm.cluster import Element
from slurm.profile import Profile, profile_from
from sweeps.running.plan import Pack
from yosinski.errors import BadInput
from yosinski.files import Damaged

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


# ----------------------------------------------------------------------------------------------------------- scheduled


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
    requests: list[str] = []

    def elements(names: Iterable[str]) -> Answers:
        requests.extend(names)
        return {name: {} for name in requests}

    monkeypatch.setattr(cluster, "name", lambda: "here")
    monkeypatch.setattr(cluster, "elements", elements)
    assert submission.scheduled(tmp_path, [A2B.id]) == {}
    assert requests == []
    submission.scheduled(tmp_path, [B2B.id])
    assert requests == ["yosinski-b"]


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
from slurm import submission
with submission.lock(Path(sys.argv[1])):
    print("in, after:", (Path(sys.argv[1]) / "trace").read_text(), flush=True)
"""


def test_a_second_process_says_for_whom_it_waits_and_goes_on_when_that_one_is_through(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOCK_IN_CHILD, str(tmp_path)]
    (tmp_path / "trace").write_text("nothing")
    with submission.lock(tmp_path):
        other = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert other.stderr is not None
        line = other.stderr.readline()  # from here on it waits
        time.sleep(0.2)
        (tmp_path / "trace").write_text("the first one's work")
        assert other.poll() is None
    out, errors = other.communicate(timeout=60)
    assert out == "in, after: the first one's work\n"
    assert re.fullmatch(r"waiting for another submission to this directory, by \S+ on \S+\n", line)
    assert (other.returncode, errors) == (0, "")


def test_the_lock_is_free_again_after_an_error_and_after_a_death(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError), submission.lock(tmp_path):
        raise RuntimeError
    dying = "import os, sys, pathlib\nfrom slurm import submission\n"
    dying += "with submission.lock(pathlib.Path(sys.argv[1])): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", dying, str(tmp_path)], check=False).returncode == 9
    with submission.lock(tmp_path):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_only_one_user_submits_for_a_runs_directory() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        runs = Path(folder)
        runs.chmod(0o755)
        submission.closed(submission.jobs(runs))
        with submission.lock(runs):
            pass
        os.seteuid(12345)
        try:
            with pytest.raises(BadInput, match=r"lock is root's, who alone may submit"), submission.lock(runs):
                pass
            with pytest.raises(BadInput, match=r"jobs is root's, who alone may submit"):
                submission.closed(submission.jobs(runs))
        finally:
            os.seteuid(0)
