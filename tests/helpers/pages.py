"""Pages of documentation: their blocks, and what the commands in them print."""

import contextlib
import io
import re
import shlex
from pathlib import Path

from commands import yosinski
from this_process import packs_in_this_process

ROOT = Path(__file__).parents[2]
FORMATS = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the text of every block of a page, such as docs/commands.md."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def printed(language: str, text: str) -> str:
    """What the commands of a block, or its program, print in this directory; they must end well.

    In this process, which need not load everything again.
    """
    if language == "sh":
        with packs_in_this_process():
            return "".join(map(of_command, text.splitlines()))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text, "<page>", "exec"), {"__name__": "__main__"})
    return out.getvalue()


def of_command(line: str) -> str:
    """What a command prints."""
    program, *words = shlex.split(line, comments=True)
    assert program == "yosinski"
    ended = yosinski(*words)
    assert ended.status == 0, f"{line}\n{ended.errors}"
    return "".join(f"{row.rstrip()}\n" for row in ended.out.splitlines())


def section(title: str) -> str:
    """The text of docs/formats.md below a heading, up to the next one."""
    match = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", FORMATS, re.MULTILINE | re.DOTALL)
    assert match, title
    return match[1]


def first_column(title: str) -> list[str]:
    """The names in backticks in the first column of a section's table."""
    rows = [line.split("|")[1] for line in section(title).splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
