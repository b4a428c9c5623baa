"""Schemes by shapes alone: the spectral condition, and unit scaling with μP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from initcfg._model import TensorWidth, block_of, compare_widths, shapes_of
from initcfg._rules.initializers import INITIALIZERS, standard_deviation
from initcfg._rules.schemes.scheme import Scheme
from initcfg._rules.schemes.widths import patterns_of
from initcfg.errors import ArgumentValueError, PlanError, nearest


def _weights(tensors: Mapping[str, TensorWidth]) -> dict[str, TensorWidth]:
    """The weights of layers, which have inputs and outputs."""
    return {name: each for name, each in tensors.items() if each.slot == "weight" and len(each.shape) > 1}


def _biases(tensors: Mapping[str, TensorWidth]) -> list[str]:
    return patterns_of([name for name, each in tensors.items() if each.slot == "bias"], tensors)


@INITIALIZERS.register_module(name="Spectral")
class Spectral(Scheme):
    """The spectral condition: N(0, s²) with s = std/√fan_in · min(1, √(fan_out/fan_in)), biases 0.

    The spectral norm of each weight is then Θ(√(fan_out/fan_in)), as is that of its update with the
    learning rate · 1/fan_in (Adam) or · fan_out/fan_in (SGD). An embedding's fan_in is 1: one row is read.

    Yang, Simon & Bernstein 2023, "A Spectral Condition for Feature Learning" (arXiv 2310.17813), section 3.
    Checked against nanotron's ``SpectralMupParametrizator``: from 128 to 64 features the standard deviation
    is 0.0625, from 64 to 128 it is 0.125.

    Args:
        std: Standard deviation of unit fan-in.
        optimizer: ``"adamw"`` or ``"sgd"``, for the multipliers.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> plan = initcfg.plan(nn.Linear(128, 64), dict(type="Spectral"))
        >>> plan["weight"].value.std, plan["weight"].tune["lr"]
        (0.0625, 0.0078125)
    """

    family = "width and depth transfer"
    paper = "Yang, Simon & Bernstein 2023"

    def __init__(self, std: float = 1.0, *, optimizer: str = "adamw") -> None:
        self.std = standard_deviation(std)
        if optimizer not in ("adamw", "sgd"):
            raise ArgumentValueError(
                f"optimizer is adamw or sgd, not {optimizer!r}.",
                meant=nearest(str(optimizer), ["adamw", "sgd"]),
            )
        self.optimizer = optimizer

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`."""
        parts: list[dict[str, Any]] = []
        by_fans: dict[tuple[int, int], list[str]] = {}
        everything = compare_widths(owner, shapes_of(owner)).tensors
        for name, each in _weights(everything).items():
            by_fans.setdefault((each.fan_in, each.fan_out), []).append(name)
        for (fan_in, fan_out), names in by_fans.items():
            rate = f"1/{fan_in}" if self.optimizer == "adamw" else f"{fan_out}/{fan_in}"
            scale = f"1/sqrt({fan_in})*min(1, sqrt({fan_out}/{fan_in}))"
            tune = {"lr": rate, "optimizer": self.optimizer}
            parts.append(
                dict(
                    type="Normal", std=self.std, param=patterns_of(names, everything), scale=scale, tune=tune
                )
            )
        if biases := _biases(everything):
            parts.append(dict(type="Constant", val=0, param=biases, tune={"optimizer": self.optimizer}))
        return parts


@INITIALIZERS.register_module(name="UMuP")
class UMuP(Scheme):
    """u-μP: all weights N(0, 1), for models of ``unit_scaling``, whose operations scale; biases 0.

    Adam's learning rate · fan_in^-½, of embeddings · width^-½, of biases, norms and the head · 1; of all that
    is in residual branches also · layers^-½. What the package's parameters say of themselves, their
    ``mup_type`` and ``mup_scaling_depth``, goes first.

    Blake et al. 2024, "u-μP: The Unit-Scaled Maximal Update Parametrization" (arXiv 2407.17465), table 2; the
    package ``unit_scaling`` 0.3.5, ``optim.py``. Any other model needs its forward pass changed: an error,
    unless ``forward="done"``.

    Args:
        forward: ``"done"``: the model's operations scale as the paper's.
    """

    family = "width and depth transfer"
    paper = "Blake et al. 2024"

    def __init__(self, *, forward: str | None = None) -> None:
        if forward not in (None, "done"):
            raise ArgumentValueError(f"forward must be 'done', or be left out, not {forward!r}.")
        self.done = forward == "done"

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`."""
        scales = any(type(each).__module__.partition(".")[0] == "unit_scaling" for each in owner.modules())
        if not scales and not self.done:
            raise PlanError(
                "UMuP: with weights of standard deviation 1, each operation has to scale its result, and "
                f"these layers of a {type(owner).__name__} do not.",
                fix="Build the model of unit_scaling's layers; or have its operations scale, and say "
                "forward='done'; or take MuP, which needs no change.",
            )
        widths = compare_widths(owner, shapes_of(owner))
        everything, layers = widths.tensors, widths.layers
        told = {name: vars(each) for name, each in owner.named_parameters()}
        weights = _weights(everything)
        # What has no layer of the package's own for its head ends with it.
        outer = [name for name in weights if block_of(name) is None]
        heads = {name for name in weights if told.get(name, {}).get("mup_type") == "output"} or set(
            outer[-1:]
        )
        inner: dict[tuple[str, str, int], list[str]] = {}
        for name, each in everything.items():
            kind = "weight" if name in weights else "bias" if each.slot == "bias" else "other"
            rate = "1"
            if kind == "weight" and (each.fan_in == 1 or name not in heads):
                rate = f"1/sqrt({each.fan_out if each.fan_in == 1 else each.fan_in})"
            depth = layers if block_of(name) is not None else None
            depth = told.get(name, {}).get("mup_scaling_depth", depth)
            inner.setdefault((kind, rate, depth or 1), []).append(name)
        value = {"weight": dict(type="Normal", std=1.0), "bias": dict(type="Constant", val=0), "other": {}}
        return [
            dict(
                **value[kind],
                param=patterns_of(names, everything),
                tune={"lr": rate if depth == 1 else f"{rate}/sqrt({depth})", "optimizer": "adamw"},
            )
            for (kind, rate, depth), names in inner.items()
        ]
