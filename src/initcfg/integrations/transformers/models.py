"""A model of transformers as its constructors mean it: built without a write, from its config."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

import initcfg
from initcfg._stream.writing import seeded
from initcfg.errors import ArgumentValueError
from initcfg.integrations.transformers.library import transformers


def class_of(config: Any, model_class: Any) -> Any:
    """The class that a config is built as: the one given, else the first of its ``architectures``."""
    if model_class is not None:
        return _checked(model_class)
    for name in getattr(config, "architectures", None) or ():
        found = getattr(transformers, name, None)
        if found is not None:
            return found
    try:
        found = transformers.MODEL_MAPPING[type(config)]
        # Where there are several, the first is meant, as AutoModel has it.
        return found[0] if isinstance(found, (list, tuple)) else found
    except KeyError:
        raise ArgumentValueError(
            f"A {type(config).__name__} does not say which model is to be built.",
            fix="Name the class: model_class=transformers.GPT2LMHeadModel.",
        ) from None


def _checked(model_class: Any) -> Any:
    """A class of models that was named, if it is one."""
    if not hasattr(model_class, "_from_config") and not hasattr(model_class, "from_config"):
        raise ArgumentValueError(
            f"model_class is a class of transformers, not {model_class!r}.",
            fix="Give the class itself: model_class=transformers.AutoModelForCausalLM.",
        )
    return model_class


def outlined(model_class: Any, config: Any, seed: int | None) -> Any:
    """The model under ``initcfg.deferred()``: what its own code would write is noted."""
    # As initcfg.build does it, so that the weights are those of initcfg init.
    drawn = contextlib.nullcontext() if seed is None else seeded(seed, "")
    with drawn, initcfg.deferred(guard=False):
        return built(model_class, config)


def without_memory(model_class: Any, config: Any) -> Any:
    """The model on the meta device."""
    with torch.device("meta"):
        return built(model_class, config)


def built(model_class: Any, config: Any) -> Any:
    """The model of a config, of any class of transformers: an ``Auto`` class has its own way."""
    make = getattr(model_class, "_from_config", None) or model_class.from_config
    try:
        return make(config)
    except AttributeError as error:
        wanted = getattr(model_class, "config_class", None)
        if not isinstance(wanted, type) or isinstance(config, wanted):
            raise
        given = type(config).__name__
        raise ArgumentValueError(
            f"A {model_class.__name__} is built from a {wanted.__name__}, not from a {given}.",
            fix="Give that config, or another model_class; without one, the config's own is taken.",
        ) from error
