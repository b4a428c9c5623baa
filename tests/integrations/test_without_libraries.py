"""An integration without its library says what to install; the package loads none of them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import initcfg
from initcfg.errors import ArgumentValueError, BuildImportError


@pytest.mark.parametrize(
    ("name", "blocked", "extra"),
    [
        ("lightning", ("lightning", "lightning.pytorch", "pytorch_lightning"), "'initcfg[lightning]'"),
        ("transformers", ("transformers",), "'initcfg[hf]' accelerate"),
        ("mmengine", ("mmengine",), "'initcfg[mm]'"),
        ("torchtitan", ("torchtitan",), "torchtitan"),
        ("modalities", ("modalities",), "modalities"),
    ],
)
def test_the_error_names_the_extra(
    name: str, blocked: tuple[str, ...], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Missing:
        @staticmethod
        def find_spec(asked: str, *_: object) -> None:
            if asked in blocked:
                raise ModuleNotFoundError(f"No module named {asked!r}", name=asked)

    for module in [each for each in sys.modules if each.partition(".")[0] in blocked]:
        monkeypatch.delitem(sys.modules, module)
    home = f"initcfg.integrations.{name}"
    for module in [each for each in sys.modules if each == home or each.startswith(f"{home}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Missing, *sys.meta_path])
    with pytest.raises(BuildImportError, match="which is not installed") as caught:
        importlib.import_module(f"initcfg.integrations.{name}")
    assert isinstance(caught.value, ImportError)
    assert caught.value.fix == f"Install it with: pip install {extra}."


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    program = (
        "import sys, initcfg; initcfg.integrations\n"
        "assert not {'torch', 'lightning', 'mmengine', 'transformers'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'keras'"):
        initcfg.integrations.keras  # noqa: B018


def test_what_stops_is_said_in_two_words() -> None:
    from initcfg.integrations.at_start import AtStart

    with pytest.raises(ArgumentValueError, match="not 'errors'") as caught:
        AtStart(stop_on="errors")  # type: ignore[arg-type]
    assert caught.value.meant == ("error",)


def test_a_learning_rate_of_zero_is_no_end_of_training(caplog: pytest.LogCaptureFixture) -> None:
    import torch
    from torch import nn

    from initcfg.integrations.at_start import AtStart

    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    nn.init.constant_(model[2].weight, 40.0)
    batch = (torch.ones(6, 4), torch.arange(6) % 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    nn.init.zeros_(model[0].weight)
    found = AtStart().diagnose(model, batch, None, optimizer=optimizer, dtype=None)
    assert found.findings
    # A report keeps its lines in the log.
    assert "\nwarning " in caplog.text or "\nerror " in caplog.text
    assert "\\n" not in caplog.text
