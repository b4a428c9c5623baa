# The config's rules take the place of the default in code.
_base_ = "default_in_code.py"

model = dict(init_cfg=dict(type="Constant", layer="Linear", val=5))
