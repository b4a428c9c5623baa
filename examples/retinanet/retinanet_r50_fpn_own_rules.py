# The same detector with rules from the config, in place of the defaults in code: each part's own.
_base_ = "retinanet_r50_fpn.py"

model = dict(
    backbone=dict(
        init_cfg=[
            dict(type="Kaiming", layer="Conv2d", mode="fan_in"),
            dict(type="Constant", layer="_BatchNorm", val=1),
            # By name, wherever it stands: no block needs a rule of its own.
            dict(type="Constant", name="layer*.*.bn3", val=0),
        ]
    ),
    bbox_head=dict(
        init_cfg=dict(
            type="TruncNormal",
            layer="Conv2d",
            std=0.01,
            a_sigma=-2,
            b_sigma=2,
            override=dict(type="Normal", name="retina_cls", std=0.01, bias_prob=0.02),
        )
    ),
)
