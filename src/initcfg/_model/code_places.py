"""Places in code, as messages name them: file and line, or a notebook's cell; nothing without a file."""

from __future__ import annotations

import os
import sys
from types import FrameType

import torch

TORCH_FOLDER = os.path.join(os.path.dirname(torch.__file__), "")
"""Where torch's own code lies; it ends in a separator."""

# What builds modules from configs, by the name of the package: a line of theirs is none of a person's.
_BUILDERS = (__name__.partition(".")[0], "mmengine", "mmcv", "hydra", "jsonargparse")


def code_place(file: str, line: int) -> str | None:
    """``"net.py:9"``, in a notebook ``"In[3]:2"``; None for what was typed or made up: nobody can open it."""
    if file.startswith("<") or os.path.basename(os.path.dirname(file)).startswith("ipykernel_"):
        cell = _cell(file)
        return None if cell is None else f"{cell}:{line}"
    return f"{os.path.basename(file)}:{line}"


def frame_place(frame: FrameType) -> str | None:
    """Where a frame is running; None too where it is a registry's, which builds what a config says."""
    if of_builders(frame.f_globals.get("__name__")):
        return None
    return code_place(frame.f_code.co_filename, frame.f_lineno)


def of_builders(module: object) -> bool:
    """Whether a module of this name is of a package that builds what configs say."""
    return str(module).partition(".")[0] in _BUILDERS


def _cell(file: str) -> str | None:
    try:
        # Its own answer, as in its tracebacks; older ones have none.
        found = sys.modules["IPython"].get_ipython().compile.format_code_name(file)
        return None if found is None else str(found[1]).replace(" ", "")
    except Exception:
        return None
