"""A module's path that a person mistyped: what it was meant to be."""

import pytest

import initcfg
from initcfg.errors import InitcfgError

NET = "from torch import nn\n\n\nclass Net(nn.Module):\n    pass\n"


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    (tmp_path / "quagga.py").write_text(NET)
    (tmp_path / "okapis").mkdir()
    (tmp_path / "okapis" / "bongo.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("quaga:Net", "quagga:Net"),
        ("quagga.py:Net", "quagga:Net"),
        ("quaga.py:Net", "quagga:Net"),
        ("okapi.bongo:Net", "okapis.bongo:Net"),
        ("okapis.bogno:Net", "okapis.bongo:Net"),
        ("okapis/bongo.py:Net", "okapis.bongo:Net"),
        ("./quagga.py:Net", "quagga:Net"),
        ("tim:resnet18", "timm:resnet18"),
    ],
)
def test_a_builder_names_what_was_meant(typed, meant):
    with pytest.raises(InitcfgError) as raised:
        initcfg.build(typed)
    assert f"did you mean: '{meant}'" in str(raised.value)


@pytest.mark.usefixtures("at_home")
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("quaga.Net", "quagga.Net"),
        ("okapi.bongo.Net", "okapis.bongo.Net"),
        ("okapis.bogno.Net", "okapis.bongo.Net"),
        ("quagga.Nett", "quagga.Net"),
    ],
)
def test_a_type_names_what_was_meant(typed, meant):
    with pytest.raises(InitcfgError) as raised:
        initcfg.build(dict(type=typed))
    assert f"(nearest: {meant})" in str(raised.value)


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  b: 1\n\tc: 2\n", "\ta: 1\n", "a:\n- b\n\t- c\n"])
def test_a_tab_that_indents_is_told(tmp_path, text):
    (tmp_path / "tabbed.yaml").write_text(text)
    with pytest.raises(InitcfgError, match=r"fix: +Indent with spaces"):
        initcfg.Config.fromfile(tmp_path / "tabbed.yaml")


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("1%", "0.01"),
        ("0,02", "0.02"),
        ("0.02", "0.02"),
        (" 2.5 % ", "0.025"),
        ("1e-3", "1e-3"),
        ("small", None),
        ([0.1], None),
    ],
)
def test_a_number_written_as_text_is_shown_as_a_number(given, fix):
    with pytest.raises(InitcfgError, match="std must be a number, not") as raised:
        initcfg.plan(
            initcfg.build(dict(type="Linear", in_features=2, out_features=2)),
            dict(type="Normal", layer="Linear", std=given),
        )
    assert (f"Write {fix}, without quotes." in str(raised.value)) is (fix is not None)
