"""submit, status, logs, cancel, heal: commands for a cluster."""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sweeps
from yosinski.cli.options import RUN, Command, asking, with_runs, with_sweep, with_training
from yosinski.cli.prepare import check_divided, confirmed, list_runs, notes, prepare, sweep_runs
from yosinski.errors import BadInput, command, count
from yosinski.experiment.run import Run
from yosinski.records import claims, specs

if TYPE_CHECKING:
    from rich.console import Console

    from slurm.profile import Profile
    from slurm.status import Entry, Sight


def submit(options: argparse.Namespace) -> int:
    """`yosinski submit`: submit missing runs; failed ones are left to `heal`."""
    from slurm import cluster
    from slurm.profile import find_profile
    from slurm.status import entries, sights
    from slurm.submission import lock
    from sweeps.running.plan import parents_first
    from yosinski.cli import display

    profile = find_profile(options.profile)
    cluster.check_there()
    chosen, parameters = sweep_runs(options)
    runs = parents_first(chosen)
    with lock(options.runs):
        seen, _ = sights(options.runs, entries(runs), adopting=True)
        states = {sight.entry.id: sight for sight in seen}
        missing = [run for run in runs if run.is_trained and states[run.id].state in ("missing", "interrupted")]
        left_out = [sight for sight in seen if sight.state in ("failed", "blocked")]
        console = _console()
        console.print(f"{count(len(runs), 'run')}: {display.counted(seen)}", highlight=False)
        for note in notes(runs):
            console.print(note, highlight=False, soft_wrap=True, markup=False)
        if left_out:
            console.print(f"{count(len(left_out), 'failed or blocked run')} left out: {_heal(options)}")
        if not missing:
            console.print("nothing is left to submit")
            return 0
        return _submit(options, console, parameters, runs, [(profile, missing)], seen)


def heal(options: argparse.Namespace) -> int:
    """`yosinski heal`: submit failed runs, the runs that waited for them, and copies of retrained bases."""
    from slurm import cluster
    from slurm.heal import healing, set_aside, with_spoilt_bases
    from slurm.profile import find_profile
    from slurm.status import entries, sights, troubles
    from slurm.submission import lock
    from sweeps.running.plan import parents_first
    from yosinski.cli import display

    profile = find_profile(options.profile) if options.profile else None
    cluster.check_there()
    chosen, parameters = sweep_runs(options)
    runs = parents_first(chosen)
    with lock(options.runs):
        seen, _ = sights(options.runs, entries(runs), adopting=True)
        seen = with_spoilt_bases(options.runs, seen)
        console = _console()
        for trouble in troubles(seen):
            console.print(display.trouble(trouble), highlight=False, soft_wrap=True)
        remedy = healing(seen, profile)
        for sight, reason in remedy.hopeless:
            console.print(f"left out: {sight.entry.name} ({sight.entry.id[:8]}): {reason}", highlight=False)
        if not remedy.runs:
            console.print("nothing to heal")
            return 1 if remedy.hopeless else 0
        by_id = {run.id: run for run in runs}
        groups = [
            (remedy.profiles[key], [by_id[sight.entry.id] for sight in sights]) for key, sights in remedy.runs.items()
        ]
        return _submit(options, console, parameters, runs, groups, seen, lambda: set_aside(options.runs, seen))


