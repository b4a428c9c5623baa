# RetinaNet R50-FPN for the 80 classes of COCO. No rule stands here: the defaults of the classes are
# those of MMDetection, and a config that inherits from this one may set `init_cfg` at any part.
model = dict(
    type="RetinaNet",
    backbone=dict(type="ResNet", depth=50),
    neck=dict(type="FPN", in_channels=[256, 512, 1024, 2048], out_channels=256, start_level=1, num_outs=5),
    bbox_head=dict(type="RetinaHead", num_classes=80, in_channels=256, stacked_convs=4, feat_channels=256),
)
