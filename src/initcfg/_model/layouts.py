"""Layouts that classes declare: what the axes of their tensors mean, where a shape does not tell.

A layer of torch.nn stores (outputs, inputs, ...), and `targets.py` knows the exceptions among these. Layers
of other libraries may store their weights otherwise; what is said of a class holds for its subclasses.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from initcfg._model.contents import parameters_of
from initcfg.errors import InitcfgError, RuleTypeError, TensorError, as_annotated
from initcfg.values import Layout

Declaration = Callable[[Any], Mapping[str, Layout]]
"""From a module to the layouts of its tensors, by attribute."""

_declarations: dict[type | str, Declaration] = {}


@as_annotated(RuleTypeError, but=("layer", "declaration"))
def register_layout(layer: type[nn.Module] | str, declaration: Declaration | None = None) -> Any:
    """Say what the axes of a layer's tensors mean: a decorator, or called with the function.

    Initializers then take their fans from that, under ``layer``, ``name``, ``param`` and ``override`` alike.
    Attributes other than ``weight`` and ``bias`` that are declared are reached by ``layer`` and ``name`` too;
    one with ``bias`` in its name is a bias. What a rule says in ``in_axis`` and ``out_axis`` wins.
    ``compat="mmengine"`` does not look at it.

    Args:
        layer: The class, or its name, or its dotted path. It holds for subclasses that declare nothing.
        declaration: A function from a module of that class to the layouts of its tensors by attribute. What
            it leaves out is as it would be without it.

    Raises:
        TensorError: ``layer`` is neither a class of modules nor a name; when planning: the function gives
            something else than layouts of the module's tensors.

    Example:
        >>> import initcfg
        >>> import torch
        >>> from torch import nn
        >>> from initcfg.values import Layout
        >>> class InOut(nn.Module):
        ...     def __init__(self, inputs, outputs):
        ...         super().__init__()
        ...         self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        >>> @initcfg.register_layout(InOut)
        ... def in_out(module):
        ...     return {"weight": Layout(tuple(module.weight.shape), in_axis=(0,), out_axis=(1,))}
        >>> plan = initcfg.plan(InOut(4, 100), dict(type="Kaiming", layer="InOut", mode="fan_in"))
        >>> plan["weight"].layout.fans()
        (4, 100)
    """
    is_layer = isinstance(layer, type) and issubclass(layer, nn.Module)
    if not is_layer and not (isinstance(layer, str) and layer):
        raise TensorError(
            f"A layout is registered for a class of modules or for the name of one, not for {layer!r}.",
            fix="Write @initcfg.register_layout('package.module.Class').",
        )
    if declaration is None:
        return lambda function: register_layout(layer, function)
    if not callable(declaration):
        raise TensorError(
            f"A layout is declared by a function of a module, not by {declaration!r}.",
            fix="Give a function that returns {'weight': initcfg.values.Layout(...)}.",
        )
    _declarations[layer] = declaration
    _declaration_of.cache_clear()
    return declaration


@lru_cache(maxsize=16384)
def _declaration_of(cls: type) -> Declaration | None:
    for base in cls.__mro__:
        for key in (base, f"{base.__module__}.{base.__qualname__}", base.__name__):
            if key in _declarations:
                return _declarations[key]
    return None


def declares_layouts(cls: type) -> bool:
    """Whether something is declared of modules of a class."""
    return _declaration_of(cls) is not None


def declared_layouts(module: nn.Module) -> Mapping[str, Layout]:
    """What the module's class declares of its tensors."""
    declaration = _declaration_of(type(module))
    if declaration is None:
        return {}
    try:
        found = declaration(module)
    except InitcfgError:
        raise
    except Exception as error:
        raise _wrong(module, declaration, f"raised {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping) or not all(isinstance(each, Layout) for each in found.values()):
        raise _wrong(module, declaration, f"gave {found!r}, which is no dict of layouts")
    for attribute, layout in found.items():
        tensor = parameters_of(module).get(attribute, getattr(module, attribute, None))
        if not hasattr(module, attribute) or not isinstance(tensor, (torch.Tensor, type(None))):
            raise _wrong(module, declaration, f"names {attribute!r}, which is no tensor of the module")
        if tensor is not None and tuple(layout.shape) != tuple(tensor.shape):
            what = f"gave {attribute!r} the shape {tuple(layout.shape)}, and it has {tuple(tensor.shape)}"
            raise _wrong(module, declaration, what)
    return found


def _wrong(module: nn.Module, declaration: Declaration, what: str) -> TensorError:
    code = getattr(inspect.unwrap(declaration), "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return TensorError(
        f"The function that declares the layout of {type(module).__name__}{place} {what}.",
        fix="It takes the module, and returns a dict such as {'weight': initcfg.values.Layout(shape, ...)}.",
    )


def layout_of_raw(module: nn.Module, attribute: str, tensor: torch.Tensor) -> Layout | None:
    """The layout of a parameter that a rule names by itself, if its module is known to tell it.

    transformers stacks the matrices of a mixture's experts, and its modules say whether these are (in, out).
    """
    transposed = module.__dict__.get("is_transposed")
    if not isinstance(transposed, bool) or tensor.dim() != 3 or not attribute.endswith("_proj"):
        return None
    ends = ((1,), (2,)) if transposed else ((2,), (1,))
    return Layout(tuple(tensor.shape), in_axis=ends[0], out_axis=ends[1], batch_axis=(0,))


@register_layout("Conv1D")
def _gpt_convolution(module: Any) -> Mapping[str, Layout]:
    """The linear layer of OpenAI's GPT, in transformers and elsewhere: (in, out), of which ``nf`` are out."""
    weight, outputs = getattr(module, "weight", None), getattr(module, "nf", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2 or weight.shape[1] != outputs:
        return {}
    return {"weight": Layout(tuple(weight.shape), in_axis=(0,), out_axis=(1,))}


@register_layout("einops.layers.torch.EinMix")
def _einmix(module: Any) -> Mapping[str, Layout]:
    """einops: axes that only the input has are inputs, those that only the output has are outputs."""
    left, right = (set(re.findall(r"[A-Za-z_]\w*", side)) for side in module.pattern.split("->"))
    axes = re.findall(r"[A-Za-z_]\w*", module.weight_shape)
    weight = module.weight
    if len(axes) != weight.dim():
        return {}

    def places(names: set[str]) -> tuple[int, ...]:
        return tuple(place for place, name in enumerate(axes) if name in names)

    inputs, outputs, shared = places(left - right), places(right - left), places(left & right)
    return {
        "weight": Layout(tuple(weight.shape), in_axis=inputs, out_axis=outputs, batch_axis=shared),
    }


@register_layout("torch_geometric.nn.dense.linear.HeteroLinear")
@register_layout("torch_geometric.nn.conv.rgcn_conv.RGCNConv")
@register_layout("torch_geometric.nn.conv.spline_conv.SplineConv")
@register_layout("e3nn.nn._fc._Layer")
def _inputs_before_outputs(module: Any) -> Mapping[str, Layout]:
    """PyG and e3nn: (in, out), below an axis for each kind of node or edge; RGCN cuts some into blocks."""
    return {
        name: Layout(
            tuple(tensor.shape),
            in_axis=(tensor.dim() - 2,),
            out_axis=(tensor.dim() - 1,),
            batch_axis=tuple(range(tensor.dim() - 2)),
        )
        for name in ("weight", "root")
        if (tensor := parameters_of(module).get(name)) is not None
        and not is_lazy(tensor)
        and tensor.dim() > 1
    }


@register_layout("torchtitan.models.common.moe.GroupedExperts")
def _experts_of_torchtitan(module: Any) -> Mapping[str, Layout]:
    """Whole experts, (expert, out, in)."""
    return {
        name: Layout(tuple(tensor.shape), in_axis=(2,), out_axis=(1,), batch_axis=(0,))
        for name, tensor in parameters_of(module).items()
        if tensor is not None and tensor.dim() == 3
    }
