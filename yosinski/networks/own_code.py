"""Python code of your own that makes a network: a file and its imports from the same folder. No torch.

Only this module executes it, from bytes in memory, so that the executed code is the hashed code. It is executed anew
every time and leaves nothing in `sys.modules`, so that no state remains and files of the same name do not collide.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import linecache
import os
import site
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import packages_distributions
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType
from typing import Any

from yosinski.errors import BadInput

MAIN = "network_of_your_own"  # name of the executed module, if the file is not part of a package
SIDE_ARGUMENTS = ("image_size", "img_size", "input_size")  # arguments of constructors for the side of images
USUAL_SIDE = 224
OURS = ("yosinski", "sweeps", "analysis", "slurm")
INSTALLED = {
    *(sysconfig.get_paths()[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(*site.getsitepackages(), site.getusersitepackages()),
}


@dataclass(frozen=True)
class Code:
    """A file, and the modules beside it that it imports.

    sources: bytes by path within the folder, of all modules imported so far. whole: no more files are read.
    """

    folder: Path
    main: str
    sources: dict[str, bytes]
    whole: bool = True

    @classmethod
    def at(cls, path: Path) -> "Code":
        """The code of a file on disk. If the file is part of a package, the folder is that around the package."""
        path = path.absolute()
        folder = path.parent
        while (folder / "__init__.py").is_file() and folder.name.isidentifier() and folder.parent != folder:
            folder = folder.parent
        main = path.relative_to(folder).as_posix()
        try:
            return cls(folder, main, {main: path.read_bytes()}, whole=False)
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error

    @property
    def file(self) -> str:
        """The name of the file."""
        return Path(self.main).name

    @property
    def module(self) -> str:
        """The name of the executed module."""
        parts = Path(self.main).with_suffix("").parts
        return ".".join(parts) if len(parts) > 1 and all(map(str.isidentifier, parts)) else MAIN

    def find(self, module: str) -> str | None:
        """The path of a module beside the file or in its package; folders end with a slash. None if there is none."""
        inside = module.replace(".", "/")
        for beside in dict.fromkeys((Path(self.main).parent.as_posix(), ".")):
            start = "" if beside == "." else f"{beside}/"
            for path in (f"{start}{inside}/__init__.py", f"{start}{inside}.py"):
                if path in self.sources or (not self.whole and (self.folder / path).is_file()):
                    return path
            folder = f"{start}{inside}/"
            has_sources = any(path.startswith(folder) for path in self.sources)
            if has_sources or (not self.whole and any((self.folder / folder).glob("*.py"))):
                return folder
        return None

    def source(self, path: str) -> bytes:
        """The bytes of a module, which becomes part of the network."""
        if path not in self.sources:
            self.sources[path] = (self.folder / path).read_bytes()
        return self.sources[path]

    def hashes(self) -> dict[str, str]:
        """The SHA-256 of every source, 64 hex digits."""
        return {path: hashlib.sha256(text).hexdigest() for path, text in sorted(self.sources.items())}

    def texts(self) -> dict[str, str]:
        """Every source as text."""
        return {path: decode_source(text) for path, text in sorted(self.sources.items())}

    @contextmanager
    def loaded(self) -> Iterator[ModuleType]:
        """Context with the file as a module, executed anew. Imports of its folder also work later in the context.

        BadInput if it cannot be executed, or if it imports a module that is neither installed nor beside it.
        """
        before = dict(sys.modules)
        beside = {name for name in {name.partition(".")[0] for name in sys.modules} if self.find(name)}
        for name in list(sys.modules):
            if name.partition(".")[0] in beside and not _is_installed(sys.modules[name]):
                del sys.modules[name]
        hidden = {name: module for name, module in before.items() if name not in sys.modules}
        finder = _Finder(self)
        sys.meta_path.insert(0, finder)
        try:
            with _watched(self) as opened:
                with self.blamed("cannot be loaded"):
                    module = self._executed()
                yield module
            self._check_imports(before)
            if opened:
                raise BadInput(
                    f"{self.file} reads {min(opened)}, which is no part of the network and may not be there when it "
                    "is trained: write what it says into the code; trained weights are given as weights=PATH"
                )
        finally:
            sys.meta_path.remove(finder)
            for name in [name for name, module in sys.modules.items() if _loader(module) is _Loader]:
                del sys.modules[name]
            sys.modules.update(hidden)

    def _executed(self) -> ModuleType:
        if self.module != MAIN:
            return importlib.import_module(self.module)
        spec = importlib.util.spec_from_loader(MAIN, _Loader(self, self.main))
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[MAIN] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def _check_imports(self, before: dict[str, ModuleType]) -> None:
        named = {name for path, text in self.sources.items() if path.endswith(".py") for name in _imported(text)}
        for name in sorted(named):
            if self.find(name) and (name in sys.stdlib_module_names or PathFinder.find_spec(name, sorted(INSTALLED))):
                raise BadInput(f"{self.file} imports {name}, which is installed, but lies beside it, too: rename it")
        for name, module in sorted(sys.modules.items()):
            top = name.partition(".")[0]
            if (name in before and top not in named) or _is_installed(module) or _loader(module) is _Loader:
                continue
            if top != "__main__" and top not in _packages():
                origin = getattr(module, "__file__", None)
                raise BadInput(
                    f"{self.file} imports {name} ({origin}), which is neither installed nor beside it: "
                    "put it into its folder"
                )

    @contextmanager
    def blamed(self, what: str) -> Iterator[None]:
        """Context in which an error in this code becomes one line with its place."""
        try:
            yield
        except BadInput:
            raise
        except (Exception, SystemExit) as error:
            raise BadInput(f"{self.file} {what}: {described(error)} ({self.place(error)})") from error

    def place(self, error: BaseException) -> str:
        """The place of an error: the last line in this code, or else in a library other than torch."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"{Path(error.filename).name}, line {error.lineno}: {(error.text or '').strip()}"
        lines = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
        own_lines = [line for line in lines if self._path(line[0])]
        others = [line for line in lines if not line[0].startswith("<") and not _is_between(line[0])]
        return self.line(*(own_lines or others)[-1]) if own_lines or others else ""

    def line(self, file: str, number: int) -> str:
        """A line of a source; for this code as it was executed, even if the file has changed since."""
        path = self._path(file)
        if path is None:
            return f"{'/'.join(Path(file).parts[-3:])}, line {number}: {linecache.getline(file, number).strip()}"
        lines = decode_source(self.sources[path]).splitlines()
        return f"{path}, line {number}: {lines[number - 1].strip() if 0 < number <= len(lines) else ''}"

    def _path(self, file: str) -> str | None:
        """The path of a source by the name of its file; None for other files."""
        path = Path(file)
        inside = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else ""
        return inside if inside in self.sources else None


