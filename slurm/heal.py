"""Healing of failures: which runs to submit again, and with how much more memory or time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slurm.profile import Profile, profile_from
from slurm.status import MORE, Sight
from sweeps.running.plan import renew
from yosinski.errors import BadInput
from yosinski.records import specs, states


@dataclass(frozen=True)
class Healing:
    """Runs to submit again, grouped by profile, and runs that cannot get more memory or time."""

    runs: dict[str, list[Sight]]  # by the values of the profile
    profiles: dict[str, Profile]
    hopeless: list[tuple[Sight, str]]


WHICH_GPU = ("partition", "constraint", "options")  # values of a profile that may select another GPU
SPOILT = "with damaged weights"


def with_spoilt_bases(runs: Path, seen: Sequence[Sight]) -> list[Sight]:
    """The same runs, but finished bases of failed copies count as failed if their weights differ from their record.

    Not for bases from outside: their weights are checked, and written again, before every submission.
    """
    suspects = {sight.entry.parent for sight in seen if sight.state == "failed"}
    return [
        replace(sight, state="failed", cause=SPOILT)
        if sight.state == "done"
        and sight.entry.id in suspects
        and sight.entry.series != "outside"
        and states.spoilt(specs.folder(runs, sight.entry.id))
        else sight
        for sight in seen
    ]


def set_aside(runs: Path, seen: Iterable[Sight]) -> None:
    """Rename files that prevent new training: records of stale copies, records and weights of damaged bases."""
    seen = list(seen)
    renew(runs, [sight.entry.id for sight in seen if sight.stale])
    for sight in seen:
        if sight.cause == SPOILT:
            states.set_aside(specs.folder(runs, sight.entry.id))


def healing(seen: Sequence[Sight], chosen: Profile | None) -> Healing:
    """Failed runs, their blocked copies, and stale copies. Runs that were out of memory or time get twice as much.

    chosen: the profile to start from; None: the profile of each run's last submission.
    """
    outcome = Healing(defaultdict(list), {}, [])
    failed = {sight.entry.id for sight in seen if sight.state == "failed"}
    lost = set(failed)
    for sight in seen:  # bases come first
        if sight.state == "blocked" and sight.entry.parent in lost:
            lost.add(sight.entry.id)
    fallback = chosen or _last_profile(seen)
    for sight in seen:
        if sight.entry.id not in lost and not sight.stale:
            continue
        last = profile_from(sight.job.submission.profile, sight.job.submission.profile["name"]) if sight.job else None
        start = chosen or last or fallback
        if start is None:
            raise BadInput(
                "these runs were never submitted to a cluster: give --profile, or train here with `yosinski run`"
            )
        if sight.entry.parent in {base.entry.id for base, _ in outcome.hopeless}:
            outcome.hopeless.append((sight, "its base is left out"))
            continue
        together = 1
        if sight.job and not sight.cause.endswith("even alone"):  # a job divides its pack until single runs are left
            together = len(sight.job.submission.elements[sight.job.submission.index[sight.entry.id]])
        profile = _mended(start, last, sight.cause, together)
        if profile is None:
            reasons = {"memory": "at the profile's max_memory; raise it", "time": "at the profile's max_time; raise it"}
            reason = reasons.get(MORE[sight.cause], "though trained alone; give a --profile with larger GPUs")
            outcome.hopeless.append((sight, f"{sight.cause.removesuffix(', even alone')} {reason}"))
            continue
        key = repr(profile)
        outcome.profiles[key] = profile
        outcome.runs[key].append(sight)
    return outcome


def _mended(start: Profile, last: Profile | None, cause: str, together: int) -> Profile | None:
    """The profile with which a run that failed may succeed; None if there is no more memory or time.

    together: number of runs in its last job.
    """
    more = MORE.get(cause)
    if more is None or last is None:
        return start
    if more == "smaller" and together > 1:
        return replace(start, pack=min(start.pack, max(1, last.pack // 2), together // 2))
    if more == "smaller":
        return start if any(getattr(start, name) != getattr(last, name) for name in WHICH_GPU) else None
    for name in ("memory", "time"):  # keep earlier increases, up to the limits of the profile to start from
        kept = min(_size(last, name), _size(start, f"max_{name}"))
        if name != more and kept > _size(start, name):
            start = replace(start, **{name: _text(name, kept), f"max_{name}": _text(name, _size(start, f"max_{name}"))})
    if _size(start, more) > _size(last, more):
        return start  # the user's profile has more already
    cap = _text(more, _size(start, f"max_{more}"))
    mended = replace(start, **{more: getattr(last, more), f"max_{more}": cap}).more(**{more: True})
    return mended if _size(mended, more) > _size(last, more) else None


def _size(profile: Profile, name: str) -> int:
    """Memory in MiB, or time in minutes."""
    return profile.minutes(name) if name.endswith("time") else profile.mebibytes(name)


def _text(name: str, size: int) -> str:
    """A size in the format of profiles."""
    return str(size) if name.endswith("time") else f"{size}M"


def _last_profile(seen: Iterable[Sight]) -> Profile | None:
    """The profile of the latest submission of these runs."""
    submissions = [sight.job.submission for sight in seen if sight.job]
    if not submissions:
        return None
    values = max(submissions, key=lambda submission: submission.created).profile
    return profile_from(values, values["name"])
