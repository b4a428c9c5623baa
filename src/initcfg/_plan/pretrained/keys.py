"""From the keys of a checkpoint to names in the module: prefix, wrappers, renames."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from initcfg._rules.initializers import PretrainedInit
from initcfg.errors import CheckpointError, PatternError, nearest

# What DataParallel and torch.compile put before, or in, the names.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.")


@dataclass(frozen=True)
class Named:
    """The keys under their names in the module.

    Attributes:
        keys: By name: its keys, more than one where ``rename`` joins them.
        renamed: Keys that ``rename`` changed, each with its name.
    """

    keys: Mapping[str, tuple[str, ...]]
    renamed: tuple[tuple[str, str], ...] = ()


def named_keys(
    initializer: PretrainedInit,
    keys: Iterable[str],
    local: Collection[str],
    *,
    prefix: str | None,
    taken_off: str = "",
    compat: bool,
) -> Named:
    """The keys of a checkpoint by the names that they mean.

    Args:
        initializer: The rule.
        keys: The keys, in the order of the checkpoint.
        local: Names in the module: what is one of them already is no wrapper's.
        prefix: What the keys begin with: the rule's, or the source's own.
        taken_off: What the reader took off every key, which a rule or the module may know all the same.
        compat: Take off what the original takes off.

    Raises:
        CheckpointError: No key has the prefix.
        PatternError: A rename changes nothing.
    """
    keys = list(keys)
    plain = _without_prefix(initializer, keys, prefix, taken_off)
    if compat:
        names = {key: re.sub(r"^module\.", "", name) for key, name in plain.items()}
    else:
        names = {key: _in_module(name, local, taken_off) for key, name in plain.items()}
    return _renamed(initializer, names)


def _in_module(name: str, local: Collection[str], taken_off: str) -> str:
    """The name as the module has it; else, without what wrappers put before it."""
    if name in local:
        return name
    if taken_off and taken_off + name in local:
        return taken_off + name
    return _WRAPPERS.sub("", name)


def _without_prefix(
    initializer: PretrainedInit, keys: list[str], prefix: str | None, taken_off: str
) -> dict[str, str]:
    if not prefix:
        return {key: key for key in keys}
    start = prefix if prefix.endswith(".") else prefix + "."
    found = {key: key[len(start) :] for key in keys if key.startswith(start)}
    if not found and taken_off:
        found = {key: (taken_off + key)[len(start) :] for key in keys if (taken_off + key).startswith(start)}
    if not found:
        unwrapped = {key: _WRAPPERS.sub("", key) for key in keys}
        found = {key: name[len(start) :] for key, name in unwrapped.items() if name.startswith(start)}
    if found:
        return found
    raise CheckpointError(
        f"No key of {initializer.label!r} begins with the prefix {start!r}.",
        meant=nearest(start, _prefixes(keys)) or _prefixes(keys)[:4],
        fix=f"Take a prefix that the keys have; the first key is {keys[0]!r}."
        if keys
        else "It holds no tensors at all.",
    )


def _prefixes(keys: list[str]) -> list[str]:
    """What keys begin with, one or two names deep; the most frequent first."""
    counts: dict[str, int] = {}
    for key in keys:
        parts = key.split(".")
        for depth in (1, 2):
            if len(parts) > depth:
                start = ".".join(parts[:depth]) + "."
                counts[start] = counts.get(start, 0) + 1
    return sorted(counts, key=lambda start: (-counts[start], len(start)))


def _renamed(initializer: PretrainedInit, names: Mapping[str, str]) -> Named:
    hits = [0] * len(initializer.rename)
    places: dict[str, tuple[int, str]] = {}
    for key, name in names.items():
        last = -1
        for index, (pattern, replacement) in enumerate(initializer.rename):
            changed, count = pattern.subn(replacement, name)
            hits[index] += count
            if changed != name:
                last, name = index, changed
        places[key] = (last, name)
    for count, (pattern, _) in zip(hits, initializer.rename, strict=True):
        if not count:
            raise PatternError(
                f"rename: {pattern.pattern!r} matches no key of {initializer.label!r}.",
                meant=nearest(pattern.pattern, names.values()) or list(names.values())[:2],
                fix="It is a regular expression, applied to the keys without the prefix, after the renames "
                "before it.",
            )
    found: dict[str, list[str]] = {}
    for key, (_, name) in places.items():
        found.setdefault(name, []).append(key)
    # Keys that become one are joined in the order of their renames; of one rename, q before k before v.
    joined = {
        name: tuple(sorted(together, key=lambda key: (places[key][0], _letter(key))))
        if len(together) > 1
        else tuple(together)
        for name, together in found.items()
    }
    renamed = tuple((key, name) for key, (last, name) in places.items() if last >= 0)
    return Named(joined, renamed)


def _letter(key: str) -> int:
    found = [part for part in re.split(r"[._]", key) if part[:1] in ("q", "k", "v")]
    return "qkv".index(found[-1][0]) if found else 3


def nearest_prefixes(local: Collection[str], names: Iterable[str]) -> list[tuple[str, int]]:
    """Prefixes of the keys behind which tensors of the module stand, the most of them first, with counts.

    Example:
        >>> from initcfg._plan.pretrained.keys import nearest_prefixes
        >>> nearest_prefixes({"conv.weight", "conv.bias"}, ["a.conv.weight", "a.conv.bias", "b.conv.bias"])
        [('a.', 2), ('b.', 1)]
    """
    counts: dict[str, int] = {}
    for name in names:
        place = name.find(".")
        while place >= 0:
            if name[place + 1 :] in local:
                counts[name[: place + 1]] = counts.get(name[: place + 1], 0) + 1
            place = name.find(".", place + 1)
    return sorted(counts.items(), key=lambda item: (-item[1], len(item[0])))
