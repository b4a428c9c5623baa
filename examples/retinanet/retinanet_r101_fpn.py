_base_ = "retinanet_r50_fpn.py"

model = dict(backbone=dict(depth=101))
