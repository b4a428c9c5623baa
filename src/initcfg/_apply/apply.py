"""Apply: carry out a plan, or leave the model closed and say what was written; on all ranks, or on none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from initcfg._apply.collective import Together
from initcfg._apply.execution import Execution
from initcfg._apply.filling import Filler, StreamFiller, TorchFiller, WaitingFiller
from initcfg._apply.idle_rules import idle_rules, over_library
from initcfg._apply.last_plans import remember_plan
from initcfg._apply.load_warnings import warn_of_loads
from initcfg._apply.measuring import Batches
from initcfg._apply.planned_checkpoints import PlannedCheckpoints
from initcfg._apply.preconditions import check_fits
from initcfg._apply.process_groups import ranks_of
from initcfg._apply.ranks import TOLD, Agreement, place_in_job
from initcfg._apply.recorded_writes import (
    RecordedFiller,
    RecordedTorchFiller,
    applied_apart,
    must_be_apart,
)
from initcfg._apply.user_code import reset_is_init
from initcfg._apply.without_memory import warn_of_tensors_without_memory
from initcfg._model import (
    Names,
    doors,
    fewer_collections,
    group_of_replicas,
    hold_shards,
    is_sharded,
    local_of,
    modules_of,
    named_tensors,
    paused_collector,
    rank_sets,
    stored_in,
)
from initcfg._plan import Ledger, Plan, Recorded
from initcfg._record import close, default_of, forget_defaults, recall_defaults, reopen_all, rests_of
from initcfg._record.recording import Session, current_session, set_aside
from initcfg._rules import originals_come_back
from initcfg._stream import check_settings
from initcfg._stream.bits import STREAM_VERSION, seed_number
from initcfg._stream.writing import memory_problem, read_only_among
from initcfg._version import __version__
from initcfg.errors import (
    ApplyError,
    InitcfgError,
    in_words,
    log,
    plural,
)
from initcfg.values import Computed, Opaque


@doors.apply_plan.leads_to
def apply_plan(
    plan: Plan,
    model: nn.Module,
    *,
    seed: int | None,
    rng: str,
    atomic: bool = False,
    assign: bool = False,
    process_group: Any = None,
    collective: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Ledger:
    """See :meth:`Plan.apply`."""
    if not isinstance(model, nn.Module):
        raise ApplyError(
            f"A plan is applied to a torch.nn.Module, not to {in_words(model)}.", fix="Give the model itself."
        )
    if rng not in ("stream", "torch"):
        raise ApplyError(
            f"rng must be 'stream' or 'torch', not {rng!r}.", fix="Leave it out, which means 'stream'."
        )
    session = current_session()
    if session is not None:
        names = named_tensors(model)
        if must_be_apart(plan, names, seed, rng):
            options = {"atomic": atomic, "assign": assign, "process_group": process_group}
            again = partial(apply_plan, plan, model, seed=seed, rng=rng, **options, collective=collective)
            drawn = (seed is None and plan.seed is None) or rng == "torch"
            return applied_apart(session, plan, names, partial(again, progress=progress), draws=drawn)
    checkpoints = PlannedCheckpoints(plan.loads, assign=assign)
    execution: Execution | None = None
    put_back: Callable[[], None] | None = None
    try:
        hold_shards(model)
        # Whoever applies what is recorded agrees with the other ranks.
        ranks = agreeing_ranks(model, process_group) if session is None else []
        with fewer_collections(), Agreement(ranks) as agreement:
            check_settings()
            names = named_tensors(model, one_by_one=True)
            if recall_defaults(names.pending):
                names.noted = True
            seen = check_fits(plan, names, rng)
            seed = seed_for(plan, seed)
            batches = Batches(plan, alone=not any(len(set(each)) > 1 for each in ranks))
            with set_aside():
                checkpoints.check(plan, names)
            warn_of_loads(plan.loads)
            # The seed is drawn last: a refused plan leaves torch's generator alone.
            place = None
            if session is None:
                place = place_in_job() if seed is None and rng == "stream" and agreement.alone else None
                seed = _agreed_seed(plan, agreement, seed, rng, collective)
            filler = _filler(session, plan, checkpoints, rng, seed, progress)
            if atomic:
                put_back = _copied(model, names)
            reopen_all(model)
            # Between the checks and this, code of a user's makes batches and loads, and nothing else.
            still = None if batches.made or plan.loads else seen
            execution = Execution(plan, model, checkpoints, filler, seen=still)
            # Code of the model's own may look at any time, and on each rank at another.
            together = collective and not agreement.alone and not execution.runs_code
            if together and isinstance(filler, StreamFiller):
                filler.together = Together(agreement, _replicas(model, process_group), filler.seed)
            carry_out(execution, seed)
            with torch.no_grad():
                batches.compute(execution, seed)
        for part in execution.account.plans:
            warn_of_loads(part.loads, but=plan.loads)
        # What code does may have noted more.
        forget_defaults(modules_of(model) if execution.runs_code else names.pending)
        remember_plan(model, plan)
        _log_idle_rules(execution)
        warn_of_tensors_without_memory(model, names)
        ledger = execution.ledger(rng, seed)
        if place is not None and not _anything_drawn(ledger):
            place = None
        if place is not None:
            log(TOLD, *place)
        return replace(
            ledger,
            loads=checkpoints.digested(ledger.loads),
            drawn_by=None if place is None else place[0],
        )
    except BaseException as error:
        if execution is None:
            raise
        touched = checkpoints.stop()
        execution.back_to_pending()
        if put_back is not None:
            put_back()
            raise
        written = list(dict.fromkeys([*execution.account.written, *touched]))
        state = f"{plural(len(written), 'tensor')} had been written"
        if written:
            state += f" ({', '.join(written[:3])}{', ...' if len(written) > 3 else ''})"
        close(model, f"The initialization of this model failed half-way: {state}.")
        if isinstance(error, InitcfgError) or not isinstance(error, Exception):
            raise
        raise ApplyError(
            f"Applying the plan failed: {type(error).__name__}: {error}; {state}.",
            fix="Correct the cause and initialize again; atomic=True keeps the model as it was.",
        ) from error
    finally:
        checkpoints.close()


def _filler(
    session: Session | None,
    plan: Plan,
    checkpoints: PlannedCheckpoints,
    rng: str,
    seed: int | None,
    progress: Callable[[int], None] | None,
) -> Filler:
    """What fills the tensors; where code is recorded, by way of the record."""
    if session is not None:
        if rng == "stream":
            return RecordedFiller(session, checkpoints, plan.loads, seed, draw_seed)
        if seed is not None:
            torch.manual_seed(seed_number(seed))
        return RecordedTorchFiller(session, checkpoints, plan.loads)
    if rng == "stream" and seed is not None:
        return StreamFiller(checkpoints, seed, progress)
    return TorchFiller(checkpoints)


def _replicas(model: nn.Module, process_group: Any) -> list[int]:
    """The ranks that may hold the same model, as those of DistributedDataParallel do."""
    group = group_of_replicas(model) if process_group is None else process_group
    return [] if group is None else list(ranks_of(group))


def _anything_drawn(ledger: Ledger) -> bool:
    """Whether the seed has decided anything; of what code wrote, nobody knows."""
    written = (entry for entry in ledger.entries.values() if entry.by != "nobody")
    return any(entry.value is None or entry.value.random for entry in written)


def _log_idle_rules(execution: Execution) -> None:
    """Log what the plan does not say: that was known only once the model's own code had run."""
    if not execution.runs_code:
        return
    plan = execution.plan
    known = {unused.rule for unused in plan.unused}
    for where, (unused, _) in idle_rules(execution.account.plans, ()).items():
        if where not in known:
            log("%s reached nothing: %s.", where, unused.reason)
    for call, count in execution.account.over_library.items():
        note = over_library(f"model.{call.module}.init_weights", call.library or "", count)
        if note not in plan.notes:
            log("%s.", note)


