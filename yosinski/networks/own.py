"""Networks of your own: `path/to/net.py:build@64`, identified by their content. No torch.

The text of a file becomes `net.py:build@64#1a2b3c4d`. The digits are a hash of the code, the name of the function or
class, the side of images and the recorded operations, but not of the file's path. In a run's spec it is `file:` and all
digits. The code is kept in `networks/<digest>/` of the runs directory and read from there when a run is loaded; it is
executed only when such a network is built.

Networks that were looked at or read from a runs directory are registered by digest in this process.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.errors import BadInput
from yosinski.identity import digest
from yosinski.networks.own_code import Code
from yosinski.networks.traced import Traced, checked_side

PREFIX = "file:"  # of a network in a spec
SPEC = re.compile(rf"{PREFIX}[0-9a-f]{{16}}")
FORM = re.compile(r"(?P<path>.+\.py)(?P<maker>:[^:@#]*)?(?P<side>@[^:@#]*)?(?P<digits>#[^:@#]*)?", re.DOTALL)


@dataclass(frozen=True)
class Own:
    """A network of your own.

    graph: hash of its operations; head: the tensor that grows with the number of outputs, and the axis.
    """

    code: Code
    maker: str
    side: int
    graph: str
    head: tuple[str, int]
    described: Traced

    @cached_property
    def digest(self) -> str:
        """16 hex digits of everything that defines the network; the file's name is not included."""
        sources = {"" if path == self.code.main else path: hashed for path, hashed in self.code.hashes().items()}
        return digest({"sources": sources, "maker": self.maker, "side": self.side, "graph": self.graph})

    @property
    def name(self) -> str:
        """The name: `net.py:build@64#1a2b3c4d`."""
        return f"{self.code.file}:{self.maker}@{self.side}#{self.digest[:8]}"

    @property
    def identity(self) -> str:
        """The network in a spec."""
        return f"{PREFIX}{self.digest}"


_known: dict[str, Own] = {}  # registered networks by digest


def is_own(network: str) -> bool:
    """Whether a network comes from a file: `net.py:build`, or `file:` and a digest in a spec."""
    return SPEC.fullmatch(network) is not None or FORM.fullmatch(network) is not None


def shown(network: str | None) -> str | None:
    """The name of a network in a spec; for a file that this process does not know, the digest."""
    own = _known.get(network.removeprefix(PREFIX)) if network else None
    return own.name if own else network


def parts(network: str) -> tuple[str, str, int | None, str]:
    """The parts of a text: path of the file, name of the function or class, side, digits.

    Missing parts are empty or None. BadInput if the side is no number.
    """
    match = None if SPEC.fullmatch(network) else FORM.fullmatch(network)
    if match is None:
        return "", "", None, network.removeprefix(PREFIX)
    side = None if match["digits"] else checked_side(network.removeprefix(match["path"]))
    return match["path"], (match["maker"] or ":")[1:], side, (match["digits"] or "#")[1:]


def remembered(network: str) -> Own:
    """The registered network of a text with digits. BadInput if it is not registered."""
    if network.startswith(PREFIX):
        if network.removeprefix(PREFIX) not in _known:
            raise BadInput(f"the code of network {network} is not known here")
        return _known[network.removeprefix(PREFIX)]
    match = FORM.fullmatch(network)
    named = (match["maker"], match["side"]) if match else ()
    digits = (match["digits"] or "#")[1:] if match else ""
    for own in _known.values():
        if (f":{own.maker}", f"@{own.side}") == named and len(digits) > 7 and own.digest.startswith(digits):
            return own
    raise BadInput(f"the code of network {network!r} is not known here: give the path of its file, or its --runs")


def remember(own: Own) -> Own:
    """Register a network. If it is registered already, returns that object."""
    return _known.setdefault(own.digest, own)


def names_like(beginning: str) -> list[str]:
    """The names of registered networks with this beginning, sorted."""
    return sorted(own.name for own in _known.values() if own.name.startswith(beginning))


# The runs directory


def folder(runs: Path, digits: str) -> Path:
    """The directory of a network's code, by its digest."""
    return runs / "networks" / digits


def keep(runs: Path, own: Own) -> None:
    """Write the code of a network to the runs directory, unless it is there."""
    target = folder(runs, own.digest)
    if (target / "network.json").exists():
        return
    with files.whole_folder(target, ".network-") as temporary:
        for path, text in own.code.sources.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(text)
        files.write_json(temporary / "network.json", _as_json(own))


def read(runs: Path, network: str) -> Own:
    """The network of a spec from a runs directory. Nothing is executed.

    BadInput if it is missing, Damaged if it has changed.
    """
    digits = network.removeprefix(PREFIX)
    path = folder(runs, digits) / "network.json"
    if not path.exists():
        raise BadInput(f"{path} is missing: the code of a network of these runs")
    value = files.read_json(path)
    try:
        sources = {name: (path.parent / name).read_bytes() for name in value["sources"]}
        code = Code(path.parent.absolute(), value["main"], sources)
        own = Own(
            code, value["maker"], value["side"], value["graph"], tuple(value["head_tensor"]), Traced.from_json(value)
        )
        damaged = own.digest != digits
    except (OSError, KeyError, TypeError) as error:
        raise files.Damaged(path) from error
    if damaged:
        raise files.Damaged(path)
    return remember(own)


def read_all(runs: Path) -> None:
    """Register all networks of a runs directory. A damaged one is skipped; using it raises the error."""
    for path in sorted((runs / "networks").glob("*/network.json")):
        with suppress(BadInput):
            read(runs, path.parent.name)


def _as_json(own: Own) -> dict[str, Any]:
    content = {"digest": own.digest, "main": own.code.main, "maker": own.maker, "graph": own.graph}
    return {**content, "sources": own.code.hashes(), "head_tensor": own.head, **own.described.as_json()}
