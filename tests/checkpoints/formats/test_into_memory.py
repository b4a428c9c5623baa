"""Blocks of tensors, read into memory of any layout and type: the same numbers as of the whole tensor."""

from __future__ import annotations

import random

import pytest
import torch
from safetensors.torch import save_file

from initcfg._checkpoints.formats import into_memory, open_path
from initcfg._stream.writing import narrowed


def _layouts(random_numbers: random.Random) -> torch.Tensor:
    """A tensor of some shape, and of some layout."""
    shape = [random_numbers.choice([1, 2, 5, 17, 64]) for _ in range(random_numbers.randint(0, 4))]
    made = torch.randn(shape)
    if shape and random_numbers.random() < 0.5:
        order = list(range(len(shape)))
        random_numbers.shuffle(order)
        made = made.permute(order)
    if made.dim() > 1 and random_numbers.random() < 0.3:
        made = made[:, ::2]
    return made


@pytest.mark.parametrize("most", [3, 40, 1 << 15])
def test_any_block_into_any_memory(tmp_path, monkeypatch, most):
    monkeypatch.setattr(into_memory, "_AT_ONCE", most)
    monkeypatch.setattr(into_memory, "_SHARE", most * 4)
    monkeypatch.setattr(into_memory, "_LONG_RUN", 64)
    monkeypatch.setenv("INITCFG_THREADS", "2")
    numbers = random.Random(most)
    state = {str(each): _layouts(numbers) for each in range(60)}
    torch.save(state, tmp_path / "a.pth")
    with open_path(tmp_path / "a.pth") as reader:
        for key, whole in state.items():
            offsets = [numbers.randrange(size) for size in whole.shape]
            sizes = [
                numbers.randint(1, size - offset) for size, offset in zip(whole.shape, offsets, strict=True)
            ]
            wanted = narrowed(whole, offsets, sizes)
            for dtype in (torch.float32, torch.bfloat16, torch.float64):
                order = list(range(len(sizes)))[::-1]
                turned = torch.empty(sizes[::-1], dtype=dtype).permute(order)
                for target in (torch.empty(sizes, dtype=dtype), turned):
                    reader.tensors[key].read_into(target, offsets)
                    assert torch.equal(target, wanted.to(dtype)), (key, offsets, sizes)


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.complex64, torch.bool])
def test_the_other_order_of_bytes(tmp_path, dtype):
    made = torch.arange(100_000).remainder(7).to(dtype).view(100, 1000)
    if dtype.is_complex:
        made = made * (1 + 2j)
    save_file({"a": made}, tmp_path / "a")
    with open_path(tmp_path / "a") as reader:
        stored = reader.tensors["a"]
        stored.storage.swapped = True
        found, block = stored.read(), torch.empty(50, 900, dtype=dtype)
        stored.read_into(block, (20, 50))
    expected = made.clone()
    expected.untyped_storage().byteswap(dtype)
    assert torch.equal(found.view(torch.uint8), expected.view(torch.uint8))
    assert torch.equal(block.view(torch.uint8), expected[20:70, 50:950].contiguous().view(torch.uint8))


def test_a_view_reads_no_more_than_it_shows(tmp_path, monkeypatch):
    save_file({"experts": torch.arange(8.0 * 64 * 32).view(8, 64, 32)}, tmp_path / "a")
    sizes: list[int] = []
    original = into_memory.Span.read_into
    monkeypatch.setattr(
        into_memory.Span,
        "read_into",
        lambda self, target, start: sizes.append(len(target)) or original(self, target, start),
    )
    with open_path(tmp_path / "a") as reader:
        sizes.clear()
        stored = reader.tensors["experts"].viewed(lambda whole: whole.select(0, 3).narrow(0, 16, 32).t())
        assert stored.info.shape == (32, 32)
        found = stored.read()
    assert torch.equal(found, torch.arange(8.0 * 64 * 32).view(8, 64, 32)[3, 16:48].t())
    assert sum(sizes) == 32 * 32 * 4


def test_a_parameter_that_requires_gradients_is_written_and_says_so(tmp_path):
    save_file({"a": torch.ones(4)}, tmp_path / "a")
    parameter = torch.nn.Parameter(torch.zeros(4))
    result = (parameter * parameter).sum()
    with open_path(tmp_path / "a") as reader, torch.no_grad():
        reader.tensors["a"].read_into(parameter, (0,))
    assert parameter.tolist() == [1.0] * 4
    assert result.item() == 0.0
