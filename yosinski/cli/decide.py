"""decide: a sweep that chooses its own runs, round by round, here or on a cluster."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yosinski import files
from yosinski.cli import cluster, local
from yosinski.cli.options import Command, asking, with_sweep, with_training, with_workers
from yosinski.cli.prepare import sweep_runs
from yosinski.errors import BadInput, command
from yosinski.identity import digest
from yosinski.records.states import FINAL

if TYPE_CHECKING:
    from analysis.advice.answer import Answer
    from analysis.advice.blocks import Block
    from sweeps.decide import Choosing

Cells = list[tuple[int, tuple[str, int]]]


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

    def read(self) -> None:
        """Read the rounds of earlier commands, if there are any."""
        if self.file.exists():
            self.rounds = files.read_json(self.file)["rounds"]

    def write(self) -> None:
        """Write both files."""
        from sweeps.decide import as_file

        self.file.parent.mkdir(parents=True, exist_ok=True)
        content = {"sweep": self.sweep, "parameters": self.texts, "matters": self.matters, "rounds": self.rounds}
        self.file.with_suffix(".py").write_text(as_file(self.sweep, self.texts, self.cells), encoding="utf-8")
        files.write_json(self.file, content)


def decide(options: argparse.Namespace) -> int:
    """`yosinski decide`."""
    from rich.console import Console

    from analysis.advice import decide as rule
    from analysis.advice.answer import noise
    from analysis.advice.recommendation import sentences
    from sweeps.decide import BASE, choosing
    from sweeps.local import check_writable

    budget = _budget(options.budget)
    if not options.matters > 0:
        raise BadInput(f"--matters must be above 0 points, not {options.matters:g}")
    chosen = choosing(options.sweep, options.parameters)
    cuts = sorted({n for choice in chosen.choices if choice != BASE for n in choice[1:]})
    treatments = list(dict.fromkeys(treatment for treatment, n in chosen.choices if n))
    check_writable(options.runs)
    decision = Decision(options.sweep, sorted(options.parameters), options.matters, options.runs)
    decision.read()
    console = Console()

    def tell(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False)

    if not decision.rounds:
        first = rule.first(cuts, treatments)
        decision.rounds.append({"cells": [cell for cell in first.cells if cell[1] in chosen.choices], "why": first.why})
    while True:
        decision.write()
        tell(f"round {len(decision.rounds)}: {decision.rounds[-1]['why']}")
        if not _trained(options, decision, tell):
            return 0
        block, answer = _answer(decision, chosen)
        for sentence in sentences(block, answer):
            tell(f"  {sentence}")
        known = rule.known(answer, noise(block))
        following = rule.following(known, decision.cells, cuts, treatments, options.matters)
        decision.rounds[-1]["known"] = _summary(answer)
        decision.write()
        if following is None:
            tell(f"decided with {_count(chosen, decision.cells)} networks, in {len(decision.rounds)} rounds")
            break
        new = [cell for cell in following.cells if cell not in decision.cells]
        if not new or max(place for place, _ in new) >= len(chosen.places):
            tell("not decided: the sweep has no further places; name more splits, divisions or seeds")
            break
        if why := _over(budget, options, chosen, [*decision.cells, *new]):
            tell(f"not decided within the budget: {why}")
            break
        decision.rounds.append({"cells": new, "why": following.why})
    tell(f"the whole report: {command('advise', '--sweep', decision.file.stem, runs=options.runs)}")
    return 0


def _trained(options: argparse.Namespace, decision: Decision, tell: Any) -> bool:
    """Train all runs of the rounds here, or submit those that are missing; whether all have ended."""
    from sweeps.plan import in_order, look

    on_disk = {**vars(options), "sweep": str(decision.file.with_suffix(".py")), "parameters": []}
    for_sweep = argparse.Namespace(**on_disk, stop_when_sure=None, stale=False, dry_run=False)

    def left() -> list[str]:
        runs = in_order(sweep_runs(for_sweep)[0])
        states, _ = look([(run.id, run.parent.id if run.parent else None) for run in runs], options.runs)
        return [run.id for run in runs if run.is_trained and states[run.id] not in (*FINAL, "blocked")]

    if left():
        if options.profile:
            cluster.submit(for_sweep)
            tell(
                f"round {len(decision.rounds)} is on the cluster; the same command goes on when it is done"
                f" ({command('status', decision.file.stem, runs=options.runs)})"
            )
            return False
        local.run_sweep(for_sweep)
    waiting = left()
    if waiting:
        tell(f"{len(waiting)} runs of this round have not ended; the same command goes on")
    return not waiting


def _answer(decision: Decision, chosen: "Choosing") -> "tuple[Block, Answer]":
    """The advice on the runs of all rounds."""
    from analysis import frame
    from analysis.advice.answer import answer
    from analysis.advice.blocks import blocks

    ids = {run.id for run in chosen.of_cells(decision.cells)}
    parents = {run.parent.id for run in chosen.of_cells(decision.cells) if run.parent}
    table = frame(decision.runs)
    block, *others = blocks(table.loc[table["run"].isin([*ids, *parents])], directory=decision.runs)
    if others:
        raise BadInput(f"sweep {decision.sweep} mixes runs that cannot be compared: {block.title}; {others[0].title}")
    of_choices = block.runs["run"].isin(list(ids)) | (block.runs["relation"] != "base")
    block.runs = block.runs.loc[of_choices].reset_index(drop=True)
    return block, answer(block, decision.matters)


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
    from sweeps.plan import in_order

    return sum(run.is_trained for run in in_order(chosen.of_cells(cells)))


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


def _over(
    budget: tuple[float, str] | None, options: argparse.Namespace, chosen: "Choosing", cells: Cells
) -> str | None:
    """Why the runs of cells would exceed the budget; None if they would not."""
    from sweeps.plan import plan
    from sweeps.speeds import expected

    if budget is None:
        return None
    number, unit = budget
    wanted = plan(chosen.of_cells(cells), options.runs, 1, expected("cpu", options.precision))
    trained = [run for run in wanted.runs if run.is_trained]
    amount = {
        "networks": lambda: float(len(trained)),
        "flops": lambda: float(sum(wanted.costs[run.id].flops for run in trained)),
        "hours": lambda: sum(map(wanted.seconds, trained)) / 3600,
    }[unit]()
    if amount <= number:
        return None
    return f"the next round would make it {amount:,.3g} {unit} of {number:,.3g}"


def _options(parser: argparse.ArgumentParser) -> None:
    with_sweep(parser)
    with_workers(parser)
    with_training(parser)
    asking(parser)
    parser.add_argument(
        "--matters",
        type=float,
        default=1.0,
        metavar="POINTS",
        help="differences below so many points of accuracy do not matter (default: %(default)g)",
    )
    parser.add_argument(
        "--budget",
        metavar="NUMBER",
        help="end when a further round would take more: networks (40), FLOPs (2e15flops) or hours of one worker (3h)",
    )
    parser.add_argument("--profile", metavar="PROFILE", help="submit each round to SLURM with this profile")


COMMANDS: Sequence[Command] = (
    Command("decide", "choose runs of a sweep round by round, until it is clear where to cut", decide, _options),
)
