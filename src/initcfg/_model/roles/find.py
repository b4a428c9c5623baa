"""From a model to its roles: as declared, else seen in its graph, else guessed from names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from initcfg._model.names import Names, named_tensors, unwrapped
from initcfg._model.roles.declared import declared_roles
from initcfg._model.roles.examples import arguments_of
from initcfg._model.roles.facts import ROLE_NAMES, Roles, TensorRole
from initcfg._model.roles.forward import watched_forward
from initcfg._model.roles.guessed import guessed_roles
from initcfg._model.roles.seen import roles_in
from initcfg.errors import InitcfgError, RoleError, nearest

_FORM = 'Write roles=dict(residual_out=["*.c_proj.weight"], blocks="transformer.h").'


def find_roles(model: nn.Module, *, example: Any = None, declared: Any = None) -> Roles:
    """The roles of a model's tensors: as declared, else seen in its graph, else guessed from names.

    The model is not run and not changed: a copy of it without memory is.

    Args:
        example: The arguments of one call: a tensor, a tuple, a dict, or a function that gives these; not
            needed for models of timm, transformers and torchvision.
        declared: What a person says: a dict of globs, a function from a name to its roles, or ``"names"``
            to guess without looking. Roles that were found before are the answer.

    Raises:
        RoleError: What is declared is wrong, no example input is known, or the model does not run on the one
            that was given.
    """
    if isinstance(declared, Roles):
        return declared
    names = named_tensors(model)
    names.refuse_lazy()
    if declared == "names":
        return guessed_roles(model, names, "as asked")
    stated = _declared(model, names, declared)
    if stated is None:
        return _seen(model, names, arguments_of(model, example), given=example is not None)
    try:
        arguments = arguments_of(model, example)
    except RoleError:
        if example is not None:
            raise
        # What is declared is all that is known.
        return stated
    blocks = isinstance(declared, Mapping) and ("blocks" in declared or "layers" in declared)
    return _together(stated, _seen(model, names, arguments, given=example is not None), blocks=blocks)


def _seen(model: nn.Module, names: Names, arguments: Any, *, given: bool) -> Roles:
    try:
        graph = watched_forward(model, names, arguments)
    except Exception as error:
        of_ours = isinstance(error, InitcfgError)
        first = next(iter((error.problem if of_ours else str(error)).strip().splitlines()), "")[:200]
        why = first if of_ours else f"its forward raised {type(error).__name__}: {first}"
        if not given:
            return guessed_roles(model, names, why)
        # Guesses would hide that the example is wrong.
        raise RoleError(
            f"The {type(unwrapped(model)).__name__} does not run on the example that was given: {why}",
            fix="Give the arguments of one call of the model; or no example, and roles, or roles='names'.",
        ) from error
    return roles_in(graph, [entry.name for entry in names.parameters])


def _declared(model: nn.Module, names: Names, declared: Any) -> Roles | None:
    if declared is None:
        return None
    if isinstance(declared, Mapping):
        return declared_roles(model, declared)
    if isinstance(declared, Callable):
        return _by_function(names, declared)
    raise RoleError(f"roles must be a dict, a function or 'names', not {declared!r}.", fix=_FORM)


def _by_function(names: Names, function: Callable[[str], Any]) -> Roles:
    tensors = {}
    for entry in names.parameters:
        try:
            answer = function(entry.name)
        except Exception as error:
            raise RoleError(
                f"roles={getattr(function, '__name__', function)!r} failed: {type(error).__name__}: {error}.",
                parameter=entry.name,
                fix="It takes the name of a parameter, and returns a role, a list of roles, or None.",
            ) from error
        roles = (answer,) if isinstance(answer, str) else tuple(answer or ())
        for role in roles:
            if role not in ROLE_NAMES:
                raise RoleError(
                    f"roles={getattr(function, '__name__', function)!r} gives {role!r}, which is no role.",
                    parameter=entry.name,
                    meant=nearest(str(role), ROLE_NAMES),
                    fix="It takes the name of a parameter, and returns a role, a list of roles, or None.",
                )
        if roles:
            tensors[entry.name] = TensorRole(roles, "declared")
    outputs = sum("residual_out" in each.roles for each in tensors.values())
    return Roles(tensors, None, outputs or None)


def _together(stated: Roles, found: Roles, *, blocks: bool) -> Roles:
    """What is declared, and of the rest what was seen; a role that is declared has no other tensors."""
    roles = {role for each in stated.tensors.values() for role in each.roles}
    layered = blocks or found.layers is None
    tensors: dict[str, TensorRole] = {}
    for name in dict.fromkeys([*found.tensors, *stated.tensors]):
        own, other = stated.tensors.get(name), found.tensors.get(name)
        left = tuple(role for role in (other.roles if other else ()) if role not in roles)
        said = own.roles if own else ()
        place = own if layered else other
        layer = place.layer if place else None
        heads = own.heads if own and own.heads else other.heads if other else None
        how = "declared" if said or other is None else other.how
        if said or left or layer is not None:
            tensors[name] = TensorRole(
                (*said, *left),
                how,
                layer,
                heads,
                place.layers if place else None,
                (other.residuals if other else None) or (own.residuals if own else None),
                place.stack if place else None,
                other.head_size if other else None,
            )
    notes = (*found.notes, *_disagreements(roles, stated, found))
    return replace(
        found,
        tensors=tensors,
        layers=stated.layers if layered else found.layers,
        residuals=found.residuals or stated.residuals,
        width=stated.width or found.width,
        notes=notes,
        stacks=stated.stacks if layered else found.stacks,
    )


def _disagreements(roles: Iterable[str], stated: Roles, found: Roles) -> list[str]:
    notes = []
    for role in sorted(roles):
        said = {name for name, each in stated.tensors.items() if role in each.roles}
        seen = {name for name, each in found.tensors.items() if role in each.roles and each.how == "seen"}
        if seen and seen != said:
            more, less = sorted(said - seen), sorted(seen - said)
            parts = [f"{len(more)} declared and not seen ({more[0]})"] if more else []
            parts += [f"{len(less)} seen and not declared ({less[0]})"] if less else []
            notes.append(f"{role}: {', '.join(parts)}")
    return notes
