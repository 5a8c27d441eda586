"""Snapshots: the code as it was submitted, which is what jobs import, whatever becomes of the checkout meanwhile."""

import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from slurm.submission import closed, jobs

PACKAGES = ("yosinski", "sweeps", "slurm")  # that jobs import


def snapshot(runs: Path) -> dict[str, str | None]:
    """Copy the code that jobs import, so that they run what was submitted, whatever becomes of it meanwhile.

    Returns where it lies, the hash of its files and, if they are those of a commit, that.
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
        with contextlib.suppress(OSError):  # somebody else was quicker
            temporary.rename(target)
        shutil.rmtree(temporary, ignore_errors=True)
    return {"path": str(target.absolute()), "hash": digest, "commit": _commit(root)}


def _commit(root: Path) -> str | None:
    """The commit that the code is at, None if it has been changed since or is not under git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    with contextlib.suppress(subprocess.CalledProcessError, FileNotFoundError):
        if Path(git("rev-parse", "--show-toplevel")) == root and not git("status", "--porcelain", *PACKAGES):
            return git("rev-parse", "HEAD")
    return None
