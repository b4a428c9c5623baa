"""What differs between the numbers of two checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from initcfg._api.weights.reading import pairs_of, why_unreadable
from initcfg._apply import distance, wide
from initcfg._checkpoints import OpenedCheckpoint, prefixes_of, without_wrappers
from initcfg._stream.writing import bits_of, same_bits
from initcfg.errors import CheckpointError, PlanError, as_annotated, in_html_lines, plural, render
from initcfg.values import number_to_json


@dataclass(frozen=True)
class TensorChange:
    """What differs between a tensor of A and the same one of B.

    Attributes:
        name: Its key, without the prefixes that all have.
        status: ``"changed"`` (other numbers), ``"type"`` (the same numbers, but for rounding, in another data
            type), ``"shape"``, or ``"unreadable"``.
        a: Shape and data type in A.
        b: And in B.
        change: ‖b − a‖ / ‖a‖, over what is finite in both; None where a is zero.
        distance: ‖b − a‖.
        largest: The largest difference of one number.
        differing: How many numbers differ.
        elements: Of how many.
        nan: How many are NaN in A, and in B.
        inf: How many are infinite in A, and in B.
        detail: What there is to say besides, in words.
    """

    name: str
    status: str
    a: tuple[tuple[int, ...], str]
    b: tuple[tuple[int, ...], str]
    change: float | None = None
    distance: float | None = None
    largest: float | None = None
    differing: int = 0
    elements: int = 0
    nan: tuple[int, int] = (0, 0)
    inf: tuple[int, int] = (0, 0)
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """The change as JSON data."""
        data = {
            key: number_to_json(item) if isinstance(item, float) else item
            for key, item in asdict(self).items()
        }
        del data["name"]
        return {**data, **{side: {"shape": list(data[side][0]), "dtype": data[side][1]} for side in "ab"}}


@as_annotated(PlanError)
@dataclass(frozen=True, repr=False)
class WeightsComparison:
    """What differs between the numbers of two checkpoints, A and B; printable.

    Attributes:
        changed: The tensors that differ, by name.
        only_a: Names that A alone has: shape and data type of each.
        only_b: And B alone.
        alike: How many tensors hold the same, bit for bit.
        prefix_a: What was taken off the keys of A, so that they are those of B.
        prefix_b: And off those of B.
    """

    changed: Mapping[str, TensorChange]
    only_a: Mapping[str, tuple[tuple[int, ...], str]]
    only_b: Mapping[str, tuple[tuple[int, ...], str]]
    alike: int
    prefix_a: str = ""
    prefix_b: str = ""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.changed or self.only_a or self.only_b)

    def __repr__(self) -> str:
        return f"<WeightsComparison: {plural(len(self.changed), 'tensor')} changed, {self.alike:,} alike>"

    def __str__(self) -> str:
        from initcfg._api.weights.comparison_view import weights_view

        return render(weights_view(self))

    def _repr_html_(self) -> str:
        return in_html_lines(str(self))

    def to_html(self, path: str | Path | None = None, lang: str = "en") -> str:
        """The comparison as a page; see :meth:`Plan.to_html`."""
        from initcfg._api.weights.comparison_page import weights_page

        return weights_page(self, path, lang)

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON data."""

        def side(items: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, Any]:
            return {name: {"shape": list(shape), "dtype": dtype} for name, (shape, dtype) in items.items()}

        return {
            "same": self.same,
            "alike": self.alike,
            "changed": {name: each.to_json() for name, each in self.changed.items()},
            "only_a": side(self.only_a),
            "only_b": side(self.only_b),
            "prefix_a": self.prefix_a,
            "prefix_b": self.prefix_b,
        }


