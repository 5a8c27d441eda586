"""Terminal output for plans: a table, and bars with running packs, remaining work and time left."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.columns import Columns
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from slurm.cluster import Limits
from slurm.preflight import saving_seconds
from slurm.profile import Profile
from slurm.sending import Array, Sent
from slurm.status import STATUSES, Entry, Sight, Status, Trouble, matrix, troubles
from sweeps.running.local import Queue
from sweeps.running.plan import Plan
from yosinski.data.place import EARLIER
from yosinski.errors import count
from yosinski.experiment.cost import standing
from yosinski.networks.catalogue import architecture
from yosinski.records import specs
from yosinski.records.states import share_done, state


def duration(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h 20 min, 12 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes >= 48 * 60:
        return f"{minutes / 1440:,.0f} days"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def large(number: float) -> str:
    """A number for people with three digits: 173 k, 61 M, 524 P."""
    for prefix in ("", " k", " M", " G", " T", " P"):
        if number < 999.5:
            return f"{number:.3g}{prefix}"
        number /= 1000
    return f"{number:,.3g} E"


def table(plan: Plan) -> Table:
    """A table with one row per run, and sums."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    divided = len({run.half.division for run in plan.runs}) > 1
    for text in ("run", *(["division"] if divided else []), "id", "base", "state"):
        shown.add_column(text)
    for number in ("pack", "trained", "of", "FLOPs", "time"):
        shown.add_column(number, justify="right", no_wrap=True)
    pack_of = {run.id: k for k, pack in enumerate(plan.packs, 1) for run in pack.runs}
    for run in plan.runs[:SHOWN]:
        cost = plan.costs[run.id]
        shown.add_row(
            run.name,
            *([str(run.half.division)] if divided else []),
            run.id[:8],
            run.parent.id[:8] if run.parent else "",
            plan.states[run.id] + (", stale" if run.id in plan.stale else ""),
            str(pack_of.get(run.id, "")),
            large(cost.trained_parameters),
            large(cost.parameters),
            large(cost.flops),
            duration(plan.seconds(run)) if run.id in pack_of else "",
        )
    if len(plan.runs) > SHOWN:
        shown.caption = f"and {len(plan.runs) - SHOWN:,} more; --json lists them all"
    return shown


def summary(plan: Plan) -> str:
    """A summary in a few lines: all runs, remaining runs and their cost."""
    left = plan.left
    edges = sum(run.parent is not None for run in plan.runs)
    states = ", ".join(f"{n} {state}" for state, n in Counter(plan.states.values()).most_common())
    text = f"{count(len(plan.runs), 'run')}, {count(edges, 'edge')} to a base; {states}\n"
    if plan.stale:
        text += f"{count(len(plan.stale), 'copy')} stale: cut from a base that was trained anew since (--stale)\n"
    if not left:
        return text + "nothing is left to do"
    flops = sum(plan.costs[run.id].flops for run in left)
    trained = sum(plan.costs[run.id].trained_parameters for run in left)
    features = _stored(plan)
    most = plan.most_memory
    needed = f"packs take at least {most / 1e9:.2g} GB of memory in float32\n" if most > MUCH else ""
    return text + (
        f"left: {count(len(left), 'run')} in {count(len(plan.packs), 'pack')}, {large(trained)} trained parameters, "
        f"{large(flops)} FLOPs\n{features}{needed}"
        f"about {duration(plan.total_seconds)} with {count(plan.workers, 'worker')}; "
        f"the estimate rests on {plan.speeds.basis}"
    )


def _stored(plan: Plan) -> str:
    """A line on the stored features of the remaining runs: at which cuts, and their size."""
    depths = {(run.held(0.0), standing(run), run.network) for run in plan.left if run.recipe.views and not run.is_base}
    kept, larger = (
        ", ".join(architecture(network).cuts[n - 1] for n, at, network in sorted(depths) if n and bool(at) == there)
        for there in (True, False)
    )
    if not kept + larger:
        return ""
    size = f"stored features at {kept}: {plan.stored / 1e9:.2g} GB in the stores directory, in float32" if kept else ""
    rest = f"features at {larger} are larger than pixels, and computed" if larger else ""
    return "; ".join(filter(None, (size, rest))) + "\n"


