"""Files that are small, and would take much time or memory: what they take is bounded by their size."""

from __future__ import annotations

import pickle
import struct
import zipfile

import pytest
import torch

from initcfg._checkpoints.formats import open_path
from initcfg._checkpoints.formats.pickled import PickleMachine, PickleProblem
from initcfg.errors import CheckpointError


def tuples_of_one_hash(count: int) -> list[tuple[int, int]]:
    """Pairs of numbers that Python's own hash of tuples, which is the same in every process, maps to one."""
    mask, first, second, fifth = (
        (1 << 64) - 1,
        11400714785074694791,
        14029467366897019727,
        2870177450012600261,
    )

    def turned(word: int) -> int:
        return ((word << 31) | (word >> 33)) & mask

    inverse, found, a = pow(second, -1, 1 << 64), [], 1
    target = (turned((fifth + second) & mask) * first + 7 * second) & mask
    while len(found) < count:
        b = ((target - turned((fifth + a * second) & mask) * first) * inverse) & mask
        b = b - (1 << 64) if b >= 1 << 63 else b
        if abs(b) <= (1 << 61) - 2 and b != -1:
            found.append((a, b))
        a += 1
    return found


@pytest.mark.parametrize("nested", [False, True])
def test_keys_of_one_hash_take_no_longer_than_others(nested):
    pairs = tuples_of_one_hash(500)
    assert len({hash(pair) for pair in pairs}) == 1
    keys = [(pair, 1) for pair in pairs] if nested else pairs
    data = pickle.dumps({key: number for number, key in enumerate(keys)}, 2)
    table = PickleMachine(data, calls={}, allowed=lambda name: False).load()
    assert list(table.items()) == [(key, number) for number, key in enumerate(keys)]
    assert len({hash(key) for key in table}) == 500


@pytest.mark.parametrize("made", [b"}", b"]", b"\x8f", b"(t", b"(d", b"(l", b"N\x85", b"(\x91", b")\x85"])
def test_more_containers_than_the_size_of_a_file_explains(monkeypatch, made):
    monkeypatch.setattr("initcfg._checkpoints.formats.pickled._MOST_CONTAINERS", 1000)
    data = b"\x80\x04](" + made * 900 + b"e."
    assert len(PickleMachine(data, calls={}, allowed=lambda name: False).load()) == 900
    data = b"\x80\x04](" + made * 5000 + b"e."
    with pytest.raises(PickleProblem, match="lists and tables in so few bytes"):
        PickleMachine(data, calls={}, allowed=lambda name: False).load()


def test_members_that_share_their_bytes(tmp_path):
    path = tmp_path / "a.pth"
    inner = b"archive/data/1"
    said = b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 8, 8, len(inner), 0
    header = struct.pack("<4s5H3I2H", *said) + inner + bytes(8)
    torch.save({"a": torch.ones(2)}, path)
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("archive/outer", header)
        first = target.infolist()[-1]
        entry = zipfile.ZipInfo(inner.decode())
        entry.file_size = entry.compress_size = 8
        entry.CRC = 0
        entry.header_offset = first.header_offset + 30 + len(first.filename)
        target.filelist.append(entry)
        target.NameToInfo[entry.filename] = entry
    with pytest.raises(CheckpointError, match="'archive/outer' and 'archive/data/1' overlap"):
        open_path(path)
