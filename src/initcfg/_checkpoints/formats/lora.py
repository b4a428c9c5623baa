"""LoRA: adapters as PEFT saves them, merged into the weights that they were trained for.

Each merged tensor is W + s · B A, with s = alpha / r, or alpha / √r (rsLoRA). It is computed when it is read,
in the type in which PEFT's own ``merge_and_unload`` computes it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from initcfg._checkpoints.formats.opened_checkpoint import OpenedCheckpoint
from initcfg._checkpoints.formats.stored import Stored, TensorInfo
from initcfg._checkpoints.formats.untrusted import json_beside
from initcfg.errors import CheckpointError, nearest, plural
from initcfg.values import is_finite_number

CONFIG = "adapter_config.json"
_PART = re.compile(
    r"(?P<path>.+)\.lora_(?P<part>(?:embedding_)?[AB])(?P<adapter>\.(?!weight$)[^.]+)?(?:\.weight)?"
)
# What PEFT puts around the model, and into the names of layers that it keeps whole.
_AROUND = "base_model.model."
_INSIDE = re.compile(r"\.(?:base_layer|modules_to_save(?:\.default)?)(?=\.)")
# Variants that compute something else.
_OTHERS = ("use_dora", "use_qalora", "layer_replication", "lora_bias", "trainable_token_indices")


@dataclass(frozen=True)
class Merged(Stored):
    """A weight with its adapter's product added."""

    base: Stored
    down: Stored
    up: Stored
    scale: float
    # The weight lies on its side: embeddings, and transformers' Conv1D.
    turned: bool

    @property
    def info(self) -> TensorInfo:
        return self.base.info

    def read(self) -> torch.Tensor:
        weight, down, up = self.base.read(), self.down.read(), self.up.read()
        dtype = down.dtype
        if dtype in (torch.float16, torch.bfloat16):
            down, up = down.float(), up.float()
        product = up.flatten(1) @ down.flatten(1)
        added = (product.T if self.turned else product) * self.scale
        return (weight + added.to(dtype).reshape(weight.shape)).to(weight.dtype)


def has_lora(adapter: OpenedCheckpoint) -> int:
    """How many layers a checkpoint has an adapter for."""
    return len({found["path"] for key in adapter.keys() if (found := _PART.fullmatch(key))})  # noqa: SIM118


def lora_config(path: Path | None, name: str) -> Mapping[str, Any]:
    """What ``adapter_config.json`` beside an adapter says; nothing where there is none."""
    return json_beside(path, name, CONFIG)


def lora_files(path: Path | None) -> tuple[Path, ...]:
    """That file, where there is one."""
    beside = None if path is None else (path if os.path.isdir(path) else path.parent) / CONFIG
    return (beside,) if beside is not None and os.path.isfile(beside) else ()


def merged_lora(
    adapter: OpenedCheckpoint, base: OpenedCheckpoint | None, config: Mapping[str, Any], alpha: float | None
) -> OpenedCheckpoint:
    """The weights of ``base`` with an adapter in them; those of the adapter's own file if it is None."""
    config = _checked(adapter.name, config, alpha)
    parts, others = _parts(adapter)
    tensors = dict(others) if base is None else dict(base.tensors)
    told: dict[str, str] = {}
    for path, found in parts.items():
        embedding = "embedding_A" in found
        names = ("embedding_A", "embedding_B") if embedding else ("A", "B")
        if set(found) != set(names):
            raise _wrong(adapter.name, f"has no pair of matrices for {path!r}")
        key = _key_of(adapter.name, path, tensors)
        down, up = (found[name] for name in names)
        turned = embedding or config.get("fan_in_fan_out") is True
        _check_shapes(adapter.name, path, tensors[key].info.shape, down.info.shape, up.info.shape, turned)
        rank, scale = _scale(adapter.name, path, config, down.info.shape[0])
        tensors[key] = Merged(tensors[key], down, up, scale, turned)
        told[key] = f"LoRA of rank {rank} added, times {scale:g}"
    if base is not None:
        for path, stored in others.items():
            # Biases, and layers that were trained whole: a new head, for instance.
            tensors[path] = stored
            told[path] = "taken from the adapter"
    files = (*adapter.files, *(base.files if base is not None else ()))
    wrapping = adapter.wrapping if base is None else base.wrapping
    return replace(adapter, tensors=tensors, files=files, wrapping=wrapping, merged=told)


def _wrong(
    name: str, what: str, fix: str = "Give an adapter that PEFT saved: save_pretrained."
) -> CheckpointError:
    return CheckpointError(f"The adapter {name!r} {what}.", fix=fix)


