"""Mutations of valid files, drawn by hypothesis: tensors or a CheckpointError, and nothing else."""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from initcfg._api.weights import inspect as inspected
from initcfg._api.weights import inspection_view
from initcfg._checkpoints.formats import open_path
from initcfg._checkpoints.formats.allowed_names import may_be_named
from initcfg._checkpoints.formats.pickled import PickleMachine, PickleProblem, RefusedName
from initcfg._plan.report.table import render
from initcfg.errors import CheckpointError

COMMON = dict(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MOST = 1 << 24


def _torch(new: bool) -> bytes:
    out = io.BytesIO()
    state = {
        "a.weight": torch.arange(6.0).view(2, 3).t(),
        "b": torch.tensor(3),
        "c": torch.ones(2).bfloat16(),
    }
    torch.save({"state_dict": state, "meta": {"epoch": 1}}, out, _use_new_zipfile_serialization=new)
    return out.getvalue()


SEEDS = {
    "safetensors": save({"a.weight": torch.ones(2, 3), "b": torch.tensor([1, 2])}, {"format": "pt"}),
    "torch": _torch(True),
    "legacy": _torch(False),
}


@st.composite
def mutations(draw, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(changed)))
        kind = draw(st.sampled_from(["set", "insert", "delete", "copy", "number", "cut"]))
        if kind == "set" and place < len(changed):
            changed[place] = draw(st.integers(0, 255))
        elif kind == "insert":
            changed[place:place] = draw(st.binary(max_size=9))
        elif kind == "delete":
            del changed[place : place + draw(st.integers(1, 9))]
        elif kind == "copy":
            begin = draw(st.integers(0, len(changed)))
            changed[place:place] = changed[begin : begin + 40]
        elif kind == "number":
            width = draw(st.sampled_from([1, 2, 4, 8]))
            value = draw(st.sampled_from([0, 1, (1 << 8 * width) - 1, 1 << (8 * width - 1)]))
            changed[place : place + width] = value.to_bytes(width, "little")
        else:
            del changed[place:]
    return bytes(changed)


@pytest.mark.parametrize("kind", SEEDS)
@settings(max_examples=150, **COMMON)
@given(data=st.data())
def test_mutated_files(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    path = tmp_path / "weights"
    path.write_bytes(data.draw(mutations(SEEDS[kind])))
    try:
        with open_path(path) as reader:
            for key in reader.keys():  # noqa: SIM118
                info = reader.info(key)
                tensor = reader.read(key)
                assert tuple(tensor.shape) == info.shape
                if tensor.numel() < MOST:
                    tensor.contiguous().view(-1).view(torch.uint8).sum()
        render(inspection_view(inspected(str(path))))
    except CheckpointError as error:
        assert str(error)


INSTRUCTIONS = [each.code.encode("latin-1") for each in pickletools.opcodes]
PIECES = st.one_of(
    st.sampled_from(INSTRUCTIONS),
    st.sampled_from(
        [
            b"ccollections\nOrderedDict\n",
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"cos\nsystem\n",
            b"c__builtin__\ngetattr\n",
            b"X\x01\x00\x00\x00a",
            b"K\x02",
            b"(",
            b")",
            b"}",
            b"]",
            b"q\x00",
            b"h\x00",
        ]
    ),
    st.binary(max_size=4),
)


@settings(max_examples=400, **COMMON)
@given(pieces=st.lists(PIECES, max_size=30))
def test_random_programs(pieces: list[bytes]) -> None:
    """Any sequence of instructions: data, or a refusal."""
    machine = PickleMachine(b"\x80\x02" + b"".join(pieces) + b".", calls={}, allowed=may_be_named)
    try:
        machine.load()
    except (PickleProblem, RefusedName) as error:
        assert str(error)


PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64),
        st.floats(allow_nan=False),
        st.text(),
        st.binary(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(), st.integers(-9, 9)), inner, max_size=4),
        st.tuples(inner, inner),
    ),
    max_leaves=20,
)


@settings(max_examples=200, **COMMON)
@given(value=PLAIN, protocol=st.integers(2, 5))
def test_plain_data_comes_back(value: object, protocol: int) -> None:
    """The machine reads what Python's own would."""
    machine = PickleMachine(pickle.dumps(value, protocol), calls=_BYTES, allowed=may_be_named)
    assert machine.load() == value


# Under protocol 2, bytes are a text that is encoded; nobody needs them then, and the test does.
_BYTES = {
    "_codecs.encode": lambda args: args[0].encode("latin-1"),
    "builtins.bytes": lambda args: b"",
}


def test_the_seeds_are_whole(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, data in SEEDS.items():
            (tmp_path / kind).write_bytes(data)
            with open_path(tmp_path / kind) as reader:
                assert "a.weight" in list(reader.keys())
