"""decide: a sweep that chooses its own runs, round by round, here or on a cluster."""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yosinski import files
from yosinski.cli import cluster, local
from yosinski.cli.options import Command, asking, with_matters, with_processes, with_sweep, with_training, with_workers
from yosinski.errors import BadInput, command, count
from yosinski.experiment.treatments import TREATMENTS
from yosinski.identity import digest
from yosinski.records.states import FINAL

if TYPE_CHECKING:
    from analysis.advice.answer import Answer
    from analysis.advice.blocks import Block
    from analysis.advice.decide import Round
    from sweeps.decide import Choosing
    from sweeps.running.speeds import Device

Cells = list[tuple[int, tuple[str, int]]]
BRIEF = 2  # sentences of the advice that are told of a round that is not the last one


@dataclass
class Decision:
    """The rounds so far of one question, kept in `runs/decisions`: a JSON file, and a sweep of all its runs."""

    sweep: str
    texts: list[str]
    matters: float
    runs: Path
    rounds: list[dict[str, Any]] = field(default_factory=list)

    @property
    def file(self) -> Path:
        """Its JSON file. The sweep is beside it, with the suffix .py."""
        key = digest({"sweep": self.sweep, "parameters": self.texts, "matters": self.matters})
        return self.runs / "decisions" / f"decide-{Path(self.sweep).stem}-{key[:8]}.json"

    @property
    def cells(self) -> Cells:
        """The cells of all rounds, each once."""
        return list(dict.fromkeys((place, (name, n)) for one in self.rounds for place, (name, n) in one["cells"]))

    def read(self, chosen: "Choosing") -> None:
        """Read the rounds of earlier commands, if there are any. BadInput if these are not of this sweep."""
        if not self.file.exists():
            return
        try:
            self.rounds = files.read_json(self.file)["rounds"]
            cells, _ = self.cells, [one["why"] for one in self.rounds]
        except (files.Damaged, KeyError, TypeError, ValueError) as error:
            aside = files.set_aside(self.file)
            raise BadInput(
                f"{self.file} is damaged; it was set aside as {aside.name}, the same command decides anew, from the"
                " runs that are there"
            ) from error
        for place, choice in cells:
            if choice not in [*chosen.choices, *chosen.controls] or place not in range(len(chosen.places)):
                raise BadInput(f"{self.file} has {choice} at place {place}, which is not of this sweep; move it away")

    def write(self) -> None:
        """Write both files."""
        from sweeps.decide import as_file

        text = as_file(self.sweep, self.texts, self.cells)
        content = {"sweep": self.sweep, "parameters": self.texts, "matters": self.matters, "rounds": self.rounds}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        files.replace(self.file.with_suffix(".py"), lambda temporary: temporary.write_text(text, encoding="utf-8"))
        files.write_json(self.file, content)


