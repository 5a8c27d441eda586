"""The torch-free table of networks agrees with the modules that are trained, and costs with sums done by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yosinski.data.card import Card
from yosinski.data.half import Half
from yosinski.experiment.cost import cost, images, in_pack, memory, standing, stored
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import TreatmentName
from yosinski.networks.architectures import ARCHITECTURES, Architecture, Conv, Linear, Pool, SegmentCost
from yosinski.networks.batch import Batch
from yosinski.networks.build import build
from yosinski.networks.layers import PooledReLU

CARD = Card(
    name="toy",
    fingerprint="f00d",
    side=32,
    classes=tuple("abcdef"),
    domains=("ink", "oil", "wax"),
    default_domain=("ink", "oil"),
    unseen=("wax",),
    images={"train": 15, "select": 5, "test": 10},
)
RECIPE = Recipe(
    epochs=2.0,
    batch_size=8,
    learning_rate=0.1,
    warmup=0.2,
    momentum=0.9,
    weight_decay=0.0,
    clip=0.0,
    augment=True,
    shift=2,
    initialiser="kaiming",
    evaluations=4,
)
BASE = Run("alexnet32", Half("toy", "f00d", ("a", "b", "c"), ("ink", "oil")), RECIPE)


def test_a_table_done_by_hand() -> None:
    tiny = Architecture(side=7, segments=(Conv("stem", 4, kernel=5, stride=2, pool=Pool(2, 2)), Linear("hidden", 6)))
    assert tiny.costs(outputs=2) == [
        # 3 * 5 * 5 * 4 weights and 4 biases at 4 x 4 places (every second of 7), pooled to 2 x 2
        SegmentCost("stem", 304, 2 * 300 * 16, (4, 2, 2)),
        SegmentCost("hidden", 4 * 2 * 2 * 6 + 6, 2 * 96, (6,)),
        SegmentCost("head", 6 * 2 + 2, 2 * 12, (2,)),
    ]


def test_alexnet32_is_as_described() -> None:
    rows = ARCHITECTURES["alexnet32"].costs(outputs=100)
    assert [row.name for row in rows] == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "head"]
    assert [row.shape for row in rows] == [
        (16, 8, 8),
        (32, 4, 4),
        (48, 4, 4),
        (48, 4, 4),
        (32, 4, 4),
        (128,),
        (128,),
        (100,),
    ]
    assert [row.parameters for row in rows] == [1216, 4640, 13872, 20784, 13856, 65664, 16512, 12900]


def test_caffenet_is_the_papers() -> None:
    rows = ARCHITECTURES["caffenet"].costs(outputs=1000)
    shapes = [(96, 27, 27), (256, 13, 13), (384, 13, 13), (384, 13, 13), (256, 6, 6), (4096,), (4096,), (1000,)]
    assert [row.shape for row in rows] == shapes
    assert [row.name for row in rows] == list(ARCHITECTURES["caffenet"].paper)
    assert [row.parameters for row in rows][:5] == [34944, 307456, 885120, 663936, 442624]
    assert sum(row.parameters for row in rows) == 60_965_224
    # Multiply-adds: 105,415,200 in conv1, then 223,948,800, 149,520,384, 112,140,288, 74,760,192, and every weight of
    # the fully connected layers once.
    assert sum(row.flops for row in rows) == 2 * (665_784_864 + 9216 * 4096 + 4096 * 4096 + 4096 * 1000)


@pytest.mark.parametrize("side", range(3, 12))
@pytest.mark.parametrize("pool", [Pool(2, 2), Pool(3, 2), Pool(3, 1), Pool(3, 3)], ids=str)
def test_pooling_counts_windows_that_stick_out(pool: Pool, side: int) -> None:
    starts = [at for at in range(0, side, pool.stride) if at == 0 or at - pool.stride + pool.size < side]
    assert pool(side) == len(starts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 3), (3, 2), (3, 1)])
def test_pooled_relu_has_the_bits_of_its_two_layers(size: int, stride: int, side: int, dtype: torch.dtype) -> None:
    """Also with ties, zeros of both signs, values that are not finite, and gradients that are zero.

    Where no gradient is wanted it has their values; signs of zeros may differ.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([-2.0, -1.0, -0.0, 0.0, 1.0, 1.0, 2.0, math.inf, math.nan], dtype=dtype)
    x = drawn[torch.randint(len(drawn), (4, 24, side, side), generator=generator)].to(memory_format=torch.channels_last)
    above = torch.tensor([-1.0, -0.0, 0.0, 1.5], dtype=dtype)
    found = []
    for layers in (
        PooledReLU(size, stride),
        nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(size, stride, ceil_mode=True)),
    ):
        leaf = x.clone().requires_grad_()
        pooled = layers(leaf * 1)
        given = above[torch.randint(len(above), pooled.shape, generator=torch.Generator().manual_seed(1))]
        pooled.backward(given)
        assert leaf.grad is not None
        with torch.no_grad():
            evaluated = layers(x * 1)
        assert evaluated.stride() == pooled.stride()
        assert torch.equal(evaluated.nan_to_num(nan=-1), pooled.nan_to_num(nan=-1))
        found.append([tensor.detach().contiguous().view(torch.uint8) for tensor in (pooled, leaf.grad)])
    assert all(map(torch.equal, *found))
    assert found[0][1].any()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("classes", [2, 100])
