"""The operations that a formula may use: a list of those allowed, each with what is asked of its arguments.

A formula may come from a file of somebody else's. What is here computes new numbers from tensors, within
their memory, whatever the numbers are. What is not: operations that look at other memory (views, ``set_``,
``resize_``), that read or write files, that make tensors of another layout, that write into a tensor which
they are given for the result (``out=``), or whose kernels trust their arguments (the pivots of ``lu_solve``,
say). The recorder writes down no others.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch

from initcfg.errors import PlanError

_POINTWISE = """
    abs acos acosh angle asin asinh atan atanh bitwise_not ceil conj_physical copysign cos cosh deg2rad
    digamma elu erf erfc erfinv exp exp2 expm1 floor frac gelu hardsigmoid hardswish hardtanh i0 isfinite
    isinf isnan leaky_relu lgamma log log10 log1p log2 logical_not logit mish nan_to_num neg rad2deg
    reciprocal relu round rsqrt sgn sigmoid sign signbit silu sin sinc sinh softplus sqrt square tan tanh
    threshold trunc
    add addcdiv addcmul atan2 bitwise_and bitwise_or bitwise_xor clamp clamp_max clamp_min complex div eq
    floor_divide fmax fmin fmod ge gt heaviside hypot le lerp logaddexp logical_and logical_or logical_xor lt
    masked_fill maximum minimum mul ne polar pow remainder rsub sub where xlogy
    copy fill zero clone _to_copy
"""
_REDUCTIONS = """
    all amax amin any argmax argmin count_nonzero cumprod cumsum kthvalue logcumsumexp logsumexp
    linalg_vector_norm max mean median min norm prod std std_mean sum var var_mean _log_softmax _softmax
"""
_ARRANGEMENTS = """
    cat constant_pad_nd diag_embed embedding flip gather index index_add index_copy index_fill index_put
    index_select pixel_shuffle pixel_unshuffle reflection_pad1d reflection_pad2d replication_pad1d
    replication_pad2d repeat roll rot90 scatter scatter_add select_scatter slice_scatter sort stack take
    topk tril triu
"""
_MAKERS = """
    arange eye full linspace logspace scalar_tensor tril_indices triu_indices
    bartlett_window blackman_window hamming_window hann_window kaiser_window
    rand randint randn randperm
"""
_LIKE = "full_like ones_like rand_like randint_like randn_like zeros_like new_full new_ones new_zeros"
_NETWORKS = """
    _native_batch_norm_legit native_layer_norm rrelu_with_noise
    upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
"""
_DRAWS = "bernoulli cauchy exponential geometric log_normal multinomial normal poisson random uniform"
_FOURIER = "_fft_c2c _fft_c2r _fft_r2c"
_LISTS = "_foreach_add_ _foreach_copy_ _foreach_div_ _foreach_mul_ _foreach_neg_ _foreach_sub_ _foreach_zero_"
_MATRICES = """
    _cdist_forward addbmm addmm addmv baddbmm bmm cholesky cholesky_inverse dot linalg_cholesky_ex
    linalg_householder_product linalg_inv_ex linalg_lu linalg_lu_factor_ex linalg_matrix_exp linalg_pinv
    linalg_qr linalg_solve_triangular _linalg_det _linalg_eigh _linalg_slogdet _linalg_solve_ex _linalg_svd
    linalg_eig mm mv vdot
"""
_WINDOWS = "avg_pool2d convolution max_pool2d_with_indices"

MAKERS = frozenset(_MAKERS.split())
"""Those that make a tensor of a size which stands in their arguments."""
MATRICES = frozenset(_MATRICES.split())
"""Those whose work grows faster than their tensors."""
WINDOWS = frozenset(_WINDOWS.split())
"""Those that look at a window for each element of the result."""
ALLOWED = MAKERS.union(
    MATRICES,
    WINDOWS,
    *map(str.split, (_POINTWISE, _REDUCTIONS, _ARRANGEMENTS, _LIKE, _NETWORKS, _DRAWS, _FOURIER, _LISTS)),
)
"""All that a formula may use, each in place too; of every form (overload) that fulfils :func:`operation`."""

_TYPES = """
    bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64
    complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu
