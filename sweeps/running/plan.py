"""Plans: the runs of a sweep, bases before copies, without finished runs, in packs, with their costs."""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, TypeVar

from sweeps.running.speeds import ANY, Device, Speeds, measured
from yosinski import files
from yosinski.data import find
from yosinski.data.card import Card
from yosinski.experiment.cost import RunCost, check_batch, cost, in_pack, memory, stored
from yosinski.experiment.run import Run
from yosinski.identity import canonical
from yosinski.networks.architectures import Architecture
from yosinski.networks.catalogue import architecture
from yosinski.records import claims, specs
from yosinski.records import states as recorded
from yosinski.records.states import State

START = 6.0  # seconds to start a worker
START_OTHERS = 10.0  # if its network comes from another library, which has to be loaded
ENOUGH = 8  # groups per worker, of which none is divided
TOLERANCE = 0.05  # of a worker's share, by which a pack may be larger
HALVINGS = 30

Item = TypeVar("Item")
Found = TypeVar("Found")


def cost_key(run: Run) -> Hashable:
    """What the cost of a run depends on: everything but its seed and what its parent is."""
    of_copy = run.treatment, run.cut, run.below, run.preserved, run.examples_per_class
    halves = [half.digest for half in run.halves]
    return run.network, run.recipe.digest, *of_copy, *halves, run.towers


def once(
    items: Iterable[Item], key: Callable[[Item], Hashable], compute: Callable[[Item], Found]
) -> Iterator[tuple[Item, Found]]:
    """Each item with what is computed of it, once for all items of equal keys."""
    found: dict[Hashable, Found] = {}
    for item in items:
        if (its_key := key(item)) not in found:
            found[its_key] = compute(item)
        yield item, found[its_key]


@dataclass(frozen=True)
class Pack:
    """Runs that one process trains together on one stream of batches; all have the same parents."""

    runs: tuple[Run, ...]

    @property
    def parents(self) -> tuple[Run, ...]:
        """The bases that must be finished before."""
        return tuple({run.parent.id: run.parent for run in self.runs if run.parent}.values())

    @cached_property
    def cost_key(self) -> Hashable:
        """What its cost depends on. All runs have the same parents, so that they share frozen segments alike."""
        return tuple(map(cost_key, self.runs))

    def processes(self, wanted: int) -> int:
        """Number of processes that train it: those wanted if it is a base whose batches can be divided, else one."""
        return wanted if len(self.runs) == 1 and self.runs[0].divisible else 1

    @property
    def start(self) -> float:
        """Seconds to start it."""
        own = all(isinstance(architecture(network), Architecture) for network in self.runs[0].networks)
        return START if own else START_OTHERS

    @property
    def name(self) -> str:
        """The runs' names, shortened for runs that differ only in the cut."""
        alike: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            alike[canonical(run.spec | {"cut": None})].append(run)
        return " ".join(map(_name, alike.values()))