def compared_weights(a: OpenedCheckpoint, b: OpenedCheckpoint) -> WeightsComparison:
    """Compare the numbers of two checkpoints, tensor by tensor, a few megabytes at a time."""
    prefixes = prefixes_of(list(a.keys()), list(b.keys()))
    here, there = _named(a.keys(), prefixes.a), _named(b.keys(), prefixes.b)
    here = without_wrappers(here, there)
    there = without_wrappers(there, here)
    changed: dict[str, TensorChange] = {}
    both = [name for name in here if name in there]
    for name in both:
        found = _change(name, a, here[name], b, there[name])
        if found is not None:
            changed[name] = found
    return WeightsComparison(
        changed,
        {name: _side(a, key) for name, key in here.items() if name not in there},
        {name: _side(b, key) for name, key in there.items() if name not in here},
        len(both) - len(changed),
        prefixes.a,
        prefixes.b,
    )


def _side(reader: OpenedCheckpoint, key: str) -> tuple[tuple[int, ...], str]:
    shape, dtype = reader.info(key)
    return shape, dtype


def _named(keys: Iterable[str], prefix: str) -> dict[str, str]:
    """Keys by their names without a prefix; one that lacks it keeps its own, if that is free."""
    keys = list(keys)
    named = {key[len(prefix) :]: key for key in keys if key.startswith(prefix)}
    rest = (key for key in keys if not key.startswith(prefix))
    return {**named, **{key if key not in named else f"{key} (outside)": key for key in rest}}


def _change(name: str, a: OpenedCheckpoint, key: str, b: OpenedCheckpoint, other: str) -> TensorChange | None:
    """What differs of one tensor; None if nothing does."""
    infos = _side(a, key), _side(b, other)
    made = TensorChange(name, "changed", *infos)
    if infos[0][0] != infos[1][0]:
        return replace(made, status="shape")
    if problem := a.problem(key) or b.problem(other):
        return replace(made, status="unreadable", detail=why_unreadable(problem))
    try:
        alike = _alike(a, key, b, other)
        if alike and infos[0][1] == infos[1][1]:
            return None
        return replace(_measured(made, a, key, b, other), status="type" if alike else "changed")
    except CheckpointError as error:
        return replace(made, status="unreadable", detail=why_unreadable(error))
    except RuntimeError:
        return replace(made, status="unreadable", detail=f"torch cannot compute with {infos[0][1]}")


def _alike(a: OpenedCheckpoint, key: str, b: OpenedCheckpoint, other: str) -> bool:
    """Whether all bits are the same; of two data types, once the one is rounded to the other."""
    here, there = True, True
    for left, right in pairs_of(a, key, b, other):
        if left.dtype == right.dtype:
            if not same_bits(left, right):
                return False
            continue
        here = here and same_bits(left.to(right.dtype), right)
        there = there and same_bits(right.to(left.dtype), left)
        if not (here or there):
            return False
    return True


def _measured(
    made: TensorChange, a: OpenedCheckpoint, key: str, b: OpenedCheckpoint, other: str
) -> TensorChange:
    counts = [[0, 0], [0, 0]]
    elements = differing = 0
    exact = made.a[1] == made.b[1] and _is_whole(made.a[1])

    def counted() -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        nonlocal elements, differing
        for pair in pairs_of(a, key, b, other):
            elements += pair[0].numel()
            if exact:
                # Whole numbers may differ beyond what float64 holds.
                left, right = (bits_of(each).view(each.numel(), -1) for each in pair)
                differing += int((left != right).any(1).sum())
            for side, numbers in enumerate(map(wide, pair)):
                nan = int(numbers.isnan().sum())
                counts[0][side] += nan
                counts[1][side] += int((~numbers.isfinite()).sum()) - nan
            yield pair

    apart = distance(counted())
    detail = ""
    if not apart.start and apart.norm:
        detail = f"from zero, to a norm of {apart.norm:.2g}"
    elif not apart.differing and not _is_whole(made.a[1]):
        detail = (
            "the same numbers" if made.a[1] != made.b[1] else "only the sign of zeros, or the bits of NaN"
        )
    nan, inf = (tuple(each) for each in counts)
    return replace(
        made,
        change=apart.relative,
        distance=apart.norm,
        largest=apart.most,
        differing=apart.differing or differing,
        elements=elements,
        nan=(nan[0], nan[1]),
        inf=(inf[0], inf[1]),
        detail=detail,
    )


def _is_whole(dtype: str) -> bool:
    return "int" in dtype or dtype == "bool"
