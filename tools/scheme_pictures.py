"""Draw what schemes do to a signal: ``docs/schemes/pictures/``, one picture for each page of schemes.

    python tools/scheme_pictures.py

Each shows the standard deviation of a signal by depth in a small model that was just initialized, torch's own
weights beside those of some schemes of the page. A picture holds its numbers, and a test holds them current.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch import nn

import initcfg

FOLDER = Path(__file__).parents[1] / "docs" / "schemes" / "pictures"
_WIDTH = 64


class Picture(NamedTuple):
    """A model, what it is called with, and the rules to compare; the signal is what ``seen`` in it see."""

    words: str
    build: Callable[[], nn.Module]
    example: Callable[[], torch.Tensor]
    rules: dict[str, Any]
    axis: str = "block"


class Block(nn.Module):
    """Attention and an MLP that add to a stream; the norm before each branch, or after each sum."""

    def __init__(self, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(_WIDTH, _WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(_WIDTH, 4 * _WIDTH), nn.Linear(4 * _WIDTH, _WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
        self.seen = nn.Identity()

    def _attention(self, x: torch.Tensor) -> torch.Tensor:
        layers = (self.q_proj, self.k_proj, self.v_proj)
        split = [each(x).unflatten(-1, (4, -1)).transpose(1, 2) for each in layers]
        return self.o_proj(F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One block; ``seen`` is the stream, and where each sum is normalized, what is added to it."""
        if self.norm_first:
            x = x + self._attention(self.norm1(x))
            return self.seen(x + self.down(F.gelu(self.up(self.norm2(x)))))
        x = self.norm1(x + self._attention(x))
        return self.norm2(x + self.seen(self.down(F.gelu(self.up(x)))))


def transformer(norm_first: bool) -> nn.Module:
    """Twelve blocks after an embedding."""
    return nn.Sequential(nn.Embedding(100, _WIDTH), *[Block(norm_first) for _ in range(12)])


class Residual(nn.Module):
    """Two convolutions that add to a stream, with no norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False) for _ in range(2))
        self.seen = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One block."""
        return self.seen(x + self.conv2(self.conv1(x.relu()).relu()))


class Function(nn.Module):
    """A function of one layer's output; what comes in is the signal."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function, self.seen = function, nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Call it."""
        return self.function(self.seen(x))


def layers(function: Callable[[torch.Tensor], torch.Tensor], first: int, count: int) -> nn.Module:
    """Linear layers, each with a function after it."""
    made = [nn.Linear(first, _WIDTH), *[nn.Linear(_WIDTH, _WIDTH) for _ in range(count - 1)]]
    return nn.Sequential(*[each for layer in made for each in (layer, Function(function))])


class Recurrent(nn.Module):
    """A recurrent layer, seen at powers of two of its steps."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn = nn.LSTM(_WIDTH, _WIDTH) if kind == "LSTM" else nn.RNN(_WIDTH, _WIDTH, nonlinearity="relu")
        self.seen = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One input, and then nothing: what is left of it is the signal."""
        state: Any = None
        for step in range(33):
            _, state = self.rnn(x[None] if step == 0 else torch.zeros_like(x)[None], state)
            if step % 2 == 0:
                self.seen(state[1] if isinstance(state, tuple) else state)
        return x


def _ids() -> torch.Tensor:
    return torch.randint(0, 100, (8, 32), generator=torch.Generator().manual_seed(0))