@dataclass(frozen=True)
class Plan:
    """Runs in order with their states, and `packs` of the remaining runs.

    `stale`: ids of copies that were cut from other weights than those in their base's present record. `begun`: the
    share that is done of runs that were begun, by id.
    """

    runs: tuple[Run, ...]
    states: dict[str, State]
    stale: frozenset[str]
    packs: tuple[Pack, ...]
    speeds: Speeds
    workers: int
    begun: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def costs(self) -> dict[str, RunCost]:
        """The cost of every run alone."""
        found = once(self.runs, cost_key, lambda run: cost(run, self.cards.get(run.half.data)))
        return {run.id: of for run, of in found}

    @cached_property
    def cards(self) -> dict[str, Card]:
        """The data sets by their texts."""
        return {name: find.card(name) for name in data_of(self.runs)}

    @property
    def stored(self) -> int:
        """Size in bytes of the stored features of the remaining runs, including existing ones."""
        return stored(self.left, self.cards)

    @property
    def left(self) -> list[Run]:
        """The remaining runs, including those that another process has claimed."""
        return [run for pack in self.packs for run in pack.runs]

    @property
    def awaited(self) -> list[Run]:
        """Bases from outside whose weights are not in the runs directory yet. They are not trained."""
        return [run for run in self.runs if not run.is_trained and self.states[run.id] != "done"]

    @cached_property
    def caused(self) -> dict[str, float]:
        """The FLOPs that every remaining run causes in its pack, by id."""
        found = once(
            self.packs, lambda pack: pack.cost_key, lambda pack: in_pack(pack.runs, self.cards[pack.runs[0].half.data])
        )
        return {run.id: flops for pack, of in found for run, flops in zip(pack.runs, of, strict=True)}

    def seconds(self, run: Run) -> float:
        """Seconds of one worker for what is left of a run, in its pack; for a run that is not remaining, alone."""
        cost = self.costs[run.id]
        whole = self.speeds.seconds(run, cost.flops, self.caused.get(run.id, float(cost.flops)), cost.steps)
        return whole * (1 - self.begun.get(run.id, 0.0))

    def memory(self, pack: Pack) -> int:
        """Bytes that training a pack takes at least, in float32."""
        return memory(pack.runs, self.cards[pack.runs[0].half.data])

    @property
    def most_memory(self) -> int:
        """Bytes that the largest of the remaining packs takes at least, in float32."""
        return max(of for _, of in once(self.packs, lambda pack: pack.cost_key, self.memory))

    @cached_property
    def total_seconds(self) -> float:
        """Seconds until the last of the workers ends: each takes the first pack whose bases are trained."""
        waiting = [
            ([run.id for run in pack.runs], [base.id for base in pack.parents], takes + pack.start)
            for pack in self.packs
            for takes in (sum(map(self.seconds, pack.runs)),)
        ]
        ends = dict.fromkeys((run.id for run in self.left), math.inf)
        if self.workers >= len(waiting):  # none waits for a worker
            for ids, bases, takes in waiting:
                ends |= dict.fromkeys(ids, max((ends.get(base, 0.0) for base in bases), default=0.0) + takes)
            waiting.clear()
        free, coming = [0.0] * self.workers, []
        while waiting:
            now = heapq.heappop(free)
            ready = (k for k, (_, bases, _) in enumerate(waiting) if all(ends.get(base, 0.0) <= now for base in bases))
            k = next(ready, None)
            if k is None:  # until another worker has trained a base
                heapq.heappush(free, next(end for end in sorted(coming) if end > now))
                continue
            ids, _, takes = waiting.pop(k)
            heapq.heappush(free, now + takes)
            coming = [*(end for end in coming if end > now), now + takes]
            ends |= dict.fromkeys(ids, now + takes)
        return max(ends.values(), default=0.0)

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
                    "memory": self.memory(pack),
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
    """Order the runs of a sweep, find finished ones in the runs directory, and pack the remaining ones.

    A copy whose base is stuck or diverged is blocked, and not among the remaining runs; nor are bases from outside.
    device: for the estimate of time. BadInput for runs that cannot be trained.
    """
    ordered = parents_first(runs)
    states, stale = found_states([(run.id, run.parent.id if run.parent else None) for run in ordered], where)
    left = [run for run in ordered if run.is_trained and states[run.id] not in (*recorded.FINAL, "blocked")]
    check_batches(left)
    speeds = measured(where, (run for run in ordered if states[run.id] == "done"), device)
    begun = {
        run.id: recorded.share_done(specs.folder(where, run.id))
        for run in left
        if states[run.id] in ("running", "interrupted", "failed")
    }
    return Plan(ordered, states, stale, packs(left, workers, speeds=speeds), speeds, workers, begun)


def check_batches(runs: Iterable[Run]) -> None:
    """BadInput if the batches of a run are too small for its network."""
    for run in runs:
        if architecture(run.network).paired:
            check_batch(run, find.card(run.half.data))


def parents_first(runs: Iterable[Run]) -> tuple[Run, ...]:
    """Every run once, bases before their copies, with bases that the sweep does not list."""
    ordered: dict[str, Run] = {}
    for run in runs:
        if run.parent is not None:
            ordered.setdefault(run.parent.id, run.parent)
        ordered.setdefault(run.id, run)
    return tuple(ordered.values())


def found_states(
    runs: Iterable[tuple[str, str | None]],
    where: Path,
    ended: claims.Ended = claims.no_scheduler,
    bases: Mapping[str, State] | None = None,
) -> tuple[dict[str, State], frozenset[str]]:
    """The states of runs by id, and the stale copies.

    runs: ids with their parents' ids, bases before their copies; bases: states of parents that are not in `runs`.
    """
    ids = specs.ids(where)
    states: dict[str, State] = {}
    weights: dict[str, str] = {}
    stale: set[str] = set()
    for run_id, parent in runs:
        state, record = (
            recorded.state_and_record(specs.folder(where, run_id), ended) if run_id in ids else ("missing", None)
        )
        if parent is not None and state not in recorded.FINAL:
            if (states.get(parent) or (bases or {}).get(parent)) in ("stuck", "diverged"):
                state = "blocked"
            elif state == "blocked":  # an old record; its base has been or will be trained again
                state = "missing"
        states[run_id] = state
        if record is not None and state == "done":
            weights[run_id] = record["weights"]
            if parent is not None and weights.get(parent, record["parent_weights"]) != record["parent_weights"]:
                stale.add(run_id)
    return states, frozenset(stale)


