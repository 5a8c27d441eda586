"""Reading pickles as plain data (dictionaries, lists, numbers, texts, arrays of bytes) without running code.

Nothing is unpickled: `pickletools` parses the opcodes, and their effect on plain data is reproduced here. What a pickle
would import becomes a `Name`, what it would call or build a `Call`, and references to its reader a `Persistent`. These
objects do nothing. No global is looked up and nothing is called, so no list of allowed globals is needed.
"""

import pickletools
from dataclasses import dataclass, field
from typing import IO, Any, NamedTuple

import numpy as np

LITERALS = frozenset(  # opcodes that push a number, a text or bytes
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8""".split()  # noqa: SIM905
)


class Name(str):
    """A global, as "module name"; it is never imported."""


@dataclass(eq=False)
class Call:
    """A call that a pickle asks for, with its arguments and the state to be set. It is never made.

    name: "" if the called object is no global. state: the arguments of BUILD, in order; items: of a mapping.
    """

    name: str
    arguments: tuple[Any, ...]
    state: list[Any] = field(default_factory=list)
    items: dict[Any, Any] = field(default_factory=dict)


class Persistent(NamedTuple):
    """A reference to an object of the pickle's reader."""

    id: Any


def array(value: Any) -> np.ndarray:
    """A pickled numpy array of bytes, or a list of whole numbers."""
    if isinstance(value, list):
        return np.array(value, np.int64)
    _, shape, kind, by_columns, content = value.state[0]
    if kind.name != "numpy dtype" or kind.arguments[0] not in ("u1", b"u1"):
        raise ValueError("not an array of bytes")
    if isinstance(content, Call):  # Python 3 writes bytes in old protocols as a text and its encoding
        content = content.arguments[0]
    content = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


def plain(content: bytes | IO[bytes], references: list[Persistent] | None = None) -> Any:
    """The plain data in a pickle. Imports and calls stay names; nothing is run.

    From a file, the next pickle is read. Sets become lists. references: a list to which the persistent references are
    appended. ValueError if the bytes are no pickle.
    """
    stack = _Stack([] if references is None else references)
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in LITERALS:
                stack.values.append(argument)
            elif opcode.name == "STOP":
                return stack.values[-1]
            else:
                stack.step(opcode.name, argument)
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise ValueError(f"not a pickle: {type(error).__name__} {error}") from error
    raise ValueError("the pickle has no end")


class _Stack:
    """The stack of values, the marks in it, and the memo."""

    def __init__(self, references: list[Persistent]) -> None:
        self.references = references
        self.values: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[Any, Any] = {}

    def since_mark(self) -> list[Any]:
        """Pop all values above the last mark."""
        mark = self.marks.pop()
        popped = self.values[mark:]
        del self.values[mark:]
        return popped

    def take(self, several: bool) -> list[Any]:
        """Pop what an opcode adds to the value below: `several` values since the mark, or the last one."""
        return self.since_mark() if several else [self.values.pop()]

    def step(self, opcode: str, argument: Any) -> None:
        """Apply an opcode to plain data."""
        values = self.values
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(values))
            case "POP" if self.marks and self.marks[-1] == len(values):
                self.marks.pop()
            case "POP":
                values.pop()
            case "POP_MARK":
                self.since_mark()
            case "DUP":
                values.append(values[-1])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE" | "EMPTY_SET":
                values.append({"EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}.get(opcode, list)())
            case "DICT":
                values.append(_pairs(self.since_mark()))
            case "LIST" | "FROZENSET":
                values.append(self.since_mark())
            case "TUPLE":
                values.append(tuple(self.since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode[-1])
                if len(values) < count:
                    raise IndexError(opcode)
                values[-count:] = [tuple(values[-count:])]
            case "SETITEM" | "SETITEMS":
                items = self.since_mark() if opcode == "SETITEMS" else [values.pop(-2), values.pop()]
                of = values[-1]
                (of.items if isinstance(of, Call) else of).update(_pairs(items))
            case "APPEND" | "APPENDS" | "ADDITEMS":
                items = self.take(opcode != "APPEND")
                if not isinstance(values[-1], Call):
                    values[-1].extend(items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = values[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = values[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                values.append(self.memo[argument])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                values.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "PERSID" | "BINPERSID":
                values.append(Persistent(argument if opcode == "PERSID" else values.pop()))
                self.references.append(values[-1])
            case "GLOBAL":
                values.append(Name(argument))
            case "STACK_GLOBAL":
                module, name = values[-2:]
                values[-2:] = [Name(f"{module} {name}" if isinstance(module, str) and isinstance(name, str) else "")]
            case "EXT1" | "EXT2" | "EXT4":
                values.append(Name(f"copyreg {argument}"))
            case "REDUCE" | "NEWOBJ":
                self.call(values.pop())
            case "NEWOBJ_EX":
                values.pop()
                self.call(values.pop())
            case "OBJ":
                called, *arguments = self.since_mark()
                values.append(called)
                self.call(tuple(arguments))
            case "INST":
                arguments = tuple(self.since_mark())
                values.append(Call(argument, arguments))
            case "BUILD":
                state = values.pop()
                if isinstance(values[-1], Call):  # other values, such as a dictionary, are unchanged
                    values[-1].state.append(state)
            case _:
                raise ValueError(f"opcode {opcode}")

    def call(self, arguments: Any) -> None:
        """Replace the called object by a `Call`."""
        called = self.values[-1]
        if isinstance(called, Persistent) and isinstance(called.id, tuple):  # of torch: ("module", class, source)
            called = next((part for part in called.id if isinstance(part, Name)), None)
        name = called if isinstance(called, Name) else Name("")
        self.values[-1] = Call(name, arguments if isinstance(arguments, tuple) else (arguments,))


def _pairs(items: list[Any]) -> dict[Any, Any]:
    """A dictionary of alternating keys and values. Keys that are not a number or a text become unique objects.

    Hashing deeply nested tuples may take very long, or overflow the stack.
    """
    keys = (key if isinstance(key, str | int | float | bytes | None) else object() for key in items[::2])
    return dict(zip(keys, items[1::2], strict=True))
