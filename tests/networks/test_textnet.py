"""textnet: what it costs, what its blocks compute, and that padding changes nothing."""

import math

import pytest
import torch
from torch import nn

from yosinski.data.place import is_text
from yosinski.errors import BadInput
from yosinski.networks import build, catalogue
from yosinski.networks.texts.blocks import Block
from yosinski.networks.texts.textnet import TextNet
from yosinski.networks.tokens import Tokens, around, mask, of_part

TEXTS = Tokens(torch.tensor([[5, 6, 7, 8], [9, 5, 0, 0], [7, 0, 0, 0]]), torch.tensor([4, 2, 1]))


def network(outputs: int = 3) -> nn.Sequential:
    return build.drawn("textnet", outputs, 1, "kaiming", 0, "base", "test").eval()


@pytest.mark.parametrize("name", ["textnet", "textnet@5000"])
def test_parameters_and_shapes_are_those_that_are_told(name: str) -> None:
    built, rows = build.build(name, 7), catalogue.architecture(name).costs(7, length=4)
    assert [child for child, _ in built.named_children()] == [row.name for row in rows]
    with around(TEXTS):
        x = TEXTS
        for segment, row in zip(built, rows, strict=True):
            assert sum(parameter.numel() for parameter in segment.parameters()) == row.parameters
            x = segment(x)
            assert tuple(x.shape[1:]) == row.shape


def test_flops_are_counted_of_products() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    texts = Tokens(TEXTS.ids[:1], TEXTS.lengths[:1])
    with around(texts), FlopCounterMode(display=False) as counted:
        network()(texts)
    assert counted.get_total_flops() == sum(row.flops for row in catalogue.architecture("textnet").costs(3, length=4))


def test_a_block_is_the_one_of_torch() -> None:
    """With the same weights as torch's own encoder layer that normalises first."""
    torch.manual_seed(0)
    net = TextNet()
    block = Block(net)
    own = nn.TransformerEncoderLayer(
        net.width, net.heads, net.hidden, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    with torch.no_grad():
        for part, name in enumerate(("query", "key", "value")):
            layer = block.get_submodule(name)
            rows = slice(part * net.width, (part + 1) * net.width)
            own.self_attn.in_proj_weight[rows] = layer.weight  # pyright: ignore
            own.self_attn.in_proj_bias[rows] = layer.bias  # pyright: ignore
        pairs = [(own.self_attn.out_proj, block.out), (own.linear1, block.widen), (own.linear2, block.narrow)]
        for theirs, ours in pairs:
            theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 4, net.width)
    with around(TEXTS):
        ours = block(x)
    theirs = own(x, src_key_padding_mask=~TEXTS.mask)
    assert torch.allclose(ours[TEXTS.mask], theirs[TEXTS.mask], atol=1e-5)


def test_padding_beyond_the_text_changes_nothing() -> None:
    net, longer = network(), TEXTS.with_room(20)
    with around(TEXTS), torch.no_grad():
        short = net(TEXTS)
    with around(longer), torch.no_grad():
        long = net(longer)
    noise = Tokens(torch.where(longer.mask, longer.ids, 77), longer.lengths)
    with around(noise), torch.no_grad():
        assert torch.equal(net(noise), long)
    assert torch.allclose(short, long, atol=1e-6)


def test_order_matters_and_other_texts_do_not() -> None:
    net = network()
    turned = Tokens(TEXTS.ids[:1].flip(1), TEXTS.lengths[:1])
    outputs = []
    for texts in (TEXTS, Tokens(*(tensor[:1] for tensor in TEXTS)), turned):
        with around(texts), torch.no_grad():
            outputs.append(net(texts)[0])
    assert torch.allclose(outputs[0], outputs[1], atol=1e-6)
    assert not torch.allclose(outputs[0], outputs[2], atol=1e-3)


def test_the_mask_is_that_of_the_part_that_is_computed() -> None:
    other = Tokens(torch.ones(1, 2, dtype=torch.int64), torch.tensor([1]))
    with around([TEXTS, other]):
        assert torch.equal(mask(), TEXTS.mask)
        with of_part(1):
            assert torch.equal(mask(), other.mask)
        assert torch.equal(mask(), TEXTS.mask)
    with pytest.raises(LookupError):
        mask()


def test_initial_weights_have_the_scale_of_their_initialiser() -> None:
    block = network()[1]
    assert isinstance(block, Block)
    assert float(block.query.weight.detach().std()) == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    assert (block.query.bias == 0).all()


def test_names_say_how_many_ids_there_are() -> None:
    described = catalogue.architecture("textnet@300")
    assert (described.vocabulary, described.reads) == (300, "texts")
    with pytest.raises(BadInput, match="ids of tokens must follow the @"):
        catalogue.architecture("textnet@1")
    assert [is_text(text) for text in ("words", "words,unseen", "textfile:a", "emoji", "list:words")] == [
        *[True] * 3,
        *[False] * 2,
    ]
