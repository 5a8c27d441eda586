"""Descriptions of networks that torchvision and timm make, found once by tracing them and kept. No torch.

`graph.py` finds them; here they are remembered, so that plans of known networks need not trace anything.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from yosinski import files
from yosinski.architectures import INITIALISERS, Cost
from yosinski.errors import BadInput
from yosinski.identity import digest

GENERATOR = 2  # bump by hand when the same model of the same library would be cut or counted otherwise
HOW = 'pip install "yosinski[timm]"'


@dataclass(frozen=True)
class Name:
    """What a network's name says: `resnet50`, `timm:xception41`, `resnet18@64`."""

    library: str  # torchvision or timm
    model: str
    side: int | None  # pixels of the square input, where others than the usual ones are asked for

    @classmethod
    def of(cls, network: str) -> "Name":
        """Taken apart; BadInput if the side is no number. Whether there is such a model is not looked up."""
        name, at, side = network.partition("@")
        if at and not (side.isdecimal() and 16 <= int(side) <= 1024):
            raise BadInput(f"network {network!r}: a side of 16 to 1024 pixels must follow the @, as in {name}@64")
        library, colon, model = name.rpartition(":")
        if colon and library != "timm":
            raise BadInput(f"network {network!r}: models come from torchvision (resnet50) or timm (timm:xception41)")
        return cls("timm" if colon else "torchvision", model, int(side) if at else None)

    def __str__(self) -> str:
        side = "" if self.side is None else f"@{self.side}"
        return f"{'timm:' if self.library == 'timm' else ''}{self.model}{side}"


@dataclass(frozen=True)
class Head:
    """The last segment's parameters and FLOPs: a constant, and a multiple of the number of outputs."""

    parameters: int
    parameters_per_output: int
    flops: int
    flops_per_output: int

    def cost(self, outputs: int) -> Cost:
        """With so many outputs."""
        parameters = self.parameters + outputs * self.parameters_per_output
        return Cost("head", parameters, self.flops + outputs * self.flops_per_output, (outputs,))


@dataclass(frozen=True)
class Traced:
    """Segments in order, then a head; what `Architecture` is for our own networks."""

    side: int  # pixels of the square input
    segments: tuple[Cost, ...]
    head: Head
    left_off: tuple[str, ...] = ()  # parts of the library's model that are not used here
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

    def costs(self, outputs: int) -> list[Cost]:
        """One row per segment and, last, the head."""
        return [*self.segments, self.head.cost(outputs)]


@lru_cache
def traced(network: str) -> Traced:
    """The description of a model of torchvision or timm, as remembered, or found now; BadInput for an unknown one."""
    name = Name.of(network)
    try:
        releases = {library: version(library) for library in {"torch", "torchvision", name.library}}
    except PackageNotFoundError as error:
        raise BadInput(f"network {network!r} needs timm, which is not installed: {HOW}") from error
    made_by = {"network": network, "generator": GENERATOR, "releases": releases}
    path = _note(network)
    with suppress(OSError, BadInput, KeyError, TypeError):
        note = files.read_json(path)
        if note["made_by"] == made_by:
            rows = tuple(Cost(**{**row, "shape": tuple(row["shape"])}) for row in note["segments"])
            return Traced(note["side"], rows, Head(**note["head"]), tuple(note["left_off"]), tuple(note["paired"]))
    from yosinski import graph

    found = graph.survey(name)[0]
    told = {
        "made_by": made_by,
        "side": found.side,
        "left_off": found.left_off,
        "paired": found.paired,
        "head": asdict(found.head),
    }
    with suppress(OSError):
        files.write_json(path, {**told, "segments": [asdict(row) for row in found.segments]}, durable=False)
    return found


def _note(network: str) -> Path:
    return files.caches() / "networks" / f"{digest(network)}.json"