def _copied(model: nn.Module, names: Names) -> Callable[[], None]:
    """Copy a model's tensors; calling the result puts them back, in the modules that they were in.

    That is also what code has replaced, the classes of modules (a parametrization makes its own), whether
    gradients are wanted, and which buffers are saved. Other attributes stay as the code left them.
    """
    stored = [each for entry in (*names.parameters, *names.buffers) for each in entry.stored]
    copies = [(tensor, tensor.data, copy) for tensor, copy in _copies(stored)]
    wanted = [(tensor, tensor.requires_grad) for tensor in stored]
    modules = [(module, type(module), set(_unsaved(module))) for module in model.modules()]
    containers = [
        (container, dict(container))
        for module, _, _ in modules
        for container in (module._parameters, module._buffers, module._modules)
    ]

    def put_back() -> None:
        for container, items in containers:
            container.clear()
            container.update(items)  # type: ignore[arg-type]
        for module, cls, unsaved in modules:
            if type(module) is not cls:
                module.__class__ = cls
            _unsaved(module).clear()
            _unsaved(module).update(unsaved)
        with torch.no_grad():
            for tensor, data, copy in copies:
                if not is_sharded(tensor):
                    tensor.data = data
                tensor.copy_(copy)
        for tensor, gradient in wanted:
            if tensor.is_leaf and tensor.requires_grad is not gradient:
                tensor.requires_grad_(gradient)

    return put_back


def _unsaved(module: nn.Module) -> set[str]:
    """The buffers of a module that no state_dict has; what torch.jit compiled does not say them."""
    return module.__dict__.get("_non_persistent_buffers_set", set())


