"""``hf:PATH``, ``hf:MODEL_TYPE`` and ``hf:CLASS``: models of transformers, by a config."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from initcfg._config.builders.calls import library
from initcfg._config.builders.offline import offline
from initcfg._config.files import check_nesting, file_text, plain
from initcfg.errors import BuildError, ConfigError, ConfigFileNotFoundError, UnknownTypeError, nearest

# What a config takes besides its own attributes.
_ALSO = ("attn_implementation", "torch_dtype")


def hf_model(name: str) -> Callable[..., Any]:
    """What builds the model that a config file or folder, a model type, or a class name means.

    The keyword arguments change the config. The model has the config's ``dtype``, as transformers'
    ``from_config`` makes it; its class is the first of the config's ``architectures``, else AutoModel's.
    """
    text = f"hf:{name}"
    with offline():
        transformers = library("transformers", text, "'initcfg[hf]'")
        data: dict[str, Any] = {}
        cls: Any = None
        path = _config_path(name)
        if path is not None:
            data = _read(path)
            config_class, cls = _named_in(data, path, transformers)
        elif name in transformers.CONFIG_MAPPING:
            config_class = transformers.CONFIG_MAPPING[name]
        else:
            cls = _model_class(transformers, name)
            if cls is None:
                known = [*transformers.CONFIG_MAPPING, *_class_names(transformers)]
                raise UnknownTypeError(
                    f"transformers has no model type and no model class {name!r}.",
                    meant=[f"hf:{close}" for close in nearest(name, known)],
                    fix="Give a model type (hf:gpt2), a model class (hf:GPT2LMHeadModel), "
                    "or a local config.json.",
                )
            config_class = cls.config_class

    def make(**arguments: Any) -> Any:
        with offline():
            config = _config(text, config_class, data, plain(arguments))
            if cls is not None:
                return cls._from_config(config)
            try:
                return transformers.AutoModel.from_config(config, trust_remote_code=False)
            except ValueError as error:
                if not str(error).startswith("Unrecognized configuration class"):
                    raise
                stem = config_class.__name__.removesuffix("Config")
                fitting = [name for name in _class_names(transformers) if name.startswith(stem)]
                raise BuildError(
                    f"{text!r} does not say which model: AutoModel has none for a {config_class.__name__}.",
                    meant=[f"hf:{each}" for each in fitting[:4]],
                    fix="Name the class: hf:CLASS.",
                ) from None

    return make


def names_file(name: str) -> bool:
    """Whether a name means a file or folder here, and not a model type or a class."""
    return name.endswith(".json") or "/" in name or os.sep in name or _folder_file(name) is not None


def _folder_file(name: str) -> str | None:
    file = os.path.join(os.path.expanduser(name), "config.json")
    return file if os.path.isfile(file) else None


def _config_path(name: str) -> str | None:
    """The file that a name means; None if it means a model type or a class."""
    path = os.path.expanduser(name)
    if not names_file(name):
        return None
    if _folder_file(name) is not None:
        return _folder_file(name)
    if os.path.isdir(path):
        raise ConfigFileNotFoundError(
            f"The folder {name!r} has no config.json.", fix="Name a folder with one, or a type: hf:gpt2."
        )
    if not os.path.isfile(path):
        raise ConfigFileNotFoundError(
            f"There is no file or folder {name!r}.",
            fix="Only local files are read: hf:FOLDER, hf:FOLDER/config.json. Or name a type: hf:gpt2.",
        )
    return path


def _read(path: str) -> dict[str, Any]:
    try:
        data = json.loads(file_text(path))
        check_nesting(data, path)
    except RecursionError:
        raise ConfigError(
            f"The config {path!r} is nested too deeply.", fix="Name the config of a model."
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"The config {path!r} cannot be read: {error}.", fix="Name the config of a model."
        ) from None
    if not isinstance(data, dict):
        raise ConfigError(
            f"The config {path!r} holds a {type(data).__name__}, and should hold an object.",
            fix="Name the config of a model.",
        )
    return data


def _named_in(data: Mapping[str, Any], path: str, transformers: Any) -> tuple[Any, Any]:
    """Config class and model class of the content of a config.json."""
    architectures = data.get("architectures") or []
    model_type = data.get("model_type")
    cls = None
    if architectures:
        cls = _model_class(transformers, architectures[0])
        if cls is None:
            raise UnknownTypeError(
                f"The config {path!r} names the architecture {architectures[0]!r}, "
                "which transformers does not have.",
                meant=nearest(str(architectures[0]), _class_names(transformers)),
                fix="Code that comes with a model is not run; a newer transformers may have it.",
            )
    if model_type in transformers.CONFIG_MAPPING:
        return transformers.CONFIG_MAPPING[model_type], cls
    if cls is not None and model_type is None:
        return cls.config_class, cls
    raise UnknownTypeError(
        f"The config {path!r} has the model_type {model_type!r}, which transformers does not know.",
        meant=nearest(str(model_type), list(transformers.CONFIG_MAPPING)),
        fix="Code that comes with a model is not run; a newer transformers may know it.",
    )


def _model_class(transformers: Any, name: str) -> Any:
    """The model class of that name, or None."""
    try:
        found = getattr(transformers, name, None)
    except (ImportError, RuntimeError) as error:
        raise BuildError(f"transformers cannot import {name!r}: {error}.") from error
    usable = (
        isinstance(found, type) and getattr(found, "config_class", None) and hasattr(found, "_from_config")
    )
    return found if usable else None


def _class_names(transformers: Any) -> list[str]:
    return [name for name in dir(transformers) if name.endswith("Model") or "For" in name]


def _config(text: str, config_class: Any, data: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    """The config, changed by the arguments."""
    try:
        base = config_class.from_dict(dict(data)) if data else config_class()
        names = dict(getattr(config_class, "attribute_map", None) or {})
        changes: dict[str, Any] = {}
        for key, value in arguments.items():
            if callable(getattr(base, key, None)) or not (hasattr(base, key) or key in names or key in _ALSO):
                raise BuildError(
                    f"{text!r} takes no argument {key!r}: a {config_class.__name__} has no such attribute.",
                    meant=nearest(key, [*base.to_dict(), *names]),
                )
            if key in ("dtype", "torch_dtype"):
                _check_dtype(text, value)
            changes[names.get(key, key)] = _merged(getattr(base, key, None), value)
        if not changes:
            return base
        return config_class.from_dict({**data, **changes}) if data else config_class(**changes)
    except BuildError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        raise BuildError(
            f"{text!r} has no such config. {type(error).__name__}: {message}",
            rule=f"arguments given: {', '.join(arguments) or 'none'}",
        ) from error


def pretrained_config(config_class: Any, arguments: Mapping[str, Any]) -> Any:
    """A config of transformers' with these settings.

    Raises:
        BuildError: It has no such setting.
    """
    return _config(config_class.__name__, config_class, {}, plain(arguments))


def _merged(before: Any, value: Any) -> Any:
    """A dict changes the config that a config holds."""
    if not isinstance(value, Mapping) or not hasattr(before, "to_dict"):
        return value
    inner = {key: _merged(getattr(before, key, None), item) for key, item in value.items()}
    return {**before.to_dict(), **inner}


def _check_dtype(text: str, value: Any) -> None:
    import torch

    found = getattr(torch, value, None) if isinstance(value, str) else value
    if value is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        known = ["float32", "bfloat16", "float16", "float64"]
        raise BuildError(
            f"{text!r} cannot be built in dtype={value!r}: that is not a floating-point type of torch.",
            meant=nearest(str(value), known) or known,
        )
