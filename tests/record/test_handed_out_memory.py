"""Memory that code was handed changes without an operation: what it holds when it is used counts."""

from __future__ import annotations

import ctypes
import threading
import warnings

import numpy as np
import pytest
import torch
from held_tensors import bits, holding, tensors_of
from torch import nn

import initcfg

BIG = 1 << 19
ARRAY = np.zeros(4, np.float32)
MADE_BEFORE = torch.zeros(4)


def zeros():
    return torch.zeros(4)


def numpy_then_clone():
    t = zeros()
    t.numpy()[:] = [1, 2, 3, 4]
    return t.clone(), t * 2, torch.stack([t, t])[1], t[1:], t.flip(0)


def view_first():
    t = zeros()
    n = t.numpy()
    t.zero_()
    n[0] = 9
    copied = torch.empty(4)
    copied.copy_(t)
    return t + 1, copied, t.clone(), torch.empty(4).fill_(t[0]), torch.full((4,), t[0].item())


def after_a_write():
    t = zeros()
    n = t.numpy()
    t.fill_(1.0)
    n *= 3
    one = t.clone()
    n += 1
    two = t.clone()
    t.mul_(2)
    three = t.clone()
    n += 1
    return one, two, three, t.clone(), t


def unchanged():
    t = zeros()
    t.numpy()
    t.fill_(2.0)
    return t.clone(), t * 2, t


def whose_reader_waits():
    t = torch.full((4,), 2.0)
    copied, random = torch.empty(4), torch.empty(4)
    copied.copy_(t)
    with_one, doubled = t + torch.ones(4), t * 2
    mixed = torch.where(random.uniform_() > 2, t, doubled)
    t.numpy()[:] = 5
    return copied, with_one, doubled, mixed, t.clone()


def from_numpy():
    n = np.zeros(4, np.float32)
    t = torch.from_numpy(n)
    first = t.clone()
    t.fill_(1.0)
    n *= 3
    return first, t.clone(), t * 1, t


def frombuffer():
    memory = bytearray(np.arange(4, dtype=np.float32).tobytes())
    t = torch.frombuffer(memory, dtype=torch.float32)
    first = t + 0
    memory[:4] = np.float32(9).tobytes()
    second = t.clone()
    t.zero_()
    memory[:4] = np.float32(7).tobytes()
    memoryview(memory).cast("f")[1] = 5.0
    return first, second, t.clone(), t


def of_an_array(function):
    def made():
        n = np.zeros(4, np.float32)
        t = function(n)
        t.fill_(1.0)
        n += 4
        return t.clone(), t * 2

    return made


def large():
    n = np.ones(BIG, np.float32)
    t = torch.from_numpy(n)
    t.mul_(2)
    one = t[:3].clone()
    n *= 2
    return one, t[-3:].clone(), t.view(2, -1)[1, :3] + 1


def large_made_elsewhere():
    t = LARGE.pop()
    t.mul_(2)
    return t[:3].clone(), t[-3:] + 1


def dlpack():
    t = zeros()
    n = np.from_dlpack(t)
    alias = torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(t))
    t.fill_(3.0)
    alias.mul_(2)
    one = t.clone()
    t.add_(1)
    return one, alias.clone(), t.clone(), torch.from_numpy(n.copy())


def by_address():
    t, source = zeros(), torch.arange(4.0)
    address = t.data_ptr()
    t.fill_(1.0)
    ctypes.memmove(address, source.data_ptr(), 8)
    one = t.clone()
    ctypes.memmove(t.untyped_storage().data_ptr(), source.data_ptr(), 16)
    return one, t + 1, source.clone()


def by_a_storage():
    one, two, three, four = (torch.ones(4) for _ in range(4))
    one.untyped_storage().fill_(0)
    two.untyped_storage()[3] = 66
    three.untyped_storage().copy_(torch.arange(4.0).untyped_storage())
    waits = four * 2
    four.fill_(3.0)
    five = torch.zeros(4)
    five.untyped_storage().copy_(four.untyped_storage())
    return one, two.clone(), three * 2, four.clone(), waits, five.clone()


