"""Encoders as segments: the library's own modules, with our mask and our dropout in them.

Tensors carry the names of the library. A segment asks `tokens.mask()` where tokens are; ids of padding become those
that the encoder was trained with, because RoBERTa counts positions by them.
"""

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from yosinski.errors import BadInput
from yosinski.networks.encoders.encoder import HEAD, Encoder
from yosinski.networks.layers import Dropout
from yosinski.networks.tokens import Tokens, mask
from yosinski.networks.tracing.graph import seeded

ATTENTION = "yosinski"  # name of `attention` among those of the library


class AttentionDropout(Dropout):
    """Dropout of attention weights. The library reads the rate of what it drops itself from `p`."""

    p = 0.0


class Mean(nn.Module):
    """The head of a sentence encoder: the mean over tokens, dropout, and a linear layer."""

    def __init__(self, width: int, outputs: int, rate: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(rate)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, L, width] -> [b, outputs]."""
        there = mask()[..., None]
        mean = x.masked_fill(~there, 0).sum(1) / there.sum(1)
        return self.classifier(self.dropout(mean))


class Pooled(nn.Module):
    """The head of `BertForSequenceClassification`: the pooler on the first token, dropout, and a linear layer."""

    def __init__(self, pooler: nn.Module, dropout: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.pooler, self.dropout, self.classifier = pooler, dropout, classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, L, width] -> [b, outputs]."""
        return self.classifier(self.dropout(self.pooler(x)))


class OfDistilBert(nn.Module):
    """The head of `DistilBertForSequenceClassification`."""

    def __init__(self, pre_classifier: nn.Module, dropout: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.pre_classifier, self.dropout, self.classifier = pre_classifier, dropout, classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, L, width] -> [b, outputs]."""
        return self.classifier(self.dropout(self.pre_classifier(x[:, 0]).relu()))


class OfRoberta(nn.Module):
    """The head of `RobertaForSequenceClassification`, which takes the first token itself."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, L, width] -> [b, outputs]."""
        return self.classifier(x)


def segmented(encoder: Encoder, outputs: int, seed: int) -> nn.Sequential:
    """The network with the weights that the library draws with this seed: one child per segment, the head last.

    Children have the names of segments, with "/" for dots. The first takes `Tokens`; between segments there are
    float32 [b, L, width].
    """
    model = library_model(encoder, outputs, seed)
    inner = getattr(model, encoder.family.base)
    padding = encoder.settings["pad_token_id"]
    inner.embeddings.register_forward_pre_hook(partial(_padded, padding))
    segments = [inner.get_submodule(name) for name in encoder.cuts]
    named = zip((name.replace(".", "/") for name in encoder.cuts), segments, strict=True)
    network = nn.Sequential(OrderedDict([*named, (HEAD, _head(encoder, model, outputs, seed))]))
    for path, module in list(network.named_modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Dropout):
                of_weights = "self" in path.split(".") or type(module).__name__ == "DistilBertSelfAttention"
                setattr(module, name, (AttentionDropout if of_weights else Dropout)(f"{path}.{name}", child.p))
    return network


def library_model(encoder: Encoder, outputs: int, seed: int) -> Any:
    """The library's model for classification with the weights that it draws with this seed.

    BadInput if the library makes no network of the settings, such as of a function that it does not know.
    """
    from transformers import AttentionInterface, AutoModelForSequenceClassification

    AttentionInterface.register(ATTENTION, attention)
    config = library_config(encoder, {k: str(k) for k in range(outputs)})
    try:
        with seeded(seed):
            model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    except (KeyError, ValueError, TypeError) as error:
        raise BadInput(f"{encoder.name}: transformers makes no network of its settings: {error!r}") from error
    model.config._attn_implementation = ATTENTION
    return model


def library_config(encoder: Encoder, classes: Mapping[int, str]) -> Any:
    """The library's configuration of an encoder whose head has these classes."""
    from transformers import AutoConfig

    numbers = {name: k for k, name in classes.items()}
    return AutoConfig.for_model(encoder.kind, **encoder.settings, id2label=dict(classes), label2id=numbers)


def library_class(encoder: Encoder) -> str:
    """The name of the library's class that an exported encoder is loaded as."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind: Any = AutoModel if encoder.pooling == "mean" else AutoModelForSequenceClassification
    return kind._model_mapping[type(library_config(encoder, {0: "0", 1: "1"}))].__name__


def _head(encoder: Encoder, model: Any, outputs: int, seed: int) -> nn.Module:
    if encoder.pooling == "mean":
        rate = encoder.settings.get("hidden_dropout_prob", encoder.settings.get("dropout"))
        with seeded(seed):
            head = Mean(encoder.width, outputs, rate)
            nn.init.normal_(head.classifier.weight, 0, encoder.settings["initializer_range"])
            nn.init.zeros_(head.classifier.bias)
        return head
    match encoder.family.base:
        case "bert":
            return Pooled(model.bert.pooler, model.dropout, model.classifier)
        case "distilbert":
            return OfDistilBert(model.pre_classifier, model.dropout, model.classifier)
        case _:
            return OfRoberta(model.classifier)


def _padded(padding: int, module: nn.Module, inputs: tuple[Tokens]) -> tuple[torch.Tensor]:
    """The ids with the encoder's own id where there is no token, int64 [b, L]."""
    return (inputs[0].ids.masked_fill(~inputs[0].mask, padding),)


def attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, scaling: float, **__: Any
) -> tuple[torch.Tensor, None]:
    """Attention to the tokens of a text, in the order of operations of the library's eager attention.

    query, key, value: [b, heads, L, width of a head]; the result is [b, L, heads, width of a head]. Weights are
    dropped by `layers.Dropout`, so that masks do not depend on the pack or the device.
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    weights = scores.masked_fill(~mask()[:, None, None, :], float("-inf")).softmax(-1)
    return torch.matmul(module.dropout(weights), value).transpose(1, 2).contiguous(), None
