"""A model's own code, run for real: what it writes is noted, and who ran is marked as the original does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from initcfg._model import Observer, collecting, modules_of, running
from initcfg._plan import Call
from initcfg._record.recording import Followed, threads_follow, told_of_memory
from initcfg.errors import ApplyError, InitcfgError

if TYPE_CHECKING:
    from initcfg._apply.execution import Execution


def call_user_code(call: Call, module: nn.Module) -> None:
    """Call a module's own method, or an initializer of the original's protocol."""
    if call.foreign is None:
        module.init_weights()  # type: ignore[operator]
        return
    initializer, override = call.foreign
    if override is not None:
        initializer.wholemodule = True
        initializer(getattr(module, override))
    else:
        initializer(module)


def run_observed(execution: Execution, call: Call, module: nn.Module) -> None:
    """Run user code for real, and note what it writes."""
    observer = Observer(execution.by_storage())
    execution.observers.append(observer)
    try:
        with (
            running(execution),
            execution.filler.around_code(call.module) as meant,
            torch.set_grad_enabled(execution.grad_enabled),
            observer,
            threads_follow(Followed(observer)),
            told_of_memory(observer.note_handed_out),
        ):
            with collecting(execution.collects):
                call_user_code(call, module)
            execution.take_in_changes()
        observer.look_at_memory()
    except InitcfgError:
        raise
    except Exception as error:
        raise ApplyError(
            f"{call.code} of {call.module or 'the model'} raised {type(error).__name__}: {error}",
            where=call.rule,
            fix="This is the model's own code: mend it where it raised.",
        ) from error
    finally:
        execution.observers.pop()
    execution.account.note_code(call, observer.operations, execution.entries, meant)


def set_is_init(module: nn.Module) -> None:
    """Mark a module as initialized, as the original does."""
    try:
        module.is_init = True  # type: ignore[assignment]
    except AttributeError:
        # MMCV 1.x has the property without a setter.
        module._is_init = True  # type: ignore[assignment]


def reset_is_init(execution: Execution) -> None:
    """Take the marks of an earlier run away; those that were there when the plan was made stay."""
    model, tape = execution.model, execution.plan.tape
    if tape is None or not getattr(model, "is_init", False):
        return
    for module in modules_of(model):
        if vars(module).get("_is_init") and execution.names.modules.get(id(module)) not in tape.done:
            module._is_init = False  # type: ignore[assignment]
