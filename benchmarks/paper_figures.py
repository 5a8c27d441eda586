"""How long all figures and tables of the published networks take, each as a command of its own, start included.

    python benchmarks/paper_figures.py [DIRECTORY]

Target on two cores: figures 2, 3, S1 and preserved and table 1 in at most 15 s together.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = ("draw 2", "draw 3", "draw S1", "draw preserved", "table 1")
BESIDES = ("draw curves", "table bases", "table drops", "table health")


def seconds(command: str, directory: Path) -> float:
    """Of one command; a figure is written as PNG, PDF and SVG."""
    kind, name = command.split()
    outs = [f"--out={directory / name}{suffix}" for suffix in (".png", ".pdf", ".svg")] if kind == "draw" else []
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "yosinski", kind, name, "--paper", *outs], capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Print the time of each command, and of those that the target names together."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        took = {}
        for command in (*TARGET, *BESIDES):
            took[command] = seconds(command, directory)
            print(f"{command} --paper: {took[command]:.1f} s", flush=True)
        print(f"{', '.join(TARGET)} together: {sum(took[command] for command in TARGET):.1f} s")


if __name__ == "__main__":
    main()
