"""Networks of torchvision and timm in segments: their names, and that head and tail together are the whole."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from uncut import TIMM, compare, smallest

from yosinski.data import find
from yosinski.data.halves import split
from yosinski.errors import BadInput
from yosinski.experiment.recipes import EMOJI
from yosinski.experiment.run import Run
from yosinski.networks import libraries
from yosinski.networks.batch import Batch
from yosinski.networks.build import build, drawn
from yosinski.networks.catalogue import named
from yosinski.networks.layers import Dropout, dropping
from yosinski.networks.tracing import graph
from yosinski.training.pack import masks_of

QUICK = (
    *("alexnet@64", "resnet18@64", "densenet121@64", "googlenet@64", "mobilenet_v3_small@64", "squeezenet1_1@64"),
    *("swin_t@64", "vit_b_32@64", "timm:xception41@64", "timm:vit_tiny_patch16_224@64"),
)
TOLERANCE = 1e-5


pytestmark = pytest.mark.usefixtures("alone")


def names(network: str) -> list[str]:
    return list(graph.survey(named(network))[0].cuts)


def test_cuts_of_chains() -> None:
    convolutions = [f"features.{k}" for k in (0, 3, 6, 8, 11, 13, 16, 18)]
    assert names("vgg11") == [*convolutions, "classifier.0", "classifier.3"]
    convolutions = [f"features.{k}" for k in (0, 3, 6, 8, 10)]
    assert names("alexnet") == [*convolutions, "classifier.1", "classifier.4"]


def test_cuts_of_blocks() -> None:
    assert names("resnet18") == ["conv1", *(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))]
    stem = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    blocks = {5: "bcd", 6: "abcde", 7: "abc"}
    assert names("inception_v3") == [*stem, *(f"Mixed_{k}{letter}" for k in blocks for letter in blocks[k])]
    blocks = {3: "ab", 4: "abcde", 5: "ab"}
    stem = ["conv1", "conv2", "conv3"]
    assert names("googlenet") == [*stem, *(f"inception{k}{letter}" for k in blocks for letter in blocks[k])]


def test_a_transition_begins_with_the_normalisation_that_belongs_to_the_block_before() -> None:
    between = [name for k in (1, 2, 3) for name in (f"features.denseblock{k}", f"features.transition{k}.conv")]
    assert names("densenet121") == ["features.conv0", *between, "features.denseblock4"]
    held = build("densenet121@32", 3)[1].state_dict()
    assert "features.transition1.norm.weight" in held
    assert "features.transition1.conv.weight" not in held


def test_cuts_of_transformers() -> None:
    assert names("vit_b_16") == ["conv_proj", *(f"encoder.layers.encoder_layer_{k}" for k in range(12))]
    first = build("vit_b_16@32", 3)[0].state_dict()
    assert {"class_token", "encoder.pos_embedding", "conv_proj.weight", "conv_proj.bias"} < first.keys()
    blocks = {1: 3, 3: 3, 5: 9, 7: 3}
    cuts = ["features.0"]
    for stage, depth in blocks.items():
        cuts += [f"features.{stage - 1}.1"] if stage > 1 else []
        cuts += [f"features.{stage}.{k}" for k in range(depth)]
    assert names("convnext_tiny") == cuts


@pytest.mark.parametrize("network", QUICK)
def test_head_and_tail_are_the_whole(network: str) -> None:
    assert compare(network) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("model", libraries.models("torchvision"))
def test_head_and_tail_of_every_model_of_torchvision_are_the_whole(model: str) -> None:
    assert compare(smallest(model)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("model", TIMM)
def test_head_and_tail_of_models_of_timm_are_the_whole(model: str) -> None:
    pytest.importorskip("timm")
    assert compare(smallest(f"timm:{model}")) < TOLERANCE


@pytest.mark.parametrize("network", ["alexnet@64", "convnext_tiny@32", "vit_b_32@64", "swin_t@32"])
def test_without_batch_norm_training_computes_what_evaluation_does(network: str) -> None:
    segments, images = build(network, 3), pictures(network)
    torch.testing.assert_close(segments.train()(images), segments.eval()(images))


def pictures(network: str) -> Batch:
    side = graph.survey(named(network))[0].side
    return Batch.whole(torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8))


@pytest.mark.parametrize("network", ["alexnet@64", "convnext_tiny@32", "timm:convnext_atto@32"])
def test_what_is_dropped_depends_on_the_step_alone(network: str) -> None:
    half = split(find.card("emoji"), "random:0").a
    run, images = Run("alexnet32", half, EMOJI), pictures(network)
    with torch.no_grad():
        segments = build(network, 3).train()
        for module in segments.modules():
            if isinstance(module, Dropout):
                module.rate = 0.5
        whole = segments(images)
        outputs = []
        for step in (1, 1, 2):
            torch.rand(3)
            with dropping(masks_of(run, step)):
                outputs.append(segments(images))
    if network.startswith("timm"):  # without a drop path unless one is asked for
        assert all(torch.equal(output, whole) for output in outputs)
        return
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])
    assert not torch.allclose(outputs[0], whole)


def test_a_residual_path_is_dropped_for_whole_images() -> None:
    run = Run("alexnet32", split(find.card("emoji"), "random:0").a, EMOJI)
    ones = torch.ones(64, 3, 2)
    with dropping(masks_of(run, 0)):
        by_image, by_channel = Dropout("a", 0.5, axes=1)(ones), Dropout("b", 0.5, axes=2)(ones)
        whole_batch = Dropout("c", 0.5, axes=0)(ones)
    assert set(by_image.flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(by_image, by_image[:, :1, :1].expand_as(ones))
    assert torch.equal(by_channel, by_channel[:, :, :1].expand_as(ones))
    assert not torch.equal(by_channel, by_channel[:, :1].expand_as(ones))
    assert len(set(whole_batch.flatten().tolist())) == 1


class Odd(nn.Module):
    """A model with one fault at a time, in a place of which the first line of its forward tells."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, 4] -> [b, 2]."""
        images, rows = x, x.shape[0]
        x = self.first(x)
        if self.fault == "branches" and x.sum() > 0:
            x = -x
        if self.fault == "modes" and self.training:
            x = x + 1
        if self.fault == "tied":
            return self.head(self.second(F.linear(self.second(x), self.first.weight)))
        if self.fault == "sizes":
            return self.head(self.second(x).reshape(rows, 4))
        if self.fault == "skips":
            return self.head(self.second(x) + images)
        x = F.dropout(self.second(x), 0.5, self.training)
        return self.head(x)


