# Invalid: the override has arguments, but nothing says what they are arguments of.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=dict(
        type="Constant",
        layer=["Conv1d", "Conv2d"],
        val=1,
        bias=2,
        override=dict(name="reg", val=3, bias=4),
    ),
)
