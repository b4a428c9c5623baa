# The rules stand in code, on a Sequential.
_base_ = "_base_/foo.py"

model = dict(type="FooModelWithSequential")
