"""One forward pass of a stand-in, watched: on the meta device, else on the CPU."""

from __future__ import annotations

import contextlib
import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from initcfg._model.names import Names, named_tensors, unwrapped
from initcfg._model.roles.examples import Arguments
from initcfg._model.roles.operations import Graph, Recorder, watched_calls
from initcfg._model.roles.stand_in import stand_in

# A model with more bytes than these is not run on the CPU.
_MOST_BYTES = 1 << 30
# Of what ended early: how much must be seen not to run it on the CPU, and to be better than names.
_ENOUGH, _AT_LEAST = 0.5, 0.2
# The second: kernels that exist for one type only.
_ATTEMPTS = (("meta", None), ("meta", torch.bfloat16), ("cpu", None))


def watched_forward(model: nn.Module, names: Names, arguments: list[Arguments]) -> Graph:
    """The graph of a pass on the first of these arguments with which the model runs.

    A pass that ends before its end, as where numbers decide what comes next, is seen as far as it went. The
    model, its tensors and the process stay as they are.

    Raises:
        Exception: The model ran nowhere; that of the first attempt, on the meta device.
    """
    model = unwrapped(model)
    problems: list[Exception] = []
    farthest: tuple[float, Graph] | None = None
    for device, dtype in _ATTEMPTS:
        seen = farthest is not None and farthest[0] > _ENOUGH
        if device == "cpu" and (seen or _size(names) > _MOST_BYTES):
            continue
        for each in arguments:
            try:
                with _apart():
                    graph = _run(stand_in(model, device, dtype), device, dtype, each)
            except Exception as error:
                problems.append(error)
                continue
            if graph.broken is None:
                return graph
            problems.append(graph.broken)
            reached = _reached(graph)
            if farthest is None or reached > farthest[0]:
                farthest = reached, graph
    if farthest is not None and farthest[0] > _AT_LEAST:
        return farthest[1]
    raise problems[0]


def _reached(graph: Graph) -> float:
    """The share of parameters that a pass came to."""
    used = {name for node in graph.nodes for name in node.weights}
    weights = [name for name, shape in graph.shapes.items() if len(shape) > 1]
    return len(used) / max(1, len(weights))


def _size(names: Names) -> int:
    return sum(entry.tensor.numel() * entry.tensor.element_size() for entry in names.parameters)


def _run(model: nn.Module, device: str, dtype: torch.dtype | None, arguments: Arguments) -> Graph:
    own = named_tensors(model)
    parameters = {entry.name: list(entry.stored) for entry in own.parameters}
    recorder = Recorder(parameters)
    for entry in own.buffers:
        recorder.graph.nodes[recorder.node_of(entry.tensor)].name = entry.name
    args, kwargs = arguments
    inputs: list[tuple[torch.Tensor, str]] = []
    args = _moved(args, device, dtype, inputs, "input")
    kwargs = {key: _moved(each, device, dtype, inputs, key) for key, each in kwargs.items()}
    for tensor, name in inputs:
        recorder.begin_with(tensor, name)
    default = torch.device(device)
    graph = recorder.graph
    graph.device = device
    try:
        with watched_calls(model, recorder, own.modules), default, torch.enable_grad(), recorder:
            result = model(*args, **kwargs)
    except Exception as error:
        graph.broken = error
        return graph
    graph.outputs = tuple(
        index for tensor in outputs(result) if graph.nodes[index := recorder.node_of(tensor)].data
    )
    return graph


def _moved(value: Any, device: str, dtype: torch.dtype | None, found: list[Any], name: str) -> Any:
    """An argument with its tensors on the device; these are noted under their names."""
    if isinstance(value, torch.Tensor):
        type_ = dtype if dtype is not None and value.is_floating_point() else value.dtype
        if device == "meta":
            made = torch.empty(tuple(value.shape), dtype=type_, device="meta")
        elif value.device.type == "meta":
            made = torch.zeros(tuple(value.shape), dtype=type_, device="cpu")
        else:
            made = value.detach().to("cpu", type_, copy=True)
        found.append((made, name))
        return made
    if isinstance(value, Mapping) and type(value) is dict:
        return {key: _moved(each, device, dtype, found, str(key)) for key, each in value.items()}
    if type(value) in (list, tuple):
        moved = [_moved(each, device, dtype, found, name) for each in value]
        return tuple(moved) if isinstance(value, tuple) else moved
    return value


def outputs(result: Any) -> list[torch.Tensor]:
    """The tensors that a model answers with: of transformers' outputs the logits, or the last state."""
    if isinstance(result, torch.Tensor):
        return [result] if result.is_floating_point() else []
    if isinstance(result, Mapping):
        named = {key: each for key, each in result.items() if each is not None}
        logits = [each for key, each in named.items() if "logits" in str(key) or str(key).startswith("pred_")]
        chosen = logits or (
            [named["last_hidden_state"]] if "last_hidden_state" in named else list(named.values())
        )
        return [tensor for each in chosen for tensor in outputs(each)]
    if isinstance(result, (list, tuple)):
        return [tensor for each in result for tensor in outputs(each)]
    if hasattr(result, "__dataclass_fields__"):
        return [tensor for each in vars(result).values() for tensor in outputs(each)]
    return []


@contextlib.contextmanager
def _apart() -> Iterator[None]:
    """Random numbers of the process, and its warnings, are as if nothing had run."""
    states = random.getstate(), torch.get_rng_state()
    numpy = sys.modules.get("numpy")
    drawn = numpy.random.get_state() if numpy is not None else None
    compiled = torch.compiler.set_stance("force_eager")
    try:
        with warnings.catch_warnings(), compiled, torch.inference_mode(False):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(states[0])
        torch.set_rng_state(states[1])
        if numpy is not None and drawn is not None:
            numpy.random.set_state(drawn)
