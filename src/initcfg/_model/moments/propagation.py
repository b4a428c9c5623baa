"""Propagation: a model's forward pass without numbers, with what its tensors are like beside each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from initcfg._model.dispatch_modes import DispatchMode
from initcfg._model.in_place_writes import storage_of
from initcfg._model.moments.distribution import (
    Distribution,
    Source,
    combined,
    constant,
    gaussian,
    mixture,
)
from initcfg._model.moments.nodes import spread_of_sizes
from initcfg._model.moments.operations import called, reduced, softmax, squares_of, with_tensors
from initcfg._model.moments.products import Product, product_of, through_weight

# Beyond this, a number that is added to scores takes them out.
_HUGE = 1e4
_KEPT = """
    view _unsafe_view reshape alias detach clone contiguous expand permute transpose t unsqueeze squeeze
    _to_copy to lift_fresh flatten unflatten roll flip repeat repeat_interleave pixel_shuffle pixel_unshuffle
    constant_pad_nd reflection_pad2d replication_pad2d upsample_nearest2d upsample_bilinear2d
    upsample_bicubic2d channel_shuffle im2col native_dropout dropout view_as_real unfold as_strided
    _reshape_alias
"""
_KEPT_NAMES = frozenset(_KEPT.split())
_PIECES = frozenset(
    [
        "split",
        "split_with_sizes",
        "chunk",
        "slice",
        "select",
        "unbind",
        "narrow",
        "index",
        "index_select",
        "gather",
    ]
)
# Those that torch does not mark as such.
_ELEMENTWISE = (
    "hardswish",
    "hardsigmoid",
    "log_sigmoid_forward",
    "_prelu_kernel",
    "prelu",
    "rrelu",
    "celu",
    "selu",
)
_NORMS = ("native_layer_norm", "native_group_norm", "_fused_rms_norm", "rms_norm")
_BATCH_NORMS = (
    "native_batch_norm",
    "_native_batch_norm_legit",
    "cudnn_batch_norm",
    "_batch_norm_with_update",
)
_BATCH_NORMS += (
    "_batch_norm_no_update",
    "_native_batch_norm_legit_no_training",
    "_native_batch_norm_legit_functional",
)
_POOLS = (
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "adaptive_avg_pool1d",
)
_MAX_POOLS = ("max_pool1d", "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d")


@dataclass
class Seen:
    """What a pass said.

    Attributes:
        stds: The standard deviation that each weight is to have, so that its output has its target.
        targets: Those of the outputs.
        centered: Weights whose inputs have a mean, which goes no further without the mean of the weights
            along these axes.
        lookups: Tables of embeddings.
        backward: By weight, where only functions stand between it and the weight before: what a gradient's
            variance is multiplied with from its output to that of the weight before.
        unknown: Operations of which nothing is known.
        dead: Weights whose input is zero everywhere.
        back: By weight, the standard deviation at which gradients keep their scale through it and the
            function before it; none where more than a function stands there.
        apart: By weight, how far samples are from each other: the standard deviation of the logarithm of how
            large their outputs are.
    """

    stds: dict[str, float] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    centered: dict[str, tuple[int, ...]] = field(default_factory=dict)
    lookups: dict[str, None] = field(default_factory=dict)
    backward: dict[str, float] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    dead: dict[str, None] = field(default_factory=dict)
    back: dict[str, float] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)


class Propagation(DispatchMode):
    """Notes what tensors are like while a model runs on the meta device."""

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        others: Mapping[int, Distribution],
        target: Callable[[str], float],
        *,
        centers: bool,
        preserve: str = "forward",
    ) -> None:
        super().__init__()
        self.seen = Seen()
        self._weights = {storage_of(tensor): name for name, tensor in weights.items()}
        self._known: dict[int, Distribution] = dict(others)
        self._pieces: dict[Any, Distribution] = {}
        # While a tensor lives here, so does what its number means.
        self._kept: list[Any] = []
        self._target = target
        # What weights put out: the sources of that.
        self._outputs: set[int] = set()
        self._centers, self._preserve = centers, preserve
        self._inputs: set[int] = set()

    def begin_with(self, tensor: torch.Tensor) -> None:
        """An input of the model: Gaussian, of variance 1."""
        if tensor.is_floating_point():
            # A channel of an image is one of three; a row of numbers is a sample with a size of its own.
            noise = 2.0 / tensor.shape[-1] if tensor.dim() in (2, 3) else 0.0
            found = gaussian(1.0, noise=noise)
            self._inputs.add(id(found.source))
            self._note(tensor, found)

    def _note(self, tensor: Any, found: Distribution) -> None:
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() | (tensor.dtype == torch.bool):
            self._known[id(tensor)] = found
            self._kept.append(tensor)

    def of(self, tensor: Any) -> Distribution | None:
        """What is known of a tensor."""
        return self._known.get(id(tensor)) if isinstance(tensor, torch.Tensor) else None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        weight = next((found for each in tensors if (found := self._weights.get(storage_of(each)))), None)
        known = [each for each in tensors if self.of(each) is not None]
        outputs = [each for each in tree_leaves(output) if isinstance(each, torch.Tensor)]
        if not outputs:
            return output
        product = (
            product_of(name, args, kwargs, outputs[0]) if weight is not None or len(known) >= 2 else None
        )
        if weight is not None and product is not None:
            self._note(outputs[0], self._by_weight(weight, product, outputs[0]))
        elif weight is not None and not known:
            # A view of a weight is a weight: it has the same memory.
            return output
        elif known:
            found = self._found(func, name, args, kwargs, outputs, known, product)
            for each in outputs if name in _PIECES else outputs[:1]:
                self._note(each, found.again() if name in _PIECES and len(outputs) > 1 else found)
        elif name in ("cos", "sin") and outputs[0].is_floating_point():
            # Angles of positions, whichever they are.
            self._note(outputs[0], constant(math.sqrt(0.5)))
        return output

    def _by_weight(self, weight: str, product: Product, output: torch.Tensor) -> Distribution:
        """What comes out of a product with a weight, whose standard deviation is decided here."""
        given = self.of(product.data) or gaussian(1.0)
        mean, second = given.mean, given.second
        if product.lookup:
            self.seen.lookups[weight] = None
        elif weight in self.seen.centered or (
            self._centers and weight not in self.seen.stds and product.axes and mean**2 > 0.01 * second
        ):
            self.seen.centered[weight] = product.axes
        coverage = product.coverage if weight in self.seen.centered else 0.0
        unit = through_weight(given, product, coverage)
        gain = unit.second
        if weight not in self.seen.stds:
            if gain <= 0.0 or not math.isfinite(gain):
                self.seen.dead[weight] = None
                gain = product.terms
            back = None if product.lookup else self._gradients(given, product, output)
            std = self._std(self._target(weight) / math.sqrt(gain), back)
            self.seen.stds[weight], self.seen.targets[weight] = std, std * math.sqrt(gain)
            if back is not None:
                self.seen.back[weight] = back
        std = self.seen.stds[weight]
        values = unit.values * std
        made = Distribution(values, Source(values), normal=True)
        if id(given.source) in self._outputs and weight in self.seen.back:
            self.seen.backward.setdefault(weight, (std / self.seen.back[weight]) ** 2)
        self._outputs.add(id(made.source))
        self.seen.apart.setdefault(weight, spread_of_sizes(made.energies) if made.sized else 0.0)
        return made

    def _std(self, forward: float, back: float | None) -> float:
        """The standard deviation of a weight, of those that keep outputs and gradients."""
        if back is None or self._preserve == "forward":
            return forward
        return back if self._preserve == "backward" else math.sqrt(forward * back)

    def _gradients(self, given: Distribution, product: Product, output: torch.Tensor) -> float | None:
        """The standard deviation of a weight at which gradients keep theirs, through it and a function."""
        source = given.source
        if source is None or source.values is None or id(source) in self._inputs:
            return None
        terms = output.numel() * product.terms / product.data.numel()
        power = terms * given.slope(Distribution(source.values))
        return 1.0 / math.sqrt(power) if power > 0 and math.isfinite(power) else None

    def _found(
        self,
        func: Any,
        name: str,
        args: Any,
        kwargs: Any,
        outputs: list[torch.Tensor],
        known: list[torch.Tensor],
        product: Product | None,
    ) -> Distribution:
        first = self._known[id(known[0])]
        base = name.removesuffix("_") or name
        if base in _KEPT_NAMES:
            return first
        if name in _PIECES:
            key = (id(first.source), name, str(args[1:]) if name != "index" else len(self._kept))
            self._kept.append(first)
            return self._pieces.setdefault(key, first.again())
        if name in ("cat", "stack"):
            parts = [each for each in args[0] if isinstance(each, torch.Tensor)]
            return mixture([(each.numel(), self.of(each) or constant(0.0)) for each in parts])
        if name.startswith("_scaled_dot_product") or name == "scaled_dot_product_attention":
            return self._attention(args, kwargs)
        if product is not None:
            return self._of_data(product)
        if name in ("_softmax", "softmax", "_safe_softmax"):
            return softmax(first, known[0].shape[args[1]])
        return self._elsewhere(func, name, args, kwargs, outputs, known, first)

    def _elsewhere(
        self, func: Any, name: str, args: Any, kwargs: Any, outputs: Any, known: Any, first: Distribution
    ) -> Distribution:
        base = name.removesuffix("_")
        if name in _NORMS:
            return self._affine(first.whitened(False), args, 2 if name != "native_group_norm" else 1)
        if name in _BATCH_NORMS:
            training = name != "_native_batch_norm_legit_no_training" and any(
                each is True for each in args[3:7]
            )
            return self._affine(first.whitened(True) if training or name == "cudnn" else first, args, 1)
        if name in _POOLS:
            return first.averaged(outputs[0].numel() / known[0].numel())
        if name in _MAX_POOLS:
            kernel = args[1] if isinstance(args[1], (list, tuple)) else [args[1]]
            return first.largest(math.prod(kernel))
        if name in (
            "mean",
            "sum",
            "var",
            "std",
            "var_mean",
            "amax",
            "linalg_vector_norm",
            "norm",
            "any",
            "all",
        ):
            return reduced(name, args, kwargs, known[0], first)
        if torch.Tag.pointwise in func.tags or base in (*_ELEMENTWISE, "where", "masked_fill", "copy"):
            return self._pointwise(func, name, args, kwargs, known, first)
        self.seen.unknown[name] = None
        return gaussian(first.second, first.common, first.mean, first.energies)

    def _affine(self, found: Distribution, args: Sequence[Any], at: int) -> Distribution:
        """A norm's own weight and bias."""
        weight, bias = (self.of(each) for each in (*args[at : at + 2], None, None)[:2])
        values = found.values * (1.0 if weight is None else weight.mean) + (
            0.0 if bias is None else bias.mean
        )
        return Distribution(values, found.source)

    def _of_data(self, product: Product) -> Distribution:
        """A product of two tensors that both depend on data."""
        a, b = self.of(product.data), self.of(product.other)
        assert a is not None and b is not None
        if a.squares is not None:
            return b.mixed(a.squares, (2.0 if a.masked else 1.0) / product.terms)
        mean = a.mean * b.mean
        return gaussian(
            product.terms * (a.second * b.second - mean**2) + (product.terms * mean) ** 2,
            (product.terms * mean) ** 2,
            product.terms * mean,
        )

    def _attention(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Distribution:
        query, key, value = (self.of(each) or constant(0.0) for each in args[:3])
        size = args[0].shape[-1]
        scale = kwargs.get("scale") or 1.0 / math.sqrt(size)
        spread = size * query.second * key.second * scale**2
        masked = (
            any(each is True for each in args[3:])
            or kwargs.get("is_causal", False)
            or kwargs.get("attn_mask") is not None
        )
        masked = masked or any(isinstance(each, torch.Tensor) for each in args[3:])
        keys = args[1].shape[-2]
        return value.mixed(squares_of(spread, keys, masked), (2.0 if masked else 1.0) / keys)

    def _pointwise(
        self, func: Any, name: str, args: Any, kwargs: Any, known: list[torch.Tensor], first: Distribution
    ) -> Distribution:
        masks = name.removesuffix("_") in ("where", "masked_fill")
        if masks and not all(self.of(each) for each in tree_leaves(args) if isinstance(each, torch.Tensor)):
            found = [self._known[id(each)] for each in known if each.is_floating_point()]
            return replace(found[0] if found else first, masked=True)
        others: list[Distribution] = []

        def given(tensor: torch.Tensor) -> torch.Tensor:
            return self._operand(tensor, name, others)

        taken = tree_map_only(torch.Tensor, given, (args, dict(kwargs)))
        others = list({id(each.source): each for each in others if each.source is not None}.values())
        names = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        if len(others) == 2 and len(names) == 2:
            one, two = (self._known[id(each)] for each in names)
            if one.normal and two.normal and name.startswith(("add", "sub")):
                energies = one.energies + two.energies
                return gaussian(one.second + two.second, one.common + two.common, energies=energies)
            made = combined(lambda a, b: called(func, with_tensors(args, kwargs, names, (a, b))), one, two)
            return made
        if len(others) > 1:
            self.seen.unknown[name] = None
            return gaussian(first.second, first.common, first.mean, first.energies)
        values = called(func, taken)
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            self.seen.unknown[name] = None
            return first
        source = others[0].source if others else None
        unknown = any(self.of(each) is None and each.dim() >= 2 for each in names)
        masked = first.masked or any(each.masked for each in others) or (unknown and name.startswith("add"))
        functions = sum(self._known[id(each)].source is not None for each in names if id(each) in self._known)
        normal = (
            functions == 1
            and others[0].normal
            and name.removesuffix("_") in ("mul", "div", "neg", "add", "sub")
        )
        return Distribution(values, source, masked=masked, normal=normal)

    def _operand(self, tensor: torch.Tensor, name: str, others: list[Distribution]) -> torch.Tensor:
        found = self.of(tensor)
        if found is None:
            # Of positions, masks and tables nothing is known: they take nothing away.
            if tensor.dtype == torch.bool:
                return torch.ones((), dtype=torch.bool, device="cpu")
            neutral = 0.0 if name.startswith(("add", "sub")) else 1.0
            return torch.tensor(neutral, dtype=torch.float64, device="cpu")
        others.append(found)
        return found.values
