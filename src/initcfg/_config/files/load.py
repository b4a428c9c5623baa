"""A config file and its bases, read and merged."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

from initcfg._config.files.dict import Clash, ConfigDict, fresh, merge
from initcfg._config.files.external import external_config, read_with_mmengine
from initcfg._config.files.formats import DATA_SUFFIXES, SUFFIXES, parse_data, place
from initcfg._config.files.placeholders import (
    mark_base_values,
    put_base_values,
    substitute_environment,
    substitute_predefined,
)
from initcfg._config.files.python import BASE_KEY, checked_bases, parse_python, run_python
from initcfg._config.files.where import Source, locate
from initcfg.errors import ConfigError, ConfigFileNotFoundError, ConfigMergeError, PythonRefusedError, nearest

DEPRECATION_KEY = "_deprecation_"


@dataclass
class Loaded:
    """A config with all its bases merged.

    Attributes:
        values: The config.
        text: The path and text of each file, bases first.
        environment: The environment variables that were used.
        sources: What ``locate`` needs, in the order of writing.
    """

    values: ConfigDict
    text: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """How to read: each field is an argument of ``Config.fromfile``."""

    use_python: bool = True
    import_modules: bool = True
    use_predefined_variables: bool = True
    use_environment_variables: bool = True

    def read(self, path: str, asked_by: str | None = None, chain: tuple[tuple[str, str], ...] = ()) -> Loaded:
        """Read a file and its bases.

        Args:
            path: The file.
            asked_by: The line of the config that has it as a base.
            chain: The files being read, outermost first, each with the line that asks for its base.

        Raises:
            ConfigError: See ``Config.fromfile``.
        """
        path = os.path.abspath(os.path.expanduser(path))
        same = os.path.realpath(path)
        if same in (os.path.realpath(outer) for outer, _ in chain):
            circle = " -> ".join([*(os.path.basename(outer) for outer, _ in chain), os.path.basename(path)])
            raise ConfigError(
                f"The bases of this config go round in a circle: {circle}.",
                where=asked_by,
                fix=f"Take {os.path.basename(path)!r} out of {BASE_KEY} there.",
            )
        text = _read_text(path, asked_by)
        return self.evaluate(text, path, asked_by, chain)

    def evaluate(
        self, text: str, path: str, asked_by: str | None = None, chain: tuple[tuple[str, str], ...] = ()
    ) -> Loaded:
        """The config that a text says, as if it stood in the file ``path``."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in SUFFIXES:
            raise ConfigError(
                f"{os.path.basename(path)!r} is no config: its name ends with {suffix!r}."
                if suffix
                else f"{os.path.basename(path)!r} is no config: its name has no ending.",
                where=asked_by or path,
                fix="A config ends with " + ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}.",
            )
        if suffix == ".py" and not self.use_python:
            raise PythonRefusedError(
                "A Python config is code, and running code was refused.",
                where=f"{path}, a base in {asked_by}" if asked_by else path,
                fix="Allow Python if you trust the file, or write the config as YAML, JSON or TOML.",
            )
        written = text
        environment: dict[str, str] = {}
        if self.use_predefined_variables:
            text = substitute_predefined(text, path)
        if self.use_environment_variables:
            text, environment = substitute_environment(text, path)
        text, marked = mark_base_values(text)

        program, data = None, {}
        if suffix == ".py":
            program = parse_python(text, path, self.import_modules)
            if program.read_base:
                values = ConfigDict(read_with_mmengine(path))
                return Loaded(values, f"{path}\n{written}", environment)
            bases = program.bases
        else:
            data = parse_data(text, suffix, path)
            bases = _data_bases(data, text, path)

        loaded = self._read_bases(bases, path, chain)
        loaded.environment = {**environment, **loaded.environment}
        loaded.text += ("\n" if loaded.text else "") + f"{path}\n{written}"
        if program is not None:
            data = run_python(program, text, path, loaded.values)
        values = fresh(data)
        _warn_if_deprecated(values.pop(DEPRECATION_KEY), path)
        if marked:
            values = put_base_values(values, loaded.values, path)
        source = Source(path, text, suffix)
        try:
            merged = merge(values, loaded.values)
        except Clash as clash:
            raise clash.explained(
                locate([source], clash.keys) or path, locate(loaded.sources, clash.keys)
            ) from None
        loaded.values = ConfigDict((key, value) for key, value in merged.items() if not key.startswith("__"))
        loaded.sources.append(source)
        return loaded

    def _read_bases(
        self, bases: tuple[tuple[str, int | None], ...], path: str, chain: tuple[tuple[str, str], ...]
    ) -> Loaded:
        """All bases of one file as one config: they may not share a key."""
        together = Loaded(ConfigDict())
        texts: list[str] = []
        owners: dict[str, str] = {}
        for name, line in bases:
            asked_by = place(path, line)
            if "::" in name:
                base_path, scope = external_config(name, asked_by)
            else:
                base_path, scope = os.path.join(os.path.dirname(path), os.path.expanduser(name)), None
            base = self.read(base_path, asked_by, (*chain, (path, asked_by)))
            twice = sorted(owners.keys() & base.values.keys())
            if twice:
                raise ConfigMergeError(
                    f"Two bases of this config both have the key {twice[0]!r}: "
                    f"{owners[twice[0]]!r} and {name!r}."
                    if len(twice) == 1
                    else f"Two bases of this config share the keys {twice}: "
                    f"{owners[twice[0]]!r} and {name!r}.",
                    where=asked_by,
                    fix="Let one base be a base of the other, or rename the key.",
                )
            owners.update(dict.fromkeys(base.values, name))
            if scope is not None:
                _set_scope(base.values, scope)
            dict.update(together.values, base.values)
            together.environment.update(base.environment)
            together.sources += base.sources
            texts.append(base.text)
        together.text = "\n".join(texts)
        return together


