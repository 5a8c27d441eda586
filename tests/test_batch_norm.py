"""Networks with batch norm: what stays as it is below a cut, and what the recipe lets change there."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from yosinski import records
from yosinski import run as procedure
from yosinski.environment import Where
from yosinski.halves import Split
from yosinski.spec import Recipe, Run, Treatment

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
        records.enrol(where.runs, run)
    procedure.run_pack([run.id for run in runs], where)
    return [load_file(records.folder(where.runs, run.id) / "weights.safetensors") for run in runs]


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
    bases: tuple[Where, Run, Run], treatment: Treatment, values: dict[str, object], changes: set[str]
) -> None:
    where, a, b = bases
    target = Run(NETWORK, b.half, b.recipe.with_values(values))
    run = target.copy(CUT, treatment, a)
    (copy,) = train(where, run)
    below, above = unlike(copy, load_file(records.folder(where.runs, a.id) / "weights.safetensors"), run)
    assert below == changes
    assert above == {name.replace(".", "/") for name in (*run.cuts[CUT:], "head")}
    record = records.read_record(records.folder(where.runs, run.id))
    assert record is not None
    assert (record["certificate"] is not None) == (treatment == "frozen")


def test_a_lone_run_equals_the_same_run_in_a_pack(bases: tuple[Where, Run, Run]) -> None:
    where, a, b = bases
    pack = [b.copy(2, "frozen", a), b.copy(7, "frozen", a), b.copy(3, "probed", a)]
    together = train(where, *pack)
    for run, weights in zip(pack, together, strict=True):
        path = records.folder(where.runs, run.id)
        path.rename(path.with_name("together-" + path.name))
        (alone,) = train(where, run)
        assert alone.keys() == weights.keys()
        assert all(torch.equal(alone[name], tensor) for name, tensor in weights.items()), run


def test_statistics_that_are_recalibrated_are_the_targets(bases: tuple[Where, Run, Run]) -> None:
    where, a, b = bases
    target = Run(NETWORK, b.half, b.recipe.with_values({"norm_below": "recalibrated", "augment": False}))
    run = target.copy(1, "frozen", a)
    (copy,) = train(where, run)
    store = procedure.stores.of(b.half, where.stores)
    stream = procedure.Stream(store, run)
    network = procedure.networks.build(NETWORK, run.outputs)
    network.load_state_dict(copy)
    stem = network[0]
    means = []
    for step in range(stream.steps_per_epoch):
        images, _ = stream.batch(step)
        means.append(stem.get_submodule("conv1.0")(stem.get_submodule("standardise")(images)).mean((0, 2, 3)))
    assert torch.allclose(copy["conv1/0.conv1.1.running_mean"], torch.stack(means).mean(0), atol=1e-5)
