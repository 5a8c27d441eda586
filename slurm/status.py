"""States of the runs of a sweep, from records, claims, heartbeats, the queue and the accounting.

An unfinished run is running, queued, waiting (queued behind its base), failed (with a cause), blocked (its base is not
good), interrupted or missing.
"""

import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slurm import cluster
from slurm.job import STARTED
from slurm.submission import Scheduled, Submission, jobs, scheduled, submissions
from sweeps.running import ends
from sweeps.running.plan import found_states
from yosinski import files
from yosinski.data.half import Half
from yosinski.data.place import earlier
from yosinski.errors import BadInput
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import every_series, series, together
from yosinski.records import claims, specs
from yosinski.records.states import FINAL, State, progress

Status = Literal[State, "queued", "waiting"]
STATUSES: tuple[Status, ...] = (
    *("done", "running", "queued", "waiting", "missing", "interrupted"),
    *("failed", "blocked", "stuck", "diverged"),
)
# Bad ends of a job: SLURM's names, and texts for the user.
ENDS = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "over the time limit",
    "NODE_FAIL": "lost with its node",
    "BOOT_FAIL": "lost with its node",
    "PREEMPTED": "preempted and not queued again",
    "DEADLINE": "over its deadline",
    "REVOKED": "revoked",
    "LOST": "lost: neither queue nor accounting know how its job ended",
}
TOLD = {  # causes by patterns in logs and failures
    r"too large for this GPU, even alone": "out of GPU memory, even alone",
    r"CUDA out of memory|OutOfMemoryError|out of GPU memory": "out of GPU memory",
    r"MemoryError|Cannot allocate memory|DefaultCPUAllocator|exceeded memory limit|oom.kill": "out of memory",
    r"No space left|no space left|Disk quota": "no space left on the disk",
}
MORE = {  # see Profile.more
    **{"out of memory": "memory", "over the time limit": "time"},
    **{"out of GPU memory": "smaller", "out of GPU memory, even alone": "smaller"},
}


@dataclass(frozen=True)
class Entry:
    """A run in the list of a sweep."""

    id: str
    name: str
    series: str
    n: int
    parent: str | None
    preserved: int = 0  # number of layers above a frozen cut that start as the base's
    half: str = ""  # digest of the target
    division: int = 0  # of the target's train and select images; 0, too, where its half was never stored
    together: str = ""  # the tasks or inputs that share a network: AB, x~y

    @property
    def row(self) -> str:
        """Its row in a matrix of cuts: the series, An+2B with two preserved layers, or the control (AA, xz)."""
        return self.together or (self.series.replace("n", f"n+{self.preserved}") if self.preserved else self.series)


@dataclass(frozen=True)
class Sight:
    """State of one run. progress: share of its steps; ends_in: seconds, estimated from its speed so far."""

    entry: Entry
    state: Status
    cause: str = ""
    progress: float | None = None
    ends_in: float | None = None
    host: str = ""
    job: Scheduled | None = None
    stale: bool = False

    def as_json(self) -> dict[str, Any]:
        """See docs/formats.md."""
        element = self.job.element if self.job else None
        return {
            **vars(self.entry),
            "state": self.state,
            "cause": self.cause or None,
            "progress": self.progress,
            "ends_in": self.ends_in,
            "host": self.host or None,
            "job": element.job if element else None,
            "job_state": element.state if element else None,
            "stale": self.stale,
        }


def entries(runs: Iterable[Run]) -> list[Entry]:
    """A sweep's runs, bases before their copies."""
    return [_entry(run.id, run.name, run.spec, {half.digest: half for half in run.halves}) for run in runs]


def entries_of(runs: Path) -> list[Entry]:
    """All runs of a runs directory, listed by its sweeps or with a directory; bases first."""
    if not runs.is_dir():
        raise BadInput(f"no runs directory {runs}")
    by_id: dict[str, Entry] = {}
    halves = _Halves(runs)
    for path in sorted((runs / "sweeps").glob("*.json")):
        for entry in files.read_json(path)["runs"]:
            shared = entry.get("together", "")
            by_id[entry["id"]] = _entry(entry["id"], entry["name"], entry["spec"], halves, shared)
    for run_id in sorted(specs.ids(runs) - by_id.keys()):
        path = specs.folder(runs, run_id) / "run.json"
        if path.exists():
            value = files.read_json(path)
            by_id[run_id] = _entry(run_id, value["name"], value["spec"], halves)
    return sorted(by_id.values(), key=lambda entry: entry.parent is not None)


def lineage(runs: Path, run_id: str) -> list[Entry]:
    """A run of a runs directory, after its base if it has one."""
    by_id = {entry.id: entry for entry in entries_of(runs)}
    base = by_id.get(by_id[run_id].parent or "")
    return [*([base] if base else []), by_id[run_id]]


