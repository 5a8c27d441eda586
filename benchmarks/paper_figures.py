"""How long the figures and tables of the published networks take, in commands as users give them, start included.

    python benchmarks/paper_figures.py [DIRECTORY]

Target on two cores: figures 2, 3, S1 and preserved and table 1 in at most 15 s together.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = ("draw 2 3 S1 preserved", "table 1")
BESIDES = ("draw 2", "draw 3", "draw S1", "draw preserved", "draw curves", "table bases", "table drops", "table health")


def seconds(command: str, directory: Path) -> float:
    """Of one command; figures are written as PNG, PDF and SVG."""
    outs = [f"--out={directory}"] if command.startswith("draw") else []
    line = [sys.executable, "-m", "yosinski", *command.split(), "--paper", *outs]
    began = time.perf_counter()
    subprocess.run(line, capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the time of each command, and of those that the target names together."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        took = {}
        for command in (*TARGET, *BESIDES):
            took[command] = seconds(command, directory)
            print(f"{command} --paper: {took[command]:.1f} s", flush=True)
        print(f"{' and '.join(TARGET)} together: {sum(took[command] for command in TARGET):.1f} s")


if __name__ == "__main__":
    main()