def by_a_typed_storage():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = zeros(), zeros()
        one.storage()[1] = 7.0
        two._typed_storage().copy_(torch.arange(4.0)._typed_storage())
        one.storage().fill_(3.0)
    return one.clone(), two.clone()


def shared():
    t = zeros().share_memory_()
    t.fill_(3.0)
    source = torch.arange(2.0)
    ctypes.memmove(t.data_ptr(), source.data_ptr(), 8)
    return t.clone(), t * 2


def by_a_thread():
    t = zeros()
    n = t.numpy()
    t.fill_(2.0)
    thread = threading.Thread(target=lambda: n.__setitem__(0, 8.0))
    thread.start()
    thread.join()
    return t.clone(), t + t


def array_of():
    t = zeros()
    n = np.asarray(t)
    t.copy_(torch.arange(4.0))
    n[1] = 5
    return t.clone(), torch.cat([t, t])[2:6], torch.lerp(t, t + 1, 0.5)


def asked():
    t = zeros()
    n = t.numpy()
    t.fill_(1.0)
    n[0] = 3
    return torch.full((4,), float(t.sum())), zeros() + t.tolist()[0], zeros().index_fill(0, t[:1].long(), 2.0)


def never_written():
    t = torch.empty(4)
    t.numpy()[:] = [4, 3, 2, 1]
    return t.clone(), t * 2


def of_another_type():
    t = torch.zeros(4, dtype=torch.int64)
    n = t.numpy()
    t.fill_(3)
    n[1] = 5
    return t.float(), t.clone(), t.bfloat16().float()


def handed_out_before():
    ARRAY[:] = 0
    tensor = torch.zeros(4)
    MADE_BEFORE.fill_(1.0)
    ELSEWHERE[:] = 3
    return MADE_BEFORE.clone(), MADE_BEFORE * 2, tensor.copy_(MADE_BEFORE)


ELSEWHERE = MADE_BEFORE.numpy()


def applied():
    one, two, three = zeros(), torch.ones(4), torch.full((4,), 2.0)
    one.apply_(lambda x: x + 5.0)
    waits = two * 2
    two.map_(torch.arange(4.0), lambda a, b: a + b + 1)
    three.map2_(one, two, lambda a, b, c: a + b + c)
    return one.clone(), two * 1, three, waits, zeros().apply_(lambda x: 1.0)


LARGE: list[torch.Tensor] = []
CONSTANT = {
    "numpy, then clone": numpy_then_clone,
    "numpy first": view_first,
    "numpy, a write, numpy": after_a_write,
    "numpy, unchanged": unchanged,
    "a reader waits": whose_reader_waits,
    "from_numpy": from_numpy,
    "frombuffer": frombuffer,
    "as_tensor": of_an_array(torch.as_tensor),
    "asarray": of_an_array(torch.asarray),
    "from_dlpack": of_an_array(torch.from_dlpack),
    "large": large,
    "large, made elsewhere": large_made_elsewhere,
    "DLPack": dlpack,
    "address": by_address,
    "storage": by_a_storage,
    "typed storage": by_a_typed_storage,
    "shared": shared,
    "thread": by_a_thread,
    "array": array_of,
    "asked": asked,
    "never written": never_written,
    "integers": of_another_type,
    "before": handed_out_before,
    "apply_": applied,
}


class Built(nn.Module):
    """Holds what a function makes, as copies or as it is."""

    def __init__(self, make) -> None:
        super().__init__()
        LARGE[:] = [torch.ones(BIG)]
        with torch.no_grad():
            for index, tensor in enumerate(make()):
                if tensor.is_floating_point():
                    self.register_parameter(f"p{index}", nn.Parameter(tensor))
                else:
                    self.register_buffer(f"p{index}", tensor)
        self.last = nn.Linear(2, 2)


