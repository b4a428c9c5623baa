"""Time to start: the command's help, the import, and a small plan, beside the least of each, in one run.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODULE = """from torch import nn

from initcfg import MODELS, BaseModule


@MODELS.register_module()
class Small(BaseModule):
    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.stem = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 2)
"""
CONFIG = """imports = ["small"]
model = dict(type="Small", init_cfg=dict(type="Kaiming", layer="Conv2d"))
"""
"""A small config; what it imports needs torch alone."""

# Each with its limit: what nothing can start without.
COMMANDS = {
    "python -c pass": (["-c", "pass"], None),
    "import initcfg": (["-c", "import initcfg"], "python -c pass"),
    "initcfg --help": (["-m", "initcfg", "--help"], "python -c pass"),
    "initcfg plan --help": (["-m", "initcfg", "plan", "--help"], "python -c pass"),
    "import torch": (["-c", "import torch"], None),
    "import torch, initcfg.plan": (["-c", "import torch, initcfg; initcfg.plan"], "import torch"),
    "initcfg plan CONFIG": (["-m", "initcfg", "plan", "CONFIG"], "import torch"),
}
RUNS = 15


def run(*words: str) -> None:
    """Python with these arguments."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def small_config(folder: Path) -> Path:
    """The config in this folder, with the module that it imports."""
    (folder / "small.py").write_text(MODULE, encoding="utf-8")
    config = folder / "config.py"
    config.write_text(CONFIG, encoding="utf-8")
    return config


def main() -> None:
    """Print the table: median and range of so many runs, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        config = small_config(Path(folder))
        for _ in range(RUNS + 1):
            for name, (arguments, _limit) in COMMANDS.items():
                words = [str(config) if each == "CONFIG" else each for each in arguments]
                start = time.perf_counter()
                run(*words)
                times[name].append((time.perf_counter() - start) * 1000)
    # The first run of each warms the file cache.
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}
    print(f"{'ms':<28}{'median':>8}{'min':>8}{'max':>8}{'limit':>8}{'×':>7}")
    for name, found in times.items():
        limit = medians.get(COMMANDS[name][1] or "")
        beside = "" if limit is None else f"{limit:>8.0f}{medians[name] / limit:>7.2f}"
        print(f"{name:<28}{medians[name]:>8.0f}{min(found[1:]):>8.0f}{max(found[1:]):>8.0f}{beside}")


if __name__ == "__main__":
    main()
