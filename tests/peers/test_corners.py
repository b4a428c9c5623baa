"""The corners of MMEngine's initialization, each run by MMEngine itself and by ours.

Two equal models are built from the real classes; MMEngine initializes the one, our plan the other,
from the same generator state. Either both raise, or all bits are the same. Where we refuse earlier, or
with another class of error, the case says so.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from corners import bits, rule
from forbidden import mmengine_forbidden
from torch import nn

import initcfg
from initcfg import errors
from initcfg.compat import mmengine as compat

pytestmark = [pytest.mark.peers, pytest.mark.mm]


def model_of(home: Any, init_cfg: Any = None) -> nn.Module:
    """One of every kind of layer, a part with rules of its own, and what rules can stumble over."""

    class Inner(home.BaseModule):
        def __init__(self, init_cfg: Any = None) -> None:
            super().__init__(init_cfg)
            self.fc = nn.Linear(3, 3)

    class Net(home.BaseModule):
        def __init__(self) -> None:
            super().__init__(init_cfg)
            self.conv = nn.Conv2d(2, 4, 3)
            self.norm1 = nn.BatchNorm2d(4)
            self.prelu = nn.PReLU()
            self.embed = nn.Embedding(5, 3, padding_idx=1)
            self.attn = nn.MultiheadAttention(4, 2)
            self.inner = Inner()
            self.plain = nn.ModuleList([Inner(dict(type="Constant", layer="Linear", val=9))])
            self.frozen = nn.Linear(2, 2).requires_grad_(False)
            self.token = nn.Parameter(torch.zeros(2, 2))
            self.number = 3
            self.last = nn.Linear(2, 2)

        @property
        def norm(self) -> nn.Module:
            return self.norm1

    torch.manual_seed(0)
    return Net()


ALIKE: dict[str, Any] = {
    "no rules": None,
    "empty dict": {},
    "empty list": [],
    "tuple of rules": (rule(layer="Linear"), dict(type="Constant", layer="Conv2d", val=2)),
    "list order, later wins": [rule(layer="Linear"), dict(type="Constant", layer="Linear", val=2)],
    "layer as list": rule(layer=["Linear", "Conv2d"]),
    "base class by bare name": rule(layer="_ConvNd"),
    "direct base alone": rule(layer="_NormBase"),
    "Module means those right below it": rule(layer="Module"),
    "a typo is silent": rule(layer="Linaer"),
    "no layer at all": rule(),
    "empty list of layers": rule(layer=[]),
    "a class in the list matches nothing": rule(layer=[nn.Linear]),
    "attention by its own name": rule(layer="MultiheadAttention"),
    "attention's projection is a Linear": rule(layer="NonDynamicallyQuantizableLinear"),
    "padding row too": rule(layer="Embedding"),
    "a vector of weights": rule(layer="PReLU"),
    "bias": rule(layer="Linear", bias=3),
    "bias True": rule(layer="Linear", bias=True),
    "bias_prob beats bias": rule(layer="Linear", bias=3, bias_prob=0.02),
    "type is a class of ours": dict(type=initcfg.NormalInit, layer="Linear"),
    "scope": dict(type="mmengine.Normal", layer="Linear"),
    "_scope_": dict(type="Normal", layer="Linear", _scope_="mmengine"),
    "Xavier": dict(type="Xavier", layer="Linear"),
    "Xavier uniform": dict(type="Xavier", layer=["Linear", "Conv2d"], distribution="uniform", gain=2),
    "TruncNormal": dict(type="TruncNormal", layer="Linear"),
    "TruncNormal off centre": dict(type="TruncNormal", layer="Linear", mean=1, std=0.3, a=0.5, b=1),
    "Uniform": dict(type="Uniform", layer="Linear"),
    "Kaiming": dict(type="Kaiming", layer=["Conv2d", "Linear"]),
    "Kaiming fan_in": dict(type="Kaiming", layer="Conv2d", mode="fan_in", nonlinearity="leaky_relu", a=0.3),
    "Kaiming uniform": dict(type="Kaiming", layer="Conv2d", distribution="uniform"),
    "Caffe2Xavier": dict(type="Caffe2Xavier", layer=["Conv2d", "Linear"], bias=1),
    "override by name takes over the arguments": rule(layer="Conv2d", bias=4, override=dict(name="last")),
    "override with a type takes over nothing": rule(
        layer="Linear", bias=4, override=dict(type="Constant", val=1, name="last")
    ),
    "override ignores layer": rule(
        layer="Linear", override=dict(type="Constant", val=1, name="attn", layer="Conv2d")
    ),
    "override by property": dict(type="Constant", val=0, override=dict(name="norm")),
    "override of a whole module": dict(type="Constant", val=5, override=dict(name="attn")),
    "override without layer": rule(override=[dict(name="last"), dict(name="inner")]),
    "override beats its rule, a list in order": rule(
        layer="Linear",
        override=[dict(type="Constant", val=1, name="last"), dict(type="Uniform", name="last")],
    ),
    "override of what has no weight": rule(override=dict(name="plain")),
    "overrides, none": rule(layer="Linear", override=[]),
}


def run_both(real: Any, init_cfg: Any) -> tuple[Any, Any]:
    """What each of the two ends in: the bits with the generator state, or an error."""
    ends: list[Any] = []
    for executor in ("theirs", "ours"):
        model = model_of(real, init_cfg)
        torch.manual_seed(1)
        try:
            if executor == "theirs":
                model.init_weights()  # type: ignore[operator]
            else:
                with mmengine_forbidden():
                    initcfg.init_weights(model, compat="mmengine", rng="torch")
        except Exception as error:
            ends.append(error)
        else:
            ends.append((bits(model), torch.get_rng_state().numpy().tobytes()))
    return ends[0], ends[1]


@pytest.mark.parametrize("init_cfg", ALIKE.values(), ids=ALIKE)
def test_alike(real: Any, init_cfg: Any) -> None:
    theirs, ours = run_both(real, init_cfg)
    assert not isinstance(theirs, Exception), theirs
    assert not isinstance(ours, Exception), ours
    assert ours == theirs


RAISE: dict[str, tuple[Any, type[Exception], type[Exception]]] = {
    # What it is, theirs, ours.
    "no type": (dict(layer="Linear"), KeyError, KeyError),
    "unknown type": (dict(type="Nothing", layer="Linear"), KeyError, KeyError),
    "the class's own name is no alias": (dict(type="NormalInit", layer="Linear"), KeyError, KeyError),
    "unknown argument": (rule(layer="Linear", sdt=1), TypeError, TypeError),
    "missing argument": (dict(type="Constant", layer="Linear"), TypeError, TypeError),
    "Caffe2Xavier takes no a": (dict(type="Caffe2Xavier", layer="Linear", a=1), TypeError, TypeError),
    "layer is a tuple": (rule(layer=("Linear",)), TypeError, TypeError),
    "layer is a class": (rule(layer=nn.Linear), TypeError, TypeError),
    "bias is a string": (rule(layer="Linear", bias="0"), TypeError, TypeError),
    "bias is None": (rule(layer="Linear", bias=None), TypeError, TypeError),
    "bias_prob is an integer": (rule(layer="Linear", bias_prob=1), TypeError, TypeError),
    "an item that is no dict": ([3], AssertionError, errors.RuleTypeError),
    "a string": ("Kaiming", AssertionError, errors.RuleTypeError),
    "override of a wrong type": (rule(override="last"), TypeError, TypeError),
    "override without name": (rule(override=dict(type="Constant", val=1)), ValueError, ValueError),
    "override without type": (rule(override=dict(name="last", val=1)), ValueError, ValueError),
    "override, dotted name": (rule(override=dict(name="inner.fc")), RuntimeError, RuntimeError),
    "override, missing name": (rule(override=dict(name="head")), RuntimeError, RuntimeError),
    "override of a parameter": (rule(override=dict(name="token")), AttributeError, AttributeError),
    "override of a number": (rule(override=dict(name="number")), AttributeError, AttributeError),
    "override in an override": (
        rule(override=dict(type="Normal", name="inner", override=dict(name="fc"))),
        TypeError,
        TypeError,
    ),
    "fans of a vector": (dict(type="Xavier", layer="BatchNorm2d"), ValueError, ValueError),
    "fans of a vector in an override": (
        dict(type="Kaiming", override=dict(name="norm")),
        ValueError,
        ValueError,
    ),
    "mode": (dict(type="Kaiming", layer="Linear", mode="fan_inn"), ValueError, ValueError),
    "nonlinearity": (dict(type="Kaiming", layer="Linear", nonlinearity="rel"), ValueError, ValueError),
    # An empty AssertionError there; here the argument by name, also where nothing matches.
    "distribution": (
        dict(type="Kaiming", layer="Linear", distribution="n"),
        AssertionError,
        errors.ArgumentError,
    ),
    "negative std": (rule(layer="Linear", std=-1), RuntimeError, errors.ArgumentError),
    "bias_prob 0": (rule(layer="Linear", bias_prob=0.0), ZeroDivisionError, errors.ArgumentError),
    "Pretrained takes no layer": (
        dict(type="Pretrained", checkpoint="x", layer="Linear"),
        TypeError,
        TypeError,
    ),
    "Pretrained, no checkpoint": (dict(type="Pretrained", checkpoint=None), TypeError, TypeError),
}


@pytest.mark.parametrize(("init_cfg", "theirs", "ours"), RAISE.values(), ids=RAISE)
def test_both_raise(real: Any, init_cfg: Any, theirs: type[Exception], ours: type[Exception]) -> None:
    before = bits(model_of(real))
    their_error, our_error = run_both(real, init_cfg)
    assert isinstance(their_error, theirs), their_error
    assert isinstance(our_error, ours), our_error
    assert isinstance(our_error, errors.InitcfgError)
    # And ours has written nothing.
    model = model_of(real, init_cfg)
    with pytest.raises(ours):
        initcfg.init_weights(model, compat="mmengine", rng="torch")
    assert bits(model) == before


def test_refused_here_and_taken_there(real: Any) -> None:
    """Two where the original goes on: a probability of 1 gives it a bias of infinity, and an argument
    that is wrong goes unnoticed while no layer matches."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs, ours = run_both(real, rule(layer="Linear", bias_prob=1.0))
    assert not isinstance(theirs, Exception)
    assert isinstance(ours, errors.ArgumentError)
    theirs, ours = run_both(real, dict(type="Kaiming", layer="Conv3d", distribution="n"))
    assert not isinstance(theirs, Exception)
    assert isinstance(ours, errors.ArgumentError)
    theirs, ours = run_both(real, rule(layer="Linear", bias_prob=2.0))
    assert isinstance(ours, errors.ArgumentError)


