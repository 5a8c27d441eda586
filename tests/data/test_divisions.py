"""Divisions: train and select images drawn anew, class by class, the same in whatever half a class is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from packs import train

from analysis.frame import frame
from sweeps import arguments, find
from sweeps.figure2 import figure2
from yosinski.data.find import card
from yosinski.data.halves import Split, divided, split
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.recipes import EMOJI, Recipe
from yosinski.experiment.run import Run
from yosinski.records import specs, states

RANDOM = split(card("emoji"), "random:0")


def test_a_division_keeps_counts_test_images_and_the_union(store: Store, small_split: Split) -> None:
    half = small_split.a
    before = {name: store.rows(half, name) for name in ("train", "select", "test")}
    drawn = [{name: store.rows(replace(half, division=d), name) for name in before} for d in (1, 2)]
    for other in drawn:
        for name, (rows, labels) in before.items():
            assert other[name][1].tolist() == labels.tolist()
            domains = [np.bincount(store.domains[its]).tolist() for its in (rows, other[name][0])]
            assert domains[0] == domains[1]
        assert other["test"][0].tolist() == before["test"][0].tolist()
        unions = [np.sort(np.concatenate([sets["train"][0], sets["select"][0]])) for sets in (before, other)]
        assert unions[0].tolist() == unions[1].tolist()
    selected = [set(sets["select"][0].tolist()) for sets in (before, *drawn)]
    assert all(one != other for k, one in enumerate(selected) for other in selected[:k])
    # About as many of the select images are selected again as there are select images among all.
    share = len(selected[0] & selected[1]) / len(selected[0])
    assert 0.1 < share < 0.4


def test_a_class_is_divided_alike_in_every_half(store: Store, small_split: Split) -> None:
    half = replace(small_split.a, division=3)
    turned = replace(half, classes=half.classes[:0:-1])
    for name in ("train", "select"):
        (rows, labels), (others, their_labels) = store.rows(half, name), store.rows(turned, name)
        for k, class_name in enumerate(turned.classes):
            assert others[their_labels == k].tolist() == rows[labels == half.classes.index(class_name)].tolist()


def test_division_0_is_the_half_as_it_was(tmp_path: Path, small_split: Split) -> None:
    half = small_split.a
    other = replace(half, division=1)
    assert replace(half, division=0).digest == half.digest != other.digest
    for one in (half, other):
        specs.enrol_half(tmp_path, one)
        assert specs.load_half(tmp_path, one.digest) == one
    texts = [(tmp_path / "halves" / f"{one.digest}.json").read_text() for one in (half, other)]
    assert ["division" in text for text in texts] == [False, True]
    a, b = (Run("alexnet32", its, EMOJI).id for its in (RANDOM.a, RANDOM.b))
    assert (a[:8], b[:8]) == ("01b18828", "6677ba57")  # as they were before there were divisions


def test_what_cannot_be_divided_is_refused(small_split: Split, store: Store) -> None:
    bare = replace(store.card, images={"train": 1, "select": 0, "test": 1})
    with pytest.raises(BadInput, match="division 1: emoji has classes without select images"):
        divided(bare, small_split.a, 1)
    with pytest.raises(BadInput, match="must be at least 0, not -1"):
        replace(small_split.a, division=-1)


def test_sweeps_take_divisions_and_ranges() -> None:
    values = arguments(find("figure2"), ["divisions=0..2", "seeds=0,4..5", "cuts=7", "directions=AB"])
    assert values["divisions"] == (0, 1, 2)
    assert values["seeds"] == (0, 4, 5)
    runs = figure2(**values)
    assert {run.half.division for run in runs} == {0, 1, 2}
    assert all(run.parent is None or run.parent.half.division == run.half.division for run in runs)
    plain = figure2(**{**values, "divisions": (0,)})
    assert [run.id for run in runs if not run.half.division] == [run.id for run in plain]
    with pytest.raises(BadInput, match=r"ranges from low to high, not '3\.\.1'"):
        arguments(find("figure2"), ["divisions=3..1"])


def test_a_run_of_a_division_is_trained_and_shown(
    tmp_path: Path, stores: Path, small_split: Split, small_recipe: Recipe
) -> None:
    where = Where(tmp_path, stores, device="cpu", precision="float32")
    run = Run("alexnet32", replace(small_split.a, division=1), small_recipe.with_values({"epochs": 1.0}))
    looks = iter([False] * 4 + [True] * 100)
    train(where, [run], lambda: next(looks))
    assert states.state(specs.folder(tmp_path, run.id)) == "interrupted"
    train(where, [run])
    assert states.state(specs.folder(tmp_path, run.id)) in ("done", "stuck")
    assert frame(tmp_path)["division"].unique().tolist() == [1]
