"""The README's examples work as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_examples(tmp_path: Path, stores: Path) -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [language for language, _ in blocks].count("python") == 2
    (tmp_path / "stores").symlink_to(stores)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for language, text in blocks:
        if "def sweep" in text:
            (tmp_path / "mine.py").write_text(text, encoding="utf-8")
            continue
        command = ["bash", "-ec", text] if language == "sh" else [sys.executable, "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
    for made in ("figure2.png", "figure2.pdf", "figure2.csv", "curves.png", "frame.csv"):
        assert (tmp_path / "try" / made).stat().st_size > 0


def test_the_tree_names_what_is_there() -> None:
    tree = (ROOT / "README.md").read_text(encoding="utf-8").split("## What is where")[1]
    for name in re.findall(r"\b([a-z0-9_]+\.py)\b", tree):
        assert [*ROOT.glob(f"*/{name}"), *ROOT.glob(f"yosinski/*/{name}")], name
    for path in (ROOT / "yosinski").glob("*.py"):
        assert path.name == "__init__.py" or path.name in tree, path.name


def test_make_and_git_are_told_the_same(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "figures/figure2.png" in makefile
    assert "figures/figure2.pdf" in makefile
    assert (
        shutil.which("make") is None
        or not subprocess.run(
            ["make", "--dry-run", "figure2", "test"], cwd=ROOT, capture_output=True, check=False
        ).returncode
    )
