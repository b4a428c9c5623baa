"""Sharded models in all their states: gathered, wrapped, of mixed types, or left by a failure."""

from __future__ import annotations

from typing import Any

import torch
from layout_models import built
from layouts import fsdp, gathered_differences, sharded, tensors
from processes import run_ranks, values_of
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from whole_models import LINEAR, mesh_of_all, message, whole_and_plan

import initcfg
from initcfg import errors


def gathered(rank: int, world: int) -> dict[str, Any]:
    """Models whose shards are gathered when they are planned or initialized."""
    found: dict[str, Any] = {}
    whole, plan = whole_and_plan("llama")
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    for how in ("unshard", "forward"):
        model = built("llama", seed=2)
        sharded(model, mesh_of_all(), mp_policy=half, reshard_after_forward=False)
        if how == "forward":
            model(model.example())
        else:
            for module in (*model.blocks, model):
                module.unshard()
        found[f"{how}, before"] = str(model.blocks[0].up.weight.dtype)
        found[f"{how}, planned"] = initcfg.plan(model, LINEAR)["blocks.0.up.weight"].dtype
        if how == "unshard":
            model.unshard()
        plan.apply(model, seed=3)
        model.reshard()
        found[how] = gathered_differences(model, whole)
        found[f"{how}, after"] = str(model(model.example()).dtype)
    return found


def test_what_is_written_to_gathered_parameters_stays() -> None:
    for found in values_of(run_ranks(2, gathered)):
        for how in ("unshard", "forward"):
            assert found[f"{how}, before"] == "torch.bfloat16"
            assert found[f"{how}, planned"] == "float32"
            assert found[how] == []
            assert found[f"{how}, after"] == "torch.bfloat16"


def wrapped(rank: int, world: int) -> dict[str, Any]:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
    from torch.nn.parallel import DistributedDataParallel

    found: dict[str, Any] = {}
    whole, plan = whole_and_plan("vit")
    names = list(plan)
    with torch.device("meta"):
        model = built("vit")
    for number, block in enumerate(model.blocks):
        model.blocks[number] = torch.compile(checkpoint_wrapper(block))  # type: ignore[assignment]
    fsdp(model)
    compiled = torch.compile(model)
    found["names"] = list(initcfg.plan(compiled)) == names  # type: ignore[arg-type]
    initcfg.materialize(compiled, plan=plan, seed=3)  # type: ignore[arg-type]
    here = {
        name.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", ""): tensor
        for name, tensor in tensors(model).items()
    }
    found["wrapped"] = [
        name
        for name, tensor in here.items()
        if not torch.equal(tensor.full_tensor() if isinstance(tensor, DTensor) else tensor, whole[name])
    ]
    ddp = DistributedDataParallel(built("vit"))
    group = torch.distributed.group.WORLD
    plan.apply(ddp, seed=3, process_group=group)
    found["ddp"] = [
        name for name, tensor in tensors(ddp.module).items() if not torch.equal(tensor, whole[name])
    ]
    found["ddp, seeds"] = message(lambda: plan.apply(ddp, seed=rank, process_group=group))
    # Without a seed, that of the first rank.
    plan.apply(ddp, process_group=group)
    torch.distributed.broadcast(other := ddp.module.head.bias.detach().clone(), 0)
    found["ddp, no seed"] = torch.equal(other, ddp.module.head.bias) and not torch.equal(
        other, whole["head.bias"]
    )
    return found


def test_wrappers_add_nothing_to_names() -> None:
    for found in values_of(run_ranks(2, wrapped)):
        assert found["names"]
        assert found["wrapped"] == []
        assert found["ddp"] == []
        assert "do not agree on the seed: rank 0 has 0, rank 1 has 1" in found["ddp, seeds"]
        assert found["ddp, no seed"]


def policies(rank: int, world: int) -> dict[str, Any]:
    """A forward pass of each kind of FSDP2, beside the whole model's."""
    found: dict[str, Any] = {}
    for name in ("llama", "vit", "resnet"):
        whole, plan = whole_and_plan(name)
        reference = built(name)
        plan.apply(reference, seed=3)
        with torch.device("meta"):
            model = built(name)
        fsdp(model)
        initcfg.materialize(model, plan=plan, seed=3)
        meant, here = reference(reference.example()), model(model.example())
        found[name] = torch.equal(meant, here)
        here.sum().backward()
        if name == "llama":
            found["tie"] = model.head.weight is model.embed.weight
        with torch.device("meta"):
            model = built(name)
        half = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
        sharded(model, mesh_of_all(), mp_policy=half, offload_policy=CPUOffloadPolicy(pin_memory=False))
        initcfg.materialize(model, plan=plan, seed=3)
        found[f"{name}, half"] = gathered_differences(model, whole)
        if name != "resnet":
            # torch's batch_norm does not take half of its tensors in another type.
            found[f"{name}, type"] = str(model(model.example()).dtype)
    return found


def test_the_forward_pass_is_the_whole_models() -> None:
    for found in values_of(run_ranks(2, policies)):
        for name in ("llama", "vit", "resnet"):
            assert found[name]
            assert found[f"{name}, half"] == []
            assert found.get(f"{name}, type", "torch.bfloat16") == "torch.bfloat16"
        assert found["tie"]


def failing(rank: int, world: int) -> list[Any]:
    """A write that fails on one rank, with a copy and without."""
    from initcfg._stream.writing.stream import StreamWriter

    plan = initcfg.trace(lambda: built("vit"))
    flush = StreamWriter.flush

    def broken(self: StreamWriter) -> None:
        flush(self)
        if rank == 1:
            raise OSError("no more numbers")

    found: list[Any] = []
    for atomic in (True, False):
        model = built("vit", seed=5)
        fsdp(model)
        before = {name: tensor.detach().full_tensor() for name, tensor in model.named_parameters()}
        StreamWriter.flush = broken  # type: ignore[method-assign]
        try:
            plan.apply(model, seed=3, atomic=atomic)
        except (errors.InitcfgError, OSError) as error:
            found.append(f"{type(error).__name__}: {error}".splitlines()[0])
        finally:
            StreamWriter.flush = flush  # type: ignore[method-assign]
        same = [
            name for name, each in model.named_parameters() if torch.equal(each.full_tensor(), before[name])
        ]
        found.append(len(same) == len(before))
    plan.apply(model, seed=3, atomic=True)
    whole, _ = whole_and_plan("vit")
    return [*found, gathered_differences(model, whole)]


def test_atomic_on_shards() -> None:
    first, second = values_of(run_ranks(2, failing))
    assert first[0].startswith("AgreementError: Rank 1 failed, so all stop: OSError: no more numbers")
    assert second[0] == "OSError: no more numbers"
    for found in (first, second):
        assert "no more numbers" in found[2]
        assert found[1::2][:2] == [True, False]
        assert found[4] == []
