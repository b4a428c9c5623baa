"""A config file and its bases, read and merged."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from dataclasses import dataclass, field
from typing import Any

from initcfg._config.files.asked_imports import find_beside
from initcfg._config.files.config_dict import Clash, ConfigDict, fresh, merge, set_origin
from initcfg._config.files.external import external_config, read_with_mmengine
from initcfg._config.files.formats import SUFFIXES, file_line, parse_data
from initcfg._config.files.lines import ConfigFile, line_of
from initcfg._config.files.nesting import check_nesting
from initcfg._config.files.placeholders import (
    asks_environment,
    mark_base_values,
    put_base_values,
    substitute_environment,
    substitute_predefined,
)
from initcfg._config.files.python import BASE_KEY, checked_bases, parse_python, run_python
from initcfg._config.files.reading import file_text
from initcfg._config.files.working_folder import without_working_folder
from initcfg.errors import (
    ConfigError,
    ConfigFileNotFoundError,
    ConfigFormatError,
    ConfigMergeError,
    PythonRefusedError,
    UntrustedError,
    also,
    nearest,
    warn,
)

DEPRECATION_KEY = "_deprecation_"
# A file may be a base of many, and is read for each of them: with two bases a file, twice as often a level.
_MOST_FILES = 1000
_LONGEST_CHAIN = 50
_READ_IT = "Read the config, and leave out --untrusted (untrusted=True) if you trust it."


@dataclass
class MergedConfig:
    """A config with all its bases merged: ``text`` and ``files`` are in the order in which they wrote."""

    values: ConfigDict
    text: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    files: list[ConfigFile] = field(default_factory=list)


@dataclass(frozen=True)
class ConfigReader:
    """How to read: each field is an argument of ``Config.fromfile``, which has the errors."""

    use_python: bool = True
    import_modules: bool = True
    use_predefined_variables: bool = True
    use_environment_variables: bool = True
    lazy_import: bool | None = None
    untrusted: bool = False
    read_already: list[str] = field(default_factory=list)

    def read(
        self, path: str, asked_by: str | None = None, chain: tuple[tuple[str, str], ...] = ()
    ) -> MergedConfig:
        """Read a file, which the line ``asked_by`` has as a base, and its own bases.

        ``chain`` are the files being read, outermost first, each with the line that asks for its base.
        """
        try:
            if b"\0" in os.fsencode(path):
                raise ValueError
        except ValueError:
            raise ConfigFileNotFoundError(f"No file can have the name {path!r}.", where=asked_by) from None
        path = os.path.abspath(os.path.expanduser(path))
        same = os.path.realpath(path)
        if same in (os.path.realpath(outer) for outer, _ in chain):
            circle = " -> ".join([*(os.path.basename(outer) for outer, _ in chain), os.path.basename(path)])
            raise ConfigError(
                f"The bases of this config go round in a circle: {circle}.",
                where=asked_by,
                fix=f"Take {os.path.basename(path)!r} out of {BASE_KEY} there.",
            )
        self.read_already.append(path)
        if len(self.read_already) > _MOST_FILES or len(chain) > _LONGEST_CHAIN:
            raise ConfigError(
                f"This config has more than {_MOST_FILES:,} bases, or a chain of more than {_LONGEST_CHAIN}.",
                where=asked_by,
                fix="A file that is a base of several is read for each of them: let one of them have it.",
            )
        return self.evaluate(_read_text(path, asked_by), path, asked_by, chain)

    def evaluate(
        self, text: str, path: str, asked_by: str | None = None, chain: tuple[tuple[str, str], ...] = ()
    ) -> MergedConfig:
        """The config that a text says, as if it stood in the file ``path``."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix not in SUFFIXES:
            ending = f"its name ends with {suffix!r}" if suffix else "its name has no ending"
            raise ConfigFormatError(
                f"{os.path.basename(path)!r} is not a config: {ending}.",
                where=asked_by or path,
                fix="Let its name end with " + ", ".join(SUFFIXES[:-1]) + f" or {SUFFIXES[-1]}.",
            )
        if suffix == ".py" and (self.untrusted or not self.use_python):
            raise PythonRefusedError(
                "A Python config is code, and running code was refused.",
                where=f"{path}, a base in {asked_by}" if asked_by else path,
                fix="Allow Python if you trust the file, or write the config as YAML, JSON or TOML.",
            )
        written = f"{path}\n{text}"
        environment: dict[str, str] = {}
        if self.use_predefined_variables:
            text = substitute_predefined(text, path)
        if self.untrusted and asks_environment(text):
            raise UntrustedError(
                "This config asks for an environment variable, and it is not trusted.",
                where=path,
                fix=_READ_IT,
            )
        if self.use_environment_variables:
            text, environment = substitute_environment(text, path)
        text, marked = mark_base_values(text)

        program, data = None, {}
        if suffix == ".py":
            program = parse_python(text, path, self.import_modules)
            if program.read_base and self.lazy_import is False:
                raise ConfigError(
                    "This config has read_base() or relative imports, and lazy_import=False refuses them.",
                    where=path,
                    fix="Leave lazy_import out, or write the config with _base_ = [...].",
                )
            if program.read_base or self.lazy_import:
                return MergedConfig(ConfigDict(read_with_mmengine(path)), written, environment)
            bases = program.bases
        else:
            with without_working_folder() if self.untrusted else contextlib.nullcontext():
                data = parse_data(text, suffix, path)
            bases = _data_bases(data, text, path)

        merged = self._read_bases(bases, path, chain)
        merged.environment = {**environment, **merged.environment}
        merged.text = "\n".join(filter(None, [merged.text, written]))
        if program is not None and self.import_modules:
            find_beside(os.path.dirname(os.path.abspath(path)), first=False)
        said = data if program is None else run_python(program, text, path, merged.values)
        check_nesting(said, path)
        values = fresh(said, None if suffix == ".py" else "untrusted" if self.untrusted else "data")
        _warn_if_deprecated(values.pop(DEPRECATION_KEY), path)
        if marked:
            values = put_base_values(values, merged.values, path)
        file = ConfigFile(path, text, suffix)
        try:
            values = merge(values, merged.values)
        except Clash as clash:
            base_place = line_of(merged.files, clash.keys)
            raise clash.explained(line_of([file], clash.keys) or path, base_place) from None
        kept = ConfigDict((key, value) for key, value in values.items() if not key.startswith("__"))
        merged.values = set_origin(kept, values._origin)
        merged.files.append(file)
        asked = next((key for key in ("imports", "custom_imports") if merged.values.get(key)), None)
        if self.untrusted and asked is not None:
            raise UntrustedError(
                "This config asks to import modules, and it is not trusted.",
                where=line_of([file], (asked,)) or path,
                fix=_READ_IT,
            )
        return merged

    def _read_bases(
        self, bases: tuple[tuple[str, int | None], ...], path: str, chain: tuple[tuple[str, str], ...]
    ) -> MergedConfig:
        """All bases of one file as one config: they may not share a key."""
        together = MergedConfig(ConfigDict())
        texts: list[str] = []
        owners: dict[str, str] = {}
        for name, line in bases:
            asked_by = file_line(path, line)
            if "::" in name and self.untrusted:
                raise UntrustedError(
                    f"{name!r} is a config of a package, which is code, and this one is not trusted.",
                    where=asked_by,
                    fix=_READ_IT,
                )
            if "::" in name:
                base_path, scope = external_config(name, asked_by)
            else:
                inside = name if "\0" in name else os.path.expanduser(name)
                base_path, scope = os.path.join(os.path.dirname(path), inside), None
            if self.untrusted:
                _check_base(base_path, asked_by, (*chain, (path, asked_by))[0][0])
            base = self.read(base_path, asked_by, (*chain, (path, asked_by)))
            twice = sorted(owners.keys() & base.values.keys())
            if twice:
                keys = f"the keys {twice}" if len(twice) > 1 else f"the key {twice[0]!r}"
                raise ConfigMergeError(
                    f"Two bases of this config share {keys}: {owners[twice[0]]!r} and {name!r}.",
                    where=asked_by,
                    fix="Let one base be a base of the other, or rename the key.",
                )
            owners.update(dict.fromkeys(base.values, name))
            if scope is not None:
                _set_scope(base.values, scope)
            dict.update(together.values, base.values)
            together.environment.update(base.environment)
            together.files += base.files
            texts.append(base.text)
        together.text = "\n".join(texts)
        return together


