"""The recipe of the paper: packs, resuming, mean images, dropout below the cut, Caffe's solver, preserved segments.

Most of it on a network with every part that caffenet has, but tiny; bases are not trained but only said to be, since
nothing here depends on what they have learned.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ended import after, numbers
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from yosinski import procedure
from yosinski.data import find
from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.data.pictures.crops import each_once
from yosinski.data.sources import emoji
from yosinski.data.store import Store
from yosinski.environment import Where
from yosinski.errors import Failure
from yosinski.experiment.recipes import PAPER
from yosinski.experiment.run import Run
from yosinski.networks import build
from yosinski.networks.architectures import ARCHITECTURES, Architecture, Conv, Linear, Pool
from yosinski.networks.batch import Batch
from yosinski.networks.layers import Masks, dropping
from yosinski.networks.tensors import fingerprint
from yosinski.randomness import generator
from yosinski.records import attempts, specs, states
from yosinski.training import pulse, surgery
from yosinski.training.clock import Clock
from yosinski.training.moments import Moments, moments
from yosinski.training.pack import Member, masks_of
from yosinski.training.steps import gradients
from yosinski.training.steps.updates import Updates
from yosinski.training.stream import Stream

TINY = Architecture(
    side=27,
    segments=(
        Conv("conv1", 8, kernel=5, stride=2, padding=0, pool=Pool(3, 2), normalise=True),
        Conv("conv2", 8, kernel=3, groups=2),
        Linear("fc6", 32, dropout=0.5),
        Linear("fc7", 32, dropout=0.5),
    ),
    paper={"conv1": (0.01, 0.0), "conv2": (0.1, 1.0), "fc6": (0.05, 1.0), "fc7": (0.05, 1.0), "head": (0.01, 0.0)},
)
RECIPE = PAPER.with_values({"iterations": 6, "step_every": 4, "batch_size": 4, "evaluations": 2, "outputs": 10})
A, B = (Half("toy", "f00d", classes, (), letter) for classes, letter in ((("ant", "bat"), "A"), (("cat", "dog"), "B")))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is tiny."""
    monkeypatch.setitem(ARCHITECTURES, "tiny", TINY)


def images(side: int, per_class: dict[str, int]) -> Store:
    """Noise around another brightness in each of four classes."""
    card = Card("toy", "f00d", side, ("ant", "bat", "cat", "dog"), images=per_class)
    index = [(s, c, k) for s, count in enumerate(per_class.values()) for c in range(4) for k in range(count)]
    sets, classes, numbers = np.array(index).T
    noise = generator("toy", side).integers(0, 100, (len(index), side, side, 3), np.uint8)
    return Store(card, noise + (40 * classes[:, None, None, None]).astype(np.uint8), sets, classes, 0 * sets, numbers)


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Where:
    """Empty runs and stores, and the data set toy of 30 x 30 pixels."""
    use(images(30, {"train": 5, "select": 3, "test": 2}), monkeypatch)
    (tmp_path / "stores").mkdir()
    return Where(tmp_path / "runs", tmp_path / "stores", device="cpu", precision="float32")