def _checked(name: str, config: Mapping[str, Any], alpha: float | None) -> Mapping[str, Any]:
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise _wrong(name, f"is of the kind {kind!r}, and not LORA", "Merge it with PEFT: merge_and_unload.")
    other = next((each for each in _OTHERS if config.get(each)), None)
    if other is not None:
        raise _wrong(name, f"uses {other}, which is not merged here", "Merge it with PEFT: merge_and_unload.")
    config = {**config, **({} if alpha is None else {"lora_alpha": alpha})}
    number = config.get("lora_alpha")
    if not is_finite_number(number):
        raise _wrong(
            name,
            f"does not say its alpha: there is no {CONFIG} with lora_alpha beside it",
            "Put that file there, or say it: adapt=dict(type='merge_lora', alpha=16).",
        )
    return config


def _parts(adapter: OpenedCheckpoint) -> tuple[dict[str, dict[str, Stored]], dict[str, Stored]]:
    """The matrices by layer, and the tensors that are none of them, by their names in the model."""
    parts: dict[str, dict[str, Stored]] = {}
    others: dict[str, Stored] = {}
    adapters: set[str] = set()
    for key, stored in adapter.tensors.items():
        name = key.removeprefix(_AROUND)
        if found := _PART.fullmatch(name):
            parts.setdefault(found["path"], {})[found["part"]] = stored
            adapters.add(found["adapter"] or "")
        elif ".lora_" in name:
            raise _wrong(adapter.name, f"has {key!r}, which is not merged here")
        else:
            others[_INSIDE.sub("", name)] = stored
    if not parts:
        raise _wrong(adapter.name, "holds no LoRA: no key ends in lora_A.weight")
    if len(adapters) > 1:
        raise _wrong(adapter.name, f"holds {plural(len(adapters), 'adapter')}", "Save one of them alone.")
    return parts, others


def _key_of(name: str, path: str, tensors: Mapping[str, Stored]) -> str:
    """The weight that an adapter is for: of its name, or the only one that has more or less before it."""
    wanted = f"{path}.weight"
    if wanted in tensors:
        return wanted
    found = [key for key in tensors if key.endswith("." + wanted) or wanted.endswith("." + key)]
    if len(found) != 1:
        raise CheckpointError(
            f"The adapter {name!r} is for {wanted!r}, which its base has not.",
            meant=nearest(wanted, list(tensors)),
            fix="Give the base that it was trained for: adapt=dict(type='merge_lora', base=PATH).",
        )
    return found[0]


def _check_shapes(
    name: str, path: str, base: tuple[int, ...], down: tuple[int, ...], up: tuple[int, ...], turned: bool
) -> None:
    fits = len(down) >= 2 and len(up) >= 2 and up[1] == down[0] > 0 and all(each == 1 for each in up[2:])
    made = (*up[:1], *down[1:])
    if not fits or (made[::-1] if turned else made) != base:
        raise _wrong(
            name,
            f"has matrices of {down} and {up} for {path!r}, whose weight is {base}",
            "Give the base that it was trained for: adapt=dict(type='merge_lora', base=PATH).",
        )


def _scale(name: str, path: str, config: Mapping[str, Any], rank: int) -> tuple[int, float]:
    """The rank of a layer's adapter, and what its product is multiplied by."""
    said = _of_layer(name, path, config.get("rank_pattern"), config.get("r", rank))
    if said != rank:
        raise _wrong(name, f"says the rank {said!r} for {path!r}, and its matrices have {rank}")
    alpha = _of_layer(name, path, config.get("alpha_pattern"), config["lora_alpha"])
    if not is_finite_number(alpha):
        raise _wrong(name, f"says the alpha {alpha!r} for {path!r}")
    return rank, alpha / (math.sqrt(rank) if config.get("use_rslora") is True else rank)


def _of_layer(name: str, path: str, patterns: Any, otherwise: Any) -> Any:
    """What a table of patterns says for a layer. They are ends of names: what is more is refused."""
    for pattern, found in patterns.items() if isinstance(patterns, dict) else ():
        plain = pattern.replace("\\.", ".")
        whole, plain = plain.startswith("^"), plain.removeprefix("^").removesuffix("$")
        if not re.fullmatch(r"[\w.-]+", plain):
            raise _wrong(name, f"has the pattern {pattern!r}, and only names are read as patterns here")
        if path == plain or (not whole and path.endswith("." + plain)):
            return found
    return otherwise
