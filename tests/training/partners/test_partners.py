"""Joint and fused runs: what shares nothing is its base, packs equal lone runs, and interruptions leave no trace."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ended import after, numbers
from packs import train
from safetensors import safe_open
from safetensors.torch import load_file

from yosinski.cli.main import main
from yosinski.data import find, store
from yosinski.data.halves import asking
from yosinski.data.pictures.crops import greyed
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.cost import cost, in_pack, rows_of
from yosinski.experiment.cost import images as images_of
from yosinski.experiment.run import Run
from yosinski.networks import parts
from yosinski.networks.batch import Batch
from yosinski.records import specs, states
from yosinski.records.right import packed, right
from yosinski.training.evaluation import image_set
from yosinski.training.partners.batches import Given, Partners, exchanged, pairs
from yosinski.training.results import by_label
from yosinski.training.steps import gradients
from yosinski.training.stream import Stream


def record(where: Where, run: Run) -> dict[str, Any]:
    found = states.read_record(specs.folder(where.runs, run.id))
    assert found is not None
    return found


def weights(where: Where, run: Run) -> dict[str, torch.Tensor]:
    return load_file(specs.folder(where.runs, run.id) / "weights.safetensors")


def joint(base: Run, n: int, *partners: Run, **recipe: Any) -> Run:
    halves = tuple(partner.half for partner in partners)
    changed = base.recipe.with_values(recipe)
    return replace(base, treatment="joint", cut=n, partners=halves, recipe=changed)


def fused(base: Run, n: int, domain: str = "noto", **half: Any) -> Run:
    first = replace(base.half, domain=("twemoji",), input="x")
    other = replace(first, domain=(domain,), input="y", **half)
    return replace(base, half=first, treatment="fused", cut=n, partners=(other,))


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], t) for name, t in expected.items())


def test_tasks_that_share_nothing_are_their_bases(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    run = joint(a, 0, b)
    train(where, [run])
    trained = weights(where, run)
    for k, base in enumerate(bases):
        assert same(parts.of_one_task(trained, k), weights(where, base))
    for base, task in ((a, ""), (b, "_1")):
        names = [f"{name}{task}" for name in ("train_loss", "select_loss", "select_top1")]
        alone, together = (states.read_curve(specs.folder(where.runs, one.id)) for one in (base, run))
        expected = [[row[name.removesuffix(task)] for name in names] for row in alone]
        assert [[row[name] for name in names] for row in together] == expected
    first, second = record(where, run), record(where, run)["tasks"][0]
    for name in ("metrics", "per_class", "right", "state", "chance"):
        assert first[name] == record(where, a)[name]
        assert second[name] == record(where, b)[name]


def test_each_task_of_a_joint_network_is_exported_as_its_base_is(
    where: Where, bases: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = bases
    run, inputs = joint(a, 0, b), fused(a, 7)
    train(where, [run])
    train(where, [inputs])
    asked = {"baseA": [], "baseB": [], "AB0A": [], "AB0B": [], run.id: ["--task", "B"]}
    told: dict[str, dict[str, str]] = {}
    for name, options in asked.items():
        out = tmp_path / f"{name}.safetensors"
        assert main(["export", name, "--runs", str(where.runs), "--out", str(out), *options]) == 0
        with safe_open(out, "pt") as file:
            told[name] = file.metadata()
    for name, base, letter in (("AB0A", "baseA", "A"), ("AB0B", "baseB", "B"), (run.id, "baseB", "B")):
        exported, alone = (load_file(tmp_path / f"{one}.safetensors") for one in (name, base))
        assert same(exported, alone)
        expected = {**told[base], "run": f'"{run.id}"', "name": f'"AB0{letter}"'}
        assert told[name] == expected
    for options, message in (
        (["AB0C"], "no run 'AB0C'"),
        (["AB0A", "--task", "C"], "unknown task of AB0A .*; choose from: A, B"),
        (["xy7A"], "xy7A .* takes several inputs, and is no plain network"),
    ):
        out = tmp_path / "none.safetensors"
        assert main(["export", *options, "--runs", str(where.runs), "--out", str(out)]) == 2
        assert re.search(message, capsys.readouterr().err)
        assert not out.exists()


def test_a_task_that_is_never_drawn_changes_nothing(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    run = joint(a, 4, b, step="1/0")
    train(where, [run])
    assert same(parts.of_one_task(weights(where, run), 0), weights(where, a))


@pytest.mark.parametrize("gradient", ["mean", "sum"])
def test_a_task_whose_labels_are_all_missing_changes_nothing(
    gradient: str, where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bases
    read = Partners.read

    def without(self: Partners, *args: Any) -> Given:
        self.streams[1].labels = np.full_like(self.streams[1].labels, gradients.NONE)
        return read(self, *args)

    monkeypatch.setattr(Partners, "read", without)
    run = joint(a, 4, b, gradient=gradient)
    train(where, [run])
    assert same(parts.of_one_task(weights(where, run), 0), weights(where, a))


@pytest.mark.parametrize("join", ["logits", "multiplicative"])
def test_images_without_a_label_have_no_loss(join: str, bases: tuple[Run, Run]) -> None:
    run = fused(bases[0], 7)
    run = replace(run, recipe=run.recipe.with_values({"join": join}))
    outputs, labels = torch.randn(4, 5).log_softmax(1), torch.tensor([2, gradients.NONE, 0, gradients.NONE])
    expected = gradients.loss_of(run, outputs[::2], labels[::2])
    torch.testing.assert_close(gradients.loss_of(run, outputs, labels), expected)


def test_a_lone_run_equals_the_same_run_in_a_pack(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    for pack in ([joint(a, n, b) for n in (2, 7)], [fused(a, n) for n in (0, 5, 7)]):
        train(where, pack)
        together = [numbers(where, run) | weights_of(where, run) for run in pack]
        for run in pack:
            path = specs.folder(where.runs, run.id)
            path.rename(path.with_name("together-" + path.name))
            train(where, [run])
        assert [numbers(where, run) | weights_of(where, run) for run in pack] == together


def weights_of(where: Where, run: Run) -> dict[str, Any]:
    found = record(where, run)
    return {name: found.get(name) for name in ("tasks", "fusion")}


@pytest.mark.parametrize("make", ["joint", "uncertain", "drawn", "fused"])
def test_a_stopped_run_ends_where_an_undisturbed_one_ends(
    make: str, where: Where, bases: tuple[Run, Run], tmp_path: Path
) -> None:
    a, b = bases
    run = {
        "joint": lambda: joint(a, 3, b),
        "uncertain": lambda: joint(a, 3, b, weighting="uncertainty"),
        "drawn": lambda: joint(a, 3, b, step="0.5/0.5"),
        "fused": lambda: fused(a, 3, drawn="exchanged"),
    }[make]()
    undisturbed = replace(where, runs=tmp_path / "undisturbed")
    train(undisturbed, [run])
    train(where, [run], after(7))
    assert states.state(specs.folder(where.runs, run.id)) == "interrupted"
    train(where, [run])
    assert numbers(where, run) | weights_of(where, run) == numbers(undisturbed, run) | weights_of(undisturbed, run)


def test_uncertainties_are_trained_without_decay_and_at_zero_they_weigh_nothing(
    where: Where, bases: tuple[Run, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = bases
    plain, uncertain = joint(a, 3, b, gradient="sum"), joint(a, 3, b, gradient="sum", weighting="uncertainty")
    train(where, [plain, uncertain])
    learned = weights(where, uncertain)["head.log_variance"]
    assert (learned != 0).all()
    held = joint(a, 3, b, gradient="sum", weighting="uncertainty", evaluations=2)
    monkeypatch.setattr(gradients, "uncertainty_gradient", lambda *args: torch.zeros(()))
    train(where, [held])
    found = weights(where, held)
    assert torch.equal(found.pop("head.log_variance"), torch.zeros(2))
    assert same(found, weights(where, plain))


def test_fixed_weights_scale_what_is_added(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    runs = [joint(a, 7, b, weighting="1/0", gradient="sum"), joint(a, 7, b, weighting="1/1", gradient="sum")]
    train(where, runs)
    assert same(parts.of_one_task(weights(where, runs[0]), 0), weights(where, a))
    assert not same(parts.of_one_task(weights(where, runs[1]), 0), weights(where, a))


def test_questions_about_the_same_pictures_share_batches(where: Where, bases: tuple[Run, Run]) -> None:
    a, _ = bases
    card = find.card("emoji")
    run = replace(a, treatment="joint", cut=5, partners=(asking(card, a.half, "domain"),))
    train(where, [run])
    (of_domain,) = record(where, run)["tasks"]
    assert len(of_domain["per_class"]["test"]["images"]) == len(a.half.domain)
    assert run.parts[0] == run.parts[1]
    again = replace(a, treatment="joint", cut=5, partners=(a.half,))
    assert again.parts[0] != again.parts[1]  # the same task twice has batches of its own


def test_bits_are_in_the_order_of_labels_whatever_is_asked(where: Where, bases: tuple[Run, Run]) -> None:
    half = replace(asking(find.card("emoji"), bases[0].half, "domain"), letter="D")
    images = image_set(store.of(half, where.stores), replace(bases[0], half=half), "test")
    assert (images.labels != np.sort(images.labels)).any()
    bits = np.arange(len(images.labels)) % 3 == 0
    counts = [np.bincount(of, minlength=len(half.labels)).tolist() for of in (images.labels, images.labels[bits])]
    record = {"test": dict(zip(("images", "correct"), counts, strict=True))}
    packed_bits = {"test": packed(bits[by_label(images.labels)])}
    assert right({"per_class": record, "right": packed_bits}, "test", "D") is not None
    with pytest.raises(BadInput, match="they are right otherwise"):
        right({"per_class": record, "right": {"test": packed(bits)}}, "test", "D")


def test_what_is_trained_without_colours_is_evaluated_without(where: Where, bases: tuple[Run, Run]) -> None:
    grey = replace(bases[0], half=replace(bases[0].half, grey=True))
    own = store.of(grey.half, where.stores)
    seen, coloured = (image_set(own, run, "select").batch(own, slice(4)) for run in (grey, bases[0]))
    assert isinstance(coloured, Batch)
    assert isinstance(seen, Batch)
    assert torch.equal(seen.pixels, greyed(coloured).pixels)
    assert not torch.equal(seen.pixels, coloured.pixels)


def test_what_shares_nothing_costs_its_bases(bases: tuple[Run, Run]) -> None:
    a, b = bases
    card = find.card("emoji")
    run, twin = joint(a, 0, b), joint(a, 0, a)
    assert cost(run, card).flops == cost(a, card).flops + cost(b, card).flops
    assert round(in_pack([run], card)[0]) == cost(run, card).flops
    looks = len(a.recipe.evaluated(cost(a, card).steps)) * images_of(a, card, "select")
    without_curve = looks * sum(row.flops for row in rows_of(a))  # of the second task, which is the first
    assert cost(twin, card).flops == 2 * cost(a, card).flops - without_curve
    assert (run.scored, twin.scored, fused(a, 3).scored) == ((0, 1), (0,), (0,))


def test_more_than_two_tasks_and_inputs(where: Where, bases: tuple[Run, Run]) -> None:
    a, b = bases
    domains = asking(find.card("emoji"), b.half, "domain")
    three = replace(a, treatment="joint", cut=2, partners=(b.half, domains))
    inputs = fused(a, 5)
    inputs = replace(inputs, partners=(*inputs.partners, replace(inputs.half, domain=("emojione",), input="z")))
    train(where, [three])
    train(where, [inputs])
    assert len(record(where, three)["tasks"]) == 2
    assert len(record(where, inputs)["fusion"]["exchanged"]) == 3
    assert (three.name, inputs.name) == ("ABB2A", "xyz5A")


def test_what_fused_networks_make_of_their_inputs(where: Where, bases: tuple[Run, Run]) -> None:
    a, _ = bases
    late, early = fused(a, 7), fused(a, 0)
    train(where, [late, early])
    for run in (late, early):
        fusion = record(where, run)["fusion"]
        assert len(fusion["exchanged"]) == 2
        assert fusion["emap"]["pairs"] == fusion["emap"]["examples"] ** 2 == 50**2
    emap = record(where, late)["fusion"]["emap"]
    assert emap["full"] == emap["additive"] == record(where, late)["metrics"]["test_top1"]  # a linear head adds up
    assert min(record(where, late)["fusion"]["exchanged"]) < record(where, late)["metrics"]["test_top1"]


@pytest.mark.parametrize(("drawn", "alike"), [("same", True), ("afresh", False)])
def test_second_inputs_of_the_same_picture(drawn: str, alike: bool, where: Where, bases: tuple[Run, Run]) -> None:
    run = fused(bases[0], 3, "twemoji", drawn=drawn)
    given, stream = first_batch(where, run)
    one, other = given.images
    assert one is not None
    assert other is not None
    assert torch.equal(one.pixels, other.pixels) == alike
    if not alike:  # other crops of the same rows
        assert (stream.pairs[1] == torch.arange(len(stream.pairs[1])).numpy()).all()


def test_an_exchanged_input_is_another_examples(where: Where, bases: tuple[Run, Run]) -> None:
    run = fused(bases[0], 3, drawn="exchanged")
    for epoch in range(3):
        order = exchanged(75, run, run.partners[0], "train", epoch)
        assert sorted(order) == list(range(75))
        assert (order != torch.arange(75).numpy()).all()


def first_batch(where: Where, run: Run) -> tuple[Given, Partners]:
    stream = Stream(store.of(run.half, where.stores), run)
    partners = Partners(stream, lambda half: store.of(half, where.stores))
    return partners.read(0, stream.shown(0)), partners


def test_shuffled_labels_keep_the_number_of_each(where: Where, bases: tuple[Run, Run]) -> None:
    half = bases[1].half
    images = store.of(half, where.stores)
    for name in ("train", "select", "test"):
        rows, labels = images.rows(half, name)
        shuffled = images.rows(replace(half, shuffled=True), name)
        assert (rows == shuffled[0]).all()
        assert sorted(labels) == sorted(shuffled[1])
        assert (labels == shuffled[1]).mean() < 0.5


def test_inputs_without_a_common_example_are_refused(where: Where, bases: tuple[Run, Run]) -> None:
    run = fused(bases[0], 3)
    images = store.of(run.half, where.stores)
    with pytest.raises(BadInput, match="inputs x and y have no common train example"):
        pairs(images, run.half, replace(images, numbers=images.numbers + 100), run.partners[0], "train")


WRONG: dict[str, tuple[Callable[[Run, Run], Run], str]] = {
    "no partners": (lambda a, b: replace(a, treatment="joint"), "treatment 'joint' with no partners"),
    "a base with partners": (lambda a, b: replace(a, partners=(b.half,)), "treatment 'base' with partners"),
    "beyond the last": (lambda a, b: joint(a, 8, b), "no cut 8; choose from: 0 .the input., 1 .conv1."),
    "below the first": (lambda a, b: joint(a, -1, b), "no cut -1"),
    "other classes": (lambda a, b: replace(fused(a, 3), partners=(b.half,)), "no common example: classes differ"),
    "join of outputs": (lambda a, b: with_recipe(fused(a, 3), join="logits"), "at n = 3 choose from: concat, mean"),
    "join of tasks": (lambda a, b: joint(a, 3, b, join="mean"), "recipe.join is for inputs"),
    "step of inputs": (lambda a, b: with_recipe(fused(a, 3), step="1/1"), "recipe.step is for joint tasks"),
    "numbers": (lambda a, b: joint(a, 3, b, weighting="1/2/3"), "has numbers for 3 of 2 tasks"),
    "never": (lambda a, b: joint(a, 3, b, step="0/1"), "never trains the first task"),
    "no number": (lambda a, b: joint(a, 3, b, step="often"), "recipe.step is 'often', but must be 'all'"),
    "of a base": (lambda a, b: with_recipe(a, gradient="sum"), "a network with one task and one input"),
    "division": (lambda a, b: fused(a, 3, division=1), "a division above 0 exchanges"),
    "an input as a task": (
        lambda a, b: joint(a, 3, replace(b, half=replace(b.half, grey=True))),
        "task B is drawn as a further input",
    ),
}


def with_recipe(run: Run, **values: Any) -> Run:
    return replace(run, recipe=run.recipe.with_values(values))


@pytest.mark.parametrize("what", WRONG)
def test_bad_runs_are_refused(what: str, bases: tuple[Run, Run]) -> None:
    make, message = WRONG[what]
    with pytest.raises(BadInput, match=message):
        make(*bases)