def decide(options: argparse.Namespace) -> int:
    """`yosinski decide`."""
    from rich.console import Console

    from analysis.advice import decide as rule
    from analysis.advice.answer import noise
    from analysis.paired import FEWEST
    from slurm.profile import find_profile
    from sweeps.decide import choosing
    from sweeps.running.local import check_writable

    budget = _budget(options.budget)
    if not 0 < options.matters < math.inf:
        raise BadInput(f"--matters must be a number of points above 0, not {options.matters:g}")
    if options.profile:
        find_profile(options.profile)
    chosen = choosing(options.sweep, options.parameters)
    choices = chosen.choices
    check_writable(options.runs, options.stores)
    decision = Decision(options.sweep, sorted(options.parameters), options.matters, options.runs)
    decision.read(chosen)
    console = Console()

    def tell(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    if not decision.rounds:
        decision.rounds.append(_as_json(rule.first(choices)))
    if _left(options, chosen, decision.cells) and (why := _over(budget, options, chosen, decision.cells)):
        tell(f"nothing is trained: {why}")
        return 0
    while True:
        decision.write()
        last = decision.rounds[-1]
        tell(f"round {len(decision.rounds)}, {last['why']}: {_described(chosen, last['cells'])}")
        if not _trained(options, decision, chosen, tell):
            return 0
        block, answer, said = _answer(decision, chosen)
        now = rule.known(answer, noise(block))
        last["known"] = _summary(answer)
        decision.write()
        following, decided, end = None, False, ""
        if len(now.choices) > 1:
            following = rule.following(now, decision.cells, choices, options.matters)
            decided = following is None
            following = following or rule.explaining(now, decision.cells, chosen.controls)
        if len(now.choices) < 2:
            end = "not decided: fewer than two choices were trained to the end, so that there is nothing to compare"
        elif following is None:
            every = [*choices, *chosen.controls]
            grid = [(place, choice) for place in range(min(FEWEST, len(chosen.places))) for choice in every]
            end = (
                f"decided with {_count(chosen, decision.cells)} networks in {count(len(decision.rounds), 'round')}"
                f" (every cut on {FEWEST} {chosen.varied}: {_count(chosen, grid)})"
            )
        elif max(place for place, _ in following.cells) >= len(chosen.places):
            end = f"not decided on all {len(chosen.places)} {chosen.varied}: name more of them"
        elif why := _over(budget, options, chosen, [*decision.cells, *following.cells]):
            end = f"{'decided, but without controls' if decided else 'not decided within the budget'}: {why}"
        for sentence in said[: None if end else BRIEF]:
            tell(f"  {sentence}")
        if end or following is None:
            tell(end)
            tell(f"the whole report: {command('advise', '--sweep', decision.file.stem, runs=options.runs)}")
            return 0
        decision.rounds.append(_as_json(following))


def _as_json(following: "Round") -> dict[str, Any]:
    return {"cells": list(following.cells), "why": following.why}


def _described(chosen: "Choosing", cells: Any) -> str:
    """The cells of a round, as in "fine-tuned n = 4, 5 on split random:0"."""
    from analysis.sharing.contrasts import meanings

    words = {**{name: treatment.meaning for name, treatment in TREATMENTS.items()}, **meanings()}
    every = [*chosen.choices, *chosen.controls]
    of_choice: dict[tuple[str, int], list[int]] = {}
    for place, (treatment, n) in sorted(cells, key=lambda cell: (every.index(tuple(cell[1])), cell[0])):
        of_choice.setdefault((treatment, n), []).append(place)
    parts = []
    for places in dict.fromkeys(map(tuple, of_choice.values())):
        cuts: dict[str, list[int]] = {}
        for (treatment, n), where in of_choice.items():
            if tuple(where) == places:
                cuts.setdefault(treatment, []).append(n)
        some = [
            f"{words[name]} n = {', '.join(map(str, sorted(cut)))}" if name != "base" else "base"
            for name, cut in cuts.items()
        ]
        parts.append(f"{', '.join(some)} on {chosen.named(places)}")
    return "; ".join(parts)


def _left(options: argparse.Namespace, chosen: "Choosing", cells: Cells) -> list[str]:
    """The runs of cells that have not ended, by id; those whose base failed will never begin."""
    from sweeps.running.plan import found_states, parents_first

    runs = parents_first(chosen.of_cells(cells))
    states, _ = found_states([(run.id, run.parent.id if run.parent else None) for run in runs], options.runs)
    return [run.id for run in runs if run.is_trained and states[run.id] not in (*FINAL, "blocked")]


def _trained(options: argparse.Namespace, decision: Decision, chosen: "Choosing", tell: Any) -> bool:
    """Train all runs of the rounds here, or submit those that are missing; whether all have ended."""
    on_disk = {**vars(options), "sweep": str(decision.file.with_suffix(".py")), "parameters": []}
    for_sweep = argparse.Namespace(**on_disk, stop_when_sure=None, stale=False, trace=False, dry_run=False)
    if not _left(options, chosen, decision.cells):
        return True
    (cluster.submit if options.profile else local.run_sweep)(for_sweep)
    waiting = _left(options, chosen, decision.cells)
    if not waiting:
        return True
    if not options.profile:
        tell(f"{count(len(waiting), 'run')} of this round have not ended; the same command goes on")
    elif _on_cluster(options, chosen, decision.cells):
        status = command("status", for_sweep.sweep, runs=options.runs)
        tell(f"round {len(decision.rounds)} is on the cluster ({status}); the same command goes on when it is done")
    else:
        tell(f"round {len(decision.rounds)} is not on the cluster; the same command goes on")
    return False


def _on_cluster(options: argparse.Namespace, chosen: "Choosing", cells: Cells) -> bool:
    """Whether a job is to train one of these runs."""
    from slurm.status import entries, sights
    from sweeps.running.plan import parents_first

    seen, _ = sights(options.runs, entries(parents_first(chosen.of_cells(cells))))
    return any(sight.state in ("queued", "waiting", "running") for sight in seen)


def _answer(decision: Decision, chosen: "Choosing") -> "tuple[Block, Answer, list[str]]":
    """The advice on the runs of all rounds, and its sentences."""
    from analysis import frame
    from analysis.advice.answer import answer
    from analysis.advice.blocks import blocks
    from analysis.advice.recommendation import sentences
    from analysis.sharing.recommendation import answer_of_shared

    runs = chosen.of_cells(decision.cells)
    ids = {run.id for run in runs} | {run.parent.id for run in runs if run.parent}
    table: Any = frame(decision.runs)
    table = table.loc[table["run"].isin(list(ids))]
    if chosen.shares:
        question = next(run.half.asks for run in runs if run.partners)  # unlike tasks: the first one decides
        return answer_of_shared(table.loc[table["asks"] == question], chosen.shares, decision.runs, decision.matters)
    block, *others = blocks(table, directory=decision.runs)
    if others:
        raise BadInput(f"sweep {decision.sweep} mixes runs that cannot be compared: {block.title}; {others[0].title}")
    found = answer(block, decision.matters)
    return block, found, sentences(block, found)


def _summary(answer: "Answer") -> dict[str, Any]:
    """What was known after a round."""
    names = ("choice", "points", "low", "high", "behind", "within", "runs")
    rows: Any = answer.rows[list(names)].astype(object)
    return {
        "top": answer.top or None,
        "choices": [{k: None if v != v else v for k, v in row.items()} for row in rows.to_dict("records")],
    }


def _count(chosen: "Choosing", cells: Cells) -> int:
    """How many networks are trained for cells, with the bases that copies are cut from."""
    from sweeps.running.plan import parents_first

    return sum(run.is_trained for run in parents_first(chosen.of_cells(cells)))


def _budget(text: str | None) -> tuple[float, str] | None:
    """A number of networks, FLOPs or hours. BadInput for another text, or nothing."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9.]+(?:e[+]?[0-9]+)?)\s*(|networks|flops|h|hours)", text.strip().lower())
    unit = {"": "networks", "h": "hours"}.get(match[2], match[2]) if match else ""
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if not number > 0:
        raise BadInput(f"--budget {text!r}: give a number above 0 of networks (40), FLOPs (2e15flops) or hours (3h)")
    return number, unit


def _over(budget: tuple[float, str] | None, options: argparse.Namespace, chosen: "Choosing", cells: Cells) -> str:
    """By what the runs of cells would exceed the budget; "" if they would not."""
    from sweeps.running.plan import plan

    if budget is None:
        return ""
    number, unit = budget
    wanted = plan(chosen.of_cells(cells), options.runs, 1, _device(options))
    trained = [run for run in wanted.runs if run.is_trained]
    amount = {
        "networks": lambda: float(len(trained)),
        "flops": lambda: float(sum(wanted.costs[run.id].flops for run in trained)),
        "hours": lambda: sum(map(wanted.seconds, trained)) / 3600,
    }[unit]()
    if amount <= number:
        return ""
    words = {"networks": "networks", "flops": "FLOPs", "hours": "hours of one worker"}[unit]
    return f"the next round would make it {amount:.3g} {words} of {number:.3g}"


def _device(options: argparse.Namespace) -> "Device":
    """What trains."""
    from slurm.profile import find_profile
    from sweeps.running.speeds import expected

    if options.profile:
        profile = find_profile(options.profile)
        return expected("cuda" if profile.gpus else "cpu", profile.precision, here=False)
    return local.trains(options)[1]


def _options(parser: argparse.ArgumentParser) -> None:
    with_sweep(parser)
    with_workers(parser)
    with_training(parser)
    with_processes(parser)
    asking(parser)
    with_matters(parser)
    parser.add_argument(
        "--budget",
        metavar="NUMBER",
        help="end when a further round would take more: networks (40), FLOPs (2e15flops) or hours of one worker (3h)",
    )
    parser.add_argument("--profile", metavar="PROFILE", help="submit each round to SLURM with this profile")


COMMANDS: Sequence[Command] = (
    Command("decide", "choose runs of a sweep until it is clear where to cut, fuse or branch", decide, _options),
)
