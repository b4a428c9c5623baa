"""The task: what a model is called with, and the loss of what it returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from initcfg._diagnose.batches import Batch, as_batch, batch_for, cross_entropy, first_tensor, loss_of
from initcfg._diagnose.sentences import Sentence, say
from initcfg._diagnose.users_code import users_code
from initcfg.errors import ArgumentError, DiagnosisError
from initcfg.values import dtype_name, short

_LOSS_FIX = "Give loss: a function of (model, batch), or of (output, targets), that returns one number."
_AS_MODEL_AND_BATCH = "; the batch has no targets beside it, so the loss was called as f(model, batch)"
_MODEL_FAILED, _LOSS_FAILED = "The model failed on the batch", "The loss failed on the batch"
_MODELS = {"model", "net", "network", "module", "m"}
_OUTPUTS = {"output", "outputs", "out", "input", "logits", "pred", "preds", "prediction", "y_hat", "scores"}


@dataclass(frozen=True)
class Task:
    """A batch, and the loss of a model on it.

    Attributes:
        arguments: What the model is called with, by position and by name.
        loss_of: From a model to its loss.
        described: The batch in words.
        synthetic: Whether the batch was made up.
        said: The loss in words.
        targets: What stands beside the arguments in the batch.
        called: What else it was called with, and why, where that may surprise.
    """

    arguments: Batch
    loss_of: Callable[[nn.Module], torch.Tensor]
    described: str
    synthetic: bool = False
    said: list[str] = field(default_factory=lambda: ["the one given"])
    called: str = ""
    targets: Any = None

    def not_finite(self) -> Sentence | None:
        """Which numbers of the batch are NaN or infinite; None if none is."""
        for held in (self.arguments, self.targets):
            for each in tree_leaves(held):
                if isinstance(each, torch.Tensor) and each.is_floating_point():
                    bad = int((~torch.isfinite(each)).sum())
                    if bad:
                        counts = {"n": bad, "all": each.numel()}
                        inputs = held is self.arguments
                        return say("in the inputs", **counts) if inputs else say("in the targets", **counts)
        return None

    @property
    def loss(self) -> str:
        """The loss in words; which it is by itself, a call tells."""
        return self.said[-1]

    def __call__(self, model: nn.Module) -> torch.Tensor:
        """The loss.

        Raises:
            DiagnosisError: It is no number.
        """
        # Autocast keeps what it has made of weights, and a step has changed them since.
        torch.clear_autocast_cache()
        loss = self.loss_of(model)
        if isinstance(loss, torch.Tensor) and loss.numel() == 1 and loss.is_floating_point():
            return loss.reshape(())
        raise DiagnosisError(
            f"The loss is {_shown(loss)}, and should be one number{self.called}.", fix=_LOSS_FIX
        )


def _shown(loss: Any) -> str:
    if isinstance(loss, torch.Tensor):
        return f"a tensor of shape {tuple(loss.shape)}"
    return f"a model ({type(loss).__name__})" if isinstance(loss, nn.Module) else short(loss)


def task_for(model: nn.Module, batch: Any, loss: Callable[..., Any] | None, seed: int) -> Task:
    """What a person gave for batch and loss, as a task.

    Raises:
        DiagnosisError: They do not fit the model, or each other.
    """
    if loss is not None and not callable(loss):
        raise DiagnosisError(f"The loss is a function, not {loss!r}.", fix=_LOSS_FIX)
    synthetic = batch is None
    if synthetic:
        given = _synthetic(model, seed)
        arguments, targets, batch = given, None, given[0][0] if given[0] else given[1]
    else:
        batch = _called(batch)
        arguments, targets = _parted(model, batch)
    device = next((each.device for each in model.parameters()), torch.device("cpu"))
    _check_inputs(arguments)
    arguments, targets = _moved(arguments, device), _moved(targets, device)
    described = _described(arguments, targets, synthetic)
    if loss is None:
        said = [""]
        return Task(
            arguments,
            lambda each: _own_loss(each, arguments, targets, said),
            described,
            synthetic,
            said,
            targets=targets,
        )
    if _takes_model(loss, targets):
        moved = _moved(batch, device)

        def of_model(each: nn.Module) -> torch.Tensor:
            with users_code(_MODEL_FAILED):
                return loss(each, _copied(moved))

        called = "" if targets is not None else _AS_MODEL_AND_BATCH
        return Task(arguments, of_model, described, synthetic, called=called, targets=targets)

    def of_output(each: nn.Module) -> torch.Tensor:
        output = _output_of(each, arguments)
        with users_code(_LOSS_FAILED):
            return loss(output, targets)

    return Task(arguments, of_output, described, synthetic, targets=targets)


def _output_of(model: nn.Module, arguments: Batch) -> Any:
    positional, named = _copied(arguments)
    with users_code(_MODEL_FAILED):
        return model(*positional, **named)


def _called(batch: Any) -> Any:
    if not callable(batch) or isinstance(batch, (torch.Tensor, Mapping)):
        return batch
    try:
        return batch()
    except Exception as error:
        raise DiagnosisError(
            f"The function that gives the batch raised {type(error).__name__}: {error}.",
            fix="It takes no arguments, and returns a tensor, a tuple, a dict, or (inputs, targets).",
        ) from error


def _synthetic(model: nn.Module, seed: int) -> Batch:
    try:
        positional, named = batch_for(model, seed)
    except ArgumentError as error:
        raise DiagnosisError(error.problem, fix="Give a batch: diagnose(model, batch, loss).") from error
    padding = _padding_index(model)

    def natural(each: Any) -> Any:
        if not isinstance(each, torch.Tensor):
            return each
        if each.is_floating_point():
            return smooth(each, seed) if each.dim() == 4 else each
        return torch.where(each == padding, (padding + 1) % max(int(each.max()) + 1, 2), each)

    return tree_map(natural, positional), {name: natural(each) for name, each in named.items()}


def _padding_index(model: nn.Module) -> int:
    found = (each.padding_idx for each in model.modules() if isinstance(each, nn.Embedding))
    return next((each for each in found if each is not None), -1)


def smooth(images: torch.Tensor, seed: int) -> torch.Tensor:
    """Noise of which most is of low frequency, as in photographs; mean 0, standard deviation 1."""
    generator = torch.Generator().manual_seed(seed + 1)
    coarse = torch.randn(*images.shape[:2], 4, 4, generator=generator, device="cpu")
    wide = functional.interpolate(coarse, size=images.shape[2:], mode="bilinear")
    mixed = wide + 0.3 * images
    return (mixed - mixed.mean()) / mixed.std()


def _parted(model: nn.Module, batch: Any) -> tuple[Batch, Any]:
    """The arguments of the model, and the targets where they stand apart."""
    if isinstance(batch, (tuple, list)):
        if len(batch) == 2 and isinstance(batch[0], tuple) and isinstance(batch[1], dict):
            return (batch[0], dict(batch[1])), None
        needed = _needed_arguments(model)
        if len(batch) == 2 and _are_several(batch[0], needed) and isinstance(batch[1], torch.Tensor):
            # ((users, items), targets): what the model takes stands in the inputs.
            return as_batch(tuple(batch[0])), batch[1]
        if len(batch) >= 2 and needed < len(batch):
            inputs = batch[0] if len(batch) == 2 else tuple(batch[:-1])
            return as_batch(inputs), batch[-1]
    elif not isinstance(batch, (torch.Tensor, Mapping)):
        raise DiagnosisError(
            f"A batch is a tensor, a tuple, a dict, or (inputs, targets), not a {type(batch).__name__}.",
            fix="Give what the model is called with, and the targets after it.",
        )
    return as_batch(batch), None


def _are_several(inputs: Any, needed: int) -> bool:
    """Whether inputs are one for each argument that a model needs, and these are more than one."""
    together = isinstance(inputs, (tuple, list)) and all(isinstance(each, torch.Tensor) for each in inputs)
    return together and len(inputs) == needed > 1


def _needed_arguments(model: nn.Module) -> int:
    try:
        taken = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return 1
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in by_place and each.default is inspect.Parameter.empty for each in taken) or 1


def _moved(item: Any, device: torch.device) -> Any:
    return tree_map(lambda each: each.to(device) if isinstance(each, torch.Tensor) else each, item)


def _copied(item: Any) -> Any:
    """The same in tensors of its own: a model may write into what it is given, and each pass begins alike."""

    def copied(each: Any) -> Any:
        if not isinstance(each, torch.Tensor):
            return each
        return each.detach().clone().requires_grad_(each.requires_grad)

    return tree_map(copied, item)


def _check_inputs(arguments: Batch) -> None:
    """Refuse what cannot be measured."""
    tensors = [each for each in tree_leaves(arguments) if isinstance(each, torch.Tensor)]
    for each in tensors:
        kind = "a nested tensor" if each.is_nested else "on the meta device" if each.is_meta else None
        if kind is None and each.layout is not torch.strided:
            kind = f"a tensor of layout {each.layout}"
        if kind is not None:
            raise DiagnosisError(
                f"What the batch holds is {kind}, and cannot be measured.",
                fix="Give dense tensors with numbers in them, and let the model make the rest of these.",
            )
    if tensors and not any(each.numel() for each in tensors):
        raise DiagnosisError("The batch is empty.", fix="Give one with samples in it.")


def _described(arguments: Batch, targets: Any, synthetic: bool) -> str:
    named = [*((None, each) for each in arguments[0]), *arguments[1].items()]
    shapes = [
        f"{f'{name} ' if name else ''}{'×'.join(map(str, each.shape))} {dtype_name(each.dtype)}"
        for name, each in named
        if isinstance(each, torch.Tensor)
    ]
    of = ", ".join(shapes) or "no tensor"
    if synthetic:
        return f"a synthetic batch ({of}), not your data"
    return f"the batch given ({of}{', with targets' if targets is not None else ''})"


def _takes_model(loss: Callable[..., Any], targets: Any) -> bool:
    """Whether a loss is a function of the model and the batch, or of what the model returned."""
    if isinstance(loss, nn.Module):
        return False
    try:
        taken = [each.name for each in inspect.signature(loss).parameters.values()]
    except (TypeError, ValueError):
        return targets is None
    first = taken[0].lower() if taken else ""
    if first in _MODELS or targets is None:
        return True
    if first in _OUTPUTS:
        return False
    # Of two unnamed things the second tells: targets, or the whole batch.
    second = taken[1].lower() if len(taken) > 1 else ""
    return second.startswith(("batch", "data")) or second == "b"


def _own_loss(model: nn.Module, arguments: Batch, targets: Any, said: list[str]) -> torch.Tensor:
    """The model's own loss if it returns one, else cross entropy or mean squares by what the targets are."""
    output = _output_of(model, arguments)
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    said[:] = ["the model's own"]
    if isinstance(own, torch.Tensor):
        return own
    if targets is None:
        if isinstance(output, torch.Tensor) and output.dim() == 0 and output.is_floating_point():
            return output
        try:
            said[:] = ["cross entropy, since none was given"]
            return loss_of(output, arguments)
        except ArgumentError as error:
            raise DiagnosisError(error.problem, fix=_LOSS_FIX) from error
    scores = first_tensor(output)
    if scores is None or not isinstance(targets, torch.Tensor):
        raise DiagnosisError(
            f"Nothing tells the loss of a {type(output).__name__} with a {type(targets).__name__}.",
            fix=_LOSS_FIX,
        )
    return _usual_loss(scores, targets, said)


