"""What a record amounts to: for each tensor a Value, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from initcfg._record.recording.aten import is_turned
from initcfg._record.recording.coverage import written_in_part
from initcfg._record.recording.formula import FormulaDraft, Identity, Slicer, Unspeakable, assign_owners
from initcfg._record.recording.layers import Layer, shown_in
from initcfg._record.recording.log import tensor_at
from initcfg._record.recording.recorder import Recorder
from initcfg._record.recording.regions import region_of
from initcfg._record.recording.storage import TrackedStorage, Use
from initcfg._record.recording.unwritten import unwritten_share
from initcfg._stream.writing import all_the_same
from initcfg.values import Constant, CopyOf, Value

K = TypeVar("K")
_NO_USES: frozenset[Use] = frozenset()


@dataclass(eq=False, slots=True)
class Outcome:
    """What became of one tensor. It does not change.

    Attributes:
        value: What it is to hold; None if that cannot be said. Of a draft, as if nothing shared its numbers.
        reason: Why it cannot be said; nothing of what nobody wrote.
        layer: Its last write over all of it, with who wrote; None if nobody did.
        sources: What the numbers of a named value come from; tensors with the very same are copies.
        draft: The formula that it is, whose random parts have no names yet.
        written: Whether the recorded code wrote it at all.
        unwritten: Whether what it wrote comes from memory that nobody wrote, which counts as nothing written.
        partly: Whether it was written in a part only.
        uses: The draws that it shows, each with its form.
        change: What changed it last after that write, and where: ``"mul_ at model.py:8"``.
    """

    value: Value | None
    reason: str | None = None
    layer: Layer | None = None
    sources: tuple[object, ...] = ()
    draft: FormulaDraft | None = None
    written: bool = True
    unwritten: bool = False
    partly: bool = False
    uses: frozenset[Use] = frozenset()
    change: str = ""

    @property
    def code(self) -> str:
        """The code that wrote it: ``"Conv2d.reset_parameters"``."""
        return "code" if self.layer is None else self.layer.code

    @property
    def leaves(self) -> frozenset[Identity]:
        """What its random parts come from, if it is a formula."""
        return frozenset(() if self.draft is None else self.draft.leaves)

    @property
    def told(self) -> str:
        """The code that wrote it, and what changed that since."""
        return f"{self.code}{self.then}"

    @property
    def then(self) -> str:
        """What changed it since it was written: ``", then mul_ at model.py:8"``; empty if nothing did."""
        return f", then {self.change}" if self.change else ""

    @property
    def call(self) -> dict[str, object] | None:
        """The function that it called, with arguments: ``{"type": "kaiming_uniform_", "a": 2.236}``."""
        return None if self.layer is None or self.layer.call["type"] == "?" else self.layer.call


def outcomes_of(recorder: Recorder, tensors: Mapping[K, torch.Tensor]) -> dict[K, Outcome]:
    """The outcomes of all the tensors that there are, once the record is complete.

    Where one draw shows in several forms (as it is and times two, say), each form has a name of its own,
    and yet they share their numbers: then only what was drawn keeps its name, and the rest are formulas.
    """
    recorder.see_unseen()
    shared: set[int] = set()
    usual = {key: _usual_outcome(recorder, tensor) for key, tensor in tensors.items()}
    while True:
        found = {
            key: each
            if each is not None and not (shared and _is_shared(each.uses, shared))
            else _outcome(recorder, tensors[key], shared)
            for key, each in usual.items()
        }
        forms: dict[int, set[tuple[int, ...]]] = {}
        for each in found.values():
            for root, form in each.uses:
                forms.setdefault(root, set()).add(form)
        more = {root for root, each in forms.items() if len(each) > 1}
        if more <= shared:
            return {
                key: each if each is usual[key] else _with_share(recorder, tensors[key], each)
                for key, each in found.items()
            }
        shared |= more


def _is_shared(uses: Iterable[Use], shared: set[int]) -> bool:
    """Whether a draw shows elsewhere in another form than in the one that is used."""
    return any(root in shared and form != (root,) for root, form in uses)


def _usual_outcome(recorder: Recorder, tensor: torch.Tensor) -> Outcome | None:
    """The outcome of a tensor that one write filled with a value, as nearly all do; None of any other."""
    tracked = recorder.tracked(tensor)
    if tracked is None or len(tracked.layers) != 1 or not tracked.writers or recorder.log.looked:
        return None
    (layer,), last = tracked.layers, tracked.writers[-1]
    known = layer.known
    if (
        not isinstance(known, Value)
        or not last.overwrites
        or last.reads
        or tracked.exposed
        or tracked.foreign
        or layer.region != region_of(tensor)
        or is_turned(tensor)
    ):
        return None
    root = layer.root
    uses = frozenset(((id(root), (id(known),)),)) if root is not None and root.random else _NO_USES
    return Outcome(known, None, layer, (known,), uses=uses, change=layer.change)


def _outcome(recorder: Recorder, tensor: torch.Tensor, shared: set[int]) -> Outcome:
    tracked = recorder.tracked(tensor)
    if tracked is None:
        # What cannot be written, a plan does not speak of.
        other = type(tensor) not in (torch.Tensor, torch.nn.Parameter) and tensor.layout is torch.strided
        return Outcome(None, f"it is a {type(tensor).__name__}", written=other and not tensor.is_meta)
    if tracked.foreign:
        recorder.track_foreign(tensor)
    region = region_of(tensor)
    shown, based = shown_in(tracked.layers, region)
    layer = shown[0] if based else tracked.layers[-1] if tracked.layers else tracked.made
    if is_turned(tensor):
        return Outcome(None, "it shows its memory conjugated or negated", layer)
    if tracked.exposed:
        return Outcome(None, "its memory was handed out (numpy(), data_ptr() or apply_())", layer)
    if not tracked.writers and not tracked.foreign:
        return Outcome(None, layer=layer, written=False)
    if (seen := recorder.log.seen(tracked)) is not None:
        return Outcome(None, f"code looks at its random numbers ({seen})", layer)
    known = tracked.snapshot(region, exact=False)
    uses = frozenset() if known is None else frozenset(known.uses)
    if known is not None and not _is_shared(uses, shared):
        sources = () if known.partial else known.sources
        change = next((each.change for each in reversed(shown) if each.change), "")
        return Outcome(known.value, None, layer, sources, uses=uses, change=change)
    try:
        draft, problem = Slicer(shared).run(tracked, region), None
    except Unspeakable as error:
        draft, problem = None, str(error)
    if draft is None or not draft.leaves:
        constant = None if recorder.is_random(tensor) else _constant(tracked, tensor)
        if constant is not None:
            return Outcome(constant, None, layer)
    if draft is None:
        return Outcome(None, problem, layer)
    return Outcome(draft.alone(), None, layer, draft=draft, uses=frozenset(draft.uses))


def _with_share(recorder: Recorder, tensor: torch.Tensor, outcome: Outcome) -> Outcome:
    """The outcome with how much of it is written, or nothing but that where nothing is."""
    tracked = recorder.tracked(tensor)
    if tracked is None or not recorder.asks_for_unwritten:
        return outcome
    region = region_of(tensor)
    share = unwritten_share(recorder, tracked, region)
    if share == "whole":
        return Outcome(None, layer=outcome.layer, written=False, unwritten=True)
    began = tracked.foreign or tracked.exposed or (tracked.before and tracked not in recorder.unwritten)
    partly = share == "part" or (not began and written_in_part(tracked.layers, region))
    return replace(outcome, partly=True) if partly else outcome


def _constant(tracked: TrackedStorage, tensor: torch.Tensor) -> Constant | None:
    """The one number that a tensor holds everywhere, if nothing about it is undone."""
    if tracked.pending or tensor.numel() == 0 or tensor.is_complex() or tracked.storage is None:
        return None
    with torch.no_grad():
        here = tensor_at(tracked.storage, region_of(tensor))
        first = here.flatten()[0].item()
        # As long as it is a number that a float can hold; NaN is none.
        same = float(first) == first and all_the_same(here)
        return Constant(float(first)) if same else None


def named_values(outcomes: Iterable[tuple[str, Outcome]]) -> dict[str, Value]:
    """The values of the tensors that have one, by name; what is drawn once is drawn under one name."""
    found = {name: each for name, each in outcomes if each.value is not None}
    first: dict[tuple[int, ...], str] = {}
    for name in sorted(found, key=str.encode):
        if found[name].sources:
            first.setdefault(tuple(map(id, found[name].sources)), name)
    drafts = {name: each.draft for name, each in found.items() if each.draft is not None}
    owners = assign_owners(first.items(), drafts)
    values: dict[str, Value] = {}
    for name, each in found.items():
        assert each.value is not None
        source = first.get(tuple(map(id, each.sources)), name)
        if each.draft is not None:
            values[name] = each.draft.named(name, owners)
        else:
            same = source == name or not each.value.random
            values[name] = each.value if same else CopyOf(source, each.value)
    return values
