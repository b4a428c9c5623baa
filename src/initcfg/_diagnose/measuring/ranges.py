"""Targets and tokens that are beyond what there is: said as the batch's fault, before torch fails on them."""

from __future__ import annotations

from typing import Any

import torch

from initcfg.errors import DiagnosisError

_ORDERS = {
    "cross_entropy": ("input", "target", "weight", "size_average", "ignore_index"),
    "nll_loss": ("input", "target", "weight", "size_average", "ignore_index"),
    "embedding": ("input", "weight"),
}


def check_range(function: str, arguments: tuple[Any, ...], named: dict[str, Any], module: str) -> None:
    """Refuse classes that the output has not, and tokens that the table has not.

    Raises:
        DiagnosisError: The batch holds such.
    """
    order = _ORDERS.get(function)
    if order is None:
        return
    given = dict(zip(order, arguments, strict=False)) | named
    numbers = given.get("input" if function == "embedding" else "target")
    other = given.get("weight" if function == "embedding" else "input")
    if not isinstance(numbers, torch.Tensor) or not isinstance(other, torch.Tensor) or not other.dim():
        return
    if numbers.is_floating_point() or numbers.dtype == torch.bool or not numbers.numel():
        return
    if function == "embedding":
        _check_tokens(numbers, len(other), module)
    else:
        classes = other.shape[1] if other.dim() > 1 else other.shape[0]
        _check_classes(numbers, classes, given.get("ignore_index", -100))


def _check_tokens(tokens: torch.Tensor, rows: int, module: str) -> None:
    beyond = tokens[(tokens < 0) | (tokens >= rows)]
    if beyond.numel():
        raise DiagnosisError(
            f"The batch holds token {int(beyond[0])}, and the table {module or 'of the model'} has the rows "
            f"0 to {rows - 1}.",
            fix="Build the model with as many words as the tokenizer has, or give tokens of its own.",
        )


def _check_classes(targets: torch.Tensor, classes: int, ignored: Any) -> None:
    counted = targets[targets != ignored]
    beyond = counted[(counted < 0) | (counted >= classes)]
    if beyond.numel():
        raise DiagnosisError(
            f"The targets hold the class {int(beyond[0])}, and the output has the classes 0 to "
            f"{classes - 1}.",
            fix=f"Give the output layer a class more for each, or count classes from 0; {ignored} is passed "
            "over (ignore_index).",
        )
