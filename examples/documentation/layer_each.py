# `layer` in a list of rules: each class of layers starts in its own way.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=[
        dict(type="Constant", layer="Conv1d", val=1),  # feat
        dict(type="Constant", layer="Conv2d", val=2),  # reg
        dict(type="Constant", layer="Linear", val=3),  # cls
    ],
)
