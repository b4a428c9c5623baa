"""A batch runs through a model, and nothing of that stays but what the measuring itself writes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from initcfg._apply.measuring.batch import Batch
from initcfg._model import buffers_of, unwrapped
from initcfg._record.isolation import others_kept
from initcfg._stream.writing import same_bits, seeded
from initcfg.errors import ApplyError, InitcfgError


def run(model: nn.Module, batch: Batch, seed: int, where: str) -> None:
    """Call the model on the batch, in the mode that it is in.

    Raises:
        ApplyError: Its forward failed.
    """
    model = unwrapped(model)
    arguments, named = batch.on(model)
    try:
        with kept(model), seeded(seed, "batch"), others_kept(seed), torch.no_grad():
            model(*arguments, **named)
    except InitcfgError as error:
        error.where = error.where or where
        raise
    except Exception as error:
        raise ApplyError(
            f"The model failed on the batch: {type(error).__name__}: {error}",
            where=where,
            fix="The batch is what the model is called with: model(*batch), or model(**batch) for a dict.",
        ) from error


@contextlib.contextmanager
def kept(model: nn.Module) -> Iterator[None]:
    """Within, code may change buffers, gradients and modes; afterwards they are as they were."""
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(each, each.grad) for each in model.parameters()]
    buffers = [
        (module, name, tensor, None if tensor is None else tensor.detach().clone())
        for module in model.modules()
        for name, tensor in buffers_of(module).items()
    ]
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fused attention of nn.TransformerEncoder shows none of its products.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, mode in modes:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for module, name, tensor, copy in buffers:
                module._buffers[name] = tensor
                if tensor is not None and copy is not None and not same_bits(tensor, copy):
                    tensor.copy_(copy)