def test_the_table_agrees_with_the_modules(name: str, classes: int) -> None:
    architecture = ARCHITECTURES[name]
    rows, network = architecture.costs(classes), build(name, classes)
    assert [row.name for row in rows] == [child for child, _ in network.named_children()]
    features = Batch.whole(torch.zeros(2, 3, architecture.side, architecture.side, dtype=torch.uint8))
    for row, segment in zip(rows, network, strict=True):
        assert row.parameters == sum(p.numel() for p in segment.parameters()), row.name
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            features = segment(features)
        assert features.shape == (2, *row.shape), row.name
        assert counted.get_total_flops() == 2 * row.flops, row.name


@pytest.mark.parametrize("frozen", range(8))
def test_forward_and_backward_cost_what_torch_counts(frozen: int) -> None:
    """Backward twice the forward, less the gradient of the lowest trained segment's input, which nobody needs."""
    rows, network = ARCHITECTURES["alexnet32"].costs(3), build("alexnet32", 3)
    network[:frozen].requires_grad_(False)
    with FlopCounterMode(display=False) as counted:
        network(Batch.whole(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))).sum().backward()
    forward, trained = sum(row.flops for row in rows), sum(row.flops for row in rows[frozen:])
    assert counted.get_total_flops() == forward + 2 * trained - rows[frozen].flops


def test_images_are_counted_from_the_card() -> None:
    assert images(BASE, CARD, "train") == 3 * 2 * 15
    assert images(BASE, CARD, "select") == 3 * 2 * 5
    assert images(BASE, CARD, "test", domains=CARD.unseen) == 3 * 10
    few, many = replace(BASE, examples_per_class=4), replace(BASE, examples_per_class=1000)
    assert [images(few, CARD, name) for name in ("train", "select")] == [12, 30]
    assert images(many, CARD, "train") == 90
    plain = replace(CARD, domains=(), default_domain=(), unseen=())
    assert images(replace(BASE, half=replace(BASE.half, domain=())), plain, "train") == 3 * 15


