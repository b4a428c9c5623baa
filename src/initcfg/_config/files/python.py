"""Python configs: parsed, and run as the code that they are."""

from __future__ import annotations

import ast
import copy
import functools
import traceback
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from initcfg._config.files.config_dict import ConfigDict
from initcfg._config.files.formats import file_line
from initcfg._config.files.lines import BASE_KEY
from initcfg.errors import ConfigError, ConfigExecutionError, ConfigSyntaxError, ConfigTypeError, also


@dataclass(frozen=True)
class PythonConfig:
    """A Python config, parsed and compiled.

    Attributes:
        code: All but the ``_base_`` line and the deferred imports.
        deferred: The imports to run once a name is used, by the name that they bind.
        imported: The names that are imported and nothing else: no keys of the config.
        read_base: Whether this is a config in MMEngine's ``read_base()`` style.
    """

    code: types.CodeType
    bases: tuple[tuple[str, int], ...]
    deferred: dict[str, list[types.CodeType]]
    imported: frozenset[str]
    read_base: bool


@functools.lru_cache(maxsize=1024)
def parse_python(text: str, path: str, import_unused: bool) -> PythonConfig:
    """Parse and compile the text of a Python config; nothing in it runs but the ``_base_`` expression.

    An import at top level runs when its name is first used while the config runs: a config often imports
    for its ``__main__`` block only. An import of a name that occurs nowhere else is meant for its side
    effect, and runs in its place if ``import_unused``.
    """
    try:
        tree = ast.parse(text, path)
    except SyntaxError as error:
        shown = f" The line is: {error.text.strip()}" if error.text and error.text.strip() else ""
        where = file_line(path, error.lineno, error.offset)
        raise ConfigSyntaxError(f"This Python cannot be parsed: {error.msg}.{shown}", where=where) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigSyntaxError(f"This Python cannot be parsed: {error}.", where=path) from None
    if any(map(_is_read_base, tree.body)):
        return PythonConfig(compile("", path, "exec"), (), {}, frozenset(), True)

    bases: tuple[tuple[str, int], ...] | None = None
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    stored = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    imported: set[str] = set()
    deferred: dict[str, list[types.CodeType]] = {}
    kept: list[ast.stmt] = []
    for statement in tree.body:
        value = _base_expression(statement)
        if value is not None:
            # The first one counts, and none is assigned: `_base_` is the merged bases while the code runs.
            bases = _base_files(value, path) if bases is None else bases
            continue
        for single, name in _singles(statement):
            if name is None or name in stored:
                kept.append(single)
                continue
            imported.add(name)
            if name in used or not import_unused:
                module = ast.Module([single], type_ignores=[])
                deferred.setdefault(name, []).append(compile(module, path, "exec"))
            else:
                kept.append(single)
    tree.body = kept
    code = _compiled(tree, path)
    return PythonConfig(code, bases or (), deferred, frozenset(imported), False)


def _compiled(tree: ast.Module, path: str) -> types.CodeType:
    try:
        return compile(tree, path, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = file_line(path, getattr(error, "lineno", None))
        raise ConfigSyntaxError(f"This Python cannot be compiled: {error}.", where=where) from None


def run_python(program: PythonConfig, text: str, path: str, base: ConfigDict) -> dict[str, Any]:
    """Run a config over its merged bases, which it may change; give the names that it leaves behind."""
    namespace = _Namespace(program.deferred)
    namespace.update({BASE_KEY: base, "__file__": path, "__name__": "<config>"})
    try:
        exec(program.code, namespace)
    except (Exception, SystemExit) as error:
        raise _explained(error, text, path) from error
    return {
        key: value
        for key, value in namespace.items()
        if not key.startswith("__")
        and key != BASE_KEY
        and key not in program.imported
        and not isinstance(value, (types.FunctionType, types.ModuleType))
    }


class _Namespace(dict[str, Any]):
    """The globals of a running config, which import a deferred name when it is first asked for."""

    def __init__(self, deferred: dict[str, list[types.CodeType]]) -> None:
        super().__init__()
        self.deferred = deferred

    def __missing__(self, name: str) -> Any:
        if name not in self.deferred:
            raise KeyError(name)
        for code in self.deferred[name]:
            exec(code, self)
        return dict.__getitem__(self, name)


def _explained(error: BaseException, text: str, path: str) -> ConfigExecutionError:
    """The error of a config's code, with the last line of the config that was running."""
    trace = traceback.walk_tb(error.__traceback__)
    line = [None, *(number for frame, number in trace if frame.f_code.co_filename == path)][-1]
    lines = text.splitlines()
    source = lines[line - 1].strip() if line is not None and line <= len(lines) else ""
    message = error.problem if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    kind = also(ConfigExecutionError, error) if isinstance(error, Exception) else ConfigExecutionError
    return kind(
        f"The code of this config raised. {message.rstrip('.')}."
        + (f" The line is: {source}" if source else ""),
        where=file_line(path, line),
        meant=error.meant if isinstance(error, ConfigError) else (),
    )


def _is_read_base(statement: ast.stmt) -> bool:
    """A ``with read_base():``, or an import relative to the config."""
    if isinstance(statement, ast.With):
        call = statement.items[0].context_expr
        return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "read_base"
    return isinstance(statement, ast.ImportFrom) and statement.level > 0


def _base_expression(statement: ast.stmt) -> ast.expr | None:
    """What a top-level statement assigns to ``_base_``."""
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return None
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
    return statement.value if isinstance(target, ast.Name) and target.id == BASE_KEY else None


def _base_files(value: ast.expr, path: str) -> tuple[tuple[str, int], ...]:
    try:
        files = ast.literal_eval(value)
        items = value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]
        lines = [item.lineno for item in items]
    except (ValueError, TypeError, RecursionError, MemoryError):
        try:
            files = eval(compile(ast.Expression(value), path, "eval"), {})
        except Exception as error:
            raise also(ConfigExecutionError, error)(
                f"The expression after {BASE_KEY} raised. {type(error).__name__}: {error}.",
                where=file_line(path, value.lineno),
                fix="It may use no name of the file: write the base files as strings.",
            ) from error
        lines = []
    names = checked_bases(files, file_line(path, value.lineno))
    return tuple((name, lines[i] if i < len(lines) else value.lineno) for i, name in enumerate(names))


def checked_bases(files: object, where: str) -> list[str]:
    """``_base_`` as a list of file names."""
    names: list[Any] = list(files) if isinstance(files, (list, tuple)) else [files]
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigTypeError(
                f"{BASE_KEY} is a file name or a list of file names, but holds {name!r}.", where=where
            )
    return names


def _singles(statement: ast.stmt) -> Iterator[tuple[ast.stmt, str | None]]:
    """An import of several names as several, each with the name it binds; other statements as they are."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield statement, None
        return
    from_future = isinstance(statement, ast.ImportFrom) and statement.module == "__future__"
    for alias in statement.names:
        single = copy.copy(statement)
        single.names = [alias]
        bound = alias.asname or alias.name.partition(".")[0]
        yield single, None if from_future or bound == "*" else bound