def _numbers(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _schemes(*names: str) -> dict[str, Any]:
    return {name: dict(type=name) for name in names}


_KAIMING = dict(type="Kaiming", layer="Conv2d")
PICTURES = {
    "language": Picture(
        "the stream of a transformer with norms before its branches",
        lambda: transformer(True),
        _ids,
        _schemes("GPT2", "DepthScaled", "Mitchell", "SmallInit"),
    ),
    "encoder_decoders": Picture(
        "what branches add, in a transformer with norms after its sums",
        lambda: transformer(False),
        _ids,
        _schemes("DeepNorm", "DSInit"),
    ),
    "image_text": Picture(
        "the stream of a tower", lambda: transformer(True), _ids, _schemes("CLIP", "SigLIP")
    ),
    "vision": Picture(
        "the stream of a vision transformer", lambda: transformer(True), _ids, _schemes("ViTTimm", "ViTMoCo")
    ),
    "residual": Picture(
        "the stream of a residual network without norms",
        lambda: nn.Sequential(nn.Conv2d(3, _WIDTH, 3, padding=1), *[Residual() for _ in range(12)]),
        _numbers(2, 3, 16, 16),
        {"Kaiming": _KAIMING, "Kaiming, ZeroResidual": [_KAIMING, dict(type="ZeroResidual", what="weight")]},
    ),
    "fields": Picture(
        "what sines see in a network of coordinates",
        lambda: layers(lambda x: torch.sin(30 * x), 2, 8),
        lambda: torch.rand(256, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1,
        _schemes("SIREN"),
        "layer",
    ),
    "states": Picture(
        "the cell of an LSTM after one input",
        lambda: Recurrent("LSTM"),
        _numbers(64, _WIDTH),
        {"LSTMForget": dict(type="LSTMForget"), "Chrono(t_max=64)": dict(type="Chrono", t_max=64)},
        "two steps",
    ),
    "parts": Picture(
        "layers with tanh, as an agent has them",
        lambda: layers(torch.tanh, 8, 12),
        _numbers(256, 8),
        _schemes("PPO"),
        "layer",
    ),
    "tensors": Picture(
        "layers with ReLU",
        lambda: layers(torch.relu, _WIDTH, 16),
        _numbers(256, _WIDTH),
        {name: dict(type=name, layer="Linear") for name in ("LooksLinear", "GlorotOrthogonal")},
        "layer",
    ),
    "data": Picture(
        "30 layers with SiLU",
        lambda: layers(F.silu, _WIDTH, 30),
        _numbers(1024, _WIDTH),
        {
            "SignalPreserving": dict(type="SignalPreserving"),
            "LSUV": dict(type="LSUV", batch=_numbers(1024, _WIDTH)()),
        },
        "layer",
    ),
}


def numbers(name: str) -> dict[str, list[float]]:
    """The standard deviations by depth, of torch's own weights and of each scheme."""
    picture = PICTURES[name]
    inputs = picture.example()
    found: dict[str, list[float]] = {}
    for label, rule in {"torch": None, **picture.rules}.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = picture.build()
        if rule is not None:
            initcfg.plan(model, rule, example=inputs).apply(model, seed=0)
        found[label] = _signal(model, inputs)
    return found


def _signal(model: nn.Module, inputs: torch.Tensor) -> list[float]:
    found: list[float] = []
    for module in model.modules():
        if isinstance(getattr(module, "seen", None), nn.Identity):
            module.get_submodule("seen").register_forward_hook(
                lambda _, __, output: found.append(float(f"{float(output.std()):.4g}"))
            )
    with torch.no_grad():
        model(inputs)
    return found


def drawn(name: str, lines: dict[str, list[float]]) -> str:
    """A picture as SVG: texts are texts, and the numbers stand within."""
    settings = {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(5.6, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for label, line in lines.items():
            style = dict(color="0.45", linestyle="--") if label == "torch" else {}
            axes.plot(range(1, len(line) + 1), line, label=label, linewidth=1.4, **style)
        axes.set_yscale("log")
        every = [each for line in lines.values() for each in line if each > 0]
        low, high = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
        step = max(1, math.ceil((high - low) / 4))
        axes.yaxis.set_major_locator(FixedLocator([10.0**each for each in range(low, high + 1, step)]))
        axes.set_ylim(10.0**low, 10.0**high)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(PICTURES[name].words, fontsize=9)
        axes.set_xlabel(PICTURES[name].axis)
        axes.set_ylabel("standard deviation")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        out = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Description": json.dumps(lines)}
        figure.savefig(out, format="svg", metadata=metadata)
    return re.sub(r"[ \t]+\n", "\n", out.getvalue())


def held(name: str) -> dict[str, list[float]]:
    """The numbers that stand in the picture of the folder."""
    text = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    found = re.search(r"<dc:description>(.*?)</dc:description>", text, re.DOTALL)
    return json.loads(found[1].replace("&quot;", '"')) if found else {}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in PICTURES:
        (FOLDER / f"{each}.svg").write_text(drawn(each, numbers(each)), encoding="utf-8")
