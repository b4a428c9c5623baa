"""Keys: each tensor has one name, none is lost, and what is no name is said."""

from __future__ import annotations

import enum
import pickle

import pytest
import torch
from torch import nn

import initcfg
from initcfg._checkpoints.formats import open_mapping, open_path
from initcfg._checkpoints.formats.tables import key_text
from initcfg.errors import CheckpointError


class Letter(enum.Enum):
    A = 1
    B = 2


def read(path):
    with open_path(path) as reader:
        return {key: reader.read(key).tolist() for key in reader.keys()}  # noqa: SIM118


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("around", [False, True])
def test_bytes_are_decoded(tmp_path, protocol, around):
    state = {b"w1": torch.ones(2), b"caf\xc3\xa9": torch.zeros(1)}
    content = {"state_dict": state} if around else state
    torch.save(content, tmp_path / "a.pth", pickle_protocol=protocol)
    assert read(tmp_path / "a.pth") == {"w1": [1.0, 1.0], "café": [0.0]}


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ({1: torch.ones(2), "1": torch.zeros(2)}, "1"),
        ({b"w": torch.ones(2), "w": torch.zeros(2)}, "w"),
        ({"model": {b"1": torch.ones(2), 1: torch.zeros(2)}}, "1"),
        ({"part": {1: {"w": torch.ones(2)}, "1": {"w": torch.zeros(2)}}}, "part.1.w"),
        ({"part": {"a.b": torch.ones(2), "a": {"b": torch.zeros(2)}}}, "part.a.b"),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_two_keys_of_one_name(tmp_path, state, name, old):
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(CheckpointError, match=f"has two tensors under the name '{name}'"):
        open_path(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("x" * 120, 1), "xxxx"),
        ((1, 2), "(1, 2)"),
        ((("a", 1), (2, 3)), "((a, 1), (2, 3))"),
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        (b"\xff", "xff"),
        (Letter.A, "Letter"),
        (frozenset([1]), "frozenset"),
    ],
)
def test_what_is_no_name_is_said(tmp_path, key, text):
    torch.save({key: torch.ones(2), "w": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="which is no name") as caught:
        open_path(tmp_path / "a.pth")
    assert text in str(caught.value)


def test_two_enums_as_keys(tmp_path):
    torch.save({Letter.A: torch.ones(2), Letter.B: torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="which is no name"):
        open_path(tmp_path / "a.pth")


def test_numbers_are_names(tmp_path):
    torch.save({0: torch.ones(1), 1: torch.zeros(1)}, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth") == {"0": [1.0], "1": [0.0]}


def test_keys_beside_the_weights_do_not_matter(tmp_path):
    beside = {None: 1, (1, (2, 3)): 2, Letter.A: 3, b"\xff": 4, 1: 5, "1": 6}
    torch.save({"state_dict": {"w": torch.ones(1)}, "meta": beside}, tmp_path / "a.pth")
    assert read(tmp_path / "a.pth") == {"w": [1.0]}


def test_in_memory_as_in_files():
    state = {"model": {b"w": torch.ones(2), "w": torch.zeros(2)}}
    with pytest.raises(CheckpointError, match="two tensors under the name 'w'"):
        open_mapping(state, name="a")
    assert list(open_mapping({"model": {b"w": torch.ones(2)}}, name="a").keys()) == ["w"]


def test_tuples_that_double_are_not_hashed(tmp_path):
    key = ("a",)
    for _ in range(60):
        key = (key, key)
    # A key of 2**60 parts, in a few hundred bytes.
    data = pickle.dumps(key, 2)[2:-1]
    body = b"\x80\x02}" + data + b"Ns."
    (tmp_path / "a.pth").write_bytes(body)
    with pytest.raises(CheckpointError, match="it has a tuple as a key"):
        open_path(tmp_path / "a.pth")


@pytest.mark.parametrize("in_file", [True, False])
@pytest.mark.parametrize("around", [b"model", b"state_dict", "model"])
def test_what_is_put_around_the_weights_may_be_bytes_too(tmp_path, around, in_file):
    state = {b"w": torch.ones(2), "v": torch.zeros(1), 3: torch.ones(1)}
    whole = {around: state, b"optimizer": {b"state": {0: torch.ones(9)}}, b"ema": {b"w": torch.zeros(2)}}
    torch.save(whole, tmp_path / "a.pth")

    def opened(part=None):
        if in_file:
            return open_path(tmp_path / "a.pth", part=part)
        return open_mapping(whole, name="a", part=part)

    found = opened()
    assert {key: each.read().tolist() for key, each in found.tensors.items()} == {
        "w": [1, 1],
        "v": [0],
        "3": [1],
    }
    assert found.wrapping == (key_text(around),) and found.parts == ("ema",)
    assert opened("ema").read("w").tolist() == [0.0, 0.0]


def test_two_tables_of_one_name_are_refused():
    whole = {b"model": {"w": torch.ones(2)}, "model": {"w": torch.zeros(2)}}
    with pytest.raises(CheckpointError, match="two tables under the name 'model'"):
        open_mapping(whole, name="a")


def test_a_rule_takes_bytes_and_numbers_as_keys():
    model = nn.Sequential(nn.Linear(2, 1))
    state = {b"0.weight": torch.ones(1, 2), "0.bias": torch.ones(1)}
    initcfg.init_weights(model, dict(type="Pretrained", checkpoint=state))
    assert model[0].weight.tolist() == [[1, 1]] and model[0].bias.tolist() == [1]
    held = nn.ParameterList([torch.zeros(1), torch.zeros(1)])
    initcfg.init_weights(
        held, dict(type="Pretrained", checkpoint={0: torch.ones(1), 1: torch.full((1,), 2.0)})
    )
    assert [each.item() for each in held] == [1.0, 2.0]
