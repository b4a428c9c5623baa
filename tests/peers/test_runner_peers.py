"""MMEngine's own Runner, on the Config, the MODELS and the bases of initcfg.compat."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import initcfg
from initcfg.compat.mmengine import BaseModule
from initcfg.errors import DuplicateNameError

pytestmark = [pytest.mark.peers, pytest.mark.mm]
_count = itertools.count()


@pytest.fixture(autouse=True)
def old_ways_of_the_peer(real: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # MMEngine 0.10.7 saves an object of its own beside the weights, which torch's safe loader refuses.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MMEngine's use of torch's older interfaces
        yield


@pytest.fixture(scope="module")
def registered(real: Any) -> str:
    """A dataset in MMEngine's registry, a model in ours."""
    from mmengine.registry import DATASETS

    from initcfg.compat.mmengine import MODELS, BaseModel

    @DATASETS.register_module(name="RunnerData")
    class Data(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> tuple[torch.Tensor]:
            return (torch.full((4,), 1.0 + index),)

    class Head(BaseModule):
        def __init__(self) -> None:
            super().__init__(dict(type="Constant", layer="Linear", val=2.0, bias=1.0))
            self.fc = nn.Linear(4, 2)

    @MODELS.register_module(name="RunnerNet")
    class Net(BaseModel):
        def __init__(self, init_cfg: Any = None, data_preprocessor: Any = None) -> None:
            super().__init__(data_preprocessor, init_cfg)
            self.first, self.head = nn.Linear(4, 4), Head()

        def forward(self, inputs: Any, mode: str = "loss") -> dict[str, torch.Tensor]:
            return dict(loss=self.head.fc(self.first(torch.stack(list(inputs)))).sum())

    return "RunnerNet"


def config(kind: Any, registered: str, folder: Path, **further: Any) -> Any:
    return kind(
        dict(
            model=dict(type=registered, init_cfg=dict(type="Normal", layer="Linear", std=0.1)),
            train_dataloader=dict(
                batch_size=2,
                dataset=dict(type="RunnerData"),
                sampler=dict(type="DefaultSampler", shuffle=False),
            ),
            train_cfg=dict(by_epoch=False, max_iters=2),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, by_epoch=False)),
            default_scope="mmengine",
            log_level="ERROR",
            randomness=dict(seed=3),
            work_dir=str(folder),
            experiment_name=f"runner_{next(_count)}",
            **further,
        )
    )


def test_the_config_is_of_both_packages() -> None:
    import mmengine

    from initcfg.compat.mmengine import Config

    cfg = Config(dict(model=dict(type="x")))
    for each in (cfg, copy.copy(cfg), copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert isinstance(each, mmengine.Config)
        assert isinstance(each, initcfg.Config)
        assert each.model.type == "x"
        assert each._cfg_dict == cfg.to_dict()


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_two_iterations_then_load_from_then_resume(registered: str, tmp_path: Path, whose: str) -> None:
    import mmengine
    from mmengine.runner import Runner

    from initcfg.compat.mmengine import Config

    kind: Any = Config if whose == "ours" else mmengine.Config
    runner = Runner.from_cfg(config(kind, registered, tmp_path / "first"))
    before: dict[str, Any] = {}
    start = runner.call_hook

    def seen(point: str, **given: Any) -> None:
        if point == "before_train_iter" and not before:
            before.update({name: each.clone() for name, each in runner.model.state_dict().items()})
        start(point, **given)

    runner.call_hook = seen  # type: ignore[method-assign]
    trained = runner.train()
    # The weights that training began with: the head's own rule, and the model's rule for the rest.
    assert before["head.fc.weight"].eq(2).all()
    assert before["head.fc.bias"].eq(1).all()
    assert before["first.bias"].eq(0).all()
    assert 0 < before["first.weight"].std() < 0.3
    assert runner.iter == 2
    # Two steps of 0.01 on sums over batches of two: the bias of the head falls by 0.01 * 2 each.
    assert torch.allclose(trained.head.fc.bias, torch.full((2,), 1 - 2 * 0.02))

    saved = tmp_path / "first" / "iter_1.pth"
    loaded = Runner.from_cfg(config(kind, registered, tmp_path / "second", load_from=str(saved)))
    loaded.load_or_resume()
    assert torch.allclose(loaded.model.head.fc.bias, torch.full((2,), 1 - 0.02))
    assert loaded.iter == 0

    resumed = Runner.from_cfg(config(kind, registered, tmp_path / "third", load_from=str(saved), resume=True))
    result = resumed.train()
    assert resumed.iter == 2
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, result.state_dict()[name]), name


def test_a_dumped_config_of_a_runner_reads_back(registered: str, tmp_path: Path) -> None:
    from mmengine.runner import Runner

    from initcfg.compat.mmengine import Config

    cfg = config(Config, registered, tmp_path)
    runner = Runner.from_cfg(cfg)
    (written,) = Path(tmp_path, runner.timestamp).parent.glob("*.py")
    assert initcfg.Config.fromfile(written).model == cfg.model


def test_what_is_registered_here_is_registered_there() -> None:
    from mmengine.registry import MODELS as THEIRS

    from initcfg.compat.mmengine import MODELS

    assert MODELS is initcfg.MODELS

    @initcfg.MODELS.register_module(name=["RunnerShared", "RunnerAlso"])
    class Shared(nn.Module): ...

    assert THEIRS.get("RunnerShared") is THEIRS.get("RunnerAlso") is Shared
    THEIRS.register_module(name="RunnerTaken", module=nn.Linear)
    with pytest.raises(DuplicateNameError, match="MMEngine's MODELS"):
        MODELS.register_module(name="RunnerTaken", module=Shared)
    assert "RunnerTaken" not in MODELS.module_dict
    MODELS.register_module(name="RunnerTaken", module=Shared, force=True)
    assert THEIRS.get("RunnerTaken") is Shared


def test_a_visualizer_is_built_once(stand_ins: None, tmp_path: Path):
    from mmengine.visualization import Visualizer

    cfg = dict(type=Visualizer, name="built_by_initcfg", save_dir=str(tmp_path))
    built = initcfg.build_from_cfg(cfg, initcfg.MODELS)
    assert built is Visualizer.get_instance("built_by_initcfg")
    assert initcfg.build_from_cfg(dict(type=Visualizer, name="built_by_initcfg"), initcfg.MODELS) is built
