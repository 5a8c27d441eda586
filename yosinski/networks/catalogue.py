"""Networks by their names: what a name means, how the network is described, and its model. No torch in descriptions.

Names are those of our own networks, of models of torchvision (`resnet50`) and timm (`timm:xception41`), and of files
(`net.py:build`); `@64` behind one says for which images. Descriptions of the libraries' models are remembered, so that
plans of them need not trace anything.
"""

from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yosinski import files
from yosinski.errors import BadInput
from yosinski.identity import digest
from yosinski.networks import own
from yosinski.networks.architectures import ARCHITECTURES, Architecture
from yosinski.networks.own import Own, is_own
from yosinski.networks.own_code import Code, definitions
from yosinski.networks.traced import Name, Traced, checked_side

if TYPE_CHECKING:
    from torch import fx, nn

    from yosinski.networks.tracing.segments import Piece

GENERATOR = 2  # bump by hand when the same model of the same library would be cut or counted in another way
HOW = 'pip install "yosinski[timm]"'


def architecture(network: str) -> Architecture | Traced:
    """The description of a network: one of ours, of torchvision, timm, or a file of one's own; BadInput for others."""
    if network in ARCHITECTURES:
        return ARCHITECTURES[network]
    return resolve(network).described if is_own(network) else traced(network)


def name_of(network: str) -> str:
    """The name of a network, which for a file says what is in it (see `own.py`); BadInput if no network comes of it."""
    return resolve(network).name if is_own(network) else network


def identity_of(network: str) -> str:
    """What a run's id depends on of a network."""
    return resolve(network).identity if is_own(network) else network


def named(network: str) -> Name:
    """A name taken apart; BadInput if the side is no number. Whether a library has such a model is not looked up."""
    if is_own(network):
        own_network = resolve(network)
        return Name("file", f"{own_network.code.file}:{own_network.maker}", own_network.side, own_network.digest[:8])
    name, side = network.partition("@")[0], checked_side(network)
    library, colon, model = name.rpartition(":")
    if colon and library != "timm":
        raise BadInput(
            f"network {network!r}: models come from torchvision (resnet50), timm (timm:xception41) "
            "or a file of your own (path/to/net.py:build)"
        )
    return Name("timm" if colon else "torchvision", model, side)


# Descriptions


@lru_cache
def traced(network: str) -> Traced:
    """The description of a model of torchvision or timm, as remembered, or found now; BadInput for an unknown one."""
    name = named(network)
    try:
        releases = {library: version(library) for library in {"torch", "torchvision", name.library}}
    except PackageNotFoundError as error:
        raise BadInput(f"network {network!r} needs timm, which is not installed: {HOW}") from error
    made_by = {"network": network, "generator": GENERATOR, "releases": releases}
    path = _note(network)
    with suppress(OSError, BadInput, KeyError, TypeError):
        note = files.read_json(path)
        if note["made_by"] == made_by:
            return Traced.from_json(note)
    description = survey(name)[0]
    with suppress(OSError):
        files.write_json(path, {"made_by": made_by, **description.as_json()}, durable=False)
    return description


def _note(network: str) -> Path:
    return files.caches() / "networks" / f"{digest(network)}.json"


def resolve(network: str) -> Own:
    """The network that the text of a file means; BadInput if it is not known, or if no network comes of the file.

    Of a text without digits the file is read, and executed if it has changed since it was looked at.
    """
    path, maker, side, digits = own.parts(network)
    if digits or not path:
        return own.remembered(network)
    return _looked_at(network, Path(path).expanduser(), maker, side)


_looked: dict[tuple[Path, str, int | None], tuple[Own, dict[Path, bytes]]] = {}  # with what its files held then


def _looked_at(network: str, path: Path, maker: str, side: int | None) -> Own:
    if not path.is_file():
        like = own.names_like(f"{path.name}:{maker}")
        hint = f"; of such a file there was {', '.join(like)}, which these runs know by that name" if like else ""
        raise BadInput(f"no file {path} for network {network!r}{hint}")
    code = Code.at(path)
    if not maker:
        defined = ", ".join(definitions(code.sources[code.main])) or "nothing"
        raise BadInput(f"network {network!r}: say what makes it, as in {path.name}:build; {path.name} has: {defined}")
    before, held = _looked.get((path.absolute(), maker, side), (None, {}))
    if before and all(_read(source) == text for source, text in held.items()):
        return before
    from yosinski.networks.tracing import own_graph  # executes it, and loads torch

    own_network = own_graph.look(code, maker, side)
    held = {code.folder / name: text for name, text in own_network.code.sources.items()}
    own_network = own.remember(own_network)
    _looked[path.absolute(), maker, side] = own_network, held
    return own_network


def _read(path: Path) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes()
    return None


# Models


def survey(name: Name) -> "tuple[Traced, tuple[Piece, ...]]":
    """A network's description and its segments; no weights are allocated. BadInput if it cannot be traced or cut."""
    from yosinski.networks.tracing import graph, own_graph

    return own_graph.survey(name) if name.library == "file" else graph.survey(name)


def made(name: Name, outputs: int) -> "tuple[nn.Module, dict[str, Any]]":
    """The model as its library, or somebody's own code, makes it, with random weights; and the arguments of that.

    BadInput if it does not take the side.
    """
    from yosinski.networks import libraries
    from yosinski.networks.tracing import own_graph

    return own_graph.plain(name, outputs) if name.library == "file" else libraries.made(name, outputs)


def operations(model: "nn.Module", name: Name) -> "fx.Graph":
    """What a model computes, with our own dropout."""
    from yosinski.networks.tracing import graph, own_graph

    return own_graph.operations(model, name) if name.library == "file" else graph.operations(model, name)
