"""What stands beside the weights is inert: read as data, whatever it is, and nothing of it is made or run."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import operator
import os
import pathlib
import random
import re
import types
import uuid

import numpy as np
import pytest
import torch
from hostile import Calls
from torch import nn

import initcfg
from initcfg._checkpoints.formats import open_path
from initcfg.errors import CheckpointError

WEIGHTS = {"weight": torch.arange(4.0).view(2, 2), "bias": torch.ones(2)}
RAN: list[str] = []


class Mode(enum.Enum):
    FAST = 1


class Flags(enum.IntFlag):
    A = 1
    B = 2


@dataclasses.dataclass
class Settings:
    width: int = 4
    inner: dict = dataclasses.field(default_factory=lambda: {Mode.FAST: (1, (2, 3))})


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    width: int = 4


class Own:
    class Inner(enum.Enum):
        A = "a"

    def __init__(self):
        RAN.append("__init__")

    def __setstate__(self, state):
        RAN.append("__setstate__")

    def __reduce__(self):
        return build, (1,), {"a": 1}, iter([1, 2]), iter([("k", "v")])

    def method(self):
        return 1


def build(*args):
    RAN.append("build")
    return Own()


class Table(dict):
    pass


class Listing(list):
    pass


class Weights(torch.Tensor):
    pass


Pair = collections.namedtuple("Pair", "a b")

BESIDE = {
    "dataclass": Settings(),
    "frozen dataclass": Frozen(),
    "enum": Mode.FAST,
    "flags": Flags.A | Flags.B,
    "nested enum": Own.Inner.A,
    "class": Own,
    "function": build,
    "torch function": nn.functional.relu,
    "reduced by a function": Own(),
    "bound method": {}.get,
    "module": nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
    "parameter": nn.Parameter(torch.ones(3)),
    "tensor of a class": torch.ones(2).as_subclass(Weights),
    "parameter of a class": nn.Parameter(torch.ones(2).as_subclass(Weights)),
    "partial": functools.partial(torch.optim.AdamW, lr=0.1),
    "namedtuple": Pair(1, Mode.FAST),
    "dict of a class": Table(weight=torch.zeros(9, 9)),
    "list of a class": Listing([1]),
    "deque": collections.deque([1, 2], maxlen=3),
    "path": pathlib.Path("a/b"),
    "datetime": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    "timedelta": datetime.timedelta(1),
    "namespace": argparse.Namespace(a=1, mode=Mode.FAST),
    "simple namespace": types.SimpleNamespace(a=1),
    "pattern": re.compile(r"a.*b", re.IGNORECASE),
    "decimal": decimal.Decimal("1.5"),
    "uuid": uuid.UUID(int=1),
    "state of numpy": np.random.get_state(),
    "random state": np.random.RandomState(1),
    "generator": np.random.default_rng(1),
    "python's random": random.Random(1),
    "python's state": random.getstate(),
    "array of objects": np.array([Mode.FAST, None], dtype=object),
    "attrgetter": operator.attrgetter("a.b"),
    "optimizer": torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1),
    "range": range(3),
    "set": {1, Mode.FAST},
    "tuple keys": {(1, ("a", 2)): 3},
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("kind", BESIDE)
def test_hyper_parameters_of_any_kind(tmp_path, kind, protocol):
    RAN.clear()
    torch.save(
        {"hyper_parameters": {"x": BESIDE[kind]}, "state_dict": WEIGHTS, "other": [BESIDE[kind]]},
        tmp_path / "a.ckpt",
        pickle_protocol=protocol,
    )
    RAN.clear()
    model = nn.Linear(2, 2)
    plan = initcfg.plan(model, dict(type="Pretrained", checkpoint=str(tmp_path / "a.ckpt")))
    assert plan.loads[0].loaded == 2
    assert plan.loads[0].unexpected == ()
    plan.apply(model, seed=0)
    assert torch.equal(model.weight, WEIGHTS["weight"]) and torch.equal(model.bias, WEIGHTS["bias"])
    assert RAN == []


@pytest.mark.parametrize("old", [False, True])
def test_calls_beside_the_weights_do_not_run(tmp_path, old):
    trace = tmp_path / "trace"
    content = {"state_dict": WEIGHTS, "attack": Calls(os.system, f"touch {trace}")}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    with open_path(tmp_path / "a.pth") as reader:
        assert torch.equal(reader.read("weight"), WEIGHTS["weight"])
        assert reader.beside == {"attack": f"{os.system.__module__}.system"}
    assert not trace.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Settings(), "Settings"),
        (Mode.FAST, "Mode"),
        (Own(), "build"),
        (torch.ones(2).as_subclass(Weights), "Weights"),
        (nn.Parameter(torch.ones(2).as_subclass(Weights)), "Weights"),
        (Calls(os.system, "true"), "system"),
        (nn.Linear(2, 2), "Linear"),
    ],
)
@pytest.mark.parametrize("around", [False, True])
def test_among_the_weights_it_is_refused(tmp_path, value, name, around):
    state = {**WEIGHTS, "scale": value}
    torch.save({"state_dict": state} if around else state, tmp_path / "a.pth")
    with pytest.raises(
        CheckpointError, match=r"holds more than tensors \(it needs .* for 'scale'\)"
    ) as caught:
        open_path(tmp_path / "a.pth")
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"model": nn.Linear(2, 2), "epoch": 3}, r"torch\.nn\.modules\.linear\.Linear"),
        ({"state_dict": Table(WEIGHTS)}, r"\w*test_readers_inert\.Table"),
        ({"model": nn.Linear(2, 2), "optimizer": {"state": {0: torch.ones(1)}}}, r"torch.*Linear"),
        (Table(WEIGHTS), r"\w*test_readers_inert\.Table"),
    ],
)
def test_tensors_within_what_is_inert_are_no_weights(tmp_path, content, name):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"holds more than tensors \(it needs {name}\)"):
        open_path(tmp_path / "a.pth")


def test_extra_state_is_no_weight(tmp_path):
    torch.save({**WEIGHTS, "layer._extra_state": Settings()}, tmp_path / "a.pth")
    with open_path(tmp_path / "a.pth") as reader:
        assert list(reader.keys()) == ["weight", "bias"]


def test_names_cannot_steer_a_terminal(tmp_path):
    body = b"\x80\x02cos\n\x1b[31msystem\n."
    from hostile import archive

    with pytest.raises(CheckpointError) as caught:
        open_path(archive(tmp_path / "a.pth", body))
    assert "\x1b" not in str(caught.value)
