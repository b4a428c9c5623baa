"""Rules in the containers of other libraries: any mapping is a dict, any sequence a list."""

from collections import UserDict, UserList, deque
from collections.abc import Mapping
from types import MappingProxyType

import pytest
from torch import nn

from initcfg import BaseModule, Config, KaimingInit, PretrainedInit, errors, plan
from initcfg.values import Constant, Normal


class Resolving(Mapping):
    """As OmegaConf's: what stands in it is resolved when it is read."""

    def __init__(self, **items):
        self._items = items

    def __getitem__(self, key):
        item = self._items[key]
        if item == "???":
            raise RuntimeError(f"Missing mandatory value: {key}\n  full_key: {key}")
        return self._items[item[2:-1]] if isinstance(item, str) and item.startswith("${") else item

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return len(self._items)


def model():
    return nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 1), nn.LayerNorm(4))


def weights(init_cfg):
    return [plan(model(), init_cfg)[f"{i}.weight"].value for i in (0, 1)]


RULE = dict(type="Normal", layer=["Linear", "Conv2d"], std=0.5)


@pytest.mark.parametrize(
    "init_cfg",
    [
        UserDict(RULE),
        MappingProxyType(RULE),
        UserList([RULE]),
        deque([UserDict(RULE)]),
        (RULE,),
        [MappingProxyType(RULE)],
        dict(RULE, layer=UserList(["Linear", "Conv2d"])),
        dict(RULE, layer=("Linear", "Conv2d")),
        [Resolving(type="Normal", layer=["Linear", "Conv2d"], std="${bias}", bias=0.5)],
    ],
)  # fmt: skip
def test_any_container(init_cfg):
    assert weights(init_cfg) == [Normal(0.0, 0.5)] * 2


def test_within_rules():
    rule = dict(RULE, override=UserList([UserDict(name="0", type="Constant", val=3.0)]))
    assert weights(rule) == [Constant(3.0), Normal(0.0, 0.5)]


def test_a_modules_own_rules_keep_what_was_given():
    class Own(BaseModule):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.linear = nn.Linear(2, 2)

    own = Own(UserList([UserDict(type="Constant", layer=UserList(["Linear"]), val=2.0)]))
    assert plan(own)["linear.weight"].value == Constant(2.0)
    assert isinstance(own.init_cfg, UserList)


def test_what_cannot_be_read_is_said():
    with pytest.raises(
        errors.ArgumentError, match="A Resolving cannot be read: Missing mandatory value: std"
    ) as caught:
        plan(model(), Resolving(type="Normal", layer="Linear", std="???"))
    assert "full_key" not in str(caught.value) and caught.value.fix


def test_initializers_take_them_too():
    assert KaimingInit(layer=UserList(["Linear"])).layer == ["Linear"]
    assert PretrainedInit(checkpoint={}, rename=UserList([("a", "b")])).arguments()["rename"] == [["a", "b"]]


def test_a_checkpoint_given_as_a_mapping_is_not_read():
    class Lazy(Resolving):
        def __getitem__(self, key):
            raise AssertionError("read before it was asked for")

    lazy = Lazy(weight=0)
    assert PretrainedInit(checkpoint=lazy).checkpoint is lazy


def test_a_model_keeps_its_arguments():
    # Among them may be a data set, which is a sequence and not a list.
    seen = {}

    def build(numbers, init_cfg=None):
        seen["numbers"] = numbers
        return nn.Linear(2, 2)

    from initcfg import MODELS

    MODELS.register_module("TakesNumbers", module=build, force=True)
    numbers = deque([1, 2])
    MODELS.build(dict(type="TakesNumbers", numbers=numbers))
    assert seen["numbers"] is numbers


def test_what_contains_itself():
    rules: list = []
    rules.append(rules)
    with pytest.raises(errors.RuleTypeError, match="contains itself"):
        plan(model(), rules)


def test_a_config_of_them_is_one_of_dicts():
    made = Config(UserDict(a=[1]))
    assert made.to_dict() == {"a": [1]}
