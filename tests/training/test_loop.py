"""Training: a lone run equals a packed one, a resumed run an undisturbed one, and copies keep what they must."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ended import after, numbers
from packs import brief, train, with_views
from safetensors.torch import load_file
from torch.nn import functional as F

from yosinski import procedure
from yosinski.data import find
from yosinski.environment import Where
from yosinski.errors import Failure
from yosinski.experiment.cost import in_pack
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import TreatmentName
from yosinski.networks.build import build
from yosinski.networks.tensors import fingerprint
from yosinski.records import attempts, specs, states
from yosinski.training import features, loop, surgery
from yosinski.training.clock import Clock
from yosinski.training.moments import Moments
from yosinski.training.steps import gradients


def test_a_base_learns_and_its_record_says_so(where: Where, bases: tuple[Run, Run]) -> None:
    for base in bases:
        record = states.read_record(specs.folder(where.runs, base.id))
        assert record is not None
        assert record["state"] == "done"
        assert record["metrics"]["select_top1"] > 0.4
        assert record["certificate"] is None
        assert record["chance"] == {"loss": pytest.approx(math.log(5)), "top1": 0.2}
        assert sum(record["per_class"]["test"]["images"]) == 5 * 4 * 10
        assert sum(record["per_class"]["unseen"]["images"]) == 5 * 10
        top1 = sum(record["per_class"]["test"]["correct"]) / 200
        assert top1 == pytest.approx(record["metrics"]["test_top1"])


@pytest.mark.parametrize("views", [0, 2])
def test_a_lone_run_equals_the_same_run_in_a_pack(where: Where, bases: tuple[Run, Run], views: int) -> None:
    a, b = bases[0], brief(bases[1])
    pack = [b.copy(n, "frozen", a) for n in (2, 5, 7)] + [b.copy(3, "tuned", a), b.copy(4, "random", below="kaiming")]
    pack += [b.copy(4, treatment, a) for treatment in ("decayed", "probed", "thawed", "single")]
    pack = with_views([*pack, b.copy(3, "random", a, below="matched")], views)
    train(where, pack)
    together = [numbers(where, run) for run in pack]
    for run in pack:
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name("together-" + path.name))
        train(where, [run])
    assert [numbers(where, run) for run in pack] == together


def test_the_seconds_of_a_pack_go_to_those_that_cause_them(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bases
    pack = [b.copy(7, "frozen", a), b.copy(7, "tuned", a), b.copy(5, "frozen", a)]
    monkeypatch.setattr(loop, "Clock", lambda device: Clock("cuda"))  # by FLOPs, which can be counted
    train(where, pack)
    found = [states.read_record(specs.folder(where.runs, run.id)) or {} for run in pack]
    assert [record["seconds_by"] for record in found] == ["flops"] * 3
    assert [record["pack_flops"] for record in found] == list(map(round, in_pack(pack, find.card("emoji"))))
    shares, flops = ([record[name] for record in found] for name in ("seconds", "pack_flops"))
    assert [share / sum(shares) for share in shares] == pytest.approx([one / sum(flops) for one in flops], rel=0.25)
    curve = states.read_curve(specs.folder(where.runs, pack[0].id))
    assert 0 < curve[-1]["seconds"] < found[0]["seconds"]  # the last evaluation is counted, too


@dataclass(eq=False)
class Timed:
    """A member, as far as a clock knows it."""

    seconds: float = 0.0


def test_a_clock_divides_laps_as_the_work_was(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0, 10, 12, 12, 16, 40, 41, 50, 60, 100])
    monkeypatch.setattr("yosinski.training.clock.time.perf_counter", lambda: float(next(now)))
    one, two = Timed(), Timed()
    clock = Clock("cpu")
    assert clock.by == "time"
    with clock.of([one, two], 1e9):  # 2 s for both
        pass
    with clock.of([two], 1.0):  # 4 s
        pass
    clock.lap([one, two])  # 40 s after the start
    assert (one.seconds, two.seconds) == pytest.approx((40 / 6, 200 / 6))
    clock.start()  # at 50: what has passed since is nobody's
    clock.lap([one, two])
    assert (one.seconds, two.seconds) == pytest.approx((40 / 6 + 5, 200 / 6 + 5))


def test_a_checkpoint_of_an_earlier_version_does_not_say_who_caused_its_seconds(
    where: Where, bases: tuple[Run, Run]
) -> None:
    a, b = bases
    run = b.copy(6, "tuned", a)
    train(where, [run], after(5))
    path = specs.folder(where.runs, run.id)
    content = torch.load(path / "checkpoint.pt", weights_only=True)
    assert content.pop("seconds_by") == "time"
    torch.save(content, path / "checkpoint.pt")
    train(where, [run])
    assert (states.read_record(path) or {})["seconds_by"] == "pack"


def test_a_frozen_copy_has_its_bases_bytes_below_the_cut(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    frozen, tuned = b.copy(3, "frozen", a), b.copy(3, "tuned", a)
    train(where, [frozen, tuned])
    network = build("alexnet32", 5)
    base, kept, changed = (
        load_file(specs.folder(where.runs, run.id) / "weights.safetensors") for run in (a, frozen, tuned)
    )
    below = surgery.below(base, network, 3)
    assert set(below) == {
        "conv1.standardise.mean",
        "conv1.standardise.std",
        *(f"conv{n}.conv.{part}" for n in (1, 2, 3) for part in ("weight", "bias")),
    }
    for name, tensor in base.items():
        same = torch.equal(kept[name], tensor)
        assert same == (name in below), name
        if "standardise" not in name:
            assert not torch.equal(changed[name], tensor), name
    record = states.read_record(specs.folder(where.runs, frozen.id))
    assert record is not None
    certificate = fingerprint(below)
    assert record["certificate"] == {"before": certificate, "after": certificate}
    assert record["parent_weights"] == fingerprint(base)


@pytest.mark.parametrize("treatment", ["decayed", "probed", "thawed", "single"])
def test_each_treatment_trains_what_its_name_says(
    where: Where, bases: tuple[Run, Run], treatment: TreatmentName
) -> None:
    a, b = bases
    run = b.copy(2, treatment, a)
    train(where, [run])
    base, copy = (load_file(specs.folder(where.runs, one.id) / "weights.safetensors") for one in (a, run))
    same = {name for name, tensor in base.items() if name.endswith("weight") and torch.equal(copy[name], tensor)}
    untouched = {f"conv{n}.conv.weight" for n in (1, 3, 4, 5)} | {"fc6.linear.weight", "fc7.linear.weight"}
    assert same == (untouched if treatment == "single" else set())
    record = states.read_record(specs.folder(where.runs, run.id))
    assert record is not None
    assert (record["certificate"] is not None) == (treatment == "single")
    single = ("conv2", "head")
    trained = [t for name, t in base.items() if treatment != "single" or name.split(".")[0] in single]
    moments = 6 if treatment != "single" else 0
    assert record["trained_parameters"] == sum(t.numel() for t in trained) - moments


def test_copies_of_one_target_start_from_the_same_upper_layers(bases: tuple[Run, Run]) -> None:
    a, b = bases
    moments = Moments(torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    of_a, of_b = (procedure.network_for(base, moments, {}).state_dict() for base in bases)
    copies = [
        procedure.network_for(run, moments, parent).state_dict()
        for run, parent in (
            (b.copy(2, "frozen", a), of_a),
            (b.copy(4, "tuned", a), of_a),
            (b.copy(2, "frozen", b), of_b),
            (b.copy(2, "random", below="gaussian"), {}),
        )
    ]
    for name in ("conv5.conv.weight", "fc7.linear.weight", "head.weight"):
        assert all(torch.equal(copy[name], copies[0][name]) for copy in copies)
        assert not torch.equal(of_b[name], copies[0][name])  # a selffer does not restart where its base did
        assert not torch.equal(of_a[name], of_b[name])


@pytest.mark.parametrize("views", [0, 2])
def test_a_stopped_run_ends_where_an_undisturbed_one_ends(where: Where, bases: tuple[Run, Run], views: int) -> None:
    a, b = bases[0], brief(bases[1])
    pack = [b.copy(4, "frozen", a), b.copy(4, "tuned", bases[1]), b.copy(4, "thawed", a), b.copy(4, "probed", a)]
    pack = with_views(pack, views)
    train(where, pack)
    undisturbed = [numbers(where, run) for run in pack]
    for run in pack:
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name("undisturbed-" + path.name))
    train(where, pack, after(7))
    assert [states.state(specs.folder(where.runs, run.id)) for run in pack] == ["interrupted"] * 4
    train(where, pack[:1], after(12))  # now the members stand at different steps
    train(where, pack)
    assert [numbers(where, run) for run in pack] == undisturbed


def test_stored_features_give_the_numbers_of_computed_ones(
    where: Where, bases: tuple[Run, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to rounding: they are computed in batches of another size."""
    a, b = bases[0], brief(bases[1])
    where = replace(where, stores=own_stores(where, tmp_path))
    pack = [b.copy(n, "frozen", parent) for parent in bases for n in (3, 6)]
    pack += [b.copy(3, treatment, a) for treatment in ("probed", "thawed", "single", "tuned")]
    pack = with_views([*pack, b.copy(3, "random", a, below="matched")], 2)
    monkeypatch.setattr(loop, "take_features", lambda *_: None)
    train(where, pack)
    computed = [numbers(where, run) for run in pack]
    assert not (where.stores / "features").exists()
    weights = [load_file(specs.folder(where.runs, run.id) / "weights.safetensors") for run in pack]
    for run in pack:
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name("computed-" + path.name))
    monkeypatch.undo()
    train(where, pack)
    # A3B is that of probed and thawed copies, too, single ones stand on two segments; of training and select images
    assert len(list((where.stores / "features").glob("*/features.json"))) == 2 * (4 + 1 + 1)
    for run, one, tensors in zip(pack, computed, weights, strict=True):
        path = specs.folder(where.runs, run.id)
        record = states.read_record(path)
        assert record is not None
        assert record["features"] == ("computed" if run.treatment == "tuned" else "stored")
        for name, tensor in load_file(path / "weights.safetensors").items():
            torch.testing.assert_close(tensor, tensors[name], rtol=1e-5, atol=1e-5)
        curve = [row["select_loss"] for row in numbers(where, run)["curve"]]
        assert curve == pytest.approx([row["select_loss"] for row in one["curve"]], rel=1e-5)


