"""What modules show while a model runs: layers with weights, blocks, norms, embeddings."""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from initcfg._diagnose.measuring.functions import zero_share
from initcfg._diagnose.measuring.layers import channel_axis, has_matrix, is_layer, note_layer
from initcfg._diagnose.measuring.recurrent import gates
from initcfg._diagnose.measuring.seen import BlockSeen, Seen, UnitsSeen, ZeroRows
from initcfg._diagnose.measuring.sizes import first_tensor_of, largest, rms, usual_rms

_FEWEST_BLOCKS = 3
_NORM = re.compile(r"norm(alization)?(2d|1d|_?\d*)?$|norm", re.IGNORECASE)
_PASSES_ON = (nn.Identity, nn.modules.dropout._DropoutNd)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalizes, as its class says."""
    return _NORM.search(type(module).__name__) is not None and not has_matrix(module)


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks: members of lists, of a class that there are several of, each with several layers."""
    found = {
        f"{name}.{child}".lstrip("."): block
        for name, module in model.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential))
        for child, block in module.named_children()
        if not isinstance(block, (nn.ModuleList, nn.Sequential))
        and sum(map(has_matrix, block.modules())) >= 2
    }
    kinds = Counter(type(each) for each in found.values())
    return {name: each for name, each in found.items() if kinds[type(each)] >= _FEWEST_BLOCKS}


class _Watching:
    def __init__(self, model: nn.Module, seen: Seen) -> None:
        self.seen = seen
        self.blocks = {id(block): name for name, block in blocks_of(model).items()}
        self._stream: torch.Tensor | None = None
        self._last_is_norm = False
        self._inputs: dict[str, tuple[float | None, float]] = {}

    def enter(self, name: str, module: nn.Module, arguments: Any, named: Any) -> None:
        """A module is called."""
        seen = self.seen
        seen.stack.append(name)
        given = first_tensor_of(arguments) if arguments else None
        if given is None:
            given = next((each for each in map(first_tensor_of, named.values()) if each is not None), None)
        self._reads(module, given)
        if id(module) in self.blocks and given is not None:
            self._stream = given
            if seen.entering is None:
                seen.entering = usual_rms(given, channel_axis(given))
        if is_layer(module):
            if given is None:
                self._inputs[name] = None, 0.0
            else:
                self._inputs[name] = rms(given), largest(given)
        if given is not None and is_norm(module) and not list(module.children()):
            self._norm(name, module, given)

    def _reads(self, module: nn.Module, given: torch.Tensor | None) -> None:
        """Whether what reads the stream first is a norm."""
        if given is None or given is not self._stream or isinstance(module, _PASSES_ON):
            return
        if not list(module.children()) or is_norm(module):
            self.seen.readers.append(is_norm(module))

    def _norm(self, name: str, module: nn.Module, given: torch.Tensor) -> None:
        if isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or isinstance(
            getattr(module, "bias", None), torch.Tensor
        ):
            # These call functions, which are watched; and with a bias, what comes out is no zero.
            return
        if isinstance(module, (nn.modules.batchnorm._NormBase, nn.GroupNorm)):
            return
        names = ("eps", "variance_epsilon", "epsilon")
        found = zero_share(
            given, next((getattr(module, each) for each in names if hasattr(module, each)), None)
        )
        if found is not None:
            self.seen.zero_rows.append(ZeroRows(name, *found))

    def leave(self, name: str, module: nn.Module, arguments: Any, output: Any) -> None:
        """A module returns."""
        seen = self.seen
        if seen.stack:
            seen.stack.pop()
        if not list(module.children()) and not isinstance(module, _PASSES_ON):
            self._last_is_norm = is_norm(module)
        told = first_tensor_of(output)
        if told is None:
            return
        if id(module) in self.blocks:
            self._block(name, told)
        if is_layer(module):
            self._layer(name, module, arguments, told)
        elif not math.isfinite(largest(told)):
            seen.broken.append((name, type(module).__name__))

    def _block(self, name: str, told: torch.Tensor) -> None:
        inside = [each for each in self.seen.layers if each.name.startswith(f"{name}.")]
        layer = max(inside, key=lambda each: each.rms if math.isfinite(each.rms) else -1, default=None)
        axis = channel_axis(told)
        block = BlockSeen(
            name, usual_rms(told, axis), layer.name if layer else "", ends_in_norm=self._last_is_norm
        )
        self.seen.blocks.append(block)
        self._stream = told
        if told.requires_grad:

            def note(gradient: torch.Tensor) -> None:
                with self.seen.looking():
                    block.gradient_rms, block.whole_gradient = usual_rms(gradient, axis), rms(gradient)

            told.register_hook(note)

    def _layer(self, name: str, module: nn.Module, arguments: Any, told: torch.Tensor) -> None:
        entering, input_largest = self._inputs.pop(name, (None, 0.0))
        note_layer(self.seen, name, type(module).__name__, told, entering, input_largest)
        if isinstance(module, nn.Embedding) and arguments and isinstance(arguments[0], torch.Tensor):
            self._padding(name, module, arguments[0], told)
        if isinstance(module, nn.RNNBase):
            given = first_tensor_of(arguments)
            # Sequences that are packed have no axis of time.
            for (weight, kind), share in (gates(module, given) if given is not None else {}).items():
                self.seen.units.append(UnitsSeen(name, kind, share, f"{name}.{weight}".lstrip(".")))

    def _padding(self, name: str, module: nn.Embedding, ids: torch.Tensor, told: torch.Tensor) -> None:
        if ids.is_floating_point() or ids.shape != told.shape[:-1]:
            return
        rows = torch.unique(ids[~told.detach().any(-1)]).tolist()
        if rows and len(rows) < module.num_embeddings / 2:
            self.seen.padding[name] = tuple(rows)
            own = module.padding_idx
            if own is not None and own in rows:
                self.seen.padding_indices[name] = own


@contextlib.contextmanager
def watched_modules(model: nn.Module, seen: Seen) -> Iterator[None]:
    """Within, every call of a module of the model is noted."""
    watching = _Watching(model, seen)
    handles = []

    def hooks(name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, arguments: Any, named: Any) -> None:
            with seen.looking():
                watching.enter(name, module, arguments, named)

        def leave(module: nn.Module, arguments: Any, output: Any) -> None:
            with seen.looking():
                watching.leave(name, module, arguments, output)

        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        handles.append(module.register_forward_hook(leave))

    for name, module in model.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):
            hooks(name, module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
