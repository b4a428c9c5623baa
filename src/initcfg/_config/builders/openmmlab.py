"""Configs of mmdet, mmseg and mmpretrain, built beside their own registries."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from initcfg._config.builders.calls import library
from initcfg._config.files import Config, set_path
from initcfg.errors import BuildImportError, ConfigFileNotFoundError, nearest

_INSTALLED_AS = {"mmseg": "mmsegmentation"}
# Where packages register what builds models, if not in `models`.
_HOMES = {"mmengine": "mmengine.model", "mmcv": "mmcv.cnn"}


def config_file(text: str) -> str:
    """The file that ``mmdet:retinanet/retinanet_r50_fpn_1x_coco`` names."""
    package, _, name = text.partition(":")
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        install = f"Install it with: pip install 'initcfg[mm]' {_INSTALLED_AS.get(package, package)}"
        raise BuildImportError(f"{text!r} needs {package}, which is not installed.", fix=install)
    name = name.lstrip(":").removesuffix(".py")
    root = os.path.join(folders[0], ".mim", "configs")
    path = os.path.join(root, *name.split("/")) + ".py"
    if os.path.isfile(path):
        return path
    names = [found.removesuffix(".py").replace(os.sep, "/") for found in glob.glob("*/*.py", root_dir=root)]
    last = name.rpartition("/")[2]
    by_last = {each.rpartition("/")[2]: each for each in names}
    meant = nearest(name, names) or [by_last[each] for each in nearest(last, by_last)]
    meant = dict.fromkeys([by_last[last], *meant] if last in by_last else meant)
    raise ConfigFileNotFoundError(
        f"{package} has no config {name!r}.",
        meant=[f"{package}:{each}" for each in meant],
        fix=f"Write a path below {package}/.mim/configs, without the .py.",
    )


def config_model(text: str, build_model: Callable[[Any], Any]) -> Callable[..., Any]:
    """What builds the model of a package's config; the arguments change the model's dict."""
    path = config_file(text)
    package = text.partition(":")[0]
    import_models(package)

    def make(**arguments: Any) -> Any:
        cfg: Any = Config.fromfile(path)["model"]
        for key, value in arguments.items():
            cfg = set_path(cfg, key, value)
        with default_scope(package):
            return build_model(cfg)

    return make


def scope_of(config: Any, cfg: Mapping[str, Any]) -> str | None:
    """The package whose registry a config, with this model, means: mmdet, mmseg, mmpretrain, ... or None."""
    for named in (cfg.get("_scope_"), config.get("default_scope")):
        if isinstance(named, str) and named.startswith("mm") and named.isidentifier():
            return named
    # A part of a package's configs, which leaves the scope to the one that includes it.
    parts = Path(os.path.abspath(getattr(config, "filename", None) or "")).parts
    at = parts.index(".mim") if ".mim" in parts else 0
    return parts[at - 1] if at > 0 and parts[at - 1].startswith("mm") else None


def import_models(package: str) -> None:
    """Let a package register its models."""
    install = f"'initcfg[mm]' {_INSTALLED_AS.get(package, package)}"
    library(_HOMES.get(package, f"{package}.models"), package, install)


@contextlib.contextmanager
def default_scope(package: str) -> Iterator[None]:
    """Within, MMEngine's registries look in that package first."""
    registry = library("mmengine.registry", package, "'initcfg[mm]'")
    with registry.DefaultScope.overwrite_default_scope(package):
        yield
