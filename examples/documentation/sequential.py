# The rules stand in code, on a Sequential.
_base_ = "_base_/foo.yaml"

model = dict(type="FooModelWithSequential")
