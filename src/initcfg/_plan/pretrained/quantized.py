"""Quantized tensors: which formats stand in a checkpoint, and which of them are numbers times scales."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from initcfg.values import AdaptationStep, scales_text

Shape = tuple[int, ...]

# Blocks of DeepSeek's format, which others took over.
_BLOCK = 128
# Scales by what is put to the key of the numbers, or stands beside it in the module.
_SCALES_OF_KEY = ("_scale_inv", "_scale", "_scales", ".scale")
_SCALES_BESIDE = ("scale_weight", "scales", "scale")
# What stands beside them and is of no use without quantized arithmetic.
_FURTHER = ("input_scale", "output_scale", "weight_format", "scale_input", "k_scale", "v_scale")
# In place of a weight: what is put to its name, or stands beside it in the module, and the format.
_IN_ITS_PLACE = {
    "_blocks": "MXFP4, blocks of four bits with a scale each",
    "._data": "quanto",
    ".qdata": "torchao",
}
_BESIDE_ITS_PLACE = {
    "weight_packed": "compressed-tensors, packed",
    "W_q": "HQQ",
    "codes": "AQLM",
    "zero_point": "torch's own quantized layers",
}
# What stands beside a qweight, and whose it is then.
_QWEIGHTS = {
    "qweight_type": "GGUF",
    "g_idx": "GPTQ, packed into int32",
    "qzeros": "AWQ, packed into int32",
    "qweight": "packed into integers",
}


@dataclass(frozen=True)
class Quantized:
    """A tensor that is quantized in the checkpoint.

    Attributes:
        format: Its format, in words.
        keys: Numbers and scales, or what shows that it is quantized.
        step: What makes a weight of numbers and scales; None if no plain formula does.
        further: Other keys that belong to it.
        block: Whether the size of the blocks is unknown.
    """

    format: str
    keys: tuple[str, ...]
    step: AdaptationStep | None = None
    further: tuple[str, ...] = ()
    block: bool = False


@dataclass(frozen=True)
class Contents:
    """The keys of a checkpoint, with their shapes and data types, and one number, where it is needed."""

    keys: Collection[str]
    shape: Callable[[str], Shape]
    dtype: Callable[[str], str]
    number: Callable[[str], float]


def is_packed_or_scaled(dtype: str) -> bool:
    """Whether numbers of a type are no weights by themselves: whole ones, truth values, floats of a byte."""
    return not dtype.startswith(("float16", "float32", "float64", "bfloat16", "complex"))


def quantized(contents: Contents, key: str, block: Sequence[int] | None) -> Quantized | None:
    """What is quantized under this key, if it is: a scale stands beside it."""
    dtype = contents.dtype(key)
    if not is_packed_or_scaled(dtype):
        return None
    module = key[: key.rfind(".") + 1]
    further = tuple(each for name in _FURTHER if (each := module + name) in contents.keys)
    if dtype.startswith(("q", "torch.q")):
        return Quantized("torch's own quantized tensors", (key,))
    for kind in ("nf4", "fp4"):
        state = f"{key}.quant_state.bitsandbytes__{kind}"
        if state in contents.keys:
            return Quantized(f"bitsandbytes, {kind}: four bits with absmax for each block", (key, state))
    for absmax in (f"{key}.absmax", module + "absmax"):
        if absmax in contents.keys:
            return Quantized("bitsandbytes, with absmax for each block", (key, absmax))
    if module + "SCB" in contents.keys:
        return _of_bitsandbytes(contents, key, module, further)
    if module + "weight_scales" in contents.keys:
        return Quantized("EETQ", (key, module + "weight_scales"))
    for zero in (f"{key}_zero_point", module + "zero_point", module + "zeros", module + "qzeros"):
        if zero in contents.keys:
            return Quantized(f"{dtype} with zero points", (key, zero))
    candidates = [key + each for each in _SCALES_OF_KEY] + [module + each for each in _SCALES_BESIDE]
    scale = next((each for each in candidates if each in contents.keys), None)
    if scale is None:
        return None
    if f"{key}_scale_2" in contents.keys:
        return Quantized("NVFP4, four bits with two scales", (key, scale))
    if not dtype.startswith(("float8", "int8")):
        return Quantized(f"{dtype} with scales", (key, scale))
    return _with_scales(contents, key, scale, block, further)


def quantized_in_place(
    contents: Contents, name: str, keys: Mapping[str, tuple[str, ...]]
) -> Quantized | None:
    """What stands in place of a tensor that a checkpoint does not hold by name, where that is quantized."""
    module = name[: name.rfind(".") + 1]
    found = {suffix: keys[name + suffix][0] for suffix in _IN_ITS_PLACE if name + suffix in keys}
    if "._data" in found and f"{name}._scale" in keys:
        made = _with_scales(contents, found["._data"], keys[f"{name}._scale"][0], None, ())
        return Quantized("quanto", made.keys, made.step, made.further)
    for suffix, key in found.items():
        return Quantized(_IN_ITS_PLACE[suffix], (key,))
    if name.rpartition(".")[2] != "weight":
        return None
    beside = {each: module + each for each in (*_QWEIGHTS, *_BESIDE_ITS_PLACE) if module + each in keys}
    text = _format_of(beside)
    return None if text is None else Quantized(text, tuple(keys[each][0] for each in beside.values())[:3])


def quantized_at_all(names: Collection[str]) -> str | None:
    """The format that names speak of which fit nothing, for a message."""
    return _format_of({name.rpartition(".")[2] for name in names} - {"zero_point"})


def _format_of(last: Collection[str]) -> str | None:
    """The format in which these names stand in place of a weight."""
    table = _QWEIGHTS if "qweight" in last else _BESIDE_ITS_PLACE
    return next((text for name, text in table.items() if name in last), None)


def _of_bitsandbytes(contents: Contents, key: str, module: str, further: tuple[str, ...]) -> Quantized:
    """``int8``: each row times its largest magnitude, over 127."""
    scale, layout = module + "SCB", module + "weight_format"
    text = "bitsandbytes, int8 with the largest magnitude of each row in SCB"
    if layout in contents.keys and contents.number(layout) != 0:
        return Quantized(f"{text}, in the layout of some GPUs", (key, layout))
    shape = contents.shape(key)
    plain = contents.dtype(key) == "int8" and len(shape) == 2 and contents.shape(scale) == shape[:1]
    return Quantized(text, (key, scale), ("dequantize", 127, 1, 0) if plain else None, further)


def _with_scales(
    contents: Contents, key: str, scale: str, block: Sequence[int] | None, further: tuple[str, ...]
) -> Quantized:
    """Numbers times scales: of a tensor, its rows, or its blocks."""
    blocks = _blocks(contents.shape(key), contents.shape(scale), block)
    dtype = contents.dtype(key)
    if blocks is None:
        return Quantized(f"{dtype} with scales", (key, scale), None, further, block=True)
    return Quantized(f"{dtype} with {scales_text(blocks)}", (key, scale), ("dequantize", 1, *blocks), further)


def _blocks(shape: Shape, scales: Shape, block: Sequence[int] | None) -> Shape | None:
    """How many numbers share a scale, along each axis; 0 for all of them; None if that is not known."""
    if all(size == 1 for size in scales):
        return (0,) * len(shape)
    if len(scales) == 1 and scales[0] == shape[0]:
        return (1,) + (0,) * (len(shape) - 1)
    if len(scales) != len(shape):
        return None
    given = (*([1] * (len(shape) - len(block))), *block) if block else (_BLOCK,) * len(shape)
    found: list[int] = []
    for size, count, length in zip(shape, scales, given, strict=True):
        if block is None and count in (1, size):
            found.append(1 if count == size > 1 else 0)
        elif length and -(-size // length) == count:
            found.append(length)
        else:
            return None
    return tuple(found)
