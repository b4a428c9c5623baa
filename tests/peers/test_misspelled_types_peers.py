"""A misspelled type deep in a config, which MMEngine's own registries look up."""

from __future__ import annotations

from pathlib import Path

import pytest

import initcfg
from initcfg.errors import UnknownTypeError

pytestmark = [pytest.mark.peers, pytest.mark.mm, pytest.mark.filterwarnings("ignore")]

CONFIG = """
custom_imports = dict(imports=['mmseg.models'])
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='ResNet',
        depth=18,
        norm_cfg=dict(type='BN'),
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=512,
        channels=8,
        num_classes=4,
        act_cfg=dict(type='ReLU'),
        loss_decode=[
            dict(type='CrossEntropyLoss')],
    ),
)
"""


@pytest.mark.parametrize(
    ("right", "typed", "line"),
    [
        ("'ResNet'", "'ResNte'", 7),
        # MMCV's own error says None where the name should stand.
        ("'BN'", "'BNN'", 9),
        ("'FCNHead'", "'FCNHaed'", 12),
        ("'ReLU'", "'RELU'", 16),
        ("'CrossEntropyLoss'", "'CrossEntropyLos'", 18),
    ],
)
def test_place_and_near_names(stand_ins: None, tmp_path: Path, right: str, typed: str, line: int) -> None:
    pytest.importorskip("mmseg")
    path = tmp_path / "typed.py"
    path.write_text(CONFIG.replace(right, typed))
    with pytest.raises(UnknownTypeError, match="is in no registry of MMEngine") as raised:
        initcfg.build(str(path))
    assert str(raised.value.where).endswith(f"typed.py:{line}")
    assert raised.value.meant[0] == right.strip("'")
    assert isinstance(raised.value, KeyError)


def test_an_error_of_another_kind_goes_through(stand_ins: None, tmp_path: Path) -> None:
    pytest.importorskip("mmseg")
    path = tmp_path / "typed.py"
    path.write_text(CONFIG.replace("depth=18", "depth=19"))
    with pytest.raises(KeyError, match="invalid depth 19"):
        initcfg.build(str(path))