MUCH = 10**9  # bytes of memory: as much as a process takes without networks
SHOWN = 500  # maximum rows of a table; --json has all runs
MARKS = {
    **{"done": ("", "green"), "running": ("▶", "cyan"), "queued": ("·", "blue"), "waiting": ("⋯", "blue")},
    **{"missing": ("-", "dim"), "interrupted": ("⏸", "yellow"), "failed": ("✗", "red"), "blocked": ("⊘", "magenta")},
    **{"stuck": ("○", "red"), "diverged": ("∞", "red")},
}


def counted(seen: Iterable[Sight]) -> str:
    """Counts of states in a fixed order: 3 done, 2 running."""
    states = Counter(sight.state for sight in seen)
    return ", ".join(f"{states[state]} {state}" for state in STATUSES if states[state]) or "nothing"


def trouble(problem: Trouble) -> str:
    """Counts for one problem: 1 base out of memory, 28 copies blocked. What is shared is a network, and no copy."""
    kinds = Counter(
        "network" if sight.entry.together else "base" if sight.entry.series == "base" else "copy"
        for sight in problem.failed
    )
    parts = [count(kinds[what], what) for what in ("base", "copy", "network") if kinds[what]]
    blocked = f", {count(len(problem.blocked), 'copy')} blocked" if problem.blocked else ""
    return f"{' and '.join(parts)} {problem.cause}{blocked}"


def order(profile: Profile, plan: Plan, arrays: Sequence[Array], limits: Limits) -> str:
    """What will be submitted, and its cost."""
    jobs = [pack for array in arrays for pack in array.packs]
    edges = sum(len(array.packs) * len(array.parents) for array in arrays)
    hours = sum(plan.seconds(run) for run in plan.left) / 3600 * (1 if profile.gpus else profile.cpus)
    saving = saving_seconds(jobs, plan.costs)
    submit = "none" if limits.submit is None else f"{limits.submit:,}"
    return (
        f"submits {count(len(plan.left), 'run')} in {count(len(jobs), 'pack')} as {count(len(arrays), 'array')} "
        f"(one sbatch each) with {count(edges, 'dependency')} on a base, profile {profile.name}\n"
        f"about {hours:.2g} {'GPU' if profile.gpus else 'core'}-hours, {duration(plan.total_seconds)} if all start at "
        f"once; the estimate rests on {plan.speeds.basis}\n"
        f"{count(len(jobs), 'task')} queued at the peak, beside {limits.queued} of yours; "
        f"MaxArraySize {limits.array:,}, MaxSubmitJobs {submit}\n"
        f"a job's checkpoints take about {saving:.1g} s to write, of {profile.grace} s grace"
    )


def sent(what: Sent) -> str:
    """What has been queued, and what was deferred."""
    jobs = sum(len(submission.elements) for submission in what.queued)
    numbers = ", ".join(str(submission.job) for submission in what.queued)
    text = f"queued: {count(jobs, 'job')}" + (f" ({numbers})" if numbers else "")
    if what.deferred:
        left = sum(len(array.packs) for array in what.deferred)
        text += f"\ndeferred: {count(left, 'job')} ({what.reason}); the same command goes on when others have ended"
    return text


