"""How a process ended that could not say so itself: by its exit status, or by what its surroundings wrote."""

import re
import signal
from collections.abc import Sequence

SAYS = "yosinski: "  # begins the last line of a worker that gives up
# What srun and the shell that runs SLURM's batch script write of a process, apart from what it wrote itself.
SCRIPT = re.compile(r"(srun|slurmstepd\S*): |\S+: line \d+:\s+\d+ ")
NAMES = {signal.strsignal(number): int(number) for number in signal.valid_signals()}  # "Killed": 9


def killed(number: int) -> str:
    """In words."""
    return f"killed (signal {number})"


def by_status(status: str) -> str:
    """What an exit status of SLURM's accounting (code:signal) says; nothing if no signal ended the process.

    A shell's code for a process that a signal ended is 128 and its number.
    """
    match = re.fullmatch(r"(\d+):(\d+)", status)
    if not match:
        return ""
    code, number = map(int, match.groups())
    number = number or (code - 128 if code - 128 in NAMES.values() else 0)
    return killed(number) if number else ""


def by_script(lines: Sequence[str]) -> str:
    """What SLURM's script or srun wrote of a process that a signal ended: task 0: Killed; nothing if they did not."""
    for line in reversed(lines):
        if SCRIPT.match(line):
            for name, number in NAMES.items():
                if name and re.search(rf"(: line \d+:\s+\d+|task \S+:) {re.escape(name)}\b", line):
                    return killed(number)
            code = re.search(r"[Ee]xit(?:ed with exit)? code (\d+)", line)
            if code and (ending := by_status(f"{code[1]}:0")):
                return ending
    return ""


def of_worker(lines: Sequence[str], came_to_its_end: bool) -> str:
    """Why a worker on this machine ended, by its log: its last line, or that a signal ended it in mid-sentence.

    A worker that is not killed comes to its end, or says why not: itself, or by what Python writes of an exception.
    """
    for line in lines:
        if fatal := re.match(r"Fatal Python error: (.+)", line):  # of `faulthandler`
            return killed(NAMES[fatal[1]]) if fatal[1] in NAMES else fatal[0]
    if came_to_its_end or any(line.startswith((SAYS, "Traceback ")) for line in lines):
        return lines[-1].removeprefix(SAYS) if lines else "the process ended"
    return killed(signal.SIGKILL)
