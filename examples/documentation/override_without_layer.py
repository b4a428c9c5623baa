# `override` without `layer`: only what the override names starts as the rule says. feat and cls keep
# what PyTorch gave them.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=dict(type="Constant", val=1, bias=2, override=dict(name="reg")),
)
