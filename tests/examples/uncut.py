"""A network in segments against the library's own model: what tests and `benchmarks/networks.py` hold it to."""

from typing import Any

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from yosinski.errors import BadInput
from yosinski.networks.batch import Batch
from yosinski.networks.build import build
from yosinski.networks.catalogue import made, named
from yosinski.networks.tracing import graph

SIDES = (64, 70, 96, 224)  # tried in this order; 70 is a multiple of 14

TIMM = (
    *(
        "xception41",
        "resnet18",
        "resnetv2_50",
        "nf_resnet26",
        "convnext_atto",
        "efficientnet_b0",
        "mobilenetv3_small_050",
    ),
    *("vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "beit_base_patch16_224", "cait_xxs24_224"),
    *("swin_tiny_patch4_window7_224", "regnety_002", "densenet121", "inception_v3", "inception_v4", "mixer_s32_224"),
    *("poolformer_s12", "convmixer_768_32", "dpn68", "dla34", "hrnet_w18_small", "nfnet_f0", "coatnet_0_rw_224"),
)


def smallest(network: str) -> str:
    """The network with the smallest of `SIDES` that it takes, or with its own."""
    for side in SIDES:
        try:
            graph.survey(named(f"{network}@{side}"))
        except BadInput:
            continue
        return f"{network}@{side}"
    return network


@torch.no_grad()
def compare(network: str, outputs: int = 7) -> float:
    """The largest difference at any cut between head, tail and the plain model, relative to the largest output.

    Asserted: tensors have the plain model's names, each lies in one segment, parameters and shapes are as described,
    no segment changes its input, and nothing is dropped but by our masks.
    """
    name, described = named(network), graph.survey(named(network))[0]
    plain, segments = made(name, outputs)[0].eval(), build(network, outputs).eval()
    tensors = plain.state_dict()
    names = [full.partition(".")[2] for full in segments.state_dict()]
    assert sorted(names) == sorted([*tensors, "standardise.mean", "standardise.std"])
    for parameter in plain.parameters():
        if not parameter.any():  # some begin with layers of zeros, behind which all differences vanish
            parameter.normal_(0, 0.02)
    for full, tensor in segments.state_dict().items():
        if "standardise" not in full:
            tensor.copy_(tensors[full.partition(".")[2]])
    segments[0].get_submodule("standardise").load_state_dict(
        {"mean": torch.full((3, 1, 1), 120.0), "std": torch.full((3, 1, 1), 60.0)}
    )
    for module in segments.modules():
        assert not isinstance(module, StochasticDepth) or module.p == 0
        assert not isinstance(module, nn.Dropout) or module.p == 0

    pixels = torch.randint(0, 256, (2, 3, described.side, described.side), dtype=torch.uint8)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    expected = plain((pixels.float() - 120) / 60)
    del plain, tensors
    features: Any = Batch.whole(pixels)
    worst, rows = 0.0, described.costs(outputs)
    assert [child.replace("/", ".") for child, _ in segments.named_children()] == [row.name for row in rows]
    for n, (row, segment) in enumerate(zip(rows, segments, strict=True), 1):
        assert sum(p.numel() for p in segment.parameters()) == row.parameters, row.name
        features = segment(features)
        assert features.shape == (2, *row.shape), row.name
        kept = features.clone()
        found = segments[n:](features)
        assert torch.equal(features, kept), f"what follows {row.name} changes its input"
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    return worst
