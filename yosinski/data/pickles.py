"""Pickles as plain data: dictionaries, lists, numbers, texts and arrays of bytes, read from opcodes; no code is run."""

import pickletools
from typing import Any, NamedTuple

import numpy as np


class Call(NamedTuple):
    """What a pickle would have called, with which arguments, and the state that it would have set; nobody calls it."""

    name: str
    arguments: tuple[Any, ...]
    state: list[Any]


def array(value: Any) -> np.ndarray:
    """A pickled numpy array of bytes, or a list of whole numbers."""
    if isinstance(value, list):
        return np.array(value, np.int64)
    _, shape, kind, by_columns, content = value.state[0]
    if kind.name != "numpy dtype" or kind.arguments[0] not in ("u1", b"u1"):
        raise ValueError(f"not an array of bytes, but {kind}")
    if isinstance(content, Call):  # Python 3 writes bytes as a text and its encoding
        content = content.arguments[0]
    content = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")


def plain(content: bytes) -> Any:
    """The plain data in a pickle: what a pickle would import or call stays a name, and runs nothing.

    ValueError at opcodes that such data does not have.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def since_mark() -> list[Any]:
        at = marks.pop()
        taken = stack[at:]
        del stack[at:]
        return taken

    def pairs(items: list[Any]) -> dict[Any, Any]:
        return dict(zip(items[::2], items[1::2], strict=True))

    for opcode, argument, _ in pickletools.genops(content):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack[-1]
            case "MARK":
                marks.append(len(stack))
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": {}, "EMPTY_LIST": [], "EMPTY_TUPLE": ()}[opcode.name])
            case "DICT":
                stack.append(pairs(since_mark()))
            case "LIST":
                stack.append(since_mark())
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(opcode.name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "SETITEM" | "SETITEMS":
                items = since_mark() if opcode.name == "SETITEMS" else [stack.pop(-2), stack.pop()]
                stack[-1].update(pairs(items))
            case "APPEND" | "APPENDS":
                items = since_mark() if opcode.name == "APPENDS" else [stack.pop()]
                stack[-1].extend(items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode.name])
            case "GLOBAL":
                stack.append(argument)
            case "STACK_GLOBAL":
                stack[-2:] = [f"{stack[-2]} {stack[-1]}"]
            case "REDUCE":
                stack[-2:] = [Call(str(stack[-2]), stack[-1], [])]
            case "BUILD":
                state = stack.pop()
                stack[-1].state.append(state)
            case _ if argument is not None and not opcode.stack_before:  # numbers, texts and bytes
                stack.append(argument)
            case _:
                raise ValueError(f"opcode {opcode.name}")
    raise ValueError("the pickle has no end")
