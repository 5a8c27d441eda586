"""Which networks the sweeps consist of; the paper's own, by name."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from commands import yosinski

import sweeps
from sweeps.figure2 import figure2
from sweeps.figure3 import figure3
from sweeps.paper import paper, published
from sweeps.preserved import preserved
from sweeps.reduced import COUNTS, reduced
from sweeps.running import plan as planning
from sweeps.running.plan import packs, parents_first, plan
from sweeps.volume import volume
from yosinski.data import find, halves
from yosinski.data.sources import synsets
from yosinski.errors import BadInput
from yosinski.experiment.cost import cost
from yosinski.experiment.recipes import EMOJI, PAPER, PAPER_REDUCED
from yosinski.experiment.run import Run

NETWORKS = Path(__file__).parents[2] / "analysis" / "paper" / "networks.csv"
CARD = replace(synsets.card(), fingerprint="f00d", images={"train": 1300, "select": 25})


def names(runs: Iterable[Run]) -> list[str]:
    return [run.name for run in runs]


# ---------------------------------------------------------------------------------------------- on emoji, as on others


def test_figure2_is_the_papers_grid(tmp_path: Path) -> None:
    runs = plan(figure2(), tmp_path, 2).runs
    assert len(runs) == 2 + 2 * 4 * 7
    assert sorted(names(runs))[:4] == ["A1A", "A1A+", "A1B", "A1B+"]
    assert len({run.name for run in runs}) == 58
    assert names(figure2(directions=("AB",), cuts=(3,))) == ["baseB", "baseA", "B3B", "A3B", "B3B+", "A3B+"]
    assert names(figure2(directions=("BA",), cuts=(3,), treatments=("frozen",), random=("xavier",))) == [
        "baseA",
        "baseB",
        "A3A",
        "B3A",
        "R3A",
    ]
    assert len(plan(figure2(splits=("random:0", "random:1"), seeds=(0, 1)), tmp_path, 2).runs) == 4 * 58


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"directions": ("AC",)}, "unknown direction 'AC'; choose from: AB, BA"),
        ({"treatments": ("base",)}, "unknown treatment 'base'; choose from: frozen, tuned"),
        ({"treatments": ()}, "parameter treatments is empty"),
        ({"seeds": ()}, "parameter seeds is empty"),
        ({"cuts": (8,)}, r"alexnet32 has no cut 8; it has 7: 1 \(conv1\) to 7 \(fc7\)"),
        ({"cuts": ()}, "parameter cuts is empty"),
        ({"network": "vgg"}, "unknown network 'vgg'; near it: vgg"),
        ({"data": "mnist"}, "unknown data set 'mnist'"),
        ({"splits": ("odd",)}, "unknown split 'odd'"),
    ],
)
def test_figure2_refuses_what_does_not_exist(
    parameters: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(BadInput, match=message):
        figure2(**parameters)


def test_the_halves_of_a_real_split_have_distinct_bases(tmp_path: Path) -> None:
    split = halves.split(find.card("emoji"), "random:0")
    assert split.a.digest != split.b.digest
    made = planning.plan(figure2(cuts=(1,)), tmp_path, 1)
    targets = {run.half.digest for run in made.runs if run.treatment == "base"}
    assert targets == {split.a.digest, split.b.digest}


def test_figure3_has_distant_tasks_similar_ones_and_random_features() -> None:
    runs = figure3(cuts=(2, 5), random=("gaussian", "kaiming"))
    assert names(runs) == [
        *(["baseB", "baseA", "A2B", "A5B", "baseA", "baseB", "B2A", "B5A"] * 2),
        *("baseAll", "R2All", "R5All", "R2All", "R5All"),
    ]
    assert [run.half.split for run in runs] == ["natman"] * 8 + ["random:0"] * 8 + ["all"] * 5
    assert runs[-1].half.classes == find.card("emoji").classes
    assert [run.below for run in runs[-4:]] == ["gaussian"] * 2 + ["kaiming"] * 2
    assert len(parents_first(figure3())) == 4 + 4 * 7 + 1 + 7
    assert {run.below for run in figure3()} == {None, EMOJI.initialiser}
    assert names(figure3(cuts=(3,), splits=(), random=())) == [
        "baseB",
        "baseA",
        "A3B",
        "baseA",
        "baseB",
        "B3A",
        "baseAll",
    ]


def test_reduced_goes_up_to_all_images_or_takes_the_counts_that_are_given() -> None:
    runs = reduced()  # emoji has 15 training images per picture, and four artists
    assert [run.examples_per_class for run in runs] == [1, 2, 5, 10, 25, 50, 100]
    assert {run.name for run in runs} == {"baseAll"}
    chosen = reduced(half="natman:A", counts=(3, 400), seeds=(0, 1))
    assert [(run.examples_per_class, run.seed) for run in chosen] == [(3, 0), (400, 0), (3, 1), (400, 1)]
    assert {run.half for run in chosen} == {halves.split(find.card("emoji"), "natman").a}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"half": "natman"}, "unknown end of parameter half 'natman'; choose from: A, B"),
        ({"half": "random:0"}, "unknown end of parameter half '0'; choose from: A, B"),
        ({"half": "odd:A"}, "unknown split 'odd'"),
        ({"counts": ()}, "parameter counts is empty"),
        ({"counts": (0,)}, "examples per class must be at least 1"),
    ],
)
def test_reduced_refuses_what_does_not_exist(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        reduced(**parameters)


def test_preserved_keeps_what_lies_below_the_head() -> None:
    runs = preserved(cuts=(5, 6, 7))
    kept = [*("B5B", "B6B", "B7B", "B5+1B", "B6+1B", "B5+2B"), *("A5B", "A6B", "A7B", "A5+1B", "A6+1B", "A5+2B")]
    assert names(runs) == ["baseB", "baseA", *kept]
    assert {run.treatment for run in runs} == {"base", "frozen"}
    assert [run.held(1.0) for run in runs if run.preserved == 2] == [5, 5]
    assert len(parents_first(preserved(directions=("AB", "BA")))) == 2 + 2 * 2 * (7 + 6 + 5)
    assert [pack.name for pack in packs(parents_first(preserved(cuts=(1, 2, 3)))[2:])] == [
        "B1-3B B1-3+1B B1-3+2B",
        "A1-3B A1-3+1B A1-3+2B",
    ]


def test_volume_trains_copies_of_whole_bases_on_few_images_with_a_base_on_as_many_beside() -> None:
    runs = parents_first(volume(directions=("AB",), cuts=(3,), counts=(2, 10), treatments=("frozen", "thawed")))
    assert len(set(runs)) == len(runs) == 2 + 2 + 3 * 4
    copies = [run for run in runs if not run.is_base]
    whole = [run for run in runs if run.is_base and run.examples_per_class is None]
    assert sorted(base.name for base in whole) == ["baseA", "baseB"]
    assert {run.parent for run in copies} == set(whole)
    for count in (None, 2, 10):
        of_count = [run for run in runs if run.examples_per_class == count and run not in whole[1:]]
        assert names(of_count)[-4:] == ["B3B", "A3B", "B3B+thawed", "A3B+thawed"]
        assert of_count[0].name == "baseB"
    assert {run.examples_per_class for run in volume()} == {None, 1, 2, 5, 10, 25, 50}  # emoji has 60 of each class


def test_volumes_have_steps_or_epochs_alike() -> None:
    card = find.card("emoji")

    def steps(hold: Literal["steps", "epochs"]) -> dict[int | None, int]:
        return {run.examples_per_class: cost(run, card).steps for run in volume(counts=(2, 10), cuts=(3,), hold=hold)}

    assert steps("steps") == dict.fromkeys((None, 10, 2), 40 * 46)
    assert steps("epochs") == {None: 40 * 46, 10: 40 * 7, 2: 40}
    assert len({run.recipe.digest for run in volume()}) == 1  # so that volumes can be compared
    assert set(figure2(cuts=(3,))) <= set(volume(cuts=(3,), hold="epochs"))
    assert {
        run.recipe.iterations for run in volume(recipe=PAPER.with_values({"outputs": 0, "initialiser": "kaiming"}))
    } == {PAPER.iterations}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"counts": ()}, "parameter counts is empty"),
        ({"counts": (0,)}, "examples per class must be at least 1"),
        ({"treatments": ()}, "parameter treatments is empty"),
        ({"treatments": ("base",)}, "unknown treatment 'base'; choose from: frozen"),
        ({"hold": "epochs", "recipe": EMOJI.with_values({"epochs": 0, "iterations": 9})}, "recipe.iterations is 9"),
    ],
)
def test_volume_refuses_what_makes_no_sense(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        volume(**parameters)


def test_figure2_of_texts_has_random_features_and_that_of_pictures_none() -> None:
    of_words: Any = {"data": "words:en", "network": "textnet", "cuts": (3,), "directions": ("AB",)}
    drawn = [run for run in figure2(**of_words) if run.below]
    assert [(run.name, run.below) for run in drawn] == [("R3B", "kaiming")]
    assert figure2(**of_words, random=()) == [run for run in figure2(**of_words) if run not in drawn]
    assert not any(run.below for run in figure2())


def test_matched_random_features_have_the_source_as_parent() -> None:
    runs = figure2(directions=("AB",), cuts=(2,), treatments=(), random=("matched", "kaiming"))
    assert names(runs) == ["baseB", "baseA", "R2B", "R2B"]
    assert [run.parent for run in runs] == [None, None, runs[1], None]
    of_all = figure3(cuts=(2,), splits=(), random=("matched",))
    assert of_all[-1].parent == of_all[-2]


def test_every_sweep_is_found_by_its_name() -> None:
    assert [sweeps.find(name).__name__ for name in sweeps.SWEEPS] == list(sweeps.SWEEPS)


def test_values_of_either_recipe_can_be_changed() -> None:
    arguments = sweeps.arguments(
        paper, ["data=x", "recipe.iterations=4", "reduced.iterations=3", "reduced.batch_size=2"]
    )
    assert arguments == {
        "data": "x",
        "recipe": PAPER.with_values({"iterations": 4}),
        "reduced": PAPER_REDUCED.with_values({"iterations": 3, "batch_size": 2}),
    }
    with pytest.raises(BadInput, match=r"unknown parameter 'data.x'; choose from: data, recipe, reduced"):
        sweeps.arguments(paper, ["data.x=3"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("figure2", "-p", "network=caffenet"), "caffenet sees 227 x 227 pixels at a time, emoji has 32 x 32"),
        (("figure2", "--data", "nowhere"), "unknown data set 'nowhere'"),
        (("paper",), "sweep paper needs data: give --data DATA, such as imagefolder:PATH"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_starts(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    ended = yosinski("run", *arguments, "--runs", tmp_path / "runs")
    assert (ended.status, ended.errors.count("\n")) == (2, 1)
    assert message in ended.errors
    assert not list((tmp_path / "runs").glob("*/"))


def test_what_a_sweep_takes_any_number_of_is_not_asked_for() -> None:
    def mine(seed: int, *others: int, **more: int) -> list[Run]:
        return figure2(splits=(f"random:{seed}",))

    assert sweeps.made("mine.py", mine, {"seed": 3}) == figure2(splits=("random:3",))
    with pytest.raises(BadInput, match=r"^sweep mine.py needs seed: give -p seed=...$"):
        sweeps.made("mine.py", mine, {})


def test_data_is_a_short_form(tmp_path: Path) -> None:
    ended = yosinski("plan", "reduced", "--data", "emoji", "-p", "counts=1", "--json", "--runs", tmp_path)
    assert json.loads(ended.out)["parameters"]["data"] == "emoji"


# ------------------------------------------------------------------------------------------------------ the paper's own


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Run]:
    """The published networks on 1000 classes of which we have no images."""
    monkeypatch.setattr(find, "card", lambda name: CARD)
    return published("imagenet:somewhere")


def test_the_paper_has_170_networks(networks: dict[str, Run]) -> None:
    assert len(networks) == len({run.id for run in networks.values()}) == 170
    assert set(parents_first(networks.values())) == set(networks.values())  # all parents are among them
    kinds = Counter((run.treatment, run.recipe == PAPER, run.half.split) for run in networks.values())
    assert kinds == {
        **{("base", True, f"paper:{s}"): 2 for s in range(4)},
        **{("frozen", True, f"paper:{s}"): 21 for s in range(4)},
        **{("tuned", True, f"paper:{s}"): 21 for s in range(2)},
        ("base", True, "paper:natman"): 2,
        ("frozen", True, "paper:natman"): 14,
        ("base", True, "all"): 1,
        ("base", False, "all"): 12,
        ("random", True, "all"): 7,
    }
    assert {run.network for run in networks.values()} == {"caffenet"}
    assert {run.recipe for run in networks.values()} == {PAPER, PAPER_REDUCED}
    assert paper("imagenet:somewhere") == list(networks.values())


def test_names_and_edges_are_those_that_were_published(networks: dict[str, Run]) -> None:
    with NETWORKS.open(newline="") as file:
        rows = {row["network"]: row for row in csv.DictReader(file)}
    assert networks.keys() == rows.keys()
    for name, row in rows.items():
        run, split = networks[name], row["split_or_images"]
        what = run.treatment, run.cut, run.parent, run.examples_per_class
        base = networks.get(f"half{split}{row['source']}")
        if row["kind"] == "copy":
            assert what == ("tuned" if row["tuned"] == "1" else "frozen", int(row["n"]), base, None), name
            assert run.half == networks[f"half{split}{row['target']}"].half, name
        elif row["kind"] == "base":
            letter = {"A": "B", "B": "A"}[row["target"]] if split == "natman" else row["target"]
            assert what == ("base", 0, None, None), name
            assert run.half == getattr(halves.split(CARD, f"paper:{split}"), letter.lower()), name
        else:
            wanted = {
                "netbase": ("base", 0, None, None),
                "random": ("random", int(row["n"] or 0), None, None),
                "reduced": ("base", 0, None, int(split or 0)),
            }
            assert what == wanted[row["kind"]], name
            assert run.half.classes == CARD.classes, name
            assert run.below == ("paper" if row["kind"] == "random" else None), name


def test_the_counts_of_reduced_are_the_papers(networks: dict[str, Run]) -> None:
    assert [run.examples_per_class for run in networks.values() if run.examples_per_class] == list(COUNTS)
    assert [run.id for name, run in networks.items() if name.startswith("reduced-")] == [
        run.id for run in reduced("imagenet:somewhere", "caffenet", recipe=PAPER_REDUCED)
    ]


def test_published_natural_is_a(networks: dict[str, Run]) -> None:
    assert len(networks["halfnatmanA"].half.classes) == 449
    assert networks["halfnatmanA"].name == "baseB"  # the paper, and we, call man-made A
    assert networks["transfernatmanAB_1_3"].name == "B3A"
