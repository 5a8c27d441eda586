"""Networks of somebody's own: `path/to/net.py:build@64`, known from then on by what they are. No torch.

The text of a file becomes `net.py:build@64#1a2b3c4d`, in which the digits stand for the code, what of it makes the
network, the side of its images and the operations that came of it: for everything but where the file lies. In a run's
spec it is `file:` and all digits. The code is kept in `networks/<digest>/` of the runs directory, and is read from
there when a run is loaded: it is executed only when such a network is built.

What has been looked at, or read from a runs directory, this process knows by its digest; nothing else is remembered.
"""

import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from yosinski import files
from yosinski.errors import BadInput
from yosinski.identity import digest
from yosinski.own_code import Code, definitions
from yosinski.traced import Traced, checked_side, traced_from

FORM = re.compile(r"(?P<path>.+\.py)(?P<maker>:[^:@#]*)?(?P<side>@[^:@#]*)?(?P<digest>#[^:@#]*)?", re.DOTALL)
PREFIX = "file:"  # of a network in a spec


@dataclass(frozen=True)
class Own:
    """A network of somebody's own.

    graph: the hash of its operations; head: the tensor that grows with the outputs, and along which of its axes.
    """

    code: Code
    maker: str
    side: int
    graph: str
    head: tuple[str, int]
    described: Traced

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all that the network is; what the file is called is not among it."""
        sources = {"" if path == self.code.main else path: its for path, its in self.code.hashes().items()}
        return digest({"sources": sources, "maker": self.maker, "side": self.side, "graph": self.graph})

    @property
    def name(self) -> str:
        """What it is called: `net.py:build@64#1a2b3c4d`."""
        return f"{self.code.file}:{self.maker}@{self.side}#{self.digest[:8]}"

    @property
    def identity(self) -> str:
        """What a spec says of it."""
        return f"{PREFIX}{self.digest}"


_known: dict[str, Own] = {}  # by digest
_looked: dict[tuple[Path, str, int | None], tuple[Own, dict[Path, bytes]]] = {}  # with what its files held then


def shown(network: str) -> str:
    """The name of a network that a spec speaks of, as far as it is known here."""
    known = _known.get(network.removeprefix(PREFIX))
    return known.name if known else network


def resolve(network: str) -> Own:
    """The network that a text means; BadInput if it is not known, or if no network comes of the file."""
    if network.startswith(PREFIX):
        if network.removeprefix(PREFIX) not in _known:
            raise BadInput(f"the code of network {network} is not known here")
        return _known[network.removeprefix(PREFIX)]
    told = FORM.fullmatch(network)
    assert told is not None
    if told["digest"]:
        named = told["maker"], told["side"]
        for known in _known.values():
            fits = (f":{known.maker}", f"@{known.side}") == named and len(told["digest"]) > 8
            if fits and known.digest.startswith(told["digest"][1:]):
                return known
        raise BadInput(f"the code of network {network!r} is not known here: give the path of its file, or its --runs")
    side = checked_side(network.removeprefix(told["path"]))
    return _look(network, Path(told["path"]).expanduser(), (told["maker"] or ":")[1:], side)


def _look(network: str, path: Path, maker: str, side: int | None) -> Own:
    if not path.is_file():
        like = sorted(known.name for known in _known.values() if known.name.startswith(f"{path.name}:{maker}"))
        there = f"; of such a file there was {', '.join(like)}, which these runs know by that name" if like else ""
        raise BadInput(f"no file {path} for network {network!r}{there}")
    code = Code.at(path)
    if not maker:
        defined = ", ".join(definitions(code.sources[code.main])) or "nothing"
        raise BadInput(f"network {network!r}: say what makes it, as in {path.name}:build; {path.name} has: {defined}")
    before, held = _looked.get((path.absolute(), maker, side), (None, {}))
    if before and all(_read(source) == text for source, text in held.items()):
        return before
    from yosinski import own_graph  # executes it, and loads torch

    found = own_graph.look(code, maker, side)
    held = {code.folder / name: text for name, text in found.code.sources.items()}
    found = _known.setdefault(found.digest, found)
    _looked[path.absolute(), maker, side] = found, held
    return found


def _read(path: Path) -> bytes | None:
    with suppress(OSError):
        return path.read_bytes()
    return None


# Where they are kept


def folder(runs: Path, its: str) -> Path:
    """The directory of a network's code, by its digest."""
    return runs / "networks" / its


def keep(runs: Path, network: str) -> None:
    """Put the code of a network where the runs directory has it; what is there stays."""
    own = resolve(network)
    target = folder(runs, own.digest)
    if (target / "network.json").exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".network-", dir=target.parent))
    try:
        temporary.chmod(0o755)
        for path, text in own.code.sources.items():
            (temporary / path).parent.mkdir(parents=True, exist_ok=True)
            (temporary / path).write_bytes(text)
        files.write_json(temporary / "network.json", _as_json(own))
        with suppress(OSError):  # somebody else was quicker
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read(runs: Path, network: str) -> Own:
    """The network that a spec speaks of, as a runs directory keeps it; nothing is executed.

    BadInput if it is missing, Damaged if it is not what it was.
    """
    its = network.removeprefix(PREFIX)
    path = folder(runs, its) / "network.json"
    if not path.exists():
        raise BadInput(f"{path} is missing: the code of a network of these runs")
    value = files.read_json(path)
    try:
        sources = {name: (path.parent / name).read_bytes() for name in value["sources"]}
        code = Code(path.parent.absolute(), value["main"], sources)
        found = Own(
            code, value["maker"], value["side"], value["graph"], tuple(value["head_tensor"]), traced_from(value)
        )
        damaged = found.digest != its
    except (OSError, KeyError, TypeError) as error:
        raise files.Damaged(path) from error
    if damaged:
        raise files.Damaged(path)
    return _known.setdefault(its, found)


def read_all(runs: Path) -> None:
    """Let this process know all networks that a runs directory keeps; one that is damaged is left to who needs it."""
    for path in sorted((runs / "networks").glob("*/network.json")):
        with suppress(BadInput):
            read(runs, path.parent.name)


def _as_json(own: Own) -> dict[str, Any]:
    told = {"digest": own.digest, "main": own.code.main, "maker": own.maker, "graph": own.graph}
    return {**told, "sources": own.code.hashes(), "head_tensor": own.head, **own.described.as_json()}
