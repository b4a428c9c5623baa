"""Schemes of attention whose weights are made together: products of queries and keys, values and outputs."""

from __future__ import annotations

import fnmatch
import glob
import math
from typing import Any

from torch import nn

from initcfg._model import Roles, find_roles
from initcfg._rules.initializers import INITIALIZERS, BaseInit, Steps, finite, view
from initcfg._rules.schemes.scheme import Scheme
from initcfg.errors import RoleError
from initcfg.values import Layout, Normal, Value

_FUSED = ("*qkv*.weight", "*in_proj_weight")


@INITIALIZERS.register_module(name="Mimetic")
class Mimetic(Scheme):
    """Attention as trained models have it: W_qᵀW_k near 0.7·1 in each head, and W_o·W_v near -0.4·1.

    Of each head A = α·Z/√d + β·1 = U S Vᵀ with normal Z; its queries are the first rows of √S Uᵀ, its keys
    those of √S Vᵀ. Values and outputs are the halves √S Uᵀ and V √S of α_v·Z/√d - β_v·1. Only that: a rule
    before it fills the others, positions by sines and cosines in the paper. From "Mimetic Initialization of
    Self-Attention Layers", Trockman & Kolter 2023 (2305.09828). Held to its formulas; in
    osiriszjq/structured_init, vision_transformer.py, which repeats it, the product of values and outputs
    stands in the other order, with the same trace.

    For attention of square matrices with as many heads of keys as of queries; a weight of all three holds
    them one after the other, if its name fits ``*qkv*.weight`` or ``*in_proj_weight``. Each head takes the
    decomposition of a matrix as wide as the model: much work, for more than 12 heads of wide models whose
    queries and keys have weights of their own more than a formula may do.

    Args:
        alpha: How much chance is in the product of queries and keys.
        beta: How much of the identity.
        alpha_v: Of values and outputs likewise.
        beta_v: Of values and outputs likewise; it is subtracted.
        draws: A name for the random numbers, which several tensors share; another one for each of two
            modules that both have this scheme in their own ``init_cfg``.

    Example:
        >>> from initcfg._rules.schemes.attention import Mimetic
        >>> Mimetic().beta, Mimetic().beta_v
        (0.7, 0.4)
    """

    family = "vision"
    paper = "Trockman & Kolter 2023"
    needs = ("attn_out",)

    def __init__(
        self,
        alpha: float = 0.7,
        beta: float = 0.7,
        alpha_v: float = 0.4,
        beta_v: float = 0.4,
        draws: str = "mimetic",
    ) -> None:
        self.alpha, self.beta = finite("alpha", alpha), finite("beta", beta)
        self.alpha_v, self.beta_v = finite("alpha_v", alpha_v), finite("beta_v", beta_v)
        self.draws = str(draws)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`: it depends on the model."""
        return []

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`: rules for each attention."""
        roles = find_roles(owner, example=self.example, declared=self.declared)
        attentions = _attentions(roles)
        if not attentions:
            raise RoleError(
                f"Mimetic is for attention, and none was found in {type(owner).__name__}.",
                fix="Say where it is: roles=dict(attn_qkv=[...], attn_out=[...], heads=...).",
            )
        parts: list[dict[str, Any]] = []
        for place, found in attentions.items():
            draws = f"{self.draws}.{place[0]}.{place[1]}"
            for role, name in found.items():
                if role == "attn_qkv" and not any(fnmatch.fnmatchcase(name, each) for each in _FUSED):
                    raise _refused(name, "holds queries, keys and values in an order that is not known")
                heads = roles.tensors[next(iter(found.values()))].heads
                if heads is None:
                    raise _refused(name, "is of heads whose number is not known")
                parts.append(
                    dict(
                        type=MimeticWeight,
                        param=glob.escape(name),
                        what=role,
                        heads=heads,
                        numbers=[self.alpha, self.beta, self.alpha_v, self.beta_v],
                        draws=draws,
                    )
                )
        return parts


def _attentions(roles: Roles) -> dict[tuple[int, int], dict[str, str]]:
    """The weights of each attention by role, by stack and block."""
    found: dict[tuple[int, int], dict[str, str]] = {}
    for name, each in roles.tensors.items():
        for role in ("attn_qkv", "attn_q", "attn_k", "attn_v", "attn_out"):
            if role in each.roles:
                of = found.setdefault((each.stack or 0, each.layer or 0), {})
                if role in of:
                    raise _refused(
                        name, f"is the second {role} of its block, and which belong together is open"
                    )
                of[role] = name
    for of in found.values():
        if set(of) not in ({"attn_qkv", "attn_out"}, {"attn_q", "attn_k", "attn_v", "attn_out"}):
            raise _refused(next(iter(of.values())), f"is of an attention with no more than {', '.join(of)}")
    return {place: dict(sorted(of.items(), reverse=True)) for place, of in found.items()}


def _refused(name: str, why: str) -> RoleError:
    return RoleError(
        f"Mimetic makes queries with keys, and values with outputs: {name!r} {why}.",
        parameter=name,
        fix="Say which is which: roles=dict(attn_q=[...], attn_k=[...], attn_v=[...], attn_out=[...], "
        "heads=...); or give the rule to the part of the model whose attention it is for.",
    )


class MimeticWeight(BaseInit):
    """One weight of Mimetic."""

    def __init__(self, what: str, heads: int, numbers: list[float], draws: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.what, self.heads, self.numbers, self.draws = what, heads, list(numbers), draws

    def resolve(self, layout: Layout) -> Value:
        """The whole tensor, whatever its parts."""
        rows, width = layout.shape if len(layout.shape) == 2 else (0, 0)
        if not width or rows != width * (3 if self.what == "attn_qkv" else 1) or width % self.heads:
            raise RoleError(
                f"Mimetic is for attention of square matrices, and here is one of shape {layout.shape} "
                f"for {self.heads} heads.",
                fix="Exclude it: exclude=[...].",
            )
        steps = Steps()
        rows_of: dict[str, list[str]] = {"U": [], "V": []}
        sides = {"attn_q": "U", "attn_k": "V", "attn_qkv": "UV"}.get(self.what, "")
        for at in range(self.heads if sides else 0):
            halves = self._halves(steps, at, width, *self.numbers[:2])
            for side in sides:
                rows_of[side].append(view(halves[side], [width // self.heads, width], [width, 1]))
        parts = [*rows_of["U"], *rows_of["V"]]
        if self.what not in ("attn_q", "attn_k"):
            halves = self._halves(steps, self.heads, width, self.numbers[2], -self.numbers[3])
            turned = view(halves["V"], [width, width], [1, width])
            parts.append(turned if self.what == "attn_out" else halves["U"])
        return steps.result(steps.call("cat", parts))

    def _halves(self, steps: Steps, at: int, width: int, alpha: float, beta: float) -> dict[str, str]:
        """√S Uᵀ and √S Vᵀ, row by row, of the matrix that all tensors of an attention draw alike."""
        drawn = steps.shared((width, width), Normal(0.0, 1.0), f"{self.draws}.{at}")
        chance = steps.call("mul.Scalar", drawn, alpha / math.sqrt(width))
        whole = steps.call("eye", width, dtype="torch.float32")
        made = steps.call("add.Tensor", chance, steps.call("mul.Scalar", whole, beta))
        left, sizes, right = steps.several(3, "_linalg_svd", made)
        roots = steps.call("sqrt", sizes)
        # Repeated once, they lie row by row, however the decomposition left them.
        left, right = (steps.call("repeat", each, [1, 1]) for each in (left, right))
        by_row = view(roots, [width, 1], [1, 0])
        turned = steps.call("mul.Tensor", view(left, [width, width], [1, width]), by_row)
        return {
            "U": steps.call("repeat", turned, [1, 1]),
            "V": steps.call("mul.Tensor", right, by_row),
        }
