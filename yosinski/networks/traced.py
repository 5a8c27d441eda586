"""Networks from libraries and files: their parsed names, and their descriptions from tracing. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from yosinski.errors import BadInput
from yosinski.networks.architectures import INITIALISERS, SegmentCost


@dataclass(frozen=True)
class Name:
    """A parsed name of a network: `resnet50`, `timm:xception41`, `resnet18@64`."""

    library: str  # torchvision, timm, file or hf
    model: str
    side: int | None  # of the square input, in pixels; None: the default
    digest: str = ""  # of a network from files; its first digits

    def __str__(self) -> str:
        side = "" if self.side is None else f"@{self.side}"
        digest = f"#{self.digest}" if self.digest else ""
        return f"{f'{self.library}:' if self.library in ('timm', 'hf') else ''}{self.model}{side}{digest}"


def checked_side(network: str) -> int | None:
    """The side after the @ in a network's text. BadInput if it is no number, or out of range."""
    name, separator, side = network.rpartition("@")
    if not separator:
        return None
    if not (side.isdecimal() and 16 <= int(side) <= 1024):
        raise BadInput(f"network {network!r}: a side of 16 to 1024 pixels must follow the @, as in {name}@64")
    return int(side)


@dataclass(frozen=True)
class Head:
    """Parameters and FLOPs of the last segment: a constant plus a multiple of the number of outputs."""

    parameters: int
    parameters_per_output: int
    flops: int
    flops_per_output: int

    def cost(self, outputs: int) -> SegmentCost:
        """The cost with this number of outputs."""
        parameters = self.parameters + outputs * self.parameters_per_output
        return SegmentCost("head", parameters, self.flops + outputs * self.flops_per_output, (outputs,))


@dataclass(frozen=True)
class Traced:
    """Segments in order, then a head; the counterpart of `Architecture`."""

    side: int  # pixels of the square input
    segments: tuple[SegmentCost, ...]
    head: Head
    left_off: tuple[str, ...] = ()  # parts of the plain model that are not used here
    paired: tuple[int, ...] = ()  # segments n = 1..N + 1 that need batches of two images in training
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reads: str = "pictures"
    length: int = 0  # most tokens of a text
    vocabulary: int = 0  # number of ids of tokens

    @cached_property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N after which the network can be cut."""
        return tuple(row.name for row in self.segments)

    @property
    def initialisers(self) -> tuple[str, ...]:
        """The names of initialisers for this network."""
        return tuple(name for name in INITIALISERS if name != "paper")

    def costs(self, outputs: int, length: int = 0) -> list[SegmentCost]:
        """One row per segment; the last is the head. length: of texts, which this network does not read."""
        return [*self.segments, self.head.cost(outputs)]

    def as_json(self) -> dict[str, Any]:
        """JSON values for `from_json`."""
        content = {"side": self.side, "left_off": self.left_off, "paired": self.paired, "head": asdict(self.head)}
        return {**content, "segments": [asdict(row) for row in self.segments]}

    @classmethod
    def from_json(cls, note: Mapping[str, Any]) -> "Traced":
        """The inverse of `as_json`."""
        rows = tuple(SegmentCost(**{**row, "shape": tuple(row["shape"])}) for row in note["segments"])
        return cls(note["side"], rows, Head(**note["head"]), tuple(note["left_off"]), tuple(note["paired"]))
