"""Packages of OpenMMLab that are there in part: what is missing, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest

from initcfg._config.builders import openmmlab
from initcfg.errors import BuildImportError


@pytest.mark.parametrize(("lite", "said"), [(True, "pip uninstall mmcv-lite"), (False, "MMCV_WITH_OPS=1")])
def test_missing_operators_of_mmcv(tmp_path, monkeypatch, lite: bool, said: str) -> None:
    models = tmp_path / "mmfake" / "models"
    models.mkdir(parents=True)
    (tmp_path / "mmfake" / "__init__.py").write_text("")
    (models / "__init__.py").write_text("raise ModuleNotFoundError('No module', name='mmcv._ext')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    info = tmp_path / "mmcv.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: mmcv{'-lite' if lite else ''}\nVersion: 2.1.0\n"
    )
    monkeypatch.setattr(
        importlib.metadata, "distributions", lambda: [importlib.metadata.Distribution.at(info)]
    )
    with pytest.raises(BuildImportError) as caught:
        openmmlab.import_models("mmfake")
    assert "compiled operators of mmcv (mmcv._ext)" in caught.value.problem
    assert ("mmcv-lite" in caught.value.problem) is lite
    assert said in caught.value.fix and "mim install mmcv" in caught.value.fix
    assert "pip install 'initcfg[mm]'" not in str(caught.value)


def test_the_scope_of_mmengine_itself(tmp_path, monkeypatch) -> None:
    """It has no `mmengine.models`: its models are in `mmengine.model`."""
    for name in ("mmengine", "mmengine.model"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "mmengine" / "model").mkdir(parents=True)
    (tmp_path / "mmengine" / "__init__.py").write_text("")
    (tmp_path / "mmengine" / "model" / "__init__.py").write_text("here = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    openmmlab.import_models("mmengine")
    assert sys.modules["mmengine.model"].here
    for name in ("mmengine", "mmengine.model"):
        # Not by monkeypatch, which would put it back.
        del sys.modules[name]
