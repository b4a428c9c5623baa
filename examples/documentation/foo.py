"""The models of the original documentation, as small as they come."""

from __future__ import annotations

from typing import Any

from torch import nn

from initcfg import MODELS, BaseModule, ModuleList, Sequential

Cfg = dict[str, Any]
InitCfg = Cfg | list[Cfg] | None


@MODELS.register_module()
class FooModel(BaseModule):
    """Three layers; what they start with is for the config to say.

    Args:
        in_channels: Channels of the input.
        num_classes: Number of classes.
        init_cfg: The rules.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 2, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.feat = nn.Conv1d(in_channels, 1, 3)
        self.reg = nn.Conv2d(in_channels, 3, 3)
        self.cls = nn.Linear(1, num_classes)


@MODELS.register_module()
class FooModelWithDefault(FooModel):
    """``init_cfg`` used directly in code: a default, which a config may replace."""

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 2,
        # BaseModule copies the rules, so that one default serves all models.
        init_cfg: InitCfg = dict(type="Constant", layer=["Conv1d", "Conv2d", "Linear"], val=1),  # noqa: B006
    ) -> None:
        super().__init__(in_channels, num_classes, init_cfg)


@MODELS.register_module()
class FooModelWithSequential(BaseModule):
    """``init_cfg`` on a ``Sequential``: it reaches what is in it, and nothing beside it."""

    def __init__(self, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.conv1 = Sequential(
            nn.Conv1d(3, 1, 3),
            nn.Linear(1, 2),
            init_cfg=[
                dict(type="Constant", layer="Conv1d", val=1),
                dict(type="Constant", layer="Linear", val=2),
            ],
        )
        self.conv2 = nn.Conv1d(2, 2, 3)


@MODELS.register_module()
class FooModelWithModuleList(BaseModule):
    """``init_cfg`` on a ``ModuleList``."""

    def __init__(self, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.conv1 = ModuleList(
            [nn.Conv1d(3, 1, 3), nn.Conv2d(3, 3, 3)],
            init_cfg=dict(type="Constant", layer=["Conv1d", "Conv2d"], val=3, bias=4),
        )
        self.cls = nn.Linear(1, 2)


@MODELS.register_module()
class FooDetector(BaseModule):
    """A model that holds another: the inner config is built here, with the rules it carries.

    Args:
        model: Config of the inner model.
        init_cfg: Rules for the whole; the inner model's own beat them.
    """

    def __init__(self, model: Cfg, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        self.model = MODELS.build(model)
        self.neck = nn.Linear(2, 2)
