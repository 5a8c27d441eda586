"""What a job does when it is asked to stop."""

import subprocess
import sys

ASKED_WHILE_ASKED = """
import signal, sys
from sweeps.running.job import asked_to_stop

stopping, left = asked_to_stop(), 20

def ask_again(frame, event, argument):
    global left
    if left:
        left -= 1
        signal.raise_signal(signal.SIGUSR2)
    return ask_again

assert not stopping()
sys.settrace(ask_again)
signal.raise_signal(signal.SIGTERM)
sys.settrace(None)
assert stopping()
"""


def test_a_stop_signal_that_interrupts_the_handler_of_another_does_not_block() -> None:
    """Signals arrive within each line of Python that a handler executes."""
    subprocess.run([sys.executable, "-c", ASKED_WHILE_ASKED], check=True, timeout=60)
