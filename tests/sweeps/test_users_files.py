"""Sweeps are found by their names, or in a user's own Python file."""

from pathlib import Path

import pytest

import sweeps
from sweeps.figure2 import figure2
from sweeps.running.plan import plan
from yosinski.errors import BadInput


def test_sweeps_are_found_by_name() -> None:
    assert sweeps.find("figure2") is figure2
    with pytest.raises(BadInput, match=r"unknown sweep 'figure9'; choose from: figure2, .*, or a path to a \.py file"):
        sweeps.find("figure9")


USERS = """
from yosinski import Half, Run, SKETCH

HALF = Half("emoji", "f00d", ("ant", "bat"), ("noto",))

def _helper():
    return None

def mine(seeds: tuple[int, ...] = (0,)) -> list[Run]:
    return [Run("alexnet32", HALF, SKETCH, seed) for seed in seeds]
"""


def test_a_users_own_file_holds_a_sweep(tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    file.write_text(USERS)
    sweep = sweeps.find(str(file))
    runs = sweep(**sweeps.arguments(sweep, ["seeds=3,4"]))
    assert [run.seed for run in runs] == [3, 4]
    assert len(plan(runs, tmp_path, 1).runs) == 2
    file.write_text(USERS + "\ndef sweep() -> list[Run]:\n    return []\n")
    assert sweeps.find(str(file))() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (USERS + "\ndef other():\n    return []\n", r"my_sweep\.py must define one function.*it defines: mine, other$"),
        ("from yosinski import split\n", "it defines: none$"),
        ("def f(:\n", r"my_sweep\.py cannot be loaded: SyntaxError"),
        (
            "import nowhere_to_be_found\n",
            r"my_sweep\.py cannot be loaded: ModuleNotFoundError: No module named 'nowhere_to_be_found'$",
        ),
        (
            "from yosinski.recipes import EMOJI\n",
            r"No module named 'yosinski\.recipes' \(yosinski has: EMOJI, .*, Run, .*split\)$",
        ),
        ("from yosinski import recipe\nrecipe('x')\n", "unknown recipe 'x'; choose from"),
    ],
)
def test_a_users_file_without_a_sweep_is_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    file.write_text(content)
    with pytest.raises(BadInput, match=message):
        sweeps.find(str(file))


def test_a_users_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"no sweep file {tmp_path / 'nowhere.py'}"):
        sweeps.find(str(tmp_path / "nowhere.py"))


def test_a_users_file_may_hold_dataclasses_with_postponed_annotations(tmp_path: Path) -> None:
    file = tmp_path / "my_sweep.py"
    head = "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
    file.write_text(head + "@dataclass\nclass Setting:\n    seed: int\n" + USERS)
    assert sweeps.find(str(file)).__name__ == "mine"
