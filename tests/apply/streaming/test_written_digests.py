"""What a streamed file says of its numbers, beside what coreutils and hashlib say of them."""

from __future__ import annotations

import hashlib
import io
import random
import shutil
import subprocess

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

import initcfg
from initcfg._apply.written_digests import NumbersDigest, digest_of, digest_threads
from initcfg._stream.bits import kernel, piece_digests
from initcfg._stream.writing import own_cores
from initcfg.errors import ApplyError

PIECE = 256 * 1024


def expected(data: bytes) -> str:
    lines = [hashlib.sha256(data[at : at + PIECE]).hexdigest() + "  -\n" for at in range(0, len(data), PIECE)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.skipif(not all(map(shutil.which, ("split", "sha256sum"))), reason="no coreutils here")
@pytest.mark.parametrize("buffer", ["5000", "300000", "4194304"])
def test_a_file_says_what_coreutils_print(tmp_path, monkeypatch, buffer):
    monkeypatch.setenv("INITCFG_STREAM_BUFFER", buffer)
    with initcfg.deferred():
        model = nn.Sequential(nn.Linear(1001, 777), nn.Linear(3, 5).double(), nn.Embedding(2000, 301))
    initcfg.plan(model).save_weights(tmp_path / "out", model, seed=1)
    file = tmp_path / "out" / "model.safetensors"
    with safe_open(file, "pt") as opened:
        said = opened.metadata()["initcfg.sha256-256K"]
    data = file.read_bytes()
    numbers = data[8 + int.from_bytes(data[:8], "little") :]
    assert len(numbers) > 10 * PIECE
    words = "split --bytes=256K --filter=sha256sum | sha256sum"
    printed = subprocess.run(words, shell=True, input=numbers, capture_output=True, check=True).stdout
    assert printed.decode().split() == [said, "-"]
    assert digest_of(io.BytesIO(numbers)) == said


NUMBERS = random.Random(0).randbytes(5 * 3 * PIECE)


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.sampled_from([1, 999, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE]), max_size=5),
    seed=st.integers(0, 1000),
)
def test_whole_pieces_come_in_any_order(lengths, seed):
    data = NUMBERS[: sum(lengths)]
    digest, place, later = NumbersDigest(), 0, []
    for length in lengths:
        parts = list(digest.parts(place, length))
        # Together they are the stretch, without a gap.
        assert [place, *(last for _, last in parts)] == [*(first for first, _ in parts), place + length]
        for first, last in parts:
            if digest.in_order(first, last - first):
                digest.update(first, data[first:last])
            else:
                later.append((first, last))
        place += length
    random.Random(seed).shuffle(later)
    for first, last in later:
        digest.update(first, memoryview(data)[first:last])
    assert digest.hexdigest() == expected(data) == digest_of(io.BytesIO(data))


@pytest.mark.parametrize("switch", ["1", "0"])
@pytest.mark.parametrize("length", [64, 100, 128, 4096, PIECE])
def test_digests_of_pieces_are_those_of_hashlib(monkeypatch, switch, length):
    monkeypatch.setenv("INITCFG_KERNEL", switch)
    for count in (0, 1, 2, 3, 4, 5, 7, 8):
        numbers = torch.randint(
            0, 256, (length * count,), dtype=torch.uint8, generator=torch.manual_seed(count)
        )
        data = bytes(numbers.numpy())
        wanted = [hashlib.sha256(data[at : at + length]).digest() for at in range(0, len(data), length)]
        assert piece_digests(data, length) == piece_digests(numbers.numpy().data, length) == wanted
    with pytest.raises(ApplyError, match="are not pieces"):
        piece_digests(bytes(length + 1), length)


class Library:
    """A kernel whose digests are zeros, or that says it has no instructions for them."""

    def __init__(self, code: int) -> None:
        def initcfg_sha256(*_: object) -> int:
            return code

        self.initcfg_sha256 = initcfg_sha256


@pytest.mark.parametrize("library", [object(), Library(0), Library(2)])
def test_a_kernel_that_cannot_or_is_wrong_is_not_asked(monkeypatch, library):
    monkeypatch.setattr(kernel, "library", lambda: library)
    assert piece_digests(bytes(256), 128) == [hashlib.sha256(bytes(128)).digest()] * 2


def test_threads_of_digests():
    assert [digest_threads(number) for number in (1, 2, 100)] == [1, 2, 4]
    assert digest_threads() == min(4, own_cores())
