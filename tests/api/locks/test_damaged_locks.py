"""Locks that somebody damaged and sealed again: an error that says where and what, and at once."""

from __future__ import annotations

import random
import time

import pytest

from initcfg._api.locks.lock_file import Lock, read_lock
from initcfg._api.locks.words import digest
from initcfg.errors import LockError

GOOD = """initcfg lock, version 1
# What models start with: made by `initcfg lock`, compared by `initcfg check`; not to be edited.

[net.yaml]
set: model.depth=3
seed: 7
initcfg: 0.1.0
stream: 1
file: net.yaml 45d9e1177d3824e0
library: timm 1.0.31
code: net e9d98294a6db535e
checkpoint: w 1.pth 807a2bdd5761180221005aed530389394e36dab43240e6fced47b1700cd56c8b
plan: 1fb2192796fc687645feeb825d9c477a74a4856a2eea538a4936b55bfe0124c4

pos: 1x2x4 float32 = Normal(mean=0.0, std=0.02) lr*0.5 #723034a408dc904f <- default, Net.__init__
blocks.{0..2}.fc.weight: 4x4 float32 = TruncNormal(mean=0.0, std=0.5, a=-2.0, b=2.0) <- model.init_cfg[0]
"odd name": scalar float32 = Computed(code="f") holding Constant(val=1.0) <- default, f
t: non-persistent buffer 4 float32 = Kept(min=0, max=2, bits=9c89d79b686c78d0) <- its constructor
head.weight: tied to pos

[timm:resnet18]
initcfg: 0.1.0
stream: 1
plan: 44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a

x: 1 float32 = Constant(val=0.0)
"""
BOMBS = [
    "{0..999999999}", "{0..499998}", "{0,1,2}" * 12, "{0..99}.{0..99}.{0..99}", '"', '"\\ud800"', '["a" "b"]',
    "{" + "1," * 20000 + "1}", "a " * 20000, '"a" ' * 20000, "9" * 5000, "{0..99999999999999999999}",
    "x: " * 20000, "a: 4 f = " * 5000 + "#", " <- " * 5000, " #" * 5000, "[" * 20000, "\x00", "\u2028", "\r",
    "tied to ", "non-persistent ", "{5..1}", "{,}", "{..}", "{0..}", "-1", "\u0663", "seed: x", "",
]  # fmt: skip


def sealed(body: str) -> str:
    return f"{body}\nend of lock, sha256 {digest(body.encode(errors='replace'))}\n"


def test_as_it_was_written() -> None:
    text = sealed(GOOD)
    assert str(read_lock(text, "x.lock")) == text


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("seed: 7", "seed: x", 6, "'seed' says 'x'; it is an integer from 0 to 2**64 - 1"),
        ("seed: 7", "seed: ", 6, "'seed' says ''"),
        ("seed: 7", "seed: " + "9" * 5000, 6, "'seed' says '9999"),
        ("seed: 7", 'seed: "\\u0663"', 6, "'seed' says"),
        ("seed: 7", "strict: no", 6, "'strict' says 'no'; it is 'yes', or is left out"),
        ("seed: 7", "compat: mm", 6, "'compat' says 'mm'; it is 'mmengine', or is left out"),
        ("library: timm 1.0.31", "library: timm", 10, "it is a name with a version or digest"),
        ("stream: 1", "stream: one", 8, "it is the number of a version"),
        ("stream: 1\n", "", 4, "nothing below it says 'stream'"),
        ("[net.yaml]", '["a" "b"]', 4, "is no text in quotes"),
        ("[net.yaml]", '["a]', 4, "is no text in quotes"),
        ('"odd name"', '"odd name', 17, "is no name in quotes"),
        ("{0..2}", "{0..999999999}", 16, "{0..999999999} is more names than a model has, or none"),
        ("{0..2}", "{2..0}", 16, "or none"),
        ("{0..2}", "{0..900}.{0..900}", 16, "is more names than a model has"),
        ("{0..2}", "{0..}", 16, "are no numbers"),
        ("tied to pos", "tied to pos t", 19, "a tensor is tied to one other"),
        ("pos: 1x2x4", "pos: non-persistent 1x2x4", 15, "a parameter is always persistent"),
        ("pos: 1x2x4", "pos pos: 1x2x4", 15, "'pos' stands there twice"),
    ],
)
def test_what_is_wrong_and_where(old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    with pytest.raises(LockError) as caught:
        read_lock(sealed(GOOD.replace(old, new, 1)), "x.lock")
    assert said in str(caught.value)
    assert f"x.lock:{line}" in str(caught.value)
    assert "fix:" in str(caught.value)


def test_one_model_twice() -> None:
    body = GOOD.replace("[timm:resnet18]", "[net.yaml]")
    with pytest.raises(LockError, match=r"locks 'net.yaml' twice"):
        read_lock(sealed(body), "x.lock")


def test_spaces_that_an_editor_left() -> None:
    text = sealed(GOOD).replace("version 1", "version 1  ", 1)
    with pytest.raises(LockError, match="was changed by hand"):
        read_lock(text, "x.lock")


def test_damaged_at_random() -> None:
    draw, outcomes = random.Random(5), set()
    for _ in range(600):
        lines = GOOD.split("\n")
        for _ in range(draw.choice((1, 1, 2, 3))):
            place = draw.randrange(len(lines))
            text = lines[place]
            start, end = sorted(draw.randrange(len(text) + 1) for _ in range(2))
            bomb = draw.choice(BOMBS)
            lines[place] = draw.choice(
                [
                    text[:start] + text[end:],
                    text[:start] + bomb + text[start:],
                    bomb + text[text.find(":") :],
                    text.partition(":")[0] + ": " + bomb,
                    text.replace(draw.choice("=:<{}x# 0"), bomb, 1),
                ]
            )
            if draw.random() < 0.2:
                lines.insert(draw.randrange(len(lines)), draw.choice(lines))
        begun = time.process_time()
        try:
            outcomes.add(type(read_lock(sealed("\n".join(lines)), "x.lock")))
        except LockError as error:
            outcomes.add(LockError)
            assert "fix:" in str(error)
        assert time.process_time() - begun < 1
    assert outcomes == {Lock, LockError}
