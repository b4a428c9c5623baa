# Rules at both: the child's beat the parent's, wherever both reach.
_base_ = "nested.py"

model = dict(
    init_cfg=dict(type="Constant", layer=["Conv2d", "Linear"], val=7, bias=8),  # model.reg and neck
)
