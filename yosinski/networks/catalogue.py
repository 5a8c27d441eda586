"""Networks by name: their descriptions and their models. Descriptions need no torch.

Names are those of networks of this package (`alexnet32`; for texts `textnet`), of models of torchvision (`resnet50`)
and timm (`timm:xception41`), of files (`net.py:build`), and of encoders of transformers (`hf:PATH`); a suffix such as
`@64` is the side of images. Descriptions of library models are cached, so that plans need no tracing; those of encoders
are computed from their settings.
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
from yosinski.networks.encoders import known
from yosinski.networks.encoders.encoder import Encoder
from yosinski.networks.encoders.known import encoder_of, is_encoder
from yosinski.networks.own import Own, is_own
from yosinski.networks.own_code import Code, definitions
from yosinski.networks.texts import textnet
from yosinski.networks.texts.textnet import TextNet
from yosinski.networks.traced import Name, Traced, checked_side

if TYPE_CHECKING:
    from torch import fx, nn

    from yosinski.networks.tracing.segments import Piece

GENERATOR = 2  # increase by hand when the same model would get other cuts or other costs
HOW = 'pip install "yosinski[timm]"'


def architecture(network: str) -> Architecture | TextNet | Traced | Encoder:
    """The description of a network of this package, torchvision, timm, a file or transformers. BadInput for others."""
    if network in ARCHITECTURES:
        return ARCHITECTURES[network]
    if text_network := textnet.described(network):
        return text_network
    if is_encoder(network):
        return encoder_of(network)
    return resolve(network).described if is_own(network) else traced(network)


def of_this_package(network: str) -> bool:
    """Whether a network is one of this package, whose tensors have the names of its segments."""
    return network in ARCHITECTURES or textnet.described(network) is not None


def name_of(network: str) -> str:
    """The name of a network; for files it includes a hash (see `own.py`). BadInput if they make no network."""
    if is_encoder(network):
        return encoder_of(network).name
    return resolve(network).name if is_own(network) else network


def identity_of(network: str) -> str:
    """The part of a run's id that is the network."""
    if is_encoder(network):
        return encoder_of(network).identity
    return resolve(network).identity if is_own(network) else network


def shown(network: str | None) -> str | None:
    """The name of a network in a spec; for files that this process does not know, the digest."""
    return known.shown(network) if network and is_encoder(network) else own.shown(network)


def named(network: str) -> Name:
    """A parsed name. BadInput if the side is no number. Does not check that the library has the model."""
    if is_own(network):
        own_network = resolve(network)
        return Name("file", f"{own_network.code.file}:{own_network.maker}", own_network.side, own_network.digest[:8])
    if is_encoder(network):
        encoder = encoder_of(network)
        return Name("hf", encoder.title, None, encoder.digest[:8])
    name, side = network.partition("@")[0], checked_side(network)
    library, colon, model = name.rpartition(":")
    if colon and library != "timm":
        raise BadInput(
            f"network {network!r}: models come from torchvision (resnet50), timm (timm:xception41), "
            "a file of your own (path/to/net.py:build) or, for texts, transformers (hf:path/to/directory)"
        )
    return Name("timm" if colon else "torchvision", model, side)


def tokens_of(network: str) -> Path | None:
    """The directory with the tokenizer of a network; None for other networks, or where it is unknown."""
    return encoder_of(network).path if is_encoder(network) else None


# Descriptions


@lru_cache
def traced(network: str) -> Traced:
    """The description of a model of torchvision or timm, cached or traced now. BadInput for an unknown model."""
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
    """The network of a file. BadInput if it is not known, or if the file makes no network.

    Without digits in the text the file is read, and executed if it has changed since the last time.
    """
    path, maker, side, digits = own.parts(network)
    if digits or not path:
        return own.remembered(network)
    return _looked_at(network, Path(path).expanduser(), maker, side)


_looked: dict[tuple[Path, str, int | None], tuple[Own, dict[Path, bytes]]] = {}  # with the content of its files


def _looked_at(network: str, path: Path, maker: str, side: int | None) -> Own:
    if not path.is_file():
        like = own.names_like(f"{path.name}:{maker}")
        hint = f"; of such a file there was {', '.join(like)}, which these runs know by that name" if like else ""
        raise BadInput(f"no file {path} for network {network!r}{hint}")
    code = Code.at(path)
    if not maker:
        defined = ", ".join(definitions(code.sources[code.main])) or "nothing"
        raise BadInput(f"network {network!r}: say what makes it, as in {path.name}:build; {path.name} has: {defined}")
    before, sources = _looked.get((path.absolute(), maker, side), (None, {}))
    if before and all(_read(source) == text for source, text in sources.items()):
        return before
    from yosinski.networks.tracing import own_graph  # executes the file, and loads torch

    own_network = own_graph.loaded(code, maker, side)
    sources = {code.folder / name: text for name, text in own_network.code.sources.items()}
    own_network = own.remember(own_network)
    _looked[path.absolute(), maker, side] = own_network, sources
    return own_network


def keep(runs: Path, network: str) -> None:
    """Write to the runs directory what defines a network that no package has, unless it is there."""
    if is_own(network):
        own.keep(runs, resolve(network))
    elif is_encoder(network):
        known.keep(runs, encoder_of(network))


def read(runs: Path, network: str) -> str:
    """The name of the network in a spec of a runs directory. BadInput if it is missing, Damaged if it has changed."""
    if is_own(network):
        return own.read(runs, network).name
    return known.read(runs, network).name if is_encoder(network) else network


def read_all(runs: Path) -> None:
    """Register the networks of a runs directory that no package has. Using a damaged one raises the error."""
    own.read_all(runs)
    known.read_all(runs)


def kept(runs: Path) -> list[str]:
    """The names of the networks of a runs directory that no package has. BadInput if one is damaged."""
    names = [own.read(runs, path.parent.name).name for path in sorted(runs.glob("networks/*/network.json"))]
    return names + [known.read(runs, path.parent.name).name for path in sorted(runs.glob(f"networks/*/{known.NOTE}"))]


def _read(path: Path) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes()
    return None


# Models


def survey(name: Name) -> "tuple[Traced, tuple[Piece, ...]]":
    """A network's description and its segments, without allocating weights. BadInput if it cannot be traced or cut."""
    from yosinski.networks.tracing import graph, own_graph

    return own_graph.survey(name) if name.library == "file" else graph.survey(name)


def made(name: Name, outputs: int) -> "tuple[nn.Module, dict[str, Any]]":
    """The model with random weights from its library or its file, and the arguments of the constructor.

    BadInput if it does not support the side.
    """
    from yosinski.networks import libraries
    from yosinski.networks.tracing import own_graph

    return own_graph.plain(name, outputs) if name.library == "file" else libraries.made(name, outputs)


def operations(model: "nn.Module", name: Name) -> "fx.Graph":
    """The graph of a model's operations, with dropout by `layers.Dropout`."""
    from yosinski.networks.tracing import graph, own_graph

    return own_graph.operations(model, name) if name.library == "file" else graph.operations(model, name)
