"""Overrides: `key=value` texts, and values by path."""

from __future__ import annotations

from typing import Any

import pytest

from initcfg._config.files import Config, parse_overrides
from initcfg.errors import ConfigError, ConfigMergeError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("50", 50), ("-1", -1), ("0.1", 0.1), ("1e-3", 1e-3), ("true", True), ("False", False),
        ("None", None), ("null", None), ("resnet", "resnet"), ("'7'", "7"), ('"a b"', "a b"), ("", ""),
        ("a=b", "a=b"),
        ("[1,2]", [1, 2]), ("(1, 2)", (1, 2)), ("(1,)", (1,)), ("[]", []), ("{'a': [1]}", {"a": [1]}),
        ("1,2,3", [1, 2, 3]), ("a,b", ["a", "b"]), ("a-b,1", ["a-b", 1]),
        ("[a, true, 1.5]", ["a", True, 1.5]),
        ("[(a,b),[c]]", [("a", "b"), ["c"]]),
        ("dict(type=Normal, std=0.01)", {"type": "Normal", "std": 0.01}),
        ("[dict(a=-1)]", [{"a": -1}]), ("/data/x.pth", "/data/x.pth"), ("C:\\x", "C:\\x"), ("a-b", "a-b"),
        ("https://a/b?c=d,e", "https://a/b?c=d,e"), ("torch.nn.Linear", "torch.nn.Linear"),
        ("2024-01-01", "2024-01-01"),
        ("-inf", float("-inf")), ("[-inf]", [float("-inf")]), ("two words, here", "two words, here"),
        ("1+2j", 1 + 2j), ("007", "007"), ("__import__('os')", "__import__('os')"), ("{1, 2}", {1, 2}),
    ],
)  # fmt: skip
def test_values(text: str, value: Any):
    found = parse_overrides([f"key={text}"])["key"]
    assert (found, type(found)) == (value, type(value))


def test_keys():
    assert parse_overrides(["a.b.0=1", " c =2", "c=3"]) == {"a.b.0": 1, "c": 3}
    assert parse_overrides("a=1") == {"a": 1}
    assert parse_overrides([]) == {}


@pytest.mark.parametrize("pair", ["a", "=1", "a..b=1", ".a=1", "a.=1", "", "a.b"])
def test_malformed_pairs(pair: str):
    with pytest.raises(ConfigError, match="is not an override") as caught:
        parse_overrides([pair])
    assert "KEY=VALUE" in str(caught.value.fix)


@pytest.mark.parametrize("text", ["[1, 2", "(1", "{'a': 1", "dict(a=1", "'a", "[f(x)]", "dict(1)", "{**a}"])
def test_values_that_cannot_be_read(text: str):
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_overrides([f"a={text}"])


def config() -> Config:
    return Config({"model": {"depth": 18, "layers": [{"n": 1}, {"n": 2}], "size": (1, 2)}, "none": None})


@pytest.mark.parametrize(
    ("path", "value", "look"),
    [
        ("model.depth", 50, lambda c: c.model.depth == 50),
        ("model.layers.1.n", 3, lambda c: c.model.layers == [{"n": 1}, {"n": 3}]),
        ("model.layers.0", 7, lambda c: c.model.layers == [7, {"n": 2}]),
        ("model.layers", {"1": {"m": 4}}, lambda c: c.model.layers[1] == {"n": 2, "m": 4}),
        ("model.size.0", 9, lambda c: c.model.size == (9, 2)),
        ("model.new.deep", {"x": 1}, lambda c: c.model.new.deep.x == 1),
        ("model", {"depth": 1, "a": 2}, lambda c: (c.model.depth, c.model.a, len(c.model)) == (1, 2, 4)),
        ("model", {"_delete_": True, "a": 2}, lambda c: c.model == {"a": 2}),
        ("model.depth", [1], lambda c: c.model.depth == [1]),
        ("none", {"a": 1}, lambda c: c.none.a == 1),
        ("none.a", 1, None),
    ],
)
def test_merge_from_dict(path: str, value: Any, look: Any):
    cfg = config()
    if look is None:
        with pytest.raises(ConfigMergeError, match=r"'none' is NoneType None, and has no keys"):
            cfg.merge_from_dict({path: value})
    else:
        cfg.merge_from_dict({path: value})
        assert look(cfg)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.depth.x": 1}, r"'model\.depth\.x' cannot be set: 'model\.depth' is int 18"),
        ({"model.layers.2.n": 1}, r"'model\.layers' has 2 items, so it has no item 2"),
        ({"model.layers.-1": 1}, r"'model\.layers' is a list, and '-1' is not an index"),
        ({"model.layers.n": 1}, r"is a list, and 'n' is not an index"),
        ({"model.depth": {"a": 1}}, r"'model\.depth' is a dict here, but int 18"),
        ({"model..depth": 1}, "is not a path"),
        ({"": 1}, "is not a path"),
    ],
)
def test_merge_from_dict_refuses(options: dict[str, Any], message: str):
    cfg = config()
    with pytest.raises(ConfigMergeError, match=message):
        cfg.merge_from_dict({"model.size": 0, **options})
    assert cfg == config(), "nothing is set where one option fails"


def test_list_keys_can_be_off():
    cfg = Config({"a": [1]})
    with pytest.raises(ConfigMergeError, match="'a' is list"):
        cfg.merge_from_dict({"a.0": 2}, allow_list_keys=False)


def test_later_options_see_earlier_ones():
    cfg = Config()
    cfg.merge_from_dict(parse_overrides(["a.b=[1, 2]", "a.b.0=3", "a.c=dict(d=1)", "a.c.d=2"]))
    assert cfg.to_dict() == {"a": {"b": [3, 2], "c": {"d": 2}}}


def test_options_are_not_shared_with_the_caller():
    shared = {"x": [1]}
    cfg = Config({"a": {}, "b": {}})
    cfg.merge_from_dict({"a.s": shared})
    cfg.a.s.x = 2
    assert shared == {"x": [1]}
