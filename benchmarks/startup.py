"""Time to start: the command's help, and the import, beside an empty Python, in one run.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import initcfg": ["-c", "import initcfg"],
    "initcfg --help": ["-m", "initcfg", "--help"],
    "initcfg plan --help": ["-m", "initcfg", "plan", "--help"],
}
RUNS = 15


def main() -> None:
    """Print the table: median and range of so many runs, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS + 1):
        for name, arguments in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            times[name].append((time.perf_counter() - start) * 1000)
    print(f"{'ms':<22}{'median':>8}{'min':>8}{'max':>8}")
    for name, found in times.items():
        counted = found[1:]  # the first run of each warms the file cache
        print(f"{name:<22}{statistics.median(counted):>8.0f}{min(counted):>8.0f}{max(counted):>8.0f}")


if __name__ == "__main__":
    main()
