"""The same weights whatever the order of modules, the wrapper, the compiler, or the neighbours."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import initcfg

RULES = [dict(type="Kaiming", layer="Conv2d"), dict(type="TruncNormal", layer="Linear", std=0.02)]


class Net(nn.Module):
    def __init__(self, order="abc", extra=False):
        super().__init__()
        make = {
            "a": lambda: nn.Conv2d(3, 8, 3),
            "b": lambda: nn.Linear(8, 16),
            "c": lambda: nn.MultiheadAttention(16, 4),
        }
        if extra:
            self.before = nn.Linear(100, 100)
        for name in order:
            setattr(self, name, make[name]())

    def forward(self, x):
        return self.b(self.a(x).mean((2, 3)))


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def initialized(build, wrap=lambda model: model, seed=5):
    with initcfg.deferred():
        model = build()
    initcfg.init_weights(wrap(model), RULES, seed=seed)
    return weights(model)


def same(one, other):
    shared = one.keys() & other.keys()
    assert shared
    return all(torch.equal(one[name], other[name]) for name in shared)


@pytest.mark.parametrize("order", ["cab", "bca"])
def test_order(order):
    assert same(initialized(Net), initialized(lambda: Net(order)))


def test_an_unrelated_module():
    assert same(initialized(Net), initialized(lambda: Net(extra=True)))


def test_another_seed_is_another_model():
    assert not same(initialized(Net), initialized(Net, seed=6))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_compile():
    assert same(initialized(Net), initialized(Net, torch.compile))


def test_data_parallel():
    assert same(initialized(Net), initialized(Net, nn.DataParallel))


def test_distributed_data_parallel(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        # What no rule reaches keeps what torch drew.
        torch.manual_seed(0)
        model = Net()
        initcfg.init_weights(model, RULES, seed=5)
        torch.manual_seed(0)
        wrapped = nn.parallel.DistributedDataParallel(Net())
        initcfg.init_weights(wrapped, RULES, seed=5)
        assert same(weights(model), weights(wrapped.module))
    finally:
        torch.distributed.destroy_process_group()


def test_threads_and_torch_state_do_not_matter():
    expected = initialized(Net)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3, 8):
            torch.set_num_threads(count)
            torch.manual_seed(count)
            assert same(expected, initialized(Net))
    finally:
        torch.set_num_threads(threads)


def test_memory_format_does_not_matter():
    plain = initialized(Net)
    model = Net().to(memory_format=torch.channels_last)
    initcfg.init_weights(model, RULES, seed=5)
    assert torch.equal(plain["a.weight"], model.a.weight)
    assert not model.a.weight.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_small_types_are_rounded(dtype):
    plain = initialized(Net)
    model = Net().to(dtype)
    initcfg.init_weights(model, RULES, seed=5)
    assert torch.equal(plain["b.weight"].to(dtype), model.b.weight)
    assert torch.equal(plain["a.weight"].to(dtype), model.a.weight)


SCRIPT = """
import hashlib, torch, initcfg
model = initcfg.build(dict(type="Conv2d", in_channels=64, out_channels=64, kernel_size=3), seed=11)
numbers = b"".join(each.detach().numpy().tobytes() for each in model.parameters())
print(hashlib.sha256(numbers).hexdigest())
"""


def test_two_processes():
    runs = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] != ""
