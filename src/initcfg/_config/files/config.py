"""A config: what a config file says."""

from __future__ import annotations

import argparse
import copy
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from initcfg._config.files.asked_imports import import_modules as import_asked_modules
from initcfg._config.files.atomic import write_atomically
from initcfg._config.files.command_line import add_options
from initcfg._config.files.config_dict import ConfigDict, is_untrusted, plain
from initcfg._config.files.config_reader import ConfigReader, MergedConfig
from initcfg._config.files.formats import check_format
from initcfg._config.files.key_paths import get_path, leaf_paths, set_path, texts_in
from initcfg._config.files.lines import line_of
from initcfg._config.files.overrides import parse_overrides
from initcfg._config.files.write import to_text
from initcfg.errors import ConfigKeyError, ConfigTypeError, as_annotated, nearest

_RESERVED = ("filename", "text", "pretty_text", "env_variables")
_FIELDS = ("_loaded", "_filename", "_changed", "_said", "_untrusted")
Overrides = Mapping[str, Any] | Iterable[str]


@as_annotated(ConfigTypeError)
class Config(MutableMapping[str, Any]):
    """The content of a config file: a mapping with attribute access, all the way down.

    Args:
        cfg_dict: The keys and values.
        cfg_text: The text they come from, for :attr:`text`.
        filename: The file they come from.
        env_variables: The environment variables that were used.
        format_python_code: Of MMEngine's signature; the text of a config is formatted always.

    Raises:
        ConfigKeyError: A top-level key is one of ``filename``, ``text``, ``pretty_text``, ``env_variables``.
        ConfigTypeError: ``cfg_dict`` is not a dict.

    Example:
        >>> from initcfg import Config
        >>> cfg = Config(dict(model=dict(type="ResNet", depth=18)))
        >>> cfg.model.depth = 50
        >>> print(cfg.pretty_text, end="")
        model = dict(type='ResNet', depth=50)
    """

    def __init__(
        self,
        cfg_dict: Mapping[str, Any] | None = None,
        cfg_text: str | None = None,
        filename: str | os.PathLike[str] | None = None,
        env_variables: Mapping[str, str] | None = None,
        format_python_code: bool = True,
    ) -> None:
        untrusted = is_untrusted(cfg_dict)
        if isinstance(cfg_dict, Config):
            cfg_dict = cfg_dict._loaded.values
        values = cfg_dict if isinstance(cfg_dict, ConfigDict) else ConfigDict(cfg_dict or {})
        self._set_up(MergedConfig(values, cfg_text or "", dict(env_variables or {})), filename, untrusted)

    def _set_up(
        self, loaded: MergedConfig, filename: str | os.PathLike[str] | None, untrusted: bool = False
    ) -> None:
        object.__setattr__(self, "_loaded", loaded)
        object.__setattr__(self, "_filename", None if filename is None else os.fspath(filename))
        object.__setattr__(self, "_changed", set())
        object.__setattr__(self, "_said", frozenset())
        object.__setattr__(self, "_untrusted", untrusted)
        for key in _RESERVED:
            if key in loaded.values:
                raise ConfigKeyError(
                    f"{key!r} is an attribute of every config, and cannot be one of its keys.",
                    where=self._line_of(key),
                    fix="Rename the key.",
                )

    @classmethod
    def fromfile(
        cls,
        filename: str | os.PathLike[str],
        use_predefined_variables: bool = True,
        import_custom_modules: bool = True,
        use_environment_variables: bool = True,
        lazy_import: bool | None = None,
        format_python_code: bool = True,
        *,
        use_python: bool = True,
        import_modules: bool = True,
        overrides: Overrides | None = None,
        untrusted: bool = False,
    ) -> Config:
        """Read a config file, its bases first.

        **A Python config is code: reading it runs it**, with your rights. ``use_python=False`` refuses it.

        Args:
            filename: A ``.py``, ``.yaml``, ``.yml``, ``.json`` or ``.toml`` file.
            use_predefined_variables: Whether ``{{ fileDirname }}`` and its like are replaced.
            import_custom_modules: MMEngine's name of ``import_modules``.
            use_environment_variables: Whether ``{{$NAME:default}}`` is replaced.
            lazy_import: Whether a Python file is in MMEngine's ``read_base()`` style; None looks into it.
            format_python_code: Of MMEngine's signature; the text of a config is formatted always.
            use_python: Whether Python files, as the config or as a base, may be run.
            import_modules: Whether the modules of ``imports`` and ``custom_imports`` are imported.
            overrides: Values by dotted path, or ``"key=value"`` strings, to set after merging.
            untrusted: Whether it is somebody's whom you do not trust: data only, with bases in its folder; no
                imports, no environment; and :func:`initcfg.build` builds it so.

        Returns:
            Config: The config.

        Raises:
            ConfigFileNotFoundError: The file, or a base, does not exist.
            ConfigSyntaxError: A file cannot be parsed.
            ConfigExecutionError: The code of a Python config raised.
            ConfigMergeError: A config and its base, or an override, do not fit together.
            PythonRefusedError: A Python file, under ``use_python=False``.
            UntrustedError: It asks for what it may not, under ``untrusted=True``.
            ConfigError: Anything else: a circle of bases, an import that fails.

        Example:
            >>> import pathlib, tempfile
            >>> from initcfg import Config
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     file = pathlib.Path(folder, "resnet.yaml")
            ...     _ = file.write_text("model: {type: ResNet, depth: 18}")
            ...     cfg = Config.fromfile(file, overrides=["model.depth=50"])
            >>> cfg.model
            {'type': 'ResNet', 'depth': 50}
        """
        import_modules = import_modules and import_custom_modules and not untrusted
        variables = use_predefined_variables, use_environment_variables
        reader = ConfigReader(
            use_python and not untrusted, import_modules, *variables, lazy_import, untrusted
        )
        config = cls.__new__(cls)
        config._set_up(reader.read(os.fspath(filename)), filename, untrusted)
        return config._finished(overrides, import_modules)

    @classmethod
    def fromstring(
        cls,
        text: str,
        file_format: str,
        *,
        use_python: bool = True,
        import_modules: bool = True,
        overrides: Overrides | None = None,
        untrusted: bool = False,
    ) -> Config:
        """Read a config from a text; its bases are looked for in the working folder.

        Args:
            text: The text.
            file_format: ``".py"``, ``".yaml"``, ``".yml"``, ``".json"`` or ``".toml"``.
            use_python: As in :meth:`fromfile`.
            import_modules: As in :meth:`fromfile`.
            overrides: As in :meth:`fromfile`.
            untrusted: As in :meth:`fromfile`.

        Raises:
            ConfigError: As in :meth:`fromfile`; or the format is unknown.

        Example:
            >>> from initcfg import Config
            >>> Config.fromstring("std = 0.01", ".py").std
            0.01
        """
        check_format(file_format)
        config = cls.__new__(cls)
        path = os.path.join(os.getcwd(), f"<text>{file_format}")
        reader = ConfigReader(use_python, import_modules, untrusted=untrusted)
        config._set_up(reader.evaluate(text, path), None, untrusted)
        return config._finished(overrides, import_modules and not untrusted)

    def _finished(self, overrides: Overrides | None, import_modules: bool) -> Config:
        if overrides:
            options = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
            for path in options:
                first, dot, _ = path.partition(".")
                if dot and first not in self._loaded.values:
                    raise ConfigKeyError(
                        f"The override {path!r} goes into {first!r}, which the config does not have.",
                        where=self._filename,
                        meant=nearest(first, self._loaded.values),
                        fix="Correct the path.",
                    )
            self.merge_from_dict(options)
            object.__setattr__(self, "_said", frozenset(texts_in(options)))
        if import_modules:
            # Modules beside the config are found wherever the command is run, as beside a script.
            folder = None if self._filename is None else os.path.dirname(os.path.abspath(self._filename))
            import_asked_modules(self._loaded.values, self.where, folder)
        return self

    def __getitem__(self, key: str) -> Any:
        return self._loaded.values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._changed.add((key,))
        self._loaded.values[key] = value

    def __delitem__(self, key: str) -> None:
        self._loaded.values[key]  # a missing key is an error that names the nearest keys
        del self._loaded.values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded.values)

    def __len__(self) -> int:
        return len(self._loaded.values)

    def __getattr__(self, name: str) -> Any:
        if name in _FIELDS or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        return getattr(self._loaded.values, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise ConfigKeyError(
                f"The attribute {name!r} of a config cannot be set.",
                fix=f"Write cfg[{name!r}] = ... for a key of that name.",
            )
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __repr__(self) -> str:
        return f"Config (path: {self._filename}): {self._loaded.values!r}"

    @property
    def _cfg_dict(self) -> ConfigDict:
        # What code for MMEngine calls the keys and values.
        return self._loaded.values

    def pop(self, key: str, default: Any = None) -> Any:
        """Take a key out; ``default`` where it is missing."""
        return self._loaded.values.pop(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, set to ``default`` first where it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Mapping[str, Any] | Iterable[tuple[str, Any]], **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Set keys; a dict over a dict is merged into it, key by key, as in MMEngine."""
        given = dict(*args, **kwargs)
        self._loaded.values.update(given)
        self._note_changed(given)

    def merge(self, other: Mapping[str, Any]) -> None:
        """Merge ``other`` as a child config; see :meth:`ConfigDict.merge`."""
        self._loaded.values.merge(other)
        self._note_changed(other)

    def _note_changed(self, options: Mapping[str, Any]) -> None:
        for path, value in options.items():
            self._changed.update(leaf_paths(tuple(str(path).split(".")), value))

    def copy(self) -> Config:
        """A shallow copy."""
        return copy.copy(self)

    def __copy__(self) -> Config:
        loaded, other = self._loaded, type(self).__new__(type(self))
        environment = dict(loaded.environment)
        other._set_up(
            replace(loaded, values=loaded.values.copy(), environment=environment),
            self._filename,
            self._untrusted,
        )
        other._changed.update(self._changed)
        object.__setattr__(other, "_said", self._said)
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        other = self.__copy__()
        memo[id(self)] = other
        other._loaded.values = copy.deepcopy(self._loaded.values, memo)
        return other

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, with plain dicts inside; a copy."""
        return plain(self._loaded.values)

    @property
    def filename(self) -> str | None:
        """The file that was read, as it was given; None for a config made otherwise."""
        return self._filename

    @property
    def text(self) -> str:
        """The path and the text of each file that was read, bases first."""
        return self._loaded.text

    @property
    def env_variables(self) -> dict[str, str]:
        """The environment variables that were put in place, with their values."""
        return self._loaded.environment

    def where(self, path: object) -> str | None:
        """The line of the file that wrote a value.

        Args:
            path: Dotted, with list indices as numbers: ``model.init_cfg.1`` or ``model.init_cfg[1]``.

        Returns:
            str or None: Such as ``retinanet.py:41``; a base in another folder as seen from the config
            file's. None for a value that was set later, does not exist, or comes from TOML. Code that
            computes a value is where the value is.

        Example:
            >>> from initcfg import Config
            >>> Config.fromstring("a = 1\\nb = dict(c=2,\\n    d=[3, 4])", ".py").where("b.d.1")
            '<text>.py:3'
        """
        if not isinstance(path, str):
            return None
        keys = tuple(path.replace("[", ".").replace("]", "").split("."))
        if any(keys[: len(changed)] == changed for changed in self._changed):
            return None
        try:
            get_path(self._loaded.values, keys)
        except (KeyError, IndexError, ValueError, TypeError):
            return None
        return self._line_of(*keys)

    def _line_of(self, *keys: str) -> str | None:
        files = self._loaded.files
        return line_of(files, keys, os.path.dirname(files[-1].path)) if files else None

    def merge_from_dict(self, options: Mapping[str, Any], allow_list_keys: bool = True) -> None:
        """Set values by dotted path.

        Dicts on the way that are missing are made; a dict over a dict is merged into it, unless it has
        ``_delete_=True``. All options are set, or none.

        Args:
            options: Values by path, such as ``{"model.backbone.depth": 50, "model.init_cfg.0.std": 0.1}``.
            allow_list_keys: Whether numbers in a path are list indices.

        Raises:
            ConfigMergeError: A path is malformed, leads into what is not a dict or list, or out of a list.

        Example:
            >>> from initcfg import Config
            >>> cfg = Config(dict(a=[dict(b=1), dict(b=2)]))
            >>> cfg.merge_from_dict({"a.1.b": 3, "c.d": 4})
            >>> cfg.to_dict()
            {'a': [{'b': 1}, {'b': 3}], 'c': {'d': 4}}
        """
        values = self._loaded.values
        for path, value in options.items():
            values = set_path(values, path, value, allow_list_keys)
        self._note_changed(options)
        self._loaded.values = values

    @classmethod
    def diff(cls, cfg1: str | os.PathLike[str] | Config, cfg2: str | os.PathLike[str] | Config) -> str:
        """What differs between the texts of two configs, or config files: a unified diff, or nothing.

        Example:
            >>> from initcfg import Config
            >>> print(Config.diff(Config(dict(depth=18)), Config(dict(depth=50))))
            ---
            +++
            @@ -1 +1 @@
            -depth = 18
            +depth = 50
        """
        before, after = (
            (cfg if isinstance(cfg, Config) else cls.fromfile(cfg)).pretty_text.splitlines()
            for cfg in (cfg1, cfg2)
        )
        return "\n".join(difflib.unified_diff(before, after, lineterm=""))

    @classmethod
    def auto_argparser(cls, description: str | None = None) -> tuple[argparse.ArgumentParser, Config]:
        """A parser for the command line of a script that takes a config file, and the config.

        The command line names the file; the parser has an option for each value in it, such as
        ``--model.depth``, of the value's type.

        Args:
            description: What the script's help says of it.

        Raises:
            ConfigError: The file cannot be read.
        """
        first = argparse.ArgumentParser(description=description, add_help=False)
        first.add_argument("config")
        config = cls.fromfile(first.parse_known_args()[0].config)
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("config", help="the config file")
        add_options(parser, config)
        return parser, config

    @property
    def pretty_text(self) -> str:
        """The config as the text of a ``.py`` file that reads back the same."""
        return to_text(self._loaded.values, ".py")

    def dump(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        file_format: str | None = None,
        file: str | os.PathLike[str] | None = None,
    ) -> str:
        """The config as the text of one file, without bases; written to ``path`` if there is one.

        ``.py`` text reads back the same, types too. In the other formats a tuple becomes a list, and TOML
        has no ``None``. In all of them a class or function that can be imported becomes its dotted path.
        The file is replaced in one step: no reader sees half of it.

        Args:
            path: The file to write.
            file_format: ``".py"``, ``".yaml"``, ``".json"`` or ``".toml"``. Without it, what ``path`` ends
                with, else what the config was read from, else ``".py"``.
            file: MMEngine's name of ``path``.

        Returns:
            str: The text.

        Raises:
            ConfigError: A value cannot be written in this format; the message names its key.
            OSError: The file cannot be written.

        Example:
            >>> from initcfg import Config
            >>> print(Config(dict(model=dict(depth=50))).dump(file_format=".toml"), end="")
            [model]
            depth = 50
        """
        path = file if path is None else path
        name = self._filename if path is None else os.fspath(path)
        suffix = os.path.splitext(name)[1].lower() if name is not None else ".py"
        text = to_text(self._loaded.values, file_format or suffix)
        if path is not None:
            # A link stays a link: what it leads to is replaced.
            write_atomically(os.path.realpath(path), text.encode())
        return text