class Own(initcfg.BaseModule):
    """The same by its own init_weights."""

    def __init__(self, make) -> None:
        super().__init__()
        self.make = make
        LARGE[:] = [torch.ones(BIG)]
        for index, tensor in enumerate(make()):
            self.register_parameter(f"p{index}", nn.Parameter(torch.zeros(tensor.shape)))

    def init_weights(self) -> None:
        LARGE[:] = [torch.ones(BIG)]
        for index, tensor in enumerate(self.make()):
            getattr(self, f"p{index}").data.copy_(tensor)


def found_in(model):
    return {name: bits(tensor) for name, tensor in tensors_of(model).items() if name[0] == "p"}


def by_trace(build, **how):
    plan = initcfg.trace(build)
    model = build()
    plan.apply(model, **how)
    return model


def by_deferred(build, **how):
    with initcfg.deferred():
        model = build()
    initcfg.init_weights(model, **how)
    return model


BY = {"trace": by_trace, "deferred": by_deferred}
STREAMS = {"stream": dict(seed=1), "torch": dict(rng="torch")}


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("name", CONSTANT)
def test_what_is_computed_from_it_is_what_torch_computes(name, by, how):
    expected = found_in(Built(CONSTANT[name]))
    assert found_in(BY[by](lambda: Built(CONSTANT[name]), **STREAMS[how])) == expected


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("name", CONSTANT)
def test_own_code_is_done_as_it_says(name, how):
    plain, ours = Own(CONSTANT[name]), Own(CONSTANT[name])
    plain.init_weights()
    initcfg.init_weights(ours, **STREAMS[how])
    assert found_in(ours) == found_in(plain)


def random_then_numpy():
    t = torch.empty(4).normal_()
    n = t.numpy()
    n *= 3
    return t.clone(), t * 2, t


def numpy_then_random():
    t = torch.zeros(4)
    n = t.numpy()
    t.normal_()
    n += 1
    return t.clone(), t, torch.rand(4)


def numpy_overwrites():
    t = torch.empty(4).normal_()
    n = t.numpy()
    t.fill_(1.0)
    np.multiply(n, 3, out=n)
    return t.clone(), torch.rand(4)


def applied_to_random():
    t = torch.empty(4).normal_()
    copied = t.clone()
    t.apply_(lambda x: x * 2)
    return copied, t, t + 1


RANDOM = {
    "numpy after": random_then_numpy,
    "numpy before": numpy_then_random,
    "numpy overwrites": numpy_overwrites,
    "apply_": applied_to_random,
}


@pytest.mark.parametrize("name", RANDOM)
def test_of_random_numbers_a_trace_draws_what_torch_draws(name):
    def build():
        return holding(**{f"p{index}": tensor for index, tensor in enumerate(RANDOM[name]())})

    torch.manual_seed(3)
    expected, plan, ours = found_in(build()), initcfg.trace(build), build()
    torch.manual_seed(3)
    plan.apply(ours, rng="torch")
    assert found_in(ours) == expected


@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("name", ["numpy after", "numpy before", "apply_"])
def test_of_random_numbers_a_deferred_build_holds_what_belongs_together(name, how):
    def build():
        made = RANDOM[name]()
        return holding(p=made[0].clone(), q=made[1].clone())

    with initcfg.deferred():
        ours = build()
    initcfg.init_weights(ours, **STREAMS[how])
    factor = {"numpy after": 2, "numpy before": 1, "apply_": 2}[name]
    assert torch.equal(ours.q, ours.p * factor)
    assert ours.p.unique().numel() == 4


def test_a_write_after_the_build_is_kept():
    with initcfg.deferred():
        model = holding(p=torch.zeros(4))
        array = model.p.detach().numpy()
        model.p.data.fill_(1.0)
    array[:] = 5
    initcfg.init_weights(model, rng="torch")
    assert model.p.tolist() == [5.0] * 4
