"""Laws of AdamW, label smoothing and other crops in training: packs, resuming, freezing. Real images and networks."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ended import numbers
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from yosinski import files, procedure
from yosinski.data.halves import Split
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.networks.build import build
from yosinski.records import attempts, specs, states
from yosinski.training import moments
from yosinski.training.clock import Clock
from yosinski.training.pack import Member
from yosinski.training.steps import gradients
from yosinski.training.steps.updates import Updates
from yosinski.training.stream import Stream

ADAMW = {"optimiser": "adamw", "learning_rate": 0.002, "weight_decay": 0.05, "bias_decay": 0.0, "bias_rate": 2.0}
BRIEF = {"epochs": 0.0, "iterations": 10, "evaluations": 2}
CROPS = {"shift": 0, "least_area": 0.3, "aspect": 1.5}


@pytest.fixture(scope="module")
def base(small_split: Split, small_recipe: Recipe) -> Run:
    """A base of half A that AdamW trains."""
    return Run("alexnet32", small_split.a, small_recipe.with_values(ADAMW))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, stores: Path, base: Run) -> Where:
    """A runs directory with that base in float32."""
    where = Where(tmp_path_factory.mktemp("runs"), stores, device="cpu", precision="float32")
    train(where, [base])
    return where


@pytest.fixture
def where(trained: Where, tmp_path: Path) -> Where:
    """A runs directory of its own, and a stores directory without features."""
    shutil.copytree(trained.runs, tmp_path / "runs")
    (tmp_path / "stores").mkdir()
    for path in trained.stores.glob("emoji-*"):
        (tmp_path / "stores" / path.name).symlink_to(path)
    return Where(tmp_path / "runs", tmp_path / "stores", device="cpu", precision="float32")


@pytest.fixture
def target(small_split: Split, base: Run) -> Run:
    """A base of half B, which is never trained: its copies are cut from the one above."""
    return Run("alexnet32", small_split.b, base.recipe.with_values(BRIEF))


def train(where: Where, runs: list[Run], stopping: Callable[[], bool] = lambda: False) -> None:
    for run in runs:
        specs.enrol(where.runs, run)
    procedure.run_pack([run.id for run in runs], where, stopping=stopping)


def after(looks: int) -> Callable[[], bool]:
    """A `stopping` that says so from that look on."""
    made: Iterator[int] = iter(range(10**9))
    return lambda: next(made) >= looks - 1


def changed(run: Run, **values: Any) -> Run:
    """The same with other values of the recipe."""
    return replace(run, recipe=run.recipe.with_values(values))


def weights(where: Where, run: Run) -> dict[str, torch.Tensor]:
    return load_file(specs.folder(where.runs, run.id) / "weights.safetensors")


def set_apart(where: Where, runs: list[Run]) -> None:
    """Rename what these runs left, so that they can be trained again."""
    for run in runs:
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name("before-" + path.name))


def started(where: Where, run: Run, store: Store) -> Member:
    """A run as it begins, with an attempt that writes nothing."""
    parent = weights(where, run.parent) if run.parent else {}
    network = procedure.network_for(run, moments.blank(Stream(store, run)), parent)
    return Member(run, attempts.Attempt(where.runs, 1), network, None)


def test_a_base_learns_with_adamw(trained: Where, base: Run) -> None:
    found = numbers(trained, base)
    assert found["state"] == "done"
    assert found["metrics"]["select_top1"] > 0.4


def test_steps_are_those_of_adamw_with_paces_and_biases_of_their_own(
    where: Where, base: Run, target: Run, store: Store
) -> None:
    """Decay and step of every tensor are in proportion to its rate; the gradient is clipped as a whole, before."""
    run = changed(target, warmup=0.0, momentum=0.8, clip=0.5, weight_decay=3.0).copy(2, "decayed", base)
    member, stream = started(where, run, store), Stream(store, run)
    updates, clock = Updates(10), Clock("cpu")
    by_hand = {name: p.detach().double() for name, p in member.trained.items()}
    first = {name: torch.zeros_like(w) for name, w in by_hand.items()}
    second = {name: torch.zeros_like(w) for name, w in by_hand.items()}
    for step in range(4):
        member.ready(step, 10)
        batch, labels = stream.batch(step)
        outputs = member.network(batch)
        loss = F.cross_entropy(outputs, labels)
        found = torch.autograd.grad(loss, list(member.trained.values()), retain_graph=True)
        gradients.backward(member, outputs, [labels])
        updates.add(member, step, clock)
        updates.take(step, clock)
        norm = torch.stack([gradient.double().norm() for gradient in found]).norm()
        for (name, w), gradient in zip(by_hand.items(), found, strict=True):
            bias, pace = name.endswith("bias"), {"conv1": 0.25, "conv2": 0.5}.get(name.split(".")[0], 1)
            rate, decay = run.rate(step, 10) * (1 + bias) * pace, 0.0 if bias else 3.0
            clipped = gradient.double() * min(1.0, 0.5 / norm)
            first[name] = 0.8 * first[name] + 0.2 * clipped
            second[name] = 0.999 * second[name] + 0.001 * clipped**2
            mean, square = first[name] / (1 - 0.8 ** (step + 1)), second[name] / (1 - 0.999 ** (step + 1))
            by_hand[name] = w * (1 - rate * decay) - rate * mean / (square.sqrt() + 1e-8)
            moved = member.trained[name].detach().double()
            torch.testing.assert_close(moved, by_hand[name], rtol=1e-4, atol=2e-6, msg=f"{name} in step {step}")


@pytest.mark.parametrize("views", [0, 1])
def test_a_lone_run_equals_the_same_run_in_a_pack(where: Where, base: Run, target: Run, views: int) -> None:
    target = changed(target, views=views, **CROPS)
    pack = [target.copy(3, treatment, base) for treatment in ("frozen", "tuned", "decayed", "probed", "thawed")]
    pack += [target.copy(5, "single", base), target.copy(2, "random", below="kaiming")]
    train(where, pack)
    together = [numbers(where, run) for run in pack]
    set_apart(where, pack)
    for run in pack:
        train(where, [run])
    assert [numbers(where, run) for run in pack] == together


@pytest.mark.parametrize("values", [{"clip": 0.0, "mirror": False}, {"label_smoothing": 0.1, **CROPS}])
def test_a_stopped_run_ends_where_an_undisturbed_one_ends(
    where: Where, base: Run, target: Run, values: dict[str, Any]
) -> None:
    target = changed(target, **values)
    pack = [target.copy(4, treatment, base) for treatment in ("frozen", "tuned", "thawed", "probed", "decayed")]
    train(where, pack)
    undisturbed = [numbers(where, run) for run in pack]
    set_apart(where, pack)
    train(where, pack, after(5))  # before everything is trained; some have no averages yet
    assert [states.state(specs.folder(where.runs, run.id)) for run in pack] == ["interrupted"] * 5
    train(where, pack[1:3], after(9))  # now the members stand at different steps
    train(where, pack)
    assert [numbers(where, run) for run in pack] == undisturbed


def test_what_is_not_trained_yet_does_not_decay(where: Where, base: Run, target: Run) -> None:
    probed = changed(target, probe=1.0, weight_decay=0.5).copy(3, "probed", base)  # to the end
    train(where, [probed])
    below = {name: tensor for name, tensor in weights(where, base).items() if name[:5] in ("conv1", "conv2", "conv3")}
    trained = weights(where, probed)
    assert all(torch.equal(trained[name], tensor) for name, tensor in below.items())
    assert not torch.equal(trained["conv4.conv.weight"], weights(where, base)["conv4.conv.weight"])


def test_a_checkpoint_of_an_earlier_version_is_read(where: Where, base: Run, target: Run) -> None:
    run = changed(target, optimiser="sgd").copy(4, "tuned", base)
    train(where, [run])
    undisturbed = numbers(where, run)
    set_apart(where, [run])
    train(where, [run], after(5))
    path = specs.folder(where.runs, run.id) / "checkpoint.pt"
    content = torch.load(path, weights_only=True)
    assert content["momentum"].keys() == dict(build("alexnet32", 5).named_parameters()).keys()
    assert content.pop("moments") == {}  # they had no such key
    torch.save(content, path)
    train(where, [run])
    assert numbers(where, run) == undisturbed


def test_labels_are_smoothed_in_the_training_loss_only(where: Where, base: Run, target: Run, store: Store) -> None:
    about = {"iterations": 1, "evaluations": 1, "learning_rate": 1e-9}  # the network stays as it is
    plain, smooth = (changed(target, label_smoothing=x, **about).copy(3, "frozen", base) for x in (0.0, 0.3))
    train(where, [plain])
    train(where, [smooth])
    member = started(where, smooth, store)
    batch, labels = Stream(store, smooth).batch(0)
    log = F.log_softmax(member.network(batch), 1)
    right = nn.functional.one_hot(labels, 5)
    by_hand = -((0.7 * right + 0.3 / 5) * log).sum(1).mean()
    losses = [numbers(where, run)["metrics"] for run in (plain, smooth)]
    assert losses[1]["train_loss"] == pytest.approx(by_hand.item(), rel=1e-5)
    assert losses[0]["train_loss"] == pytest.approx(-(right * log).sum(1).mean().item(), rel=1e-5)
    assert losses[0]["select_loss"] == pytest.approx(losses[1]["select_loss"], rel=1e-6)


def test_features_are_of_the_crops_that_a_recipe_shows(where: Where, base: Run, target: Run) -> None:
    """Others are stored for each kind of crops, and those of the select images once."""
    kinds: list[dict[str, Any]] = [{}, {"mirror": False}, CROPS, {**CROPS, "mirror": False}]
    for values in kinds:
        train(where, [changed(target, views=1, **values).copy(3, "frozen", base)])
    of = [files.read_json(path)["of"] for path in (where.stores / "features").glob("*/features.json")]
    shown = [{name: one.get(name) for name in ("shift", "mirror", "least_area")} for one in of if one["set"] == "train"]
    assert sorted(shown, key=str) == sorted(
        (
            {"shift": values.get("shift", 2), "mirror": values.get("mirror"), "least_area": values.get("least_area")}
            for values in kinds
        ),
        key=str,
    )
    assert [one["set"] for one in of].count("select") == 1
