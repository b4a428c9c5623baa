_base_ = "retinanet_r50_fpn.py"

# The blocks of ResNet-18 do not widen what they put out.
model = dict(backbone=dict(depth=18), neck=dict(in_channels=[64, 128, 256, 512]))
