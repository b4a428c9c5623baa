"""``initcfg init`` says once what a checkpoint leaves."""

from __future__ import annotations

import torch
from click.testing import CliRunner

from initcfg._api.command.cli import main

_CONFIG = """
model = dict(
    type='torch.nn.Linear', in_features=2, out_features=2,
    init_cfg=dict(type='Pretrained', checkpoint={path!r}))
"""


def test_the_warning_of_a_checkpoint_is_said_once(tmp_path, caplog):
    torch.save({"weight": torch.ones(2, 2)}, tmp_path / "a.pth")
    (tmp_path / "c.py").write_text(_CONFIG.format(path=str(tmp_path / "a.pth")))

    def run(*arguments):
        caplog.clear()
        result = CliRunner().invoke(main, [*arguments], prog_name="initcfg")
        assert result.exit_code == 0, result.output
        return (result.output + caplog.text).count("1 of 2 parameters is not loaded")

    config = str(tmp_path / "c.py")
    assert run("plan", config) == 1
    assert run("init", config, "-o", str(tmp_path / "w.safetensors")) == 1
    assert run("init", config, "-o", f"{tmp_path / 'folder'}/") == 1
    # What is there already is not written again, and its warning is in the account.
    assert run("init", config, "-o", f"{tmp_path / 'folder'}/") == 1
