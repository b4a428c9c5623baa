"""Apply: carry out a plan, or leave the model closed and say what was written; on all ranks, or on none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from initcfg._apply.ranks import Agreement
from initcfg._apply.run import Run
from initcfg._model import doors, hold_shards, named_tensors, rank_sets
from initcfg._plan import Ledger, Plan
from initcfg._record import close, reopen_all
from initcfg._stream.bits import STREAM_VERSION, stream_key
from initcfg._stream.writing import StreamWriter
from initcfg._version import __version__
from initcfg.errors import ApplyError, InitcfgError, plural


@doors.apply_plan.leads_to
def apply_plan(
    plan: Plan,
    model: nn.Module,
    *,
    seed: int | None,
    rng: str,
    atomic: bool = False,
    process_group: Any = None,
    progress: Callable[[int], None] | None = None,
) -> Ledger:
    """See :meth:`Plan.apply`."""
    if not isinstance(model, nn.Module):
        raise ApplyError(f"A plan is applied to a torch.nn.Module, not to {model!r}.")
    if isinstance(seed, bool):
        raise ApplyError(f"A seed is an integer, not {seed!r}.")
    if rng not in ("stream", "torch"):
        raise ApplyError(f"rng must be 'stream' or 'torch', not {rng!r}.")
    run: Run | None = None
    copies = None
    begun = False
    try:
        hold_shards(model)
        with Agreement(agreeing_ranks(model, process_group)) as agreement:
            run = Run(plan, model, rng)
            # The seed is drawn last: a refused plan leaves torch's generator alone.
            run.seed = _seed(plan, agreement, seed, rng)
            if run.seed is not None and rng == "stream":
                run.writer = StreamWriter(run.seed, progress=progress)
            copies = _copies(model) if atomic else None
            reopen_all(model)
            begun = True
            run.execute()
        run.forget_pending()
        return run.ledger()
    except BaseException as error:
        if run is None or not begun:
            raise
        run.back_to_pending()
        if copies is not None:
            _restore(copies)
            raise
        written = run.written
        names = ", ".join(written[:3]) + (", ..." if len(written) > 3 else "")
        state = f"{plural(len(written), 'tensor')} had been written" + (f" ({names})" if written else "")
        close(model, f"The initialization of this model failed half-way: {state}.")
        if isinstance(error, InitcfgError) or not isinstance(error, Exception):
            raise
        raise ApplyError(
            f"Applying the plan failed: {type(error).__name__}: {error}; {state}.",
            fix="Correct the cause and initialize again; atomic=True keeps the model as it was.",
        ) from error
    finally:
        if run is not None:
            run.close()


def agreeing_ranks(model: nn.Module, process_group: Any) -> list[tuple[int, ...]]:
    """Who must agree: the ranks of the meshes that the tensors lie on, and of a group that is given."""
    found = rank_sets([*model.parameters(), *model.buffers()])
    if process_group is not None:
        found.append(tuple(torch.distributed.get_process_group_ranks(process_group)))
    return found


def _seed(plan: Plan, agreement: Agreement, seed: int | None, rng: str) -> int | None:
    if seed is not None and rng == "stream":
        stream_key(seed, "")
    facts = {
        "initcfg": __version__,
        "stream": str(STREAM_VERSION),
        "plan": plan.whole or plan.digest,
        "rng": rng,
    }
    if rng == "torch":
        agreement.on(facts, seed=seed, draw=lambda: 0, details=plan.digests)
        if seed is not None:
            torch.manual_seed(seed)
        return seed
    return agreement.on(facts, seed=seed, draw=draw_seed, details=plan.digests)


def draw_seed() -> int:
    """A seed from torch's generator."""
    high, low = torch.randint(0, 1 << 32, (2,), dtype=torch.int64).tolist()
    return (int(high) << 32) | int(low)


def _copies(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    names = named_tensors(model)
    entries = [*names.parameters, *names.buffers]
    return [(tensor, tensor.detach().clone()) for entry in entries for tensor in entry.stored]


def _restore(copies: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    with torch.no_grad():
        for tensor, copy in copies:
            tensor.copy_(copy)