def _check_base(base: str, asked_by: str, outermost: str) -> None:
    """Bases of a config that is not trusted lie beside it: it is none of its business what else is here."""
    folder = os.path.realpath(os.path.dirname(outermost))
    with contextlib.suppress(ValueError):
        if "\0" in base or os.path.commonpath([folder, os.path.realpath(base)]) == folder:
            return
    raise UntrustedError(
        f"The base {base!r} does not lie in the folder of the config, which is not trusted.",
        where=asked_by,
        fix=_READ_IT,
    )


def _read_text(path: str, asked_by: str | None) -> str:
    try:
        return file_text(path)
    except FileNotFoundError:
        folder, name = os.path.split(path)
        neighbours: list[str] = []
        with contextlib.suppress(OSError):
            neighbours = [entry for entry in os.listdir(folder) if entry.endswith(SUFFIXES)]
        raise ConfigFileNotFoundError(
            f"The config file {path!r} does not exist."
            if asked_by is None
            else f"The base {os.path.normpath(path)!r} does not exist.",
            where=asked_by,
            meant=([] if asked_by else _as_builder(path, name)) or nearest(name, neighbours),
            fix=_advice(folder, name),
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The config file {path!r} is not UTF-8 text: {error.reason} at byte {error.start}.",
            where=asked_by or path,
            fix="Save it as UTF-8, or give the path of a config.",
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        kind = also(ConfigError, error)
        # MMEngine says of a folder that there is no such file.
        kind = ConfigFileNotFoundError if isinstance(error, IsADirectoryError) else kind
        raise kind(
            f"The config file {path!r} cannot be read: {reason}.",
            where=asked_by or path,
            fix="Give the path of a file that can be read.",
        ) from error


def _data_bases(data: dict[str, Any], text: str, path: str) -> tuple[tuple[str, int | None], ...]:
    """The bases that a YAML, JSON or TOML file names, each with its line."""
    starts = [(name, text.find(name)) for name in checked_bases(data.pop(BASE_KEY, ()), path)]
    return tuple((name, None if at < 0 else text.count("\n", 0, at) + 1) for name, at in starts)


def _set_scope(value: Any, scope: str) -> None:
    """Mark the outermost dicts with a ``type`` as belonging to the package of an external base."""
    if isinstance(value, dict) and "type" in value:
        if value.get("_scope_") is None:
            value["_scope_"] = scope
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            _set_scope(item, scope)


def _warn_if_deprecated(notice: Any, path: str) -> None:
    if notice is None:
        return
    message = f"The config {path} is deprecated."
    if isinstance(notice, dict):
        message += f" Use {notice['expected']} in its place." if "expected" in notice else ""
        message += f" More about it: {notice['reference']}" if "reference" in notice else ""
    warn(message, DeprecationWarning, stacklevel=2)


def _as_builder(path: str, name: str) -> list[str]:
    """The builder that a dotted path to a class, or ``file.py:Class``, was meant as; nothing is imported."""
    file, _, attribute = path.rpartition(":")
    if file.endswith(".py") and os.path.isfile(file):
        module = os.path.relpath(file)[:-3].replace(os.sep, ".")
        return [f"{module}:{attribute}"] if all(part.isidentifier() for part in module.split(".")) else []
    module, _, attribute = name.rpartition(".")
    if name.endswith(SUFFIXES) or not all(part.isidentifier() for part in name.split(".")) or not module:
        return []
    try:
        there = importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        there = False
    return [f"{module}:{attribute}"] if there else []


def _advice(folder: str, name: str) -> str | None:
    """What to do about a file that does not exist; None for the usual."""
    if not os.path.isdir(folder):
        return f"There is no folder {os.path.normpath(folder)!r}."
    if os.path.splitext(name)[1] or not name.isascii():
        return None
    return f"Check the path; a model of a library is written timm:{name}, torchvision:{name} or hf:{name}."


def files_of(config: Any) -> list[str]:
    """The files that a config was read from, bases first."""
    loaded: MergedConfig = config._loaded
    named = [config.filename] if config.filename is not None else []
    return [each.path for each in loaded.files] or named
