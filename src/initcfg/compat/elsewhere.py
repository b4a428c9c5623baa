"""What the mirror of MMEngine does not have itself: MMEngine's own, or what to do without it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from initcfg.errors import BuildImportError, nearest

HOME = "initcfg.compat.mmengine"
# Modules of MMEngine whose names the mirror has, in its own modules.
_MIRRORED = {
    "model.base_module": "model",
    "model.base_model": "model",
    "model.weight_init": "model",
    "registry.registry": "registry",
    "registry.build_functions": "registry",
    "registry.root": "registry",
    "config.config": "config",
}
_OWN = ("model", "registry", "config", "runner")
_NOTHING = object()
_NEEDED = "Install MMEngine (pip install mmengine), whose own is then taken; or do without: {}."
_HERE = "what initializes is in initcfg.compat.mmengine.model, .registry and .config"


def name_elsewhere(module: str, name: str) -> Any:
    """A name of a module of MMEngine (``"model"``, or ``""``) that the mirror does not define.

    Raises:
        AttributeError: MMEngine cannot be imported, or has none such. ``from ... import`` then asks the
            finder for a module of that name, whose error says what to do.
    """
    # What Python and its tools ask every module for is no name of MMEngine's.
    theirs = _loaded(module) if not name.startswith("__") or name == "__version__" else None
    found = getattr(theirs, name, _NOTHING)
    if found is _NOTHING:
        private = name.startswith("_")
        said = f"It has no attribute {name!r}." if private else _missing(_dotted(module, name)).problem
        raise AttributeError(said)
    return found


def _missing(path: str) -> BuildImportError:
    """The error of a name or module below the mirror: ``"runner.Runner"``."""
    module, _, name = path.rpartition(".")
    home, theirs = _dotted(HOME, module), _loaded(module)
    mirrored = list(getattr(sys.modules.get(home), "__all__", ()))
    if theirs is None:
        return BuildImportError(
            f"{home} has no {name!r}: all but initialization is MMEngine's own, which cannot be imported.",
            meant=nearest(name, mirrored),
            fix=_NEEDED.format(_HERE),
        )
    return BuildImportError(
        f"Neither {home} nor {_dotted('mmengine', module)} has {name!r}.",
        meant=nearest(name, [*mirrored, *(each for each in dir(theirs) if not each.startswith("_"))]),
        fix="Correct the name.",
    )


def find_modules() -> None:
    """Have Python find modules below the mirror that are no files here."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        # Before those that would find a module of MMEngine's by its file, a second time.
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Modules of MMEngine under the mirror's name."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        home, _, rest = fullname.partition(f"{HOME}.")
        if home or not rest or rest in _OWN:
            return None
        if rest in _MIRRORED:
            return ModuleSpec(fullname, _Same(f"{HOME}.{_MIRRORED[rest]}"))
        if _loaded("") is None or not _is_module(f"mmengine.{rest}"):
            raise _missing(rest)
        return ModuleSpec(fullname, _Same(f"mmengine.{rest}"))


class _Same(Loader):
    """The module is one that has another name, too: the same object under both."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> None:
        """As Python makes one."""

    def exec_module(self, module: ModuleType) -> None:
        with warnings.catch_warnings():
            # What MMEngine uses of torch is old.
            warnings.simplefilter("ignore")
            sys.modules[module.__name__] = importlib.import_module(self._name)


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        # What stands before the dot is no package.
        return False


def _loaded(module: str) -> ModuleType | None:
    if importlib.util.find_spec("mmengine") is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(_dotted("mmengine", module))
    except Exception:
        # One that cannot be imported is as good as none, and moving off it must not need it.
        return None


def _dotted(*parts: str) -> str:
    return ".".join(part for part in parts if part)