"""
TYPES = frozenset(_TYPES.split())
"""Data types that a formula's tensors may have."""
FORMATS = ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
_WORDS = ("reduced", "complete", "r", "L", "U", "floor", "trunc", "none", "tanh", "add", "multiply")
_SETTINGS = ("Optional[Layout]", "Optional[Device]", "Optional[Generator]")


def base_of(name: str) -> str:
    """An operation's name, without the form, and without the sign of those in place."""
    base = name.partition(".")[0]
    return base if base in ALLOWED else base.removesuffix("_")


@lru_cache(maxsize=1024)
def operation(name: str) -> Any:
    """The operation of torch that a formula calls by ``name``: ``"add.Tensor"``.

    Raises:
        PlanError: No formula may use it.
    """
    base, _, form = name.partition(".")
    if base_of(name) not in ALLOWED or not name.replace(".", "").isidentifier():
        raise PlanError(f"A formula may not use the operation {name!r}.")
    try:
        found = getattr(getattr(torch.ops.aten, base), form or "default")
        schema = found._schema
    except AttributeError as error:
        raise PlanError(f"This version of torch has no operation {name!r}.") from error
    results_only = [
        each.kwarg_only and each.alias_info and each.alias_info.is_write for each in schema.arguments
    ]
    types = {str(each.type) for each in schema.returns}
    on_tensors = any("Tensor" in str(each.type) for each in (*schema.arguments, *schema.returns))
    views = any(each.alias_info and not each.alias_info.is_write for each in schema.returns)
    if any(results_only) or types - {"Tensor"} or views or not on_tensors:
        raise PlanError(f"A formula may not use the operation {name!r}.")
    return found


def new_tensors(func: Any) -> int:
    """How many tensors an operation makes: those that it was given and has changed are not new."""
    return sum(each.alias_info is None or not each.alias_info.is_write for each in func._schema.returns)


def argument_problem(item: Any, type_: str, tensor: Any) -> str | None:
    """Why an argument of a formula's operation is not one of the type in the operation's schema.

    ``tensor`` says of a text whether it names one of the formula's tensors.
    """
    optional = type_.removeprefix("Optional[").removesuffix("]") if type_.startswith("Optional[") else None
    if optional is not None:
        if item is None:
            return None
        if type_ in _SETTINGS:
            return f"{_short(item)} cannot be chosen"
        type_ = optional + "]" * (optional.count("[") - optional.count("]"))
    if type_.startswith("List["):
        inner = type_[len("List[") : -1]
        if isinstance(item, list):
            return next(filter(None, (argument_problem(each, inner, tensor) for each in item)), None)
        # One number stands for as many.
        return "it is no list" if "Tensor" in inner else argument_problem(item, inner, tensor)
    if type_ == "Tensor":
        # A number stands for a tensor that holds it.
        return None if tensor(item) or is_number(item) else f"{_short(item)} is no tensor"
    fits = {
        "int": is_integer,
        "bool": lambda each: isinstance(each, bool),
        "float": is_number,
        "number": is_number,
        "str": lambda each: isinstance(each, str) and each in _WORDS,
        "ScalarType": is_type,
        "MemoryFormat": lambda each: isinstance(each, str) and each.removeprefix("torch.") in FORMATS,
    }.get(type_)
    if fits is None or not fits(item):
        return f"{_short(item)} is not allowed there"
    return None


def is_integer(item: Any) -> bool:
    """Whether it is an integer that torch can hold."""
    return type(item) is int and -(1 << 63) <= item < 1 << 63


def is_number(item: Any) -> bool:
    """Whether it is a number, or one that JSON cannot hold, as ``{"float": "inf"}``."""
    if isinstance(item, dict):
        return set(item) == {"float"} and item["float"] in ("inf", "-inf", "nan")
    return is_integer(item) or (isinstance(item, (bool, float)) and math.isfinite(item))


def is_type_name(item: Any) -> bool:
    """Whether it names a data type: ``"float32"``."""
    return isinstance(item, str) and item in TYPES


def is_type(item: Any) -> bool:
    """Whether it names a data type: ``"torch.float32"``."""
    return isinstance(item, str) and item.startswith("torch.") and item.removeprefix("torch.") in TYPES


def _short(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 40 else f"{text[:37]}..."
