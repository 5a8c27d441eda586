"""Further labels of examples: what a half may ask for, and trainings with several inputs and questions on a list."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_lists import examples, lines_of, stored, write_list
from packs import train
from safetensors.torch import load_file

from sweeps.branch import branch
from sweeps.fuse import fuse
from sweeps.grid import all_classes
from yosinski.data import find
from yosinski.data.halves import asking
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.recipes import SKETCH
from yosinski.networks import parts
from yosinski.records import specs, states

BRIEF = SKETCH.with_values({"batch_size": 4, "epochs": 4.0, "evaluations": 2})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Store, Path]:
    """A list in which two pictures are missing and one label, its store, and where that lies."""
    folder = tmp_path_factory.mktemp("list")
    text = write_list(folder, examples(folder), {5: 1, 6: 1, 11: 3})
    return text, stored(text, folder / "stores"), folder / "stores"


def test_a_half_asks_for_a_column(made: tuple[str, Store, Path]) -> None:
    _, store, _ = made
    half = all_classes(store.card)
    asks = asking(store.card, half, "artist")
    assert (asks.labels, asks.pictures) == (("p", "q"), half)
    assert asks.digest != half.digest
    for name, labelled in (("train", 31), ("select", 4), ("test", 4)):
        rows, found = store.rows(asks, name)
        assert (rows == store.rows(half, name)[0]).all()
        assert (found >= 0).sum() == labelled
        assert (found == store.answers["artist"][rows]).all()
    shuffled = store.rows(replace(asks, shuffled=True), "train")[1]
    assert sorted(shuffled) == sorted(store.rows(asks, "train")[1])
    with pytest.raises(BadInput, match=r"unknown question to .* 'style'; choose from: class, domain, artist"):
        asking(store.card, half, "style")


def test_a_set_without_any_label_is_refused_before_training(tmp_path: Path) -> None:
    rows = examples(tmp_path, 4)
    text = write_list(tmp_path, rows)
    chosen = [k for k in lines_of(text, rows, "test") if rows[k][2] in "ab"]
    card = find.card(write_list(tmp_path, rows, dict.fromkeys(chosen, 3)))
    some, others = (replace(all_classes(card), classes=classes) for classes in (("a", "b"), ("c", "d")))
    assert asking(card, others, "artist").labels == ("p", "q")
    with pytest.raises(BadInput, match=r"no test example of half All of .* has a label artist"):
        asking(card, some, "artist")


def test_labels_are_ordered_and_numbers_as_numbers(tmp_path: Path) -> None:
    rows = [(*row[:3], {"p": "10", "q": "9"}[row[3]]) for row in examples(tmp_path, 4)]
    assert find.card(write_list(tmp_path, rows)).answers == {"artist": ("9", "10")}


def test_a_fused_network_trains_on_a_list(made: tuple[str, Store, Path], tmp_path: Path) -> None:
    text, _, stores = made
    runs = fuse(text, "alexnet32", "x", "y", halves=("B",), cuts=(4,), controls=("exchanged",), recipe=BRIEF)
    where = Where(tmp_path, stores, device="cpu", precision="float32")
    for run in runs:
        train(where, [run])
    records = [states.read_record(specs.folder(where.runs, run.id)) for run in runs]
    assert [run.name for run in runs] == ["basexB", "baseyB", "xy4B", "x~y4B"]
    trained = load_file(specs.folder(where.runs, runs[2].id) / "weights.safetensors")
    (flags,) = [tensor for name, tensor in trained.items() if name.endswith("flags")]
    assert (flags != 0).any(1).tolist() == [False, True]  # y is missing in the half, and takes part as its flag
    assert all(record and np.isfinite(record["metrics"]["train_loss"]) for record in records)


def test_inputs_of_two_data_sets_are_stored_in_the_size_that_suits_the_network(tmp_path: Path) -> None:
    for name, per_class in (("one", 8), ("other", 9)):
        write_list(tmp_path / name, examples(tmp_path / name, per_class))
    one, other = (f"list:{tmp_path / name}" for name in ("one", "other"))
    (*_, fused) = fuse(one, "alexnet32", "x", other, cuts=(3,), controls=(), recipe=BRIEF)
    assert [half.data.partition("-crop:")[0] for half in fused.halves] == ["list-37", "list-37"]


def test_questions_of_a_list_branch_and_share_nothing_like_their_bases(tmp_path: Path) -> None:
    rows = examples(tmp_path)
    text = write_list(tmp_path, rows)
    most = [k for k in lines_of(text, rows, "train") if k // 4 not in (2, 5)]  # there are batches without a label
    text = write_list(tmp_path, rows, dict.fromkeys(most, 3))
    stored(text, tmp_path / "stores")
    where = Where(tmp_path / "runs", tmp_path / "stores", device="cpu", precision="float32")
    runs = branch(text, "alexnet32", ("random:0",), ("class", "artist"), cuts=(0, 4), controls=(), recipe=BRIEF)
    for run in runs:
        train(where, [run])
    assert [run.name for run in runs] == ["baseA", "baseB", "AB0A", "AB4A"]
    folders = [specs.folder(where.runs, run.id) for run in runs]
    records = [states.read_record(folder) for folder in folders]
    assert all(record and np.isfinite(record["metrics"]["train_loss"]) for record in records)
    apart = load_file(folders[2] / "weights.safetensors")
    for k, base in enumerate(folders[:2]):
        alone = load_file(base / "weights.safetensors")
        of_task = parts.of_one_task(apart, k)
        assert alone.keys() == of_task.keys()
        assert all((alone[name] == of_task[name]).all() for name in alone)
