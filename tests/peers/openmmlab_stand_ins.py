"""Let the OpenMMLab packages be imported without their compiled parts.

Initialization never runs an operator of MMCV's `mmcv._ext` or of torchvision's C library, but both
are asked for when the packages are imported. Here, and nowhere else, something stands in for them:
an extension module whose every function raises when called, and torchvision's operator names with
a schema and no kernel. Python code of the packages themselves is left as it is.
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
    """Its multimodal models are written against a transformers of 2023; a later one breaks its import.

    It asks the backport of importlib.metadata whether it is there, which nothing else here does.
    """
    if importlib.util.find_spec("importlib_metadata") is None:
        return
    import importlib_metadata as metadata

    found = metadata.distribution
    if getattr(found, "hides_transformers", False):
        return

    def distribution(name: str) -> Any:
        if name == "transformers":
            raise metadata.PackageNotFoundError(name)
        return found(name)

    distribution.hides_transformers = True  # type: ignore[attr-defined]
    metadata.distribution = distribution


def install() -> None:
    """Put the stand-ins in place; a second call changes nothing."""
    _hide_transformers_from_mmpretrain()
    _stand_in_for_torchvision()
    _stand_in_for_mmcv()
