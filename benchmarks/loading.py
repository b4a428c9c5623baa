"""Initializing a model of 1.2 billion bfloat16 parameters from a checkpoint: time and peak memory.

    python benchmarks/loading.py [--repeats 3] [--folder FOLDER]

The model has the shape of Llama-3.2-1B; the checkpoint is one safetensors file, five shards, or a ``.pth``
file, and its pages are in the system's cache. Each figure is of a process of its own, all in one run, the
ways taken in turn; medians. Ways: ``torch.load`` and ``load_state_dict`` into a model built as usual, and
into one on the meta device (``assign=True``, mapped from the file); ``safetensors.torch.load_model``;
transformers' ``from_pretrained``; and ``initcfg``, a deferred build and ``Pretrained``, also with
``copy=False``. Each begins when Python has collected its garbage, since what the imports leave would else
be collected in whichever way comes next. It ends with one number a page of all parameters, so that what was
only mapped is read, too. The limit of a copy: ``cat FILE > /dev/null``, and ``fill_`` of as much fresh
memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parents[1] / "tests" / "peers"
FILES = {"one file": "one", "five shards": "five", "pth": "model.pth"}
WAYS = {
    "one file": ("limit", "load_model", "from_pretrained", "initcfg", "initcfg(copy=False)"),
    "five shards": ("limit", "from_pretrained", "initcfg", "initcfg(copy=False)"),
    "pth": ("limit", "load_state_dict", "load_state_dict(assign)", "initcfg", "initcfg(copy=False)"),
}


def config() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        tie_word_embeddings=True,
    )


def prepare(folder: Path) -> None:
    """Write the checkpoints."""
    import torch
    from transformers import AutoModelForCausalLM

    import initcfg

    with initcfg.deferred():
        model = AutoModelForCausalLM.from_config(config(), dtype=torch.bfloat16)
    initcfg.plan(model).apply(model, seed=0)
    model.save_pretrained(folder / "one", max_shard_size="50GB")
    model.save_pretrained(folder / "five", max_shard_size="600MB")
    torch.save(model.state_dict(), folder / "model.pth")


def load(way: str, file: Path) -> Any:
    """A model with the numbers of the checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM

    if way == "from_pretrained":
        return AutoModelForCausalLM.from_pretrained(file, dtype=torch.bfloat16)
    if way.startswith("initcfg"):
        import initcfg

        with initcfg.deferred():
            model = AutoModelForCausalLM.from_config(config(), dtype=torch.bfloat16)
        rule = dict(type="Pretrained", checkpoint=str(file), copy=way == "initcfg")
        initcfg.init_weights(model, rule, seed=0)
        return model
    if way == "load_state_dict(assign)":
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config(), dtype=torch.bfloat16)
        model.load_state_dict(torch.load(file, weights_only=True, mmap=True), assign=True)
        model.tie_weights()
        return model
    model = AutoModelForCausalLM.from_config(config(), dtype=torch.bfloat16)
    if way == "load_state_dict":
        model.load_state_dict(torch.load(file, weights_only=True))
    else:
        from safetensors.torch import load_model

        load_model(model, file / "model.safetensors")
    return model


def measure(way: str, file: Path) -> dict[str, float]:
    """One way, in this process."""
    if way == "limit":
        return limit(file)
    import gc
    import resource
    import time
    import warnings

    warnings.simplefilter("ignore")
    sys.path.insert(0, str(PEERS))
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    from transformers.models.llama import modeling_llama as _llama  # noqa: F401

    import initcfg

    initcfg.trace(_small)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    model = load(way, file)
    read = sum(
        each.detach().view(-1)[:: 2048 // each.element_size()].float().sum() for each in model.parameters()
    )
    seconds = time.perf_counter() - start
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    size = sum(each.numel() * each.element_size() for each in model.parameters()) / 1e6
    return {"seconds": seconds, "above": peak - size, "size": size, "check": float(read)}


def limit(file: Path) -> dict[str, float]:
    """What a copy cannot do without: to read the file, and to touch fresh memory."""
    import time

    import torch

    files = [file] if file.is_file() else sorted(file.glob("*.safetensors"))
    size = sum(each.stat().st_size for each in files)
    start = time.perf_counter()
    with open("/dev/null", "w") as nothing:
        subprocess.run(["cat", *map(str, files)], stdout=nothing, check=True)
    torch.empty(size // 2, dtype=torch.bfloat16).fill_(1)
    return {"seconds": time.perf_counter() - start, "above": 0.0, "size": size / 1e6}


def _small() -> Any:
    from torch import nn

    return nn.Linear(2, 2)


def run(way: str, file: Path) -> dict[str, float]:
    """One way, in a process of its own."""
    command = [sys.executable, __file__, "--measure", way, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Keep the checkpoints there, and use those that are.")
    parser.add_argument("--kinds", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--ways", nargs="+", help="Those alone; all by default.")
    parser.add_argument("--prepare", type=Path)
    parser.add_argument("--measure", nargs=2)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]))))
        return
    if options.prepare:
        sys.path.insert(0, str(PEERS))
        import openmmlab_stand_ins

        openmmlab_stand_ins.install()
        prepare(options.prepare)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        if not (folder / "model.pth").exists():
            subprocess.run([sys.executable, __file__, "--prepare", str(folder)], check=True)
        print("| checkpoint | way | seconds | peak above the model, MB |")
        print("|---|---|---:|---:|")
        for kind in options.kinds:
            ways = [way for way in WAYS[kind] if way in (options.ways or WAYS[kind])]
            found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
            for _ in range(options.repeats):
                for way in ways:
                    found[way].append(run(way, folder / FILES[kind]))
            each_run = [each for runs in found.values() for each in runs if "check" in each]
            checks = {round(each["check"], 3) for each in each_run}
            assert len(checks) == 1, f"The ways do not load the same numbers: {checks}."
            for way, runs in found.items():
                seconds = statistics.median(each["seconds"] for each in runs)
                above = statistics.median(each["above"] for each in runs)
                print(f"| {kind} | {way} | {seconds:.2f} | {above:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
