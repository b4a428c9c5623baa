"""A lock: what some models start with, as text that a repository keeps; and how that text is read back."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from initcfg._api.locks.entries import Entry, Tied, entry_in
from initcfg._api.locks.words import MOST_NAMES, digest, quoted
from initcfg._config.files import file_text, write_atomically
from initcfg.errors import LockError, as_annotated
from initcfg.values import short

VERSION = 1
_HEAD = f"initcfg lock, version {VERSION}"
_REMARK = "# What models start with: made by `initcfg lock`, compared by `initcfg check`; not to be edited."
_END = "end of lock, sha256 "
_MARKERS = ("<<<<<<<", "|||||||", "=======", ">>>>>>>")
# What a lock says of how a model was made, and may say once; the others any number of times.
_ONCE = ("compat", "strict", "untrusted", "no_python", "seed", "stream", "initcfg", "plan")
_OFTEN = ("set", "file", "library", "code", "checkpoint")
# What such a line must say; of the others, it is any text.
_FORMS = {
    **dict.fromkeys(("strict", "untrusted", "no_python"), (re.compile("yes"), "it is 'yes', or is left out")),
    "compat": (re.compile("mmengine"), "it is 'mmengine', or is left out"),
    "seed": (re.compile("[0-9]{1,20}"), "it is an integer from 0 to 2**64 - 1"),
    "stream": (re.compile("[0-9]{1,9}"), "it is the number of a version"),
    **dict.fromkeys(_OFTEN[1:], (re.compile(r"(?s).* [^ ]+"), "it is a name with a version or digest")),
}
_NEEDED = ("initcfg", "stream", "plan")


@dataclass(frozen=True)
class LockedModel:
    """What one model starts with.

    Attributes:
        target: The config, as seen from the folder of the lock, or the builder.
        facts: What it was made from: pairs such as ``("library", "timm 1.0.31")``.
        entries: What its tensors start with.
        ties: Other names of its tensors.
    """

    target: str
    facts: tuple[tuple[str, str], ...]
    entries: tuple[Entry, ...]
    ties: tuple[Tied, ...] = ()

    def all(self, key: str) -> list[str]:
        """What the lock says under a key."""
        return [value for name, value in self.facts if name == key]

    def one(self, key: str) -> str | None:
        """The same of a key that stands once."""
        return next(iter(self.all(key)), None)

    def lines(self) -> Iterator[str]:
        """The lines of the lock."""
        yield f"[{fact_text(self.target)}]"
        yield from (f"{key}: {fact_text(value)}" for key, value in self.facts)
        yield ""
        yield from map(str, self.entries)
        yield from map(str, self.ties)
        yield ""


@as_annotated(LockError)
@dataclass(frozen=True)
class Lock:
    """What some models start with.

    Attributes:
        models: Each of them.

    Example:
        >>> import os, tempfile
        >>> import initcfg
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lock = initcfg.lock("torch.nn:Linear", path=f"{folder}/init.lock",
        ...                         overrides=["in_features=4", "out_features=2",
        ...                         "init_cfg=dict(type='Constant', layer='Linear', val=1)"])
        ...     text = str(lock)
        >>> [line for line in text.splitlines() if line.startswith("weight")]
        ['weight: 2x4 float32 = Constant(val=1.0) <- model.init_cfg']
    """

    models: tuple[LockedModel, ...]

    def __str__(self) -> str:
        body = "\n".join([_HEAD, _REMARK, "", *(line for each in self.models for line in each.lines())])
        return f"{body}\n{_END}{digest(body.encode())}\n"

    def save(self, path: str | Path) -> None:
        """Write the lock; the file appears whole or not at all."""
        write_atomically(path, str(self).encode())

    @staticmethod
    def load(path: str | Path) -> Lock:
        """The lock in a file.

        Raises:
            LockError: The file is not a lock, or not as it was written.
        """
        name = str(path)
        try:
            text = file_text(name)
        except FileNotFoundError:
            raise LockError(
                f"There is no file {name!r}.", fix=f"Make it: initcfg lock CONFIG -o {name}."
            ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LockError(f"{name!r} cannot be read: {reason}.", fix=_again(name)) from error
        return read_lock(text, name)


def _again(name: str) -> str:
    """What to do about a file that cannot be read as a lock."""
    if not name.endswith(".lock"):
        return "Give a lock, such as init.lock; initcfg lock CONFIG makes one."
    return f"Make it anew: initcfg lock CONFIG -o {name}."


def read_lock(text: str, name: str) -> Lock:
    """The lock that a text is; ``name`` is that of its file.

    Raises:
        LockError: It is none, or not as it was written.
    """
    models = [_model_of(lines, number, name) for number, lines in _sections(_checked(text, name))]
    targets: set[str] = set()
    for model in models:
        if model.target in targets:
            raise LockError(f"{name!r} locks {short(model.target)} twice.", fix=_again(name))
        targets.add(model.target)
    if not models:
        raise LockError(f"{name!r} locks no model.", fix=_again(name))
    return Lock(tuple(models))


def _sections(lines: list[str]) -> list[tuple[int, list[str]]]:
    """The lines of each model, with the number of the first."""
    starts = [number for number, line in enumerate(lines) if line.startswith("[") and line.endswith("]")]
    ends = [*starts, len(lines)][1:]
    return [(start + 1, lines[start:end]) for start, end in zip(starts, ends, strict=True)]


def _model_of(lines: list[str], first: int, name: str) -> LockedModel:
    """The model that some lines are about; the first of them has the number ``first``."""
    found = _Lines()
    place = 0
    try:
        target = fact_in(lines[0][1:-1])
        for place in range(1, len(lines)):
            found.read(lines[place])
        place = 0
        missing = [key for key in _NEEDED if key not in dict(found.facts)]
        if missing:
            raise ValueError(f"nothing below it says {missing[0]!r}")
    except (ValueError, RecursionError) as error:
        raise LockError(
            f"This line of the lock cannot be read: {error}.",
            where=f"{name}:{first + place}",
            fix=_again(name),
        ) from error
    return LockedModel(target, tuple(found.facts), tuple(found.entries), tuple(found.ties))


class _Lines:
    """What the lines of a model say, read one by one."""

    def __init__(self) -> None:
        self.facts: list[tuple[str, str]] = []
        self.entries: list[Entry] = []
        self.ties: list[Tied] = []
        self._seen: set[str] = set()
        self._head = True

    def read(self, line: str) -> None:
        """One more line; a ValueError if it says nothing."""
        if not line:
            self._head = False
        elif self._head:
            self.facts.append(_fact(line, self.facts))
        else:
            self._take(entry_in(line, MOST_NAMES - len(self._seen)))

    def _take(self, entry: Entry | Tied) -> None:
        before = len(self._seen)
        self._seen.update(entry.names)
        if len(self._seen) < before + len(entry.names):
            counts = Counter(each for item in (*self.entries, *self.ties, entry) for each in item.names)
            twice = next(each for each in entry.names if counts[each] > 1)
            raise ValueError(f"{short(twice)} stands there twice")
        if isinstance(entry, Tied):
            self.ties.append(entry)
        else:
            self.entries.append(entry)


def _fact(line: str, known: list[tuple[str, str]]) -> tuple[str, str]:
    key, colon, value = line.partition(": ")
    if not colon or key not in (*_ONCE, *_OFTEN):
        raise ValueError(f"there is no such entry as {short(key)}")
    if key in _ONCE and any(key == name for name, _ in known):
        raise ValueError(f"{key!r} stands there twice")
    text = fact_in(value)
    form, said = _FORMS.get(key, (None, ""))
    if form is not None and not form.fullmatch(text):
        raise ValueError(f"{key!r} says {short(text)}; {said}")
    return key, text


def fact_text(value: str) -> str:
    """A text that stays on its line: in quotes where it would not, or could be taken for quoted."""
    return value if value.isprintable() and value.isascii() and value[:1] != '"' else quoted(value)


def fact_in(text: str) -> str:
    """The text that :func:`fact_text` wrote."""
    if text[:1] != '"':
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise ValueError(f"{short(text)} is no text in quotes") from None


def _checked(text: str, name: str) -> list[str]:
    """The lines of a lock that is as it was written, without the last."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if line.startswith(_MARKERS):
            raise LockError(
                f"{os.path.basename(name)!r} has a conflict of a merge in it.",
                where=f"{name}:{number}",
                fix="Take either side, then make it anew: initcfg lock.",
            )
    if lines[0] != _HEAD and lines[0].strip() != _HEAD:
        version = lines[0].removeprefix(_HEAD.rpartition(" ")[0]).strip()
        if version != lines[0].strip() and version.isdecimal():
            raise LockError(
                f"{name!r} is a lock of version {version[:20]}; this package reads version {VERSION}.",
                fix="Use the version of initcfg that wrote it, or a newer one.",
            )
        raise LockError(f"{name!r} is not a lock: it does not begin with {_HEAD!r}.", fix=_again(name))
    body, end, told = text.rstrip("\n").rpartition(f"\n{_END}")
    if not end:
        raise LockError(f"{name!r} is cut off: its last line is missing.", fix=_again(name))
    if told != digest(body.encode()):
        raise LockError(
            f"{name!r} was changed by hand, or merged: it is not as it was written.",
            fix="Make it anew: initcfg lock; what it then says of each model can be read in its diff.",
        )
    return body.split("\n")
