"""What was likely meant where a checkpoint and a module do not fit: a prefix, a part, a rename, a shard."""

from __future__ import annotations

import difflib
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from initcfg._plan.pretrained.keys import nearest_prefixes
from initcfg._plan.pretrained.quantized import quantized_at_all
from initcfg._rules.initializers import PretrainedInit
from initcfg.errors import plural

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_CANDIDATES = 5
_MOST_GROUPS = 200
_SHARD = re.compile(r"(?P<stem>.*?)-?(\d{5})-of-(?P<count>\d{5})\.(?P<ending>safetensors|bin|pt|pth|ckpt)$")
_RANK = re.compile(r"(?:mp_rank_|tp_rank_|tp_|model_parallel_rank_|consolidated\.)(\d{2})")


@dataclass(frozen=True)
class Sides:
    """The shapes of the module's tensors, and of the checkpoint's.

    Attributes:
        here: By name in the module.
        keys: By key of the checkpoint.
        there: The same by the names that they have in the module, as far as the rule says.
    """

    here: Shapes
    keys: Shapes
    there: Shapes


def likely_names(initializer: PretrainedInit, sides: Sides, loaded: int) -> tuple[str | None, list[str]]:
    """What would fit more tensors than are loaded, as a sentence; and prefixes that would."""
    local, keys, named = sides.here, sides.keys, sides.there
    found: list[tuple[int, int, str, str | None]] = []
    if initializer.prefix:
        found.append((_fitting(keys.items(), local), 0, "without prefix, {} would fit", None))
    for prefix, _ in nearest_prefixes(local, keys)[:_CANDIDATES]:
        rest = ((key[len(prefix) :], shape) for key, shape in keys.items() if key.startswith(prefix))
        found.append((_fitting(rest, local), 1, f"prefix={prefix!r} would fit {{}}", prefix))
    for prefix, _ in nearest_prefixes(named, local)[:1]:
        count = _fitting(((prefix + name, shape) for name, shape in named.items()), local)
        part = prefix.rstrip(".")
        text = f"The keys fit {{}} of its part {part!r}: give the rule to that, "
        found.append((count, 2, text + "as an init_cfg of its own or by override", None))
    for start, new in _other_roots(local, named):
        rest = ((new + name[len(start) :], shape) for name, shape in named.items() if name.startswith(start))
        pattern = "^" + re.escape(start)
        found.append((_fitting(rest, local), 3, f"rename={{{{{pattern!r}: {new!r}}}}} would fit {{}}", None))
    better = sorted((each for each in found if each[0] > loaded), key=lambda each: (-each[0], each[1]))
    prefixes = [prefix for _, _, _, prefix in better if prefix is not None]
    if not better:
        return None, prefixes
    count, _, text, _ = better[0]
    return text.format(plural(count, "tensor")), prefixes


def _fitting(items: Iterable[tuple[str, Shape]], local: Shapes) -> int:
    return sum(local.get(name) == shape for name, shape in items)


def _other_roots(local: Shapes, named: Shapes) -> list[tuple[str, str]]:
    """What names begin with there, and what may be in its place here."""
    there, here = (_roots(names) for names in (named, local))
    return [(start, new) for start in there for new in here if start != new]


def _roots(names: Iterable[str]) -> list[str]:
    counts: Counter[str] = Counter()
    for name in names:
        for depth, dot in zip((1, 2), re.finditer(r"\.", name), strict=False):
            counts[name[: dot.end()]] += depth and 1
    return [root for root, _ in counts.most_common(_CANDIDATES)]


def likely_rename(missing: Shapes, unexpected: Shapes, taken: Collection[str] = ()) -> str | None:
    """Renames that make names there into missing ones of the same shapes, and how many.

    Args:
        taken: Names that fit already, which a rename must leave alone.

    Example:
        >>> from initcfg._plan.pretrained.likely import likely_rename
        >>> likely_rename({"a.0.in_proj.weight": (6, 2)}, {"a.0.qkv.weight": (6, 2), "b.weight": (3,)})
        "rename={'qkv\\\\\\\\.': 'in_proj.'} would fit 1 tensor"
    """
    renames: dict[str, str] = {}
    total = 0
    for old, new in _differences(missing, unexpected):
        pattern = re.escape(old).replace(r"\#", r"(\d+)")
        if old.count("#") != new.count("#") or any(re.search(pattern, name) for name in taken):
            continue
        tried = {**renames, pattern: _numbered(new)}
        count = _fitting(((_renamed(name, tried), shape) for name, shape in unexpected.items()), missing)
        if count > total:
            renames, total = tried, count
    return f"rename={renames!r} would fit {plural(total, 'tensor')}" if total else None


