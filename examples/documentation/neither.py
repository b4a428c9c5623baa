# Neither `layer` nor `override`: nothing is initialized, and the plan lists the rule as unused.
_base_ = "_base_/foo.yaml"

model = dict(type="FooModel", init_cfg=dict(type="Constant", val=1, bias=2))
