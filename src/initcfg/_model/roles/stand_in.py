"""A stand-in for a model: the same modules, on the meta device or small on the CPU, to be run once.

The model itself is not run: its forward may count, cache or write, its hooks belong to somebody, and a
model whose weights are not written yet refuses to be called. Of hooks, the stand-in has only those of
torch.nn.utils, which compute weights.
"""

from __future__ import annotations

import copy
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from initcfg._model.contents import is_compiled
from initcfg._model.names import wrapper_attribute
from initcfg.errors import RoleError

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks", "_backward_pre_hooks")
_HOOK_FLAGS = (
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
# Methods that a pending model's guard puts on it.
_GUARDED = ("_apply", "__deepcopy__", "__reduce_ex__", "_initcfg_closed", "_initcfg_defaults")
# Under checkpointing a forward pass is run in pieces.
_CHECKPOINTING = ("gradient_checkpointing", "grad_checkpointing", "use_checkpoint", "with_cp")
_STANDARD_DEVIATION = 0.02


def stand_in(model: nn.Module, device: str, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy of ``model`` in eval mode on ``device``, with floating-point tensors of ``dtype``.

    On the CPU its parameters hold small numbers of no meaning; buffers hold what the model's hold.

    Raises:
        RoleError: A part of it was compiled by torch.jit, and has no Python modules to copy.
    """
    copies = _Copies(device, dtype)
    made = copies.module(model)
    copies.fill()
    for module in made.modules():
        for name in _CHECKPOINTING:
            if vars(module).get(name) is True:
                vars(module)[name] = False
    return made.eval()


class _Copies:
    """Copies of modules and tensors, each made once."""

    def __init__(self, device: str, dtype: torch.dtype | None) -> None:
        self._device, self._dtype = device, dtype
        self._memo: dict[int, Any] = {}
        # Seeds nothing but the stand-in.
        self._generator = torch.Generator().manual_seed(0) if device == "cpu" else None
        self._todo: list[tuple[nn.Module, nn.Module]] = []

    def module(self, module: nn.Module) -> nn.Module:
        """A module without its contents, which ``fill`` copies; of a wrapper, that of what it wraps."""
        if id(module) in self._memo:
            return self._memo[id(module)]
        hidden = wrapper_attribute(type(module))
        if hidden is not None:
            made = self.module(module._modules[hidden])  # type: ignore[arg-type]
        elif is_compiled(module):
            raise RoleError(f"A {type(module).__name__} compiled by torch.jit shows no operations.")
        else:
            made = object.__new__(type(module))
            self._todo.append((module, made))
        self._memo[id(module)] = made
        for child in module._modules.values():
            if child is not None:
                self.module(child)
        return made

    def fill(self) -> None:
        """Copy what the modules hold."""
        for module, made in self._todo:
            held, buffers = made.__dict__, {id(each) for each in module._buffers.values()}
            for name in ("_parameters", "_buffers"):
                held[name] = type(vars(module)[name])(
                    (key, None if each is None else self.tensor(each, id(each) in buffers))
                    for key, each in vars(module)[name].items()
                )
            held["_modules"] = type(module._modules)(
                (key, None if each is None else self._memo[id(each)]) for key, each in module._modules.items()
            )
        with _CopiedTensors(self):
            for module, made in self._todo:
                self._fill_attributes(module, made)

    def _fill_attributes(self, module: nn.Module, made: nn.Module) -> None:
        held = made.__dict__
        for name, value in vars(module).items():
            if name in held or name in _GUARDED:
                continue
            if name in _HOOKS or name in _HOOK_FLAGS:
                held[name] = OrderedDict()
                if name == "_forward_pre_hooks":
                    held[name].update(_of_torch(value))
                continue
            if name == "forward" and isinstance(value, types.FunctionType):
                # It would run the model that it was made for; the class has another.
                continue
            held[name] = self._attribute(value)

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, (str, int, float, bool, type(None), type, types.FunctionType, types.ModuleType)):
            return value
        if isinstance(value, torch.Generator):
            return value.clone_state() if hasattr(value, "clone_state") else torch.Generator(value.device)
        try:
            return copy.deepcopy(value, self._memo)
        except Exception:
            # A lock, a file, a handle: nothing of it is a tensor.
            return value

    def tensor(self, tensor: torch.Tensor, buffer: bool = True) -> torch.Tensor:
        """A tensor on the device; nothing is read of one that is a parameter."""
        if id(tensor) in self._memo:
            return self._memo[id(tensor)]
        floating = tensor.is_floating_point()
        dtype = self._dtype if self._dtype is not None and floating else tensor.dtype
        made = torch.empty(tuple(tensor.shape), dtype=dtype, device=self._device)
        if self._device == "cpu":
            self._write(made, tensor, buffer)
        if isinstance(tensor, nn.Parameter) or tensor.requires_grad:
            made = nn.Parameter(made, requires_grad=floating or tensor.is_complex())
        self._memo[id(tensor)] = made
        # While the copy lives, so does what its number means.
        self._memo.setdefault(id(self._memo), []).append(tensor)
        return made

    def _write(self, made: torch.Tensor, tensor: torch.Tensor, buffer: bool) -> None:
        with torch.no_grad():
            if buffer and tensor.device.type != "meta":
                made.copy_(tensor.detach())
            elif made.is_floating_point():
                made.normal_(0, _STANDARD_DEVIATION, generator=self._generator)
            else:
                made.zero_()


class _CopiedTensors(TorchFunctionMode):
    """Tensors that are mere attributes, also deep in others, are copied like the rest."""

    def __init__(self, copies: _Copies) -> None:
        super().__init__()
        self._copies = copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__deepcopy__ or func is nn.Parameter.__deepcopy__:
            return self._copies.tensor(args[0])
        return func(*args, **(kwargs or {}))


def _of_torch(hooks: Any) -> Iterator[tuple[int, Any]]:
    """Hooks that compute a weight before each pass: weight_norm, spectral_norm, pruning."""
    for number, hook in hooks.items():
        if type(hook).__module__.startswith("torch.nn.utils"):
            yield number, hook
