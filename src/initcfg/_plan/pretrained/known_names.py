"""Names that are known to mean the same: of earlier versions, and of what was put around a layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from initcfg._plan.pretrained.destinations import Destination

# The first releases of BERT called a norm's weight and bias as TensorFlow does.
_OF_NORMS = {"weight": "gamma", "bias": "beta"}
# PEFT puts the model into these, and each layer that it changes into the last.
_PEFT_MODEL = "base_model.model."
_PEFT_LAYER = "base_layer"
# Mixtral's files call it so, and its class does no longer.
_RENAMED = {"block_sparse_moe": "mlp"}


class KnownNames:
    """The names of a checkpoint, and what else they may mean."""

    def __init__(self, destinations: Mapping[str, Destination], names: Iterable[str]) -> None:
        self._destinations = destinations
        self._names = frozenset(names)
        self._plain_names = {_plain_name(name): name for name in self._names if name not in destinations}

    def of(self, name: str) -> str | None:
        """The name there that means a tensor here."""
        start, _, last = name.rpartition(".")
        is_norm = "norm" in type(self._destinations[name].module).__name__.lower()
        if is_norm and last in _OF_NORMS:
            old = f"{start}.{_OF_NORMS[last]}" if start else _OF_NORMS[last]
            if old in self._names and old not in self._destinations:
                return old
        return self._plain_names.get(_plain_name(name))


def _plain_name(name: str) -> str:
    parts = name.removeprefix(_PEFT_MODEL).split(".")
    return ".".join(_RENAMED.get(part, part) for part in parts if part != _PEFT_LAYER)
