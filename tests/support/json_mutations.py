"""Changes to a JSON document that stay JSON: what a fuzzer of bytes seldom hits upon."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "inf",
    "nan",
    "conv.weight",
    "../../etc/passwd",
    "\x1b]0;title\x07",
    "\ud800",
    "\u202egnp.exe",
    "x" * 300,
    "torch.float32",
    "os.system",
    "Constant",
    "FromCheckpoint",
    [],
    {},
    [[]],
    [1, 2],
    [-1],
    {"": ""},
    {"kind": "Constant", "value": 1},
)


def mutated(data: bytes, seed: int) -> bytes | None:
    """The document with one to four changes; None where it is not JSON."""
    chance = random.Random(seed)
    try:
        document = json.loads(data)
        for _ in range(chance.randint(1, 4)):
            document = _changed(document, chance)
        return json.dumps(document).encode()
    except (ValueError, RecursionError):
        return None


def _changed(document: Any, chance: random.Random) -> Any:
    places = list(_places(document))
    if not places:
        return _odd(chance)
    holder, key = chance.choice(places)
    action = chance.randrange(8)
    if action == 0:
        del holder[key]
    elif action == 1:
        other, at = chance.choice(places)
        holder[key] = json.loads(json.dumps(other[at]))
    elif action == 2 and isinstance(holder, dict):
        holder[str(_odd(chance))] = copy.deepcopy(holder[key])
    elif action == 3 and isinstance(holder, dict):
        holder[str(_odd(chance))] = holder.pop(key)
    elif action == 4 and isinstance(holder, list):
        holder.insert(chance.randrange(len(holder) + 1), _odd(chance))
    elif action == 5 and isinstance(holder[key], (int, float)):
        holder[key] = holder[key] * chance.choice((-1, 0, 2, 1000)) + chance.choice((0, 1, -1))
    elif action == 6:
        holder[key] = _nested(holder[key], chance.choice((1, 3, 50, 400)), chance.random() < 0.5)
    else:
        holder[key] = _odd(chance)
    return document


def _odd(chance: random.Random) -> Any:
    # A copy: what is put into a document may be changed there.
    return copy.deepcopy(chance.choice(_ODD))


def _nested(value: Any, depth: int, in_lists: bool) -> Any:
    for _ in range(depth):
        value = [value] if in_lists else {"x": value}
    return value


def _places(node: Any) -> Any:
    """Every holder with a key or an index of it."""
    waiting = [node]
    while waiting:
        holder = waiting.pop()
        keys = (
            list(holder)
            if isinstance(holder, dict)
            else range(len(holder))
            if isinstance(holder, list)
            else ()
        )
        for key in keys:
            yield holder, key
            waiting.append(holder[key])
