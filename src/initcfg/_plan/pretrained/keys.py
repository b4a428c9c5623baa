"""From the keys of a checkpoint to names in the module: prefix, wrappers, renames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from initcfg._checkpoints import ANY_WRAPPER, LocalNames, OpenedCheckpoint, unwrapped_name
from initcfg._rules import Expression
from initcfg._rules.initializers import PretrainedInit
from initcfg.errors import CheckpointError, CheckpointNameError, PatternError, nearest, plural

_NO_TENSORS = "Give a checkpoint that holds tensors: this one has none."


@dataclass(frozen=True)
class NamedKeys:
    """The keys under their names in the module."""

    # More than one where ``rename`` joins them.
    keys: Mapping[str, tuple[str, ...]]
    # Keys that ``rename`` changed, each with its name.
    renamed: tuple[tuple[str, str], ...] = ()


def named_keys(
    initializer: PretrainedInit,
    keys: list[str],
    local: Collection[str],
    *,
    prefix: str | None,
    taken_off: str = "",
    compat: bool,
) -> NamedKeys:
    """The keys of a checkpoint by the names that they mean.

    Args:
        local: Names in the module: a key that is one of them already keeps it, whatever it begins with.
        prefix: What the keys begin with: the rule's, or the source's own.
        taken_off: What the reader took off every key, which a rule or the module may know all the same.
        compat: Take off what the original takes off.
    """
    plain = _without_prefix(initializer, keys, local, prefix, taken_off)
    if compat:
        # Of two keys of one name the original takes the later.
        last = {re.sub(r"^module\.", "", name): key for key, name in plain.items()}
        return _renamed(initializer, {key: name for name, key in last.items()}, plain, None)
    meanings = LocalNames(local)
    names = _in_module(initializer, plain, meanings, taken_off)
    return _renamed(initializer, names, plain, meanings)


def _in_module(
    initializer: PretrainedInit, plain: Mapping[str, str], local: LocalNames, taken_off: str
) -> dict[str, str]:
    """The names as the module has them, else without what wrappers added; each name once.

    A key that is a name already wins over one that only means it.
    """
    names: dict[str, str] = {}
    owners: dict[str, str] = {}
    meant: dict[str, str] = {}
    for key, name in plain.items():
        exact = next((each for each in (name, taken_off + name) if each in local), None)
        if exact is None:
            meant[key] = local.meant_by(name)
        else:
            names[key] = exact
            owners.setdefault(exact, key)
    for key, name in meant.items():
        other = owners.setdefault(name, key)
        if other != key and other in meant:
            raise CheckpointError(
                f"The keys {other!r} and {key!r} of {initializer.label!r} both mean {name!r}, since wrappers "
                "add what they differ by.",
                fix="Say by prefix which of them to take.",
            )
        names[key] = name if other == key else plain[key]
    return {key: names[key] for key in plain}


def _without_prefix(
    initializer: PretrainedInit, keys: list[str], local: Collection[str], prefix: str | None, taken_off: str
) -> dict[str, str]:
    if not prefix:
        return {key: key for key in keys}
    start = prefix if prefix.endswith(".") else prefix + "."
    between = ANY_WRAPPER.join(re.escape(each + ".") for each in start[:-1].split("."))
    wrapped = re.compile(ANY_WRAPPER + between)
    found: dict[str, str] = {}
    taken: set[str] = set()
    # What begins so as it stands comes first; what only means it does not displace that.
    readings: tuple[Callable[[str], str | None], ...] = (
        lambda key: _after(start, key),
        lambda key: _after(start, taken_off + key),
        lambda key: key[match.end() :] if (match := wrapped.match(key)) else None,
    )
    for reading in readings:
        read = {key: name for key in keys if key not in found and (name := reading(key))}
        found.update((key, name) for key, name in read.items() if name not in taken)
        taken.update(read.values())
    if found:
        return {key: found[key] for key in keys if key in found}
    fix = f"Take a prefix that the keys have; the first key is {keys[0]!r}." if keys else _NO_TENSORS
    fitting = sum(key in local for key in keys)
    best = nearest_prefixes(local, keys)[:1]
    if fitting and all(fitting >= count for _, count in best):
        fix = f"Leave prefix out: {plural(fitting, 'key')} fit as they are."
    elif best:
        fix = f"Take prefix={best[0][0]!r}: with it, {plural(best[0][1], 'key')} fit."
    raise CheckpointNameError(
        f"No key of {initializer.label!r} begins with the prefix {start!r}.",
        meant=nearest(start, _prefixes(keys)) or _prefixes(keys)[:4],
        fix=fix,
    )


def _after(start: str, key: str) -> str | None:
    return key[len(start) :] if key.startswith(start) else None


def versions_by_path(
    initializer: PretrainedInit, opened: OpenedCheckpoint, local: Collection[str], *, compat: bool
) -> dict[str, Mapping[str, Any]]:
    """What a checkpoint says of modules, by their paths in the module that it is loaded into.

    The original takes nothing off these paths, and forgets them where there is a prefix.
    """
    if compat:
        return {} if initializer.prefix else dict(opened.modules)
    paths = {name.rpartition(".")[0] for name in local}
    outer = {path[: dot.start()] for path in paths for dot in re.finditer(r"\.", path)}
    known = LocalNames([f"{path}.version" if path else "version" for path in {"", *paths, *outer}])
    taken_off = "".join(each for each in opened.wrapping if each.endswith("."))
    prefix = initializer.prefix or opened.prefix or ""
    start = prefix if not prefix or prefix.endswith(".") else prefix + "."
    found: dict[str, Mapping[str, Any]] = {}
    # Of a wrapper and what it wraps, the latter has the longer path.
    for path in sorted(opened.modules, key=len):
        text = f"{path}.version" if path else "version"
        plain = text.removeprefix(taken_off)
        name = (_after(start, text) or _after(start, plain)) if start else plain
        if name is None:
            continue
        name = name if name in known else known.meant_by(name)
        for pattern, replacement in initializer.rename:
            name, _ = pattern.subn(replacement, name)
        name = name if name in known else known.meant_by(name)
        found[name.removesuffix("version").rstrip(".")] = opened.modules[path]
    return found


def _prefixes(keys: list[str]) -> list[str]:
    """What keys begin with, one or two names deep; the most frequent first."""
    counts: Counter[str] = Counter()
    for key in keys:
        components = key.split(".")
        for depth in (1, 2):
            if len(components) > depth:
                counts[".".join(components[:depth]) + "."] += 1
    return sorted(counts, key=lambda start: (-counts[start], len(start)))


def _renamed(
    initializer: PretrainedInit,
    names: Mapping[str, str],
    plain: Mapping[str, str],
    local: LocalNames | None,
) -> NamedKeys:
    hits = [0] * len(initializer.rename)
    # By key: the last rename that changed it, or -1, and the name that it has then.
    results: dict[str, tuple[int, str]] = {}
    for key, name in names.items():
        last = -1
        for index, (pattern, replacement) in enumerate(initializer.rename):
            changed, count = pattern.subn(replacement, name)
            hits[index] += count
            if changed != name:
                last, name = index, changed
        if local is not None and last >= 0 and name not in local:
            # What wraps a module that has its name here by now.
            name = local.meant_by(name)
        results[key] = (last, name)
    for count, (pattern, replacement) in zip(hits, initializer.rename, strict=True):
        if not count and not _takes_off_wrappers(pattern, replacement, plain.values()):
            raise PatternError(
                f"rename: {pattern.pattern!r} matches no key of {initializer.label!r}.",
                meant=nearest(pattern.pattern, names.values()) or list(names.values())[:2],
                fix="It is a regular expression, applied to the keys without the prefix, after the renames "
                "before it.",
            )
    found: dict[str, list[str]] = {}
    for key, (_, name) in results.items():
        found.setdefault(name, []).append(key)
    for together in found.values():
        if len(together) > 1:
            # Keys that become one are joined in the order of their renames; of one rename, q, k, v.
            together.sort(key=lambda key: (results[key][0], _letter(key)))
    renamed = tuple((key, name) for key, (last, name) in results.items() if last >= 0)
    return NamedKeys({name: tuple(together) for name, together in found.items()}, renamed)


def _takes_off_wrappers(pattern: Expression, replacement: str, plain: Iterable[str]) -> bool:
    """Whether a rename only does what was done without it: it takes off what wrappers added."""
    changed = [(name, new) for name in plain if (new := pattern.subn(replacement, name)[0]) != name]
    return bool(changed) and all(unwrapped_name(name) == unwrapped_name(new) for name, new in changed)


def _letter(key: str) -> int:
    found = [component for component in re.split(r"[._]", key) if component[:1] in ("q", "k", "v")]
    return "qkv".index(found[-1][0]) if found else 3


def nearest_prefixes(local: Collection[str], names: Iterable[str]) -> list[tuple[str, int]]:
    """Prefixes of the keys behind which tensors of the module stand, the most of them first, with counts.

    Example:
        >>> from initcfg._plan.pretrained.keys import nearest_prefixes
        >>> nearest_prefixes({"conv.weight", "conv.bias"}, ["a.conv.weight", "a.conv.bias", "b.conv.bias"])
        [('a.', 2), ('b.', 1)]
    """
    counts: Counter[str] = Counter()
    for name in names:
        for dot in re.finditer(r"\.", name):
            if name[dot.end() :] in local:
                counts[name[: dot.end()]] += 1
    return sorted(counts.items(), key=lambda item: (-item[1], len(item[0])))
