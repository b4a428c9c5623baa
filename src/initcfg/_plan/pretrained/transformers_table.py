"""transformers' own table of conversions: what its files are called, and what it makes of them.

Its entries are read from the library that is installed, and their operations said as steps. What has no step
here is left as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from initcfg._stream.writing import result_shape
from initcfg.values import AdaptationStep

Shape = tuple[int, ...]
Table = dict[str, tuple[tuple[str, ...], tuple[AdaptationStep, ...]]]


def of_transformers(
    module: nn.Module,
    shapes: Mapping[str, Shape],
    names: Sequence[str],
    there: Callable[[str], Shape | None],
) -> Table:
    """By the name of a tensor: the names there, and the steps, by which transformers makes it."""
    made: Table = {}
    for path, model in _models(module):
        start = f"{path}." if path else ""
        own = {name[len(start) :]: shape for name, shape in shapes.items() if name.startswith(start)}
        inside = [name[len(start) :] for name in names if name.startswith(start)]
        try:
            found = _converted(model, own, inside, lambda name, start=start: there(start + name))
        # Its table is no part of what it promises: of another version it may be of another form.
        except Exception:
            continue
        for name, (keys, steps) in found.items():
            made[start + name] = tuple(start + key for key in keys), steps
    return made


def _models(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The outermost models of transformers in a module."""
    library = sys.modules.get("transformers.modeling_utils")
    kind = getattr(library, "PreTrainedModel", ())
    outer: list[str] = []
    for path, inner in module.named_modules() if library is not None else ():
        within = any(each == "" or path.startswith(each + ".") for each in outer)
        if isinstance(inner, kind) and not within:
            outer.append(path)
            yield path, inner


def _converted(
    model: Any, shapes: Mapping[str, Shape], names: Sequence[str], there: Callable[[str], Shape | None]
) -> Table:
    from transformers.conversion_mapping import (  # pyright: ignore[reportMissingImports]
        get_model_conversion_mapping,
    )
    from transformers.core_model_loading import (  # pyright: ignore[reportMissingImports]
        WeightConverter,
        WeightRenaming,
        dot_natural_key,
        rename_source_key,
    )

    transforms = get_model_conversion_mapping(model)
    renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
    converters = [each for each in transforms if isinstance(each, WeightConverter)]
    by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
    known = dict.fromkeys(shapes, True)
    renamed: Table = {}
    collected: dict[str, tuple[Any, dict[str, list[str]]]] = {}
    for name in sorted(names, key=dot_natural_key):
        if name in shapes:
            continue
        target, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, known)
        if target not in shapes:
            continue
        if pattern is None:
            renamed.setdefault(target, ((name,), ()))
        else:
            _, sources = collected.setdefault(target, (by_pattern[pattern], {}))
            sources.setdefault(pattern, []).append(name)
    for target, (converter, sources) in collected.items():
        renamed |= _made(target, converter, sources, shapes, there)
    return renamed


def _made(
    target: str,
    converter: Any,
    sources: Mapping[str, list[str]],
    shapes: Mapping[str, Shape],
    there: Callable[[str], Shape | None],
) -> Table:
    """The tensors that one converter makes, if all its operations have steps."""
    lists = [sources[pattern] for pattern in converter.source_patterns if pattern in sources]
    names = tuple(name for each in lists for name in each)
    targets = [target.replace(converter.target_patterns[0], each) for each in converter.target_patterns]
    steps: list[AdaptationStep] = []
    last: list[tuple[AdaptationStep, ...]] = [()] * len(targets)
    for operation in converter.operations:
        kind, axis = type(operation).__name__, getattr(operation, "dim", 0)
        if kind == "MergeModulelist" and axis == 0 and len({len(each) for each in lists}) == 1:
            steps.append(("stack", len(lists[0])))
        elif kind == "Concatenate":
            steps.append(("concat", axis))
        elif kind == "Transpose" and not operation.check_dims:
            steps.append(("transpose", operation.dim0, operation.dim1))
        elif kind in ("Chunk", "Split") and operation is converter.operations[-1]:
            whole = result_shape([there(name) or () for name in names], steps)
            sizes = [whole[axis] // len(targets)] * len(targets)
            if kind == "Split":
                sizes = [shapes[each][axis] for each in targets]
            if sum(sizes) != whole[axis]:
                return {}
            last = [(("narrow", sum(sizes[:place]), size, axis),) for place, size in enumerate(sizes)]
        else:
            return {}
    if len(targets) > 1 and not all(last):
        return {}
    return {each: (names, (*steps, *more)) for each, more in zip(targets, last, strict=True)}