def _submit(
    options: argparse.Namespace,
    console: "Console",
    parameters: dict[str, Any],
    runs: Sequence[Run],
    groups: "Sequence[tuple[Profile, list[Run]]]",
    seen: "Sequence[Sight]",
    before: Any = lambda: None,
) -> int:
    """Check, show, ask, and submit groups of runs, each with its profile, to SLURM."""
    from slurm import cluster, preflight, sending
    from sweeps.running.local import check_writable
    from sweeps.running.plan import Plan, check_batches, packs
    from sweeps.running.speeds import expected, measured
    from yosinski.cli import display
    from yosinski.environment import Where

    where = Where(options.runs.absolute(), options.stores.absolute(), change_arithmetic=options.change_arithmetic)
    check_batches(run for _, group in groups for run in group)
    for profile, group in groups:
        check_divided(group, max(1, profile.gpus), options.runs, options.change_arithmetic)
    submitting = {run.id for _, group in groups for run in group}
    jobs = {sight.entry.id: sight.job for sight in seen if sight.job and sight.job.live}
    flying = {run_id: job.element.job for run_id, job in jobs.items() if job.element}
    ended = {run.id for run in runs} - submitting - jobs.keys()
    name = Path(options.sweep).stem
    states = {sight.entry.id: sight.state for sight in seen}
    done = [run for run in runs if states[run.id] == "done"]
    limits = cluster.limits(groups[0][0].account)
    orders = []
    for profile, group in groups:
        packed = packs(group, size=profile.pack)
        device = expected("cuda" if profile.gpus else "cpu", profile.precision, here=False)
        plan = Plan(tuple(runs), {}, frozenset(), packed, measured(options.runs, done, device), len(packed))
        planned = sending.arrays(packed, ended, limits.array, profile.gpus)
        draft = sending.draft(planned[0], name, profile, where, {"path": "."})
        preflight.check_profile(profile, options.runs, options.stores, draft)
        preflight.check_grace(profile, packed, plan.costs)
        orders.append((profile, planned))
        console.print(display.order(profile, plan, planned, limits), highlight=False, soft_wrap=True)
    if options.dry_run:
        for profile, planned in orders:
            for k, array in enumerate(planned, 1):
                draft = sending.draft(array, name, profile, where, {"path": str(where.runs / "jobs" / "code")})
                draft = sending.waiting(draft, [flying.get(base.id, f"<{base.name}>") for base in array.parents])
                print(f"# array {k}: {'; '.join(pack.name for pack in array.packs)}")
                print(sending.script(where.runs, draft, profile))
        return 0
    if not confirmed("submit?", options):
        return 0
    check_writable(options.runs, options.stores)
    list_runs(options.runs, options.sweep, parameters, runs)
    before()
    prepare([run for _, group in groups for run in group], options.runs, options.stores, console)
    outcome = sending.Sent()
    for waiting in (False, True):  # all bases before the first copy, for all profiles
        for profile, planned in orders:
            now = [array for array in planned if bool(array.parents) == waiting]
            if not now:
                continue
            sent = sending.send_all(where.runs, name, now, profile, where, flying, limits)
            flying |= {run_id: part.element(run_id) for part in sent.queued for run_id in part.index}
            limits = limits.after(sum(len(part.elements) for part in sent.queued))
            outcome += sent
    console.print(display.sent(outcome), highlight=False, soft_wrap=True)
    return 0


