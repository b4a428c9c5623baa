"""What is recorded with fewer looks is what the recorder finds with all of them: steps, writers, bits."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import initcfg
from initcfg._record import default_of
from initcfg._record.recording import Recorder, outcome
from initcfg._record.recording.storage import Operand
from initcfg._record.recording.usual import UsualOperations


class Holder(nn.Module):
    def __init__(self, fill: Callable[[nn.Module], object]) -> None:
        super().__init__()
        fill(self)


def parameter(*sizes: int, **options: Any) -> nn.Parameter:
    return nn.Parameter(torch.empty(*(sizes or (6, 5)), **options))


def layers(module: nn.Module) -> None:
    module.kids = nn.Sequential(
        nn.Linear(3, 4),
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
        nn.LayerNorm(4),
        nn.Embedding(5, 4, padding_idx=1),
        nn.LSTM(3, 4),
        nn.MultiheadAttention(8, 2),
        nn.TransformerEncoderLayer(8, 2),
        nn.PReLU(),
    )


def types(module: nn.Module) -> None:
    for name in ("float64", "float16", "bfloat16"):
        setattr(module, name, nn.BatchNorm1d(4, dtype=getattr(torch, name)))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        module.wide = nn.Linear(3, 4)
    finally:
        torch.set_default_dtype(before)
    module.register_buffer("complex", torch.zeros(3, dtype=torch.complex64))
    module.register_buffer("whole", torch.zeros(3, dtype=torch.long).fill_(7))
    module.register_buffer("truth", torch.tensor(False))
    module.truth.fill_(True)


def writes(module: nn.Module) -> None:
    fills: list[Callable[[torch.Tensor], object]] = [
        lambda p: p.zero_(),
        lambda p: p.fill_(2),
        lambda p: p.fill_(True),
        lambda p: p.fill_(2**60),
        lambda p: p.fill_(-0.0),
        lambda p: p.fill_(float("inf")),
        lambda p: p.fill_(torch.tensor(1.5)),
        lambda p: p.normal_(),
        lambda p: p.normal_(mean=1, std=0.1),
        lambda p: p.normal_(generator=torch.Generator().manual_seed(3)),
        lambda p: p.uniform_(),
        lambda p: p.uniform_(to=3),
        lambda p: p.uniform_(0, 1).mul_(2).sub_(1),
        lambda p: p.normal_()[0].zero_(),
        lambda p: p[:, 2].fill_(1),
        lambda p: p.t().normal_(),
        lambda p: p.view(-1).uniform_(),
        lambda p: p.view(30)[:10].zero_(),
        lambda p: p.view(30)[10:].zero_(),
        lambda p: p.expand(2, 6, 5).zero_(),
        lambda p: p.as_strided((5, 6), (6, 1)).normal_(),
        lambda p: p.view(torch.int32).zero_(),
        lambda p: p.zero_().fill_(0.0),
        lambda p: p.normal_().zero_().normal_(),
        lambda p: torch.fill_(p, 3.0),
        lambda p: p.copy_(torch.randn(6, 5)),
        lambda p: p.bernoulli_(0.3),
        lambda p: nn.init.kaiming_uniform_(p, a=2),
        lambda p: nn.init.constant_(p, 0.5),
        lambda p: nn.init.normal_(p, torch.tensor(0.5).item(), 2),
    ]
    for index, fill in enumerate(fills):
        weight = parameter()
        with torch.no_grad():
            fill(weight)
        module.register_parameter(f"weight{index}", weight)
    for index, made in enumerate(
        [
            torch.zeros(3),
            torch.ones(2, 3) * 2,
            torch.full((3,), 2.0),
            torch.rand(3),
            torch.zeros(()),
            torch.empty(0).normal_(),
            torch.empty(2, 3, 4, 5, memory_format=torch.channels_last).normal_(),
            torch.empty_strided((3, 2), (4, 1)).zero_(),
            torch.zeros((2, 3), pin_memory=False),
        ]
    ):
        module.register_parameter(f"made{index}", nn.Parameter(made))


def seeds(module: nn.Module) -> None:
    for index in range(3):
        torch.manual_seed(3)
        weight = parameter()
        nn.init.normal_(weight, std=1 + index // 2)
        module.register_parameter(f"seeded{index}", weight)
    state = torch.get_rng_state()
    module.first = nn.Parameter(torch.empty(4).uniform_())
    torch.set_rng_state(state)
    module.again = nn.Parameter(torch.empty(4).uniform_())


def looks(module: nn.Module) -> None:
    module.looked = parameter()
    nn.init.normal_(module.looked)
    module.register_buffer("total", torch.tensor(float(module.looked.sum())))
    module.handed = parameter()
    nn.init.zeros_(module.handed)
    module.handed.data.numpy()[0] = 1
    nn.init.ones_(module.handed)
    module.counter = nn.BatchNorm1d(3)
    module.counter.num_batches_tracked.add_(2)
    module.counter.num_batches_tracked.zero_()


class Tagged(torch.Tensor):
    pass


def subclasses(module: nn.Module) -> None:
    module.register_buffer("tagged", torch.empty(3).as_subclass(Tagged))
    with torch.no_grad():
        module.tagged.normal_()
    module.weight = parameter()
    nn.init.ones_(module.weight)


class OneMore(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.fill_:
            args = args[0], args[1] + 1
        if func is torch.empty:
            func = torch.ones
        return func(*args, **(kwargs or {}))


class OneLess(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.fill_.Scalar:
            args = args[0], args[1] - 1
        if func is torch.ops.aten.zero_.default:
            return args[0].fill_(9)
        return func(*args, **(kwargs or {}))


def under(mode: Callable[[], Any]) -> Callable[[nn.Module], None]:
    def fill(module: nn.Module) -> None:
        with mode():
            layers(module)

    return fill


def elsewhere(module: nn.Module) -> None:
    thread = threading.Thread(target=layers, args=(module,))
    thread.start()
    thread.join()


class Own(nn.Linear):
    def reset_parameters(self) -> None:
        nn.init.ones_(self.weight)
        self.bias.data.normal_(0, 0.1)


def overridden(module: nn.Module) -> None:
    module.own = Own(3, 4)


CASES: dict[str, Callable[[nn.Module], None]] = {
    "layers": layers,
    "types": types,
    "writes": writes,
    "seeds": seeds,
    "looks": looks,
    "subclasses": subclasses,
    "function mode": under(OneMore),
    "dispatch mode": under(OneLess),
    "device": under(lambda: torch.device("cpu")),
    "thread": elsewhere,
    "overridden": overridden,
}


def record(fill: Callable[[nn.Module], None], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """All that is known of a deferred build, and what comes of it."""
    made: list[Recorder] = []
    init = Recorder.__init__

    def noted(self: Recorder, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        made.append(self)

    torch.manual_seed(1)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "__init__", noted)
        with initcfg.deferred():
            model = Holder(fill)
    (recorder,) = made
    numbers: dict[int, int] = {}
    draws: dict[object, int] = {}

    def told(item: Any) -> Any:
        if isinstance(item, Operand):
            return numbers.setdefault(id(item.tracked), len(numbers)), item.region, repr(item.known)
        return f"tensor of {tuple(item.shape)}" if isinstance(item, torch.Tensor) else repr(item)

    def generator(text: str) -> str:
        return "generator" if "torch._C.Generator" in text else text

    steps = [
        (
            str(step.func) if hasattr(step.func, "overloads") or hasattr(step.func, "_schema") else "sampler",
            [told(each) for each in step.args],
            {name: generator(str(told(each))) for name, each in step.kwargs.items()},
            [numbers.setdefault(id(each), len(numbers)) for each in step.reads],
            [numbers.setdefault(id(each), len(numbers)) for each in step.writes],
            [None if each is None else told(each) for each in step.outs],
            draws.setdefault(step.draw, len(draws)) if step.random else None,
            (step.draws, repr(step.value), step.overwrites, step.done, step.seen, step.hidden),
            {numbers[key]: repr(each) for key, each in (step.before or {}).items()},
        )
        for step in recorder.log.steps
    ]
    written = {
        number: [
            (each.region, repr(each.known), each.code, each.call, each.place, each.change)
            for each in storage.layers
        ]
        for storage in recorder._storages.values()
        if (number := numbers.get(id(storage))) is not None
    }
    defaults = {
        name: (repr(found.value), found.outcome.told, found.outcome.reason, found.outcome.partly)
        for name, each in model.named_parameters()
        if (found := default_of(each)) is not None
    }
    plan = initcfg.plan(model)
    ledger = plan.apply(model, seed=7).to_json()
    state = {name: repr(each.tolist()) for name, each in model.state_dict().items()}
    torch.manual_seed(5)
    with initcfg.deferred():
        other = Holder(fill)
    initcfg.plan(other).apply(other, rng="torch")
    theirs = {name: repr(each.tolist()) for name, each in other.state_dict().items()}
    return steps, written, defaults, plan.to_json(), ledger, state, theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_fewer_looks_find_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = record(CASES[name], monkeypatch)
    taken = 0
    usual = UsualOperations._record_usual

    def counted(*args: Any) -> Any:
        nonlocal taken
        result = usual(*args)
        taken += result is not None
        return result

    with monkeypatch.context() as patch:
        patch.setattr(UsualOperations, "_record_usual", counted)
        assert record(CASES[name], monkeypatch) == found
    assert taken
    with monkeypatch.context() as patch:
        patch.setattr(UsualOperations, "_record_usual", lambda *_: None)
        patch.setattr(outcome, "_usual_outcome", lambda *_: None)
        plain = record(CASES[name], monkeypatch)
    for fast, slow in zip(found, plain, strict=True):
        assert fast == slow


def test_what_code_has_replaced_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def ones_(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.data.fill_(1.0).mul_(3)

    def zero_(self: torch.Tensor) -> torch.Tensor:
        return self.fill_(5)

    monkeypatch.setattr(nn.init, "ones_", ones_)
    monkeypatch.setattr(nn.init, "_no_grad_zero_", lambda tensor: tensor.data.fill_(7))
    monkeypatch.setattr(torch.Tensor, "zero_", zero_, raising=False)
    with initcfg.deferred():
        model = nn.BatchNorm2d(3)
    assert model.running_mean.tolist() == [5.0] * 3
    initcfg.plan(model).apply(model)
    assert model.weight.tolist() == [3.0] * 3
    assert model.bias.tolist() == [7.0] * 3


def test_a_leaf_that_needs_a_gradient_is_still_refused() -> None:
    with initcfg.deferred():
        weight = parameter()
        for fill in (weight.zero_, weight.normal_, weight.uniform_):
            with pytest.raises(RuntimeError, match="leaf Variable"):
                fill()