def _read_text(path: str, asked_by: str | None) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except FileNotFoundError:
        folder, name = os.path.split(path)
        try:
            neighbours = [entry for entry in os.listdir(folder) if entry.endswith(SUFFIXES)]
        except OSError:
            neighbours = []
        raise ConfigFileNotFoundError(
            f"The config file {path!r} does not exist."
            if asked_by is None
            else f"The base {os.path.normpath(path)!r} does not exist.",
            where=asked_by,
            meant=nearest(name, neighbours),
            fix=None if os.path.isdir(folder) else f"There is no folder {os.path.normpath(folder)!r}.",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The config file {path!r} is no UTF-8 text: {error.reason} at byte {error.start}.",
            where=asked_by or path,
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"The config file {path!r} cannot be read: {reason}.", where=asked_by or path
        ) from error


def _data_bases(data: dict[str, Any], text: str, path: str) -> tuple[tuple[str, int | None], ...]:
    """The bases that a YAML, JSON or TOML file names, each with its line."""
    if BASE_KEY not in data:
        return ()
    names = checked_bases(data.pop(BASE_KEY), path)
    places = [re.search(re.escape(name), text) for name in names]
    return tuple(
        (name, None if match is None else text.count("\n", 0, match.start()) + 1)
        for name, match in zip(names, places, strict=True)
    )


def _set_scope(value: Any, scope: str) -> None:
    """Mark the outermost dicts with a ``type`` as belonging to the package of an external base."""
    if isinstance(value, dict):
        if "type" in value:
            if value.get("_scope_") is None:
                value["_scope_"] = scope
            return
        for item in value.values():
            _set_scope(item, scope)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _set_scope(item, scope)


def _warn_if_deprecated(notice: Any, path: str) -> None:
    if notice is None:
        return
    message = f"The config {path} is deprecated."
    if isinstance(notice, dict):
        if "expected" in notice:
            message += f" Use {notice['expected']} in its place."
        if "reference" in notice:
            message += f" More about it: {notice['reference']}"
    warnings.warn(message, DeprecationWarning, stacklevel=2)


def pseudo_path(suffix: str) -> str:
    """The path that a text without a file has: in the working folder, so that its bases are found."""
    if suffix not in (".py", *DATA_SUFFIXES):
        raise ConfigError(
            f"{suffix!r} is no format of a config.",
            meant=nearest(suffix, SUFFIXES),
            fix="The format is one of " + ", ".join(SUFFIXES) + ".",
        )
    return os.path.join(os.getcwd(), f"<text>{suffix}")
