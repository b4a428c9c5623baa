"""The coordinate check on unmodified models: slopes of log mean |output| on log width, with MuP and without.

    python benchmarks/coordinates.py [--seeds 3] [--steps 3] [MODEL ...]

Each model is built at four widths with heads of one size, trained a few steps, and of every module the slope
is taken after the last. MuP's lie within ±0.1; with one standard deviation for all widths they do not.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from click.testing import CliRunner

from initcfg._api.command import main

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "peers"))

WIDTHS = (64, 128, 256, 512)
HEAD = 16


def widths(factor: float = 1.0) -> str:
    return ",".join(str(int(each * factor)) for each in WIDTHS)


MODELS = {
    "GPT-2, untied": (
        "hf:GPT2LMHeadModel",
        [f"n_embd={widths()}", f"n_head={widths(1 / HEAD)}"],
        ["n_layer=3", "vocab_size=200", "n_positions=64", "tie_word_embeddings=false"],
    ),
    "Llama": (
        "hf:LlamaForCausalLM",
        [
            f"hidden_size={widths()}",
            f"intermediate_size={widths(2)}",
            f"num_attention_heads={widths(1 / HEAD)}",
            f"num_key_value_heads={widths(1 / HEAD)}",
        ],
        [f"head_dim={HEAD}", "num_hidden_layers=3", "vocab_size=200", "tie_word_embeddings=false"],
    ),
    "timm ViT": (
        "timm:vit_tiny_patch16_224",
        [f"embed_dim={widths()}", f"num_heads={widths(1 / HEAD)}"],
        ["depth=3", "img_size=64", "num_classes=50"],
    ),
}
SCHEMES = {
    "MuP": [],
    "one std": [
        "--scheme",
        "dict(type='Normal', layer=['Linear', 'Conv1D', 'Embedding', 'Conv2d'], std=0.05)",
    ],
}


def check(name: str, scheme: str, seeds: int, steps: int) -> dict:
    target, varied, fixed = MODELS[name]
    words = ["coordcheck", target, "--json", "--seeds", str(seeds), "--steps", str(steps), "--std", "0.05"]
    words += [word for each in varied for word in ("--vary", each)]
    words += [word for each in fixed for word in ("--set", each)]
    done = CliRunner().invoke(main, [*words, *SCHEMES[scheme]])
    if done.exit_code not in (0, 1):
        raise SystemExit(done.output)
    return json.loads(done.stdout)


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    asked = parser.parse_args()
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    torch.set_num_threads(1)
    print("| model | scheme | modules | largest slope | where | beyond ±0.1 | loss at 64 | loss at 512 | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in asked.models:
        for scheme in SCHEMES:
            begun = time.perf_counter()
            found = check(name, scheme, asked.seeds, asked.steps)
            modules = found["modules"]
            worst = max(modules, key=lambda each: abs(modules[each]["slope"]))
            failing = sum(not each["passes"] for each in modules.values())
            losses = [f"{row[0]:.2f} → {row[-1]:.2f}" for row in (found["losses"][0], found["losses"][-1])]
            slope, took = modules[worst]["slope"], time.perf_counter() - begun
            cells = [
                name,
                scheme,
                len(modules),
                f"{slope:+.3f}",
                f"`{worst}`",
                failing,
                *losses,
                f"{took:.0f}",
            ]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    run()
