"""LoRA: into which weights an adapter is merged, where a rule asks for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from initcfg._checkpoints import Lora, OpenedCheckpoint, has_lora
from initcfg._rules.initializers import PretrainedInit
from initcfg.errors import plural

_KIND = "merge_lora"


@dataclass(frozen=True)
class Merging:
    """What a rule says of merging.

    Attributes:
        lora: How the adapter is merged.
        label: How messages call its base; None if the adapter's own files say it.
        given: The base, if it was given in code.
    """

    lora: Lora
    label: str | None = None
    given: Any = None

    @property
    def said(self) -> tuple[str | None, float | None]:
        """What the account keeps of it."""
        return self.label, self.lora.alpha


def merging_of(initializer: PretrainedInit, weaker: PretrainedInit | None) -> Merging | None:
    """How a rule's adapter is merged; ``weaker`` is the checkpoint that the same module loads before it."""
    options = next((each.options for each in initializer.adapt if each.kind == _KIND), None)
    if options is None:
        return None
    alpha, base = options.get("alpha"), options.get("base")
    if base is not None or weaker is None:
        return Merging(Lora(base, alpha), base)
    state = weaker.state()
    return Merging(Lora(state, alpha, weaker=True), weaker.label, state if weaker.in_code else None)


def unmerged(opened: OpenedCheckpoint) -> list[str]:
    """What would be meant, where a checkpoint is an adapter and nobody asks for its merging."""
    layers = 0 if opened.merged else has_lora(opened)
    return [f"adapt={_KIND!r} would merge the LoRA of {plural(layers, 'layer')}"] if layers else []
