"""Peak memory of initializing, above what there is after the imports: in MB, beside the model's own size.

    python benchmarks/memory.py

Three ways, each in a process of its own: ``initcfg.build``, ``initcfg init`` with a safetensors file (read
back and compared), and PyTorch's own construction. The model is ``torch.nn.Transformer`` of some 350 million
parameters, by a config.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

CONFIG = """
model = dict(
    type="torch.nn.Transformer",
    d_model=1024, nhead=16, num_encoder_layers=12, num_decoder_layers=12, dim_feedforward=4096,
)
"""
ALLOWED = 64


def worker(way: str, config: str) -> dict[str, float]:
    """One way, in this process."""
    import torch

    import initcfg

    output = Path(config).with_suffix(".safetensors")
    # Everything is imported, and was used once.
    small = Path(config).with_name("small.py")
    small.write_text('model = dict(type="torch.nn.Linear", in_features=2, out_features=2)\n')
    run("init", str(small), "-o", str(small.with_suffix(".safetensors")))
    before = _peak()
    if way == "initcfg init":
        run("init", config, "-o", str(output), "--seed", "0")
        peak = _peak()
        size = output.stat().st_size / 1e6
    else:
        if way == "initcfg.build":
            model = initcfg.build(config, seed=0)
        else:
            model = torch.nn.Transformer(1024, 16, 12, 12, 4096)
        peak = _peak()
        size = sum(each.numel() * each.element_size() for each in model.state_dict().values()) / 1e6
    return {"size": size, "peak": peak - before}


def run(*words: str) -> None:
    """The command, in this process."""
    from click.testing import CliRunner

    from initcfg._api.command.cli import main as command

    done = CliRunner().invoke(command, list(words))
    assert done.exit_code == 0, done.output


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1:
        print(json.dumps(worker(*sys.argv[1:])))
        return
    print(f"{'MB':<28}{'size':>8}{'peak':>8}{'above':>8}")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "transformer.py"
        config.write_text(CONFIG)
        for way in ("initcfg.build", "initcfg init", "torch.nn.Transformer(...)"):
            command = [sys.executable, __file__, way, str(config)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            above = found["peak"] - found["size"]
            verdict = "" if above <= ALLOWED else f"  more than {ALLOWED}"
            print(f"{way:<28}{found['size']:>8.0f}{found['peak']:>8.0f}{above:>8.0f}{verdict}")


if __name__ == "__main__":
    main()
