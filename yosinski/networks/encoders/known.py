"""Encoders by their texts: `hf:PATH_OR_NAME`, `hf:NAME#1a2b3c4d`, and `encoder:` with all digits in a spec. No torch.

What defines an encoder, without its weights, is kept in `networks/<digest>/` of the runs directory and read from there
when a run is loaded, so that its directory may move or vanish. Encoders that were looked at or read are registered by
digest in this process.
"""

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from yosinski import files
from yosinski.errors import BadInput
from yosinski.networks.encoders import directory
from yosinski.networks.encoders.encoder import PREFIX, TOKENIZER, Encoder

FORM = "hf:"
SPEC = re.compile(rf"{PREFIX}[0-9a-f]{{16}}")
NAMED = re.compile(r"hf:[^#]*#([0-9a-f]{8,16})")
NOTE = "encoder.json"

_known: dict[str, Encoder] = {}
_read: dict[Path, tuple[list[int], Encoder]] = {}  # by directory, with the times of its files


def is_encoder(network: str) -> bool:
    """Whether a text names an encoder."""
    return network.startswith(FORM) or SPEC.fullmatch(network) is not None


def encoder_of(network: str) -> Encoder:
    """The encoder of a text. BadInput if it is not known here, see `directory.read`."""
    if SPEC.fullmatch(network):
        digits = network.removeprefix(PREFIX)
    elif named := NAMED.fullmatch(network):
        digits = named[1]
    else:
        return _looked_at(network.removeprefix(FORM))
    for known, encoder in _known.items():
        if known.startswith(digits):
            return encoder
    raise BadInput(f"network {network!r} is not known here: give the path of its directory, or its --runs")


def _looked_at(place: str) -> Encoder:
    path = directory.found(place)
    times = [file.stat().st_mtime_ns for file in sorted([*path.glob("*.json"), *path.glob(directory.POOLING)])]
    if path not in _read or _read[path][0] != times:
        _read[path] = times, directory.read(place)
    return replace(remember(replace(_read[path][1], path=path)), path=path)


def remember(encoder: Encoder) -> Encoder:
    """Register an encoder. If it is registered already, under whatever title, returns that object.

    One that a runs directory has told of gets the place of its directory once this is known.
    """
    before = _known.get(encoder.digest)
    if before is None or (before.path is None and encoder.path is not None):
        _known[encoder.digest] = encoder if before is None else replace(before, path=encoder.path)
    return _known[encoder.digest]


def shown(network: str) -> str:
    """The name of an encoder in a spec; the digest for one that this process does not know."""
    encoder = _known.get(network.removeprefix(PREFIX))
    return encoder.name if encoder else network


# The runs directory


def keep(runs: Path, encoder: Encoder) -> None:
    """Write what defines an encoder to the runs directory, unless it is there."""
    target = runs / "networks" / encoder.digest
    if (target / NOTE).exists():
        return
    with files.whole_folder(target, ".network-") as temporary:
        for name, content in encoder.tokenizer.items():
            (temporary / name).write_bytes(content)
        told = {"title": encoder.title, "kind": encoder.kind, "settings": encoder.settings, "pooling": encoder.pooling}
        files.write_json(temporary / NOTE, {"digest": encoder.digest, **told, "tokenizer": sorted(encoder.tokenizer)})


def read(runs: Path, network: str) -> Encoder:
    """The encoder of a spec from a runs directory. BadInput if it is missing, Damaged if it has changed."""
    digits = network.removeprefix(PREFIX)
    path = runs / "networks" / digits / NOTE
    if not path.exists():
        raise BadInput(f"{path} is missing: the settings of a network of these runs")
    value = files.read_json(path)
    try:
        names = [name for name in value["tokenizer"] if name in (TOKENIZER, *directory.BESIDE)]
        tokenizer = {name: (path.parent / name).read_bytes() for name in names}
        encoder = Encoder(value["title"], value["kind"], value["settings"], value["pooling"], tokenizer)
        damaged = encoder.digest != digits
    except (OSError, KeyError, TypeError) as error:
        raise files.Damaged(path) from error
    if damaged:
        raise files.Damaged(path)
    return remember(encoder)


def read_all(runs: Path) -> None:
    """Register all encoders of a runs directory. A damaged one is skipped; using it raises the error."""
    for path in sorted((runs / "networks").glob(f"*/{NOTE}")):
        with suppress(BadInput):
            read(runs, path.parent.name)
