"""The end of a process that could not report it: by its exit status, or by messages of its environment."""

import re
import signal
from collections.abc import Sequence

SAYS = "yosinski: "  # start of the last line of a worker that fails
# Messages of srun, and of the shell that runs SLURM's batch script, about a process.
SCRIPT = re.compile(r"(srun|slurmstepd\S*): |\S+: line \d+:\s+\d+ ")
NAMES = {signal.strsignal(number): int(number) for number in signal.valid_signals()}  # "Killed": 9


def killed(number: int) -> str:
    """The end by this signal, in words."""
    return f"killed (signal {number})"


def by_status(status: str) -> str:
    """The meaning of an exit status in SLURM's accounting (code:signal); empty if the process got no signal.

    A shell's code for a process that was ended by a signal is 128 + signal.
    """
    match = re.fullmatch(r"(\d+):(\d+)", status)
    if not match:
        return ""
    code, number = map(int, match.groups())
    number = number or (code - 128 if code - 128 in NAMES.values() else 0)
    return killed(number) if number else ""


def by_script(lines: Sequence[str]) -> str:
    """The message of SLURM's script or srun on a process that got a signal (task 0: Killed), or empty."""
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
    """Why a worker on this machine ended, by its log: its last line, or that it was killed.

    A worker that is not killed finishes, or reports an error itself or through Python's message for an exception.
    """
    for line in lines:
        if fatal := re.match(r"Fatal Python error: (.+)", line):  # by `faulthandler`
            return killed(NAMES[fatal[1]]) if fatal[1] in NAMES else fatal[0]
    if came_to_its_end or any(line.startswith((SAYS, "Traceback ")) for line in lines):
        return lines[-1].removeprefix(SAYS) if lines else "the process ended"
    return killed(signal.SIGKILL)
