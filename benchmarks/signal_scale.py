"""The scale of outputs at 30 layers: SignalPreserving, by shapes and by a batch, beside torch's default.

    python benchmarks/signal_scale.py [--width 512]

For each activation: the smallest and the largest standard deviation of a layer's output on fresh data, and
the seconds that planning and initializing took together. 1 is the target. With the package ``anyinit``
installed, its numbers stand beside these.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import initcfg

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "mish": F.mish,
    "softplus": F.softplus,
    "x sigmoid(1.7x), by hand": lambda x: x * torch.sigmoid(1.7 * x),
    "sin x + x/10, by hand": lambda x: torch.sin(x) + 0.1 * x,
    "signed root, by hand": lambda x: x.abs().sqrt() * x.sign(),
}
DEPTH = 30


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Call it."""
        return self.function(x)


def measured(model: nn.Sequential, inputs: torch.Tensor) -> str:
    """The smallest and the largest standard deviation of a layer's output."""
    found: list[float] = []
    with torch.no_grad():
        for layer in model:
            inputs = layer(inputs)
            if isinstance(layer, nn.Linear):
                found.append(float(inputs.std()))
    return f"{min(found):8.3g} {max(found):8.3g}"


def main() -> None:
    """Print a line for each activation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=512)
    width = parser.parse_args().width
    draw = torch.Generator().manual_seed(0)
    seen, fresh = (torch.randn(512, width, generator=draw) for _ in range(2))
    ways: dict[str, Any] = {
        "torch": None,
        "analytic": dict(type="SignalPreserving", example=seen),
        "empirical": dict(type="SignalPreserving", mode="empirical", batch=seen),
    }
    if importlib.util.find_spec("anyinit") is not None:
        ways["anyinit"] = importlib.import_module("anyinit").initialize
    print(f"{'':26}" + "".join(f"{way:>27}" for way in ways))
    for name, function in ACTIVATIONS.items():
        line = f"{name:26}"
        for rule in ways.values():
            torch.manual_seed(0)
            layers = [each for _ in range(DEPTH) for each in (nn.Linear(width, width), Function(function))]
            model = nn.Sequential(*layers)
            start = time.perf_counter()
            if callable(rule):
                rule(model, "analytic", (512, width), seed=0)
            elif rule is not None:
                initcfg.init_weights(model, rule, seed=0)
            line += f"{measured(model, fresh):>19} {time.perf_counter() - start:6.2f}s"
        print(line, flush=True)


if __name__ == "__main__":
    main()
