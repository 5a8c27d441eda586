"""Identity: equal values have equal canonical JSON, and its hash stands for them.

Ids are for ever, so a field that a dataclass gets later names the value with which everything is as it was before
(`later`). Where the field has that value, it is left out of what is hashed and written down.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values have equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:16]


def later(as_before: Any) -> Any:
    """A dataclass field that came later, with the default that means as before."""
    return field(default=as_before, metadata={"as_before": as_before})


def as_before(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass that came later, each with the value that means as before."""
    return {field.name: field.metadata["as_before"] for field in fields(kind) if "as_before" in field.metadata}


def changed(value: Any) -> dict[str, Any]:
    """Those fields of a dataclass that came later and are not as before."""
    return {name: getattr(value, name) for name, before in as_before(value).items() if getattr(value, name) != before}


def told(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, without later ones that are as before."""
    first = {field.name: getattr(value, field.name) for field in fields(value) if "as_before" not in field.metadata}
    return first | changed(value)


def every(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What `told` left of a dataclass's fields, with the later ones that it left out: all that there are."""
    return {**as_before(kind), **values}
