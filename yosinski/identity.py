"""Identity by value: equal values have equal canonical JSON, and equal hashes.

Ids never change. So a field that is added to a dataclass later has a default with the old meaning (`later`), and is
left out of the hash and of files while it has this default.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, fields
from functools import cache
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def later(as_before: Any) -> Any:
    """A dataclass field that was added later; its default means the same as a missing field."""
    return field(default=as_before, metadata={"as_before": as_before})


@cache
def as_before(kind: Any) -> Mapping[str, Any]:
    """The later fields of a dataclass with their defaults."""
    return {field.name: field.metadata["as_before"] for field in fields(kind) if "as_before" in field.metadata}


def changed(value: Any) -> dict[str, Any]:
    """The later fields of a dataclass that do not have their defaults."""
    return {
        name: getattr(value, name) for name, before in as_before(type(value)).items() if getattr(value, name) != before
    }


def told(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, without later ones that have their defaults."""
    first = {field.name: getattr(value, field.name) for field in fields(value) if "as_before" not in field.metadata}
    return first | changed(value)


def every(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """All fields of a dataclass: `values`, as made by `told`, with the defaults of later fields."""
    return {**as_before(kind), **values}