def agreeing_ranks(model: nn.Module, process_group: Any) -> list[tuple[int, ...]]:
    """Who must agree: the ranks of the meshes that the tensors lie on, and of a group that is given.

    The replicas of DistributedDataParallel are alike from its construction on: they must stay so.
    """
    found = rank_sets(stored_in(model))
    if process_group is None:
        process_group = group_of_replicas(model)
    if process_group is not None:
        found.append(ranks_of(process_group))
    return found


def _copies(tensors: Iterable[torch.Tensor]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Each tensor with a copy; what cannot be copied cannot be written either."""
    there = [(tensor, local_of(tensor)) for tensor in tensors]
    read_only = read_only_among(local for _, local in there)
    for tensor, local in there:
        if memory_problem(local) is None and id(local) not in read_only:
            with contextlib.suppress(NotImplementedError):
                yield tensor, tensor.detach().clone()


def _agreed_seed(
    plan: Plan, agreement: Agreement, seed: int | None, rng: str, collective: bool
) -> int | None:
    seed = None if seed is None else seed_number(seed)
    facts = {
        "initcfg": __version__,
        "stream": str(STREAM_VERSION),
        "plan": plan.whole or plan.digest,
        "rng": rng,
        # Whether they send each other anything: not where code of the model's own runs.
        "collective": f"{collective}{', with code' if collective and plan.tape and plan.tape.calls else ''}",
    }
    draw = draw_seed if rng == "stream" else lambda: 0
    agreed = agreement.on(facts, seed=seed, draw=draw, details=plan.digests)
    if rng == "stream":
        return agreed
    if seed is not None:
        torch.manual_seed(seed)
    return seed


def seed_for(plan: Plan, seed: int | None) -> int | None:
    """The seed that was asked for; of a finished plan, the one that it is for."""
    if plan.seed is None or seed is None:
        return plan.seed if seed is None else seed
    if seed_number(seed) != plan.seed:
        raise ApplyError(
            f"This plan holds numbers that data gave for the seed {plan.seed}: they are wrong for {seed}.",
            fix=f"Apply it with seed={plan.seed}, or without a seed; or plan the model again, and apply that "
            "with its data.",
        )
    return plan.seed


def draw_seed() -> int:
    """A seed from torch's generator."""
    high, low = torch.randint(0, 1 << 32, (2,), dtype=torch.int64, device="cpu").tolist()
    return (int(high) << 32) | int(low)


def carry_out(execution: Execution, seed: int | None) -> None:
    """Run a plan's tape, and what a deferred build or a trace has recorded of the code itself."""
    # What reads for long shares the process with others.
    pause = execution.runs_code and not execution.plan.loads
    with paused_collector() if pause else contextlib.nullcontext(False) as collects:
        execution.collects = collects
        _carry_out(execution, seed)


def _carry_out(execution: Execution, seed: int | None) -> None:
    plan, filler = execution.plan, execution.filler
    # What only the code of a trace can do, or does in its own order.
    items = {} if plan.record is None else {**plan.parameters, **plan.buffers}
    reset_is_init(execution)
    with torch.no_grad(), originals_come_back() if execution.runs_code else contextlib.nullcontext():
        if filler.in_order and plan.record is not None:
            # What the code did, in its order.
            execution.settle_all()
            for name in plan.record.replay(execution.entries):
                if name in items:
                    execution.account.note_traced(execution.entries[name], items[name])
            return
        if filler.in_order:
            _replay_constructors(execution)
        elif execution.runs_code and not filler.recorded:
            execution.filler = WaitingFiller(
                filler, execution.stored(), execution.take_default, execution.note_sampler
            )
        opaque = {name: item for name, item in items.items() if isinstance(item.value, Opaque)}
        if plan.record is not None and seed is not None:
            # First, since code may look at what the model holds.
            _run_opaque(execution, plan.record, opaque, seed)
        execution.run_tape()
        execution.filler.finish()
        if plan.record is not None:
            for name, item in opaque.items():
                execution.account.note_traced(execution.entries[name], item)
        execution.settle_all()


def _replay_constructors(execution: Execution) -> None:
    """Under torch's generator, what the constructors meant is done as they would have done it."""
    for rest in rests_of(execution.names.pending):
        rest()
    for entry in execution.names.parameters:
        pending = default_of(entry.tensor)
        if pending is not None:
            pending.replay()
            execution.settle(entry.tensor)
            item = execution.plan.parameters.get(entry.name)
            default = None if item is None else item.default
            if default is not None and not isinstance(default.value, Computed):
                execution.account.note(entry, entry.name, "default", default)


def _run_opaque(execution: Execution, record: Recorded, opaque: Collection[str], seed: int) -> None:
    """What the values of a traced plan cannot say is done by the code itself."""
    written = [name for name in opaque if execution.writes(name)]
    if written:
        record.opaque(opaque, execution.entries, written, seed)
