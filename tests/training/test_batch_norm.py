"""Networks with batch norm: what stays as it is below a cut, and what the recipe lets change there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from packs import brief
from safetensors.torch import load_file

from sweeps.running.plan import plan
from yosinski import procedure
from yosinski.data import find
from yosinski.data.halves import Split
from yosinski.environment import Where
from yosinski.errors import BadInput
from yosinski.experiment.cost import check_batch
from yosinski.experiment.recipes import Recipe
from yosinski.experiment.run import Run
from yosinski.experiment.treatments import TreatmentName
from yosinski.networks import build
from yosinski.networks.batch import Batch
from yosinski.networks.catalogue import architecture
from yosinski.records import specs, states

NETWORK, CUT = "timm:test_resnet@32", 5  # the stem's three layers and two blocks below the cut
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture(scope="module")
def recipe(small_recipe: Recipe) -> Recipe:
    return small_recipe.with_values({"initialiser": "own", "epochs": 8.0, "evaluations": 2, "learning_rate": 0.1})


@pytest.fixture(scope="module")
def bases(
    tmp_path_factory: pytest.TempPathFactory, stores: Path, small_split: Split, recipe: Recipe
) -> tuple[Where, Run, Run]:
    """Both bases, trained together with nobody."""
    where = Where(tmp_path_factory.mktemp("runs"), stores, device="cpu", precision="float32")
    a, b = (Run(NETWORK, half, recipe) for half in (small_split.a, small_split.b))
    train(where, a)
    train(where, b)
    return where, a, b


def train(where: Where, *runs: Run) -> list[dict[str, torch.Tensor]]:
    """Train a pack; returns the weights of each."""
    for run in runs:
        specs.enrol(where.runs, run)
    procedure.run_pack([run.id for run in runs], where)
    return [load_file(specs.folder(where.runs, run.id) / "weights.safetensors") for run in runs]


def unlike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], run: Run) -> tuple[set[str], set[str]]:
    """Which kinds of tensors differ below the cut, and in which segments above it anything does."""
    below = [name.replace(".", "/") for name in run.cuts[: run.cut]]
    differing = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
    inside = {name for name in differing if name.split(".")[0] in below}
    return {_kind(name, one[name]) for name in inside}, {name.split(".")[0] for name in differing if name not in inside}


def _kind(name: str, tensor: torch.Tensor) -> str:
    """Convolutions of this network have no biases."""
    if name.rpartition(".")[2] in STATISTICS:
        return "statistics"
    return "norm" if tensor.dim() == 1 else "convolution"


EVERYTHING = {"statistics", "norm", "convolution"}


@pytest.mark.parametrize(
    ("treatment", "values", "changes"),
    [
        ("frozen", {}, set()),
        ("frozen", {"norm_below": "batch"}, {"statistics"}),
        ("frozen", {"norm_below": "recalibrated"}, {"statistics"}),
        ("frozen", {"affine_below": True}, {"norm"}),
        ("frozen", {"norm_below": "batch", "affine_below": True}, {"statistics", "norm"}),
        ("tuned", {}, EVERYTHING),
        ("thawed", {}, EVERYTHING),
    ],
)
def test_below_the_cut_changes_what_the_treatment_and_the_recipe_say(
    bases: tuple[Where, Run, Run], treatment: TreatmentName, values: dict[str, object], changes: set[str]
) -> None:
    where, a, b = bases
    target = brief(replace(b, recipe=b.recipe.with_values(values)))
    run = target.copy(CUT, treatment, a)
    (copy,) = train(where, run)
    below, above = unlike(copy, load_file(specs.folder(where.runs, a.id) / "weights.safetensors"), run)
    assert below == changes
    assert above == {name.replace(".", "/") for name in (*run.cuts[CUT:], "head")}
    record = states.read_record(specs.folder(where.runs, run.id))
    assert record is not None
    assert (record["certificate"] is not None) == (treatment == "frozen")


def test_a_lone_run_equals_the_same_run_in_a_pack(bases: tuple[Where, Run, Run]) -> None:
    where, a, b = bases
    target = brief(b)
    pack = [target.copy(2, "frozen", a), target.copy(7, "frozen", a), target.copy(3, "probed", a)]
    together = train(where, *pack)
    for run, weights in zip(pack, together, strict=True):
        path = specs.folder(where.runs, run.id)
        path.rename(path.with_name("together-" + path.name))
        (alone,) = train(where, run)
        assert alone.keys() == weights.keys()
        assert all(torch.equal(alone[name], tensor) for name, tensor in weights.items()), run


def test_statistics_that_are_recalibrated_are_the_targets(bases: tuple[Where, Run, Run]) -> None:
    where, a, b = bases
    target = brief(replace(b, recipe=b.recipe.with_values({"norm_below": "recalibrated", "augment": False})))
    run = target.copy(1, "frozen", a)
    (copy,) = train(where, run)
    store = procedure.stores.of(b.half, where.stores)
    stream = procedure.Stream(store, run)
    network = procedure.build.build(NETWORK, run.outputs)
    network.load_state_dict(copy)
    stem = network[0]
    means = []
    for step in range(stream.steps_per_epoch):
        images, _ = stream.batch(step)
        means.append(stem.get_submodule("conv1.0")(stem.get_submodule("standardise")(images)).mean((0, 2, 3)))
    assert torch.allclose(copy["conv1/0.conv1.1.running_mean"], torch.stack(means).mean(0), atol=1e-5)


@pytest.mark.parametrize("network", ["timm:test_resnet@32", "timm:test_resnet@64", "resnet18@32", "timm:test_vit@32"])
def test_segments_that_need_two_images_are_those_that_cannot_be_trained_on_one(network: str) -> None:
    described, built = architecture(network), build.build(network, 5).train()
    one = Batch.whole(torch.zeros(1, 3, described.side, described.side, dtype=torch.uint8))
    assert bool(described.paired) == network.endswith("resnet@32") or network == "resnet18@32"
    for n in described.paired:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            built(one)
        built[n - 1].eval()
    assert built(one).shape == (1, 5)
    if described.paired:
        two = Batch.whole(torch.zeros(2, 3, described.side, described.side, dtype=torch.uint8))
        assert built.train()(two).shape == (2, 5)


def test_a_plan_refuses_batches_of_one_image_where_batch_norm_has_one_value(small_split: Split, recipe: Recipe) -> None:
    card = find.card("emoji")
    base = Run("resnet18@32", small_split.b, recipe)
    single = replace(base, recipe=recipe.with_values({"batch_size": 1}))
    message = r"resnet18@32 cannot be trained on batches of one image: its batch norm \(in layer4.0\) has then .*"
    with pytest.raises(BadInput, match=message + r"recipe.batch_size is 1; at least 2"):
        plan([single], Path("nowhere"), 1)
    few = replace(
        card, images={**card.images, "train": tuple(int(name == base.half.classes[0]) for name in card.classes)}
    )
    with pytest.raises(BadInput, match=message + r"half B has 1 training image\(s\), so that recipe.batch_size is 1"):
        check_batch(replace(base, half=replace(base.half, domain=("noto",))), few)
    check_batch(base, card)
    check_batch(replace(single, network="resnet18@64"), card)  # its maps have four values at the end
    copies = {n: single.copy(n, "frozen", base) for n in (7, 8, 9)}
    for n in (7, 8):
        with pytest.raises(BadInput, match=r"layer4\.[01]"):
            check_batch(copies[n], card)
    check_batch(copies[9], card)  # all its batch norm is below the cut
    for norm in ("batch", "recalibrated"):
        with pytest.raises(BadInput, match=r"recipe\.batch_size"):
            check_batch(replace(copies[9], recipe=single.recipe.with_values({"norm_below": norm})), card)
