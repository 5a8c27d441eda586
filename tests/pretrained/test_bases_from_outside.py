"""What sweeps, plans, records and other commands make of a base from outside."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic
import torch
from safetensors.torch import load_file

import sweeps
from analysis import frame
from analysis.advice.answer import answer
from analysis.advice.blocks import blocks
from analysis.advice.settle import settling
from analysis.paired import one_row_per_run
from slurm import status
from slurm.heal import with_spoilt_bases
from sweeps.running.merge import merge
from sweeps.running.plan import plan
from sweeps.transfer import transfer
from yosinski.cli.main import main
from yosinski.cli.prepare import prepare
from yosinski.data.halves import Split
from yosinski.data.place import suited
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.recipes import SKETCH
from yosinski.experiment.run import Run
from yosinski.pretrained import outside
from yosinski.pretrained.export import export
from yosinski.pretrained.outside import NO_CONTROL
from yosinski.procedure import run_pack
from yosinski.records import specs, states


class Console:
    """One that shows nothing."""

    def status(self, text: str) -> Any:
        """A context that does nothing."""
        return pytest.MonkeyPatch.context()


def test_transfer_is_what_a_practitioner_asks(own: Path, tmp_path: Path) -> None:
    runs = transfer("emoji", "alexnet32", str(own), cuts=(3, "conv5"), seeds=(0, 1))
    expected = ["baseB", "W3B", "W5B", "W3B+", "W5B+"]
    assert [run.name for run in runs] == ["outsideW", *expected, *expected]
    assert len(runs[1].half.classes) == 200
    assert {run.parent for run in runs[2:6]} == {runs[0]}
    notes = outside.notes(runs)
    assert notes[-1] == NO_CONTROL
    assert f"{own}, 6 classes; preprocessing that of the file: mean 0.392" in notes[0]

    with_control = transfer("emoji", "alexnet32", str(own), (3,), ("frozen",), (0,), selffers=True, half="random:0:A")
    assert [run.name for run in with_control] == ["outsideW", "baseB", "B3B", "W3B"]
    assert NO_CONTROL not in outside.notes(with_control)
    assert [run.name for run in transfer("emoji", "alexnet32", str(own), (3,), ("tuned",), (0,), scratch=False)] == [
        *("outsideW", "W3B+")
    ]
    with pytest.raises(BadInput, match="leave out scratch=false"):
        transfer("emoji", "alexnet32", str(own), selffers=True, scratch=False)
    with pytest.raises(BadInput, match="unknown treatment 'base'"):
        transfer("emoji", "alexnet32", str(own), treatments=("base",))


def test_images_are_stored_as_the_weights_have_seen_theirs(tmp_path: Path) -> None:
    text = suited(f"imagefolder:{tmp_path}", 224, 232, "bicubic")
    assert text == f"imagefolder-232-crop-bicubic:{tmp_path}"
    assert suited(f"imagefolder-warp-bilinear:{tmp_path}", 224, 232, "bicubic").startswith("imagefolder-232-warp:")
    assert suited(f"imagefolder-300:{tmp_path}", 224, 232, "bicubic") == f"imagefolder-300:{tmp_path}"


def test_images_that_do_not_fit_are_refused(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["plan", "transfer", "--data", "emoji", "-p", "network=resnet18@64", "-p", f"weights={checkpoint}"]
    assert main(argv) == 2
    assert "resnet18@64 sees 64 x 64 pixels at a time, emoji has 32 x 32" in capsys.readouterr().err


def test_no_pack_trains_it_and_it_counts_as_nobodys_work(own: Path, tmp_path: Path, stores: Path) -> None:
    runs = transfer("emoji", "alexnet32", str(own), (3,), ("frozen",), (0,))
    made = plan(runs, tmp_path / "runs", 1)
    assert [[run.name for run in pack.runs] for pack in made.packs] == [["baseB"], ["W3B"]]
    assert made.as_json()["done"] == 0
    assert made.costs[runs[0].id].flops == 0
    prepare(made.left, tmp_path / "runs", stores, Console())
    made = plan(runs, tmp_path / "runs", 1)
    assert (made.states[runs[0].id], made.as_json()["done"]) == ("done", 1)
    assert "nothing has been measured" in made.speeds.basis


def test_status_frame_heal_and_merge_know_it(own: Path, tmp_path: Path) -> None:
    runs, merged = tmp_path / "runs", tmp_path / "merged"
    base, _, copy = transfer("emoji", "alexnet32", str(own), (3,), ("frozen",), (0,))
    outside.bring(base, runs)
    specs.enrol(runs, copy)
    seen, _ = status.sights(runs, status.entries_of(runs))
    assert [(sight.entry.row, sight.state) for sight in seen] == [("outside", "done"), ("AnB", "missing")]
    table = frame(runs)
    assert set(table["series"]) == {"outside", "AnB"}
    assert table.loc[table["series"] == "outside", "data"].item() == f"weights:{own}"

    (specs.folder(runs, base.id) / "weights.safetensors").write_bytes(b"gone")
    failed = [replace(sight, state="failed") if sight.entry.id == copy.id else sight for sight in seen]
    assert with_spoilt_bases(runs, failed) == failed  # `prepare` brings it in again
    outside.bring(base, runs)
    assert str(merge([runs], merged)) == ("1 copied, 0 already here, 1 not finished, 0 left to who is training them")
    assert not states.spoilt(specs.folder(merged, base.id))
    assert json.loads((specs.folder(merged, base.id) / "record.json").read_text())["outside"]["left_off"] == []


def test_a_base_without_a_head_of_its_own_is_one(own: Path, tmp_path: Path, stores: Path, small_split: Split) -> None:
    """Copies never take a head: frozen, single and preserved ones are trained, predictions made, and it is exported."""
    state = torch.load(own, weights_only=True)
    body = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    torch.save({"state_dict": body, "queue": torch.ones(3)}, own)
    runs = tmp_path / "runs"
    base = outside.base("alexnet32", outside.described("alexnet32", str(own)))
    target = Run("alexnet32", small_split.b, SKETCH.with_values({"batch_size": 32, "epochs": 1.0, "evaluations": 1}))
    copies = [target.copy(7, "frozen", base), target.copy(3, "single", base), target.copy(3, "frozen", base, None, 2)]
    (line, _) = outside.notes([*copies, target])
    assert line.count("\n") == 0
    assert f"{own}, 2 placeholder classes; " in line
    assert line.endswith("; taken: #state_dict; head not taken: no head.weight, head.bias; left off: queue (1 tensor)")
    prepare(copies, runs, stores, Console())
    record = states.read_record(specs.folder(runs, base.id))
    assert record is not None
    assert record["outside"] | {"preprocessing": None, "sha256": None} == {
        "source": str(own),
        "sha256": None,
        "place": "state_dict",
        "also": [],
        "head": "not taken: no head.weight, head.bias",
        "changed": [],
        "left_off": ["queue (1 tensor)"],
        "preprocessing": None,
    }
    run_pack([run.id for run in copies], Where(runs, stores, "cpu", "float32"))
    assert {states.state(specs.folder(runs, run.id)) for run in copies} <= {"done", "stuck"}
    kept = load_file(specs.folder(runs, copies[1].id) / "weights.safetensors")
    assert torch.equal(kept["fc7.linear.weight"], body["fc7.linear.weight"])
    export(runs, base, tmp_path / "base.safetensors")
    again = outside.described("alexnet32", str(tmp_path / "base.safetensors"))
    assert (again.hash, again.classes) == (record["weights"], base.half.classes)


def end(runs: Path, run: Run, top1: float) -> None:
    """A finished record, if there is none yet, beside that of its base."""
    of_base = states.read_record(specs.folder(runs, run.parent.id)) if run.parent else None
    if states.state(specs.folder(runs, run.id)) != "done":
        synthetic.finish(runs, run, top1, (0.3, top1), parent_weights=of_base["weights"] if of_base else None)


def test_advice_is_given_on_its_copies_beside_the_selffers(own: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    base, *others = transfer("emoji", "alexnet32", str(own), (3, 5), ("frozen",), (0, 1), selffers=True)
    outside.bring(base, runs)
    for k, run in enumerate(others):
        end(runs, run, 0.5 + k / 100)
    table = frame(runs)
    (block,) = blocks(table, directory=runs)
    assert set(block.runs["series"]) == {"base", "BnB", "AnB"}
    assert block.weights == str(own)
    assert set(one_row_per_run(table, "test_top1")["series"]) == {"base", "BnB", "AnB"}

    advice = answer(block)
    assert set(advice.rows["choice"]) == {"base", "W3B", "W5B"}  # as `status` and `export` call these copies
    todo = settling(block, advice)
    assert todo is not None
    (tmp_path / "settle.py").write_text(todo.sweep, encoding="utf-8")
    planned = sweeps.find(str(tmp_path / "settle.py"))()
    new = {run.id for run in planned if states.state(specs.folder(runs, run.id)) == "missing"}
    assert {run.id for run in planned} - new == {run.id for run in [base, *others] if not run.selffer}
    assert sum(run.parent is not None for run in planned if run.id in new) == todo.missing


def test_further_divisions_of_the_target_are_asked_for(own: Path, tmp_path: Path) -> None:
    base, *others = transfer("emoji", "alexnet32", str(own), (3, 5), ("frozen",), (0,), divisions=(0, 1))
    outside.bring(base, tmp_path / "runs")
    for k, run in enumerate(others):
        end(tmp_path / "runs", run, 0.5 + k / 1000)
    (block,) = blocks(frame(tmp_path / "runs"), directory=tmp_path / "runs")
    todo = settling(block, answer(block))
    assert todo is not None
    assert (todo.places.splits, todo.places.divisions, todo.places.seeds) == (["all"], [0, 1, 2], [0])
    assert (todo.missing, todo.bases) == (2, 1)
    (tmp_path / "settle.py").write_text(todo.sweep, encoding="utf-8")
    planned = {run.id for run in sweeps.find(str(tmp_path / "settle.py"))()}
    recipe = others[0].recipe
    wanted = transfer("emoji", "alexnet32", str(own), (3, 5), ("frozen",), (0,), recipe=recipe, divisions=(0, 1, 2))
    assert planned == {run.id for run in wanted}


def of_both(own: Path, other: Path, runs: Path) -> Any:
    """The frame of a base, a copy and a selffer each of the weights at `own` and of others, written to `other`."""
    tensors = torch.load(own, weights_only=True)
    for path, bias in ((own, None), (other, torch.ones(6))):
        if bias is not None:
            other.parent.mkdir(exist_ok=True)
            torch.save({**tensors, "head.bias": bias}, other)
        base, *trained = transfer("emoji", "alexnet32", str(path), (3,), ("frozen",), (0,), selffers=True)
        outside.bring(base, runs)
        for run in trained:
            end(runs, run, 0.5)
    return frame(runs)


def test_copies_of_different_weights_are_not_averaged(own: Path, tmp_path: Path) -> None:
    """The selffers, which are cut from neither, stand beside both."""
    other = own.with_name("other.pth")
    table = of_both(own, other, tmp_path / "runs")
    with pytest.raises(BadInput, match=rf"mix weights from outside: {other}, {own}"):
        one_row_per_run(table, "test_top1")
    made = blocks(table)
    assert sorted(block.weights for block in made) == sorted([str(own), str(other)])
    assert [sorted(block.runs["series"]) for block in made] == [["AnB", "BnB", "base"]] * 2


@pytest.mark.parametrize(
    ("second", "names"),
    [
        ("other.pth", ["other.pth", "own.pth"]),
        ("other/own.pth", ["{folder}/other/own.pth", "{folder}/own.pth"]),
        ("own.pth", ["{folder}/own.pth (base {first})", "{folder}/own.pth (base {second})"]),
    ],
    ids=["names", "folders", "contents"],
)
def test_titles_say_which_weights(second: str, names: list[str], own: Path, tmp_path: Path) -> None:
    """Their name, or their place, or, where a file was replaced, the base that has its weights."""
    table = of_both(own, own.parent / second, tmp_path / "runs")
    first, last = sorted(table.loc[table["treatment"] == "outside", "run"])
    told = [name.format(folder=own.parent, first=first[:8], second=last[:8]) for name in names]
    titles = [block.title for block in blocks(table)]
    assert sorted(titles) == [f"alexnet32 on emoji, all halves, cut from weights {name}" for name in told]


def test_without_other_weights_titles_name_none(own: Path, tmp_path: Path) -> None:
    base, *trained = transfer("emoji", "alexnet32", str(own), (3,), ("frozen",), (0,))
    outside.bring(base, tmp_path)
    for run in trained:
        end(tmp_path, run, 0.5)
    assert [block.title for block in blocks(frame(tmp_path))] == ["alexnet32 on emoji, all halves"]