class _Halves(dict[str, Half | None]):
    """Digest -> half, read when first asked for; None where it was never stored."""

    def __init__(self, runs: Path) -> None:
        super().__init__()
        self.runs = runs

    def __missing__(self, digest: str) -> Half | None:
        there = (self.runs / "halves" / f"{digest}.json").exists()
        self[digest] = specs.load_half(self.runs, digest) if there else None
        return self[digest]


def _entry(
    run_id: str, name: str, spec: Mapping[str, Any], halves: Mapping[str, Half | None], shared: str = ""
) -> Entry:
    """shared: what a sweep says of a run that shares its network, whose halves may not be stored yet."""
    n = spec["cut"]["n"] if spec["cut"] else 0
    half, partners = halves[spec["half"]], [halves[key] for key in spec.get("partners", ())]
    known = [partner for partner in partners if partner is not None]
    if half and known and len(known) == len(partners):
        shared = together(half, known)
    kept, division = spec.get("preserved", 0), half.division if half else 0
    return Entry(run_id, name, series(spec), n, spec["parent"], kept, spec["half"], division, shared)


def of_earlier_version(runs: Path, wanted: Iterable[Entry]) -> list[Entry]:
    """The runs on image files that an earlier version listed and prepared."""
    entries = list(wanted)
    old: set[str] = set()
    for digest in {entry.half for entry in entries}:
        if (runs / "halves" / f"{digest}.json").exists():
            half = specs.load_half(runs, digest)
            if earlier(half.data, half.rule):
                old.add(digest)
    return [entry for entry in entries if entry.half in old]


def sights(runs: Path, wanted: Sequence[Entry], adopting: bool = False) -> tuple[list[Sight], str]:
    """States of runs (bases first), and the reason if SLURM could not be queried.

    adopting: see `submission.scheduled`; then SLURM must answer.
    """
    pairs = [(entry.id, entry.parent) for entry in wanted]
    states, stale = found_states(pairs, runs)
    left = [run_id for run_id, state in states.items() if state not in FINAL]
    last_jobs: dict[str, Scheduled] = {}
    silent = ""
    try:
        ids = [*left, *stale]
        last_jobs = scheduled(runs, ids, adopting) if ids else {}
    except (cluster.NoAnswer, FileNotFoundError) as error:
        if adopting:
            raise
        silent = str(error) if isinstance(error, cluster.NoAnswer) else "no SLURM on this machine"
    if last_jobs:  # for ended jobs, the scheduler is more reliable than heartbeats
        over = {signed(job.submission, job.element.job) for job in last_jobs.values() if job.element and not job.live}
        # A run with a live job is not submitted again, so all its jobs but the last have ended.
        last = {job.submission.token for job in last_jobs.values()}
        older = {signed(sent, str(sent.job)) for sent in submissions(runs) if sent.token not in last}

        def ended(name: str) -> bool:
            cluster_of, _, job = name.rpartition(" ")
            return name in over or f"{cluster_of} {job.partition('_')[0]}" in older

        again, _ = found_states([pair for pair in pairs if pair[0] in last_jobs], runs, ended, states)
        states |= again
    shown: dict[str, Sight] = {}
    for entry in wanted:
        shown[entry.id] = _sight(runs, entry, states[entry.id], last_jobs.get(entry.id), shown, entry.id in stale)
    return list(shown.values()), silent


def signed(sent: Submission, job: str) -> str:
    """The signature in claims of this submission's job."""
    return cluster.signature(sent.cluster, job)


def _sight(
    runs: Path,
    entry: Entry,
    state: State,
    job: Scheduled | None,
    shown: Mapping[str, Sight],
    stale: bool,
) -> Sight:
    path = specs.folder(runs, entry.id)
    if state in FINAL:
        return Sight(entry, state, job=job, stale=stale)
    base = shown.get(entry.parent) if entry.parent else None
    paused = "suspended by SLURM" if job and job.element and job.element.state in cluster.PAUSED else ""
    if state == "running":
        claim = claims.read_claim(path, claims.latest_attempt(path)) or {"host": ""}
        return Sight(entry, state, paused, *_progress(path), claim["host"].split(" ")[0], job)
    if job is not None and job.elsewhere:
        return Sight(entry, "queued", f"on cluster {job.elsewhere}, which must be asked there", job=job)
    if job is not None and job.live:
        assert job.element is not None
        if paused or job.element.state in cluster.AT_WORK:
            return Sight(entry, "running", paused, *_progress(path), job.element.node, job)
        behind = base is not None and base.state not in FINAL
        held = ""
        if "HELD" in job.element.reason.upper():
            held = f"held by SLURM ({job.element.reason}), until: scontrol release {job.element.job}"
        return Sight(entry, "waiting" if behind else "queued", held, job=job)
    cause = _cause(runs, path, entry, state, job)
    if cause:
        return Sight(entry, "failed", cause, job=job)
    if base is not None and base.state in ("failed", "stuck", "diverged", "blocked"):
        return Sight(entry, "blocked", f"its base {base.entry.name} is {base.state}", job=job)
    return Sight(entry, state, job=job)


