"""plan and run: commands for this machine."""

import argparse
import json
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from yosinski import files
from yosinski.cli import early_stop
from yosinski.cli.options import Command, with_processes, with_sweep, with_training, with_workers
from yosinski.cli.prepare import check_divided, list_runs, notes, prepare, sweep_runs
from yosinski.errors import BadInput, Failure, count

if TYPE_CHECKING:
    from sweeps.running.plan import Plan
    from sweeps.running.speeds import Device

WORTH_A_TRIAL = 120.0  # seconds of a plan; a trial takes some, most of them to start its processes


class Planned(NamedTuple):
    """The plan of the selected sweep and its parameters, the workers, and precisions by network."""

    plan: "Plan"
    parameters: dict[str, Any]
    devices: list[int | str | None]
    precisions: dict[str, str]  # of networks whose precision is chosen by a trial


def planned(options: argparse.Namespace, check: "Callable[[Plan], object] | None" = None) -> Planned:
    """Make the plan.

    check: called with it before networks are tried on this machine, as they are for a long plan; without it they are
    tried only if `--measure` asks for it.
    """
    from sweeps.running import speeds, trials
    from sweeps.running.plan import plan

    devices, device = trains(options)
    runs, parameters = sweep_runs(options)
    made = plan(runs, options.runs, len(devices), device)
    if check:
        check(made)
    networks = {run.network: run for run in reversed(made.left)}
    if device.kind != "cpu" or not networks:
        return Planned(made, parameters, devices, {})
    open_choices = options.precision == "auto" or options.workers is None
    long = check is not None and open_choices and made.total_seconds > WORTH_A_TRIAL
    trying = long or getattr(options, "measure", False)
    found = trials.tried(options.runs, networks.values()) if trying else trials.kept(options.runs)
    found = {network: found[network] for network in networks if network in found}
    if not found:
        return Planned(made, parameters, devices, {})
    precisions: dict[str, str] = {}
    if options.precision == "auto":
        done = (run for run in made.runs if made.states[run.id] == "done")
        precisions = {network: trial.precision for network, trial in found.items()}
        precisions |= speeds.precisions(options.runs, done, precisions)
        device = replace(device, precision=None if len(set(precisions.values())) > 1 else min(precisions.values()))
    if options.workers is None and len(networks) == len(found) == 1:
        devices = devices[: max(next(iter(found.values())).workers, getattr(options, "processes", 1))]
    return Planned(plan(runs, options.runs, len(devices), device), parameters, devices, precisions)


def trains(options: argparse.Namespace) -> "tuple[list[int | str | None], Device]":
    """The workers here, and the device of the first one, for estimates of time."""
    from sweeps.running.local import workers
    from sweeps.running.speeds import expected

    devices = workers(options.device, options.workers)
    kind = "cuda" if devices[0] is not None else "mps" if options.device == "mps" else "cpu"
    return devices, expected(kind, options.precision)


def show_plan(options: argparse.Namespace) -> int:
    """`yosinski plan`."""
    plan, parameters, devices, _ = planned(options)
    if options.json:
        content = {"sweep": options.sweep, "parameters": parameters, **plan.as_json(), "notes": notes(plan.runs)}
        print(json.dumps(content, indent=1))
        return 0
    from rich.console import Console

    from yosinski.cli import display

    console = Console()
    if not options.brief:
        console.print(display.table(plan))
    _sum_up(plan, console)
    if plan.left and plan.speeds.is_assumed and devices[0] is None and options.device != "mps":
        console.print("--measure times passes of the networks here first", highlight=False)
    return 0


def _sum_up(plan: Any, console: Any) -> None:
    """Print a summary of the plan, and notes on data sets and on weights from outside."""
    from yosinski.cli import display

    for line in (display.summary(plan), *notes(plan.runs)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def run_sweep(options: argparse.Namespace) -> int:
    """`yosinski run`."""
    from rich.console import Console

    from sweeps.running.local import check_gpus, check_writable, run_here, signs
    from sweeps.running.plan import renew
    from yosinski.cli import display
    from yosinski.environment import Where, visible_gpus

    epsilon = options.stop_when_sure
    check_writable(options.runs, options.stores)

    def check(plan: "Plan") -> None:
        if not 1 <= options.processes <= plan.workers:
            raise BadInput(f"--processes {options.processes}: choose from 1 to {plan.workers}, the number of workers")
        startable = [run for run in plan.left if plan.states[run.id] != "running"]
        check_divided(startable, options.processes, options.runs, options.change_arithmetic)
        if epsilon is not None:
            early_stop.check(epsilon, plan.runs, options.runs)

    try:
        plan, parameters, devices, precisions = planned(options, check)
        if options.stale and plan.stale:
            renew(options.runs, plan.stale)
            plan, parameters, devices, precisions = planned(options)
    except files.Damaged as damaged:
        aside = files.set_aside(damaged.path)
        raise BadInput(
            f"{damaged}; it was set aside as {aside.name}, the same command trains the run anew"
        ) from damaged
    console = Console()
    listing = list_runs(options.runs, options.sweep, parameters, plan.runs)
    _sum_up(plan, console)
    if not plan.left:
        return 0
    check_gpus(devices)
    if options.device == "auto" and devices[0] is None and visible_gpus() is None and (traces := signs()):
        console.print(f"computes on the CPU: torch finds no GPU, though there is {traces[0]}", highlight=False)
    prepare(plan.left, options.runs, options.stores, console)

    def stop(*_: object) -> None:
        console.print("stopping: the running packs save their checkpoints ...")
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    where = Where(
        options.runs.absolute(),
        options.stores.absolute(),
        options.device,
        options.precision,
        processes=options.processes,
        change_arithmetic=options.change_arithmetic,
        trace=options.trace,
    )

    def tell(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    watch = None if epsilon is None else early_stop.Watch(options.runs, plan.runs, epsilon, listing, tell)
    turns = run_here(plan, where, devices, watch or tuple, precisions)
    try:
        queue = display.follow(plan, turns, console)
    finally:
        turns.close()
    console.print(display.outcome(plan, options.runs), highlight=False, soft_wrap=True)
    if options.trace:
        tell(f"which operations took the time: {options.runs / 'traces'}")
    if watch is not None and watch.decided:
        stopped = count(len(watch.decided), "run")
        tell(f"{stopped} stopped, see {watch.path}; the same command without --stop-when-sure goes on")
    if queue is not None and queue.failures:
        raise Failure(f"{len(queue.failures)} pack(s) failed: " + " | ".join(queue.failures))
    return 0


def _for_plan(parser: argparse.ArgumentParser) -> None:
    with_sweep(parser)
    with_workers(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--brief", action="store_true", help="without the table")
    parser.add_argument("--measure", action="store_true", help="time passes of the networks here first")


def _for_run(parser: argparse.ArgumentParser) -> None:
    with_sweep(parser)
    with_workers(parser)
    with_training(parser)
    with_processes(parser)
    parser.add_argument(
        "--stop-when-sure",
        type=float,
        metavar="EPS",
        help="stop copies whose best choice would gain less than EPS in accuracy, as expected, by further training",
    )
    parser.add_argument("--trace", action="store_true", help="write which operations take the time, in RUNS/traces")
    parser.add_argument("--stale", action="store_true", help="also copies whose base was trained anew since")


COMMANDS = (
    Command("plan", "what would run, what is done, and what it costs", show_plan, _for_plan),
    Command("run", "train what is left of a sweep, here", run_sweep, _for_run),
)
