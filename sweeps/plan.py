"""The plan: the runs of a sweep with bases before their copies, minus what is done, in packs, and what it costs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sweeps.speeds import ANY, Device, Speeds, measured
from yosinski import files
from yosinski.data import find
from yosinski.data.card import Card
from yosinski.experiment.cost import RunCost, check_batch, cost, in_pack, stored
from yosinski.experiment.run import Run
from yosinski.networks.catalogue import architecture
from yosinski.records import claims, specs
from yosinski.records import states as recorded
from yosinski.records.states import State

START = 6.0  # seconds that a worker takes to start


@dataclass(frozen=True)
class Pack:
    """Runs that one process trains together on one stream of batches; all wait for the same parents."""

    runs: tuple[Run, ...]

    @property
    def parents(self) -> tuple[Run, ...]:
        """The bases that must have ended before."""
        return tuple({run.parent.id: run.parent for run in self.runs if run.parent}.values())

    @property
    def name(self) -> str:
        """For people: the runs' names, shortened where they differ in the cut only."""
        cuts: dict[Run, list[int]] = defaultdict(list)
        for run in self.runs:
            cuts[replace(run, cut=min(run.cut, 1))].append(run.cut)
        return " ".join(_name(alike, indices) for alike, indices in cuts.items())


@dataclass(frozen=True)
class Plan:
    """Runs in order with their states; `packs` of those that are left.

    `stale` are the ids of copies that were cut from other weights than their base's record names now.
    """

    runs: tuple[Run, ...]
    states: dict[str, State]
    stale: frozenset[str]
    packs: tuple[Pack, ...]
    speeds: Speeds
    workers: int

    @cached_property
    def costs(self) -> dict[str, RunCost]:
        """What every run costs alone."""
        return {run.id: cost(run, self.cards.get(run.half.data)) for run in self.runs}

    @cached_property
    def cards(self) -> dict[str, Card]:
        """The data sets by the texts that say where they are."""
        return {name: find.card(name) for name in {run.half.data for run in self.runs if run.is_trained}}

    @property
    def stored(self) -> int:
        """Bytes of the stored features with which what is left begins, whether they are there already or not."""
        return stored(self.left, self.cards)

    @property
    def left(self) -> list[Run]:
        """Runs that are still to be trained, here or by whom they are claimed."""
        return [run for pack in self.packs for run in pack.runs]

    @property
    def awaited(self) -> list[Run]:
        """Bases from outside whose weights have not been brought in yet; nobody trains them."""
        return [run for run in self.runs if not run.is_trained and self.states[run.id] != "done"]

    @cached_property
    def caused(self) -> dict[str, float]:
        """The FLOPs that every run that is left causes in its pack, by id."""
        return {
            run.id: flops
            for pack in self.packs
            for run, flops in zip(pack.runs, in_pack(pack.runs, self.cards[pack.runs[0].half.data]), strict=True)
        }

    def seconds(self, run: Run) -> float:
        """How long one worker takes for it, in its pack; for one that is not left, alone."""
        cost = self.costs[run.id]
        return self.speeds.seconds(run, cost.flops, self.caused.get(run.id, float(cost.flops)), cost.steps)

    @property
    def total_seconds(self) -> float:
        """How long all workers together take for what is left: their work shared out, or the longest chain."""
        takes = [sum(map(self.seconds, pack.runs)) + START for pack in self.packs]
        bases = {run.id: needed for pack, needed in zip(self.packs, takes, strict=True) for run in pack.runs}
        chains = [
            needed + max((bases.get(parent.id, 0.0) for parent in pack.parents), default=0.0)
            for pack, needed in zip(self.packs, takes, strict=True)
        ]
        return max(sum(takes) / self.workers, *chains, 0.0)

    def as_json(self) -> dict[str, Any]:
        """See docs/formats.md."""
        return {
            "runs": [
                {
                    "id": run.id,
                    "name": run.name,
                    "state": self.states[run.id],
                    "stale": run.id in self.stale,
                    "parent": run.parent.id if run.parent else None,
                    "cut": run.cut,
                    "treatment": run.treatment,
                    "parameters": self.costs[run.id].parameters,
                    "trained_parameters": self.costs[run.id].trained_parameters,
                    "flops": self.costs[run.id].flops,
                    "seconds": round(self.seconds(run), 1),
                }
                for run in self.runs
            ],
            "packs": [
                {
                    "runs": [run.id for run in pack.runs],
                    "parents": [parent.id for parent in pack.parents],
                    "seconds": round(sum(map(self.seconds, pack.runs)), 1),
                }
                for pack in self.packs
            ],
            "done": len(self.runs) - len(self.left) - len(self.awaited),
            "left": len(self.left),
            "stale": len(self.stale),
            "stored": self.stored,
            "seconds": round(self.total_seconds, 1),
            "workers": self.workers,
            "basis": self.speeds.basis,
        }


