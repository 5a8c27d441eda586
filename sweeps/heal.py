"""What brings failures home: which runs to submit again, and with what more than last time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sweeps.profile import Profile, profile_from
from sweeps.status import MORE, Sight
from yosinski.spec import BadInput


@dataclass(frozen=True)
class Healing:
    """Runs to submit again by the profile to do it with, and those for which there is no more to be had."""

    runs: dict[str, list[Sight]]  # by the profile's values
    profiles: dict[str, Profile]
    hopeless: list[tuple[Sight, str]]


def healing(seen: Sequence[Sight], given: Profile | None) -> Healing:
    """Failed runs, the copies that they blocked, and stale ones; out of memory or time, they get twice as much.

    given: the profile to start from; None: that of each run's last submission.
    """
    found = Healing(defaultdict(list), {}, [])
    failed = {sight.entry.id for sight in seen if sight.state == "failed"}
    lost = set(failed)
    for sight in seen:  # bases come first
        if sight.state == "blocked" and sight.entry.parent in lost:
            lost.add(sight.entry.id)
    fallback = given or _last_profile(seen)
    for sight in seen:
        if sight.entry.id not in lost and not sight.stale:
            continue
        last = profile_from(sight.job.submission.profile, sight.job.submission.profile["name"]) if sight.job else None
        start = given or last or fallback
        if start is None:
            raise BadInput(
                "these runs were never submitted to a cluster: give --profile, or train here with `yosinski run`"
            )
        if sight.entry.parent in {base.entry.id for base, _ in found.hopeless}:
            found.hopeless.append((sight, "its base is left out"))
            continue
        together = len(sight.job.submission.elements[sight.job.submission.index[sight.entry.id]]) if sight.job else 1
        profile = _mended(start, last, sight.cause, together)
        if profile is None:
            reasons = {"memory": "at the profile's max_memory; raise it", "time": "at the profile's max_time; raise it"}
            reason = reasons.get(MORE[sight.cause], "though trained alone")
            found.hopeless.append((sight, f"{sight.cause} {reason}"))
            continue
        key = repr(profile)
        found.profiles[key] = profile
        found.runs[key].append(sight)
    return found


def _mended(start: Profile, last: Profile | None, cause: str, together: int) -> Profile | None:
    """The profile with which a run that failed so may succeed; None where there is no more to be had.

    together: how many runs its last job trained.
    """
    more = MORE.get(cause)
    if more is None or last is None:
        return start
    if more == "smaller":
        return replace(start, pack=min(start.pack, max(1, last.pack // 2), together // 2)) if together > 1 else None
    size = Profile.mebibytes if more == "memory" else Profile.minutes
    if size(start, more) > size(last, more):
        return start  # the user has given more already
    cap = f"{size(start, f'max_{more}')}" + ("M" if more == "memory" else "")
    mended = replace(start, **{more: getattr(last, more), f"max_{more}": cap}).more(**{more: True})
    return mended if size(mended, more) > size(last, more) else None


def _last_profile(seen: Iterable[Sight]) -> Profile | None:
    """Of the latest submission among those of these runs."""
    submissions = [sight.job.submission for sight in seen if sight.job]
    if not submissions:
        return None
    values = max(submissions, key=lambda submission: submission.created).profile
    return profile_from(values, values["name"])
