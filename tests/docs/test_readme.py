"""What the README and the page of commands show works as it stands there, and prints what they say."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import ROOT, blocks, printed

README = (ROOT / "README.md").read_text(encoding="utf-8")
FILE = re.compile(r"`((?:yosinski|sweeps|slurm|analysis|tests|benchmarks|emoji|docs)/[\w/]+\.(?:py|md))`")


@pytest.fixture
def there(tmp_path: Path, stores: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with stores, on a terminal of 120 columns."""
    (tmp_path / "stores").symlink_to(stores)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def holds(printed_text: str, shown: str) -> bool:
    """Whether a text shows these lines in a row, where `...` may stand for anything."""
    lines = shown.splitlines(keepends=True)
    dots = {"...\n": "(?s:.*?)"}
    pattern = "".join(dots.get(line) or ".*?".join(map(re.escape, line.split("..."))) for line in lines)
    return re.search(pattern, printed_text) is not None


def test_dots_stand_for_anything_and_nothing_else_is_left_out() -> None:
    assert holds("a\nb\nb\nc 3 s\n", "a\n...\nc ...\n")
    assert not holds("a\nb\nc\n", "a\nc\n")


def test_the_commands_do_and_print_what_their_page_says(there: Path) -> None:
    output = ""
    for kind, text in blocks("docs/commands.md"):
        if kind == "text":
            assert holds(output, text), f"{text}\n{output}"
        elif "def sweep" in text:
            (there / "mine.py").write_text(text, encoding="utf-8")
        else:
            output = printed(kind, text)
    figures = {
        f"{name}.{kind}" for name in ("figure2", "figure3", "S1", "preserved") for kind in ("png", "pdf", "svg", "csv")
    }
    for made in ("figure2.png", "figure2.pdf", "figure2.csv", "curves.png", "frame.csv", "settle.py", *figures):
        assert (there / "try" / made).stat().st_size > 0


def test_the_readme_has_the_answer_as_it_is_printed(there: Path) -> None:
    command, (_, answer) = blocks("README.md")
    assert holds(printed(*command), answer)


def test_the_readme_is_short() -> None:
    _, answer = blocks("README.md")[1]
    assert len(README.split(answer)[1].splitlines()) <= 120


def test_files_that_are_named_are_there() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        if page.name != "log.md":  # which tells what was
            for name in FILE.findall(page.read_text(encoding="utf-8")):
                assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_the_tree_names_every_folder() -> None:
    tree = README.split("## What is where")[1]
    folders = [
        path for place in (ROOT, ROOT / "yosinski") for path in place.iterdir() if (path / "__init__.py").exists()
    ]
    assert len(folders) > 10
    for folder in folders:
        assert f"{folder.name}/" in tree, folder.name


def test_make_and_git_are_told_the_same(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "figures/figure2.png" in makefile
    assert "figures/figure2.pdf" in makefile
    command = ["make", "--dry-run", "figure2", "test"]
    assert (
        shutil.which("make") is None
        or not subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode
    )
