"""What verifying finds: of each tensor, and of all of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from initcfg.errors import in_html_lines, plural, render
from initcfg.values import number_to_json

UNCHECKED = ("unknown", "unplanned")
"""What nothing could be compared with."""


@dataclass(frozen=True)
class Verified:
    """What became of one tensor.

    Attributes:
        name: Its canonical name.
        status: ``"initial"`` (it holds what it began with, bit for bit: its planned value, or what its source
            holds), ``"changed"``, ``"unknown"`` (nothing says what it began with), ``"missing"`` (the
            checkpoint lacks it), ``"unplanned"`` (the plan does), or ``"shape"`` (the shapes differ).
        change: ‖w − w₀‖ / ‖w₀‖, the norm of the change against that of what it began with; None where that is
            zero, or something is not finite.
        distance: ‖w − w₀‖, likewise.
        nan: How many of its elements are NaN.
        inf: How many are infinite.
        detail: What there is to say, in words.
    """

    name: str
    status: str
    change: float | None = None
    distance: float | None = None
    nan: int = 0
    inf: int = 0
    detail: str = ""


@dataclass(frozen=True, repr=False)
class Verification:
    """What became of each tensor of a checkpoint; printable.

    Attributes:
        tensors: One entry a tensor, in the plan's order.
        seed: The seed of the planned values; None where nothing is drawn.
        changed_files: Names of its files that hold other bytes than were written, by the digest that they
            say of themselves: also of tensors whose numbers no plan says.
    """

    tensors: tuple[Verified, ...]
    seed: int | None
    changed_files: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Verified:
        for each in self.tensors:
            if each.name == name:
                return each
        raise KeyError(name)

    def counts(self) -> dict[str, int]:
        """How many tensors have each status, and how many hold NaN or infinity."""
        found = Counter(each.status for each in self.tensors)
        found["not finite"] = sum(bool(each.nan or each.inf) for each in self.tensors)
        return dict(+found)

    @property
    def differs(self) -> bool:
        """Whether any tensor is not what it began as, or is not finite, or any file not what was written."""
        alike = ("initial", *UNCHECKED)
        differs = any(each.status not in alike or each.nan or each.inf for each in self.tensors)
        return differs or bool(self.changed_files)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Names of the tensors that nothing could be compared with."""
        return tuple(each.name for each in self.tensors if each.status in UNCHECKED)

    @property
    def exit_code(self) -> int:
        """0 if all is as it began, 1 if anything differs, 3 if some tensors could not be checked."""
        return 1 if self.differs else 3 if self.unchecked else 0

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {status}" for status, count in self.counts().items())
        return f"<Verification of {plural(len(self.tensors), 'tensor')}: {counts}>"

    def __str__(self) -> str:
        from initcfg._apply.verifying.view import verification_view

        return render(verification_view(self, full=False))

    def _repr_html_(self) -> str:
        return in_html_lines(str(self))

    def to_json(self) -> dict[str, Any]:
        """The verification as JSON data."""
        numbers = ("change", "distance")
        tensors = [
            {**asdict(each), **{name: number_to_json(getattr(each, name)) for name in numbers}}
            for each in self.tensors
        ]
        files = {"changed_files": list(self.changed_files)}
        return {"seed": self.seed, "counts": self.counts(), **files, "tensors": tensors}
