"""Wrappers: a model under them, or a checkpoint that was saved under them, or both, or parts of both."""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

import initcfg
from initcfg import errors

ADDED = ["module.", "_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module."]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2)
        self.two = nn.Linear(2, 2)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(2, 2)
        self.blocks = nn.Sequential(Block(), Block())


def loaded(model: nn.Module, state: dict[str, torch.Tensor], **more: object) -> initcfg.Plan:
    plan = initcfg.plan(model, {"type": "Pretrained", "checkpoint": state, **more})
    plan.apply(model, seed=0)
    return plan


def compiled(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        # What torch.compile says of torch.jit on import.
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.compile(module)  # type: ignore[return-value]


def wrapped_in(kind: str) -> Net:
    model = Net()
    if kind == "checkpointing":
        apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, Block))
    elif kind == "checkpointing twice":
        apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, nn.Linear))
        apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, Block))
    elif kind == "compiled":
        model.blocks[1] = compiled(model.blocks[1])
    elif kind == "parallel":
        model.blocks[0] = nn.DataParallel(model.blocks[0])
        model.stem = nn.DataParallel(model.stem)  # type: ignore[assignment]
    elif kind == "both":
        model.blocks[1] = compiled(nn.DataParallel(model.blocks[1]))
    return model


def raw_names(model: nn.Module) -> list[str]:
    """With all that wrappers add: their own hooks take some of it off in a ``state_dict``."""
    return [name for name, _ in model.named_parameters()]


KINDS = ["none", "checkpointing", "checkpointing twice", "compiled", "parallel", "both"]


@pytest.mark.parametrize(("here", "there"), [*itertools.product(KINDS, KINDS)])
def test_any_wrapped_model_takes_what_any_other_saved(here, there):
    for outer in (lambda model: model, nn.DataParallel):
        saved, model = wrapped_in(there), outer(wrapped_in(here))
        own = list(saved.parameters())
        for names in (raw_names(saved), list(saved.state_dict())):
            plan = loaded(model, dict(zip(names, own, strict=True)))
            load = plan.loads[0]
            assert (load.loaded, load.missing, load.unexpected) == (10, (), ())
            assert all(torch.equal(a, b) for a, b in zip(own, model.parameters(), strict=True))
            assert list(plan.parameters) == list(dict(Net().named_parameters()))


@pytest.mark.parametrize("added", ADDED)
def test_half_of_the_keys_with_and_half_without(added):
    names = [name for name, _ in Net().named_parameters()]
    for half in (0, 1):
        state = {}
        for index, name in enumerate(names):
            *modules, last = name.split(".")
            written = ".".join([*modules, added + last]) if index % 2 == half else name
            state[written] = torch.full((2, 2) if last == "weight" else (2,), float(index))
        model = Net()
        assert loaded(model, state).loads[0].loaded == 10
        assert [tensor.max().item() for tensor in model.parameters()] == list(range(10))


def test_a_real_child_called_module_wins():
    class Owner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2, bias=False)
            self.module = nn.Linear(2, 2, bias=False)

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 2))
            self.module = nn.Linear(2, 2, bias=False)

    ones, twos = torch.ones(2, 2), torch.full((2, 2), 2.0)
    model = Owner()
    plan = loaded(model, {"first.module.weight": ones, "module._orig_mod.weight": twos})
    assert plan.loads[0].unexpected == ()
    assert torch.equal(model.first.weight, ones) and torch.equal(model.module.weight, twos)
    # Both names are the module's own; under DataParallel, both are "module." more.
    for start in ("", "module."):
        for model in (Holder(), nn.DataParallel(Holder())):
            loaded(model, {f"{start}weight": ones, f"{start}module.weight": twos})
            inner = model.module if isinstance(model, nn.DataParallel) else model
            assert torch.equal(inner.weight, ones) and torch.equal(inner.module.weight, twos)


def test_an_exact_key_wins_over_one_that_only_means_it():
    ones, twos = torch.ones(2, 2), torch.full((2, 2), 2.0)
    model = nn.Linear(2, 2, bias=False)
    for state in ({"weight": ones, "_orig_mod.weight": twos}, {"module.weight": twos, "weight": ones}):
        plan = loaded(model, state)
        assert torch.equal(model.weight, ones)
        assert plan.loads[0].unexpected == tuple(key for key in state if key != "weight")
    with pytest.raises(errors.CheckpointError, match=r"both mean 'weight'.*wrappers") as caught:
        loaded(model, {"module.weight": ones, "_checkpoint_wrapped_module.weight": twos})
    assert caught.value.fix == "Say by prefix which of them to take."
    loaded(model, {"module.weight": ones, "_orig_mod.weight": twos}, prefix="_orig_mod")
    assert torch.equal(model.weight, twos)


def test_prefix_rename_and_patterns_go_by_plain_names():
    state = {
        "module.net._checkpoint_wrapped_module.0.module.weight": torch.ones(2, 2),
        "net.0._fsdp_wrapped_module.bias": torch.ones(2),
    }
    model = nn.Sequential(nn.Linear(2, 2))
    assert loaded(model, state, prefix="net.", strict="all").loads[0].loaded == 2
    renamed = nn.Sequential()
    renamed.fc = nn.Linear(2, 2)
    assert loaded(renamed, state, rename=[(r"^net\.0\.", "fc.")], strict="all").loads[0].loaded == 2
    # What wrappers add is off already: a rename that takes it off is no mistake.
    inner = {
        f"0._checkpoint_wrapped_module.{name}": item for name, item in nn.Linear(2, 2).state_dict().items()
    }
    rule = {r"_checkpoint_wrapped_module\.": ""}
    assert loaded(model, inner, rename=rule, strict="all").loads[0].loaded == 2
    with pytest.raises(errors.PatternError, match="matches no key"):
        loaded(model, inner, rename={r"_checkpoint_wrapped_module\.": "inner."})
    wrapped = wrapped_in("checkpointing")
    plan = loaded(wrapped, dict(Net().state_dict()), include="blocks.0.one")
    assert plan.loads[0].loaded == 2


def test_mappings_of_fused_projections_find_their_way_under_wrappers():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(2, 6, bias=False)

    model = nn.Sequential(Attention(), Attention())
    state = {
        f"{index}.{added}{role}_proj.weight": torch.full((2, 2), float(value))
        for index, added in ((0, "_orig_mod."), (1, "module."))
        for value, role in enumerate("qkv")
    }
    plan = loaded(model, state, adapt="qkv", strict="all")
    assert plan.loads[0].loaded == 2
    assert model.state_dict()["1.qkv.weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_the_original_strips_module_at_the_beginning_and_its_later_key_wins():
    ones, twos = torch.ones(2, 2), torch.full((2, 2), 2.0)
    model = nn.Linear(2, 2, bias=False)
    rule = {"type": "Pretrained", "checkpoint": {"module.weight": ones, "weight": twos}}
    initcfg.init_weights(model, rule, compat="mmengine")
    assert torch.equal(model.weight, twos)
    wrapped = wrapped_in("checkpointing")
    state = dict(Net().state_dict())
    plan = initcfg.plan(wrapped, {"type": "Pretrained", "checkpoint": state}, compat="mmengine")
    assert plan.loads[0].loaded == 10
