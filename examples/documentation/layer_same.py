# `layer` alone: all layers of these classes, the whole model here, start alike.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=dict(type="Constant", layer=["Conv1d", "Conv2d", "Linear"], val=1),
)
