"""Tracing and initializing large models against the libraries' own initialization: time and peak memory.

    python benchmarks/trace.py [--only SUBSTRING] [--repeats 3]

Each figure is of a process of its own, all in one run, the ways taken in turn; medians. "own" builds the
model as its users do. "trace" is ``initcfg.trace`` of that: the plan, nothing written. "ready" is a model
with all its weights from the stream: built deferred, planned, applied. The memory is the peak above what the
imports take.

A second table takes "ready" apart: the constructors' Python, the plan, and apply; beside the least that can
be, constructors, the first touch of as much memory (one number a page, by as many threads, in a process of
its own) and the kernel (the plan applied once more, to memory that is there). "fill_" is of new memory.
"""

from __future__ import annotations

import argparse
import json
import mmap
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parents[1] / "tests" / "peers"
WAYS = ("own", "trace", "ready", "touch")
MODELS = ("gpt2-xl", "llama-1b-bfloat16", "vit-l", "llama-70b-bfloat16")
# Too large to be built here by anybody.
ONLY_TRACED = ("llama-70b-bfloat16",)


def builder(model: str) -> Callable[[], Any]:
    """The function that builds a model as its users do."""
    if model == "vit-l":
        import timm

        return lambda: timm.create_model("vit_large_patch16_224")
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    if model == "gpt2-xl":
        config = GPT2Config(n_embd=1600, n_layer=48, n_head=25)
        return lambda: AutoModelForCausalLM.from_config(config)
    shapes = {
        # Llama-3.2-1B and Llama-3-70B.
        "llama-1b-bfloat16": dict(
            hidden_size=2048,
            intermediate_size=8192,
            num_hidden_layers=16,
            num_attention_heads=32,
            head_dim=64,
            tie_word_embeddings=True,
        ),
        "llama-70b-bfloat16": dict(
            hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64
        ),
    }
    config = LlamaConfig(vocab_size=128256, num_key_value_heads=8, **shapes[model])  # pyright: ignore[reportArgumentType]
    return lambda: AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def measure(model: str, way: str) -> dict[str, float]:
    """One way, in this process."""
    import resource
    import time
    import warnings

    warnings.simplefilter("ignore")
    sys.path.insert(0, str(PEERS))
    import openmmlab_stand_ins  # pyright: ignore[reportMissingImports]

    openmmlab_stand_ins.install()
    import torch
    from torch import nn

    import initcfg

    build = builder(model)
    # What is imported when first called is not the way's own.
    small = nn.Linear(2, 2)
    initcfg.trace(lambda: nn.Linear(2, 2)).apply(small, seed=0)
    if model != "vit-l":
        from transformers.models.gpt2 import modeling_gpt2 as _gpt2  # noqa: F401
        from transformers.models.llama import modeling_llama as _llama  # noqa: F401

    def peak() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    parts: dict[str, float] = {}
    again: Callable[[], Any] | None = None
    before, start = peak(), time.perf_counter()
    if way == "own":
        elements = sum(each.numel() for each in build().parameters())
    elif way == "trace":
        elements = sum(each.elements for each in initcfg.trace(build).values())
    elif way == "touch":
        with torch.device("meta"):
            sizes = [(each.shape, each.dtype) for each in build().parameters()]
        start = time.perf_counter()
        kept = [torch.empty(shape, dtype=dtype) for shape, dtype in sizes]
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(touch, kept))
        seconds = time.perf_counter() - start
        elements = sum(map(torch.numel, kept))
        del kept
        start = time.perf_counter()
        kept = [torch.empty(shape, dtype=dtype).fill_(1.0) for shape, dtype in sizes]
        return {"seconds": seconds, "fill": time.perf_counter() - start, "memory": 0.0, "elements": elements}
    else:
        with initcfg.deferred():
            made = build()
        parts["constructors"] = time.perf_counter() - start
        plan = initcfg.plan(made)
        parts["plan"] = time.perf_counter() - start - sum(parts.values())
        plan.apply(made, seed=0)
        parts["apply"] = time.perf_counter() - start - sum(parts.values())
        elements = sum(each.elements for each in plan.values())
        again = partial(plan.apply, made, seed=0)
    seconds = time.perf_counter() - start
    found = {"seconds": seconds, "memory": peak() - before, "elements": elements, **parts}
    if again is not None:
        begun = time.perf_counter()
        again()
        found["kernel"] = time.perf_counter() - begun
    return found


def touch(tensor: Any) -> None:
    """Write one number on each page of a tensor's memory."""
    tensor.view(-1)[:: mmap.PAGESIZE // tensor.element_size()].fill_(1.0)


def run(model: str, way: str) -> dict[str, float]:
    """One way, in a process of its own."""
    command = [sys.executable, __file__, "--measure", model, way]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    print("| model | parameters | way | seconds | against own | ns a parameter | peak MB |")
    print("|---|---:|---|---:|---:|---:|---:|")
    taken_apart: dict[str, dict[str, float]] = {}
    for model in MODELS:
        if options.only not in model:
            continue
        ways = ("trace",) if model in ONLY_TRACED else WAYS
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way in ways:
                found[way].append(run(model, way))
        own = statistics.median(each["seconds"] for each in found["own"]) if "own" in found else None
        if "touch" in found:
            taken_apart[model] = {
                part: statistics.median(each[part] for each in found["ready"])
                for part in ("constructors", "plan", "apply", "kernel")
            }
            for part, each_as in (("touch", "seconds"), ("fill", "fill")):
                taken_apart[model][part] = statistics.median(each[each_as] for each in found["touch"])
        for way in ways:
            if way == "touch":
                continue
            seconds = statistics.median(each["seconds"] for each in found[way])
            memory = statistics.median(each["memory"] for each in found[way])
            elements = found[way][0]["elements"]
            ratio = "" if own is None or way == "own" else f"{own / seconds:.1f}×"
            print(
                f"| {model} | {elements / 1e9:.2f}·10⁹ | {way} | {seconds:.2f} | {ratio} "
                f"| {1e9 * seconds / elements:.2f} | {memory:,.0f} |",
                flush=True,
            )
    print("\n| model | constructors | plan | apply | together | first touch | kernel | limit | × | fill_ |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for model, part in taken_apart.items():
        together = part["constructors"] + part["plan"] + part["apply"]
        limit = part["constructors"] + part["touch"] + part["kernel"]
        print(
            f"| {model} | {part['constructors']:.3f} | {part['plan']:.3f} | {part['apply']:.3f} "
            f"| {together:.3f} "
            f"| {part['touch']:.3f} | {part['kernel']:.3f} | {limit:.3f} | {together / limit:.2f} "
            f"| {part['fill']:.3f} |"
        )


if __name__ == "__main__":
    main()
