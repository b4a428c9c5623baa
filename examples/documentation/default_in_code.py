# The rules stand in code, as the default of the class; the config says nothing.
_base_ = "_base_/foo.py"

model = dict(type="FooModelWithDefault")
