"""Treatments: what happens to the segments below the cut. Each treatment is one entry of a table."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from yosinski.data.half import Half
from yosinski.experiment.recipes import Recipe


class Cut(NamedTuple):
    """Where a network is cut, and its recipe: n of its N = `last` segments lie below the cut."""

    n: int
    last: int
    preserved: int  # number of segments above the cut that also start as the parent's
    recipe: Recipe


def _below(cut: Cut) -> int:
    return cut.n


def _everything(cut: Cut) -> int:
    return cut.last


def _at_once(cut: Cut, n: int) -> float:
    return 0.0


def _even(cut: Cut, n: int) -> float:
    return 1.0


@dataclass(frozen=True)
class Treatment:
    """Definition of one treatment. Segments are counted n = 1..N + 1; the last is the head.

    mark: end of a run's name in the paper's notation, A3B+
    meaning: for legends
    advice: for recommendations
    copied: whether the run has a parent and keeps its first segments
    partners: what a run has beside its half: further "tasks", further "inputs", or nothing
    kept: number of segments that are kept
    preserves: whether further segments may start as the parent's
    begins: share of the training after which a segment is trained; infinite for never
    restart: share of the training after which the schedule of rates starts again
    pace: rate of a segment as a multiple of the new segments' rate
    """

    name: str
    mark: str = ""
    meaning: str = ""
    advice: str = ""
    copied: bool = True
    partners: str = ""
    kept: Callable[[Cut], int] = _below
    preserves: bool = False
    begins: Callable[[Cut, int], float] = _at_once
    restart: Callable[[Cut], float] = lambda cut: 0.0
    pace: Callable[[Cut, int], float] = _even


def _frozen_below(cut: Cut, n: int) -> float:
    return math.inf if n <= cut.n else 0.0


TREATMENTS: dict[str, Treatment] = {
    treatment.name: treatment
    for treatment in (
        Treatment("base", meaning="trained from scratch", copied=False),
        Treatment("outside", meaning="trained elsewhere", copied=False),
        Treatment(
            "frozen",
            meaning="frozen",
            advice="freeze what is below",
            kept=lambda cut: cut.n + cut.preserved,
            preserves=True,
            begins=_frozen_below,
        ),
        Treatment("tuned", mark="+", meaning="fine-tuned", advice="fine-tune everything"),
        Treatment(
            "decayed",
            mark="+decayed",
            meaning="slower the deeper",
            advice="fine-tune everything, the slower the deeper",
            pace=lambda cut, n: cut.recipe.layer_decay ** max(0, cut.n + 1 - n),
        ),
        Treatment(
            "probed",
            mark="+probed",
            meaning="probed, then fine-tuned",
            advice="train what is new first, then everything",
            begins=lambda cut, n: cut.recipe.probe if n <= cut.n else 0.0,
            restart=lambda cut: cut.recipe.probe,
        ),
        Treatment(
            "thawed",
            mark="+thawed",
            meaning="unfrozen one by one",
            advice="unfreeze one segment after another, from the cut down",
            begins=lambda cut, n: cut.recipe.thaw * (cut.n + 1 - n) / cut.n if n <= cut.n else 0.0,
        ),
        Treatment(
            "single",
            mark="+single",
            meaning="one segment fine-tuned",
            advice="keep everything, and fine-tune this segment alone",
            kept=_everything,
            begins=lambda cut, n: 0.0 if n in (cut.n, cut.last + 1) else math.inf,
        ),
        Treatment("random", meaning="random features, frozen", copied=False, begins=_frozen_below),
        Treatment("joint", meaning="tasks share what is below", copied=False, partners="tasks"),
        Treatment("fused", meaning="inputs meet above", copied=False, partners="inputs"),
    )
}

TreatmentName = Annotated[str, TREATMENTS]


def copies() -> list[str]:
    """The names of the treatments that have a parent."""
    return [name for name, treatment in TREATMENTS.items() if treatment.copied]


CopiesTreatment = Annotated[str, copies]


def with_partners() -> list[str]:
    """The names of the treatments of networks with several tasks or inputs."""
    return [name for name, treatment in TREATMENTS.items() if treatment.partners]


# Notation


def notation(source: str, cut: str | int, target: str, treatment: str) -> str:
    """A copy, or random features, in the paper's notation: A3B+ is A's base cut at 3 and fine-tuned on B."""
    return f"{source}{cut}{target}{TREATMENTS[treatment].mark}"


def together(half: Half, partners: Sequence[Half]) -> str:
    """The tasks or inputs of a run: AB, A~B (B's labels are shuffled); xy, x~y (y is another example's)."""
    return "".join(map(called, (half, *partners)))


def called(half: Half) -> str:
    """A task or input as part of a name: B, ~B (shuffled labels), y, ~y (another example's)."""
    return "~" * (half.shuffled or half.drawn == "exchanged") + (half.input or half.name)


OF_TASKS = ("other", "twin", "shuffled")
OF_INPUTS = ("other", "same", "afresh", "exchanged")


def control(half: Half, partner: Half) -> str:
    """What a partner is beside a half, for its contrasts.

    Of tasks: "other", "twin" (the same task), "shuffled" (its labels). Of inputs: "other", "same" (pixels), "afresh"
    (another view of the same picture), "exchanged" (another example's).
    """
    if partner.shuffled:
        return "shuffled"
    if partner.drawn != "own":
        return partner.drawn
    return "twin" if partner == half else "other"


def relation(spec: Mapping[str, Any]) -> str:
    """The relation of a run's source and target: base (or outside), selffer, transfer or random."""
    if spec["treatment"] not in copies():
        return spec["treatment"]
    return "selffer" if spec["source"] == spec["half"] else "transfer"


def series(spec: Mapping[str, Any]) -> str:
    """Treatment and relation in the paper's notation, B being the target: base, BnB, BnB+, AnB, AnB+, RnB and so on."""
    return of_relation(relation(spec), spec["treatment"])


def of_relation(related: str, treatment: str) -> str:
    """The series of a relation and a treatment."""
    source = {"selffer": "B", "transfer": "A", "random": "R"}.get(related)
    return notation(source, "n", "B", treatment) if source else treatment


def every_series() -> list[str]:
    """All series, in the order of tables and legends."""
    related = [of_relation(to, name) for to in ("selffer", "transfer") for name in copies()]
    return ["base", "outside", *related, of_relation("random", "random"), *with_partners()]
