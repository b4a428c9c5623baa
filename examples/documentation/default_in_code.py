# The rules stand in code, as the default of the class; the config says nothing.
_base_ = "_base_/foo.yaml"

model = dict(type="FooModelWithDefault")
