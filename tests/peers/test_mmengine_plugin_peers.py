"""The plug-in for MMEngine: its own Runner trains, and begins with the weights of ``initcfg init``."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg.errors import ConfigTypeError

pytestmark = [pytest.mark.peers, pytest.mark.mm]
_count = itertools.count()
PLUGIN = 'custom_imports = dict(imports=["initcfg.integrations.mmengine"])\n'
CONFIG = """
model = dict(type="PluginNet", init_cfg=dict(type="Normal", layer="Linear", std=0.1))
train_dataloader = dict(
    batch_size=2, dataset=dict(type="PluginData"), sampler=dict(type="DefaultSampler", shuffle=False)
)
train_cfg = dict(by_epoch=False, max_iters=2)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.01))
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=False))
log_level = "ERROR"
randomness = dict(seed=3)
"""


@pytest.fixture(autouse=True)
def old_ways_of_the_peer(real: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MMEngine's use of torch's older interfaces
        # Pages that were read before may have imported it.
        _forget_plugin()
        yield
        _forget_plugin()
    torch.set_rng_state(state)


def _forget_plugin() -> None:
    """The next config imports it anew, as a process of its own would."""
    plugin = sys.modules.get("initcfg.integrations.mmengine")
    if plugin is not None:
        plugin.hand_back()
        for name in [name for name in sys.modules if name.startswith("initcfg.integrations.mmengine")]:
            del sys.modules[name]


@pytest.fixture(scope="module", autouse=True)
def registered(real: Any) -> None:
    from mmengine.model import BaseModel, BaseModule
    from mmengine.registry import DATASETS, MODELS

    @DATASETS.register_module(name="PluginData")
    class Data(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> tuple[torch.Tensor]:
            return (torch.full((4,), 1.0 + index),)

    class Head(BaseModule):
        """Its own ``init_weights`` is what a user wrote."""

        def __init__(self) -> None:
            super().__init__(dict(type="Constant", layer="Linear", val=2.0, bias=1.0))
            self.fc = nn.Linear(4, 2)

        def init_weights(self) -> None:
            super().init_weights()
            nn.init.constant_(self.fc.bias, 7.0)

    @MODELS.register_module(name="PluginNet")
    class Net(BaseModel):
        def __init__(self, init_cfg: Any = None, data_preprocessor: Any = None) -> None:
            super().__init__(data_preprocessor, init_cfg)
            self.first, self.head = nn.Linear(4, 4), Head()
            # No rule reaches it: its constructor's draw decides.
            self.free = nn.Conv1d(4, 4, 3)
            self.list = nn.ModuleList([Head()])

        def forward(self, inputs: Any, mode: str = "loss") -> Any:  # pyright: ignore
            return dict(loss=self.head.fc(self.first(torch.stack(list(inputs)))).sum())


def runner(
    folder: str = "work", *, plugin: bool = True, more: str = "", cls: Any = None, **further: Any
) -> Any:
    """A Runner of a config file, and the weights that its training begins with."""
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    path = Path(f"config_{next(_count)}.py")
    path.write_text((PLUGIN if plugin else "") + CONFIG + more)
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(work_dir=folder, experiment_name=f"plugin_{next(_count)}", **further))
    made: Any = (cls or Runner).from_cfg(cfg)
    made.path, made.first = path, {}

    class First(Hook):
        def before_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
            if not runner.first:
                runner.first.update({name: each.clone() for name, each in runner.model.state_dict().items()})

    made.register_hook(First())
    return made


def same(first: Any, second: Any) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_training_begins_with_the_weights_of_the_command() -> None:
    made = runner()
    made.train()
    wanted = initcfg.build(made.path, seed=3).state_dict()
    assert same(made.first, wanted)
    assert made.iter == 2 and made.first["head.fc.bias"].eq(7).all()
    assert made.first["free.weight"].std() > 0
    # Native: the rule in a plain list counts as well.
    assert made.first["list.0.fc.weight"].eq(2).all()
    ledger = initcfg.Ledger.load("work/init_ledger.json")
    assert ledger.seed == 3 and ledger["first.weight"].initializer == {
        "type": "Normal",
        "mean": 0,
        "std": 0.1,
        "bias": 0,
    }
    plan = initcfg.Plan.from_json(json.loads(Path("work/init_plan.json").read_text()))
    assert plan.digest == ledger.plan_digest


def test_compat_is_bit_for_bit_what_the_runner_does_alone() -> None:
    alone = runner(plugin=False)
    alone.train()
    ours = runner("ours", more='initcfg = "compat"\n')
    ours.train()
    assert same(alone.first, ours.first)
    ledger = initcfg.Ledger.load("ours/init_ledger.json")
    assert ledger.rng == "torch" and ledger["head.fc.bias"].by == "code"


def test_keys_of_the_config() -> None:
    rules = 'initcfg = dict(seed=9, init_cfg=dict(type="Constant", layer="Conv1d", val=4), strict=True)\n'
    made = runner(more=rules)
    made.train()
    assert made.first["free.weight"].eq(4).all()
    assert initcfg.Ledger.load("work/init_ledger.json").seed == 9
    model = initcfg.build(made.path, seed=9).state_dict()
    assert torch.equal(made.first["first.weight"], model["first.weight"])


@pytest.mark.parametrize(
    ("said", "message", "meant"),
    [
        ('"nativ"', "neither 'native' nor 'compat'", ("native",)),
        ("dict(sed=3)", "initcfg has no key 'sed'", ("seed",)),
        ("dict(rng='strem')", "must be 'stream' or 'torch'", ("stream",)),
        ("dict(compat='mmcv')", "must be None or 'mmengine'", ()),
        ("dict(seed='3')", "seed is an integer", ()),
        ("3", "a dict, 'native' or 'compat', not 3", ()),
    ],
)
def test_a_wrong_key_is_an_error_before_the_model_is_built(said: str, message: str, meant: Any) -> None:
    with pytest.raises(ConfigTypeError, match=message) as caught:
        runner(more=f"initcfg = {said}\n")
    assert caught.value.meant == meant


def test_load_from_and_resume_are_the_runners() -> None:
    first = runner()
    first.train()
    before = Path("work/init_ledger.json").read_bytes()
    loaded = runner("second", load_from="work/iter_1.pth", randomness=dict(seed=4))
    loaded.train()
    saved = torch.load("work/iter_1.pth", weights_only=False)["state_dict"]
    assert same(loaded.first, saved)
    # What was planned, though the checkpoint then replaced it.
    assert initcfg.Ledger.load("second/init_ledger.json").seed == 4
    resumed = runner("work", resume=True, randomness=dict(seed=5), train_cfg=dict(max_iters=3))
    resumed.train()
    assert resumed.iter == 3
    assert same(resumed.first, torch.load("work/iter_2.pth", weights_only=False)["state_dict"])
    assert Path("work/init_ledger.json").read_bytes() == before


def test_overrides_of_users_are_honored() -> None:
    from mmengine.runner import Runner

    calls: list[str] = []

    class Mine(Runner):
        def _init_model_weights(self) -> None:
            calls.append("mine")
            super()._init_model_weights()
            model: Any = self.model
            nn.init.constant_(model.first.bias, 5.0)

    made = runner(cls=Mine)
    made.train()
    assert calls == ["mine"] and made.first["first.bias"].eq(5).all()
    assert made.first["head.fc.bias"].eq(7).all()


def test_a_second_train_goes_on(capfd: Any) -> None:
    made = runner()
    made.train()
    trained = {name: each.clone() for name, each in made.model.state_dict().items()}
    made._init_model_weights()
    assert same(made.model.state_dict(), trained)


def test_it_is_handed_back() -> None:
    from mmengine.runner import Runner

    before = Runner._init_model_weights
    import initcfg.integrations.mmengine as plugin

    assert Runner._init_model_weights is not before
    plugin.take_over()
    plugin.hand_back()
    assert Runner._init_model_weights is before


def flexible(folder: str = "work", more: str = "", **further: Any) -> Any:
    from mmengine.runner import FlexibleRunner

    # It insists on it.
    more += 'env_cfg = dict(dist_cfg=dict(backend="gloo"))\n'
    return runner(folder, cls=FlexibleRunner, more=more, **further)


def test_a_flexible_runner_begins_with_the_weights_of_the_command() -> None:
    made = flexible()
    made.train()
    assert same(made.first, initcfg.build(made.path, seed=3).state_dict())
    assert made.iter == 2 and made.first["head.fc.bias"].eq(7).all()
    ledger = initcfg.Ledger.load("work/init_ledger.json")
    assert ledger.seed == 3 and ledger["first.weight"].by == "rule"
    plan = initcfg.Plan.from_json(json.loads(Path("work/init_plan.json").read_text()))
    assert plan.digest == ledger.plan_digest


def test_a_flexible_runner_in_compat_is_bit_for_bit_itself() -> None:
    alone = flexible(plugin=False)
    alone.train()
    ours = flexible("ours", more='initcfg = "compat"\n')
    ours.train()
    assert same(alone.first, ours.first)
    assert initcfg.Ledger.load("ours/init_ledger.json").rng == "torch"


def test_a_flexible_runner_loads_and_resumes() -> None:
    flexible().train()
    before = Path("work/init_ledger.json").read_bytes()
    loaded = flexible("second", load_from="work/iter_1.pth", randomness=dict(seed=4))
    loaded.train()
    saved = torch.load("work/iter_1.pth", weights_only=False)["state_dict"]
    assert same(loaded.first, saved)
    assert initcfg.Ledger.load("second/init_ledger.json").seed == 4
    resumed = flexible("work", resume=True, randomness=dict(seed=5), train_cfg=dict(max_iters=3))
    resumed.train()
    assert resumed.iter == 3 and Path("work/init_ledger.json").read_bytes() == before


def test_a_strategy_alone_is_left_as_it_is() -> None:
    """It belongs to no Runner; and FSDP's that skips all weights waits for a checkpoint."""
    from mmengine._strategy import SingleDeviceStrategy
    from mmengine.registry import MODELS

    made = flexible()
    strategy = SingleDeviceStrategy(experiment_name=f"alone_{next(_count)}", work_dir="alone")
    model: Any = strategy.build_model(dict(type="PluginNet"))
    assert type(model) is MODELS.get("PluginNet")
    strategy._init_model_weights(model)
    assert model.head.fc.bias.eq(7).all() and not Path("alone/init_ledger.json").exists()
    made.strategy.skip_init_weights = True
    made.train()
    assert not Path("work/init_ledger.json").exists()


