"""The scale of every layer's output: SignalPreserving by shapes and by a batch, beside anyinit and torch.

    nice -n 10 python benchmarks/signal_scale.py [--width 256] [--only mlp|models] [--seed 0]

A row for each activation, in 30 linear layers, and for each model. Of each way: the worst ratio of a layer's
standard deviation to its target, 1, on fresh data; that of the last layer; and the seconds of one core that
planning and initializing took. Every product with a weight counts, also within attention; of a tied weight,
its first use. With the package ``anyinit`` on the path, its numbers stand beside these.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

import initcfg
from initcfg._apply.measuring.uses import Use, Uses

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
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


class Case(NamedTuple):
    """A model, and what gives inputs of it."""

    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], torch.Tensor]


def mlp(function: Callable[[torch.Tensor], torch.Tensor], width: int) -> Case:
    """Linear layers of one width, each with an activation."""

    def build() -> nn.Module:
        return nn.Sequential(
            *[e for _ in range(DEPTH) for e in (nn.Linear(width, width), Function(function))]
        )

    return Case(build, lambda draw: torch.randn(2048, width, generator=draw))


def without_norms(model: nn.Module) -> nn.Module:
    """The model with nothing in place of batch norms."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return model


def encoder(norm_first: bool) -> nn.Module:
    """Six layers of torch's own transformer."""
    layer = nn.TransformerEncoderLayer(256, 8, 1024, 0.0, batch_first=True, norm_first=norm_first)
    return nn.Sequential(nn.Embedding(1000, 256), nn.TransformerEncoder(layer, 6, enable_nested_tensor=False))


def of_transformers(name: str, head: str, **arguments: Any) -> nn.Module:
    """A model of transformers, of a config of this class."""
    library = importlib.import_module("transformers")
    return getattr(library, head)(getattr(library, name)(**arguments))


def models() -> dict[str, Case]:
    """The models by name."""

    def ids(words: int) -> Callable[[torch.Generator], torch.Tensor]:
        return lambda draw: torch.randint(0, words, (4, 64), generator=draw)

    def images(draw: torch.Generator) -> torch.Tensor:
        return torch.randn(16, 3, 64, 64, generator=draw)

    quiet = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    llama = dict(hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8)
    return {
        "ResNet-50 without norms": Case(
            lambda: without_norms(
                of_transformers("ResNetConfig", "ResNetForImageClassification", num_labels=1000)
            ),
            images,
        ),
        "pre-LN transformer": Case(lambda: encoder(True), ids(1000)),
        "post-LN transformer": Case(lambda: encoder(False), ids(1000)),
        "GPT-2 (124M)": Case(lambda: of_transformers("GPT2Config", "GPT2LMHeadModel", **quiet), ids(50257)),
        "Llama (8 × 512)": Case(
            lambda: of_transformers("LlamaConfig", "LlamaForCausalLM", vocab_size=8000, **llama), ids(8000)
        ),
        "ConvNeXt-T": Case(
            lambda: of_transformers("ConvNextConfig", "ConvNextForImageClassification", num_labels=1000),
            images,
        ),
    }


def measured(model: nn.Module, inputs: torch.Tensor) -> tuple[float, float, str]:
    """The worst ratio of an output's standard deviation to 1, that of the last, and where the worst is."""
    found: dict[str, float] = {}

    def tell(use: Use) -> None:
        found[use.name] = float(use.output.detach().float().std())

    weights = {name: each for name, each in model.named_parameters() if each.dim() > 1}
    with torch.no_grad(), Uses(weights, tell):
        model(inputs)
    ratios = {name: max(each, 1 / each) if each > 0 else math.inf for name, each in found.items()}
    worst = max(ratios, key=lambda name: ratios[name] if math.isfinite(ratios[name]) else math.inf)
    return ratios[worst], list(found.values())[-1], worst


def ways() -> dict[str, Callable[[nn.Module, torch.Tensor], Any]]:
    """What initializes a model, by its name."""
    found: dict[str, Callable[[nn.Module, torch.Tensor], Any]] = {
        "torch": lambda model, seen: None,
        "analytic": lambda model, seen: initcfg.init_weights(
            model, dict(type="SignalPreserving", example=seen), seed=0
        ),
        "empirical": lambda model, seen: initcfg.init_weights(
            model, dict(type="SignalPreserving", mode="empirical", batch=seen), seed=0
        ),
    }
    if importlib.util.find_spec("anyinit") is not None:
        peer = importlib.import_module("anyinit").initialize
        found["anyinit analytic"] = lambda model, seen: peer(model, "analytic", tuple(seen.shape), seed=0)
        found["anyinit empirical"] = lambda model, seen: peer(model, "empirical", seen, seed=0)
    return found


def cell(case: Case, way: Callable[[nn.Module, torch.Tensor], Any], seed: int, where: bool) -> str:
    """What one way makes of one model."""
    draw = torch.Generator().manual_seed(seed)
    seen, fresh = case.inputs(draw), case.inputs(draw)
    torch.manual_seed(seed)
    model = case.build()
    model.eval()
    start = time.process_time()
    try:
        way(model, seen)
        seconds = time.process_time() - start
        ratio, last, worst = measured(model, fresh)
    except Exception as error:
        return f"fails: {type(error).__name__}"
    at = f" ({worst})" if where and ratio > 1.1 else ""
    return f"{ratio:.3g}{at}, {last:.3g}, {seconds:.1f} s"


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("mlp", "models"))
    parser.add_argument("--where", action="store_true", help="name the weight whose output is worst")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # The fused attention of nn.TransformerEncoder shows none of its products.
    torch.backends.mha.set_fastpath_enabled(False)
    cases: dict[str, Case] = {}
    if given.only != "models":
        cases |= {name: mlp(function, given.width) for name, function in ACTIVATIONS.items()}
    if given.only != "mlp":
        cases |= models()
    columns = ways()
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}", flush=True)
    for name, case in cases.items():
        cells = [cell(case, way, given.seed, given.where) for way in columns.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
