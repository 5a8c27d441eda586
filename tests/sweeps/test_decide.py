"""Single cells of a sweep: its places, its choices, the runs of cells, and the file that holds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import sweeps
from sweeps.decide import BASE, MOST, Choosing, as_file, choosing
from sweeps.figure2 import figure2
from yosinski.errors import BadInput
from yosinski.networks import build

ALL = [(treatment, n) for treatment in ("frozen", "tuned") for n in range(1, 8)]
OWN = """
from sweeps.figure2 import figure2


def mine(cuts: tuple[int, ...] = (2, 5), treatments: tuple[str, ...] = ("frozen", "tuned"), {parameters}):
    {body}
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "own.pth"
    torch.save(build.drawn("alexnet32", 6, 1, "kaiming", 1).state_dict(), path)
    return path


def own(folder: Path, parameters: str, body: str) -> str:
    path = folder / "mine.py"
    path.write_text(OWN.format(parameters=parameters, body=body))
    return str(path)


def values(chosen: Choosing) -> Sequence[Any]:
    return [place[chosen.varied][0] for place in chosen.places]


# -------------------------------------------------------------------------------------------------------------- places


@pytest.mark.parametrize(
    ("texts", "varied", "expected"),
    [
        ("", "splits", [f"random:{k}" for k in range(MOST)]),
        ("splits=random:5", "splits", [f"random:{k}" for k in range(5, 5 + MOST)]),
        ("splits=random:7,random:1,random:3", "splits", ["random:7", "random:1", "random:3"]),
        ("splits=natman", "seeds", list(range(MOST))),
        ("splits=natman seeds=4", "seeds", list(range(4, 4 + MOST))),
        ("seeds=0,1,2,3", "seeds", [0, 1, 2, 3]),
        ("seeds=3", "splits", [f"random:{k}" for k in range(MOST)]),
        ("divisions=0..3", "divisions", [0, 1, 2, 3]),
        ("splits=random:0,random:1,random:2 seeds=0,1", "splits", ["random:0", "random:1", "random:2"]),
    ],
)
def test_places_differ_in_what_has_several_values_or_else_in_splits_or_seeds(
    texts: str, varied: str, expected: list[Any]
) -> None:
    chosen = choosing("figure2", texts.split())
    assert (chosen.varied, values(chosen)) == (varied, expected)


def test_places_have_names() -> None:
    assert choosing("figure2", []).named([0, 2]) == "splits random:0, random:2"
    assert choosing("figure2", ["seeds=0..3"]).named([3]) == "seed 3"


def test_fewer_places_than_an_answer_takes_are_refused() -> None:
    with pytest.raises(BadInput, match="2 seeds decide nothing: name at least 3, or one, or none"):
        _ = choosing("figure2", ["seeds=0,1"]).places
    with pytest.raises(BadInput, match="1 splits decide nothing"):
        _ = choosing("figure2", ["splits=random:0,random:0,random:0"]).places


def test_what_a_sweep_replicates_by_itself_is_once_enough_at_each_place(weights: Path) -> None:
    texts = ["data=emoji", "network=alexnet32", f"weights={weights}", "cuts=2,5"]
    for more, varied in ((), "seeds"), (("divisions=0..2",), "divisions"):
        chosen = choosing("transfer", [*texts, *more])
        assert chosen.varied == varied
        runs = chosen.of_cells([(1, ("tuned", 5)), (1, BASE)])
        assert [run.name for run in runs] == ["baseB", "W5B+"]
        assert {(run.seed, run.half.division) for run in runs} == {(1, 0) if varied == "seeds" else (0, 1)}
    assert choosing("transfer", [*texts, "scratch=false"]).choices == [(name, n) for name, n in ALL if n in (2, 5)]


def test_a_users_sweep_has_the_places_that_its_usual_values_allow(tmp_path: Path) -> None:
    body = "return figure2(cuts=cuts, treatments=treatments, splits=splits)"
    chosen = choosing(own(tmp_path, 'splits=("natman", "groups:animals/food", "groups:food/animals")', body), [])
    assert values(chosen) == ["natman", "groups:animals/food", "groups:food/animals"]
    chosen = choosing(own(tmp_path, 'splits=("random:2", "random:3")', body), [])
    assert values(chosen) == [f"random:{k}" for k in range(2, 2 + MOST)]
    body = "return figure2(cuts=cuts, treatments=treatments, seeds=seeds)"
    chosen = choosing(own(tmp_path, "seeds=(4, 5)", body), [])
    assert values(chosen) == list(range(4, 4 + MOST))
    assert {run.seed for run in chosen.of_cells([(0, ("tuned", 5)), (2, BASE)])} == {4, 6}
    with pytest.raises(BadInput, match="has no splits, divisions or seeds that could replicate it"):
        _ = choosing(own(tmp_path, "a=1", "return figure2(cuts=cuts, treatments=treatments)"), []).places


# ------------------------------------------------------------------------------------------------------------- choices


