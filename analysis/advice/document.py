"""Reports as data: parts with sections of sentences, tables and figures."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from analysis.tables import Table


@dataclass
class Section:
    """Sentences, tables, and figures that are drawn when they are asked for; `files` are texts that can be written."""

    title: str
    text: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)  # by what they show
    files: dict[str, str] = field(default_factory=dict)  # kind (".py") -> content


@dataclass
class Part:
    """A block of comparable runs, or what goes across blocks, with its sections."""

    title: str
    sections: list[Section]


@dataclass
class Report:
    """What `yosinski advise` says."""

    title: str
    parts: list[Part]

    def as_json(self) -> str:
        """`title` and `parts` (`title`, `sections` of `title`, `text`, `tables`); tables: `Table.as_json`."""
        parts: list[Any] = [
            {
                "title": part.title,
                "sections": [
                    {
                        "title": section.title,
                        "text": section.text,
                        "tables": [json.loads(table.as_json()) for table in section.tables],
                    }
                    for section in part.sections
                ],
            }
            for part in self.parts
        ]
        return json.dumps({"title": self.title, "parts": parts}, indent=1)