def pieces_of(fault: str) -> list[str]:
    model = Odd(fault)
    name = named("odd")
    traced = graph.trace(model, name)
    graph.drop(model, traced, name)
    graph.measure(model.to("meta"), traced, torch.empty(2, 4, device="meta"))
    return [piece.name for piece in graph.find(model, list(traced.nodes))]


def test_where_more_than_one_tensor_of_the_batch_crosses_is_no_cut() -> None:
    assert pieces_of("none") == ["first", "second", "head"]
    for fault in ("skips", "tied", "sizes"):
        assert pieces_of(fault) == ["second", "head"], fault


def test_what_depends_on_the_images_or_on_the_mode_is_refused_by_name_and_place() -> None:
    with pytest.raises(BadInput, match=r"odd cannot be traced: .*test_graph.py, line \d+: if self.fault"):
        pieces_of("branches")
    with pytest.raises(BadInput, match="odd computes something else in training than in evaluation"):
        pieces_of("modes")


def test_functional_dropout_is_by_our_masks() -> None:
    model, name = Odd("none"), named("odd")
    traced = graph.trace(model, name)
    graph.drop(model, traced, name)
    dropped = [module for module in model.modules() if isinstance(module, Dropout)]
    assert [(module.rate, module.axes) for module in dropped] == [(0.5, None)]
    assert not any(node.target is F.dropout for node in traced.nodes)


def test_attention_that_drops_within_is_refused() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, dropout=0.1), nn.Linear(8, 2))
    name = named("odd")
    with pytest.raises(BadInput, match="drops outputs within TransformerEncoderLayer"):
        graph.drop(model, graph.trace(model, name), name)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet19", "unknown network 'resnet19'; near it: resnet18"),
        ("timm:xception42", "timm:xception41"),
        ("hub:resnet18", "torchvision"),
        ("resnet18@9", "16 to 1024"),
        ("vit_b_16@50", "vit_b_16@50 does not take images of 50 x 50"),
        ("alexnet@32", "alexnet@32 does not take images of 32 x 32"),
        ("timm:crossvit_tiny_240", "has no cut"),
    ],
)
def test_networks_that_cannot_be_used_are_refused(network: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        graph.survey(named(network))


def test_weights_depend_on_the_key_and_the_initialiser_alone() -> None:
    key = (0, "base", "f00d")
    own, again = (drawn("resnet18@32", 3, 1, "own", *key) for _ in range(2))
    other = drawn("resnet18@32", 3, 1, "own", 1, *key[1:])
    kaiming = drawn("resnet18@32", 3, 1, "kaiming", *key)
    wide = drawn("resnet18@32", 5, 1, "kaiming", *key)
    for full, tensor in own.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[full]), full
        if "bn" in full or "downsample.1" in full or "standardise" in full:
            assert torch.equal(tensor, kaiming.state_dict()[full]), full
        else:
            assert not torch.equal(tensor, other.state_dict()[full]), full
            assert not torch.equal(tensor, kaiming.state_dict()[full]), full
        if not full.startswith("head"):
            assert torch.equal(kaiming.state_dict()[full], wide.state_dict()[full]), full
    deviation = kaiming.get_parameter("head.fc.weight").std().item()
    assert deviation == pytest.approx(512**-0.5, rel=0.1)  # 1536 numbers; the head's gain is 1
    assert not kaiming.get_parameter("head.fc.bias").any()


def test_building_leaves_torchs_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build("squeezenet1_1@64", 3)
    assert torch.equal(torch.get_rng_state(), before)
