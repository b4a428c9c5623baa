"""Load hooks in a part of a model: they run in the module that has them, wherever it stands there."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from initcfg._model import hooks_in
from initcfg._plan.assignment import Assignment
from initcfg._plan.loads import HookRun, Load
from initcfg.errors import PlanError
from initcfg.values import Hooked, Originals, Value


class PartHooks:
    """The load hooks of the whole model that a part runs again.

    Args:
        module: The part.
        loads: The accounts of the whole model's plan.
        compat: Whether it is a plan of what the original loads.
    """

    def __init__(self, module: nn.Module, loads: tuple[Load, ...], *, compat: bool) -> None:
        self._hooks = {inner: hooks_in(module, compat=compat, inner=inner) for inner in (False, True)}
        self._loads = loads
        # By rule and run: the module in the part.
        self._places: dict[tuple[str, HookRun], str] = {}

    def value(self, value: Value, there: Assignment, name: str) -> Value:
        """A value of the tensor ``there``, for the tensor ``name`` of the part."""
        if isinstance(value, Originals):
            return replace(value, values=tuple(self.value(each, there, name) for each in value.values))
        if not isinstance(value, Hooked):
            return value
        run = self._run_of(value)
        place = self._place(run, there.name, name)
        known = None if place is None else self._hooks[bool(run.path)].get(place)
        if place is None or known is None or not {*known.texts} <= {*run.hooks}:
            raise PlanError(
                f"{there.name!r} is made by load hooks of {_path(run) or 'the model'}, which is not whole in "
                "the part.",
                parameter=name,
                shape=there.shape,
                fix="Give the part that module with its hooks, or load what they make by a rule of its own.",
            )
        self._places[value.rule, run] = place
        return replace(value, name=_moved(value.name, run, place))

    def load(self, load: Load) -> Load:
        """An account with what its hooks do in the part."""
        places = [(run, self._places.get((load.rule, run))) for run in load.hooks]
        return replace(load, hooks=tuple(_run_at(run, place) for run, place in places if place is not None))

    def _run_of(self, value: Hooked) -> HookRun:
        runs = [run for load in self._loads if load.rule == value.rule for run in load.hooks]
        return next(run for run in runs if not run.path or value.name.startswith(f"{run.path}."))

    def _place(self, run: HookRun, there: str, name: str) -> str | None:
        """Where the module of a run stands in the part, by the names of one of its tensors there and here."""
        path = _path(run)
        inside = there[len(path) + 1 :] if path else there
        if name == inside:
            return ""
        return name[: -len(inside) - 1] if name.endswith(f".{inside}") else None


def _path(run: HookRun) -> str:
    return ".".join(filter(None, (run.owner, run.path)))


def _moved(name: str, run: HookRun, place: str) -> str:
    """A name within the owner of the rule, in the part; of hooks of that owner itself, names are its own."""
    if not run.path:
        return name
    return ".".join(filter(None, (place, name[len(run.path) :].lstrip("."))))


def _run_at(run: HookRun, place: str) -> HookRun:
    def moved(name: str) -> str:
        return _moved(name, run, place) if name else name

    start = f"{run.owner}." if run.owner else ""
    before = f"{place}." if place and not run.path else ""
    return replace(
        run,
        owner="" if run.path else place,
        path=place if run.path else "",
        given=tuple((moved(name), keys) for name, keys in run.given),
        versions=tuple((_moved(path, run, place), said) for path, said in run.versions),
        made=tuple((moved(name), moved(given), *rest) for name, given, *rest in run.made),  # type: ignore[misc]
        dropped=tuple(map(moved, run.dropped)),
        kept=tuple(before + moved(name.removeprefix(start)) for name in run.kept),
        inner=run.inner or bool(run.path),
    )
