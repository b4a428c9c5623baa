"""Whether the numbers of a checkpoint are weights: of which type, and whether they are quantized.

Whole numbers, truth values and floats of a byte in place of real numbers are most often quantized weights
whose scales are elsewhere: copied as they are, they would be wrong by a factor, and nothing would say so.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from initcfg._checkpoints import OpenedCheckpoint
from initcfg._plan.pretrained.destinations import Destination
from initcfg._plan.pretrained.permits import Permits
from initcfg._plan.pretrained.quantized import (
    Contents,
    Quantized,
    is_packed_or_scaled,
    quantized,
    quantized_in_place,
)
from initcfg._rules.initializers import Permission, PretrainedInit
from initcfg._stream.writing import Lost, lost_in_cast, may_lose
from initcfg.errors import CheckpointError, plural
from initcfg.values import AdaptationStep, dtype_name

Keys = tuple[str, ...]
Found = tuple[Keys, tuple[AdaptationStep, ...]]


class Numbers:
    """The data types of one checkpoint, held against those of the tensors that it fills."""

    def __init__(
        self,
        initializer: PretrainedInit,
        opened: OpenedCheckpoint,
        named: Mapping[str, Keys],
        destinations: Collection[str],
        permits: Permits,
    ) -> None:
        self._initializer, self._opened, self._permits, self._named = initializer, opened, permits, named
        # A scale that the module has, too, is one of its weights.
        own = {key for name in destinations for key in named.get(name, ())}
        self._contents = Contents(
            opened.tensors.keys() - own,
            lambda key: tuple(opened.info(key).shape),
            lambda key: opened.info(key).dtype,
            self._number,
        )
        # By type there and here: how many tensors.
        self.converted: Counter[tuple[str, str]] = Counter()
        # Scales and the like, which belong to a tensor that was taken.
        self.used: set[str] = set()
        # Tensors of which applying looks at each number, since the type here may not hold it.
        self.narrowed: list[str] = []
        self._quantized: list[tuple[Destination, Quantized]] = []
        self._casts: list[_Cast] = []
        self._unreadable: list[tuple[Destination, CheckpointError]] = []
        # What the original copies, though the numbers mean, or become, something else: name, and what it is.
        self._copied: list[tuple[str, str]] = []
        self._in_place: list[tuple[str, str]] = []

    def _number(self, key: str) -> float:
        tensor = self._opened.read(key)
        return 0.0 if tensor.is_meta else float(tensor.flatten()[0])

    def _quantized_at(self, key: str, block: Sequence[int] | None, *, asked: bool) -> Quantized | None:
        found = quantized(self._contents, key, block)
        said = self._said_block if asked and found is not None and block is None else None
        other = None if said is None else quantized(self._contents, key, said)
        return other if other is not None and other.step is not None else found

    @functools.cached_property
    def _said_block(self) -> tuple[int, int] | None:
        return self._opened.scale_block()

    def keys_for(self, here: Destination, keys: Keys, permissions: Sequence[Permission]) -> Found | None:
        """The keys from which a tensor is made, and the step that does it; None where that is an error.

        Without ``keys``, what stands in their place, or nothing.
        """
        error = next((error for key in keys if (error := self._opened.problem(key)) is not None), None)
        if error is not None and not self._opened.info(keys[0]).dtype.startswith("q"):
            self._unreadable.append((here, error))
            return None
        if not _is_real(here.entry.tensor.dtype):
            return keys, ()
        allowing = [each for each in permissions if each.kind == "dequantize"]
        block = next((each.options["block"] for each in allowing if "block" in each.options), None)
        if keys:
            found = [self._quantized_at(key, block, asked=bool(allowing)) for key in keys]
        else:
            found = [quantized_in_place(self._contents, here.name, self._named)]
        known = [each for each in found if each is not None]
        if not known:
            return keys, ()
        steps = {each.step for each in known}
        if len(known) < len(found) or len(steps) > 1 or None in steps or not allowing:
            self._quantized.append((here, next((each for each in known if each.step is None), known[0])))
            return None
        self._permits.act(allowing)
        self.used.update(key for each in known for key in (*each.keys, *each.further))
        if here.entry.tensor.dtype == torch.float16:
            # Scales of its format may be for numbers that only wider types hold.
            self.narrowed.append(here.name)
        step = known[0].step
        assert step is not None
        return tuple(key for each in known for key in each.keys), (step,)

    def note_copied(self, here: Destination, keys: Keys) -> None:
        """Under ``compat``: note where the original copies numbers that are no weights, or change."""
        dtype = here.entry.tensor.dtype
        if not keys:
            packed = quantized_in_place(self._contents, here.name, self._named) if _is_real(dtype) else None
            if packed is not None:
                self._in_place.append((here.name, f"{packed.format}: {_told(self._opened, packed)}"))
        for key in keys:
            there, whole = self._opened.info(key).dtype, not (dtype.is_floating_point or dtype.is_complex)
            known = quantized(self._contents, key, None) if _is_real(dtype) else None
            what = f"{there} there, {dtype_name(dtype)} here"
            if known is not None:
                self._copied.append((here.name, f"{what}; {known.format}"))
            elif not whole and _needs_cast(there, dtype):
                self._copied.append((here.name, what))
            elif self._may_lose(key, dtype):
                lost = lost_in_cast(self._opened.read(key), dtype) if whole else Lost()
                self._copied += (
                    [(here.name, f"{what}; it does not hold {lost.first}")] if lost.numbers else []
                )
                self.narrowed += [] if whole else [here.name]

    def alarms(self) -> list[str]:
        """What is copied, or left, under ``compat`` though it is quantized or changes, in words."""
        found: list[str] = []
        for what, noted in (
            ("copied as it is, as in the original", self._copied),
            ("quantized there, and left alone as in the original", self._in_place),
        ):
            if noted:
                (name, about), *others = noted
                more = f" and {plural(len(others), 'other')}" if others else ""
                found.append(f"{what}: {name!r}{more} ({about})")
        return found

    def fit(self, here: Destination, keys: Keys, permissions: Sequence[Permission], *, compat: bool) -> bool:
        """Whether the types there may become the type here; what changes is counted."""
        dtype = here.entry.tensor.dtype
        types = {self._opened.info(key).dtype for key in keys}
        if compat or dtype.is_floating_point or dtype.is_complex:
            return self.fit_types(here, types, permissions, compat=compat)
        # Whole numbers and truth values are few, in buffers: whether they stay what they are is looked up.
        losing = [key for key in keys if self._may_lose(key, dtype)]
        if losing and not self._permits.act(permissions, "dtype"):
            for key in losing:
                lost = lost_in_cast(self._opened.read(key), dtype)
                if lost.numbers:
                    self._casts.append(_Cast(here, self._opened.info(key).dtype, lost))
                    return False
            self.narrowed.append(here.name)
        self._count(types, dtype)
        return True

    def _may_lose(self, key: str, dtype: torch.dtype) -> bool:
        found = getattr(torch, self._opened.info(key).dtype, None)
        return isinstance(found, torch.dtype) and may_lose(found, dtype)

    def fit_types(
        self, here: Destination, types: Collection[str], permissions: Sequence[Permission], *, compat: bool
    ) -> bool:
        """Whether these types may become the type here; what changes is counted."""
        dtype = here.entry.tensor.dtype
        wrong = sorted(name for name in types if _needs_cast(name, dtype))
        if not compat:
            known = [found for name in types if isinstance(found := getattr(torch, name, None), torch.dtype)]
            narrowed = any(may_lose(found, dtype) for found in known)
            if (wrong or narrowed) and not self._permits.act(permissions, "dtype"):
                if wrong:
                    asked = any(each.kind == "dequantize" for each in permissions)
                    self._casts.append(_Cast(here, wrong[0], dequantize=asked))
                    return False
                self.narrowed.append(here.name)
        self._count(types, dtype)
        return True

    def _count(self, types: Collection[str], dtype: torch.dtype) -> None:
        self.converted.update((there, dtype_name(dtype)) for there in set(types) - {dtype_name(dtype)})

    def check(self) -> None:
        """CheckpointError if something is quantized, or would be cast without being asked for."""
        label = self._initializer.label
        if self._quantized:
            here, found = self._quantized[0]
            count = len(self._quantized)
            more = f" and {plural(count - 1, 'other')}" if count > 1 else ""
            raise CheckpointError(
                f"{label!r} holds {here.name!r}{more} quantized ({found.format}): "
                f"{_told(self._opened, found)}, and {dtype_name(here.entry.tensor.dtype)} here.",
                fix=_remedy(found),
                **_about(here),
            )
        if self._unreadable:
            here, error = self._unreadable[0]
            error.parameter, error.shape = here.name, here.shape
            error.fix = f"{error.fix} Or exclude it."
            raise error
        if self._casts:
            raise self._casts[0].error(label, len(self._casts) - 1)


@dataclass(frozen=True)
class _Cast:
    """A cast that nobody asked for: of which type, and what it would change, as far as that is known."""

    here: Destination
    there: str
    lost: Lost | None = None
    dequantize: bool = False

    def error(self, label: str, others: int) -> CheckpointError:
        here, name = self.here, self.here.name
        more = f", and {plural(others, 'other')} likewise" if others else ""
        problem = (
            f"{label!r} has {name!r} as {self.there}, and it is {dtype_name(here.entry.tensor.dtype)} here"
        )
        if self.lost is not None:
            problem += f", which does not hold {self.lost.first}"
            problem += f" and {plural(self.lost.numbers - 1, 'other number')} of it" * (self.lost.numbers > 1)
        problem += f"{more}: such a cast must be asked for."
        fix = f"Exclude it, or ask for the cast, if it is meant: adapt={{{name!r}: 'dtype'}}."
        if is_packed_or_scaled(self.there) and _is_real(here.entry.tensor.dtype):
            scales = "No scale stands beside it (weight_scale, weight_scale_inv, SCB, ...)"
            why = ", so that there is nothing to dequantize it with" if self.dequantize else ""
            fix = f"{scales}{why}. {fix}"
        return CheckpointError(problem, fix=fix, **_about(here))


def _about(here: Destination) -> dict[str, Any]:
    return {"parameter": here.name, "shape": here.shape}


def _told(opened: OpenedCheckpoint, found: Quantized) -> str:
    first, *beside = found.keys
    told = f"{first!r} is {opened.info(first).dtype} there"
    return told + (f", with {', '.join(map(repr, beside))} beside it" if beside else "")


def _remedy(found: Quantized) -> str:
    if found.step is not None:
        return "Ask for numbers times scales: adapt='dequantize'. Or exclude it."
    if found.block:
        return "Say how many rows and columns share a scale: adapt=dict(type='dequantize', block=[64, 64])."
    return "Dequantize it with the library that made it, and give what that saves; or exclude it."


def _is_real(dtype: torch.dtype) -> bool:
    """Whether a type is for weights."""
    return not is_packed_or_scaled(dtype_name(dtype))


def _needs_cast(there: str, here: torch.dtype) -> bool:
    """Whether numbers of that type may mean something else in this one."""
    found = getattr(torch, there, None)
    if isinstance(found, torch.dtype) and _rank(found) > _rank(here):
        return True
    # Truth values and whole numbers are so in each other's place; in a float of a byte they are not.
    if not (here.is_floating_point or here.is_complex):
        return False
    whole = isinstance(found, torch.dtype) and not (found.is_floating_point or found.is_complex)
    return whole or (is_packed_or_scaled(there) and _is_real(here))


def _rank(dtype: torch.dtype) -> int:
    """Truth values, whole numbers, real ones, complex ones: each holds what is before it."""
    if dtype.is_complex:
        return 3
    return 2 if dtype.is_floating_point else 0 if dtype == torch.bool else 1