def _is_between(file: str) -> bool:
    """Whether a file is part of torch or of this project, and so not the place of an error."""
    return Path(file).is_relative_to(Path(__file__).parent.parent) or "torch" in Path(file).parts


def described(error: BaseException) -> str:
    """An error on one line."""
    lines = [error.msg] if isinstance(error, SyntaxError) else str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


_watching: list[tuple[Code, set[str]]] = []  # files that code opens while it is loaded; an audit hook cannot be removed


@contextmanager
def _watched(code: Code) -> Iterator[set[str]]:
    """Context with the set of files that code reads, also through libraries, without imported modules."""
    if not _watching:
        sys.addaudithook(_note_opened)
        _watching.append((code, set()))  # stays non-empty
    _watching.append((code, opened := set()))
    try:
        yield opened
    finally:
        _watching.pop()


def _note_opened(event: str, args: tuple[Any, ...]) -> None:
    if event != "open" or len(_watching) < 2 or not isinstance(args[0], str | Path):
        return
    (code, opened), path = _watching[-1], Path(args[0]).absolute()
    reads = not args[2] & (os.O_WRONLY | os.O_RDWR) if isinstance(args[2], int) else True
    foreign = any(path.is_relative_to(place) for place in (*INSTALLED, "/dev", "/proc", "/sys", "/etc"))
    if not reads or foreign or code._path(str(path)) or not path.is_file():
        return
    frame: Any = sys._getframe(1)
    while frame is not None and "importlib" not in frame.f_code.co_filename:
        if code._path(frame.f_code.co_filename):
            opened.add(str(path))
            return
        frame = frame.f_back


