"""Several processes for one base: together they see its batches, and train the network that one process trains."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ended import after, numbers
from packs import brief, train
from safetensors.torch import load_file

from yosinski.cli.prepare import check_divided
from yosinski.data import store as stores
from yosinski.environment import Where
from yosinski.errors import BadInput, Failure
from yosinski.experiment.run import Run
from yosinski.networks.layers import Dropout, dropping
from yosinski.records import specs, states
from yosinski.training.pack import masks_of
from yosinski.training.shares import Shares
from yosinski.training.stream import Stream


def base_of(bases: tuple[Run, Run]) -> Run:
    """A base that is not trained yet."""
    return replace(brief(bases[0], 1.0), seed=1)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_shares_of_a_batch_are_its_images_in_order(where: Where, bases: tuple[Run, Run], count: int) -> None:
    stream = Stream(stores.of(bases[0].half, where.stores), bases[0])
    whole, labels = stream.batch(3)
    parts = []
    for rank in range(count):
        stream.shares = Shares(rank, count, stream.batch_size)
        parts.append(stream.batch(3))
    assert sum(stream.shares.weight(len(share)) for _, share in parts) == pytest.approx(1) if stream.shares else False
    assert torch.equal(torch.cat([share for _, share in parts]), labels)
    for k, column in enumerate(whole):
        assert torch.equal(torch.cat([batch[k] for batch, _ in parts]), column)


@pytest.mark.parametrize("axes", [None, 0, 1, 2])
def test_masks_are_drawn_for_whole_batches(bases: tuple[Run, Run], axes: int | None) -> None:
    layer, ones = Dropout("fc6", 0.5, axes), torch.ones(7, 12)
    with dropping(masks_of(bases[0], 4)):
        whole = layer(ones)
    parts = []
    for rank in range(3):
        shares = Shares(rank, 3, 7)
        with dropping(masks_of(bases[0], 4, shares)):
            parts.append(layer(ones[shares.part]))
    assert torch.equal(torch.cat(parts), whole)
    assert axes == 0 or len(np.unique(whole)) == 2


def test_two_processes_train_what_one_trains(where: Where, bases: tuple[Run, Run]) -> None:
    run, two = base_of(bases), replace(where, processes=2)
    path = specs.folder(where.runs, run.id)
    train(where, [run])
    alone, weights = states.read_record(path), load_file(path / "weights.safetensors")
    path.rename(path.with_name("alone"))
    train(two, [run])
    record = states.read_record(path)
    assert alone is not None
    assert record is not None
    assert "processes" not in alone["arithmetic"]
    assert record["arithmetic"] == {**alone["arithmetic"], "processes": 2}
    assert record["metrics"]["train_loss"] == pytest.approx(alone["metrics"]["train_loss"], rel=1e-3)
    for name, tensor in load_file(path / "weights.safetensors").items():
        torch.testing.assert_close(tensor, weights[name], rtol=1e-3, atol=1e-4)

    undisturbed = numbers(where, run)
    path.rename(path.with_name("undisturbed"))
    train(two, [run], after(4))
    assert states.state(path) == "interrupted"
    with pytest.raises(Failure, match=r"was started with .* in 2 processes, this is"):
        train(where, [run])
    with pytest.raises(BadInput, match=r"was started in 2 processes: go on with --processes 2 \(gpus in a profile\)"):
        check_divided([run], 1, where.runs, change_arithmetic=False)
    check_divided([run], 1, where.runs, change_arithmetic=True)
    check_divided([run], 2, where.runs, change_arithmetic=False)
    train(two, [run])
    assert numbers(where, run) == undisturbed


def test_copies_are_trained_in_one_process(where: Where, bases: tuple[Run, Run]) -> None:
    copy = brief(bases[1]).copy(6, "frozen", bases[0])
    train(replace(where, processes=2), [copy])
    record = states.read_record(specs.folder(where.runs, copy.id))
    assert record is not None
    assert "processes" not in record["arithmetic"]


def test_a_network_with_batch_norm_is_not_divided(where: Where, bases: tuple[Run, Run]) -> None:
    run = replace(base_of(bases), network="resnet18@32")
    with pytest.raises(BadInput, match=r"resnet18@32 has batch norm, .*--processes 1"):
        train(replace(where, processes=2), [run])
