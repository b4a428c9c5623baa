"""Plans hold no model: neither its tensors nor its modules outlive it."""

from __future__ import annotations

import gc
import weakref

import initcfg


def test_neither_plan_nor_caches_keep_a_model_alive(foo_class):
    rules = [
        dict(type="Normal", layer=["Conv2d", "Linear"], exclude="cls"),
        dict(type="Constant", val=1, name="re:f.*"),
        dict(type="Uniform", param="*.weight"),
    ]
    model = foo_class(rules)
    model.init_weights()
    plan = initcfg.plan(model)
    ledger = plan.apply(model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert len(plan) == len(ledger) == 6
