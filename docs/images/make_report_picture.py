"""Make docs/images/report.png: the head of a diagnosis of GPT-2 with an embedding that is too large.

Run it from anywhere: python docs/images/make_report_picture.py [--small]. It needs transformers, matplotlib
and Chromium; GPT-2 with 124 million parameters takes some minutes, ``--small`` has 4 narrow blocks.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import initcfg

ROOT = Path(__file__).parents[2]
HEIGHT = 1560


def main() -> None:
    """Diagnose the model, and take a picture of the page."""
    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from browser import browser

    small = "--small" in sys.argv
    config = GPT2Config(n_layer=4, n_embd=64, n_head=4) if small else GPT2Config()
    model = GPT2LMHeadModel(config)
    rules = [dict(type="GPT2"), dict(type="Normal", param="transformer.wte.weight", std=0.8)]
    plan = initcfg.plan(model, rules)
    plan.apply(model, seed=0)
    torch.manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (8, 256))
    found = initcfg.diagnose(model, {"input_ids": ids, "labels": ids}, plan=plan, lr=3e-4)
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        page = Path(folder) / "report.html"
        found.to_html(page)
        chromium.open(page, width=1100)
        chromium.picture(ROOT / "docs" / "images" / "report.png", height=HEIGHT)


if __name__ == "__main__":
    main()
