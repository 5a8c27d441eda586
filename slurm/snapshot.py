"""Snapshots: a copy of the code at submission, which jobs import, so that later changes do not affect them."""

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from slurm.submission import closed, jobs

PACKAGES = ("yosinski", "sweeps", "slurm")  # imported by jobs


def snapshot(runs: Path) -> dict[str, str | None]:
    """Copy the code that jobs import into the runs directory.

    Returns the path, the hash of the files and, if they are exactly those of a commit, the commit.
    """
    root = Path(__file__).resolve().parent.parent
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*"))]
    code = [path for path in paths if path.is_file() and "__pycache__" not in path.parts]
    hashed = hashlib.sha256()
    for path in code:
        hashed.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    digest = hashed.hexdigest()[:16]
    target = closed(jobs(runs)) / f"code-{digest}"
    if not target.exists():
        temporary = Path(tempfile.mkdtemp(prefix=".code-", dir=jobs(runs)))
        for path in code:
            copy = temporary / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        with contextlib.suppress(OSError):  # another process has made it
            temporary.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
    return {"path": str(target.absolute()), "hash": digest, "commit": _commit(root)}


def _commit(root: Path) -> str | None:
    """The commit of the code; None if it has changes, or is not under git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
        if Path(git("rev-parse", "--show-toplevel")) == root and not git("status", "--porcelain", *PACKAGES):
            return git("rev-parse", "HEAD")
    return None
