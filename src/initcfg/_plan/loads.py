"""The account of a checkpoint that a rule loads: what it provides, what it does not, what was made to fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from initcfg._checkpoints import SourceState
from initcfg._plan.as_json import record_to_json
from initcfg._plan.frozen import Frozen
from initcfg._plan.later import later_field
from initcfg.values import Misfit, record

_NOT_IN_JSON = ("given", "given_base", "state")

# What a parametrization stores a weight as.
_ORIGINAL = re.compile(r"parametrizations\.(\w+)\.original\d*$")


def weight_of(name: str) -> str:
    """The weight that a stored tensor is all or part of: itself, unless a parametrization stores it.

    Example:
        >>> from initcfg._plan.loads import weight_of
        >>> weight_of("fc.parametrizations.weight.original0"), weight_of("fc.bias")
        ('fc.weight', 'fc.bias')
    """
    return _ORIGINAL.sub(r"\1", name)


@dataclass(frozen=True)
class HookRun(Frozen):
    """Load hooks of a module that run over what a checkpoint has for it, and for what is below it.

    Names and paths are those within the module that owns the rule, but ``owner`` and ``kept``.

    Attributes:
        owner: The module that owns the rule.
        path: The module with the hooks.
        hooks: The hooks, each with its file and line.
        given: What they find: names, each with its keys in the checkpoint.
        versions: What the checkpoint says of modules: path, and JSON text.
        made: What they gave to other tensors than was there, or changed: name, the name that it came under
            (empty where they computed it), shape, data type.
        dropped: Names that they took away.
        kept: Tensors of the model that they left as they are.
        inner: Whether it only lies in what is loaded into: its own ``load_state_dict`` does not run.
        on_shapes: Whether they ran on shapes alone; else they needed the numbers to say what they do.
    """

    owner: str
    path: str
    hooks: tuple[str, ...]
    given: tuple[tuple[str, tuple[str, ...]], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    made: tuple[tuple[str, str, tuple[int, ...], str], ...] = ()
    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    on_shapes: bool = True
    inner: bool = False


@dataclass(frozen=True)
class Load(Frozen):
    """A checkpoint that a rule loads.

    Names are those of the whole model, keys those of the checkpoint.

    Attributes:
        rule: Path of the rule.
        source: What the values of the plan call the checkpoint.
        problem: Why it could not be opened while planning; None if it could.
        loaded: Number of tensors that it provides, adapted ones too.
        missing: Tensors of the module that it does not hold; the next rule below has them.
        unexpected: Its keys that the module does not know.
        mismatched: Tensors that do not fit: name, shape here, shape there.
        adapted: Tensors that were made to fit: name, and how.
        excluded: Tensors that the rule leaves out, or drops.
        renamed: Keys that ``rename`` changed: key, and the name that it has in the module.
        narrowed: Tensors whose numbers applying looks at first, since their type here may not hold them.
        converted: Data types that change: type there, type here, number of tensors.
        hints: What could be meant, where little fits.
        hooks: Load hooks of the model that ran, and what they did.
        wanted: Number of parameters that it is to provide: all below the rule's owner, but for those that the
            rule excludes or ignores.
        ignored: Tensors and keys of which the rule says that they may be missing, or not used.
        buffers: Those of the missing and mismatched tensors that are buffers.
        tied: Tensors that have several keys, one for each of their names; applying compares these.
        alarms: What must be said: numbers that are copied as they are, states that are not set.
        warning: In one line, that it leaves much as it was, or holds what nothing took.
        remarks: What of the rule did nothing, and need not.
        idle: Adaptations that were asked for and did nothing.
        wrapping: What was taken off on the way to the tensors: ``("state_dict",)``.
        checkpoint: The checkpoint as it was written; None if it was given in code.
        sha256: Digest of the file, where it is known; of a large one it is read when it is first asked for.
        undigested: Why there is none, though there should be: the file has changed since it was loaded.
        expected: Digest that the rule demands.
        part: Which of several states in one file.
        offline: Whether nothing may be fetched.
        finite: Whether NaN and infinity are an error.
        mapped: Whether its tensors are not to be copied, but to lie in the file's own pages.
        lora: It is an adapter, merged into a base: which, if another rule or this one says it, and the alpha
            that the rule says.
        given: A state_dict that was given in code; JSON cannot carry it.
        given_base: The base, if that was given in code.
        state: What the files were when the plan was made; on this machine only.
    """

    rule: str
    source: str
    problem: str | None = None
    loaded: int = 0
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    adapted: tuple[tuple[str, str], ...] = ()
    excluded: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    converted: tuple[tuple[str, str, int], ...] = ()
    narrowed: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    hooks: tuple[HookRun, ...] = ()
    wanted: int = 0
    ignored: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()
    tied: tuple[tuple[str, tuple[str, ...]], ...] = ()
    alarms: tuple[str, ...] = ()
    warning: str | None = None
    remarks: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    wrapping: tuple[str, ...] = ()
    checkpoint: str | None = None
    sha256: str | None = later_field()
    undigested: str | None = later_field()
    expected: str | None = None
    part: str | None = None
    offline: bool | None = None
    finite: bool = False
    mapped: bool = False
    lora: tuple[str | None, float | None] | None = None
    given: Any = field(default=None, compare=False, repr=False)
    given_base: Any = field(default=None, compare=False, repr=False)
    state: SourceState | None = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """A copy elsewhere has what is read here, and finds other files."""
        return {**{each.name: getattr(self, each.name) for each in fields(self)}, "state": None}

    @property
    def not_given(self) -> tuple[str, ...]:
        """Parameters that are missing or do not fit, and are not ignored."""
        silent = {*self.ignored, *self.buffers}
        wrong = (*self.missing, *(name for name, _, _ in self.mismatched))
        return tuple(name for name in wrong if name not in silent)

    @property
    def untaken(self) -> tuple[str, ...]:
        """Keys that the rule neither uses nor ignores."""
        ignored = set(self.ignored)
        return tuple(key for key in self.unexpected if key not in ignored)

    def to_json(self) -> dict[str, Any]:
        """The account as JSON data; what was given in code stays behind."""
        return record_to_json(
            self,
            without=_NOT_IN_JSON,
            unless_empty=("lora", "mapped", "narrowed", "idle", "alarms", "undigested"),
        )

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Load:
        """The account that :meth:`to_json` wrote.

        Raises:
            PlanError: It is none.
        """
        if not isinstance(data, Mapping):
            raise Misfit("The account of a checkpoint is an object.")
        # Plans of earlier versions say less: their sources are the checkpoints.
        return record(Load, {"checkpoint": data.get("source"), **data}, but=_NOT_IN_JSON)


@dataclass(frozen=True)
class Loaded(Frozen):
    """What a tensor got from a checkpoint.

    Attributes:
        source: What the plan calls the checkpoint.
        keys: The keys that were read.
        dtype: Their data type there.
        adapted: What was done to make them fit, if anything.
        sha256: Digest of the file, where it is known.
        non_finite: How many numbers of the tensor are NaN or infinite; None if they were not read.
        mapped: Whether it was not copied: its memory is the file's own pages.
        copied: Why it was copied, though it was to be mapped.
    """

    source: str
    keys: tuple[str, ...]
    dtype: str
    adapted: str | None = None
    sha256: str | None = None
    non_finite: int | None = 0
    mapped: bool = False
    copied: str | None = None
