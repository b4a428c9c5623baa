"""A model is run and trained on memory of its own; afterwards model and process are as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.jit import ScriptModule
from torch.overrides import TorchFunctionMode

from initcfg._diagnose.held import held_kept
from initcfg._model import is_sharded, named_tensors
from initcfg._record import is_closed, waits
from initcfg._record.isolation import others_kept, shadowed
from initcfg._stream.writing import seeded
from initcfg.errors import DiagnosisError, TensorError

Pairs = list[tuple[torch.Tensor, torch.Tensor]]
"""Tensors of a model as it runs, each with one on the model's own memory."""


def refuse_unready(model: nn.Module) -> None:
    """Refuse a model that has no numbers, or whose numbers are elsewhere too.

    Raises:
        DiagnosisError: It is sharded, on the meta device, or waits for its plan.
    """
    names = named_tensors(model)
    names.refuse_lazy()
    for entry in (*names.parameters, *names.buffers):
        for tensor in entry.stored:
            if is_sharded(tensor):
                raise DiagnosisError(
                    "This model is sharded, and what one rank sees of a signal is not the whole of it.",
                    parameter=entry.name,
                    shape=tuple(tensor.shape),
                    fix="Diagnose it before fully_shard or parallelize_module, or a smaller one of its kind.",
                )
            if tensor.is_inference():
                raise DiagnosisError(
                    "This model was made within torch.inference_mode(), and cannot be trained.",
                    parameter=entry.name,
                    fix="Build it outside of that, or within torch.no_grad().",
                )
            if tensor.is_complex():
                raise DiagnosisError(
                    "Complex tensors cannot be measured.",
                    parameter=entry.name,
                    shape=tuple(tensor.shape),
                    fix="Hold real and imaginary parts in a real parameter, by torch.view_as_complex.",
                )
            if tensor.is_meta or waits(tensor):
                raise DiagnosisError(
                    "This model has no numbers yet.",
                    parameter=entry.name,
                    shape=tuple(tensor.shape),
                    fix="Apply its plan first: plan.apply(model).",
                )
    if not names.parameters:
        raise DiagnosisError("This model has no parameters.", fix="Give the module that is trained.")
    scripted = next((name for name, each in model.named_modules() if isinstance(each, ScriptModule)), None)
    if scripted is not None:
        raise DiagnosisError(
            f"{scripted or 'This model'} is a module of torch.jit, which shows nothing of what it computes.",
            fix="Diagnose it before torch.jit.script or torch.jit.trace.",
        )
    if is_closed(model):
        raise DiagnosisError(
            "The initialization of this model failed half-way.", fix="Apply its plan again, then diagnose."
        )


@contextlib.contextmanager
def untouched(model: nn.Module, seed: int) -> Iterator[Pairs]:
    """Within, code may train the model and draw; afterwards all is as it was, also after an exception.

    Yields the model's tensors as they run, each with its own memory: with these a run starts anew.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    grad_mode = torch.is_grad_enabled()
    with contextlib.ExitStack() as undo:
        # What is made within that mode can never be trained.
        undo.enter_context(torch.inference_mode(False))
        undo.enter_context(seeded(seed, "diagnose"))
        undo.enter_context(others_kept(seed))
        undo.enter_context(held_kept(model))
        try:
            pairs = undo.enter_context(shadowed(model, copied=True))
        except TensorError as error:
            raise DiagnosisError(
                f"A model with such a tensor cannot be diagnosed: {error.problem}", parameter=error.parameter
            ) from error
        undo.callback(torch.backends.mha.set_fastpath_enabled, fast)
        # The fused attention of nn.TransformerEncoder shows nothing of itself.
        torch.backends.mha.set_fastpath_enabled(False)
        undo.enter_context(torch.enable_grad())
        model.zero_grad(set_to_none=True)
        _train_without_noise(model)
        undo.enter_context(Noiseless())
        yield pairs
    assert torch.is_grad_enabled() == grad_mode


def start_again(model: nn.Module, pairs: Pairs) -> None:
    """Give the running tensors the model's own numbers, and no gradients."""
    with torch.no_grad():
        for running, own in pairs:
            running.detach().copy_(own)
    model.zero_grad(set_to_none=True)


def _train_without_noise(model: nn.Module) -> None:
    """Training mode, without dropout: it would hide what an initialization does behind chance."""
    if not model.training:
        model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
            module.dropout = 0.0
        elif isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            # The optimizers that are tried take no sparse gradients.
            module.sparse = False
        elif type(module).__name__ == "StochasticDepth":
            vars(module)["p"] = 0.0
        elif isinstance(vars(module).get("drop_prob"), float):
            vars(module)["drop_prob"] = 0.0


_DROPOUT = {
    "dropout",
    "dropout_",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
    "feature_dropout",
}


class Noiseless(TorchFunctionMode):
    """Dropout that code asks for by a function does nothing."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        named = dict(named or {})
        name = getattr(function, "__name__", "")
        if name in _DROPOUT:
            return arguments[0] if arguments else named["input"]
        if named.get("sparse") is True and name in ("embedding", "embedding_bag"):
            named["sparse"] = False
        if name == "scaled_dot_product_attention":
            if len(arguments) > 4:
                arguments = (*arguments[:4], 0.0, *arguments[5:])
            elif "dropout_p" in named:
                named["dropout_p"] = 0.0
        return function(*arguments, **named)
