"""From nothing to ready weights, beside what people run today: seconds, ratio, and peak memory.

    python benchmarks/build.py [CASE ...] [--threads 2] [--runs 5] [--json]

The sides take turns in one process for each case; the time goes from the call that builds (imports are
done) to the end of a full read of all weights. "fill_" is the least that can be: as much new memory, each
weight written once by Tensor.fill_ and read once. Peak memory is that of processes with one side each,
above what they had after their imports. That our plan is the peer's own is shown first: with rng="torch"
and the same seed, every weight and buffer has the peer's bits.

Needs the packages of tests/peers/requirements.txt (make test-peers installs them).
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parents[1] / "tests" / "peers"
CASES = {
    "torchvision resnet50": ("torchvision", "resnet50"),
    "timm vit_large_patch16_224": ("timm", "vit_large_patch16_224"),
    "mmdet Faster R-CNN R50": ("mmdet", "faster_rcnn/faster-rcnn_r50_fpn_1x_coco"),
    "mmdet Mask R-CNN Swin-T": ("mmdet", "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco"),
    "mmpretrain ViT-L": ("mmpretrain", "vision_transformer/vit-large-p16_64xb64_in1k"),
}
SIDES = ("peer", "initcfg")


def builder(package: str, name: str) -> tuple[Callable[[], Any], bool]:
    """What builds the model, with everything imported; and whether init_weights() is to follow."""
    sys.path.insert(0, str(PEERS))
    import openmmlab_stand_ins

    openmmlab_stand_ins.install()
    if package == "torchvision":
        import torchvision.models

        return lambda: torchvision.models.get_model(name), False
    if package == "timm":
        import timm

        return lambda: timm.create_model(name), False
    import logging

    from mmengine.config import Config
    from mmengine.logging import MMLogger
    from mmengine.registry import MODELS, init_default_scope
    from real_models import PACKAGES, without_pretrained

    MMLogger.get_current_instance().setLevel(logging.CRITICAL)
    modules = {each: __import__(f"{each}.models") for each in PACKAGES}
    root = Path(modules[package].__path__[0])
    config = Config.fromfile(root / ".mim" / "configs" / f"{name}.py")
    init_default_scope(package)
    without_pretrained(config.model)
    return lambda: MODELS.build(config.model), True


def ready(side: str, build: Callable[[], Any], mm: bool, **options: Any) -> Any:
    """A model with its weights, by one side."""
    import initcfg

    if side == "peer":
        model = build()
        if mm:
            model.init_weights()
        return model
    with initcfg.deferred():
        model = build()
    initcfg.plan(model, compat="mmengine" if mm else None).apply(model, **options)
    return model


def times(package: str, name: str, threads: int, runs: int) -> dict[str, Any]:
    """The seconds of each side, run by run; and the number of elements."""
    import torch

    torch.set_num_threads(threads)
    build, mm = builder(package, name)
    found: dict[str, list[float]] = {side: [] for side in (*SIDES, "fill_")}
    shapes = [tensor.shape for tensor in ready("peer", build, mm).parameters()]
    for _ in range(runs + 1):
        for side, seconds in found.items():
            gc.collect()
            start = time.perf_counter()
            if side == "fill_":
                kept = [torch.empty(shape).fill_(1.0) for shape in shapes]
            else:
                kept = list(ready(side, build, mm).state_dict().values())
            checksum(kept)
            seconds.append(time.perf_counter() - start)
            del kept
    # The first round is for lazy imports and the allocator.
    return {
        "seconds": {side: seconds[1:] for side, seconds in found.items()},
        "elements": sum(shape.numel() for shape in shapes),
    }


def parts(package: str, name: str, threads: int, runs: int) -> dict[str, float]:
    """The median seconds of our own steps."""
    import torch

    torch.set_num_threads(threads)
    build, mm = builder(package, name)
    import initcfg

    rounds: list[list[float]] = []
    for _ in range(runs + 1):
        gc.collect()
        marks = [time.perf_counter()]
        with initcfg.deferred():
            model = build()
        marks.append(time.perf_counter())
        plan = initcfg.plan(model, compat="mmengine" if mm else None)
        marks.append(time.perf_counter())
        plan.apply(model)
        marks.append(time.perf_counter())
        checksum(list(model.state_dict().values()))
        marks.append(time.perf_counter())
        rounds.append([after - before for before, after in pairwise(marks)])
        del model, plan
    medians = [statistics.median(column) for column in zip(*rounds[1:], strict=True)]
    return dict(zip(("build", "plan", "apply", "read"), medians, strict=True))


def checksum(tensors: list[Any]) -> float:
    """Reads every number."""
    return sum(float(tensor.sum()) for tensor in tensors)


def peak(side: str, package: str, name: str) -> dict[str, float]:
    """The most memory that one side had, above what there was after all imports, in MB."""
    import torch

    torch.set_num_threads(2)
    build, mm = builder(package, name)
    import initcfg

    initcfg.init_weights(torch.nn.Linear(1, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = ready(side, build, mm)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    return {"peak": most * 1024 / 1e6, "size": size / 1e6}


def digest(side: str, package: str, name: str) -> dict[str, str]:
    """A hash of every weight and buffer after torch.manual_seed(0), by torch's own generator."""
    import torch

    build, mm = builder(package, name)
    torch.manual_seed(0)
    model = ready(side, build, mm, **({"rng": "torch"} if side == "initcfg" else {}))
    found = hashlib.sha256()
    for key, tensor in model.state_dict().items():
        found.update(key.encode() + tensor.detach().contiguous().numpy().tobytes())
    return {"digest": found.hexdigest()}


def apart(*words: str) -> dict[str, Any]:
    """A run in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--worker", *words], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=" | ".join(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        what, *words = arguments.worker
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if what in ("times", "parts"):
                found = {"times": times, "parts": parts}[what](*words[:2], *map(int, words[2:]))
            else:
                found = {"digest": digest, "peak": peak}[what](*words)
        print(json.dumps(found))
        return
    rows = []
    if not arguments.json:
        print(
            f"{'seconds (MB)':<28}{'elements':>14}{'peer':>8}{'initcfg':>9}{'×':>6}{'fill_':>8}"
            f"{'size':>8}{'peer':>7}{'initcfg':>8}  same bits"
        )
    for case in arguments.cases or CASES:
        place = CASES[case]
        same = len({apart("digest", side, *place)["digest"] for side in SIDES}) == 1
        timed = apart("times", *place, str(arguments.threads), str(arguments.runs))
        seconds = {side: statistics.median(each) for side, each in timed["seconds"].items()}
        peaks = {side: apart("peak", side, *place) for side in SIDES}
        steps = apart("parts", *place, str(arguments.threads), str(arguments.runs))
        row = {"case": case, **timed, "median": seconds, "peaks": peaks, "same": same, "parts": steps}
        rows.append(row)
        if not arguments.json:
            print(
                f"{case:<28}{timed['elements']:>14,}{seconds['peer']:>8.2f}{seconds['initcfg']:>9.3f}"
                f"{seconds['peer'] / seconds['initcfg']:>6.1f}{seconds['fill_']:>8.3f}"
                f"{peaks['peer']['size']:>8.0f}{peaks['peer']['peak']:>7.0f}{peaks['initcfg']['peak']:>8.0f}"
                f"  {'yes' if same else 'NO'}",
                flush=True,
            )
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"\n{'initcfg, step by step':<28}{'build':>8}{'plan':>8}{'apply':>8}{'read':>8}")
    for row in rows:
        print(f"{row['case']:<28}" + "".join(f"{each:>8.3f}" for each in row["parts"].values()))


if __name__ == "__main__":
    main()
