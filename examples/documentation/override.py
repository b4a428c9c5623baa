# `override`: the attribute that it names does not start as the rule around it says.
#
# The original documentation says that this reaches feat and cls with val=1. It cannot: cls is a
# Linear, and `layer` names none. cls keeps what PyTorch gave it, here as in MMEngine; add "Linear" to
# `layer` if it is meant.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=dict(
        type="Constant",
        layer=["Conv1d", "Conv2d"],
        val=1,
        bias=2,  # feat: weight 1, bias 2
        override=dict(type="Constant", name="reg", val=3, bias=4),  # reg: weight 3, bias 4
    ),
)
