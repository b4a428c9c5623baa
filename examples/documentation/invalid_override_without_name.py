# Invalid: the override does not say which attribute it is for.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=dict(
        type="Constant",
        layer=["Conv1d", "Conv2d"],
        val=1,
        bias=2,
        override=dict(type="Constant", val=3, bias=4),
    ),
)