def plan(runs: Iterable[Run], where: Path, workers: int, device: Device = ANY) -> Plan:
    """Order the runs of a sweep, look up what is done in the runs directory, and pack what is left.

    A copy whose base ended stuck or diverged is blocked, and not among what is left; nor is a base from outside.
    device: what it will be computed on, for the estimate of time. BadInput for what cannot be trained.
    """
    wanted = in_order(runs)
    states, stale = look([(run.id, run.parent.id if run.parent else None) for run in wanted], where)
    left = [run for run in wanted if run.is_trained and states[run.id] not in (*recorded.FINAL, "blocked")]
    check_batches(left)
    finished = (run for run in wanted if states[run.id] == "done")
    return Plan(wanted, states, stale, packs(left, workers), measured(where, finished, device), workers)


def check_batches(runs: Iterable[Run]) -> None:
    """BadInput if a network would be shown fewer images in a step than it can be trained on."""
    for run in runs:
        if architecture(run.network).paired:
            check_batch(run, find.card(run.half.data))


def in_order(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Every run once, bases before their copies, whether the sweep names them or not."""
    ordered: dict[str, Run] = {}
    for run in runs:
        if run.parent is not None:
            ordered.setdefault(run.parent.id, run.parent)
        ordered.setdefault(run.id, run)
    return tuple(ordered.values())


def look(
    runs: Iterable[tuple[str, str | None]],
    where: Path,
    ended: claims.Ended = claims.no_scheduler,
    bases: Mapping[str, State] | None = None,
) -> tuple[dict[str, State], frozenset[str]]:
    """What became of runs, by id, and which copies are stale.

    runs: ids with their parents' ids, bases before their copies; bases: states of parents that are not among them.
    """
    ids = specs.ids(where)
    states: dict[str, State] = {}
    weights: dict[str, str] = {}
    stale: set[str] = set()
    for run_id, parent in runs:
        state, record = recorded.look(specs.folder(where, run_id), ended) if run_id in ids else ("missing", None)
        if parent is not None and state not in recorded.FINAL:
            if (states.get(parent) or (bases or {}).get(parent)) in ("stuck", "diverged"):
                state = "blocked"
            elif state == "blocked":  # once; its base has been mended since, or will be
                state = "missing"
        states[run_id] = state
        if record is not None and state == "done":
            weights[run_id] = record["weights"]
            if parent is not None and weights.get(parent, record["parent_weights"]) != record["parent_weights"]:
                stale.add(run_id)
    return states, frozenset(stale)


def renew(where: Path, stale: Iterable[str]) -> None:
    """Set the records of stale copies aside, so that they are trained anew."""
    for run_id in stale:
        files.set_aside(specs.folder(where, run_id) / "record.json", "stale")


def _name(run: Run, cuts: list[int]) -> str:
    """The name of runs that differ in their cuts only: A1-7B+, A3,5B, A3-5+2B."""
    gapless = len(cuts) > 1 and cuts == list(range(cuts[0], cuts[-1] + 1))
    return run.named(f"{cuts[0]}-{cuts[-1]}" if gapless else ",".join(map(str, cuts)))


def state(run: Run, where: Path) -> State:
    """What became of a run; a copy that was blocked once is missing again when its base has been mended since."""
    current = recorded.state(specs.folder(where, run.id))
    if current == "blocked" and run.parent is not None:
        base = recorded.state(specs.folder(where, run.parent.id))
        return "blocked" if base in ("stuck", "diverged") else "missing"
    return current


def packs(runs: Iterable[Run], workers: int = 1, size: int | None = None) -> tuple[Pack, ...]:
    """Group runs by what a pack must share and by their parent; split the groups until every worker has some.

    size: at most so many runs in a pack.
    """
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        parent = run.parent.id if run.parent else None
        shared = (run.network, run.half.digest, run.seed, run.role, run.recipe.digest, run.examples_per_class)
        groups[*shared, parent, run.below].append(run)
    parts = -(-2 * workers // len(groups)) if groups and size is None else 1
    return tuple(
        Pack(part)
        for group in groups.values()
        for part in _divide(group, max(parts, -(-len(group) // (size or 10**9))))
    )


def _divide(runs: list[Run], parts: int) -> list[tuple[Run, ...]]:
    size = -(-len(runs) // parts)
    return [tuple(runs[start : start + size]) for start in range(0, len(runs), size)]
