"""Loads that a model's own code does, with ``strict=False``: whether they loaded anything is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from torch import nn

from initcfg._record.recording.origin import code_that_writes

_TOLD = re.compile(
    r"(?P<place>\S+:\d+) "
    r"(?P<code>\S+) loads (?P<loaded>\d+) of (?P<given>\d+) tensors by load_state_dict\(strict=False\): "
    r"(?P<kind>\S+) has no (?P<stranger>.+?)(?:, and the checkpoint no (?P<lacking>.+?))?\.?$",
    re.DOTALL,
)


class PartialLoad(NamedTuple):
    """A load that left most of what it was given.

    Attributes:
        place: File and line: ``"model.py:24"``.
        loaded: How many tensors of those given it loaded.
        code: What loads them: ``"Net.__init__"``.
        kind: Class of the module.
        stranger: A name of the checkpoint that the module has not, quoted.
        lacking: A name of the module that the checkpoint has not, quoted.
    """

    place: str
    loaded: int
    given: int
    code: str
    kind: str
    stranger: str
    lacking: str | None


def load_noted(tell: Callable[[str], None], load: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do what ``load_state_dict`` does, and tell if most of what was given has no place in the module."""
    module, given = args[0], args[1] if len(args) > 1 else kwargs.get("state_dict")
    keys = list(given) if isinstance(given, Mapping) else []
    outcome = load(*args, **kwargs)
    unexpected = set(getattr(outcome, "unexpected_keys", ()))
    loaded = len(keys) - len(unexpected)
    if keys and 2 * loaded < len(keys):
        # A name of each side shows how they differ.
        lacking = next(iter(outcome.missing_keys), None)
        own = f", and the checkpoint no {lacking!r}" if lacking is not None else ""
        stranger = next(each for each in [*keys, *unexpected] if each in unexpected)
        origin = code_that_writes()
        tell(
            f"{origin.place} {origin.code} loads {loaded} of {len(keys)} tensors by "
            f"load_state_dict(strict=False): {_kind(module)} has no {stranger!r}{own}"
        )
    return outcome


def _kind(module: Any) -> str:
    return type(module).__name__ if isinstance(module, nn.Module) else "model"


def partial_loads(notes: Iterable[str]) -> list[PartialLoad]:
    """The loads that remarks of a plan tell of."""
    found = filter(None, map(_TOLD.search, notes))
    return [
        PartialLoad(
            each["place"],
            int(each["loaded"]),
            int(each["given"]),
            *each.group("code", "kind", "stranger", "lacking"),
        )
        for each in found
    ]
