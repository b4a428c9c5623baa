"""Plans and ledgers whose text is changed anywhere: read whole, or refused with the place of the fault."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import math
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import initcfg
from initcfg import errors
from initcfg.values import Formula


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.table = nn.Embedding(5, 4, padding_idx=1)
        with torch.no_grad():
            self.linear.weight.copy_(torch.linalg.qr(torch.randn(4, 4))[0].tanh())


RICH = initcfg.trace(Block)
RICH_PLAN = json.dumps(RICH.to_json())
RICH_LEDGER = json.dumps(RICH.apply(Block(), seed=0).to_json())
ITEMS = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1 << 40,
        1 << 70,
        1.5,
        math.nan,
        math.inf,
        "",
        "nan",
        "$0",
        "$9:1:1:0",
        "x",
        [],
        {},
        [[]],
        [1],
        {"kind": "Keep"},
    ]
)


def places(data: object, path: tuple = ()) -> list[tuple]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))][0 if path else 1 :]


def mutated(text: str, draw) -> object:
    data = json.loads(text)
    for _ in range(draw(st.integers(1, 3))):
        every = places(data)
        if not every:
            break
        *steps, last = draw(st.sampled_from(every))
        at = functools.reduce(lambda inner, step: inner[step], steps, data)
        how = draw(st.sampled_from(["delete", "swap", "nest", "other", "repeat"]))
        if how == "delete":
            del at[last]
        elif how == "swap":
            at[last] = draw(ITEMS)
        elif how == "nest":
            at[last] = functools.reduce(
                lambda inner, _: [inner], range(draw(st.sampled_from([1, 40, 200]))), at[last]
            )
        elif how == "other":
            other = draw(st.sampled_from(every))
            at[last] = copy.deepcopy(
                functools.reduce(
                    lambda i, s: (
                        i[s]
                        if isinstance(i, (dict, list))
                        and (s in i if isinstance(i, dict) else isinstance(s, int) and s < len(i))
                        else i
                    ),
                    other,
                    data,
                )
            )
        elif isinstance(at, list):
            at.append(copy.deepcopy(at[last]))
        else:
            at["x" + str(last)] = copy.deepcopy(at[last])
    return data


@pytest.mark.parametrize("kind", ["plan", "ledger"])
@given(data=st.data())
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_is_mutated_is_read_or_refused(kind, data):
    text, read = (
        (RICH_PLAN, initcfg.Plan.from_json) if kind == "plan" else (RICH_LEDGER, initcfg.Ledger.from_json)
    )
    found = mutated(text, data.draw)
    began = time.process_time()
    try:
        made = read(found)
    except errors.InitcfgError:
        return
    finally:
        assert time.process_time() - began < 5
    str(made), json.dumps(made.to_json())
    if kind == "plan":
        with contextlib.suppress(errors.InitcfgError):
            made.apply(Block(), seed=0)


def test_the_mutations_begin_with_what_can_be_read():
    assert initcfg.Plan.from_json(json.loads(RICH_PLAN)) == RICH
    assert any(isinstance(item.value, Formula) for item in RICH.values())
    initcfg.Ledger.from_json(json.loads(RICH_LEDGER))
