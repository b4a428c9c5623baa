# A checkpoint: it beats every other rule of its module, wherever it stands in the list.
#
# The original's example loads 'torchvision://resnet50'. foo.pth is the state_dict of a FooModel, made
# by `initcfg init layer_each.py -o foo.pth`.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooModel",
    init_cfg=[
        dict(type="Pretrained", checkpoint="{{ fileDirname }}/foo.pth"),
        dict(type="Constant", layer="Linear", val=9, bias=9),
    ],
)
