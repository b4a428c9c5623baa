"""Steps: what a program is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from initcfg._rules.idle import Idle
from initcfg._rules.rule import Rule


@dataclass(frozen=True, eq=False)
class Step:
    """One run of one rule over one subtree, or of a user's own code; later steps win.

    Attributes:
        target: Root of the subtree that is reached: the owner of the rule, or what an override names.
        rule: The rule; None for a user's method.
        whole: Every layer of the subtree is meant (an override, or ``name`` without ``layer``).
        kind: ``"rule"``, ``"pretrained"``, ``"foreign"`` (an initializer of the original's protocol)
            or ``"method"`` (a user's ``init_weights``).
        code: For user code: what it is and where.
        library: For a method: the library that it is of, if that initializes in its constructors.
    """

    order: int
    owner: nn.Module
    owner_name: str
    target: Any
    rule: Rule | None
    whole: bool = False
    kind: str = "rule"
    code: str = ""
    library: str | None = None


@dataclass(eq=False)
class Program:
    """The steps in order, and what was seen on the way.

    Attributes:
        reached: Modules whose ``is_init`` is set once the program has run.
        uncalled: Modules whose own ``init_weights`` does not run: the original would not call it, or it is of
            a library that initializes in its constructors.
        libraries: Of these the latter, each with the library.
        nested: Modules whose ``init_cfg`` the original would skip.
        idle: Rules that no step is for.
        notes: Remarks on methods that are called.
    """

    steps: list[Step] = field(default_factory=list)
    reached: list[nn.Module] = field(default_factory=list)
    uncalled: list[str] = field(default_factory=list)
    libraries: dict[str, str] = field(default_factory=dict)
    nested: list[str] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
