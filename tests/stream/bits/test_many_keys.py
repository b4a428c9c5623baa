"""The keys of many names: each is that of the name alone, whoever makes it."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from initcfg._stream.bits import FIRST, Keys, kernel, many_keys, stream_key


def by_the_book(seed: int, text: bytes) -> int:
    """The key as docs/stream.md says it, by hashlib alone."""
    eight = (8).to_bytes(8, "little")
    integers = [eight + number.to_bytes(8, "little") for number in (1, seed, 0, 0)]
    fields = integers[0] + integers[1] + len(text).to_bytes(8, "little") + text + integers[2] + integers[3]
    return int.from_bytes(hashlib.blake2b(fields).digest()[:8], "little")


@pytest.mark.parametrize("switch", ["1", "0"])
@pytest.mark.parametrize("seed", [0, 1, (1 << 64) - 1])
def test_names_of_all_lengths(monkeypatch, switch, seed):
    monkeypatch.setenv("INITCFG_KERNEL", switch)
    texts = [bytes(each % 251 for each in range(length)) for length in (*range(300), 1000, 4096)]
    assert list(many_keys(Keys(seed), texts)) == [by_the_book(seed, text) for text in texts]


@settings(max_examples=50)
@given(st.integers(0, (1 << 64) - 1), st.lists(st.text(max_size=90), max_size=20))
def test_they_are_those_of_the_names_alone(seed, names):
    encodable = [name for name in names if not any("\ud800" <= each <= "\udfff" for each in name)]
    texts = [name.encode() for name in encodable]
    assert list(many_keys(Keys(seed), texts)) == [stream_key(seed, name) for name in encodable]


class Wrong:
    """A kernel without the function, or one that fails or makes nothing."""

    def __init__(self, code: int) -> None:
        def initcfg_keys(*_: object) -> int:
            return code

        self.initcfg_keys = initcfg_keys


@pytest.mark.parametrize("library", [object(), Wrong(0), Wrong(1)])
def test_a_kernel_that_cannot_or_is_wrong_is_not_asked(monkeypatch, library):
    monkeypatch.setattr(kernel, "library", lambda: library)
    texts = [b"weight"] * 10
    assert list(many_keys(Keys(3), texts)) == [Keys(3).of_text(b"weight", FIRST)] * 10
