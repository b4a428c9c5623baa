"""What an initialization does to a model, as a person asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

from torch import nn

from initcfg._api.functions import plan as plan_of
from initcfg._apply import last_plan
from initcfg._diagnose import (
    SEEDS,
    Diagnosis,
    DiagnosisComparison,
    Side,
    checked_request,
    checked_seeds,
    compared,
    diagnosed,
)
from initcfg._plan import Plan
from initcfg._record.isolation import others_kept
from initcfg.errors import DiagnosisError, InitcfgError, as_annotated, in_words


@overload
def diagnose(
    model: nn.Module,
    batch: Any = None,
    loss: Any = None,
    *,
    plan: Plan | None = None,
    lr: float | None = None,
    optimizer: str = "adamw",
    steps: int = 8,
    dtype: Any = None,
    roles: Any = None,
    against: None = None,
    seeds: int | Sequence[int] = SEEDS,
    seed: int = 0,
) -> Diagnosis: ...


@overload
def diagnose(
    model: nn.Module,
    batch: Any = None,
    loss: Any = None,
    *,
    plan: Plan | None = None,
    lr: float | None = None,
    optimizer: str = "adamw",
    steps: int = 8,
    dtype: Any = None,
    roles: Any = None,
    against: Plan | nn.Module | Mapping[str, Any] | Sequence[Any],
    seeds: int | Sequence[int] = SEEDS,
    seed: int = 0,
) -> DiagnosisComparison: ...


@as_annotated(DiagnosisError, but=("plan",))
def diagnose(
    model: nn.Module,
    batch: Any = None,
    loss: Any = None,
    *,
    plan: Plan | None = None,
    lr: float | None = None,
    optimizer: str = "adamw",
    steps: int = 8,
    dtype: Any = None,
    roles: Any = None,
    against: Any = None,
    seeds: int | Sequence[int] = SEEDS,
    seed: int = 0,
) -> Diagnosis | DiagnosisComparison:
    """What is wrong with the weights that ``model`` starts with, where, and which rule is to blame.

    One forward and backward pass with everything watched, and a few steps of training, on memory of their
    own: parameters, buffers, gradients, modes, hooks and generators stay as they are. Dropout is off. It
    ranks inits worse than eight steps of training do: to compare two, use ``against``.

    Args:
        model: A model with its weights.
        batch: What it is called with: a tensor, a tuple, a dict; or ``(inputs, targets)``. By default one is
            made up, which the diagnosis says.
        loss: A function of (model, batch), or of (output, targets). By default the model's own ``loss``;
            cross entropy for classes, and of the next token for tokens; mean squares for numbers.
        plan: The plan that gave the weights, to blame its rules; by default the one that was last
            applied to the model, else that of its own ``init_cfg``, or what its constructors do.
        lr: Learning rate. Without it 1e-3 is tried, and what depends on it is only information.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"`` (with momentum 0.9).
        steps: Steps of training that are tried on the batch.
        dtype: ``"bfloat16"``: computed under autocast; ``"float16"``: judged for its range, and on a GPU
            trained with a loss scaler. By default the type of the weights.
        roles: See :func:`initcfg.plan`.
        against: Another initialization: a plan or an ``init_cfg`` for this model, or another model. Both are
            diagnosed, and trained from several draws of their weights on the same batches; the result is a
            :class:`DiagnosisComparison`, which says when the difference may be chance.
        seeds: Of these draws: their number, or a list. With fewer than five, all is noise.
        seed: Of what is drawn.

    Raises:
        DiagnosisError: The model does not run on the batch, has no numbers yet, or is sharded.

    Example:
        >>> import initcfg
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
        >>> _ = initcfg.init_weights(model, dict(type="Normal", layer="Linear", std=1.0), seed=0)
        >>> diagnosis = initcfg.diagnose(model)
        >>> diagnosis.ok, [each.code for each in diagnosis.warnings]
        (False, ['initial-loss'])
    """
    if not isinstance(model, nn.Module):
        raise DiagnosisError(
            f"What is diagnosed is a torch.nn.Module, not {in_words(model)}.", fix="Build it first."
        )
    if plan is not None and not isinstance(plan, Plan):
        raise DiagnosisError(
            f"plan is what initcfg.plan or initcfg.trace returned, not {plan!r}.", fix="Or leave it out."
        )
    request = checked_request(lr, optimizer, steps, dtype, seed)
    known = _known_plan(model, plan, roles)
    # Also what libraries draw when they are loaded on the way.
    with others_kept():
        if against is None:
            return diagnosed(model, batch, loss, request, known)
        other = _other_side(model, against, roles)
        return compared(Side("here", model, known), other, batch, loss, request, checked_seeds(seeds))


def _other_side(model: nn.Module, against: Any, roles: Any) -> Side:
    if isinstance(against, nn.Module):
        return Side("there", against, _known_plan(against, None, roles))
    if isinstance(against, Plan):
        return Side("there", model, against)
    if isinstance(against, (Mapping, list, tuple)):
        return Side("there", model, plan_of(model, against, roles=roles))
    raise DiagnosisError(
        f"against is a plan, an init_cfg or a model, not {against!r}.",
        fix="Write against=initcfg.plan(model, rules), for example.",
    )


def _known_plan(model: nn.Module, given: Plan | None, roles: Any) -> Plan | None:
    if given is not None:
        return given
    applied = last_plan(model)
    if applied is not None:
        return applied
    try:
        return plan_of(model, roles=roles)
    except InitcfgError:
        # A model whose rules cannot be planned can be diagnosed; there is only nobody to blame.
        return None
