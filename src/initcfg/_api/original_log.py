"""What MMEngine writes to its log once a model is initialized: a line for every parameter, and what made it.

The lines have MMEngine's form; what stands in them is the ledger's: MMEngine compares means before and after,
and so says of many parameters that were written that their value is the same.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from torch import distributed, nn

from initcfg._model import named_tensors
from initcfg._plan import Ledger, Written
from initcfg.errors import shown

_HEAD = "Name of parameter - Initialization information\n"
_KAIMING = "a={a}, mode={mode}, nonlinearity={nonlinearity}, distribution ={distribution}, bias={bias}"
# What MMEngine says of its initializers; any other says its arguments.
_SAID = {
    "Constant": "val={val}, bias={bias}",
    "Xavier": "gain={gain}, distribution={distribution}, bias={bias}",
    "Normal": "mean={mean}, std={std}, bias={bias}",
    "TruncNormal": "a={a}, b={b}, mean={mean}, std={std}, bias={bias}",
    "Uniform": "a={a}, b={b}, bias={bias}",
    "Kaiming": _KAIMING,
    "Caffe2Xavier": _KAIMING,
    "Pretrained": "load from {checkpoint}",
}


def write_original_log(module: nn.Module, ledger: Ledger) -> None:
    """Write the lines to the files of MMEngine's current logger; where it has none, to the logger itself.

    In a job of several ranks the first one writes.
    """
    if distributed.is_available() and distributed.is_initialized() and distributed.get_rank() != 0:
        return
    logger = current_logger()
    for load in ledger.loads:
        logger.info("load model from: %s", shown(load.checkpoint))
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    if not files and not logger.isEnabledFor(logging.INFO):
        return
    kind = type(module).__name__
    entries = named_tensors(module).entries
    # Names are the model's own here, with what wrappers add, and the ledger's are canonical.
    written = {
        name: ledger.get(entries[id(parameter)].name if id(parameter) in entries else name)
        for name, parameter in module.named_parameters()
    }
    lines = [
        f"\n{shown(name)} - {parameter.shape}: \n{shown(_information(written[name], kind))} \n"
        for name, parameter in module.named_parameters()
    ]
    for handler in files:
        # A handler opens its file when it first writes.
        stream: Any = handler.stream or handler._open()
        handler.stream = stream
        stream.write(_HEAD + "".join(lines))
        handler.flush()
    for line in () if files else lines:
        logger.info("%s ", line)


def current_logger() -> logging.Logger:
    """MMEngine's current logger."""
    # Code that moved off MMEngine has none of its loggers: one of that name stands in.
    loaded: Any = sys.modules.get("mmengine.logging")
    return logging.getLogger("mmengine") if loaded is None else loaded.MMLogger.get_current_instance()


def _information(entry: Written | None, kind: str) -> str:
    if entry is not None and entry.code:
        owner = entry.code.partition(" ")[0].rpartition(".")[0]
        return f"Initialized by user-defined `init_weights` in {owner or kind} "
    if entry is None or entry.by != "rule" or entry.initializer is None:
        return f"The value is the same before and after calling `init_weights` of {kind} "
    name = str(entry.initializer["type"])
    arguments = {key: value for key, value in entry.initializer.items() if key != "type"}
    try:
        said = _SAID[name].format(**arguments)
    except KeyError:
        said = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return f"{name}Init: {said}" if name in _SAID else f"{name}: {said}"
