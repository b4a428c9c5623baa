"""What is defined for those who come from MMEngine says where it is; what is ours says initcfg."""

from __future__ import annotations

import importlib.util
import inspect

import initcfg
from initcfg.compat import mmengine
from initcfg.compat.mmcv import cnn, runner


def test_modules_of_the_exports() -> None:
    own = {"BaseModule", "ModuleDict", "ModuleList", "Sequential", "initialize", "update_init_info"}
    own |= {"build_model_from_cfg", "build_from_cfg", "Registry"}  # these know MMEngine's registries, too
    if importlib.util.find_spec("mmengine"):
        own |= {"Config"}  # one of both packages, which MMEngine's Runner takes
    for name in mmengine.__all__:
        item = getattr(mmengine, name)
        if inspect.isclass(item) or inspect.isfunction(item):
            assert item.__module__ == ("initcfg.compat.mmengine" if name in own else "initcfg"), name
        assert (item is getattr(initcfg, name, None)) == (name not in own), name


def test_mmcv_has_the_same() -> None:
    for name in runner.__all__:
        assert getattr(runner, name) is getattr(mmengine, name)
    # Those that begin with @ are pytest's, which rewrites the asserts of packages with a plug-in.
    names = {name for name in vars(cnn) if not name.startswith(("_", "@"))} - {"INITIALIZERS"}
    assert len(names) == 17
    for name in names:
        assert getattr(cnn, name) is getattr(mmengine, name)
    assert cnn.INITIALIZERS is mmengine.WEIGHT_INITIALIZERS
