# The rules stand in code, on a ModuleList.
_base_ = "_base_/foo.yaml"

model = dict(type="FooModelWithModuleList")