def test_bfloat16_features_give_the_numbers_of_the_same_ones_in_float32(
    where: Where, bases: tuple[Run, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions stored them."""
    a, b = bases[0], brief(bases[1], 1.0)
    (run,) = with_views([b.copy(5, "frozen", a)], 1)
    found, names, own = [], [], features.as_stored
    for k, as_stored in enumerate((own, lambda computed: own(computed.float()))):
        here = replace(where, precision="bfloat16", stores=own_stores(where, tmp_path / str(k)))
        with monkeypatch.context() as patch:
            patch.setattr(features, "as_stored", as_stored)
            train(here, [run])
        found.append(numbers(here, run))
        names.append({file.name for file in (here.stores / "features").glob("*/*.npy")})
        specs.folder(where.runs, run.id).rename(tmp_path / f"run {k}")
    assert found[0] == found[1]
    assert names == [{"bfloat16.npy"}, {"features.npy"}]


def test_damaged_features_and_those_of_other_weights_are_not_used(
    where: Where, bases: tuple[Run, Run], tmp_path: Path
) -> None:
    where = replace(where, stores=own_stores(where, tmp_path))
    a, b = bases
    run, again = with_views([b.copy(5, "frozen", a), replace(b.copy(5, "frozen", a), seed=3)], 1)
    train(where, [run])
    first = numbers(where, run)
    files = sorted((where.stores / "features").glob("*/features.npy"))
    written = [file.stat().st_mtime_ns for file in files]
    train(where, [again])
    assert [file.stat().st_mtime_ns for file in files] == written  # another seed and head, the same features
    for file in files:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    specs.folder(where.runs, run.id).rename(tmp_path / "first")
    train(where, [run])
    assert numbers(where, run) == first


def test_a_run_that_is_stopped_while_features_are_stored_goes_on(
    where: Where, bases: tuple[Run, Run], tmp_path: Path
) -> None:
    where = replace(where, stores=own_stores(where, tmp_path))
    a, b = bases
    (run,) = with_views([b.copy(5, "frozen", a)], 2)
    train(where, [run], after(2))
    assert states.state(specs.folder(where.runs, run.id)) == "interrupted"
    assert not list((where.stores / "features").iterdir())
    train(where, [run])
    assert states.state(specs.folder(where.runs, run.id)) == "done"


def own_stores(where: Where, tmp_path: Path) -> Path:
    """A stores directory without features, with the same data sets."""
    own = tmp_path / "stores"
    own.mkdir(parents=True)
    for path in where.stores.glob("emoji-*"):
        (own / path.name).symlink_to(path)
    return own


def test_one_that_diverges_fails_alone(where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = bases
    sick, well = b.copy(1, "tuned", a), b.copy(2, "tuned", a)
    train(where, [well])
    alone = numbers(where, well)
    path = specs.folder(where.runs, well.id)
    path.rename(path.with_name("alone-" + path.name))

    healthy = procedure.network_for

    def poisoned(run: Run, *rest: Any) -> torch.nn.Sequential:
        network = healthy(run, *rest)
        if run == sick:
            network.get_parameter("head.bias").data.fill_(float("inf"))
        return network

    monkeypatch.setattr(procedure, "network_for", poisoned)
    train(where, [sick, well])
    record = states.read_record(specs.folder(where.runs, sick.id))
    assert record is not None
    assert record["state"] == "diverged"
    assert record["metrics"]["train_loss"] is None
    assert numbers(where, well) == alone


def test_a_base_that_never_learns_is_stuck_and_its_copies_are_blocked(where: Where, bases: tuple[Run, Run]) -> None:
    a, _ = bases
    hopeless = Run("alexnet32", a.half, a.recipe.with_values({"learning_rate": 1e-9}))
    copy = hopeless.copy(2, "frozen", hopeless)
    train(where, [hopeless])
    train(where, [copy])
    base_record = states.read_record(specs.folder(where.runs, hopeless.id))
    copy_record = states.read_record(specs.folder(where.runs, copy.id))
    assert base_record is not None
    assert copy_record is not None
    assert base_record["state"] == "stuck"
    assert copy_record["state"] == "blocked"
    assert copy_record["reason"] == f"its base {hopeless} is stuck"


def test_a_damaged_checkpoint_is_set_aside_and_named(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    run, other = b.copy(6, "frozen", a), b.copy(7, "frozen", a)
    train(where, [run], after(5))
    path = specs.folder(where.runs, run.id)
    damaged = (path / "checkpoint.pt").read_bytes()[:-200]
    (path / "checkpoint.pt").write_bytes(damaged)
    with pytest.raises(Failure, match=r"checkpoint.pt is damaged and was set aside as checkpoint.pt.damaged-1"):
        train(where, [run, other])
    assert (path / "checkpoint.pt.damaged-1").read_bytes() == damaged
    assert states.state(path) == "failed"
    assert states.state(specs.folder(where.runs, other.id)) == "done"  # the others went on
    train(where, [run])
    assert states.state(path) == "done"


def test_other_arithmetic_is_refused_unless_asked_for(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    run = b.copy(6, "tuned", a)
    train(where, [run], after(5))
    other = Where(where.runs, where.stores, device="cpu", precision="bfloat16")
    with pytest.raises(Failure, match=r"was started with float32 on cpu with . thread"):
        train(other, [run])
    train(Where(where.runs, where.stores, device="cpu", precision="bfloat16", change_arithmetic=True), [run])
    record = states.read_record(specs.folder(where.runs, run.id))
    assert record is not None
    assert record["arithmetic"]["dtype"] == "bfloat16"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_checkpoint_of_an_earlier_version_goes_on_unless_its_head_was_in_bfloat16(
    where: Where, bases: tuple[Run, Run], precision: str
) -> None:
    a, b = bases
    run, where = b.copy(6, "tuned", a), replace(where, precision=precision)
    train(where, [run], after(5))
    path = specs.folder(where.runs, run.id)
    content = torch.load(path / "checkpoint.pt", weights_only=True)
    content["arithmetic"] = {name: content["arithmetic"][name] for name in ("dtype", "device", "threads")}
    torch.save(content, path / "checkpoint.pt")
    if precision == "bfloat16":
        with pytest.raises(Failure, match="was started with bfloat16 with a bfloat16 head on cpu"):
            train(where, [run])
        assert states.state(path) == "failed"
    train(replace(where, change_arithmetic=precision == "bfloat16"), [run])
    record = states.read_record(path)
    assert record is not None
    assert record["arithmetic"]["head"] == "float32"


def test_head_and_loss_are_in_float32_whatever_the_rest_is_in(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bases
    short = b.recipe.with_values({"epochs": 1.0})
    pack = [replace(copy, recipe=short) for copy in (b.copy(7, "frozen", a), b.copy(3, "tuned", a))]
    finer = {"losses": True, "gradients": True}  # than bfloat16
    cross_entropy, backward = F.cross_entropy, gradients.backward

    def is_finer(tensor: torch.Tensor | None) -> bool:
        assert tensor is not None
        return tensor.dtype == torch.float32 and bool((tensor != tensor.bfloat16().float()).float().mean() > 0.5)

    def seen(outputs: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        finer["losses"] &= is_finer(outputs)
        return cross_entropy(outputs, *rest, **more)

    def seen_backward(member: Any, *rest: Any) -> None:
        backward(member, *rest)
        finer["gradients"] &= is_finer(member.network.get_parameter("head.weight").grad)

    monkeypatch.setattr(F, "cross_entropy", seen)
    monkeypatch.setattr(gradients, "backward", seen_backward)
    train(replace(where, precision="bfloat16"), pack)
    assert finer == {"losses": True, "gradients": True}


def test_a_copy_is_not_cut_from_weights_that_its_bases_record_does_not_name(
    where: Where, bases: tuple[Run, Run]
) -> None:
    a, b = bases
    weights = specs.folder(where.runs, a.id) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Failure, match=r"weights.safetensors does not hold the weights that the record of baseA"):
        train(where, [b.copy(2, "frozen", a)])


@pytest.mark.parametrize(
    ("values", "goes_on"),
    [({}, True), ({"processor": "ZVECTOR"}, False), ({"processor": ""}, True), ({"threads": 2}, False)],
)
def test_a_resume_on_another_processor_is_other_arithmetic(
    where: Where, bases: tuple[Run, Run], values: dict[str, Any], goes_on: bool
) -> None:
    a, b = bases
    run = b.copy(6, "tuned", a)
    train(where, [run], after(5))
    path = specs.folder(where.runs, run.id) / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    assert content["arithmetic"]["processor"] == torch.backends.cpu.get_cpu_capability()
    content["arithmetic"] |= values
    torch.save(content, path)
    if not goes_on:
        with pytest.raises(Failure, match=r"was started with float32 on cpu with . thread"):
            train(where, [run])
    train(replace(where, change_arithmetic=not goes_on), [run])
    assert states.state(path.parent) == "done"


def test_a_run_that_is_claimed_or_done_is_not_trained_again(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    run = b.copy(5, "tuned", a)
    attempt = attempts.claim(where.runs, run)
    assert attempt is not None
    train(where, [run])
    assert not (attempt.path / "record.json").exists()
    attempt.release()
    train(where, [run])
    written = (attempt.path / "record.json").stat().st_mtime_ns
    train(where, [run])
    assert (attempt.path / "record.json").stat().st_mtime_ns == written
