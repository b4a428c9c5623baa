"""Learning-rate transfer on a small Llama: the best rate of a narrow model is that of a wide one, with MuP.

    python benchmarks/transfer.py [--widths 64,512] [--steps 60] [--seeds 3] [--log FILE]

Each result is appended to a file as it comes, and what is there is not run again.

Text: the characters of the documentation strings of Python's standard library. Rates go in steps of √2; the
loss is the mean of the last fifth of the steps, over all seeds. "one std" is N(0, 0.05²) at each width, with
one rate for all tensors.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import sys
import sysconfig
import time
from pathlib import Path

import torch
from torch.nn import functional

import initcfg

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "peers"))
HEAD, LENGTH, ROWS = 16, 64, 16


def documentation() -> str:
    """Documentation strings of the modules in the standard library's own folder, by name."""
    found: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8", errors="ignore"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                found.append(ast.get_docstring(node) or "")
    return "\n".join(filter(None, found))


def tokens() -> tuple[torch.Tensor, int]:
    whole = documentation()
    letters = [each for each in sorted(set(whole)) if whole.count(each) > 100]
    number = {each: place for place, each in enumerate(letters)}
    return torch.tensor([number[each] for each in whole if each in number]), len(letters)


def arguments(width: int, letters: int) -> dict:
    return dict(
        hidden_size=width,
        intermediate_size=2 * width,
        num_attention_heads=width // HEAD,
        num_key_value_heads=width // HEAD,
        head_dim=HEAD,
        num_hidden_layers=2,
        vocab_size=letters,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=False,
    )


def train(width: int, scheme: str, lr: float, seed: int, steps: int, text: tuple[torch.Tensor, int]) -> float:
    data, letters = text
    base = arguments(64, letters)
    layers = ["Linear", "Embedding"]
    mup = dict(type="MuP", base=base, std=0.05)
    rule = mup if scheme == "MuP" else dict(type="Normal", layer=layers, std=0.05)
    config = dict(type="hf:LlamaForCausalLM", **arguments(width, letters), init_cfg=rule)
    model = initcfg.build(config, init=False, seed=seed)
    plan = initcfg.plan(model)
    plan.apply(model, seed=seed)
    stepping = torch.optim.AdamW(initcfg.param_groups(model, plan, lr=lr))
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    for _ in range(steps):
        starts = torch.randint(len(data) - LENGTH - 1, (ROWS,), generator=generator)
        rows = torch.stack([data[start : start + LENGTH + 1] for start in starts])
        scores = model(input_ids=rows[:, :-1], use_cache=False).logits
        loss = functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten())
        stepping.zero_grad()
        loss.backward()
        stepping.step()
        losses.append(min(loss.item(), 10.0) if loss.isfinite() else 10.0)
    last = losses[-max(1, steps // 5) :]
    return sum(last) / len(last)


def done(log: Path) -> dict[tuple[str, int, float, int], float]:
    """The losses in a file of results: by scheme, width, number of the rate, and seed."""
    lines = log.read_text().splitlines() if log.exists() else []
    read = map(json.loads, lines)
    return {(each["scheme"], each["width"], each["rate"], each["seed"]): each["loss"] for each in read}


def table(log: Path) -> str:
    """The mean losses of the rates that all seeds have, and the best rate, as Markdown."""
    found = done(log)
    seeds = sorted({each[3] for each in found})
    means: dict[tuple[str, int], dict[float, float]] = {}
    for scheme, width, rate, _ in found:
        losses = [found.get((scheme, width, rate, seed)) for seed in seeds]
        if None not in losses:
            means.setdefault((scheme, width), {})[rate] = sum(filter(None, losses)) / len(losses)
    rates = sorted({rate for row in means.values() for rate in row})
    lines = [
        "| scheme | width | " + " | ".join(f"{2 ** (rate / 2):.4g}" for rate in rates) + " | best rate |"
    ]
    lines.append("|---" * (len(rates) + 3) + "|")
    for scheme, width in sorted(means):
        row = means[scheme, width]
        best = min(row, key=row.__getitem__)
        cells = [f"{row[rate]:.3f}" if rate in row else "" for rate in rates]
        cells = [f"**{cell}**" if rate == best else cell for rate, cell in zip(rates, cells, strict=True)]
        lines.append("| " + " | ".join([scheme, str(width), *cells, f"{2 ** (best / 2):.4g}"]) + " |")
    return "\n".join(lines)


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", default="64,512")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--schemes", default="MuP,one std")
    parser.add_argument("--first", type=int, default=-16, help="log of the lowest rate to the base √2")
    parser.add_argument("--rates", type=int, default=8)
    parser.add_argument("--log", type=Path, default=Path("transfer.jsonl"), help="results, appended")
    asked = parser.parse_args()
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    torch.set_num_threads(1)
    text = tokens()
    print(f"{len(text[0]):,} characters, {text[1]} letters")
    rates = range(asked.first, asked.first + asked.rates)
    known = done(asked.log)
    widths = list(map(int, asked.widths.split(",")))
    for seed, width, scheme, rate in itertools.product(
        range(asked.seeds), widths, asked.schemes.split(","), rates
    ):
        if (scheme, width, rate, seed) in known:
            continue
        begun = time.process_time()
        loss = train(width, scheme, 2 ** (rate / 2), seed, asked.steps, text)
        took = round(time.process_time() - begun, 1)
        line = dict(scheme=scheme, width=width, rate=rate, seed=seed, loss=loss, seconds=took)
        with asked.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
    print(table(asked.log))


if __name__ == "__main__":
    run()
