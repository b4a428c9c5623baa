"""Run a script, as ``python script`` does, where torchvision has no compiled part."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import openmmlab_stand_ins

if __name__ == "__main__":
    openmmlab_stand_ins.install()
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