# -- the function initialize ---------------------------------------------------------------------


@pytest.mark.parametrize("init_cfg", [None, "Kaiming", (rule(layer="Linear"),)])
def test_initialize_takes_dict_and_list_alone(real: Any, init_cfg: Any) -> None:
    with pytest.raises(TypeError):
        real.initialize(nn.Linear(2, 2), init_cfg)
    with pytest.raises(TypeError):
        compat.initialize(nn.Linear(2, 2), init_cfg)


def test_initialize_looks_at_the_module_itself_and_keeps_list_order(real: Any) -> None:
    rules = [dict(type="Constant", layer="Linear", val=1), rule(layer="Linear"), rule(layer="Linear", bias=2)]
    ends = []
    for initialize in (real.initialize, compat.initialize):
        linear = nn.Linear(3, 3)
        torch.manual_seed(5)
        initialize(linear, [])
        initialize(linear, rules)
        ends.append((bits(linear), torch.get_rng_state().tolist()))
    assert ends[0] == ends[1]
    with pytest.raises(AttributeError):
        real.initialize(linear, [3])
    with pytest.raises(errors.RuleTypeError):
        compat.initialize(linear, [3])


def test_earlier_rules_stay_there_and_nothing_is_written_here(real: Any) -> None:
    rules = [dict(type="Constant", layer="Linear", val=1), dict(type="Nothing", layer="Linear")]
    theirs, ours = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(KeyError):
        real.initialize(theirs, rules)
    assert theirs.weight.eq(1).all()
    before = bits(ours)
    with pytest.raises(KeyError):
        compat.initialize(ours, rules)
    assert bits(ours) == before