def test_classes_may_have_different_numbers_of_images() -> None:
    uneven = {"train": (7, 2, 9, 100, 100, 100), "select": 5, "test": (1, 2, 3, 4, 5, 6)}
    card = replace(CARD, images=uneven, domains=(), default_domain=(), unseen=())
    base = replace(BASE, half=replace(BASE.half, classes=("c", "a", "b"), domain=()))
    assert [images(base, card, name) for name in ("train", "select", "test")] == [18, 15, 6]
    assert images(replace(base, examples_per_class=3), card, "train") == 3 + 2 + 3
    assert images(BASE, replace(CARD, images=uneven), "train") == 2 * 18
    assert cost(base, card).steps == 2 * (18 // 8)
    assert (card.total("train"), card.total("select"), CARD.total("test")) == (318, 30, 6 * 3 * 10)


# Forward FLOPs of one image of alexnet32 with three classes, segment by segment: 2 * weights * places.
FORWARD = [
    2 * 1200 * 256,
    2 * 4608 * 64,
    2 * 13824 * 16,
    2 * 20736 * 16,
    2 * 13824 * 16,
    2 * 65536,
    2 * 16384,
    2 * 384,
]
# 90 training images in batches of 8: 11 steps per epoch, 22 in all; 4 evaluations of 30 select images and a last one,
# 60 test images and 30 unseen ones once.
STEPS, EVALUATED = 22, (4 + 1) * 30 + 60 + 30


def test_a_base_costs_what_a_sum_by_hand_says() -> None:
    found = cost(BASE, CARD)
    assert found.parameters == found.trained_parameters == 136931
    assert found.steps == STEPS
    assert found.flops == STEPS * 8 * 3 * sum(FORWARD) + EVALUATED * sum(FORWARD)


def test_outputs_are_paid_for_whether_a_class_has_them_or_not() -> None:
    wide = cost(replace(BASE, recipe=RECIPE.with_values({"outputs": 1000})), CARD)
    assert wide.parameters == 136931 + 997 * 129


def test_preserved_segments_are_trained() -> None:
    copy = BASE.copy(3, "frozen", BASE)
    assert cost(replace(copy, preserved=2), CARD) == cost(copy, CARD)


def test_a_frozen_copy_costs_no_backward_below_its_cut() -> None:
    other = replace(BASE, half=replace(BASE.half, classes=("d", "e", "f")))
    frozen, tuned = cost(other.copy(5, "frozen", BASE), CARD), cost(other.copy(5, "tuned", BASE), CARD)
    assert tuned == cost(other, CARD)
    assert frozen.parameters == tuned.parameters
    assert frozen.trained_parameters == 65664 + 16512 + 387
    assert tuned.flops - frozen.flops == STEPS * 8 * 2 * sum(FORWARD[:5])
    assert cost(other.copy(5, "random", below="xavier"), CARD) == frozen


def test_what_is_stored_is_computed_once_per_view() -> None:
    below, few = sum(FORWARD[:5]), RECIPE.with_values({"views": 2})
    copies = [replace(BASE.copy(5, treatment, BASE), recipe=few) for treatment in ("frozen", "probed", "tuned")]
    plain = [cost(replace(copy, recipe=RECIPE), CARD) for copy in copies]
    saved = [before.flops - cost(copy, CARD).flops for before, copy in zip(plain, copies, strict=True)]
    once = 2 * 90 + 30
    assert saved == [(STEPS * 8 + 150 - once) * below, (STEPS * 8 + 150 - 2 * once) * below // 2, 0]
    assert stored(copies, {BASE.half.data: CARD}) == 4 * 32 * 16 * once  # 32 channels of 4 x 4, shared by two of them
    others = [replace(copies[0], examples_per_class=5), replace(copies[0], seed=1), replace(copies[0], cut=7)]
    assert stored(others, {BASE.half.data: CARD}) == 4 * (32 * 16 * (2 * 15 + 30) + (32 * 16 + 128) * once)
    assert stored([BASE, *(replace(copy, recipe=RECIPE) for copy in copies)], {BASE.half.data: CARD}) == 0
    kinds: list[dict[str, Any]] = [{}, {"mirror": False}, {"shift": 0, "least_area": 0.5}, {"label_smoothing": 0.1}]
    shown = [
        replace(copies[0], recipe=few.with_values(values)) for values in kinds
    ]  # the last one's crops are the first's
    assert stored(shown, {BASE.half.data: CARD}) == 3 * stored(copies[:1], {BASE.half.data: CARD})


def test_few_examples_are_one_batch_and_a_half_that_knows_all_domains_has_no_unseen_ones() -> None:
    few = cost(replace(BASE, examples_per_class=2), CARD)
    assert few.steps == 2  # 6 images are one batch
    assert few.flops == (2 * 6 * 3 + 3 * 30 + 60 + 30) * sum(FORWARD)  # two steps: two evaluations, and a last one
    knows = cost(replace(BASE, half=replace(BASE.half, domain=("wax",))), CARD)
    assert knows.steps == 2 * 5
    assert knows.flops == (10 * 8 * 3 + 5 * 15 + 30) * sum(FORWARD)


@pytest.mark.parametrize("views", [0, 2])
@pytest.mark.parametrize("treatment", ["base", "frozen", "tuned", "decayed", "thawed", "single", "random"])
def test_a_run_trained_alone_causes_what_it_costs(treatment: TreatmentName, views: int) -> None:
    run = replace(BASE, recipe=RECIPE.with_values({"views": views, "batch_size": 9, "thaw": 1.0}))
    if treatment == "random":
        run = run.copy(3, treatment, below="kaiming")
    elif treatment != "base":
        run = run.copy(3, treatment, BASE)
    assert in_pack([run], CARD) == [pytest.approx(cost(run, CARD).flops, rel=0.02 if treatment == "thawed" else 1e-9)]


def test_runs_of_a_pack_share_what_is_computed_once() -> None:
    """STEPS batches of 8, five looks at the 30 select images (the last one with 60 test and 30 unseen ones)."""
    other = replace(BASE, seed=5)
    pack = [BASE.copy(2, "frozen", BASE), BASE.copy(5, "frozen", BASE), BASE.copy(5, "tuned", BASE)]
    pack += [BASE.copy(2, "frozen", other), BASE.copy(2, "random", below="kaiming")]
    shown, looked = STEPS * 8, 5 * 30 + 60 + 30
    low, middle, high = sum(FORWARD[:2]), sum(FORWARD[2:5]), sum(FORWARD[5:])
    alone = shown * 3 * (middle + high) + looked * (middle + high) + (shown + looked) * low
    assert in_pack(pack, CARD) == pytest.approx(
        [
            alone - (shown + looked) * low / 2,
            shown * 3 * high + looked * high + (shown + looked) * (low / 2 + middle),
            (3 * shown + looked) * (low + middle + high),
            alone,
            alone,
        ]
    )
    assert in_pack(pack[:1], CARD) == pytest.approx([alone])


def test_stored_features_are_made_once_for_a_pack() -> None:
    stands = replace(BASE, recipe=RECIPE.with_values({"views": 2}))
    pack = [stands.copy(5, "frozen", BASE), stands.copy(5, "probed", BASE)]
    below, above, once = sum(FORWARD[:5]), sum(FORWARD[5:]), 2 * 90 + 30
    shown, looked, tested = STEPS * 8, 5 * 30, 60 + 30
    frozen = 3 * shown * above + looked * above + tested * (below + above) + once * below / 2
    assert in_pack(pack, CARD)[0] == pytest.approx(frozen)
    probed = frozen + (3 * shown / 2 + 3 * 30) * below  # in the second half, with two looks and the last one
    assert in_pack(pack, CARD)[1] == pytest.approx(probed)


def test_features_larger_than_pixels_are_computed() -> None:
    """conv1 of alexnet32 has 16 x 8 x 8 floats, 4096 bytes for 3072 of pixels; those of caffenet 227 x 227 x 3."""
    recipe = RECIPE.with_values({"views": 2})
    for network, stands in (("alexnet32", [2, 3, 4, 5, 6, 7]), ("caffenet", [5, 6, 7])):
        base = replace(BASE, network=network)
        copies = [replace(base, recipe=recipe).copy(n, "frozen", base) for n in range(1, 8)]
        assert [copy.cut for copy in copies if standing(copy)] == stands
        assert [copy.cut for copy in copies if stored([copy], {"toy": CARD})] == stands
        assert not standing(copies[-1].parent or base)


def test_memory_of_a_pack_done_by_hand() -> None:
    """Weights and momenta, and of a step the gradients and the outputs between the cut and the last segment."""
    without, with_momentum = (replace(BASE, recipe=replace(RECIPE, momentum=value)) for value in (0.0, 0.9))
    rows = ARCHITECTURES["alexnet32"].costs(outputs=3)
    every = sum(row.parameters for row in rows)
    values = 16 * 8 * 8 + 32 * 4 * 4 + 48 * 4 * 4 + 48 * 4 * 4 + 32 * 4 * 4 + 128  # all but fc7
    assert memory([without], CARD) == 4 * (2 * every + 8 * values)
    assert memory([with_momentum], CARD, 2) == 4 * 3 * every + 8 * 2 * values
    frozen, tuned = (with_momentum.copy(5, treatment, BASE) for treatment in ("frozen", "tuned"))
    above = sum(row.parameters for row in rows[5:])
    assert memory([frozen], CARD) == 4 * (every + 2 * above + 8 * 128)
    assert memory([frozen, tuned], CARD) - memory([tuned], CARD) == 4 * (every + above)
    adam = replace(with_momentum, recipe=RECIPE.with_values({"optimiser": "adamw"}))
    assert memory([adam], CARD) - memory([with_momentum], CARD) == 4 * every
