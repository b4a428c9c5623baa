"""One sed moves mmpretrain to the mirror: MMEngine's Runner trains the same weights, bit for bit."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import initcfg
from initcfg.errors import BuildImportError

pytestmark = [pytest.mark.peers, pytest.mark.mm]
HERE = Path(__file__).parent
PROGRAM = """
    import hashlib, sys, warnings
    warnings.simplefilter("ignore")
    sys.path[:0] = {path!r}
    import openmmlab_stand_ins
    openmmlab_stand_ins.install()
    import numpy, torch, mmpretrain
    from mmengine.config import Config
    from mmengine.runner import Runner
    from mmpretrain.registry import DATASETS, MODELS
    from mmpretrain.structures import DataSample

    @DATASETS.register_module()
    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 4
        def __getitem__(self, index):
            image = torch.full((3, 32, 32), float(index))
            return dict(inputs=image, data_samples=DataSample().set_gt_label(index % 2))

    cfg = Config(dict(
        model=dict(
            type="ImageClassifier",
            backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8, num_stages=4),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=2, in_channels=64, topk=(1,),
                      loss=dict(type="CrossEntropyLoss")),
            data_preprocessor=dict(type="ClsDataPreprocessor", num_classes=2),
        ),
        default_scope="mmpretrain", work_dir="work", log_level="ERROR", randomness=dict(seed=1),
        train_dataloader=dict(batch_size=2, dataset=dict(type="Numbers"),
                              sampler=dict(type="DefaultSampler", shuffle=False)),
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
    ))
    model = Runner.from_cfg(cfg).train()
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    from initcfg import BaseModule
    print("RESULT", mmpretrain.__file__, isinstance(model, BaseModule), digest.hexdigest())
"""


def trained(folder: Path, *path: str) -> list[str]:
    folder.mkdir()
    program = textwrap.dedent(PROGRAM).format(path=[*path, str(HERE)])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    return line.split()[1:]


def test_one_sed_moves_a_package(stand_ins: None, tmp_path: Path) -> None:
    spec = importlib.util.find_spec("mmpretrain")
    assert spec is not None and spec.origin is not None
    copy = tmp_path / "moved" / "mmpretrain"
    shutil.copytree(Path(spec.origin).parent, copy, ignore=shutil.ignore_patterns(".mim", "__pycache__"))
    for path in copy.rglob("*.py"):
        # sed -i 's/\\bmmengine\\b/initcfg.compat.mmengine/g'
        path.write_text(re.sub(r"\bmmengine\b", "initcfg.compat.mmengine", path.read_text()))
    original = trained(tmp_path / "original")
    moved = trained(tmp_path / "ours", str(copy.parent))
    assert (original[0], moved[0]) == (spec.origin, str(copy / "__init__.py"))
    assert (original[1], moved[1]) == ("False", "True")
    assert original[2] == moved[2]


def test_what_is_mmengines_own_is_the_same_object(real: Any) -> None:
    import mmengine
    from initcfg.compat.mmengine.optim.scheduler import StepLR
    from initcfg.compat.mmengine.runner.checkpoint import CheckpointLoader
    from initcfg.compat.mmengine.structures import InstanceData as Mirrored
    from mmengine.structures import InstanceData

    from initcfg.compat import mmengine as mirror
    from initcfg.compat.mmengine.registry import HOOKS
    from initcfg.compat.mmengine.runner import Runner

    assert Mirrored is InstanceData and mirror.__version__ == mmengine.__version__
    assert HOOKS is mmengine.registry.HOOKS and Runner is mmengine.runner.Runner
    assert CheckpointLoader is mmengine.runner.checkpoint.CheckpointLoader
    assert StepLR is mmengine.optim.scheduler.StepLR
    with pytest.raises(BuildImportError, match=r"nor mmengine\.runner has 'Runer'") as caught:
        exec("from initcfg.compat.mmengine.runner import Runer")
    assert caught.value.meant[0] == "Runner"
    assert not hasattr(mirror, "no_such_name")


def test_registries_below_either(real: Any) -> None:
    from mmengine.registry import MODELS as THEIRS
    from mmengine.registry import DefaultScope

    from initcfg.compat.mmengine.registry import HOOKS, MODELS, Registry, build_from_cfg

    hooks = Registry("hook", parent=HOOKS, scope="mirrored")
    assert type(hooks) is type(HOOKS) and HOOKS.children["mirrored"] is hooks
    models = Registry("model", parent=MODELS, scope="mirrored")

    @models.register_module()
    class MirroredNet(initcfg.BaseModule):
        pass

    # The Runner looks in MMEngine's registry.
    with DefaultScope.overwrite_default_scope("mirrored"):
        assert type(THEIRS.build(dict(type="MirroredNet"))) is MirroredNet
        assert type(build_from_cfg(dict(type="MirroredNet"), THEIRS)) is MirroredNet
    assert type(MODELS.build(dict(type="mirrored.MirroredNet"))) is MirroredNet
    assert type(build_from_cfg(dict(type="MirroredNet"), models)) is MirroredNet
