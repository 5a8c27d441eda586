"""The report on the terminal, and as Markdown, JSON, or one HTML page that needs nothing else."""

import base64
import html
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from matplotlib.figure import Figure

from analysis.advice.document import Report
from analysis.figures.style import style
from yosinski.errors import choose


def write(report: Report, path: Path) -> bool:
    """Write a report as .md, .json or .html, or, as .py, the sweep of what it leaves open; False if that is nothing.

    Figures of a .md file are SVG files beside it: report-choices.svg, with a number where several blocks have one.
    """
    kind = KINDS[choose("kind of file", path.suffix, KINDS)]
    text = markdown(report, path.stem) if kind is markdown else kind(report)
    if not text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if kind is markdown:
        for name, draw in _beside(report, path.stem):
            (path.parent / name).write_bytes(_svg(draw()))
    return True


def markdown(report: Report, stem: str = "report") -> str:
    """Sentences, tables, and links to figures, which `write` leaves beside a file of this stem."""
    lines = [f"# {report.title}", ""]
    names = iter([name for name, _ in _beside(report, stem)])
    for part in report.parts:
        lines += [f"## {part.title}", ""]
        for section in part.sections:
            lines += [f"### {section.title}", "", *(f"- {_escaped(sentence)}" for sentence in section.text), ""]
            for shows in section.figures:
                lines += [f"![{_escaped(shows)}]({quote(next(names))})", ""]
            for table in section.tables:
                columns = [_escaped(str(name)) for name in table.shown.columns]
                lines += [f"**{table.title}**", "", _line(columns), _line(["---"] * len(columns))]
                lines += [_line([_escaped(str(cell)) for cell in row]) for row in table.shown.itertuples(index=False)]
                lines.append("")
    return "\n".join(lines)


def _beside(report: Report, stem: str) -> list[tuple[str, Callable[[], Figure]]]:
    """The files of all figures in their order, and how they are drawn."""
    every = [figure for part in report.parts for section in part.sections for figure in section.figures.items()]
    words = ["-".join(re.findall(r"\w+", shows)) for shows, _ in every]
    numbered = [
        f"{word}-{words[: k + 1].count(word)}" if words.count(word) > 1 else word for k, word in enumerate(words)
    ]
    return [(f"{stem}-{word}.svg", draw) for word, (_, draw) in zip(numbered, every, strict=True)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text whose signs mean nothing in Markdown."""
    return "".join(f"\\{sign}" if sign in "\\|*_<`" else sign for sign in text)


def page(report: Report) -> str:
    """One HTML page with its figures in it."""
    parts = [f"<h1>{html.escape(report.title)}</h1>"]
    for part in report.parts:
        parts.append(f"<h2>{html.escape(part.title)}</h2>")
        for section in part.sections:
            parts.append(f"<h3>{html.escape(section.title)}</h3>")
            parts += [f"<p>{html.escape(sentence)}</p>" for sentence in section.text]
            parts += [_image(name, draw()) for name, draw in section.figures.items()]
            parts += [_html_table(table.title, table.shown) for table in section.tables]
            parts += [
                f"<details><summary>settle{kind}</summary><pre>{html.escape(text)}</pre></details>"
                for kind, text in section.files.items()
            ]
    return _PAGE.format(title=html.escape(report.title), body="\n".join(parts))


def _image(name: str, figure: Figure) -> str:
    """An SVG as an image of its own, so that the ids of two of them do not meet."""
    data = base64.b64encode(_svg(figure)).decode()
    return f'<img alt="{html.escape(name)}" src="data:image/svg+xml;base64,{data}">'


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    with style():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    return file.getvalue()


def _html_table(title: str, shown: pd.DataFrame) -> str:
    cells = ["".join(f"<th>{html.escape(str(name))}</th>" for name in shown.columns)]
    cells += ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in shown.itertuples(index=False)]
    rows = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><caption>{html.escape(title)}</caption>\n{rows}\n</table>"


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
h2 {{ border-top: 1px solid #ccc; padding-top: 1rem }}
p {{ margin: 0.4rem 0 }}
img {{ max-width: 100%; display: block; margin: 1rem 0 }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: 13px }}
caption {{ text-align: left; font-weight: 600 }}
th, td {{ text-align: left; padding: 0.15rem 0.8rem 0.15rem 0; border-bottom: 1px solid #e5e5e5 }}
pre {{ background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 12px }}
</style></head><body>
{body}
</body></html>
"""


def sweep(report: Report) -> str:
    """The sweep of the first block that leaves something open; "" if none does."""
    files = (section.files[".py"] for part in report.parts for section in part.sections if ".py" in section.files)
    return next(files, "")


def on_terminal(report: Report, console: Any) -> None:
    """Print it with a rich console."""
    from rich.rule import Rule

    for part in report.parts:
        console.print(Rule(part.title, align="left"))
        for section in part.sections:
            console.print(f"\n[bold]{section.title}[/bold]")
            for sentence in section.text:
                console.print(sentence, markup=False)
            for table in section.tables:
                console.print(rich_table(table.shown, table.title))
    console.print()


def rich_table(rows: pd.DataFrame, title: str | None = None) -> Any:
    """A table of texts for a rich console; digits are never cut off, and columns of numbers stand at the right."""
    from rich import box
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, title=title, title_justify="left")
    for column in rows.columns:
        words = any(str(cell)[:1].isalpha() for cell in rows[column])
        shown.add_column(str(column), no_wrap=True, justify="left" if words else "right")
    for row in rows.itertuples(index=False):
        shown.add_row(*map(str, row))
    return shown


KINDS: dict[str, Callable[[Report], str]] = {
    ".md": markdown,
    ".json": lambda report: report.as_json() + "\n",
    ".html": page,
    ".py": sweep,
}
