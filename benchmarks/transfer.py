"""Learning-rate transfer on a small Llama: the best rate of a narrow model is that of a wide one, with MuP.

    python benchmarks/transfer.py [--widths 64,512] [--steps 60] [--seeds 3]

Text: the characters of the documentation strings of Python's standard library. Rates go in steps of √2; the
loss is the mean of the last fifth of the steps, over all seeds. "one std" is N(0, 0.05²) at each width, with
one rate for all tensors.
"""

from __future__ import annotations

import argparse
import ast
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


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", default="64,512")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=-20, help="log of the lowest rate to the base √2")
    parser.add_argument("--schemes", default="MuP,one std")
    parser.add_argument("--rates", type=int, default=8)
    asked = parser.parse_args()
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    torch.set_num_threads(1)
    data, letters = tokens()
    rates = [2 ** ((asked.first + place) / 2) for place in range(asked.rates)]
    print(f"{len(data):,} characters, {letters} letters")
    print("| scheme | width | " + " | ".join(f"{rate:.4f}" for rate in rates) + " | best | s |")
    print("|---" * (len(rates) + 4) + "|")
    for scheme in asked.schemes.split(","):
        for width in map(int, asked.widths.split(",")):
            begun = time.perf_counter()
            found = [
                sum(
                    train(width, scheme, rate, seed, asked.steps, (data, letters))
                    for seed in range(asked.seeds)
                )
                / asked.seeds
                for rate in rates
            ]
            best = rates[min(range(len(rates)), key=found.__getitem__)]
            cells = [scheme, width, *(f"{loss:.3f}" for loss in found), f"{best:.4f}"]
            cells.append(f"{time.perf_counter() - begun:.0f}")
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    run()
