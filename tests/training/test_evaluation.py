"""Evaluation: which images a network is right on, as its record says."""

import numpy as np
import torch
from packs import train
from safetensors.torch import load_file

from yosinski.data.pictures.crops import in_the_middle
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.experiment.run import Run
from yosinski.networks.build import build
from yosinski.records import specs, states
from yosinski.records.right import right


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
