"""Mends: one rule that removes a finding, where there is such a rule; each is tried before it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from initcfg._diagnose.checks import Evidence
from initcfg._diagnose.facts import Finding
from initcfg._model import named_tensors
from initcfg._plan.planner import make_plan
from initcfg._rules import Compiler
from initcfg._stream.writing import fill_stream
from initcfg.errors import InitcfgError

Rule = dict[str, Any]
_KAIMING: Rule = {"type": "Kaiming", "mode": "fan_in"}
_XAVIER: Rule = {"type": "Xavier"}
_SMALL: Rule = {"type": "Normal", "std": 0.02}
# As much logit as keeps the loss near that of a guess.
_HEAD_SHARE = 0.5
_FAR = 1.5
# The key of a mend that is no rule, but a learning rate.
RATE = "lr"
# Where the first step usually is beside the weights, and where it is well below what erases them.
_USUAL_STEP, _CALM_STEP = 1e-3, 0.1
_TOO_SMALL = ("activation-vanishes", "gradient-vanishes", "input-lost", "dead-parameter")


def proposals(finding: Finding, evidence: Evidence) -> list[Rule]:
    """Rules that may remove a finding, the likeliest first."""
    propose = _PROPOSALS.get(finding.code)
    found = [] if propose is None else propose(finding, evidence)
    if any(RATE in rule for rule in found):
        return found
    if not finding.code.startswith("nonfinite"):
        # What is frozen, or a checkpoint gave, is kept as it is.
        found = [
            {**rule, "param": [name for name in rule["param"] if _may_change(name, evidence)]}
            for rule in found
        ]
    return [rule for rule in found if rule["param"]]


def _may_change(name: str, evidence: Evidence) -> bool:
    return evidence.tensors[name].trained and name not in evidence.loaded


def _matrices(evidence: Evidence, names: Sequence[str]) -> list[str]:
    return [name for name in names if len(evidence.tensors[name].shape) > 1]


def _on(names: Sequence[str], *rules: Rule) -> list[Rule]:
    return [{**rule, "param": list(names)} for rule in rules]


def _smaller_head(finding: Finding, evidence: Evidence) -> list[Rule]:
    if finding.tensors and not _matrices(evidence, finding.tensors[:1]):
        # A factor of the logits, or a norm's weight before them.
        ones: list[Rule] = [{"type": "Constant", "val": 1}, {"type": "Constant", "val": 0}]
        return _on(finding.tensors[:1], *ones)
    names = _matrices(evidence, finding.tensors)[:1]
    layers = evidence.seen.layers
    inner = bool(names and layers and names[0] not in evidence.weights_of(layers[-1].name))
    spread = evidence.numbers.get("logit_std", 0.0)
    found: list[Rule] = []
    if names and spread > 0:
        std = evidence.tensors[names[0]].rms * _HEAD_SHARE / spread
        found = _on(names, {"type": "Normal", "std": float(f"{std:.1g}")})
    found += _on(names, _SMALL)
    if names and names[0].endswith(".weight"):
        # A bias may be as large: it gets its numbers by the same rule.
        bias = evidence.tensors.get(f"{names[0].removesuffix('weight')}bias")
        if bias is not None and bias.rms > _HEAD_SHARE:
            found = _on([*names, bias.name], *({key: rule[key] for key in ("type", "std")} for rule in found))
    # Where the output is large because of what enters it, all layers may be too large, or the input.
    every = _all_layers(finding, evidence)
    return [*every[:2], *found, *every[2:]] if inner else [*found, *every]


def _all_layers(finding: Finding, evidence: Evidence) -> list[Rule]:
    """The layers through which the signal changes its size the wrong way; else either way; else all."""
    layers = [each for each in evidence.seen.layers if each.kind != "Embedding"]
    growing = [each for each in layers if each.entering and each.rms / each.entering >= _FAR]
    shrinking = [each for each in layers if each.entering and each.rms / each.entering <= 1 / _FAR]
    guilty = shrinking if finding.code in _TOO_SMALL else growing
    found: list[Rule] = []
    for some in (guilty, [each for each in layers if each in growing or each in shrinking], layers):
        names = list(dict.fromkeys(name for each in some for name in evidence.weights_of(each.name)))
        found += [rule for rule in _on(_matrices(evidence, names), _KAIMING, _XAVIER) if rule not in found]
    return found


def _own(finding: Finding, evidence: Evidence) -> list[Rule]:
    return _on(_matrices(evidence, finding.tensors), _KAIMING, _XAVIER, _SMALL)


def _broken(finding: Finding, evidence: Evidence) -> list[Rule]:
    zeros = [name for name in finding.tensors if evidence.tensors[name].rms == 0]
    if zeros:
        # What a division goes by, or a norm is taken of.
        vectors = [name for name in zeros if name not in _matrices(evidence, zeros)]
        return [
            *_on(vectors, {"type": "Constant", "val": 1}),
            *_on(zeros, _SMALL, {"type": "Constant", "val": 1}),
        ]
    matrices = _matrices(evidence, finding.tensors)
    return _own(finding, evidence) if matrices else _on(finding.tensors, {"type": "Constant", "val": 0})


def _small(finding: Finding, evidence: Evidence) -> list[Rule]:
    """For scores and gates: all the tensors of their kind, since one alone would not do."""
    names = _matrices(evidence, finding.tensors)
    ends = {".".join(part for part in name.split(".") if not part.isdecimal()) for name in names}
    alike = [
        name
        for name in evidence.tensors
        if ".".join(part for part in name.split(".") if not part.isdecimal()) in ends
    ]
    return _on(_matrices(evidence, alike), _XAVIER, _SMALL)


def _alive_units(finding: Finding, evidence: Evidence) -> list[Rule]:
    biases = [
        name
        for name, each in evidence.tensors.items()
        if len(each.shape) == 1 and each.mean < -0.5 and name.endswith("bias")
    ]
    return [*_on(biases, {"type": "Constant", "val": 0}), *_all_layers(finding, evidence)]


def _quiet_branches(finding: Finding, evidence: Evidence) -> list[Rule]:
    ends = [each.largest_layer for each in evidence.seen.blocks if each.largest_layer]
    names = list(dict.fromkeys(name for each in ends for name in evidence.weights_of(each)))
    return _on(_matrices(evidence, names), _SMALL, {"type": "Constant", "val": 0})


def _away_from_zero(finding: Finding, evidence: Evidence) -> list[Rule]:
    if any(each.kind == "relu" and each.share == 1 for each in evidence.seen.units):
        return _alive_units(finding, evidence)
    zeros = [name for name in finding.tensors if evidence.tensors[name].rms == 0]
    matrices = _matrices(evidence, zeros)
    scales = [name for name in zeros if name not in matrices and name.endswith("weight")]
    found = [*_on(scales, {"type": "Constant", "val": 1})] if scales else []
    # Of two factors in one module, one: the other keeps their product at zero.
    one_each = list({name.rpartition(".")[0]: name for name in reversed(matrices)}.values())[::-1]
    return [*found, *_on(matrices[:1], _KAIMING), *_on(one_each, _KAIMING), *_on(matrices, _KAIMING)]


def _prior(finding: Finding, evidence: Evidence) -> list[Rule]:
    loss = evidence.seen.main_loss
    if loss is None or not loss.frequencies:
        return []
    biases = [name for name in finding.tensors if len(evidence.tensors[name].shape) == 1][:1]
    if loss.name == "cross_entropy":
        # A class that the batch has none of is rarer than the rarest in it, and no logarithm is of 0.
        least = min(each for each in loss.frequencies if each > 0) / 2
        freq = [max(each, least) for each in loss.frequencies]
        return _on(biases, {"type": "HeadBias", "freq": freq})
    # A sigmoid has the frequency of one class for each of its outputs.
    outputs = [evidence.tensors[name].shape[0] for name in biases]
    freq = [loss.frequencies[0]] * (outputs[0] if outputs else 0)
    return _on(biases, {"type": "HeadBias", "freq": freq, "loss": "sigmoid"})


def _rates(lr: float, *factors: float) -> list[Rule]:
    return [{RATE: float(f"{lr * factor:.1g}")} for factor in factors]


def _lower_rate(finding: Finding, evidence: Evidence) -> list[Rule]:
    top = evidence.numbers.get("update_largest", 0.0)
    needed = [_CALM_STEP / top] if top > _CALM_STEP else []
    return _rates(evidence.lr, *needed, 0.1, 1e-2, 1e-3)


def _higher_rate(finding: Finding, evidence: Evidence) -> list[Rule]:
    middle = evidence.numbers.get("update_median", 0.0)
    needed = [each * _USUAL_STEP / middle for each in (1, 4)] if 0 < middle < _USUAL_STEP else []
    return _rates(evidence.lr, *needed, 10, 100, 1e3)


def _filled_rows(finding: Finding, evidence: Evidence) -> list[Rule]:
    """For rows of zeros in a table; but a rule leaves the row of padding_idx as it is."""
    if evidence.seen.padding_indices:
        return []
    names = _matrices(evidence, finding.tensors)[:1]
    std = evidence.tensors[names[0]].rms if names else 0.0
    usual = [{"type": "Normal", "std": float(f"{std:.1g}")}] if std > 0 else []
    return _on(names, *usual, _SMALL)


def _all_layers_or_rows(finding: Finding, evidence: Evidence) -> list[Rule]:
    """Where zeros enter norms, no other size of the layers mends what comes of that."""
    return (_filled_rows if evidence.seen.zero_rows else _all_layers)(finding, evidence)


_PROPOSALS: dict[str, Callable[[Finding, Evidence], list[Rule]]] = {
    "initial-loss": _smaller_head,
    "activation-explodes": _all_layers,
    "activation-vanishes": _all_layers,
    "gradient-explodes": _all_layers_or_rows,
    "gradient-vanishes": _all_layers,
    "gradient-norm": _all_layers_or_rows,
    "fp16-overflow": _all_layers,
    "update-too-large": _lower_rate,
    "probe-diverges": _lower_rate,
    "update-too-small": _higher_rate,
    "probe-stalls": _higher_rate,
    "bf16-no-update": _higher_rate,
    "zero-into-norm": _filled_rows,
    "nonfinite-activation": _broken,
    "nonfinite-weight": _broken,
    "nonfinite-loss": _broken,
    "input-lost": _all_layers,
    "saturated": _small,
    "attention-collapsed": _small,
    "symmetric-units": _own,
    "dead-relu": _alive_units,
    "stream-grows": _quiet_branches,
    "dead-parameter": _away_from_zero,
    "class-prior": _prior,
}


OF_RATE = frozenset(code for code, propose in _PROPOSALS.items() if propose in (_lower_rate, _higher_rate))
"""What another learning rate may mend."""


def apply_mend(model: nn.Module, rule: Mapping[str, Any], seed: int) -> bool:
    """Give the tensors that a rule names what it says, and nothing else anything; whether that could be done.

    The rules of the model itself are taken away meanwhile: the mend is the last of them.
    """
    for module in model.modules():
        if vars(module).get("init_cfg") is not None:
            vars(module)["init_cfg"] = None
    try:
        plan = make_plan(model, Compiler(model, compat=False).run([dict(rule)]), compat=False)
    except InitcfgError:
        return False
    entries = {entry.name: entry for entry in named_tensors(model).parameters}
    for name in rule["param"]:
        entry = entries.get(name)
        if entry is None or entry.originals or name not in plan:
            return False
        with torch.no_grad():
            fill_stream(entry.tensor.detach(), plan[name].value, seed=seed, name=name)
    return True
