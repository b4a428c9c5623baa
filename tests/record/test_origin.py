"""Who wrote a tensor: the user's code or a layer of torch's, and never this package's own recorder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import initcfg
import initcfg._record as station
from initcfg._record.recording.origin import is_helper_file


def test_every_file_of_the_station_is_a_helper():
    files = sorted(Path(station.__file__).parent.rglob("*.py"))
    assert len(files) > 20
    assert all(is_helper_file(str(file)) for file in files)


def test_no_other_code_is_a_helper_but_torch_outside_of_its_layers():
    assert is_helper_file(torch.nn.init.__file__) and is_helper_file(torch._ops.__file__)
    for module in (torch.nn.modules.linear, initcfg, pytest):
        assert not is_helper_file(str(module.__file__))
    assert not is_helper_file(__file__)


class Built(nn.Module):
    """Writes in each of the ways that are recorded."""

    def __init__(self):
        super().__init__()
        self.filled = nn.Parameter(torch.empty(3, 3))
        self.sampled = nn.Parameter(torch.empty(3, 3))
        self.computed = nn.Parameter(torch.randn(3, 3) @ torch.randn(3, 3))
        nn.init.normal_(self.filled, std=0.5)
        nn.init.orthogonal_(self.sampled)


def test_rules_name_the_code_that_decided():
    plan = initcfg.trace(Built)
    for name in ("filled", "sampled", "computed"):
        rule = plan[name].rule
        assert rule is not None and Path(__file__).name in rule and rule.endswith(" Built.__init__"), rule
