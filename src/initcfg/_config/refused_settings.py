"""What pydantic and attrs say of a setting that they do not take, as an error with its place."""

from __future__ import annotations

import traceback
from typing import Any

from initcfg._config.builders import described
from initcfg.errors import BuildError, also


def refused_setting(cls: type, error: Exception) -> BuildError | None:
    """The error in place of the one that a class of settings raised; None where a person's code raised it.

    Its ``key_path`` leads to the setting within those of the class.
    """
    if type(error).__module__.partition(".")[0] in ("pydantic", "pydantic_core"):
        return _of_pydantic(cls, error)
    # A validator or converter of one's own is the last frame itself, and says what it has to say.
    frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
    of_attrs = frame.f_globals.get("__name__", "").partition(".")[0] in ("attr", "attrs")
    if not of_attrs and not frame.f_code.co_filename.startswith("<attrs generated"):
        return None
    # Validators of attrs give, after their message, the field and the value.
    field = getattr(error.args[1], "alias", None) if len(error.args) > 1 else None
    return _refusal(cls, error, str(error.args[0] if error.args else error), [field] if field else [])


def _of_pydantic(cls: type, error: Any) -> BuildError | None:
    found = error.errors() if hasattr(error, "errors") else []
    if not found:
        return None
    said = [
        f"{'.'.join(map(str, each['loc']))}={each['input']!r}: {each['msg']}" if each["loc"] else each["msg"]
        for each in found
    ]
    return _refusal(cls, error, "; ".join(said), [str(part) for part in found[0]["loc"]])


def _refusal(cls: type, error: Exception, said: str, path: list[str]) -> BuildError:
    made = also(BuildError, error)(
        f"{described(cls)} refuses its settings: {said.rstrip('.')}.", fix="Give it what its field takes."
    )
    made.key_path = tuple(path)
    return made
