"""What a terminal shows of a plan: its table, and bars that say what is running, what is left and when it ends."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from sweeps.local import Queue
from sweeps.plan import Plan
from yosinski import records


def duration(seconds: float) -> str:
    """For people: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def count(number: int, what: str) -> str:
    """1 run, 2 runs, 3 copies."""
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"


def table(plan: Plan) -> Table:
    """One row per run, and the sums."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for text in ("run", "id", "waits for", "state"):
        shown.add_column(text)
    for number in ("pack", "trained", "parameters", "GFLOPs", "time"):
        shown.add_column(number, justify="right")
    pack_of = {run.id: k for k, pack in enumerate(plan.packs, 1) for run in pack.runs}
    for run in plan.runs:
        cost = plan.costs[run.id]
        shown.add_row(
            run.name,
            run.id[:8],
            str(run.parent) if run.parent else "",
            plan.states[run.id] + (", stale" if run.id in plan.stale else ""),
            str(pack_of.get(run.id, "")),
            f"{cost.trained_parameters:,}",
            f"{cost.parameters:,}",
            f"{cost.flops / 1e9:,.0f}",
            duration(plan.seconds(run)) if run.id in pack_of else "",
        )
    return shown


def summary(plan: Plan) -> str:
    """What there is, what is left and what that costs, in a few lines."""
    left = plan.left
    edges = sum(run.parent is not None for run in plan.runs)
    states = ", ".join(f"{n} {state}" for state, n in Counter(plan.states.values()).most_common())
    there = f"{count(len(plan.runs), 'run')}, {count(edges, 'edge')} to a base; {states}\n"
    if plan.stale:
        there += f"{count(len(plan.stale), 'copy')} stale: cut from a base that was trained anew since (--stale)\n"
    if not left:
        return there + "nothing is left to do"
    flops = sum(plan.costs[run.id].flops for run in left)
    trained = sum(plan.costs[run.id].trained_parameters for run in left)
    return there + (
        f"left: {count(len(left), 'run')} in {count(len(plan.packs), 'pack')}, {trained:,} trained parameters, "
        f"{flops / 1e12:,.1f} TFLOPs\n"
        f"about {duration(plan.total_seconds)} with {count(plan.workers, 'worker')}; "
        f"the estimate rests on {plan.speeds.basis}"
    )


def outcome(plan: Plan, runs: Path) -> str:
    """What became of all runs of a plan, those included that have no good result."""
    states = Counter(records.state(records.folder(runs, run.id)) for run in plan.runs)
    return f"{count(len(plan.runs), 'run')}: " + ", ".join(f"{n} {state}" for state, n in states.most_common())


def follow(plan: Plan, turns: Iterator[Queue], console: Console) -> Queue | None:
    """Show a queue at work until it is empty: bars on a terminal, a line per pack elsewhere. Returns the queue."""
    work = {run.id: float(plan.costs[run.id].flops) for run in plan.left}
    queue = None
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
        TextColumn("ends in"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        expand=True,
        speed_estimate_period=120,
    ) as bars:
        overall = bars.add_task("all", total=sum(work.values()), left="")
        tasks: dict[str, tuple] = {}
        done: dict[str, float] = {}
        for queue in turns:
            running = {job.job_id: pack for job, pack in queue.running.values()}
            for job_id in tasks.keys() - running.keys():
                bar, pack, began = tasks.pop(job_id)
                bars.remove_task(bar)
                states = Counter(queue.state(run) for run in pack.runs)
                told = ", ".join(f"{n} {state}" for state, n in states.most_common())
                console.print(
                    f"{pack.name}: {told}, {duration(time.monotonic() - began)}", highlight=False, soft_wrap=True
                )
                done.update({run.id: work[run.id] for run in pack.runs})
            for job_id, pack in running.items():
                if job_id not in tasks:
                    tasks[job_id] = bars.add_task(pack.name, total=1, left=""), pack, time.monotonic()
                    if not console.is_terminal:
                        console.print(f"{pack.name}: started", highlight=False)
                bar = tasks[job_id][0]
                shares = {run.id: _share(queue, run) for run in pack.runs}
                done.update({run_id: share * work[run_id] for run_id, share in shares.items()})
                bars.update(bar, completed=sum(shares.values()) / len(shares), left=count(len(pack.runs), "run"))
            left = sum(len(pack.runs) for pack in (*queue.waiting, *running.values()))
            bars.update(overall, completed=sum(done.values()), left=f"{count(left, 'run')} left")
    return queue


def _share(queue: Queue, run) -> float:
    beat = records.progress(records.folder(queue.where.runs, run.id))
    return beat["step"] / beat["steps"] if beat else 0.0
