"""Coverage-guided fuzzing of every reader of what nobody vouches for.

``python tools/fuzz.py seeds`` writes the first inputs of each target into ``tests/fuzz_corpus``.
``python tools/fuzz.py run TARGET --minutes 10`` lets atheris (``pip install atheris``) look for inputs that
crash, hang, or raise anything but an ``InitcfgError``. ``python tools/fuzz.py keep TARGET`` adds some of
what it found to the corpus, and all that failed. The tests run the corpus on every target.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORPUS = ROOT / "tests" / "fuzz_corpus"
FOUND = ROOT / ".fuzz"
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "support")]


# A role, a scale and multipliers, and the values of schemes.
_SCHEMED = [
    {"type": "GPT2"},
    {"type": "ICNR", "layer": "Conv2d"},
    {
        "type": "ZerO",
        "param": "fc.weight",
        "scale": "2/sqrt(fan_in)",
        "tune": {"lr": "1/fan_in", "optimizer": "adamw"},
    },
    {"type": "Normal", "role": "residual_out", "scale": "1/(layers+2)"},
]


def seeds() -> None:
    """Inputs that are in order, for a fuzzer to begin with."""
    for target, inputs in _seeds().items():
        for name, data in inputs.items():
            path = CORPUS / target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def _seeds() -> dict[str, dict[str, bytes]]:
    import torch
    from fuzz_targets import Small
    from safetensors.torch import save
    from torch import nn

    import initcfg

    rules = [
        {"type": "Kaiming", "layer": "Conv2d"},
        {"type": "TruncNormal", "layer": "Embedding", "std": 0.02},
        {"type": "Orthogonal", "layer": "Linear", "gain": 2, "bias": 1},
    ]
    recorded = initcfg.trace(Small)
    stream = io.BytesIO()
    torch.save(
        {"state_dict": {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.int8)}}, stream
    )
    archive = stream.getvalue()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        program = opened.read(next(name for name in opened.namelist() if name.endswith("data.pkl")))
    config = {
        "base": {"lr": 0.1, "on": True, "none": None},
        "model": {"type": "Linear", "in_features": 3, "out_features": 4, "init_cfg": rules[0]},
        "list": [1, 2.5, "three", {"_delete_": True}],
    }
    yaml = "model: &m\n  type: Linear\n  in_features: 3\nother: *m\nlist: [1, 2.5, x]\ntext: |\n  a\n  b\n"
    toml = '[model]\ntype = "Linear"\nin_features = 3\n[[list]]\nx = 1\nday = 2020-01-01\n'
    shards = {
        "metadata": {"total_size": 20},
        "weight_map": dict.fromkeys("ab", "model-00001-of-00001.safetensors"),
    }
    record = {
        "origin": "https://example.org/weights.pth",
        "name": "weights.pth",
        "sha256": "0" * 64,
        "size": 4,
        "modified": 1,
        "etag": None,
        "last_modified": None,
        "validated": 1.0,
    }
    model = Small()
    ruled = initcfg.plan(model, rules)
    ledger = ruled.apply(model, seed=3)
    schemed = initcfg.plan(
        model, _SCHEMED, roles=dict(head="fc.weight", residual_out="words.weight", layers=2)
    )
    measured = initcfg.plan(
        nn.Sequential(nn.Linear(3, 4)), dict(type="WeightNormData", batch=(torch.rand(5, 3),))
    )
    finished = measured.apply(nn.Sequential(nn.Linear(3, 4)), seed=1)
    return {
        "plan": {
            "rules": _json(ruled.to_json()),
            "traced": _json(recorded.to_json()),
            "schemed": _json(schemed.to_json()),
            "measured": _json(measured.to_json()),
            "finished": _json(finished.plan.to_json()),
        },
        "ledger": {
            "rules": _json(ledger.to_json()),
            "schemed": _json(schemed.apply(model, seed=3).to_json()),
            "finished": _json(finished.to_json()),
        },
        "config_json": {"config": _json(config)},
        "config_yaml": {"config": yaml.encode()},
        "config_toml": {"config": toml.encode()},
        "safetensors": {"two": save({"a": torch.ones(2, 2), "b": torch.zeros(3, dtype=torch.int16)})},
        "torch_zip": {"two": archive},
        "pickled": {"two": program, "empty": b"\x80\x02}q\x00."},
        "index": {"two": _json(shards)},
        "cache_record": {"one": _json(record)},
    }


def _json(data: object) -> bytes:
    return json.dumps(data).encode()


def run(name: str, minutes: float) -> None:
    """Let atheris look for inputs of one target. Its corpus grows in ``.fuzz``."""
    import atheris  # pyright: ignore[reportMissingImports]

    with atheris.instrument_imports(include=["initcfg", "json", "zipfile", "yaml", "tomllib"]):
        import fuzz_targets
        import json_mutations
    target = fuzz_targets.TARGETS[name]
    folder = FOUND / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp())
    warnings.simplefilter("ignore")

    def one(data: bytes) -> None:
        fuzz_targets.attempt(target, data, work)

    limits = [f"-max_total_time={round(minutes * 60)}", "-timeout=10", "-rss_limit_mb=3000", "-max_len=20000"]
    found = f"-artifact_prefix={folder}/"

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        """Three of four times a change that keeps JSON what it is, if it is JSON."""
        changed = json_mutations.mutated(data, seed) if seed % 4 else None
        return atheris.Mutate(data, most) if changed is None or len(changed) > most else changed

    atheris.Setup(
        [sys.argv[0], *limits, found, str(folder / "corpus"), str(CORPUS / name)],
        one,
        custom_mutator=mutate,
    )
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(work, ignore_errors=True)


def keep(name: str, count: int, most: int) -> None:
    """Copy ``count`` of the inputs that the fuzzer found, of all sizes up to ``most``; and what failed."""
    folder = FOUND / name
    found = [path for path in (folder / "corpus").iterdir() if path.stat().st_size <= most]
    found.sort(key=lambda each: (each.stat().st_size, each.name))
    step = max(1, len(found) // count)
    crashes = [path for path in folder.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
    for path in (*found[step - 1 :: step], *crashes):
        if path.stat().st_size <= most:
            shutil.copy(path, CORPUS / name / path.name[:18])


def main() -> None:
    """The three commands."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("seeds")
    running = commands.add_parser("run")
    running.add_argument("target")
    running.add_argument("--minutes", type=float, default=10)
    keeping = commands.add_parser("keep")
    keeping.add_argument("target")
    keeping.add_argument("--count", type=int, default=20)
    keeping.add_argument("--most", type=int, default=1500, help="bytes of an input")
    given = parser.parse_args()
    if given.command == "seeds":
        seeds()
    elif given.command == "run":
        run(given.target, given.minutes)
    else:
        keep(given.target, given.count, given.most)


if __name__ == "__main__":
    main()
