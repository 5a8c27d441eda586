"""Evaluation: which images a network is right on, as its record says."""

from typing import Any

import numpy as np
import pytest
import torch
from ended import numbers
from packs import brief, train
from safetensors.torch import load_file

from yosinski.data.pictures.crops import in_the_middle
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.experiment.cost import cost, layers_of
from yosinski.experiment.run import Run
from yosinski.networks.build import build
from yosinski.records import specs, states
from yosinski.records.right import right
from yosinski.training import evaluation
from yosinski.training.steps import updates


def test_the_bits_of_a_record_are_those_of_the_network_in_the_order_of_the_store(
    where: Where, bases: tuple[Run, Run], store: Store
) -> None:
    a, b = bases
    copy = b.copy(3, "frozen", a)
    train(where, [copy])
    for run in (b, copy):
        record = states.read_record(specs.folder(where.runs, run.id))
        assert record is not None
        network = build(run.network, run.outputs).eval()
        network.load_state_dict(load_file(specs.folder(where.runs, run.id) / "weights.safetensors"))
        for name, of_set, unseen in (("select", "select", False), ("test", "test", False), ("unseen", "test", True)):
            rows, labels = store.rows(run.half, of_set, unseen)
            with torch.no_grad():
                answers = network(in_the_middle(store.images, rows, 32, run.half.rule)).argmax(1).numpy()
            found = right(record, name, run)
            assert found is not None
            assert found.tolist() == (answers == labels).tolist()
            assert record["per_class"][name]["correct"] == np.bincount(labels[found], minlength=5).tolist()


def test_select_images_are_evaluated_once_after_the_last_step(
    where: Where, bases: tuple[Run, Run], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last point of the curve is the record's; costs count them once more, as earlier versions evaluated them."""
    copy = brief(bases[1]).copy(4, "tuned", bases[0])
    evaluate, seen = evaluation.evaluate, []

    def counting(members: Any, store: Any, images: Any, *more: Any) -> Any:
        seen.append((images.name, len(images.rows)))
        return evaluate(members, store, images, *more)

    monkeypatch.setattr(evaluation, "evaluate", counting)
    train(where, [copy])
    record, curve = states.read_record(path := specs.folder(where.runs, copy.id)), states.read_curve(path)
    assert record is not None
    assert [name for name, _ in seen] == ["select"] * len(curve) + ["test", "unseen"]
    assert record["metrics"]["select_top1"] == curve[-1]["select_top1"]
    forward, counted = sum(row.flops for row in layers_of(copy)), cost(copy, store.card)
    shown = counted.steps * min(copy.recipe.batch_size, len(store.rows(copy.half, "train")[0]))
    assert (3 * shown + seen[0][1] + sum(images for _, images in seen)) * forward == counted.flops


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For how many members and batches each evaluation computed frozen segments."""
    evaluate, trunks, computed = evaluation.evaluate, evaluation.at_cuts, []

    def counting(*arguments: Any) -> Any:
        computed.append(0)
        return evaluate(*arguments)

    def at_cuts(members: Any, images: Any, clock: Any, known: Any) -> Any:
        computed[-1] += sum(member.trunk > 0 and member not in known for member in members)
        return trunks(members, images, clock, known)

    monkeypatch.setattr(evaluation, "evaluate", counting)
    monkeypatch.setattr(evaluation, "at_cuts", at_cuts)
    return computed


def test_frozen_features_of_select_images_are_kept_as_far_as_there_is_room(
    where: Where, bases: tuple[Run, Run], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same numbers; of a thawed copy until it has thawed."""
    a, b = bases[0], brief(bases[1])
    one = 4 * 32 * 4 * 4 * len(store.rows(b.half, "select")[0])  # bytes of the select images at cut 2, or 5
    pack = [b.copy(2, "frozen", a), b.copy(5, "frozen", a), b.copy(3, "thawed", a), b.copy(4, "tuned", a)]
    found, batches = [], []
    for room in (0, one, 10 * one):
        for run in pack:
            path = specs.folder(where.runs, run.id)
            if path.exists():
                path.rename(path.with_name(f"{room}-{path.name}"))
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "MOST", room)
            batches.append(counted(patch))
            train(where, pack)
        found.append([numbers(where, run) for run in pack])
    assert found[0] == found[1] == found[2]
    none, some, every = batches
    assert none[0] == some[0] == every[0] > 0
    assert sum(none) > sum(some) > sum(every)


def test_what_a_network_changes_in_place_is_not_kept(where: Where, bases: tuple[Run, Run]) -> None:
    kept, tensor = evaluation.Kept(), torch.ones(3)
    run = bases[1].copy(2, "frozen", bases[0])

    class Standing:
        trunk, features = 2, {}

    Standing.run = run  # pyright: ignore[reportAttributeAccessIssue]
    member: Any = Standing()
    kept.keep({member: tensor}, 0)
    assert kept.of([member], 0) == {member: tensor}
    assert kept.of([member], 128) == {}
    tensor.add_(1)
    assert kept.of([member], 0) == {}
    kept.forget([])
    assert (kept.held, kept.bytes) == ({}, 0)


@pytest.mark.parametrize("held", [0, 1 << 26])
def test_members_are_updated_one_by_one_where_their_gradients_are_large(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    """Which changes no number; otherwise all at once."""
    a, b = bases[0], brief(bases[1], 1.0)
    pack = [b.copy(n, treatment, a) for n in (2, 5) for treatment in ("frozen", "tuned", "probed")]
    alone = []
    for run in pack:
        train(where, [run])
        alone.append(numbers(where, run))
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name(f"alone-{path.name}"))
    sizes: set[int] = set()
    take = updates.Updates.take
    monkeypatch.setattr(updates, "HELD", held)
    monkeypatch.setattr(updates.Updates, "take", lambda self, *rest: (sizes.add(len(self.waiting)), take(self, *rest)))
    train(where, pack)
    assert [numbers(where, run) for run in pack] == alone
    assert sizes == ({0, 1} if held == 0 else {6})
