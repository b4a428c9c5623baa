"""A deferred build under torch's generator, against the plain build: all numbers, and the generator after."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import ApplyError

Part = Callable[[nn.Module, str], object]
SEED, OTHER = 7, 8


def parameter(make: Callable[[], torch.Tensor]) -> Part:
    return lambda module, name: setattr(module, name, nn.Parameter(make().float()))


def buffer(make: Callable[[], torch.Tensor]) -> Part:
    return lambda module, name: module.register_buffer(name, make())


def layer(make: Callable[[], nn.Module], *after: Callable[[Any], object]) -> Part:
    def add(module: nn.Module, name: str) -> None:
        setattr(module, name, made := make())
        for each in after:
            each(made)

    return add


def table() -> torch.Tensor:
    return torch.from_numpy(np.arange(5, dtype=np.float32))


def changed(make: Callable[[], torch.Tensor], change: Callable[[torch.Tensor], object]) -> Part:
    def add(module: nn.Module, name: str) -> None:
        setattr(module, name, nn.Parameter(make()))
        change(getattr(module, name).data)

    return add


def linear() -> nn.Linear:
    return nn.Linear(5, 3)


def normal_and_bare(module: nn.Module, name: str) -> None:
    setattr(module, name, [torch.randn(3)])
    torch.randint(0, 3, (4,))
    torch.rand(3)


def weight_as_buffer(module: nn.Module, name: str) -> None:
    setattr(module, name, made := linear())
    module.register_buffer(f"{name}_copy", made.weight.detach().clone())
    module.register_buffer(f"{name}_norm", made.bias.detach().norm())


def buffer_in_weight(module: nn.Module, name: str) -> None:
    module.register_buffer(f"{name}_table", torch.rand(4))
    setattr(module, name, nn.Parameter(getattr(module, f"{name}_table") * torch.rand(4)))


# What draws, in ways that no other seed makes different.
DRAWS: dict[str, Part] = {
    "linear": layer(linear),
    "attention": layer(lambda: nn.MultiheadAttention(8, 2)),
    "norm": layer(lambda: nn.BatchNorm1d(4)),
    "embedding": layer(lambda: nn.Embedding(6, 3, padding_idx=0)),
    "truncated": layer(linear, lambda made: nn.init.trunc_normal_(made.weight)),
    "orthogonal": layer(linear, lambda made: nn.init.orthogonal_(made.weight)),
    "sparse": layer(linear, lambda made: nn.init.sparse_(made.weight, 0.3)),
    "old spectral norm": layer(lambda: nn.utils.spectral_norm(linear())),
    "spectral norm": layer(lambda: nn.utils.parametrizations.spectral_norm(linear())),
    "weight norm": layer(lambda: nn.utils.parametrizations.weight_norm(linear())),
    "buffer": buffer(lambda: torch.randn(17)),
    "strided buffer": buffer(lambda: torch.rand(3, 4).t()),
    "randint": buffer(lambda: torch.randint(0, 9, (5,))),
    "randperm": buffer(lambda: torch.randperm(5)),
    "held and not held": normal_and_bare,
    "normal": parameter(lambda: torch.normal(0.0, 1.0, (20,))),
    "bernoulli": parameter(lambda: torch.bernoulli(torch.full((9,), 0.3))),
    "of probabilities": parameter(lambda: torch.empty(5).bernoulli_(torch.rand(5))),
    "exponential": parameter(lambda: torch.empty(9).exponential_(2.0)),
    "poisson": parameter(lambda: torch.poisson(torch.rand(9) * 5)),
    "multinomial": parameter(lambda: torch.multinomial(torch.rand(9), 4)),
    "dropout": parameter(lambda: nn.functional.dropout(torch.rand(9), 0.5, True)),
    "explicit": parameter(lambda: torch.empty(5).uniform_(generator=torch.default_generator)),
    "product": parameter(lambda: torch.rand(5) * torch.randn(5)),
    "part": changed(lambda: torch.arange(5.0), lambda data: data[:2].normal_()),
    "copied": weight_as_buffer,
    "from a buffer": buffer_in_weight,
}
# What must not be done a second time.
DONE: dict[str, Part] = {
    "own generator": parameter(lambda: torch.empty(5).uniform_(generator=torch.Generator().manual_seed(3))),
    "list": changed(lambda: torch.tensor([0.0, 1, 2, 3]), lambda data: data.mul_(2)),
    "Tensor": changed(lambda: torch.Tensor([0.0, 1, 2, 3]), lambda data: data.mul_(2)),
    "from_numpy": changed(table, lambda data: data.mul_(2)),
    "as_tensor": changed(lambda: torch.as_tensor(np.arange(4.0)), lambda data: data.add_(2)),
    "frombuffer": changed(
        lambda: torch.frombuffer(bytearray(bytes(16)), dtype=torch.float32), lambda data: data.add_(2)
    ),
    "numpy": layer(
        linear, lambda made: (made.bias.data.zero_(), made.bias.detach().numpy().__setitem__(slice(None), 5))
    ),
}
# What is another thing for another seed, or may be.
LOOKS: dict[str, Part] = {
    "unique": parameter(lambda: torch.rand(5).unique()),
    "item": layer(linear, lambda made: made.weight.max().item() > 0.1 and nn.init.zeros_(made.bias)),
    "tolist": lambda module, name: setattr(module, name, sum(torch.rand(3).tolist())),
    "as many": layer(linear, lambda made: [torch.rand(2) for _ in range(int(made.weight[0, 0] * 99) % 4)]),
    "through numpy": layer(linear, lambda made: made.weight.detach().numpy().__imul__(2)),
}


def forked(module: nn.Module, name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        setattr(module, name, nn.Parameter(torch.randn(3)))
        module.register_buffer(f"{name}_fixed", torch.rand(2))


SETS: dict[str, Part] = {
    "manual_seed": lambda module, name: torch.manual_seed(3),
    "fork_rng": forked,
    "set_state": lambda module, name: torch.set_rng_state(torch.get_rng_state()),
}


class Assembled(nn.Module):
    def __init__(self, parts: list[Part]) -> None:
        super().__init__()
        for index, add in enumerate(parts):
            add(self, f"part{index}")


def plain(parts: list[Part]) -> tuple[dict[str, Any], torch.Tensor]:
    torch.manual_seed(SEED)
    model = Assembled(parts)
    return numbers(model), torch.get_rng_state()


def deferred(parts: list[Part], seed: int = SEED) -> Assembled:
    torch.manual_seed(seed)
    with initcfg.deferred():
        return Assembled(parts)


def numbers(model: nn.Module) -> dict[str, Any]:
    """All tensors of a model, by name, those that no state_dict has too."""
    found: dict[str, Any] = {}
    for prefix, module in model.named_modules():
        for name, item in {**vars(module), **module._parameters, **module._buffers}.items():
            tensor = item[0] if type(item) is list and item else item
            if isinstance(tensor, torch.Tensor):
                found[f"{prefix}.{name}"] = tensor.dtype, tensor.shape, repr(tensor.tolist())
    return found


def parts_of(*names: str) -> list[Part]:
    every = {**DRAWS, **DONE, **LOOKS, **SETS}
    # Draws on both sides, so that a shift shows.
    return [every["linear"], every["buffer"], *map(every.__getitem__, names), every["linear"]]


@pytest.mark.parametrize("again", [False, True], ids=["seeded once", "seeded again"])
@pytest.mark.parametrize("name", [*DRAWS, *DONE, *LOOKS, *SETS])
def test_one_seed_before_the_build_gives_the_plain_build(name: str, again: bool) -> None:
    expected, after = plain(parts_of(name))
    model = deferred(parts_of(name))
    if again:
        torch.manual_seed(SEED)
    initcfg.plan(model).apply(model, rng="torch")
    assert numbers(model) == expected
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("name", [*DRAWS, *DONE])
def test_another_seed_after_the_build_draws_everything_anew(name: str) -> None:
    expected, after = plain(parts_of(name))
    model = deferred(parts_of(name), OTHER)
    initcfg.plan(model).apply(model, seed=SEED, rng="torch")
    assert numbers(model) == expected
    assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("name", [*LOOKS, *SETS])
def test_what_cannot_be_drawn_anew_is_refused(name: str) -> None:
    model = deferred(parts_of(name), OTHER)
    with pytest.raises(ApplyError, match="cannot be drawn again: its code") as error:
        initcfg.plan(model).apply(model, seed=SEED, rng="torch")
    assert "torch.manual_seed" in str(error.value.fix)
    # The stream does not ask.
    model = deferred(parts_of(name), OTHER)
    assert initcfg.plan(model).apply(model, seed=SEED)["part0.weight"].by == "default"


@pytest.mark.parametrize("seed", range(60))
def test_drawn_constructors(seed: int) -> None:
    choice = random.Random(seed)
    every = list({**DRAWS, **DONE, **LOOKS, **SETS}.values())
    parts = [DRAWS["linear"], *(choice.choice(every) for _ in range(choice.randint(1, 9)))]
    expected, after = plain(parts)
    model = deferred(parts)
    initcfg.plan(model).apply(model, rng="torch")
    assert numbers(model) == expected
    assert torch.equal(torch.get_rng_state(), after)
    repeatable = [*DRAWS.values(), *DONE.values()]
    parts = [DRAWS["linear"], *(choice.choice(repeatable) for _ in range(choice.randint(1, 9)))]
    expected, after = plain(parts)
    model = deferred(parts, OTHER)
    torch.manual_seed(SEED)
    initcfg.plan(model).apply(model, rng="torch")
    assert numbers(model) == expected
    assert torch.equal(torch.get_rng_state(), after)


def test_a_buffer_that_was_changed_since_is_not_overwritten() -> None:
    model = deferred(parts_of("buffer"), OTHER)
    model.get_buffer("part1").add_(1)
    held = model.get_buffer("part1").tolist()
    plan = initcfg.plan(model)
    with pytest.raises(ApplyError, match="has been changed since"):
        plan.apply(model, seed=SEED, rng="torch")
    assert model.get_buffer("part1").tolist() == held
    model = deferred(parts_of("buffer"))
    model.get_buffer("part1").add_(1)
    held = model.get_buffer("part1").tolist()
    initcfg.plan(model).apply(model, rng="torch")
    assert model.get_buffer("part1").tolist() == held


def test_a_generator_that_was_moved_unseen_is_told() -> None:
    unseen: Part = lambda module, name: torch.default_generator.manual_seed(5)  # noqa: E731
    model = deferred([DRAWS["linear"], unseen, DRAWS["linear"]])
    with pytest.raises(ApplyError, match="in a way that no record shows"):
        initcfg.plan(model).apply(model, rng="torch")


def test_builds_in_turn_are_the_plain_ones() -> None:
    torch.manual_seed(SEED)
    expected = [numbers(Assembled(parts_of("item"))) for _ in range(2)]
    torch.manual_seed(SEED)
    found = []
    for _ in range(2):
        with initcfg.deferred():
            model = Assembled(parts_of("item"))
        initcfg.plan(model).apply(model, rng="torch")
        found.append(numbers(model))
    assert found == expected
    first = deferred(parts_of("item"))
    with initcfg.deferred():
        Assembled(parts_of("item"))
    with pytest.raises(ApplyError, match="seeded or used since"):
        initcfg.plan(first).apply(first, rng="torch")


def test_what_is_drawn_anew_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model = deferred(parts_of("buffer"), OTHER)
    initcfg.plan(model).apply(model, seed=SEED, rng="torch")
    model = deferred(parts_of("buffer"))
    initcfg.plan(model).apply(model, rng="torch")
    assert "drawn anew" not in caplog.text
    model = deferred(parts_of("buffer"))
    torch.rand(1)
    initcfg.plan(model).apply(model, rng="torch")
    assert "drawn anew" in caplog.text


def test_after_a_failure_what_waits_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, after = plain([DRAWS["linear"], DRAWS["part"]])
    model = deferred([DRAWS["linear"], DRAWS["part"]])
    plan = initcfg.plan(model)
    with monkeypatch.context() as patch:
        patch.setattr("initcfg._apply.execution.Execution.run_tape", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            plan.apply(model, rng="torch", atomic=True)
    torch.manual_seed(SEED)
    plan.apply(model, rng="torch")
    assert numbers(model) == expected
    assert torch.equal(torch.get_rng_state(), after)


def test_build_seeds_before_the_constructors_draw() -> None:
    expected, after = plain(parts_of("buffer", "item"))

    config = dict(type=Assembled, parts=parts_of("buffer", "item"))
    torch.manual_seed(OTHER)
    model = initcfg.build(config, seed=SEED, rng="torch")
    assert numbers(model) == expected
    assert torch.equal(torch.get_rng_state(), after)
    torch.manual_seed(SEED)
    assert numbers(initcfg.build(config, rng="torch")) == expected
