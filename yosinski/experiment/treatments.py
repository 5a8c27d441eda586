"""Treatments: what happens to the layers below the cut."""

from collections.abc import Mapping
from typing import Any, Literal

Treatment = Literal["base", "outside", "frozen", "tuned", "decayed", "probed", "thawed", "single", "random"]


COPIES: dict[Treatment, str] = {  # that have a parent, with what marks them in the paper's notation
    "frozen": "",
    "tuned": "+",
    "decayed": "+decayed",
    "probed": "+probed",
    "thawed": "+thawed",
    "single": "+single",
}


SERIES = ("base", "outside", *(f"{copy}{mark}" for copy in ("BnB", "AnB") for mark in COPIES.values()), "RnB")


def relation(spec: Mapping[str, Any]) -> str:
    """How a run's source and target are related: base (or outside), selffer, transfer or random."""
    if spec["treatment"] not in COPIES:
        return spec["treatment"]
    return "selffer" if spec["source"] == spec["half"] else "transfer"


def series(spec: Mapping[str, Any]) -> str:
    """Treatment and relation in the paper's notation, B being the target: base, BnB, BnB+, AnB, AnB+, RnB and so on."""
    treatment: Treatment = spec["treatment"]
    notation = {"selffer": "BnB", "transfer": "AnB", "random": "RnB"}.get(relation(spec), treatment)
    return f"{notation}{COPIES.get(treatment, '')}"