def test_choices_are_the_base_and_all_transfer_copies_in_the_order_of_the_sweep() -> None:
    assert choosing("figure2", []).choices == [BASE, *ALL]
    assert choosing("figure2", ["treatments=frozen", "cuts=2,5"]).choices == [BASE, ("frozen", 2), ("frozen", 5)]


def test_treatments_may_have_cuts_of_their_own(tmp_path: Path) -> None:
    body = (
        "return figure2(splits, cuts=(2,), treatments=('frozen',)) + figure2(splits, cuts=(5,), treatments=('tuned',))"
    )
    body = body.replace("(splits", "(splits=splits")
    assert choosing(own(tmp_path, 'splits=("random:0",)', body), []).choices == [BASE, ("frozen", 2), ("tuned", 5)]


@pytest.mark.parametrize(
    ("sweep", "texts", "message"),
    [
        ("reduced", "", "sweep reduced has no parameter cuts and no treatments: there is nothing to decide"),
        ("preserved", "", "sweep preserved has no parameter treatments"),
        ("figure3", "", "mixes copies that cannot be compared, by kind of split: natman, random"),
        ("figure2", "splits=random:0,natman,random:1", "by kind of split: natman, random"),
        ("volume", "counts=5", "mixes copies that cannot be compared, by examples_per_class: 5, None"),
        ("transfer", "", "sweep transfer needs data: give --data DATA"),
        ("figure2", "cuts=3,nine", "nine"),
        ("nothing", "", "unknown sweep 'nothing'"),
        ("nothing.py", "", "no sweep file nothing.py"),
    ],
)
def test_sweeps_without_a_choice_are_refused(sweep: str, texts: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        _ = choosing(sweep, texts.split()).choices


def test_a_single_choice_is_none(tmp_path: Path) -> None:
    body = "return [run for run in figure2(splits=splits, cuts=cuts, treatments=treatments) if run.name == 'A2B']"
    with pytest.raises(BadInput, match="has 1 transfer copies to choose from: nothing is to decide"):
        _ = choosing(own(tmp_path, 'splits=("random:0",)', body), []).choices


def test_only_bases_that_are_trained_as_the_copies_are_among_the_choices(tmp_path: Path) -> None:
    body = "volume(splits=splits, directions=('AB',), cuts=cuts, counts=(5,))"
    body = f"return [run for run in {body} if run.is_base or run.examples_per_class]"
    path = own(tmp_path, 'splits=("random:0",)', f"from sweeps.volume import volume; {body}")
    chosen = choosing(path, [])
    assert chosen.choices[:2] == [BASE, ("frozen", 2)]
    runs = chosen.of_cells([(0, BASE), (0, ("frozen", 2))])
    assert [(run.name, run.examples_per_class) for run in runs] == [("baseB", 5), ("A2B", 5)]


# --------------------------------------------------------------------------------------------------------------- cells


def test_cells_are_runs_of_the_sweep_in_one_direction() -> None:
    runs = choosing("figure2", []).of_cells([(0, BASE), (0, ("frozen", 3)), (2, ("tuned", 7))])
    assert [(run.name, run.half.split) for run in runs] == [
        ("baseB", "random:0"),
        ("A3B", "random:0"),
        ("A7B+", "random:2"),
    ]
    whole = {run.id for run in figure2(splits=("random:0", "random:2"))}
    assert {run.id for run in runs} | {run.parent.id for run in runs if run.parent} <= whole


def test_both_directions_are_trained_if_the_user_names_them() -> None:
    chosen = choosing("figure2", ["directions=AB,BA"])
    assert [run.name for run in chosen.of_cells([(0, BASE), (0, ("frozen", 3))])] == ["baseB", "baseA", "A3B", "B3A"]


def test_the_cells_of_all_places_are_the_transfer_part_of_the_sweep() -> None:
    texts = ["splits=random:0,random:1,random:2", "directions=AB"]
    chosen = choosing("figure2", texts)
    of_cells = chosen.of_cells([(place, choice) for place in range(3) for choice in chosen.choices])
    whole = figure2(**sweeps.arguments(figure2, texts))
    wanted = {run.id for run in whole if not run.selffer and run.name != "baseA"}
    assert {run.id for run in of_cells} == wanted


def test_the_file_of_cells_is_a_sweep_with_their_runs_wherever_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own(tmp_path, 'splits=("random:0",)', "return figure2(splits=splits, cuts=cuts, treatments=treatments)")
    cells = [(0, BASE), (1, ("tuned", 5))]
    for name in (path, "figure2"):
        written = tmp_path / "runs" / f"decide-{Path(name).stem}.py"
        written.parent.mkdir(exist_ok=True)
        written.write_text(as_file(name, ["cuts=2,5"], cells))
        found = sweeps.find(str(written))()
        assert [run.id for run in found] == [run.id for run in choosing(name, ["cuts=2,5"]).of_cells(cells)]
    monkeypatch.chdir(tmp_path)
    assert repr(path) in as_file("mine.py", [], [])
