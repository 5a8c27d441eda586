"""Checks before a submission: whether SLURM accepts the job, its nodes see the files, and the grace time is enough."""

import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from slurm import cluster, sending
from slurm.profile import Profile
from slurm.submission import Submission
from sweeps.running.plan import Pack
from yosinski.errors import BadInput
from yosinski.experiment.cost import RunCost

# File systems that are usually local to one machine; all others are assumed to be shared.
LOCAL = {"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs", "apfs", "hfs"}
DISK_SPEED = 50e6  # minimum speed of writing checkpoints, in bytes per second


def check_profile(profile: Profile, runs: Path, stores: Path, draft: Submission) -> None:
    """BadInput if SLURM would reject a job of this profile, or if its nodes do not see the directories."""
    if profile.partition:
        partitions = cluster.partitions()
        if profile.partition not in partitions:
            raise BadInput(
                f"profile {profile.name}: unknown partition {profile.partition!r}; choose from: {', '.join(partitions)}"
            )
    limit = cluster.time_limit(profile.partition)
    if profile.minutes("time") > limit:
        raise BadInput(
            f"profile {profile.name}: time {profile.time} is over the partition's limit of {limit:.0f} minutes; "
            "a shorter one does: what is cut off is queued again"
        )
    for directory in (runs, stores):
        check_shared(profile, directory)
    # Asks sbatch itself; with --test-only it queues nothing.
    done = subprocess.run(
        ["sbatch", "--test-only"],
        input=sending.script(runs, draft, profile),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode and not sending.QUOTA.search(done.stderr):
        complaints = [
            line.removeprefix("sbatch: error: ").removeprefix("allocation failure: ")
            for line in done.stderr.splitlines()
        ]
        raise BadInput(
            f"profile {profile.name}: SLURM refuses such a job: {'; '.join(complaints)} "
            f"({_request(profile)}; {cluster.largest(profile.partition)})"
        )


def _request(profile: Profile) -> str:
    request = {"partition": profile.partition, "account": profile.account, "qos": profile.qos}
    request |= {"constraint": profile.constraint, "gpus": profile.gpus, "cpus": profile.cpus}
    request |= {"memory": profile.memory, "time": profile.time}
    return "asked for: " + ", ".join(f"{name} {value}" for name, value in request.items() if value)


def check_shared(profile: Profile, directory: Path) -> None:
    """BadInput if the partition's nodes are other machines, and the directory is on a local disk."""
    here = {socket.gethostname(), socket.gethostname().partition(".")[0], socket.getfqdn(), "localhost", "127.0.0.1"}
    elsewhere = sorted(host for host in cluster.hosts(profile.partition) if not host & here)
    kind = file_system(directory)
    if elsewhere and kind in LOCAL and not profile.shared:
        raise BadInput(
            f"{directory.absolute()} is on a local disk of {socket.gethostname()} ({kind}), which nodes such as "
            f"{min(elsewhere[0])} do not share: choose another with --runs and --stores, "
            "or say `shared = true` in the profile if they do see it"
        )


def file_system(directory: Path) -> str:
    """The type of the file system of a directory, which need not exist; empty if unknown."""
    mounts = Path("/proc/mounts")
    path = directory.absolute().resolve()
    best, kind = "", ""
    for line in mounts.read_text().splitlines() if mounts.exists() else ():
        _, point, listed_kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, listed_kind
    return kind


def saving_seconds(packs: Iterable[Pack], costs: Mapping[str, RunCost]) -> float:
    """Seconds to write the largest checkpoints of a pack: parameters and momenta, four bytes each."""
    sizes = [8 * sum(costs[run.id].trained_parameters for run in pack.runs) for pack in packs]
    return max(sizes, default=0) / DISK_SPEED


def check_grace(profile: Profile, packs: Iterable[Pack], costs: Mapping[str, RunCost]) -> None:
    """BadInput if the grace time is too short to write checkpoints."""
    needed = saving_seconds(packs, costs)
    if needed > profile.grace:
        raise BadInput(
            f"profile {profile.name}: a job of {profile.pack} runs needs about {needed:.0f} s to write checkpoints, "
            f"but grace is {profile.grace} s: choose a smaller pack, or a longer grace if the cluster grants it"
        )