class _Finder(MetaPathFinder):
    """Import finder for the modules beside a file, before all others."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        """The spec of a module of the folder, or None."""
        place = self.code.find(fullname)
        if place is None:
            return None
        if place.endswith("/"):  # a folder of modules without an __init__.py
            spec = ModuleSpec(fullname, _Loader(self.code, place), is_package=True)
            spec.submodule_search_locations = [str(self.code.folder / place)]
            return spec
        loader = _Loader(self.code, place)
        return importlib.util.spec_from_loader(fullname, loader, is_package=place.endswith("/__init__.py"))


class _Loader(SourceLoader):
    """Import loader that executes the kept bytes of a module."""

    def __init__(self, code: Code, path: str) -> None:
        self.code, self.path = code, path

    def get_filename(self, fullname: str) -> str:
        """The original path of the file."""
        return str(self.code.folder / self.path)

    def get_data(self, path: str | bytes) -> bytes:
        """The bytes of a source; other files are not read."""
        if str(path) != self.get_filename(""):
            raise OSError(f"{path!r} is no source")
        return b"" if self.path.endswith("/") else self.code.source(self.path)


def _loader(module: ModuleType) -> type | None:
    return type(getattr(getattr(module, "__spec__", None), "loader", None))


def _is_installed(module: ModuleType) -> bool:
    """Whether a module is part of Python, of an installed package or of this project."""
    name = getattr(module, "__name__", "").partition(".")[0]
    file = getattr(module, "__file__", None)
    if name in OURS or name in sys.stdlib_module_names or file is None:
        return True  # modules without a file are made by libraries
    return _is_file_of_a_library(file)


@cache  # asked about thousands of loaded modules, whenever a file is executed
def _is_file_of_a_library(file: str) -> bool:
    return not Path(file).is_absolute() or any(Path(file).is_relative_to(place) for place in INSTALLED)


@lru_cache
def _packages() -> frozenset[str]:
    """The names of all installed modules, including editable packages. Takes a second."""
    return frozenset(packages_distributions())


def _imported(source: bytes) -> set[str]:
    """The top-level names of all modules that a source imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


# The function or class


def arguments(
    code: Code, module: ModuleType, maker: str, outputs: int, side: int | None
) -> tuple[Any, dict, int | None]:
    """The function or class that makes the network, its arguments, and its default side of images.

    BadInput if there is no such name, or if it cannot be called with `num_classes` alone.
    """
    label = f"{code.file}:{maker}"
    made: Any = getattr(module, maker, None)
    if not callable(made):
        defined = [n for n, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        raise BadInput(f"{code.file} has no function or class {maker!r}; it has: {', '.join(defined) or 'none'}")
    try:
        takes = inspect.signature(made).parameters
    except (TypeError, ValueError) as error:
        raise BadInput(f"{label}: what it takes is not known ({error})") from error
    named = {n: p for n, p in takes.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if "num_classes" not in named and not any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        raise BadInput(
            f"{label} takes no num_classes, by which it is called; it takes: {', '.join(takes) or 'nothing'}"
        )
    values: dict[str, Any] = {"num_classes": outputs}
    argument = next((name for name in SIDE_ARGUMENTS if name in named), None)
    if argument is not None:
        usual = named[argument].default
        pair = isinstance(usual, tuple | list)
        side = side or square(usual) or USUAL_SIDE
        values[argument] = (side, side) if pair else side
    lacking = [name for name, p in named.items() if p.default is p.empty and name not in values]
    lacking += [name for name, p in takes.items() if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if lacking:
        raise BadInput(f"{label} is called with num_classes alone, but needs {', '.join(lacking)}, too")
    return made, values, side


def square(value: Any) -> int | None:
    """The side of a square, from a number or a pair of equal numbers; None for other values."""
    if isinstance(value, tuple | list) and len(set(value)) == 1:
        value = value[0]
    return value if type(value) is int and value > 0 else None


def definitions(source: bytes) -> list[str]:
    """The names of the functions and classes that a source defines, without executing it."""
    with suppress(SyntaxError, ValueError):
        kinds = (ast.FunctionDef, ast.ClassDef)
        return [node.name for node in ast.parse(source).body if isinstance(node, kinds) and node.name[0] != "_"]
    return []
