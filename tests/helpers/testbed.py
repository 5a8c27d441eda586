"""A real SLURM on this machine, and grids on it that are preempted, cut off and killed."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yosinski.records import claims, specs

ROOT = Path(__file__).parents[2]
TESTBED = ROOT / "slurm" / "testbed"

PROFILE = {"partition": "main", "cpus": 1, "memory": "2000M", "time": "10", "grace": 15, "precision": "float32"}


def wait(until: Callable[[], Any], seconds: float = 90, what: str = "") -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (value := until()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what or until}"
        time.sleep(0.1)
    return value


@dataclass
class Cluster:
    """The SLURM of this worker."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "CUDA_VISIBLE_DEVICES": ""}

    def testbed(self, *arguments: str) -> None:
        done = subprocess.run([TESTBED, *arguments, "--dir", self.folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def ask(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def queue(self) -> list[str]:
        """The jobs and elements that are not over."""
        return self.ask("squeue", "--noheader", "--array", "--format=%i %T").splitlines()

    def quiet(self) -> bool:
        """Whether all jobs are over, and the accounting has been told how they ended."""
        return not self.queue() and "DBD Agent queue size: 0" in " ".join(self.ask("sdiag").split())


@dataclass
class Grid:
    """A small sweep, two bases and four copies, in a directory of its own."""

    cluster: Cluster
    folder: Path
    sweep: list[str]
    stores: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def profile(self, **values: Any) -> Path:
        path = self.folder / "profile.toml"
        lines = [f"{key} = {json.dumps(value)}" for key, value in {**PROFILE, **values}.items()]
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self, command: str, *arguments: str | Path) -> "subprocess.Popen[str]":
        line = [sys.executable, "-m", "yosinski", command, *map(str, arguments)]
        environment = {**self.cluster.environment, **self.environment}
        return subprocess.Popen(
            line, env=environment, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def yosinski(self, command: str, *arguments: str | Path, status: int = 0) -> str:
        process = self.start(command, *arguments)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == status, out + errors
        return out + errors

    def submit(self, *more: str, **profile: Any) -> str:
        return self.yosinski("submit", *self.submitted(*more, **profile))

    def submitted(self, *more: str, **profile: Any) -> list[str]:
        """The arguments of a submission."""
        options = ["--profile", str(self.profile(**profile)), "--stores", str(self.stores), "--yes", *more]
        return [*self.sweep, "--runs", str(self.runs), *options]

    def heal(self, *more: str) -> str:
        return self.yosinski("heal", *self.sweep, "--runs", self.runs, "--stores", self.stores, "--yes", *more)

    def status(self) -> dict[str, Any]:
        return json.loads(self.yosinski("status", *self.sweep, "--runs", self.runs, "--json"))

    def states(self) -> dict[str, str]:
        return {run["name"]: run["state"] for run in self.status()["runs"]}

    def path(self, name: str) -> Path:
        """The directory of the run of that name."""
        return next(p for p in specs.scan(self.runs) if json.loads((p / "run.json").read_text())["name"] == name)

    def attempts(self, name: str) -> int:
        return claims.latest_attempt(self.path(name))

    def training(self, name: str = "baseB") -> int:
        """Wait until this run has a checkpoint to lose; returns its process."""
        path = wait(lambda: self.runs.exists() and any(specs.scan(self.runs)) and self.path(name))
        wait(lambda: (path / "checkpoint.pt").exists(), what=f"a checkpoint of {name}")
        claim = claims.read_claim(path, claims.latest_attempt(path))
        assert claim is not None
        return claim["pid"]

    def job(self, name: str = "baseB") -> tuple[str, str]:
        """The job that trains this run, and its node."""
        claim = claims.read_claim(self.path(name), self.attempts(name))
        assert claim is not None
        job = claim["job"].split()[-1]
        return job, self.cluster.ask("squeue", "--noheader", f"--jobs={job}", "--format=%N").strip()

    def home(self, seconds: float = 150) -> None:
        """Wait until nothing is queued any more."""
        wait(self.cluster.quiet, seconds, "an empty queue")

    def restarts(self, job: str) -> list[str]:
        """The states in which the turns of a job ended, the first one first."""
        lines = self.cluster.ask("sacct", "-D", "-X", "-n", "-P", "-j", job, "--format=JobID,State")
        return [line.split("|")[1].split()[0] for line in lines.splitlines() if line.split("|")[0] == job]


def in_front(grid: Grid, program: str, text: str) -> None:
    """Put a script in front of one of SLURM's programs, which it may call as $REAL."""
    folder = grid.folder / "in-front"
    folder.mkdir(exist_ok=True)
    real = shutil.which(program)
    (folder / program).write_text(f"#!/bin/bash\nREAL={real}\n{text}\n")
    (folder / program).chmod(0o755)
    grid.environment["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def hang(pid: int) -> None:
    """Stop a process as one that waits for a broken disk: SLURM's SIGCONT does not wake it, only SIGKILL ends it."""
    attach = 16
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(attach, pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(pid, 0x40000000)  # __WALL: until it has stopped