def status(seen: Sequence[Sight], silent: str, mend: str, earlier: Sequence[Entry] = ()) -> Group:
    """A matrix of series or controls and cuts, running packs, and failures with the command that repairs them.

    earlier: runs with images that an earlier version listed and prepared.
    """
    cells = matrix(seen)
    cuts = sorted({n for row in cells.values() for n in row})
    meeting = any(sight.entry.together and not sight.entry.n for sight in seen)  # at n = 0, where bases are shown, too
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for n in cuts:
        table.add_column(str(n) if n or meeting else "", justify="right")
    for name, row in cells.items():
        table.add_row(name, *(_cell(row.get(n, Counter())) for n in cuts))
    lines = [Text(f"{count(len(seen), 'run')}: {counted(seen)}")]
    if silent:
        lines.append(Text(f"SLURM was not asked: {silent}", "yellow"))
    divided = len({sight.entry.division for sight in seen}) > 1
    if earlier:
        lines.append(Text(f"  {count(len(earlier), 'run')} on images {EARLIER}: {_names(earlier, divided)}"))
    running = [sight for sight in seen if sight.state == "running"]
    for sight in running[:20]:
        share = f"{sight.progress:4.0%}" if sight.progress is not None else ""
        ends = f", ends in {duration(sight.ends_in)}" if sight.ends_in is not None else ""
        lines.append(Text(f"  ▶ {_name(sight.entry, divided)} {share}{ends}, on {sight.host}", "cyan"))
    if len(running) > 20:
        lines.append(Text(f"  ▶ and {len(running) - 20} more", "cyan"))
    problems = troubles(seen)
    for each in problems:
        lines.append(Text(f"  ✗ {trouble(each)}: {_names([sight.entry for sight in each.failed], divided)}", "red"))
    stale = [sight.entry for sight in seen if sight.stale]
    if stale:
        lines.append(
            Text(f"  {count(len(stale), 'copy')} stale, base trained anew since: {_names(stale, divided)}", "yellow")
        )
    if stale or any(sight.state == "failed" for sight in seen):
        lines.append(Text(f"  mend with: {mend}"))
    if any(each.failed[0].state != "failed" for each in problems):
        lines.append(Text("  stuck and diverged runs end so every time: change their recipe"))
    marks = (Text(f"{MARKS[state][0] or 'n/N'} {state}", MARKS[state][1]) for state in STATUSES)
    legend = Columns(marks, padding=(0, 2))
    return Group(table, legend, *lines)


def _cell(states: Counter[Status]) -> Text:
    """Text such as 3/8 done, then counts of other states."""
    total = states.total()
    if not total:
        return Text("")
    cell = Text(f"{states['done']}/{total}", "green" if states["done"] == total else "")
    for other in STATUSES[1:]:
        if states[other]:
            cell.append(f" {MARKS[other][0]}{states[other]}", MARKS[other][1])
    return cell


def _name(entry: Entry, divided: bool) -> str:
    """The name and id of a run; its division where runs of several are listed."""
    return f"{entry.name} ({f'division {entry.division}, ' * divided}{entry.id[:8]})"


def _names(some: Sequence[Entry], divided: bool) -> str:
    named = ", ".join(_name(entry, divided) for entry in some[:4])
    return f"{named} and {len(some) - 4} more" if len(some) > 4 else named


def outcome(plan: Plan, runs: Path) -> str:
    """Counts of the final states of a plan's runs, including bad ones."""
    states = Counter(state(specs.folder(runs, run.id)) for run in plan.runs)
    return f"{count(len(plan.runs), 'run')}: " + ", ".join(f"{n} {state}" for state, n in states.most_common())


def follow(plan: Plan, turns: Iterator[Queue], console: Console) -> Queue | None:
    """Show a queue until it is empty: bars on a terminal, else a line per pack. Returns the queue."""
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
                text = ", ".join(f"{n} {state}" for state, n in states.most_common())
                console.print(
                    f"{pack.name}: {text}, {duration(time.monotonic() - began)}", highlight=False, soft_wrap=True
                )
                done.update({run.id: work[run.id] for run in pack.runs})
            for job_id, pack in running.items():
                if job_id not in tasks:
                    tasks[job_id] = bars.add_task(pack.name, total=1, left=""), pack, time.monotonic()
                    if not console.is_terminal:
                        console.print(f"{pack.name}: started", highlight=False)
                bar = tasks[job_id][0]
                shares = {run.id: share_done(specs.folder(queue.where.runs, run.id)) for run in pack.runs}
                done.update({run_id: share * work[run_id] for run_id, share in shares.items()})
                bars.update(bar, completed=sum(shares.values()) / len(shares), left=count(len(pack.runs), "run"))
            left = sum(len(pack.runs) for pack in (*queue.waiting, *running.values()))
            bars.update(overall, completed=sum(done.values()), left=f"{count(left, 'run')} left")
    return queue
