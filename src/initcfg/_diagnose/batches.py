"""An input for a model, the same for every width, and a loss that training lowers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from initcfg._diagnose.users_code import users_code
from initcfg._model import unwrapped
from initcfg.errors import ArgumentError

_ROWS, _LENGTH, _SIDE, _WORDS = 16, 32, 32, 200

Batch = tuple[tuple[Any, ...], dict[str, Any]]
"""The arguments of a call of a model: by position, and by name."""


def as_batch(given: Any) -> Batch:
    """The arguments of a call, from a tensor, a tuple of them, or a dict by name."""
    if isinstance(given, Mapping):
        return (), dict(given)
    return (tuple(given) if isinstance(given, (tuple, list)) else (given,)), {}


def batch_for(model: nn.Module, seed: int = 0) -> Batch:
    """An input by what the model tells of itself.

    Raises:
        ArgumentError: It tells nothing.
    """
    model = unwrapped(model)
    generator = torch.Generator().manual_seed(seed)
    size = _image_size(model)
    if size is not None:
        image = torch.randn(_ROWS, *size, generator=generator, device="cpu")
        return ((), {"pixel_values": image}) if hasattr(model, "main_input_name") else ((image,), {})
    table = next((each for each in model.modules() if isinstance(each, nn.Embedding)), None)
    if table is not None:
        ids = _tokens(table.num_embeddings, generator)
        if not hasattr(model, "main_input_name"):
            return (ids,), {}
        both = {"input_ids": ids, "use_cache": False}
        return (), {**both, "decoder_input_ids": ids} if _is_encoder_decoder(model) else both
    first = next((each for each in model.modules() if isinstance(each, (nn.Linear, nn.Conv2d))), None)
    if isinstance(first, nn.Linear):
        return (torch.randn(4 * _ROWS, first.in_features, generator=generator, device="cpu"),), {}
    if isinstance(first, nn.Conv2d):
        return (torch.randn(_ROWS, first.in_channels, _SIDE, _SIDE, generator=generator, device="cpu"),), {}
    raise ArgumentError(
        f"Nothing tells what a {type(model).__name__} takes as its input.",
        fix="Give a function that returns it: --example file.py:function.",
    )


def _image_size(model: Any) -> tuple[int, ...] | None:
    """Channels, height and width of an image model's input."""
    known = getattr(model, "default_cfg", None)
    patches = getattr(model, "patch_embed", None)
    if isinstance(known, Mapping) and known.get("input_size"):
        channels, *sides = known["input_size"]
        # What the model was built for, where that is another size than its name says.
        sides = getattr(patches, "img_size", None) or sides
        first = next((each for each in model.modules() if isinstance(each, nn.Conv2d)), None)
        return (channels if first is None else first.in_channels, *sides)
    if getattr(model, "main_input_name", None) == "pixel_values":
        side = model.config.image_size
        return (model.config.num_channels, *((side, side) if isinstance(side, int) else side))
    return None


def _tokens(size: int, generator: torch.Generator) -> torch.Tensor:
    """Words of which a few are frequent, as in a language: there is something to learn."""
    frequency = 1 / torch.arange(1.0, min(size, _WORDS) + 1, device="cpu")
    drawn = torch.multinomial(frequency, _ROWS * _LENGTH, replacement=True, generator=generator)
    return drawn.view(_ROWS, _LENGTH)


def _is_encoder_decoder(model: Any) -> bool:
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def first_tensor(output: Any) -> torch.Tensor | None:
    """The first tensor of floating-point numbers in what a module returns."""
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    logits = getattr(output, "logits", None)
    if isinstance(logits, torch.Tensor):
        return logits
    inner = output.values() if isinstance(output, Mapping) else output
    for each in inner if isinstance(output, (Mapping, tuple, list)) else ():
        found = first_tensor(each)
        if found is not None:
            return found
    return None


def loss_of(output: Any, batch: Batch) -> torch.Tensor:
    """Cross entropy: of the next token where the input is tokens, else of random classes.

    Raises:
        ArgumentError: The model returns no numbers.
    """
    scores = first_tensor(output)
    if scores is None:
        raise ArgumentError(f"The model returns {type(output).__name__}, in which there are no numbers.")
    generator = torch.Generator().manual_seed(1)
    ids = next((each for each in (*batch[0], *batch[1].values()) if _are_tokens(each)), None)
    if (
        ids is not None
        and scores.dim() == 3
        and scores.shape[:2] == ids.shape
        # Else it is no head that speaks of tokens.
        and int(ids.max()) < scores.shape[-1]
    ):
        return cross_entropy(scores[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten())
    scores = scores.flatten(0, -2).float() if scores.dim() > 1 else scores[None].float()
    if scores.shape[-1] == 1:
        return functional.mse_loss(
            scores, torch.randn(scores.shape, generator=generator, device="cpu").to(scores.device)
        )
    classes = torch.randint(scores.shape[-1], (len(scores),), generator=generator, device="cpu")
    return cross_entropy(scores, classes.to(scores.device))


def cross_entropy(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """The loss of classes, which may be none of those that there are.

    Raises:
        DiagnosisError: They are none.
    """
    with users_code("The loss failed on the batch"):
        return functional.cross_entropy(scores, classes)


def _are_tokens(each: Any) -> bool:
    return isinstance(each, torch.Tensor) and each.dim() == 2 and each.dtype == torch.int64
