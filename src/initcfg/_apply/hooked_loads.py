"""Load hooks of a model when its plan is carried out: they run on the numbers, before the first write.

What they do must be what they did when the plan was made; the tensors that they computed wait here until they
are written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping

import torch

from initcfg._checkpoints import OpenedCheckpoint
from initcfg._model import HookFailed, HookOutcome, Names, doors, hooks_in, run_load_hooks
from initcfg._plan import HookRun, Load, Plan, hook_error, made_by_hooks, read_keys
from initcfg._record import waits
from initcfg.errors import ApplyError, CheckpointError
from initcfg.values import Hooked, Keep

Around = Callable[[str], contextlib.AbstractContextManager[object]]


class HookedLoads:
    """What load hooks make of the checkpoints of one plan."""

    def __init__(self, plan: Plan, names: Names) -> None:
        self._plan, self._names = plan, names
        self._runs = {load.rule: (load, load.hooks) for load in plan.loads if load.hooks}
        # By rule and name. Of hooks that draw, they are made when they are written.
        self._made: dict[tuple[str, str], torch.Tensor] = {}
        self._random: set[tuple[str, str]] = set()

    def check(self, open_load: Callable[[str], OpenedCheckpoint]) -> None:
        """Run all, and compare with the plan.

        Raises:
            CheckpointError: They do something else with these numbers, or fail.
        """
        for load, runs in self._runs.values():
            opened = open_load(load.source)
            for run in runs:
                with doors.code_apart(files=True):
                    outcome = self._outcome(load, run, opened)
                self._compare(load, run, outcome)
                for name, filled in outcome.filled.items():
                    if filled.given is None:
                        self._made[load.rule, name] = filled.tensor
                        self._random.update([(load.rule, name)] if outcome.random else ())

    def shape(self, value: Hooked) -> tuple[int, ...]:
        """The shape of what hooks computed for a tensor."""
        return tuple(self._found(value).shape)

    def tensor(self, value: Hooked, opened: OpenedCheckpoint, around_code: Around) -> torch.Tensor:
        """What hooks computed for a tensor; those that draw do it now, in the context for their module."""
        place = value.rule, value.name
        if place in self._random:
            load, run = self._runs[value.rule][0], self._run_of(value)
            assert run is not None
            with around_code(run.owner or run.path):
                outcome = self._outcome(load, run, opened)
            for name, filled in outcome.filled.items():
                self._made[value.rule, name] = filled.tensor
                self._random.discard((value.rule, name))
        return self._found(value)

    def _found(self, value: Hooked) -> torch.Tensor:
        place = value.rule, value.name
        if place not in self._made:
            raise ApplyError(
                f"The load hooks that make {value.name!r} did not run: the plan does not say how.",
                where=value.rule,
                fix="Plan the model again.",
            )
        return self._made[place]

    def text(self, value: Hooked) -> str:
        """Which hooks made a value, for a person."""
        run = self._run_of(value)
        return "" if run is None else f"by {', '.join(run.hooks)}"

    def _run_of(self, value: Hooked) -> HookRun | None:
        runs = self._runs[value.rule][1] if value.rule in self._runs else ()
        return next((each for each in runs if _is_in(value.name, each.path)), None)

    def _outcome(self, load: Load, run: HookRun, opened: OpenedCheckpoint) -> HookOutcome:
        owner = self._names.module_of.get(run.owner)
        compat = self._plan.compat is not None
        hooks = {} if owner is None else hooks_in(owner, compat=compat, inner=run.inner)
        if run.path not in hooks:
            missing = run.owner or "the model" if owner is None else f"{run.path or run.owner or 'the model'}"
            raise ApplyError(
                f"The plan counts on load hooks of {missing!r}, and this model has none there.",
                where=load.rule,
                fix="Plan this model.",
            )
        versions = {path: json.loads(said) for path, said in run.versions}
        try:
            given = {name: read_keys(opened, keys) for name, keys in run.given}
        except KeyError as error:
            raise CheckpointError(
                f"The checkpoint {opened.name!r} has no tensor {error.args[0]!r} any more.", fix="Plan again."
            ) from None
        try:
            return run_load_hooks(run.path, hooks, given, versions, compat=compat)
        except HookFailed as error:
            raise hook_error(error, opened.name) from error

    def _compare(self, load: Load, run: HookRun, outcome: HookOutcome) -> None:
        planned, found = dict(_by_name(run.made)), dict(_by_name(made_by_hooks(outcome)))
        for name in [*planned, *found]:
            if planned.get(name) != found.get(name):
                raise CheckpointError(
                    f"On the numbers of the checkpoint, load hooks give {name!r} "
                    f"{_told(found.get(name))}; in the plan it is {_told(planned.get(name))}.",
                    where=load.rule,
                    fix=f"Look at what they decide by: {', '.join(run.hooks)}. Or exclude the tensor.",
                )
        if sorted(run.dropped) != sorted(outcome.dropped):
            differing = sorted({*run.dropped} ^ {*outcome.dropped})
            raise CheckpointError(
                f"On the numbers of the checkpoint, load hooks take away other keys than in the plan: "
                f"{', '.join(differing[:3])}.",
                where=load.rule,
                fix=f"Look at what they decide by: {', '.join(run.hooks)}.",
            )
        self._check_own(load, run, outcome)

    def _check_own(self, load: Load, run: HookRun, outcome: HookOutcome) -> None:
        """Numbers of the model's own that hooks computed with must be those that the model has in the end."""
        items = {**self._plan.parameters, **self._plan.buffers}
        for name, tensor in outcome.own.items():
            entry = self._names.entries.get(id(tensor))
            item = None if entry is None else items.get(entry.name)
            kept = item is None or isinstance(item.value, Keep)
            if not kept or tensor.is_meta or waits(tensor):
                raise CheckpointError(
                    f"Load hooks compute with {name!r} of the model, which the checkpoint does not give, and "
                    "which has its numbers only when the plan is carried out.",
                    where=load.rule,
                    fix=f"Exclude what they compute, or load by load_state_dict afterwards: "
                    f"{', '.join(run.hooks)}.",
                )


def _by_name(made: tuple[tuple[str, str, tuple[int, ...], str], ...]) -> Mapping[str, tuple[object, ...]]:
    return {name: rest for name, *rest_ in made if (rest := tuple(rest_))}


def _told(found: tuple[object, ...] | None) -> str:
    if found is None:
        return "what the checkpoint has"
    given, shape, dtype = found
    return f"what came as {given!r}" if given else f"{dtype} of shape {shape}"


def _is_in(name: str, path: str) -> bool:
    return not path or name.startswith(path + ".")
