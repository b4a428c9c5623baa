"""Selection: which module classes a ``layer`` means, and which names a pattern matches."""

from __future__ import annotations

import fnmatch
import importlib
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from initcfg.errors import PatternError, RuleTypeError, UnknownLayerError, nearest

if TYPE_CHECKING:
    from torch import nn

# Layers of MMCV and MMEngine: a config may name them where neither is installed.
OPENMMLAB_LAYERS = frozenset(
    [
        "AdaptivePadding",
        "BaseModule",
        "CARAFE",
        "CARAFENaive",
        "CARAFEPack",
        "Caffe2Linear",
        "ContextBlock",
        "Conv2dAdaptivePadding",
        "ConvAWS2d",
        "ConvModule",
        "ConvTranspose2d",
        "ConvTranspose3d",
        "ConvWS2d",
        "CrissCrossAttention",
        "DeformConv2d",
        "DeformConv2dPack",
        "DeformConvPack",
        "DepthwiseSeparableConvModule",
        "FFN",
        "FrozenBatchNorm2d",
        "GELU",
        "GeneralizedAttention",
        "HSigmoid",
        "HSwish",
        "InPlaceABN",
        "InstanceNorm",
        "LayerScale",
        "LinearModule",
        "MaskedConv2d",
        "MaxPool2d",
        "MaxPool3d",
        "ModuleDict",
        "ModuleList",
        "ModulatedDeformConv2d",
        "ModulatedDeformConv2dPack",
        "ModulatedDeformRoIPoolPack",
        "MultiScaleDeformableAttention",
        "MultiheadAttention",
        "NLConv1d",
        "NLConv2d",
        "NLConv3d",
        "NonLocal1d",
        "NonLocal2d",
        "NonLocal3d",
        "NormedConv2d",
        "NormedLinear",
        "PatchEmbed",
        "PatchMerging",
        "PixelShufflePack",
        "PSAMask",
        "SAConv2d",
        "SAC",
        "Scale",
        "Sequential",
        "SparseConv2d",
        "SparseConv3d",
        "SparseConvTranspose2d",
        "SparseConvTranspose3d",
        "SparseInverseConv2d",
        "SparseInverseConv3d",
        "SubMConv2d",
        "SubMConv3d",
        "SwinBlock",
        "Swish",
        "SyncBN",
        "SyncBatchNorm",
        "TINShift",
        "Upsample",
        "WindowMSA",
        "_BatchNorm",
        "_InstanceNorm",
        "_NonLocalNd",
    ]
)


# -- layers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layers:
    """The classes that ``layer`` names: bare names, dotted paths, or classes themselves."""

    names: frozenset[str]
    classes: tuple[type, ...]
    whole_mro: bool

    def matches(self, cls: type) -> bool:
        """Whether a module of class ``cls`` is meant."""
        return _matches(self, cls)

    def __bool__(self) -> bool:
        return bool(self.names or self.classes)


@lru_cache(maxsize=65536)
def _matches(layers: Layers, cls: type) -> bool:
    if not layers.whole_mro:
        # The original: the class's own name and those of its direct bases.
        return cls.__name__ in layers.names or any(base.__name__ in layers.names for base in cls.__bases__)
    if layers.classes and issubclass(cls, layers.classes):
        return True
    return any(base.__name__ in layers.names or dotted(base) in layers.names for base in cls.__mro__[:-1])


def dotted(cls: type) -> str:
    """Import path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def parse_layers(layer: Any, *, compat: bool) -> Layers:
    """``layer`` as written: a class name, a dotted path, a class, or a list of them.

    Raises:
        RuleTypeError: It is something else.
    """
    items = layer if isinstance(layer, list) else [layer]
    if compat:
        if not isinstance(layer, (str, list)):
            raise RuleTypeError(f"layer must be a class name or a list of them, not {layer!r}.")
        # A class in the list matches nothing there, without a word.
        return Layers(frozenset(item for item in items if isinstance(item, str)), (), False)
    names: set[str] = set()
    classes: list[type] = []
    for item in items:
        if isinstance(item, type):
            classes.append(item)
        elif not isinstance(item, str):
            raise RuleTypeError(
                f"layer must be a class name, a dotted path, a class, or a list of them, not {layer!r}."
            )
        elif "." in item:
            found = _import_class(item)
            if found is None:
                names.add(item)
            else:
                classes.append(found)
        else:
            names.add(item)
    return Layers(frozenset(names), tuple(classes), True)


def _import_class(path: str) -> type | None:
    """The class at a dotted path, where its module is loaded or is torch's own."""
    module_name, _, name = path.rpartition(".")
    module = sys.modules.get(module_name)
    if module is None and module_name.split(".")[0] == "torch":
        try:
            module = importlib.import_module(module_name)
        except ImportError:
            return None
    found = getattr(module, name, None)
    return found if isinstance(found, type) else None