def _progress(path: Path) -> tuple[float, float | None]:
    beat = progress(path)
    if not beat:
        return 0.0, None
    steps_done, took = beat["step"] - beat.get("first_step", 0), beat["time"] - (beat.get("began") or beat["time"])
    seconds_left = (beat["steps"] - beat["step"]) * took / steps_done if steps_done > 0 and took > 0 else None
    return beat["step"] / beat["steps"], seconds_left


def _cause(runs: Path, path: Path, entry: Entry, state: State, job: Scheduled | None) -> str:
    """Why an unfinished run that is not running has failed; empty if it was only not trained (to the end) yet."""
    if state == "failed":
        return _cause_in_log(files.read_json(path / "failure.json")["error"])
    element = job.element if job else None
    if element is None or job is None or element.state in ("COMPLETED", "CANCELLED"):
        return ""
    claim = claims.read_claim(path, claims.latest_attempt(path))
    is_of_job = claim is not None and claim["job"].split(" ")[-1] == element.job
    if claim is not None and not is_of_job and claimed(path) > job.submission.created:
        return ""  # claimed by another process since
    if element.state in ENDS:
        return ENDS[element.state]
    if shutil.disk_usage(runs).free < 1 << 20:
        return "no space left on the disk"
    log = jobs(runs, job.submission.token) / f"{element.job}_0_log.err"
    ended = f"ended with {element.exit}" if element.exit else "it ended without a word"
    killed = ends.by_status(element.exit)
    return _cause_in_log(log.read_text(errors="replace"), killed) if log.exists() else killed or ended


def claimed(path: Path) -> float:
    """Time of a run's last claim, in seconds since 1970."""
    return (path / f"claim.{claims.latest_attempt(path)}.json").stat().st_mtime


def _cause_in_log(log: str, killed: str = "") -> str:
    """The cause of a failure from the end of a log: a known pattern, a kill, or the last line of the process.

    killed: the same from the accounting.
    """
    last = log.rpartition(STARTED)[2]  # without earlier executions of the same job
    end = [line.strip() for line in last.splitlines() if line.strip()][-20:]
    for sign, cause in TOLD.items():
        if any(re.search(sign, line, re.IGNORECASE) for line in end):
            return cause
    if killed := killed or ends.by_script(end):
        return killed
    own_lines = [line for line in end if not ends.SCRIPT.match(line)]
    return own_lines[-1].removeprefix(ends.SAYS) if own_lines else (end[-1] if end else "it ended without a word")


@dataclass(frozen=True)
class Trouble:
    """Failures with the same cause, and the copies that they block."""

    cause: str
    failed: tuple[Sight, ...]
    blocked: tuple[Sight, ...]


def troubles(seen: Iterable[Sight]) -> list[Trouble]:
    """Failures grouped by cause, the largest group first. Copies of a stuck or diverged base are in its group."""
    seen = list(seen)
    failed: dict[str, list[Sight]] = defaultdict(list)
    for sight in seen:
        if sight.state == "failed":
            failed[sight.cause].append(sight)
        elif sight.state in ("stuck", "diverged"):
            failed[sight.state].append(sight)
    cause_of = {sight.entry.id: cause for cause, sights in failed.items() for sight in sights}
    blocked: dict[str, list[Sight]] = defaultdict(list)
    for sight in seen:
        if sight.state == "blocked" and sight.entry.parent in cause_of:
            blocked[cause_of[sight.entry.parent]].append(sight)
    groups = [Trouble(cause, tuple(sights), tuple(blocked[cause])) for cause, sights in failed.items()]
    return sorted(groups, key=lambda trouble: -len(trouble.failed) - len(trouble.blocked))


def matrix(seen: Sequence[Sight]) -> dict[str, dict[int, Counter[Status]]]:
    """Numbers of runs by series (separate with preserved layers, and by control), cut and state; rows in order."""
    cells: dict[str, dict[int, Counter[Status]]] = defaultdict(lambda: defaultdict(Counter))
    for sight in seen:
        cells[sight.entry.row][sight.entry.n][sight.state] += 1
    order = every_series()
    place = {sight.entry.row: (order.index(sight.entry.series), sight.entry.preserved) for sight in seen}
    return {name: dict(cells[name]) for name in sorted(cells, key=place.__getitem__)}


def as_json(seen: Sequence[Sight], silent: str) -> dict[str, Any]:
    """See docs/formats.md."""
    return {
        "time": time.time(),
        "slurm": silent or None,
        "counts": dict(Counter(sight.state for sight in seen)),
        "stale": sum(sight.stale for sight in seen),
        "troubles": [
            {
                "cause": trouble.cause,
                "failed": [sight.entry.id for sight in trouble.failed],
                "blocked": [sight.entry.id for sight in trouble.blocked],
            }
            for trouble in troubles(seen)
        ],
        "runs": [sight.as_json() for sight in seen],
    }
