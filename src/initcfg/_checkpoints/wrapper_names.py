"""What wrappers add to the names of a checkpoint's keys, and which name of a module such a key means.

A model is saved under DDP, FSDP, ``torch.compile`` or activation checkpointing, and loaded without, or the
other way round, or wrapped in parts. So names are compared without what wrappers add. A module may own a
child that is called ``module`` all the same: a name that it has goes before one that is only meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

_NEVER_CHILDREN = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
_COMPONENTS = frozenset({"module", *_NEVER_CHILDREN})
# Nothing but a wrapper has a child of such a name; "module" is one where it begins the key.
_EVIDENT = re.compile(
    rf"^(?:(?:module|{'|'.join(_NEVER_CHILDREN)})\.)+|(?<=\.)(?:{'|'.join(_NEVER_CHILDREN)})\."
)
ANY_WRAPPER = rf"(?:(?:{'|'.join(sorted(_COMPONENTS))})\.)*"
"""A regular expression for what wrappers may have put at one place."""


def unwrapped_name(name: str) -> str:
    """A name without all that a wrapper may have added.

    Example:
        >>> from initcfg._checkpoints.wrapper_names import unwrapped_name
        >>> unwrapped_name("module.net._checkpoint_wrapped_module.module.weight")
        'net.weight'
    """
    *modules, last = name.split(".")
    return ".".join([*(each for each in modules if each not in _COMPONENTS), last])


class LocalNames:
    """The names of a module's tensors, as what a key may mean."""

    def __init__(self, local: Collection[str]) -> None:
        self._local = frozenset(local)
        self._by_unwrapped: dict[str, list[str]] = {}
        for name in local:
            self._by_unwrapped.setdefault(unwrapped_name(name), []).append(name)
        # Paths of modules, by what is left of them without wrappers' names.
        self._modules = {name[: dot.start()] for name in local for dot in re.finditer(r"\.", name)}

    def __contains__(self, name: str) -> bool:
        return name in self._local

    def meant_by(self, name: str) -> str:
        """The name that a key means; of one that the module does not have, what is left without wrappers.

        Example:
            >>> from initcfg._checkpoints.wrapper_names import LocalNames
            >>> names = LocalNames(["a.module.weight", "b.weight"])
            >>> names.meant_by("a._orig_mod.module.weight"), names.meant_by("b.module.weight")
            ('a.module.weight', 'b.weight')
        """
        known = [each for each in self._by_unwrapped.get(unwrapped_name(name), ()) if _lies_in(each, name)]
        return max(known, key=len) if known else self._left(_EVIDENT.sub("", name))

    def _left(self, name: str) -> str:
        """An unknown name without the "module" that wraps a module which is known here."""
        path, *rest = "", *name.split(".")
        kept: list[str] = []
        for index, component in enumerate(rest):
            inner = f"{path}.{component}" if path else component
            last = index == len(rest) - 1
            if component == "module" and not last and inner not in self._modules and path in self._modules:
                continue
            kept.append(component)
            path = inner
        return ".".join(kept)


def _lies_in(name: str, key: str) -> bool:
    """Whether a key is a name with components of wrappers between."""
    components = iter(key.split("."))
    return all(each in components for each in name.split("."))


def without_wrappers(named: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """Keys by their names, where those that are not ``known`` have the name that they mean.

    Example:
        >>> from initcfg._checkpoints.wrapper_names import without_wrappers
        >>> without_wrappers({"a._orig_mod.w": "a._orig_mod.w", "b": "module.b"}, ["a.w", "b"])
        {'a.w': 'a._orig_mod.w', 'b': 'module.b'}
    """
    if not any(_COMPONENTS & set(name.split(".")) for name in named):
        return dict(named)
    local = LocalNames(known)
    found: dict[str, str] = {}
    for name, key in named.items():
        meant = name if name in local else local.meant_by(name)
        found[name if meant in named or meant in found else meant] = key
    return found
