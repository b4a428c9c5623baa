# `override` as a list: several attributes, each in its own way. With its name alone, one takes over
# what the rule around it says, whatever `layer` lists: so cls, a Linear, gets val=1, bias=2 here.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=dict(
        type="Constant",
        layer="Conv1d",
        val=1,
        bias=2,
        override=[
            dict(type="Constant", name="reg", val=3, bias=4),
            dict(name="cls"),
        ],
    ),
)