def _are_labels(targets: torch.Tensor) -> bool:
    """Whether numbers are no and yes: nothing but 0 and 1, and some of each."""
    yes = targets == 1
    return bool((yes | (targets == 0)).all()) and bool(yes.any()) and not bool(yes.all())


def _usual_loss(scores: torch.Tensor, targets: torch.Tensor, said: list[str]) -> torch.Tensor:
    scores = scores.float()
    said[:] = ["cross entropy, since none was given"]
    if not targets.is_floating_point():
        if targets.dim() == scores.dim() - 1:
            channels_first = scores.shape[2:] == targets.shape[1:] and scores.shape[:1] == targets.shape[:1]
            if channels_first and (scores.dim() != 3 or scores.shape[:2] != targets.shape):
                return cross_entropy(scores, targets)
            if scores.shape[:-1] == targets.shape:
                return cross_entropy(scores.flatten(0, -2), targets.flatten())
    elif scores.numel() == targets.numel():
        scores, targets = scores.flatten(), targets.flatten().float()
        if _are_labels(targets) and bool(((scores < 0) | (scores > 1)).any()):
            said[:] = ["binary cross entropy of logits, since none was given"]
            return functional.binary_cross_entropy_with_logits(scores, targets)
        said[:] = ["mean squares, since none was given"]
        return functional.mse_loss(scores, targets)
    raise DiagnosisError(
        f"Nothing tells the loss of an output of shape {tuple(scores.shape)} with targets of shape "
        f"{tuple(targets.shape)}, {targets.dtype}.",
        fix=_LOSS_FIX,
    )
