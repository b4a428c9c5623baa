"""Numbers: what the arithmetic of a rule may ask of a tensor and of its model, and what roles there are.

Roles are found when the first rule asks for one, once for the whole model.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from torch import nn

from initcfg._model import Roles, TensorRole, find_roles, relative_name
from initcfg._rules import Program, Rule, Step
from initcfg.errors import ArgumentValueError, RoleError
from initcfg.values import Layout

Known = tuple[tuple[str, float], ...]
"""Names of the arithmetic, each with its number for one tensor."""

_OF_ROLES = frozenset({"layers", "layer", "residuals", "heads"})
_FIXES = {
    "layers": "Say which modules are blocks: roles=dict(blocks='transformer.h'), beside model in a config.",
    "layer": "Select tensors of blocks; or say which modules these are: roles=dict(blocks='transformer.h').",
    "residuals": "Say which tensors end a residual branch: roles=dict(residual_out=['*.c_proj.weight']).",
    "width": "Say it: roles=dict(width=768), beside model in a config.",
    "heads": "Say it: roles=dict(heads=12), beside model in a config.",
    "base_width": "Take a scheme that has a base, such as MuP.",
    "base_layers": "Take a scheme that has a base, such as CompleteP.",
}


@dataclass(frozen=True)
class RoleRequest:
    """What is given for finding roles.

    Attributes:
        declared: What a person says of them.
        example: An example of the model's input.
        known: Those that were found before; for a part of a model, what gives those in the whole.
    """

    declared: Any = None
    example: Any = None
    known: Roles | Callable[[], Roles] | None = None

    @property
    def takes_guesses(self) -> bool:
        """Whether roles that were guessed from names may decide by how much a weight is scaled."""
        return self.declared == "names"

    def over(self, other: RoleRequest) -> RoleRequest:
        """This one, with what the other has where this one has nothing."""
        return RoleRequest(
            other.declared if self.declared is None else self.declared,
            other.example if self.example is None else self.example,
            self.known or other.known,
        )


NOTHING_GIVEN = RoleRequest()
_ATTRIBUTE = "_initcfg_roles"


def remember_roles(model: nn.Module, request: RoleRequest) -> None:
    """The model keeps what the config that built it says of its roles."""
    model.__dict__[_ATTRIBUTE] = request


def remembered_roles(model: nn.Module) -> RoleRequest:
    """What the config that built a model says of its roles."""
    return vars(model).get(_ATTRIBUTE, NOTHING_GIVEN)


class GivenRoles:
    """What a plan was made with, for whoever asks again: it keeps no model alive, and is never stored."""

    def __init__(self, model: nn.Module, request: RoleRequest) -> None:
        self._model: Callable[[], nn.Module | None] = weakref.ref(model)
        self.request = replace(request, known=None)

    @property
    def model(self) -> nn.Module | None:
        """The model that the plan was made for, while it lives."""
        return self._model()

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return type(None), ()


class ModelNumbers:
    """The roles and numbers of a model, found when they are asked for."""

    def __init__(self, model: nn.Module, request: RoleRequest) -> None:
        # A plan has these for its parts, and keeps no model alive.
        self._model = weakref.ref(model)
        self._request = request

    def __getstate__(self) -> dict[str, Any]:
        """What a plan takes along to another process: the roles, if they were found, and no model."""
        return {"roles": self.found or Roles({}), "_request": RoleRequest()}

    @cached_property
    def roles(self) -> Roles:
        """Its roles."""
        known = self._request.known
        if known is not None:
            return known if isinstance(known, Roles) else known()
        model = self._model()
        if model is None:
            return Roles({})
        return find_roles(model, example=self._request.example, declared=self._request.declared)

    def of_part(self, name: str) -> RoleRequest:
        """The request for the module of this name: its tensors have the roles that they have here."""

        def known() -> Roles:
            found = {relative_name(each, name) or "": role for each, role in self.roles.tensors.items()}
            found.pop("", None)
            return replace(self.roles, tensors=found, notes=())

        return RoleRequest(self._request.declared, known=known)

    @property
    def found(self) -> Roles | None:
        """Its roles, if somebody asked for them."""
        return vars(self).get("roles")

    def role_of(self, name: str) -> TensorRole | None:
        """What the tensor of this name does."""
        return self.roles.tensors.get(name)

    def known(self, step: Step, rule: Rule, name: str, layout: Layout) -> Known:
        """The numbers for a tensor that the ``scale`` and ``tune`` of a rule name.

        Raises:
            RoleError: One is not known, or its role was guessed.
        """
        role = self.role_of(name) if rule.roles else None
        if role is not None and role.how == "guessed" and not self._request.takes_guesses:
            raise RoleError(
                f"The role {', '.join(role.roles)} of this tensor was guessed from its name, and the rule "
                "scales by role.",
                fix="See what was guessed by `initcfg roles`; then declare it (roles=dict(...)), give an "
                "example of the input (example=...), or take the guesses: roles='names'.",
            )
        numbers = {each: self._number(each, step, rule, name, layout) for each in sorted(rule.asked)}
        return tuple(numbers.items())

    def _number(self, asked: str, step: Step, rule: Rule, name: str, layout: Layout) -> float:
        if asked in ("fan_in", "fan_out"):
            return _fans(layout)[asked]
        found: float | None
        if asked in ("width", "base_width", "base_layers"):
            found = self._of_base(asked, step, rule, name)
        else:
            role = self.role_of(name)
            of_tensor = {} if role is None else {"layer": role.layer, "heads": role.heads}
            if asked in ("layers", "residuals"):
                found = self.roles.number(asked, name)
            else:
                found = of_tensor.get(asked) if asked in ("layer", "heads") else self.roles.width
        if found is None and asked in ("layers", "residuals") and len(self.roles.stacks) > 1:
            each = ", ".join(f"{getattr(stack, asked) or 'none'}" for stack in self.roles.stacks)
            raise RoleError(
                f"The rule needs {asked}, and this tensor is in none of the {len(self.roles.stacks)} stacks "
                f"of blocks of its model, which have {each}.",
                fix=f"Select tensors of blocks; or write the number instead of {asked}.",
            )
        if found is None:
            told = how_found(self.roles) if asked in _OF_ROLES else []
            notes = f" ({'; '.join(told)})" if told else ""
            raise RoleError(
                f"The rule needs {asked}, which is not known for this tensor{notes}.", fix=_FIXES[asked]
            )
        return found

    def _of_base(self, asked: str, step: Step, rule: Rule, name: str) -> float | None:
        base = None if rule.scheme is None else rule.scheme.base
        if base is not None and asked == "base_layers":
            return base.layers
        widths = None if base is None else base.widths.get(relative_name(name, step.owner_name) or name)
        if widths is not None:
            return widths[asked == "base_width"]
        return self.roles.width if asked == "width" and base is None else None


def check_roles(program: Program, numbers: ModelNumbers, model: str) -> None:
    """Every role that a rule asks for, somebody has; of a scheme's, those that it needs."""
    for step in program.steps:
        rule = step.rule
        if rule is None or not rule.roles:
            continue
        asked = rule.roles
        if rule.scheme is not None:
            needs = rule.scheme.scheme.needs
            asked = tuple(pattern for pattern in asked if any(map(pattern.matches, needs)))
        there = {each for role in numbers.roles.tensors.values() for each in role.roles}
        for pattern in asked:
            if not any(map(pattern.matches, there)):
                raise _nobody(pattern.text, numbers.roles, model, rule)