def test_a_flexible_runner_is_handed_back() -> None:
    from mmengine._strategy import BaseStrategy
    from mmengine.runner import FlexibleRunner

    before = BaseStrategy._init_model_weights, BaseStrategy.build_model, FlexibleRunner.build_strategy
    import initcfg.integrations.mmengine as plugin

    assert BaseStrategy._init_model_weights is not before[0]
    plugin.hand_back()
    after = BaseStrategy._init_model_weights, BaseStrategy.build_model, FlexibleRunner.build_strategy
    assert before == after


def test_an_unmodified_config_of_mmdet_trains() -> None:
    """RetinaNet as it is installed, narrowed and given data by options alone, as ``--cfg-options`` does."""
    import cv2
    import mmdet
    import numpy as np
    from mmdet.utils import register_all_modules
    from mmengine.config import Config
    from mmengine.runner import Runner

    images = []
    for number in range(2):
        cv2.imwrite(f"{number}.jpg", np.full((64, 64, 3), 80 * number + 40, dtype=np.uint8))
        images.append(dict(id=number, file_name=f"{number}.jpg", width=64, height=64))
    boxes = [
        dict(id=each["id"], image_id=each["id"], category_id=1, bbox=[8, 8, 40, 40], area=1600, iscrowd=0)
        for each in images
    ]
    kinds = [dict(id=1, name="person")]
    Path("boxes.json").write_text(json.dumps(dict(images=images, annotations=boxes, categories=kinds)))
    register_all_modules()
    configs = Path(mmdet.__file__).parent / ".mim/configs/retinanet"
    cfg = Config.fromfile(configs / "retinanet_r18_fpn_1x_coco.py")
    options: dict[str, Any] = {
        "custom_imports": dict(imports=["initcfg.integrations.mmengine"]),
        "model.backbone.init_cfg": None,
        "train_dataloader.batch_size": 1,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_dataloader.dataset.data_root": "",
        "train_dataloader.dataset.ann_file": "boxes.json",
        "train_dataloader.dataset.data_prefix.img": "",
        "train_dataloader.dataset.backend_args": None,
        **dict.fromkeys([f"{kind}_{part}" for kind in ("val", "test") for part in ("cfg", "dataloader")]),
        "val_evaluator": None,
        "test_evaluator": None,
        "randomness": dict(seed=3),
        "work_dir": "work",
        "log_level": "ERROR",
    }
    cfg.merge_from_dict(options)
    # Two iterations in place of twelve epochs, at a size that a CPU takes.
    cfg.train_cfg = dict(type="IterBasedTrainLoop", max_iters=2)
    cfg.train_dataloader.dataset.pipeline[2].scale = (64, 64)
    importlib.import_module("initcfg.integrations.mmengine")
    made = Runner.from_cfg(cfg)
    made.train()
    assert made.iter == 2
    ledger = initcfg.Ledger.load("work/init_ledger.json")
    assert ledger.seed == 3 and ledger["bbox_head.retina_cls.bias"].by == "rule"
    initializer = ledger["bbox_head.retina_cls.weight"].initializer
    assert initializer is not None and initializer["type"] == "Normal"
    assert "backbone.conv1.weight" in ledger and all(each.by != "nobody" for each in ledger.values())
    plan = initcfg.Plan.from_json(json.loads(Path("work/init_plan.json").read_text()))
    assert plan.digest == ledger.plan_digest
    assert torch.isfinite(torch.cat([each.flatten() for each in made.model.parameters()])).all()
