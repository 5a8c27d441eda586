"""Encoders of transformers in training: what is frozen stays, and a lone run is the same run in a pack."""

from pathlib import Path

import small_encoders
import torch
from safetensors.torch import load_file

from sweeps.transfer import transfer
from yosinski.environment import Where
from yosinski.experiment.recipes import WORDS
from yosinski.experiment.run import Run
from yosinski.pretrained import outside
from yosinski.procedure import run_pack
from yosinski.records import specs

SETTINGS = {"epochs": 0.0, "iterations": 3, "evaluations": 1, "initialiser": "own", "length": 8}


def trained(runs: list[Run], where: Where) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of these runs, trained as one pack, by their names."""
    for run in runs:
        specs.enrol(where.runs, run)
        if run.treatment == "outside":
            outside.bring(run, where.runs)
    run_pack([run.id for run in runs if run.is_trained], where)
    return {run.name: load_file(specs.folder(where.runs, run.id) / "weights.safetensors") for run in runs}


def test_frozen_segments_keep_their_bytes_and_a_lone_run_is_the_run_of_a_pack(tmp_path: Path) -> None:
    network = f"hf:{small_encoders.saved(tmp_path / 'it', 'roberta')}"
    recipe = WORDS.with_values(SETTINGS)
    base, *copies = transfer("words:en", network, "", (1, 3), seeds=(0,), scratch=False, recipe=recipe)
    copies.sort(key=lambda run: run.name)
    assert [run.name for run in copies] == ["W1B", "W1B+", "W3B", "W3B+"]
    stores = tmp_path / "stores"
    tensors = trained([base, *copies], Where(tmp_path / "together", stores, "cpu"))
    published = tensors["outsideW"]
    for run in copies:
        below = [cut.replace(".", "/") for cut in run.cuts[: run.cut]]
        same = {name: tensor.equal(published[name]) for name, tensor in tensors[run.name].items() if "head" not in name}
        frozen = {name for name in same if name.split(".")[0] in below and run.treatment == "frozen"}
        assert {name for name in same if same[name]} >= frozen
        assert not [name for name in same if name.endswith("LayerNorm.weight") and same[name] and name not in frozen]
    alone = trained([base, copies[2]], Where(tmp_path / "alone", stores, "cpu"))
    assert all(tensor.equal(tensors["W3B"][name]) for name, tensor in alone["W3B"].items())
    assert specs.load(tmp_path / "alone", copies[2].id) == copies[2]
