"""Uses: where a running model multiplies by one of its weights, and what comes out.

Seen below autograd, so that it does not matter which layer or function asks for the product, or through which
view of the weight.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from initcfg._model import DispatchMode, Entry, Product, product_of, storage_of

_MATRICES = ("mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "matmul", "linear", "_grouped_mm")
_CONVOLUTIONS = ("convolution", "_convolution")
_PRODUCTS = (*_MATRICES, *_CONVOLUTIONS, "embedding")


@dataclass
class Use:
    """A product with a weight, while it runs.

    Attributes:
        name: Canonical name of the weight.
        weight: The tensor whose numbers are used: of a parametrized weight, what the layer sees.
        given: The weight as the operation has it, a view perhaps.
        output: What came out; :meth:`again` makes it anew.
        product: What is multiplied by what, and summed over which axes.
    """

    name: str
    weight: torch.Tensor
    given: torch.Tensor
    operation: str
    transposed: bool
    output: torch.Tensor
    product: Product | None
    _repeat: Callable[[], torch.Tensor]

    def again(self) -> None:
        """Run the operation once more, with the numbers that the weight has now."""
        self.output = self._repeat()

    @property
    def channel_axis(self) -> int:
        """The axis of the output that counts channels."""
        return self.output.dim() - 1 if self.operation not in _CONVOLUTIONS else 1

    @property
    def weight_axis(self) -> int:
        """The axis of the weight that counts the channels of the output."""
        if self.operation in _CONVOLUTIONS:
            return 1 if self.transposed else 0
        channels, stride = self.given.shape[-1], self.given.stride(-1)
        sizes, strides = self.weight.shape, self.weight.stride()
        fits = [axis for axis in range(self.weight.dim()) if sizes[axis] == channels]
        return next((axis for axis in fits if strides[axis] == stride), fits[0] if fits else 0)


class Uses(DispatchMode):
    """Tells of the first use of each of some tensors; who is told may change them, and use them again."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], tell: Callable[[Use], None]) -> None:
        super().__init__()
        self.waiting = dict(tensors)
        self._names = {storage_of(tensor): name for name, tensor in tensors.items()}
        self._tell = tell

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        operation = func.overloadpacket.__name__
        if operation not in _PRODUCTS or not self.waiting or not isinstance(output, torch.Tensor):
            return output
        for given in tree_leaves((args, kwargs)):
            if not isinstance(given, torch.Tensor) or given.dim() < 2:
                continue
            name = self._names.get(storage_of(given))
            if name is None or name not in self.waiting:
                continue
            weight = self.waiting.pop(name)
            transposed = operation in _CONVOLUTIONS and bool(args[6])
            product = product_of(operation, args, kwargs, output)
            again = lambda: func(*args, **kwargs)  # noqa: E731
            use = Use(name, weight, given, operation, transposed, output, product, again)
            self._tell(use)
            output = use.output
        return output


@contextlib.contextmanager
def seen_tensors(entries: Mapping[str, Entry]) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors that layers use, by name; within, a parametrized weight is one tensor at all its uses."""
    held = {name: entry.holder for name, entry in entries.items() if entry.holder is not None}
    with parametrize.cached() if held else contextlib.nullcontext():
        yield {
            name: entry.tensor if entry.holder is None else getattr(*entry.holder)
            for name, entry in entries.items()
        }