def check_layer_names(layers: Layers, model_classes: Callable[[], Iterable[type]], **context: Any) -> None:
    """Every name must be a class that exists somewhere.

    Args:
        layers: The classes named.
        model_classes: Gives the classes of the model's modules; asked only when needed.
        context: ``rule`` and ``where`` for the error.

    Raises:
        UnknownLayerError: A name is in no MRO of this model, no loaded Module subclass, no registry,
            and not in the shipped list.
    """
    # The common names first: looking through every loaded class costs milliseconds.
    unknown = sorted(name for name in layers.names if name not in OPENMMLAB_LAYERS and not _in_torch(name))
    if not unknown:
        return
    in_model = {name for cls in set(model_classes()) for base in cls.__mro__ for name in _names_of(base)}
    unknown = [name for name in unknown if name not in in_model]
    if not unknown:
        return
    known = in_model | known_layer_names()
    for name in unknown:
        if name not in known:
            bare = {candidate for candidate in known if "." not in candidate}
            raise UnknownLayerError(
                f"layer={name!r} names no module class: it is not among the classes of this model and their "
                "bases, the loaded module classes, the registries, or the known layers of torch and MMCV.",
                meant=nearest(name, in_model) or nearest(name, known if "." in name else bare),
                fix="Correct the name, or import the module that defines the class.",
                **context,
            )


def _in_torch(name: str) -> bool:
    from torch import nn

    found = getattr(nn, name, None)
    return isinstance(found, type) and issubclass(found, nn.Module)


def _names_of(cls: type) -> tuple[str, str]:
    return cls.__name__, dotted(cls)


def known_layer_names() -> set[str]:
    """Names of all loaded module classes, of the registered ones, and of the shipped list."""
    from torch import nn

    from initcfg._config import MODELS

    names: set[str] = set(OPENMMLAB_LAYERS)
    todo: list[type] = [nn.Module]
    seen: set[type] = set()
    while todo:
        cls = todo.pop()
        if cls not in seen:
            seen.add(cls)
            names.update(_names_of(cls))
            todo.extend(cls.__subclasses__())
    registries: list[Any] = [MODELS]
    other = sys.modules.get("mmengine.registry")
    if other is not None:
        registries.append(other.MODELS)
    while registries:
        registry = registries.pop()
        names.update(registry.module_dict)
        registries.extend(registry.children.values())
    return names


# -- name patterns -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pattern:
    """A glob over a whole qualified name (``*`` passes dots too), or a regex after ``re:``."""

    text: str
    regex: re.Pattern[str]

    def matches(self, name: str) -> bool:
        """Whether the whole name matches."""
        return self.regex.fullmatch(name) is not None


def parse_patterns(key: str, written: Any) -> tuple[Pattern, ...]:
    """A pattern, or a list of them.

    Raises:
        RuleTypeError: Not a string nor a list of strings.
        PatternError: A regex that does not compile.
    """
    if written is None:
        return ()
    items = [written] if isinstance(written, str) else written
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) and item for item in items):
        raise RuleTypeError(f"{key} must be a pattern or a list of patterns, not {written!r}.")
    return tuple(_compile(key, item) for item in items)


def _compile(key: str, text: str) -> Pattern:
    try:
        regex = re.compile(text[3:] if text.startswith("re:") else fnmatch.translate(text))
    except re.error as error:
        raise PatternError(f"{key}={text!r} is no valid regular expression: {error}.") from error
    return Pattern(text, regex)


def unmatched(key: str, pattern: Pattern, names: Iterable[str], **context: Any) -> PatternError:
    """The error for a pattern that matches nothing among ``names``."""
    names = list(names)
    text = pattern.text.removeprefix("re:")
    last = text.rpartition(".")[2].replace("*", "").replace("\\", "")
    tails = [name for name in names if last and name.rpartition(".")[2] == last]
    meant = nearest(text, names, 3) or tails[:3]
    if not meant and last:
        close = nearest(last, {name.rpartition(".")[2] for name in names}, 1)
        meant = [name for name in names if close and name.rpartition(".")[2] == close[0]][:3]
    return PatternError(
        f"{key}={pattern.text!r} matches nothing.",
        meant=meant,
        fix="Patterns match whole names, counted from the module that owns the init_cfg; '*' stands for "
        "any run of characters, dots too, and 're:' begins a regular expression.",
        **context,
    )


def module_classes(model: nn.Module) -> Callable[[], Iterable[type]]:
    """A function that gives the classes of the model's modules."""
    return lambda: {type(module) for module in model.modules()}
