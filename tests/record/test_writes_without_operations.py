"""What writes a tensor, or gives it other memory, in ways of its own: it does so to what is recorded, too."""

from __future__ import annotations

import tempfile

import pytest
import torch
from held_tensors import bits, holding, tensors_of
from torch import nn

import initcfg

# Of methods in place, those that are no operation: what they are, and what they do while code is recorded.
NO_OPERATION = {
    "apply_": "hands memory out",
    "map_": "hands memory out",
    "map2_": "hands memory out",
    "share_memory_": "hands memory out",
    "_dtensor__new__": "makes a tensor",
}


def other_data():
    one, two = torch.zeros(4), torch.ones(4)
    one.data = two
    one.fill_(5.0)
    two.mul_(2)
    return one.clone(), two.clone()


def other_storage():
    one, two = torch.zeros(4), torch.ones(4)
    one.set_(two)
    one.fill_(5.0)
    three = torch.zeros(4)
    three.set_(two.untyped_storage(), 1, (2,), (2,))
    three.add_(1)
    return one.clone(), two.clone(), three.clone()


def swapped():
    one, two = torch.zeros(4), torch.ones(4)
    torch.utils.swap_tensors(one, two)
    one.mul_(3)
    return one.clone(), two.clone()


def of_a_vector():
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))]
    vector = torch.arange(4.0)
    torch.nn.utils.vector_to_parameters(vector, parameters)
    vector.mul_(2)
    return parameters[0].detach().clone(), parameters[1].detach().clone(), vector.clone()


def many_at_once():
    many = [torch.zeros(4), torch.ones(4)]
    torch._foreach_add_(many, 1.0)
    torch._foreach_mul_(many, [2.0, 3.0])
    torch._foreach_copy_(many, [each * 2 for each in many])
    return many[0], many[1]


def from_a_file():
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(torch.arange(4.0).untyped_storage().tolist()))
        file.flush()
        tensor = torch.from_file(file.name, shared=False, size=4)
        one = tensor.clone()
        tensor.add_(1)
        return one, tensor.clone()


def by_index():
    tensor = torch.zeros(4)
    tensor[1] = 2.0
    tensor[torch.tensor([True, False, False, True])] = torch.tensor([5.0, 6.0])
    tensor[2:] += 1
    del tensor.grad
    return tensor, tensor.clone()


def resized():
    tensor = torch.zeros(4)
    tensor.resize_(2).fill_(3.0)
    return tensor, tensor.clone()


WAYS = {
    "data": other_data,
    "set_": other_storage,
    "swap_tensors": swapped,
    "vector_to_parameters": of_a_vector,
    "foreach": many_at_once,
    "from_file": from_a_file,
    "index": by_index,
    "resize_": resized,
}


def test_the_methods_that_are_no_operations_are_these():
    names = {name for name in dir(torch.Tensor) if name.endswith("_") and not name.endswith("__")}
    assert {name for name in names if not hasattr(torch.ops.aten, name)} <= set(NO_OPERATION)


@pytest.mark.parametrize("how", [dict(seed=1), dict(rng="torch")], ids=["stream", "torch"])
@pytest.mark.parametrize("by", ["trace", "deferred"])
@pytest.mark.parametrize("name", WAYS)
def test_each_does_what_torch_does(name, by, how):
    def build():
        with torch.no_grad():
            return holding(**{f"p{index}": tensor for index, tensor in enumerate(WAYS[name]())})

    expected = {key: bits(tensor) for key, tensor in tensors_of(build()).items()}
    if by == "trace":
        model = build()
        initcfg.trace(build).apply(model, **how)
    else:
        with initcfg.deferred():
            model = build()
        initcfg.init_weights(model, **how)
    assert {key: bits(tensor) for key, tensor in tensors_of(model).items()} == expected
