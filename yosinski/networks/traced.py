"""Networks that others make: their names taken apart, and their descriptions, which tracing finds. No torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from yosinski.errors import BadInput
from yosinski.networks.architectures import INITIALISERS, SegmentCost


@dataclass(frozen=True)
class Name:
    """What a network's name says: `resnet50`, `timm:xception41`, `resnet18@64`."""

    library: str  # torchvision, timm or file
    model: str
    side: int | None  # pixels of the square input, where others than the usual ones are asked for
    digest: str = ""  # the first digits of that of a network of somebody's own

    def __str__(self) -> str:
        side = "" if self.side is None else f"@{self.side}"
        digest = f"#{self.digest}" if self.digest else ""
        return f"{'timm:' if self.library == 'timm' else ''}{self.model}{side}{digest}"


def checked_side(network: str) -> int | None:
    """The pixels that a network's text says behind the @; BadInput if that is no number, or none that can be."""
    name, separator, side = network.rpartition("@")
    if not separator:
        return None
    if not (side.isdecimal() and 16 <= int(side) <= 1024):
        raise BadInput(f"network {network!r}: a side of 16 to 1024 pixels must follow the @, as in {name}@64")
    return int(side)


@dataclass(frozen=True)
class Head:
    """The last segment's parameters and FLOPs: a constant, and a multiple of the number of outputs."""

    parameters: int
    parameters_per_output: int
    flops: int
    flops_per_output: int

    def cost(self, outputs: int) -> SegmentCost:
        """The same with this number of outputs."""
        parameters = self.parameters + outputs * self.parameters_per_output
        return SegmentCost("head", parameters, self.flops + outputs * self.flops_per_output, (outputs,))


@dataclass(frozen=True)
class Traced:
    """Segments in order, then a head; what `Architecture` is for our own networks."""

    side: int  # pixels of the square input
    segments: tuple[SegmentCost, ...]
    head: Head
    left_off: tuple[str, ...] = ()  # parts of the plain model that are not used here
    paired: tuple[int, ...] = ()  # segments n = 1..N + 1 that cannot be trained on a batch of one image
    paper: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def cuts(self) -> tuple[str, ...]:
        """The names of the segments n = 1..N below which the network can be cut."""
        return tuple(row.name for row in self.segments)

    @property
    def initialisers(self) -> tuple[str, ...]:
        """Those that can draw its weights."""
        return tuple(name for name in INITIALISERS if name != "paper")

    def costs(self, outputs: int) -> list[SegmentCost]:
        """One row per segment and, last, the head."""
        return [*self.segments, self.head.cost(outputs)]

    def as_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        content = {"side": self.side, "left_off": self.left_off, "paired": self.paired, "head": asdict(self.head)}
        return {**content, "segments": [asdict(row) for row in self.segments]}

    @classmethod
    def from_json(cls, note: Mapping[str, Any]) -> "Traced":
        """As it was written down."""
        rows = tuple(SegmentCost(**{**row, "shape": tuple(row["shape"])}) for row in note["segments"])
        return cls(note["side"], rows, Head(**note["head"]), tuple(note["left_off"]), tuple(note["paired"]))