def _renamed(name: str, renames: Mapping[str, str]) -> str:
    for pattern, replacement in renames.items():
        name = re.sub(pattern, replacement, name)
    return name


def _differences(missing: Shapes, unexpected: Shapes) -> list[tuple[str, str]]:
    """What names there have where missing ones of the same shapes have something else, by frequency."""
    here, there = _groups(missing), _groups(unexpected)
    if max(len(here), len(there)) > _MOST_GROUPS:
        return []
    votes: Counter[tuple[str, str]] = Counter()
    for mask, names in here.items():
        shapes = sorted(missing[name] for name in names)
        alike = [
            other
            for other, keys in there.items()
            if other.count("#") == mask.count("#") and sorted(unexpected[key] for key in keys) == shapes
        ]
        if alike:
            found = _difference(max(alike, key=lambda other: _likeness(other, mask)), mask)
            votes[found] += len(names)
    return [difference for difference, _ in votes.most_common(_CANDIDATES)]


def _numbered(mask: str) -> str:
    """A replacement in which each number is that of its group."""
    first, *rest = mask.split("#")
    return first + "".join(f"\\{number}{text}" for number, text in enumerate(rest, 1))


def _groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Names that differ in numbers alone."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "#", name), []).append(name)
    return found


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


def _difference(old: str, new: str) -> tuple[str, str]:
    """What has to be replaced, and by what: all but the components that both begin and end with.

    The last of those that both begin with stays, so that the rename reaches nothing else.
    """
    a, b = (re.findall(r"[^._]+[._]?", name) for name in (old, new))
    before = ""
    while len(a) > 1 and len(b) > 1 and a[0] == b[0]:
        before = a.pop(0)
        del b[0]
    while len(a) > 1 and len(b) > 1 and a[-1] == b[-1]:
        del a[-1], b[-1]
    before = "" if "#" in before else before
    return before + "".join(a), before + "".join(b)


def likely_format(names: Iterable[str]) -> str | None:
    """That what fits nothing is of a quantized format."""
    found = quantized_at_all(set(names))
    return None if found is None else f"the checkpoint is quantized ({found})"


def likely_slices(mismatched: Iterable[tuple[str, Shape, Shape]]) -> str | None:
    """That the tensors there are slices of those here, as tensor parallelism cuts them."""
    factors: Counter[int] = Counter()
    for _, here, there in mismatched:
        unequal = [(a, b) for a, b in zip(here, there, strict=False) if a != b]
        if (
            len(here) == len(there)
            and len(unequal) == 1
            and unequal[0][1]
            and not unequal[0][0] % unequal[0][1]
        ):
            factors[unequal[0][0] // unequal[0][1]] += 1
    for factor, count in factors.most_common(1):
        if factor > 1 and count > 2:
            return f"{plural(count, 'tensor')} there are one of {factor} slices: merge those of all ranks"
    return None


def shard(checkpoint: str, *, incomplete: bool) -> str | None:
    """That a checkpoint is one of several files, and what to give instead.

    Args:
        incomplete: Whether it lacks something that is needed.
    """
    folder, _, file = checkpoint.partition("?")[0].replace(os.sep, "/").rpartition("/")
    found = _SHARD.match(file)
    if found and int(found["count"]) > 1:
        index = f"{found['stem']}.{found['ending']}.index.json"
        whole = f"its index, {index!r}," if not os.path.isdir(folder or ".") else _index_in(folder, index)
        return f"it is one of {int(found['count'])} files: give {whole} or the folder"
    rank = _RANK.search(checkpoint)
    if rank is None:
        return None
    # A model that is not cut is saved as rank 0, too.
    start, end = checkpoint[: rank.start(1)], checkpoint[rank.end(1) :]
    others = [number for number in range(8) if f"{number:02}" != rank[1]]
    if incomplete or int(rank[1]) > 0 or any(os.path.exists(f"{start}{each:02}{end}") for each in others):
        return "it is the part of one rank: merge all parts into one state_dict, and give that"
    return None


def _index_in(folder: str, index: str) -> str:
    return f"its index, {index!r}," if os.path.exists(os.path.join(folder, index)) else "its index"