def test_an_unrelated_class_of_the_same_name_matches(real: Any) -> None:
    linear = type("Linear", (nn.Conv1d,), {})
    ends = []
    for initialize in (real.initialize, compat.initialize):
        model = nn.Sequential(linear(2, 2, 1))
        torch.manual_seed(5)
        initialize(model, rule(layer="Linear"))
        ends.append(bits(model))
    assert ends[0] == ends[1]


def test_recurrent_layers_and_weights_that_are_no_tensors(real: Any) -> None:
    odd = type("Odd", (nn.Module,), {"weight": 3.0})
    for module, layer in ((nn.LSTM(2, 2), "LSTM"), (odd(), "Odd")):
        with pytest.raises(AttributeError):
            real.initialize(module, rule(layer=layer))
        with pytest.raises(errors.TensorError):
            compat.initialize(module, rule(layer=layer))
    with pytest.raises(ValueError):
        real.initialize(nn.LazyLinear(2), rule(layer="LazyLinear"))
    with pytest.raises(ValueError):
        compat.initialize(nn.LazyLinear(2), rule(layer="LazyLinear"))


def test_parametrized_weight_is_drawn_and_lost_and_its_bias_is_written(real: Any) -> None:
    ends = []
    for initialize in (real.initialize, compat.initialize):
        torch.manual_seed(0)
        model = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        torch.manual_seed(5)
        initialize(model, rule(layer="ParametrizedLinear", bias=2))
        initialize(model, rule(layer="Linear", bias=3))
        ends.append((bits(model), torch.get_rng_state().tolist()))
    assert ends[0] == ends[1]
