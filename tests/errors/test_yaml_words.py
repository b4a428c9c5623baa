"""Messages for who writes YAML."""

import pytest
import yaml

from initcfg.errors import InitcfgError
from initcfg.errors.yaml_words import in_yaml


@pytest.mark.parametrize(
    ("python", "shown"),
    [
        ("dict(type='Normal', std=0.1)", "{type: Normal, std: 0.1}"),
        ("dict(name='0.bn2', bias=True, a=None)", "{name: '0.bn2', bias: true, a: null}"),
        ("dict(layer=['Linear', 'nn.Norm'], b=dict(c=(1, 2)))", "{layer: [Linear, nn.Norm], b: {c: [1, 2]}}"),
        ("Write layer='Conv2d'.", "Write layer: Conv2d."),
        ("Write model = dict(type=...).", "Write model: {type: ...}."),
        ("Leave out strict=True.", "Leave out strict=True."),
        ("dict(type=<a ResNet>)", "dict(type=<a ResNet>)"),
        ("a dict( that never ends", "a dict( that never ends"),
    ],
)
def test_words(python, shown):
    assert in_yaml(python) == shown


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "null", "1", "1e-3", "a: b", "*.bn2", "re:x", "'", "", "é", "a\nb"]
)
def test_texts_read_back(text):
    assert yaml.safe_load(in_yaml(f"dict(name={text!r})")) == {"name": text}


def test_by_the_place():
    for where, rule in [
        ("c.yaml:3", "{std: 1}"),
        ("x (c.yml:3)", "{std: 1}"),
        ("c.py:3", "dict(std=1)"),
        (None, "dict(std=1)"),
    ]:
        assert f"rule:         {rule}" in str(InitcfgError("Wrong.", rule="dict(std=1)", where=where))
