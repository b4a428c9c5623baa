"""Layers: which module classes a ``layer`` means, and whether there are such classes."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from torch import nn

from initcfg._config import MODELS
from initcfg.errors import RuleTypeError, UnknownLayerError, nearest

# Layers of MMCV and MMEngine: a config may name them where neither is installed.
_OPENMMLAB = """
    AdaptivePadding BaseModule CARAFE CARAFENaive CARAFEPack Caffe2Linear ContextBlock
    Conv2dAdaptivePadding ConvAWS2d ConvModule ConvTranspose2d ConvTranspose3d ConvWS2d
    CrissCrossAttention DeformConv2d DeformConv2dPack DeformConvPack DepthwiseSeparableConvModule
    FFN FrozenBatchNorm2d GELU GeneralizedAttention HSigmoid HSwish InPlaceABN InstanceNorm
    LayerScale LinearModule MaskedConv2d MaxPool2d MaxPool3d ModuleDict ModuleList
    ModulatedDeformConv2d ModulatedDeformConv2dPack ModulatedDeformRoIPoolPack
    MultiScaleDeformableAttention MultiheadAttention NLConv1d NLConv2d NLConv3d NonLocal1d
    NonLocal2d NonLocal3d NormedConv2d NormedLinear PatchEmbed PatchMerging PixelShufflePack PSAMask
    SAConv2d SAC Scale Sequential SparseConv2d SparseConv3d SparseConvTranspose2d
    SparseConvTranspose3d SparseInverseConv2d SparseInverseConv3d SubMConv2d SubMConv3d SwinBlock
    Swish SyncBN SyncBatchNorm TINShift Upsample WindowMSA _BatchNorm _InstanceNorm _NonLocalNd
"""
OPENMMLAB_LAYERS = frozenset(_OPENMMLAB.split())


@dataclass(frozen=True)
class Layers:
    """The classes that ``layer`` names: bare names, dotted paths, or classes themselves."""

    names: frozenset[str]
    classes: tuple[type, ...]
    whole_mro: bool

    @lru_cache(maxsize=65536)  # noqa: B019  # Rules are few, and equal ones share what is found.
    def matches(self, cls: type) -> bool:
        """Whether a module of class ``cls`` is meant."""
        if not self.whole_mro:
            # The original: the class's own name and those of its direct bases.
            return any(each.__name__ in self.names for each in (cls, *cls.__bases__))
        if self.classes and issubclass(cls, self.classes):
            return True
        return any(not self.names.isdisjoint(_names_of(base)) for base in cls.__mro__[:-1])

    def __bool__(self) -> bool:
        return bool(self.names or self.classes)


NO_LAYERS = Layers(frozenset(), (), True)


def dotted(cls: type) -> str:
    """Import path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def parse_layers(layer: Any, *, compat: bool) -> Layers:
    """``layer`` as written: a class name, a dotted path, a class, or a list of them."""
    items = list(layer) if isinstance(layer, (list, tuple)) else [layer]
    if compat:
        if not isinstance(layer, (str, list)):
            raise RuleTypeError(
                f"layer must be a class name or a list of them, not {layer!r}.", fix="Write layer='Conv2d'."
            )
        # A class in the list matches nothing there, without a word.
        return Layers(frozenset(item for item in items if isinstance(item, str)), (), False)
    if not all(isinstance(item, (str, type)) for item in items):
        raise RuleTypeError(
            f"layer must be a class name, a dotted path, a class, or a list of them, not {layer!r}.",
            fix="Write layer='Conv2d'.",
        )
    found = [_import_class(item) if isinstance(item, str) and "." in item else item for item in items]
    classes = tuple(item for item in found if isinstance(item, type))
    return Layers(frozenset(item for item in found if isinstance(item, str)), classes, True)


def _import_class(path: str) -> type | str:
    """The class at a dotted path, where its module is loaded or is torch's own; otherwise the path."""
    module_name, _, name = path.rpartition(".")
    if module_name.split(".")[0] == "torch":
        with contextlib.suppress(ImportError):
            importlib.import_module(module_name)
    found = getattr(sys.modules.get(module_name), name, None)
    return found if isinstance(found, type) else path


def check_layer_names(layers: Layers, model: nn.Module, rule: Any) -> None:
    """Every name in a rule must be a class: of this model, loaded, registered, or on the shipped list."""
    # The common names first: looking through every loaded class costs milliseconds.
    unknown = sorted(name for name in layers.names if name not in OPENMMLAB_LAYERS and not _in_torch(name))
    if not unknown:
        return
    classes = {type(module) for module in model.modules()}
    in_model = {name for cls in classes for base in cls.__mro__ for name in _names_of(base)}
    known = in_model if in_model.issuperset(unknown) else in_model | known_layer_names()
    for name in unknown:
        if name not in known:
            bare = {candidate for candidate in known if "." not in candidate}
            raise UnknownLayerError(
                f"layer={name!r} names no module class: it is not among the classes of this model and their "
                "bases, the loaded module classes, the registries, or the known layers of torch and MMCV.",
                meant=nearest(name, in_model) or nearest(name, known if "." in name else bare),
                fix="Correct the name, or import the module that defines the class.",
                rule=str(rule),
                where=rule.place,
            )


def _in_torch(name: str) -> bool:
    found = getattr(nn, name, None)
    return isinstance(found, type) and issubclass(found, nn.Module)


def _names_of(cls: type) -> tuple[str, str]:
    return cls.__name__, dotted(cls)


def known_layer_names() -> set[str]:
    """Names of all loaded module classes, of the registered ones, and of the shipped list."""
    names: set[str] = set(OPENMMLAB_LAYERS)
    classes: list[type] = [nn.Module]
    seen: set[type] = set()
    while classes:
        cls = classes.pop()
        if cls not in seen:
            seen.add(cls)
            names.update(_names_of(cls))
            classes.extend(cls.__subclasses__())
    mmengine = sys.modules.get("mmengine.registry")
    for root in [MODELS] if mmengine is None else [MODELS, mmengine.MODELS]:
        for registry in with_descendants(root):
            names.update(registry.module_dict)
    return names


def with_descendants(registry: Any) -> Iterator[Any]:
    """A registry, ours or MMEngine's, and all below it."""
    yield registry
    for child in registry.children.values():
        yield from with_descendants(child)