def renew(where: Path, stale: Iterable[str]) -> None:
    """Rename the records of stale copies, so that they are trained again."""
    for run_id in stale:
        files.set_aside(specs.folder(where, run_id) / "record.json", "stale")


def data_of(runs: Iterable[Run]) -> set[str]:
    """The data sets that runs are trained on, of all tasks and inputs."""
    return {half.data for run in runs if run.is_trained for half in run.halves}


def _name(runs: Sequence[Run]) -> str:
    """The name of runs that differ only in their cuts: A1-7B+, A3,5B, A3-5+2B."""
    cuts = [run.cut for run in runs]
    gapless = len(cuts) > 1 and cuts == list(range(cuts[0], cuts[-1] + 1))
    return runs[0].named(f"{cuts[0]}-{cuts[-1]}" if gapless else ",".join(map(str, cuts)))


def state(run: Run, where: Path) -> State:
    """The state of a run. A blocked copy is missing again when its base has been trained successfully since."""
    current = recorded.state(specs.folder(where, run.id))
    if current == "blocked" and run.parent is not None:
        base = recorded.state(specs.folder(where, run.parent.id))
        return "blocked" if base in ("stuck", "diverged") else "missing"
    return current


def packs(
    runs: Iterable[Run], workers: int = 1, size: int | None = None, speeds: Speeds | None = None
) -> tuple[Pack, ...]:
    """Group runs by the common values of a pack and by parent, and divide large groups by what their runs cost.

    A group is divided until a pack takes at most half of one worker's share of all work. Runs of a pack stay next to
    each other as in `runs`, so that those that share frozen segments stay together. size: maximum number of runs in a
    pack; with it workers do not matter. speeds: for the seconds of runs, by default the assumed ones.
    """
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        parent = run.parent.id if run.parent else None
        shared = (run.network, run.half.digest, run.seed, run.role, run.recipe.digest, run.examples_per_class)
        partners = tuple(partner.digest for partner in run.partners), run.how.partners
        groups[*shared, parent, run.below, partners].append(run)
    if size is None and (workers == 1 or len(groups) >= ENOUGH * workers):  # a group is a small part of the work
        return tuple(Pack(tuple(group)) for group in groups.values())
    speeds = speeds or Speeds("")
    if size is None:
        takes = [_seconds(group, speeds) for group in groups.values()]
        share = sum(map(sum, takes)) / (2 * workers)
        numbers = [math.ceil(sum(seconds) / share - TOLERANCE) if share else 1 for seconds in takes]
        parts = map(divide, groups.values(), takes, numbers)
    else:
        whole = [[tuple(group)] if len(group) <= size else [] for group in groups.values()]
        parts = [
            of_group or divide(group, _seconds(group, speeds), -(-len(group) // size), size)
            for group, of_group in zip(groups.values(), whole, strict=True)
        ]
    return tuple(Pack(part) for divided in parts for part in divided)


def _seconds(group: Sequence[Run], speeds: Speeds) -> list[float]:
    """The seconds of each run if all are trained together."""
    card = find.card(group[0].half.data)
    alone = [cost(run, card) for run in group]
    caused = in_pack(group, card)
    return [speeds.seconds(run, of.flops, flops, of.steps) for run, of, flops in zip(group, alone, caused, strict=True)]


def divide(runs: Sequence[Run], seconds: Sequence[float], parts: int, size: int | None = None) -> list[tuple[Run, ...]]:
    """At most `parts` parts of neighbouring runs, the longest as short as possible; none of more than `size` runs."""
    low, high = 0.0, sum(seconds)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_filled(seconds, middle, size)) <= parts else (middle, high)
    ends = list(accumulate(_filled(seconds, high, size)))
    return [tuple(runs[start:end]) for start, end in pairwise([0, *ends])]


def _filled(seconds: Sequence[float], limit: float, size: int | None) -> list[int]:
    """Numbers of neighbours in parts that are filled one after the other; only single ones are above the limit."""
    numbers: list[int] = []
    total = math.inf
    for each in seconds:
        if total + each > limit or numbers[-1] == size:
            numbers.append(0)
            total = 0.0
        numbers[-1] += 1
        total += each
    return numbers
