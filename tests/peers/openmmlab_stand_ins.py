"""Let the OpenMMLab packages be imported without their compiled parts.

Initialization never runs an operator of MMCV's `mmcv._ext` or of torchvision's C library, but both
are asked for when the packages are imported. Here, and nowhere else, something stands in for them:
an extension module whose every function raises when called, and torchvision's operator names with
a schema and no kernel. MMPretrain does not know transformers 5, and is told that there is none.
Python code of the packages themselves is left as it is.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any, NoReturn

import torch

#: What torchvision registers fake kernels for at import: these names must exist in the dispatcher.
TORCHVISION_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# A library's definitions live as long as the object does.
_held: list[torch.library.Library] = []


class _CompiledPart(types.ModuleType):
    """A module that has every function, each of which says that it is not there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*_arguments: Any, **_keywords: Any) -> NoReturn:
            raise RuntimeError(
                f"The compiled function {self.__name__}.{name} is stood in for in these tests."
            )

        return absent


def _stand_in_for_mmcv() -> None:
    name = "mmcv._ext"
    if name in sys.modules:
        return
    part = _CompiledPart(name)
    part.__spec__ = ModuleSpec(name, loader=None)
    part.__file__ = "<stand-in>"
    sys.modules[name] = part


def _stand_in_for_torchvision() -> None:
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in TORCHVISION_OPERATORS:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    _held.append(library)


def _hide_transformers_from_mmpretrain() -> None:
    # MMPretrain asks this module, and nobody else does, whether transformers is 4.28 or later; if so it
    # imports its multimodal models, whose base classes transformers 5 no longer has.
    import importlib_metadata

    found = importlib_metadata.distribution
    if found.__module__ == __name__:
        return

    def distribution(name: str) -> importlib_metadata.Distribution:
        if name == "transformers":
            raise importlib_metadata.PackageNotFoundError(name)
        return found(name)

    importlib_metadata.distribution = distribution


def install() -> None:
    """Put the stand-ins in place; a second call changes nothing."""
    _stand_in_for_torchvision()
    _stand_in_for_mmcv()
    _hide_transformers_from_mmpretrain()