def _nobody(role: str, roles: Roles, model: str, rule: Rule) -> RoleError:
    seen = f"{roles.residuals or 0} residual adds seen in {model}" if "residual" in role else f"of {model}"
    known = ", ".join(sorted({each for role in roles.tensors.values() for each in role.roles}))
    others = f"there are {known}" if known else "no role is known"
    notes = "".join(f"; {note}" for note in how_found(roles))
    where = rule if rule.scheme is None else rule.scheme
    return RoleError(
        f"No tensor has the role {role!r}: {seen}; {others}{notes}.",
        rule=str(where),
        where=where.place,
        fix=_fix_for(role, {each for known in roles.tensors.values() for each in known.roles}, rule),
    )


def how_found(roles: Roles) -> list[str]:
    """Of the remarks on roles those that say why one may be missing; what the model is like is none."""
    return [note for note in roles.notes if note.startswith(("guessed from", "seen as far"))]


# As many libraries call them.
_ENDS = {
    "embedding": "embed_tokens.weight",
    "position": "pos_embed",
    "attn_qkv": "*.qkv.weight",
    "attn_q": "*.q_proj.weight",
    "attn_k": "*.k_proj.weight",
    "attn_v": "*.v_proj.weight",
    "attn_out": "*.o_proj.weight",
    "mlp_in": "*.fc1.weight",
    "mlp_gate": "*.gate_proj.weight",
    "mlp_out": "*.fc2.weight",
    "conv_in": "*.conv1.weight",
    "residual_out": "*.c_proj.weight",
    "residual_norm": "*.bn2.weight",
    "shortcut": "*.downsample.0.weight",
    "gate": "*.gamma",
    "norm": "*.norm.weight",
    "head": "head.weight",
    "stem": "stem.weight",
    "router": "*.router.weight",
    "expert_in": "*.experts.*.w1.weight",
    "expert_gate": "*.experts.*.w3.weight",
    "expert_out": "*.experts.*.w2.weight",
}


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _fix_for(role: str, there: set[str], rule: Rule) -> str:
    """What helps where nobody has a role: another rule, or a declaration of tensors that may have it."""
    name = next((each for each in _ENDS if fnmatchcase(each, role)), "residual_out")
    say = f"Say which tensors do that: roles=dict({name}=['{_ENDS[name]}']), beside model in a config."
    scheme = None if rule.scheme is None else rule.scheme.name
    if name in ("attn_q", "attn_k", "attn_v") and "attn_qkv" in there:
        return (
            "Queries, keys and values of this model are one weight (attn_qkv), of which a rule fills all "
            f"parts alike: give each a layer of its own, or take {'a scheme' if scheme else 'a rule'} that "
            f"needs no {name}."
        )
    if name == "residual_norm" and scheme == "ZeroResidual":
        return f"Zero the last weights of the branches: what='weight'. Or: {_lowered(say)}"
    if name == "gate":
        return f"The model itself must multiply its branches by a parameter. If it does: {_lowered(say)}"
    return say


def _fans(layout: Layout) -> Mapping[str, float]:
    parts = [layout.part(size) for size in layout.parts] or [layout]
    fans = {replace(part, default=None).fans() for part in parts}
    if len(fans) > 1:
        raise ArgumentValueError(
            "The parts of this fused tensor have different fans, and the rule has one scale for all.",
            fix="Give its parts rules of their own.",
        )
    fan_in, fan_out = fans.pop()
    return {"fan_in": fan_in, "fan_out": fan_out}
