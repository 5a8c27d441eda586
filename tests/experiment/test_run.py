"""Specs: what is in a run's id and what is not, and which specs are refused."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from yosinski.data.half import Half
from yosinski.errors import BadInput, choose
from yosinski.experiment.recipes import MODERN, PAPER, PAPER_REDUCED, Recipe
from yosinski.experiment.run import Run
from yosinski.identity import as_before, canonical, digest, every, later

RECIPE = Recipe(
    epochs=4.0,
    batch_size=8,
    learning_rate=0.1,
    warmup=0.25,
    momentum=0.9,
    weight_decay=0.0005,
    clip=1.0,
    augment=True,
    shift=2,
    initialiser="kaiming",
    evaluations=4,
)
A = Half("emoji", "f00d", ("ant", "bat", "cat"), ("noto",), "A", "random:0")
B = Half("emoji", "f00d", ("bed", "bus", "key"), ("noto",), "B", "random:0")
BASE = Run("alexnet32", A, RECIPE, seed=1)
COPY = Run("alexnet32", B, RECIPE, 0, "frozen", 3, BASE)


def test_ids_are_stable() -> None:
    # Written down once: a change here orphans all records that exist, unless `SEMANTICS` is meant to be bumped.
    assert A.digest == "47474cf801365e24"
    assert RECIPE.digest == "88755969f3c20fb2"
    assert BASE.id == "379d1b818b2d93c8"
    assert COPY.id == "2d1681452d56e33f"


def test_the_spec_of_a_copy_is_spelled_out() -> None:
    assert COPY.spec == {
        "semantics": 3,
        "network": "alexnet32",
        "half": B.digest,
        "source": A.digest,
        "recipe": {
            "epochs": 4.0,
            "batch_size": 8,
            "learning_rate": 0.1,
            "warmup": 0.25,
            "momentum": 0.9,
            "weight_decay": 0.0005,
            "clip": 1.0,
            "augment": True,
            "shift": 2,
            "initialiser": "kaiming",
            "evaluations": 4,
            "iterations": 0,
            "schedule": "cosine",
            "step_every": 0,
            "gamma": 1.0,
            "solver": "nesterov",
            "bias_rate": 1.0,
            "bias_decay": 1.0,
            "mean": "channel",
            "scale": True,
            "outputs": 0,
            "dropout_below": False,
            "norm_below": "frozen",
            "affine_below": False,
            "layer_decay": 0.5,
            "probe": 0.5,
            "thaw": 0.5,
            "views": 0,
        },
        "seed": 0,
        "treatment": "frozen",
        "cut": {"n": 3, "name": "conv3"},
        "below": None,
        "preserved": 0,
        "examples_per_class": None,
        "parent": BASE.id,
    }


def test_canonical_json_sorts_keys_and_refuses_nan() -> None:
    assert canonical({"b": (1, 2.0), "a": "é"}) == '{"a":"\\u00e9","b":[1,2.0]}'
    # printf '%s' '{}' | sha256sum
    assert digest({}) == "44136fa355b3678a"
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(math.nan)


def test_letter_split_and_the_datas_name_are_not_in_the_id() -> None:
    elsewhere = Half("a copy of emoji", "f00d", A.classes, A.domain, "Q", "mine.json")
    assert replace(BASE, half=elsewhere).id == BASE.id
    assert elsewhere == A
    assert replace(COPY, parent=replace(BASE, half=elsewhere)).id == COPY.id


@pytest.mark.parametrize(
    "half",
    [
        replace(A, fingerprint="beef"),
        replace(A, classes=("ant", "bat", "cow")),
        replace(A, classes=("bat", "ant", "cat")),  # the labels are another's
        replace(A, domain=("twemoji",)),
        replace(A, domain=()),
    ],
)
def test_data_classes_and_domain_are_in_the_id(half: Half) -> None:
    assert half.digest != A.digest
    assert half != A
    assert replace(BASE, half=half).id != BASE.id
    assert replace(COPY, half=half).id != COPY.id
    assert replace(COPY, parent=replace(BASE, half=half)).id != COPY.id


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"treatment": "tuned"},
        {"cut": 4},
        {"examples_per_class": 5},
        {"preserved": 1},
        {"parent": replace(BASE, seed=2)},
        {"treatment": "random", "parent": None, "below": "kaiming"},
    ],
)
def test_every_field_of_a_run_changes_its_id(change: dict[str, Any]) -> None:
    assert replace(COPY, **change).id != COPY.id


LATER = (  # each of the values that came when there were records already
    {"mirror": False},
    {"least_area": 0.08, "shift": 0},
    {"most_area": 0.5, "least_area": 0.25, "shift": 0},
    {"aspect": 1.5, "least_area": 0.25, "shift": 0},
    {"optimiser": "adamw"},
    {"label_smoothing": 0.1},
    {"step": "0.7/0.3"},
    {"gradient": "sum"},
    {"weighting": "uncertainty"},
    {"join": "mean"},
    {"beta": 0.25, "join": "multiplicative"},
    {"length": 16},
)
CHANGES = (
    {"epochs": 5.0},
    {"iterations": 7, "epochs": 0.0},
    {"batch_size": 9},
    {"learning_rate": 0.2},
    {"warmup": 0.0},
    {"schedule": "step", "warmup": 0.0, "step_every": 4},
    {"step_every": 5, "schedule": "step", "warmup": 0.0},
    {"gamma": 0.5, "schedule": "step", "warmup": 0.0, "step_every": 4},
    {"solver": "caffe", "schedule": "step", "warmup": 0.0, "step_every": 4},
    {"momentum": 0.0},
    {"weight_decay": 0.0},
    {"bias_rate": 2.0},
    {"bias_decay": 0.0},
    {"clip": 0.0},
    {"augment": False},
    {"shift": 0},
    {"mean": "image", "shift": 0},
    {"scale": False},
    {"initialiser": "xavier"},
    {"outputs": 1000},
    {"dropout_below": True},
    {"norm_below": "recalibrated"},
    {"affine_below": True},
    {"layer_decay": 0.9},
    {"probe": 0.25},
    {"thaw": 0.25},
    {"views": 2},
    {"evaluations": 5},
    *LATER,
)


def as_run(recipe: Recipe) -> Run:
    """A run that the recipe is for: of joint tasks, of fused inputs, or a base."""
    values = recipe.values.keys()
    if values & {"step", "gradient", "weighting"}:
        return replace(BASE, recipe=recipe, treatment="joint", partners=(B,))
    if values & {"join", "beta"}:
        return replace(BASE, recipe=recipe, treatment="fused", cut=7, partners=(replace(A, drawn="afresh"),))
    if "length" in values:
        return replace(BASE, network="textnet", half=replace(A, data="words:en"), recipe=recipe.read("texts"))
    return replace(BASE, recipe=recipe)


def test_every_value_of_the_recipe_changes_the_id() -> None:
    assert {next(iter(values)) for values in CHANGES} == set(asdict(RECIPE))
    for values in CHANGES:
        assert asdict(RECIPE.with_values(values)) == {**asdict(RECIPE), **values}
    recipes = [RECIPE, *map(RECIPE.with_values, CHANGES)]
    assert len({as_run(recipe).id for recipe in recipes}) == len(recipes)


def test_values_that_came_later_are_in_ids_and_specs_only_where_they_are_not_as_before() -> None:
    assert {next(iter(values)) for values in LATER} == as_before(Recipe).keys()
    first = asdict(RECIPE).keys() - as_before(Recipe).keys()
    assert RECIPE.values.keys() == COPY.spec["recipe"].keys() == first
    assert RECIPE.with_values(as_before(Recipe)).digest == RECIPE.digest
    for values in LATER:
        recipe = RECIPE.with_values(values)
        added = {name: value for name, value in values.items() if value != getattr(RECIPE, name) and name != "shift"}
        assert {name: recipe.values[name] for name in recipe.values.keys() - first} == added
        assert Recipe(**recipe.values) == recipe
        assert every(Recipe, recipe.values) == asdict(recipe)
    for name, value in as_before(Recipe).items():  # a default that changed would give the old records another meaning
        assert getattr(RECIPE, name) == value


@dataclass(frozen=True)
class Wider(Run):
    """A run as it may be one day."""

    width: int = later(1)


def test_fields_of_a_run_that_come_later_change_ids_only_where_they_are_not_as_before() -> None:
    about = {name: getattr(COPY, name) for name in Run.__dataclass_fields__}
    as_ever, wider = Wider(**about), Wider(**about, width=2)
    assert as_ever.spec == COPY.spec
    assert as_ever.id == COPY.id
    assert wider.spec == {**COPY.spec, "width": 2}
    assert wider.id != COPY.id


def test_equal_recipes_have_equal_digests() -> None:
    whole = replace(RECIPE, epochs=4)  # as a user's own sweep may well say
    assert whole == RECIPE
    assert whole.digest == RECIPE.digest


def test_names_are_the_papers() -> None:
    selffer_base = replace(BASE, half=B)
    assert BASE.name == "baseA"
    assert COPY.name == "A3B"
    assert replace(COPY, treatment="tuned").name == "A3B+"
    assert replace(COPY, parent=selffer_base).name == "B3B"
    assert BASE.copy(2, "random", below="gaussian").name == "R2A"
    assert BASE.copy(2, "random", COPY.parent, below="matched").name == "R2A"
    assert replace(COPY, preserved=2).name == "A3+2B"
    assert replace(COPY, treatment="thawed").name == "A3B+thawed"
    assert COPY.named("1-7") == "A1-7B"
    assert replace(BASE, half=replace(A, letter="")).name == "base" + A.digest[:4]
    assert str(BASE) == f"baseA ({BASE.id[:8]})"


def test_role_frozen_and_selffer_follow_from_the_treatment() -> None:
    tuned, random = replace(COPY, treatment="tuned"), BASE.copy(2, "random", below="gaussian")
    assert [run.role for run in (BASE, COPY, tuned, random)] == ["base", "copy", "copy", "copy"]
    assert [run.held(1.0) for run in (BASE, COPY, tuned, random)] == [0, 3, 0, 2]
    assert [run.selffer for run in (BASE, COPY, tuned, random)] == [False, False, False, False]
    assert replace(COPY, parent=replace(BASE, half=replace(B, letter="X"))).selffer


def test_what_is_trained_when_follows_from_the_treatment() -> None:
    def begins(treatment: str) -> list[float]:
        run = replace(COPY, treatment=treatment)
        return [run.begins(n) for n in range(1, 9)]

    never = math.inf
    assert begins("frozen") == [never] * 3 + [0.0] * 5
    assert begins("tuned") == begins("decayed") == [0.0] * 8
    assert begins("probed") == [0.5] * 3 + [0.0] * 5
    assert begins("thawed") == pytest.approx([0.5, 1 / 3, 1 / 6] + [0.0] * 5)
    assert begins("single") == [never, never, 0.0, *[never] * 4, 0.0]
    thawed, single = replace(COPY, treatment="thawed"), replace(COPY, treatment="single")
    assert [thawed.held(done) for done in (0.0, 0.1, 0.2, 0.4, 0.5, 1.0)] == [3, 3, 2, 1, 0, 0]
    assert (thawed.held(1.0), thawed.fixed, thawed.kept) == (0, (), 3)
    assert (single.held(1.0), single.fixed, single.kept) == (2, (1, 2, 4, 5, 6, 7), 7)
    assert replace(COPY, preserved=2).kept == 5
    assert [replace(COPY, treatment="decayed").pace(n) for n in range(1, 6)] == [0.125, 0.25, 0.5, 1, 1]
    assert [COPY.pace(n) for n in range(1, 6)] == [1] * 5


def test_both_parts_of_a_probed_training_have_the_whole_schedule() -> None:
    probed = replace(COPY, treatment="probed", recipe=RECIPE.with_values({"probe": 0.3}))
    parts = [RECIPE.rate(step, 3) for step in range(3)] + [RECIPE.rate(step, 7) for step in range(7)]
    assert [probed.rate(step, 10) for step in range(10)] == parts
    assert [COPY.rate(step, 10) for step in range(10)] == [RECIPE.rate(step, 10) for step in range(10)]


def test_a_copy_has_the_bases_target_recipe_and_seed() -> None:
    base = replace(BASE, half=B, seed=0)
    assert base.copy(3, "frozen", BASE) == COPY


@pytest.mark.parametrize("cut", [-1, 0, 8])
def test_a_bad_cut_lists_the_valid_ones(cut: int) -> None:
    valid = r"1 \(conv1\), 2 \(conv2\), 3 \(conv3\), 4 \(conv4\), 5 \(conv5\), 6 \(fc6\), 7 \(fc7\)"
    with pytest.raises(BadInput, match=f"alexnet32 has no cut {cut}; choose from: {valid}$"):
        replace(COPY, cut=cut)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treatment": "base"}, "a base is not cut, but cut 3 was asked for"),
        ({"treatment": "base", "cut": 0}, "'base' with a parent"),
        ({"parent": None}, "'frozen' without a parent"),
        ({"treatment": "tuned", "parent": None}, "'tuned' without a parent"),
        ({"treatment": "random", "below": "xavier"}, "'random' and below 'xavier' with a parent"),
        ({"treatment": "random", "below": "matched", "parent": None}, "'random' and below 'matched' without a parent"),
        ({"treatment": "outside", "cut": 0}, "'outside' with a parent"),
        ({"parent": COPY}, "must be a base of the same network, not A3B"),
        ({"below": "xavier"}, "belongs to treatment 'random', and only there"),
        ({"treatment": "random", "parent": None}, "belongs to treatment 'random', and only there"),
        ({"treatment": "random", "parent": None, "below": "he"}, "of alexnet32 'he'; choose from: kaiming"),
        ({"treatment": "melted"}, "unknown treatment 'melted'; choose from: base, outside, frozen, tuned, decayed"),
        ({"network": "vgg"}, "unknown network 'vgg'; near it: vgg"),
        ({"examples_per_class": 0}, "examples per class must be at least 1, not 0"),
        ({"preserved": 5}, r"5 preserved segments: .* from 1 to N - n of them \(cut n = 3, alexnet32 has N = 7"),
        ({"preserved": -1}, "-1 preserved segments: only a frozen copy has them"),
        ({"treatment": "tuned", "preserved": 1}, "1 preserved segments: only a frozen copy has them"),
        ({"recipe": RECIPE.with_values({"outputs": 2})}, "recipe.outputs is 2: too few for the 3 classes of half B"),
        ({"recipe": RECIPE.with_values({"scale": False})}, "recipe.scale must be the same in both"),
        ({"recipe": RECIPE.with_values({"mean": "image", "shift": 0})}, "recipe.mean must be the same in both"),
        (
            {"recipe": RECIPE.with_values({"initialiser": "paper"})},
            "unknown initialiser of alexnet32 'paper'; choose from: kaiming, xavier, orthogonal, gaussian$",
        ),
        ({"treatment": "random", "parent": None, "below": "own"}, "initialiser of alexnet32 'own'; choose"),
    ],
)
def test_treatment_parent_and_initialiser_must_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        replace(COPY, **change)


def test_outputs_are_the_recipes_or_one_per_class() -> None:
    assert COPY.outputs == 3
    assert replace(COPY, recipe=RECIPE.with_values({"outputs": 1000})).outputs == 1000


def test_images_of_other_sizes_than_the_network_sees_are_refused_by_name() -> None:
    BASE.check_side(32)
    BASE.check_side(64)
    for side in (31, 65, 256):
        message = (
            f"alexnet32 sees 32 x 32 pixels at a time, emoji has {side} x {side}: choose another network, or store"
        )
        with pytest.raises(BadInput, match=message):
            BASE.check_side(side)


def test_a_half_needs_two_classes_each_once() -> None:
    with pytest.raises(BadInput, match="half A has 1 class"):
        replace(A, classes=("ant",))
    with pytest.raises(BadInput, match="half A names these classes twice: ant, cat"):
        replace(A, classes=("cat", "ant", "bat", "ant", "cat"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "unknown recipe value 'epoch'; choose from: epochs, batch_size, learning_rate"),
        ({"batch_size": 2.5}, "recipe.batch_size takes a int, not 2.5"),
        ({"batch_size": True}, "recipe.batch_size takes a int, not True"),
        ({"augment": 1}, "recipe.augment takes a bool, not 1"),
        ({"clip": "1"}, "recipe.clip takes a float, not '1'"),
        ({"epochs": True}, "recipe.epochs takes a float, not True"),
        (
            {"initialiser": "he"},
            "unknown initialiser 'he'; choose from: kaiming, xavier, orthogonal, gaussian, paper, own",
        ),
        ({"epochs": 0}, "recipe.epochs is 0 and recipe.iterations 0: one of them must be 0, the other more"),
        ({"iterations": 10}, "recipe.epochs is 4 and recipe.iterations 10: one of them must be 0, the other more"),
        ({"schedule": "linear"}, "unknown recipe.schedule 'linear'; choose from: cosine, step"),
        ({"schedule": "step"}, "step needs recipe.step_every, and has no recipe.warmup"),
        (
            {"schedule": "step", "step_every": 5},
            "step needs recipe.step_every, and has no recipe.warmup",
        ),
        ({"gamma": 0.5}, "recipe.step_every and recipe.gamma belong to recipe.schedule step"),
        ({"step_every": 5}, "recipe.step_every and recipe.gamma belong to recipe.schedule step"),
        ({"gamma": 0.0}, "recipe.gamma must be more than 0"),
        ({"solver": "adam"}, "unknown recipe.solver 'adam'; choose from: nesterov, caffe"),
        ({"solver": "caffe"}, "recipe.solver caffe keeps the rate in its velocity; that needs recipe.schedule step"),
        ({"mean": "pixel"}, "unknown recipe.mean 'pixel'; choose from: channel, image"),
        ({"mean": "image"}, "recipe.mean image has no pixels in the border that recipe.shift adds: that must be 0"),
        ({"learning_rate": 0.0}, "recipe.learning_rate must be more than 0"),
        ({"learning_rate": math.nan}, "recipe.learning_rate is nan, but must be at least 0"),
        ({"epochs": math.inf}, "recipe.epochs is inf"),
        ({"weight_decay": -0.1}, "recipe.weight_decay is -0.1, but must be at least 0"),
        ({"shift": -1}, "recipe.shift is -1, but must be at least 0"),
        ({"batch_size": 0}, "recipe.batch_size is 0, but must be at least 1"),
        ({"evaluations": 0}, "recipe.evaluations is 0, but must be at least 1"),
        ({"norm_below": "none"}, "unknown recipe.norm_below 'none'; choose from: frozen, batch, recalibrated"),
        ({"probe": 0.0}, "recipe.probe is 0, but must be more than 0 and at most 1"),
        ({"thaw": 1.5}, "recipe.thaw is 1.5, but must be more than 0 and at most 1"),
        ({"layer_decay": 0}, "recipe.layer_decay is 0, but must be more than 0"),
        ({"views": 2, "dropout_below": True}, "recipe.views stores features, but with recipe.dropout_below true"),
        ({"views": 2, "norm_below": "batch"}, "recipe.views stores features, but with recipe.norm_below batch"),
        ({"views": 2, "affine_below": True}, "recipe.views stores features, but with recipe.affine_below true"),
        ({"mirror": 0}, "recipe.mirror takes a bool, not 0"),
        ({"mirror": False, "augment": False}, "recipe.mirror false belongs to recipe.augment true"),
        ({"optimiser": "adam"}, "unknown recipe.optimiser 'adam'; choose from: sgd, adamw"),
        (
            {"optimiser": "adamw", "solver": "caffe", "schedule": "step", "warmup": 0.0, "step_every": 4},
            "recipe.solver caffe belongs to recipe.optimiser sgd: with adamw it must be nesterov",
        ),
        ({"label_smoothing": 1}, "recipe.label_smoothing is 1, but must be below 1"),
        ({"label_smoothing": -0.1}, "recipe.label_smoothing is -0.1, but must be at least 0"),
        ({"least_area": 0.1}, "recipe.least_area cuts within stored images, without a border: recipe.shift must be 0"),
        (
            {"least_area": 0.1, "shift": 0, "mean": "image"},
            "recipe.mean image has no pixels for crops that recipe.least_area resizes: it must be channel",
        ),
        ({"least_area": 0.1, "shift": 0, "augment": False}, "recipe.least_area belongs to recipe.augment true"),
        ({"aspect": 1.5}, "recipe.most_area and recipe.aspect belong to recipe.least_area, which is 0: here they must"),
        ({"most_area": 0.5}, "recipe.most_area and recipe.aspect belong to recipe.least_area, which is 0"),
        (
            {"least_area": 0.6, "most_area": 0.5, "shift": 0},
            "recipe.least_area is 0.6 and recipe.most_area 0.5: the first must be at most the second",
        ),
        ({"least_area": 0.6, "most_area": 1.5, "shift": 0}, "recipe.most_area 1.5: .* at most 1, the whole image"),
        ({"least_area": 0.6, "aspect": 0.75, "shift": 0}, "recipe.aspect is 0.75, but must be at least 1"),
        ({"warmup": 1.0}, "must be below 1"),
        ({"momentum": 1}, "must be below 1"),
    ],
)
def test_recipes_refuse_what_makes_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        RECIPE.with_values(values)


def test_with_values_makes_whole_numbers_floats_where_floats_belong() -> None:
    changed = RECIPE.with_values({"epochs": 4, "batch_size": 16})
    assert changed == replace(RECIPE, batch_size=16)
    assert type(changed.epochs) is float
    assert RECIPE.with_values({}) == RECIPE


def test_the_rate_rises_to_the_end_of_the_warmup_and_falls_to_zero() -> None:
    rates = [RECIPE.rate(step, 16) for step in range(16)]
    # Steps 0..3 are the warm-up: 0.1 * (1 - cos(pi k / 4)) / 2 for k = 1, 2, 3, 4.
    assert rates[:4] == pytest.approx([0.0146446609, 0.05, 0.0853553391, 0.1])
    assert rates[9] == pytest.approx(0.05)  # half way down: (10 / 16 - 1 / 4) / (3 / 4) = 1 / 2
    assert rates[15] == pytest.approx(0, abs=1e-15)
    assert rates[:4] == sorted(rates[:4])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert RECIPE.rate(0, 10_000) < 1e-7
    assert replace(RECIPE, warmup=0.0).rate(0, 10_000) == pytest.approx(0.1)


def test_the_rate_drops_in_steps() -> None:
    recipe = RECIPE.with_values({"schedule": "step", "warmup": 0.0, "step_every": 3, "gamma": 0.1})
    assert [recipe.rate(step, 7) for step in range(7)] == pytest.approx([0.1] * 3 + [0.01] * 3 + [0.001])


def test_the_recipe_of_the_paper_is_the_papers() -> None:
    rates = [PAPER.rate(step, 450_000) for step in (0, 99_999, 100_000, 200_000, 300_000, 400_000, 449_999)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-6])
    assert PAPER.steps(645_000) == PAPER.steps(1000) == 450_000
    assert PAPER.evaluated(450_000) == list(range(1000, 450_001, 1000))
    assert PAPER_REDUCED.evaluated(PAPER_REDUCED.steps(1000)) == list(range(1000, 200_001, 1000))
    assert PAPER_REDUCED.rate(63_999, 200_000) == 0.0125
    assert PAPER_REDUCED.rate(64_000, 200_000) == pytest.approx(0.00125)
    assert MODERN.evaluated(MODERN.steps(256 * 2500)) == list(range(2500, 150_001, 2500))


def test_evaluations_are_spread_evenly_and_the_last_is_at_the_end() -> None:
    assert RECIPE.evaluated(40) == [10, 20, 30, 40]
    assert RECIPE.evaluated(10) == [2, 5, 8, 10]
    assert RECIPE.evaluated(3) == [1, 2, 3]
    assert RECIPE.evaluated(1) == [1]


def test_steps_leave_incomplete_batches_out() -> None:
    assert RECIPE.steps(80) == 40  # 4 epochs of 10 batches of 8
    assert RECIPE.steps(87) == 40
    assert RECIPE.steps(5) == 4  # fewer images than a batch: one batch of all
    assert replace(RECIPE, epochs=0.5).steps(80) == 5
    assert replace(RECIPE, epochs=0.01).steps(8) == 1


def test_choose_returns_what_is_valid() -> None:
    assert choose("letter", "b", ("a", "b")) == "b"
    with pytest.raises(BadInput, match=r"^unknown letter 'c'; choose from: a, b$"):
        choose("letter", "c", ("a", "b"))
