"""Sending: which arrays, the script of their jobs, and what becomes of them at sbatch."""

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from submitted import (
    A2B,
    A3B,
    B2A,
    B2B,
    BASE_A,
    BASE_B,
    CODE,
    FREE,
    PROFILE,
    Answers,
    B,
    alone,
    drafted,
    executable,
    mode,
    names,
    written,
)

from slurm import cluster, sending, submission
from slurm.cluster import Element, Limits
from slurm.profile import Profile
from slurm.sending import Array, arrays
from sweeps.figure2 import figure2
from sweeps.running.plan import Pack, packs, parents_first
from yosinski import data
from yosinski.cli import cluster as commands
from yosinski.data import find
from yosinski.environment import Where
from yosinski.errors import Failure

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
    card = find.card("emoji")
    monkeypatch.setattr(data, "card", lambda name: card)
    runs = parents_first(figure2(splits=tuple(f"random:{k}" for k in range(4))))
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
    made = arrays(packs(parents_first(runs), size=size), (), largest)
    assert Counter(run.id for array in made for pack in array.packs for run in pack.runs) == Counter(
        run.id for run in parents_first(runs)
    )
    assert max(len(array.packs) for array in made) <= largest
    assert max(len(pack.runs) for array in made for pack in array.packs) <= size
    before: set[str] = set()
    for array in made:
        assert {parent.id for parent in array.parents} <= before
        before |= {run.id for pack in array.packs for run in pack.runs}


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


# -------------------------------------------------------------------------------------------------------------- script


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs that come before all others, with a `srun` in it that only says how it was called."""
    folder = tmp_path / "bin"
    executable(folder / "srun", '#!/bin/sh\nprintf "%s\\n" "PYTHONPATH=$PYTHONPATH" "SITE=$SITE" "$@"\n')
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


def options_of(script: str) -> dict[str, str]:
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
    assert options_of(sending.script(tmp_path, made, RICH)) == {
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


def test_only_bases_take_several_gpus(tmp_path: Path, programs: Path) -> None:
    profile = replace(RICH, gpus=4)
    made = arrays(alone(BASE_A, A2B, BASE_B, BASE_B.copy(2, "random", below="kaiming")), [], 100, profile.gpus)
    asked = []
    for array in made:
        sent = sending.draft(array, "figure2", profile, Where(tmp_path, tmp_path), {"path": "/code"})
        gpus = options_of(sending.script(tmp_path, sent, profile))["gpus-per-node"]
        asked.append(([pack.name for pack in array.packs], gpus, sent.where.get("processes")))
    assert asked == [(["baseA", "baseB"], "4", 4), (["R2B"], "1", None), (["A2B"], "1", None)]


def test_what_a_profile_leaves_out_is_left_to_the_cluster(tmp_path: Path, programs: Path) -> None:
    options = options_of(sending.script(tmp_path, drafted(tmp_path, alone(BASE_A)), PROFILE))
    left = {"partition", "account", "qos", "constraint", "gpus-per-node", "array", "dependency"}
    assert options.keys().isdisjoint(left)
    assert options["output"].endswith("/%j_0_log.out")
    several = drafted(tmp_path, alone(BASE_A, BASE_B))
    assert options_of(sending.script(tmp_path, several, PROFILE))["array"] == "0-1%2"


def test_memory_that_a_profile_leaves_out_is_left_to_the_cluster(tmp_path: Path, programs: Path) -> None:
    """For sbatch 0 is not its default: it is all memory of the node."""
    options = options_of(sending.script(tmp_path, drafted(tmp_path, alone(BASE_A)), Profile("mine", memory="")))
    assert "mem" not in options


def test_jobs_wait_until_those_of_their_bases_have_ended_in_whatever_way(tmp_path: Path, programs: Path) -> None:
    copies = sending.waiting(drafted(tmp_path, alone(A2B, B2B)), ["9", "5_1", "9"])
    assert copies.waits_for == ("5_1", "9")
    assert options_of(sending.script(tmp_path, copies, PROFILE))["dependency"] == "afterany:5_1:9"


def test_the_batch_script_starts_the_snapshot_in_the_sites_environment(tmp_path: Path, programs: Path) -> None:
    runs = tmp_path / "my runs"
    code: dict[str, str | None] = {**CODE, "path": "/some where/code"}
    made = drafted(runs, alone(BASE_A, A2B), RICH, code=code)
    done = subprocess.run(["bash"], input=sending.script(runs, made, RICH), capture_output=True, text=True, check=True)
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
    text = sending.script(tmp_path, drafted(tmp_path, alone(BASE_A)), PROFILE)
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


Send = Callable[..., sending.Sent]


@pytest.fixture
def send(runs: Path, sbatch: Path, answers: Answers) -> Send:
    """Submits arrays."""

    def send(planned: Sequence[Array], limits: Limits = FREE, **flying: str) -> sending.Sent:
        return sending.send_all(runs, "figure2", planned, PROFILE, Where(runs, runs), flying, limits)

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
    assert options_of((sbatch / "job-43.sh").read_text())["dependency"] == "afterany:41_1"
    assert options_of((sbatch / "job-42.sh").read_text())["job-name"] == sent.queued[1].name
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