def status(options: argparse.Namespace) -> int:
    """`yosinski status`."""
    from rich.live import Live

    from slurm.status import as_json, of_earlier_version, sights
    from yosinski.cli import display

    runs, wanted = _selected(options, with_base=True)
    earlier = of_earlier_version(runs, wanted)
    if options.json:
        seen, silent = sights(runs, wanted)
        content = {"runs_directory": str(runs), **as_json(seen, silent), "earlier": [entry.id for entry in earlier]}
        print(json.dumps(content, indent=1))
        return 0
    console = _console()

    def shown() -> Any:
        seen, silent = sights(runs, wanted)
        return display.status(seen, silent, _heal(options), earlier)

    if not options.watch:
        console.print(shown())
        return 0
    with Live(shown(), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(options.watch)
            live.update(shown(), refresh=True)


def logs(options: argparse.Namespace) -> int:
    """`yosinski logs`."""
    from slurm.status import lineage, sights
    from slurm.submission import jobs

    run_id = specs.find(options.runs, options.run)
    path = specs.folder(options.runs, run_id)
    *_, entry = lineage(options.runs, run_id)
    *_, sight = sights(options.runs, lineage(options.runs, run_id))[0]
    print(f"{entry.name} ({run_id}): {sight.state}{f', {sight.cause}' if sight.cause else ''}")
    attempts = [claims.read_claim(path, number) for number in range(1, claims.latest_attempt(path) + 1)]
    names = {claim["job"].split(" ")[-1]: claim["host"].split(" ")[0] for claim in attempts if claim and claim["job"]}
    if sight.job and sight.job.element:
        names.setdefault(sight.job.element.job, sight.job.element.node)
    outputs = [
        (job, host, log)
        for job, host in names.items()
        for kind in ("out", "err")
        for log in sorted(jobs(options.runs).rglob(f"{job}_0_log.{kind}"))
    ]
    for job, host, log in outputs:
        print(f"\n== job {job} on {host}: {log}")
        print(log.read_text(errors="replace").rstrip())
    if not outputs:
        print("no job has written a log yet" if not names else "its logs are no longer there")
    return 0


def cancel(options: argparse.Namespace) -> int:
    """`yosinski cancel`."""
    from slurm import cluster
    from slurm.status import entries_of
    from slurm.submission import scheduled

    cluster.check_there()
    runs, wanted = _selected(options)
    chosen = {entry.id for entry in wanted}
    everything = {entry.id: entry for entry in entries_of(runs)}
    jobs = {run_id: job for run_id, job in scheduled(runs, everything, adopting=True).items() if job.live}
    doomed = {job.element.job for run_id, job in jobs.items() if run_id in chosen and job.element}
    if not doomed:
        print("nothing of this is queued or running here")
        return 0
    ends = {run_id for run_id, job in jobs.items() if job.element and job.element.job in doomed}
    bereft = [run_id for run_id in jobs if run_id not in ends and everything[run_id].parent in ends]
    print(f"cancels {count(len(doomed), 'job')} that train {count(len(ends), 'run')}", end="")
    print(f", of which {len(ends - chosen)} were not asked for" if ends - chosen else "", end="")
    print(f"; {count(len(bereft), 'other copy')} will be blocked" if bereft else "")
    if not confirmed("cancel?", options):
        return 0
    # Copies first: otherwise copies of a cancelled base would start and be marked blocked.
    bases = {jobs[i].element.job for i in ends if everything[i].parent is None}  # pyright: ignore[reportOptionalMemberAccess]
    for group in (sorted(doomed - bases), sorted(doomed & bases)):
        cluster.cancel(group)
    print("cancelled; what they have trained so far is kept")
    return 0


def _selected(options: argparse.Namespace, with_base: bool = False) -> "tuple[Path, list[Entry]]":
    """The runs of SWEEP, DIR or RUN, bases before their copies, and the runs directory.

    with_base: add the base of a single copy, because the copy's state depends on it.
    """
    from slurm.status import entries, entries_of, lineage
    from sweeps.running.plan import parents_first

    if Path(options.sweep).is_dir():
        return Path(options.sweep), entries_of(Path(options.sweep))
    named = options.sweep in sweeps.SWEEPS or options.sweep.endswith(".py")
    if not named and not specs.is_id(options.sweep):
        kinds = f"a sweep ({', '.join(sweeps.SWEEPS)}, or a path to a .py file), a runs directory or a run's id"
        raise BadInput(f"{options.sweep!r} is none of: {kinds}")
    if not options.runs.is_dir():
        raise BadInput(f"no runs directory {options.runs}")
    if named:
        return options.runs, entries(parents_first(sweep_runs(options)[0]))
    ancestry = lineage(options.runs, specs.find(options.runs, options.sweep))
    return options.runs, ancestry if with_base else ancestry[-1:]


def _heal(options: argparse.Namespace) -> str:
    """The command that repairs the failures in the selected runs: `run` where there is no SLURM."""
    heal = "heal" if shutil.which("sbatch") else "run"
    if Path(options.sweep).is_dir():
        return command(heal, "SWEEP", stores=options.stores, runs=Path(options.sweep))
    parameters = [word for text in options.parameters for word in ("-p", text)]
    return command(heal, options.sweep, *parameters, stores=options.stores, runs=options.runs)


def _console() -> "Console":
    from rich.console import Console

    return Console()


PROFILE = "a name in slurm/profiles, or the path of a .toml file"


def _for_jobs(parser: argparse.ArgumentParser) -> None:
    with_sweep(parser)
    with_training(parser)
    asking(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the batch scripts and submit nothing")


def _for_submit(parser: argparse.ArgumentParser) -> None:
    _for_jobs(parser)
    parser.add_argument("--profile", required=True, metavar="PROFILE", help=PROFILE)


def _for_heal(parser: argparse.ArgumentParser) -> None:
    _for_jobs(parser)
    parser.add_argument("--profile", metavar="PROFILE", help=f"{PROFILE} (default: that of the last submission)")


def _for_status(parser: argparse.ArgumentParser) -> None:
    with_sweep(parser, ", or a runs directory")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--watch", type=float, nargs="?", const=10.0, metavar="SECONDS", help="look again every so often (default: 10)"
    )


def _for_logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=RUN)
    with_runs(parser)


def _for_cancel(parser: argparse.ArgumentParser) -> None:
    with_sweep(parser, ", or a runs directory, or a run's id")
    asking(parser)


COMMANDS = (
    Command("submit", "train what is left of a sweep, on a SLURM cluster", submit, _for_submit),
    Command("heal", "submit what failed, and what was waiting for it", heal, _for_heal),
    Command("status", "what became of every run", status, _for_status),
    Command("logs", "what the jobs of a run have written", logs, _for_logs),
    Command("cancel", "take jobs out of the queue; what they have trained is kept", cancel, _for_cancel),
)
