# A model within a model, the rules at the inner one: they reach it, and not the neck beside it.
_base_ = "_base_/foo.yaml"

model = dict(
    type="FooDetector",
    model=dict(
        type="FooModel",
        in_channels=3,
        num_classes=2,
        init_cfg=dict(type="Constant", layer="Linear", val=1),
    ),
)
