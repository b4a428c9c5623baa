"""What functions of torch show while a model runs: attention, activations, norms, the loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from initcfg._diagnose.measuring.attention import entropies, scores_of_module, scores_of_product
from initcfg._diagnose.measuring.layers import Products
from initcfg._diagnose.measuring.ranges import check_range
from initcfg._diagnose.measuring.recurrent import SIGMOID_ENDS, TANH_ENDS
from initcfg._diagnose.measuring.seen import HeadsSeen, LossSeen, Seen, UnitsSeen, ZeroRows
from initcfg._diagnose.measuring.sizes import rms, variation

_RELUS = {"relu", "relu_", "relu6", "hardtanh", "threshold"}
_CURVES = {"tanh": "tanh", "tanh_": "tanh", "sigmoid": "sigmoid", "sigmoid_": "sigmoid"}
_NORMS = {"layer_norm", "rms_norm"}
_ATTENTION = "multi_head_attention_forward"
_DISTANCES = {"mse_loss": 2, "l1_loss": 1, "smooth_l1_loss": 2, "huber_loss": 2}
_NOTED = {
    *_RELUS,
    *_CURVES,
    _ATTENTION,
    "softmax",
    "scaled_dot_product_attention",
    "cross_entropy",
    "binary_cross_entropy_with_logits",
    *_DISTANCES,
}
_FEWEST_ROWS, _FEWEST_UNITS = 32, 4
# To say how labels are distributed.
_LABELS_PER_CLASS = 5
_FEW_CLASSES = 100


class Watch(TorchFunctionMode):
    """Notes what functions show; each runs as it would."""

    def __init__(self, seen: Seen, products: Products) -> None:
        super().__init__()
        self._seen = seen
        self._products = products

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        named = named or {}
        name = getattr(function, "__name__", "")
        # Before it runs: in place, it may change what it is given.
        zeros = None
        if name in _NORMS:
            with self._seen.looking():
                zeros = _zero_rows(arguments, named)
        check_range(name, arguments, named, self._module)
        output = function(*arguments, **named)
        if name in _NOTED and (isinstance(output, torch.Tensor) or name == _ATTENTION):
            with self._seen.looking():
                self._note(name, output, arguments, named)
        if isinstance(output, (torch.Tensor, tuple)):
            with self._seen.looking():
                self._products.note(self._seen, name, (arguments, named), output)
        if zeros is not None:
            self._seen.zero_rows.append(ZeroRows(self._module, *zeros))
        return output

    @property
    def _module(self) -> str:
        return self._seen.stack[-1] if self._seen.stack else ""

    def _note(self, name: str, output: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if name == "softmax":
            self._heads(output, arguments[0] if arguments else named["input"])
        elif name == "scaled_dot_product_attention":
            self._heads(None, scores_of_product(arguments, named))
        elif name == _ATTENTION:
            self._heads(None, scores_of_module(arguments, named))
        elif name in _RELUS:
            self._units("relu", output)
        elif name in _CURVES:
            self._units(_CURVES[name], output)
        elif name == "cross_entropy":
            self._cross_entropy(output, arguments, named)
        elif name == "binary_cross_entropy_with_logits":
            self._binary(output, arguments, named)
        elif name in _DISTANCES:
            self._distance(name, arguments, named)

    def _heads(self, weights: torch.Tensor | None, scores: torch.Tensor | None) -> None:
        if scores is None:
            return
        found = entropies(scores.softmax(-1).nan_to_num(0.0) if weights is None else weights, scores)
        if found:
            inside = f"{self._module}." if self._module else ""
            layers = [each.name for each in self._seen.layers if each.name.startswith(inside)]
            self._seen.heads.append(HeadsSeen(self._module, found, tuple(dict.fromkeys(layers))))

    def _units(self, kind: str, output: torch.Tensor) -> None:
        before = self._seen.layers[-1] if self._seen.layers else None
        channels_first = output.dim() >= 4 or (before is not None and before.kind.startswith("Conv"))
        if output.dim() < 2:
            return
        axis = 1 if channels_first and output.dim() > 2 else output.dim() - 1
        by_unit = output.detach().movedim(axis, -1)
        if by_unit[..., 0].numel() < _FEWEST_ROWS or by_unit.shape[-1] < _FEWEST_UNITS:
            return
        if kind == "relu":
            share = 1 - (by_unit != 0).flatten(0, -2).any(0).float().mean().item()
        elif kind == "tanh":
            share = (by_unit.abs() > TANH_ENDS).float().mean().item()
        else:
            share = ((by_unit - 0.5).abs() > SIGMOID_ENDS).float().mean().item()
        self._seen.units.append(UnitsSeen(self._module, kind, share, before.name if before else ""))

    def _cross_entropy(self, output: torch.Tensor, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        order = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction")
        given = dict(zip(order, arguments, strict=False)) | named
        logits, target = given["input"].detach(), given["target"]
        axis = 1 if logits.dim() > 1 else 0
        classes = logits.shape[axis]
        if classes < 2:
            return
        value = output.float().mean().item()
        ignored = given.get("ignore_index", -100)
        # What is passed over counts as zeros in a sum, and without a reduction.
        counted = target.numel() if target.is_floating_point() else int((target != ignored).sum())
        every = max(logits.numel() // classes, 1)
        if given.get("reduction") == "sum":
            value /= max(counted if not target.is_floating_point() else every, 1)
        elif given.get("reduction") == "none" and not target.is_floating_point():
            value *= every / max(counted, 1)
        labels, shares = None, None
        if not target.is_floating_point():
            known = target[(target >= 0) & (target < classes) & (target != ignored)].flatten()
            shares = torch.bincount(known, minlength=classes).float() / max(known.numel(), 1)
            if target.numel() >= _LABELS_PER_CLASS * classes:
                labels = shares + 1e-6 / max(known.numel(), 1)
        elif target.shape == logits.shape:
            shares = target.float().movedim(axis, -1).flatten(0, -2).mean(0)
        if given.get("weight") is not None:
            shares = None
        found = self._loss("cross_entropy", value, math.log(classes), logits, axis, labels)
        self._pulled(found, given["input"])
        found.floor = None if shares is None else float(_entropy(shares))
        found.samples = (len(target) if target.dim() else 1, every)

    def _binary(self, output: torch.Tensor, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = dict(zip(("input", "target", "weight"), arguments, strict=False)) | named
        logits, target = given["input"].detach(), given["target"].detach().float()
        labels = None
        if logits.numel() >= 2 * _LABELS_PER_CLASS:
            share = target.mean().clamp(1e-6, 1 - 1e-6)
            labels = torch.stack([share, 1 - share])
        value = output.float().mean().item()
        found = self._loss("binary_cross_entropy_with_logits", value, math.log(2), logits, -1, labels)
        self._pulled(found, given["input"])
        low, high = (each.item() for each in torch.aminmax(target)) if target.numel() else (0.0, 1.0)
        if not (low >= 0 and high <= 1):
            found.beyond = low, high
        elif given.get("weight") is None and given.get("pos_weight") is None:
            # Each output may have a frequency of its own.
            shares = (target.flatten(0, -2) if target.dim() > 1 else target[:, None]).mean(0)
            found.floor = float(_entropy(torch.stack([shares, 1 - shares], -1)).mean())
        found.samples = (len(target) if target.dim() else 1, target.numel())

    def _pulled(self, found: LossSeen, logits: torch.Tensor) -> None:
        def note(gradient: torch.Tensor) -> None:
            with self._seen.looking():
                found.pull = (gradient.float() * logits.detach().float()).sum().item()

        if logits.requires_grad:
            logits.register_hook(note)

    def _distance(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = dict(zip(("input", "target"), arguments, strict=False)) | named
        told, target = given["input"].detach().float(), given["target"].detach().float()
        if told.shape != target.shape or target.numel() < 2:
            return
        power = _DISTANCES[name]
        spread = ((target - target.mean()).abs() ** power).mean().item()
        self._seen.distances.append((((told - target).abs() ** power).mean().item(), spread))

    def _loss(
        self,
        name: str,
        value: float,
        guess: float,
        logits: torch.Tensor,
        axis: int,
        labels: torch.Tensor | None,
    ) -> LossSeen:
        classes = logits.shape[axis] if name == "cross_entropy" else 2
        spread = logits.std(axis).float().mean().item() if classes > 2 else rms(logits)
        entropy, shares = None, ()
        if labels is not None:
            entropy = float(_entropy(labels))
            if classes <= _FEW_CLASSES:
                shares = tuple(round(each, 6) for each in labels.tolist())
        found = LossSeen(
            name, value, guess, spread, variation(logits), entropy, logits.numel(), classes, shares
        )
        found.layer = self._seen.layer_of(logits)
        self._seen.losses.append(found)
        return found


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    return -torch.special.xlogy(shares, shares).sum(-1)


def _zero_rows(arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[float, float] | None:
    """The share of positions that are zeros, and what the norm multiplies their gradient with."""
    given = dict(zip(("input", "normalized_shape", "weight", "bias", "eps"), arguments, strict=False)) | named
    # rms_norm has no bias; its fourth argument is ε.
    bias, eps = given.get("bias"), given.get("eps")
    if isinstance(bias, float):
        bias, eps = None, bias
    return None if bias is not None else zero_share(given["input"], eps)


def zero_share(tensor: torch.Tensor, eps: float | None) -> tuple[float, float] | None:
    """The share of rows that are zeros with 1/√ε; None if there are none."""
    if tensor.dim() < 2 or tensor.numel() == 0:
        return None
    with torch.no_grad():
        share = 1 - tensor.detach().any(-1).float().mean().item()
    if not share:
        return None
    if not isinstance(eps, float) or eps <= 0:
        eps = torch.finfo(tensor.dtype).eps
    return share, eps**-0.5