def use(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this store stand for every data set."""
    monkeypatch.setattr(find, "card", lambda name: store.card)
    monkeypatch.setattr(emoji, "card", lambda: store.card)
    monkeypatch.setattr(procedure.stores, "load", lambda card, stores: store)
    monkeypatch.setattr(procedure.stores, "of", lambda half, stores: store)


@pytest.fixture
def bases(where: Where) -> tuple[Run, Run]:
    """Bases on A and B."""
    a, b = Run("tiny", A, RECIPE), Run("tiny", B, RECIPE)
    for base in (a, b):
        leave(where, base)
    return a, b


def start(where: Where, run: Run) -> torch.nn.Sequential:
    """A network before its training."""
    store = procedure.stores.load(find.card("toy"), where.stores)
    parent = procedure.base_weights(run.parent, where.runs)[1] if run.parent else {}
    return procedure.network_for(run, moments(Stream(store, run)), parent)


def leave(where: Where, run: Run) -> None:
    """Leave a record as if a base had been trained."""
    tensors = {name: tensor.contiguous() for name, tensor in start(where, run).state_dict().items()}
    attempt = attempts.claim(where.runs, run)
    assert attempt is not None
    attempt.save("weights.safetensors", lambda path: save_file(tensors, path))
    attempt.finish({"state": "done", "weights": fingerprint(tensors)})


def train(where: Where, runs: list[Run], stopping: Callable[[], bool] = lambda: False) -> None:
    for run in runs:
        specs.enrol(where.runs, run)
    procedure.run_pack([run.id for run in runs], where, stopping=stopping)


def weights(where: Where, run: Run) -> dict[str, torch.Tensor]:
    return load_file(specs.folder(where.runs, run.id) / "weights.safetensors")


def aside(where: Where, runs: list[Run]) -> None:
    """Forget these runs."""
    for run in runs:
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name("aside-" + path.name))


# --------------------------------------------------------------------------------------------------- packs, resuming


def test_a_lone_a7b_of_caffenet_equals_the_same_run_in_a_pack(where: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    use(images(256, {"train": 2, "select": 1, "test": 1}), monkeypatch)
    recipe = PAPER.with_values({"iterations": 2, "batch_size": 2, "evaluations": 1, "step_every": 1})
    a, b = Run("caffenet", A, recipe), Run("caffenet", B, recipe)
    leave(where, a)
    pack = [b.copy(7, "frozen", a), b.copy(6, "frozen", a)]
    train(where, pack)
    together = numbers(where, pack[0])
    aside(where, pack)
    train(where, pack[:1])
    assert numbers(where, pack[0]) == together
    below = surgery.below(weights(where, pack[0]), build.build("caffenet", 1000, 256), 7)
    assert below["conv1.standardise.mean"].shape == (3, 256, 256)
    assert together["certificate"] == {"before": fingerprint(below), "after": fingerprint(below)}


def test_runs_alone_equal_the_same_runs_in_a_pack(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    pack = [b.copy(n, "frozen", a) for n in (1, 3, 4)] + [b.copy(3, "frozen", b), b.copy(2, "tuned", a)]
    pack += [b.copy(3, "random", below="paper"), b.copy(1, "frozen", a, preserved=2)]
    train(where, pack)
    together = [numbers(where, run) for run in pack]
    aside(where, pack)
    for run in pack:
        train(where, [run])
    assert [numbers(where, run) for run in pack] == together
    assert len({result["weights"] for result in together}) == len(pack)


@pytest.mark.parametrize("looks", [3, 4, 5])  # the rate drops after 4 steps
def test_a_stopped_run_ends_where_an_undisturbed_one_ends(where: Where, bases: tuple[Run, Run], looks: int) -> None:
    a, b = bases
    pack = [replace(b, seed=1), b.copy(3, "frozen", a), b.copy(2, "tuned", a)]
    for run in pack:
        train(where, [run])
    undisturbed = [numbers(where, run) for run in pack]
    aside(where, pack)
    for run in pack:
        train(where, [run], after(looks))
        assert states.state(specs.folder(where.runs, run.id)) == "interrupted"
        train(where, [run])
    assert [numbers(where, run) for run in pack] == undisturbed


def test_a_run_stopped_at_every_look_even_within_evaluations_ends_the_same(
    where: Where, bases: tuple[Run, Run]
) -> None:
    run = bases[1].copy(2, "tuned", bases[0])
    train(where, [run])
    undisturbed = numbers(where, run)
    aside(where, [run])
    path, steps = specs.folder(where.runs, run.id), []
    for looks in (1, 2, 1, 2, 3, 1, 4, 2, 5, 3, *range(6, 30)):  # an evaluation takes several: it must end once
        train(where, [run], after(looks))
        if states.state(path) in states.FINAL:
            break
        steps.append(torch.load(path / "checkpoint.pt", weights_only=True)["step"])
    assert steps == sorted(steps)
    assert len(steps) > len(set(steps)) > 2
    assert numbers(where, run) == undisturbed


def test_a_tuned_copy_whose_base_was_trained_anew_does_not_go_on_from_the_old_one(
    where: Where, bases: tuple[Run, Run]
) -> None:
    run = bases[1].copy(2, "tuned", bases[0])
    train(where, [run], after(3))
    path = specs.folder(where.runs, bases[0].id)
    changed = {name: tensor + 1 for name, tensor in weights(where, bases[0]).items()}
    save_file(changed, path / "weights.safetensors")
    record = json.loads((path / "record.json").read_text())
    (path / "record.json").write_text(json.dumps({**record, "weights": fingerprint(changed)}))
    with pytest.raises(Failure, match=r"its base was trained anew since; .* was set aside"):
        train(where, [run])
    train(where, [run])
    found = states.read_record(specs.folder(where.runs, run.id))
    assert found is not None
    assert found["parent_weights"] == fingerprint(changed)


def test_large_checkpoints_are_written_less_often_than_evaluations(
    where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, saved = [0.0], []

    def save(member: Member, *_: Any) -> None:
        saved.append(member.step)
        clock[0] += 11.0

    def backward(*arguments: Any) -> None:
        clock[0] += 50.0
        real(*arguments)

    real = gradients.backward
    monkeypatch.setattr(gradients, "backward", backward)
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time, perf_counter=float))
    monkeypatch.setattr(pulse.checkpoints, "save", save)
    train(where, [Run("tiny", A, RECIPE.with_values({"iterations": 12, "evaluations": 12}))])
    assert saved == [1, 6, 11]  # at most once in 20 times 11 s; writing and five steps take 261 s, with four 211


# -------------------------------------------------------------------------------------------------- means and dropout


@pytest.mark.parametrize("treatment", ["frozen", "tuned"])
def test_a_copy_subtracts_its_sources_mean(where: Where, bases: tuple[Run, Run], treatment: Any) -> None:
    a, b = bases
    copy = b.copy(2, treatment, a)
    train(where, [copy])
    store = procedure.stores.load(find.card("toy"), where.stores)
    means = [store.images[store.rows(half, "train")[0]].mean(0).transpose(2, 0, 1) for half in (A, B)]
    found = weights(where, copy)["conv1.standardise.mean"]
    np.testing.assert_allclose(found, means[0], rtol=1e-6)
    assert np.abs(found.numpy() - means[1]).min() > 20
    own = weights(where, b)["conv1.standardise.mean"]
    np.testing.assert_allclose(own, means[1], rtol=1e-6)


def test_a_copy_of_a_base_with_other_images_is_refused_by_name(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    copy, larger = b.copy(2, "frozen", a), Moments(torch.zeros(3, 31, 31), torch.ones(3, 1, 1))
    with pytest.raises(Failure, match=r"conv1.standardise.mean is \(3, 30, 30\) in the base, \(3, 31, 31\)"):
        procedure.network_for(copy, larger, weights(where, a))


@pytest.mark.parametrize(("n", "differ"), [(2, False), (3, True)])  # fc6 is the third
def test_dropout_below_a_frozen_cut_is_on_or_off_as_the_recipe_says(
    where: Where, bases: tuple[Run, Run], n: int, differ: bool
) -> None:
    a, b = bases
    quiet = Run("tiny", B, RECIPE.with_values({"dropout_below": False}))
    frozen = [run.copy(n, "frozen", a) for run in (b, quiet)]
    for run in frozen:
        train(where, [run])
    assert (numbers(where, frozen[0]) != numbers(where, frozen[1])) == differ
    tuned = [run.copy(3, "tuned", a) for run in (b, quiet)]
    for run in tuned:
        train(where, [run])
    assert numbers(where, tuned[0]) == numbers(where, tuned[1])  # nothing is frozen


def test_a_frozen_trunk_drops_what_a_network_of_its_own_would(where: Where, bases: tuple[Run, Run]) -> None:
    """One step of A3B in the plain: dropout in fc6, below the cut, and in fc7, above it."""
    copy = Run("tiny", B, RECIPE.with_values({"iterations": 1, "evaluations": 1})).copy(3, "frozen", bases[0])
    network = start(where, copy)
    batch, labels = Stream(procedure.stores.load(find.card("toy"), where.stores), copy).batch(0)
    with dropping(masks_of(copy, 0)):
        loss = F.cross_entropy(network(batch), labels)
    gradient, *_ = torch.autograd.grad(loss, [network.get_parameter("head.weight")])
    train(where, [copy])
    moved = network.get_parameter("head.weight").detach() * (1 - 0.01 * 5e-4) - 0.01 * gradient
    torch.testing.assert_close(weights(where, copy)["head.weight"], moved)
    assert numbers(where, copy)["metrics"]["train_loss"] == pytest.approx(loss.item())


def test_evaluation_takes_the_crop_in_the_middle_and_drops_nothing(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    copy = b.copy(3, "frozen", a)
    train(where, [copy])
    network = build.build("tiny", 10, 30)
    network.load_state_dict(weights(where, copy))
    store = procedure.stores.load(find.card("toy"), where.stores)
    rows, labels = store.rows(B, "test")
    pixels = torch.from_numpy(store.images[rows, 1:28, 1:28]).permute(0, 3, 1, 2)
    middle = Batch(pixels, torch.ones(len(rows), 2, dtype=torch.int64), torch.zeros(len(rows), dtype=torch.bool))
    assert all(map(torch.equal, middle, next(each_once(store, rows, labels, 27, 100, B.rule))[0]))
    loss = F.cross_entropy(network(middle), torch.from_numpy(labels)).item()
    assert numbers(where, copy)["metrics"]["test_loss"] == pytest.approx(loss, rel=1e-6)


# ------------------------------------------------------------------------------------------------------------- solver


def test_steps_are_caffes(where: Where) -> None:
    """V = momentum * v + rate * (gradient + decay * w), w -= v; biases at twice the rate and without decay."""
    run = Run("tiny", A, RECIPE.with_values({"step_every": 2, "weight_decay": 0.05}))
    member = Member(run, attempts.Attempt(where.runs, 1), start(where, run), None)
    parameters = member.trained
    by_hand = {name: p.detach().double() for name, p in parameters.items()}
    velocities = {name: torch.zeros_like(w) for name, w in by_hand.items()}
    updates, clock = Updates(6), Clock("cpu")
    stream = Stream(procedure.stores.load(find.card("toy"), where.stores), run)
    for step in range(6):
        batch, labels = stream.batch(step)
        outputs = member.network(batch)
        loss = F.cross_entropy(outputs, labels)
        found = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
        gradients.backward(member, outputs, [labels])
        updates.add(member, step, clock)
        updates.take(step, clock)
        rate = (0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001)[step]
        for (name, w), gradient in zip(by_hand.items(), found, strict=True):
            bias = name.endswith("bias")
            decay = 0.0 if bias else 0.05
            velocities[name] = 0.9 * velocities[name] + rate * (1 + bias) * (gradient.double() + decay * w)
            by_hand[name] = w - velocities[name]
            torch.testing.assert_close(parameters[name].detach().double(), by_hand[name], rtol=1e-5, atol=1e-7)


def test_a_base_starts_as_the_paper_says(where: Where) -> None:
    network = start(where, Run("tiny", A, RECIPE))
    assert network[-1].get_parameter("weight").shape == (10, 32)
    for name, segment in network.named_children():
        deviation, bias = TINY.paper[name]
        for part, tensor in segment.named_parameters():
            if part.endswith("bias"):
                assert (tensor == bias).all(), name
            else:
                assert tensor.std().item() == pytest.approx(deviation, rel=0.15), name


# ---------------------------------------------------------------------------------------------------------- preserved


@pytest.mark.parametrize("preserved", [1, 2])
def test_preserved_segments_start_as_the_bases_and_are_trained(
    where: Where, bases: tuple[Run, Run], preserved: int
) -> None:
    a, b = bases
    plain, run = b.copy(1, "frozen", a), b.copy(1, "frozen", a, preserved=preserved)
    base, at_start = weights(where, a), start(where, run).state_dict()
    fresh = start(where, plain).state_dict()
    train(where, [run])
    trained = weights(where, run)
    names = [name for name, _ in start(where, run).named_children()]
    for name, tensor in base.items():
        layer = names.index(name.split(".")[0])
        if layer < 1:
            assert torch.equal(trained[name], tensor), name
            continue
        assert not torch.equal(trained[name], at_start[name]), name
        if layer < 1 + preserved:
            assert torch.equal(at_start[name], tensor), name
        else:
            assert torch.equal(at_start[name], fresh[name]), name  # as in every copy of this target
    below = surgery.below(base, build.build("tiny", 10, 30), 1)
    assert numbers(where, run)["certificate"] == {
        "before": fingerprint(below),
        "after": fingerprint(below),
    }


def test_random_features_keep_their_own_mean_and_initialiser(where: Where) -> None:
    run = Run("tiny", B, RECIPE).copy(2, "random", below="paper")
    train(where, [run])
    found, network = weights(where, run), start(where, run)
    for name, tensor in network.state_dict().items():
        assert torch.equal(found[name], tensor) == (name.split(".")[0] in ("conv1", "conv2")), name
    base = start(where, Run("tiny", B, RECIPE)).state_dict()
    assert not torch.equal(base["conv1.conv.weight"], found["conv1.conv.weight"])
    assert torch.equal(base["conv1.standardise.mean"], found["conv1.standardise.mean"])
    assert len(list((where.stores / "moments").iterdir())) == 1


def test_masks_drawn_ahead_are_those_that_are_drawn_when_they_are_needed() -> None:
    before, ahead, when_needed, earlier = Masks("step", 0), Masks("step", 1), Masks("step", 1), Masks()
    features = torch.zeros(4, 6, 2, 2)
    before.of("fc6", 0.5, features)
    before.of("path", 0.2, features, 1)
    earlier.follow(before)
    ahead.draw_like(earlier)
    drawn = dict(ahead.drawn)
    for layer, rate, axes in (("fc6", 0.5, None), ("path", 0.2, 1)):
        assert torch.equal(drawn[layer], when_needed.of(layer, rate, features, axes))
        assert ahead.of(layer, rate, features, axes) is drawn[layer]
    assert not torch.equal(drawn["fc6"], before.drawn["fc6"])
