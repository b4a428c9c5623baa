"""Libraries whose classes initialize in their constructors, so that what they built is ready for use."""

from __future__ import annotations

from functools import lru_cache

from initcfg.errors import ArgumentError, as_annotated

_KNOWN = """
    clip detectron2 diffusers efficientnet_pytorch facenet_pytorch fvcore geffnet kornia monai open_clip peft
    pretrainedmodels pytorchvideo segment_anything segmentation_models_pytorch sentence_transformers
    speechbrain super_gradients timm torch torch_geometric torchaudio torchtext torchvision torchxrayvision
    transformers ultralytics vit_pytorch x_transformers xformers
"""
_LIBRARIES: set[str] = set(_KNOWN.split())


@as_annotated(ArgumentError, but=("package",))
def register_library(package: str) -> None:
    """Say that the classes of a package initialize in their constructors.

    A module of such a class, met in a :class:`BaseModule`, keeps the weights that it has: its
    ``init_weights()`` is not called, and the plan lists it as uncalled. ``compat="mmengine"`` calls it all
    the same, as MMEngine does, and says so; so does a rule ``dict(type="InitWeights", name=...)``.

    timm, torchvision, transformers, diffusers and others like them are known.

    Args:
        package: Its import name: ``"my_models"``, or ``"company.models"``.

    Raises:
        ArgumentError: That is no import name.

    Example:
        >>> import initcfg
        >>> initcfg.register_library("company.models")
    """
    if not isinstance(package, str) or not all(part.isidentifier() for part in package.split(".")):
        raise ArgumentError(
            f"A library is given by its import name, not by {package!r}.",
            fix="Write initcfg.register_library('my_models').",
        )
    _LIBRARIES.add(package)
    _library.cache_clear()


def library_of_class(cls: type) -> str | None:
    """The library that a class is of, if it is one of these."""
    return _library(cls.__module__)


@lru_cache(maxsize=4096)
def _library(module: str) -> str | None:
    parts = module.split(".")
    packages = (".".join(parts[: count + 1]) for count in range(len(parts)))
    return next((package for package in packages if package in _LIBRARIES), None)
