"""Roles as they are guessed from names: where no forward pass can be seen."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from initcfg._model.names import Names
from initcfg._model.roles.blocks import parents
from initcfg._model.roles.facts import ROLE_NAMES, Roles, Stack, TensorRole, in_stack

# The end of a weight's module, as many libraries call it; the first that fits says what the weight does.
_ATTENTION = "(attn|attention|self_attn|mixer)"
_WORDS = (
    (
        r"(wpe|pos(ition)?_embed(ding)?s?|embed_positions|relative_(position|attention)_bias(_table)?)",
        "position",
    ),
    (r"(wte|tok_embeddings|embed_tokens|word_embeddings|token_embedding|embed_in|shared)", "embedding"),
    (r"(c_attn|qkv|query_key_value|in_proj_weight|qkv_proj|Wqkv|to_qkv)", "attn_qkv"),
    (r"(q_proj|query|to_q|wq|q_lin|(SelfAttention|EncDecAttention)\.q)", "attn_q"),
    (r"(k_proj|key|to_k|wk|k_lin|(SelfAttention|EncDecAttention)\.k)", "attn_k"),
    (r"(v_proj|value|to_v|wv|v_lin|(SelfAttention|EncDecAttention)\.v)", "attn_v"),
    (rf"{_ATTENTION}\.(c_proj|proj|dense|out_proj|o_proj|wo|output\.dense)", "attn_out residual_out"),
    (r"(o_proj|(SelfAttention|EncDecAttention)\.o|to_out\.0)", "attn_out residual_out"),
    (r"(gate_proj|experts\.\d+\.w1|feed_forward\.w1)", "mlp_gate"),
    (r"(c_fc|fc1|up_proj|dense_h_to_4h|intermediate\.dense)", "mlp_in"),
    (r"(linear1|wi|wi_0|feed_forward\.w3|lin1)", "mlp_in"),
    (r"(mlp\.c_proj|fc2|down_proj|dense_4h_to_h|output\.dense)", "mlp_out residual_out"),
    (r"(linear2|DenseReluDense\.wo|feed_forward\.w2|lin2)", "mlp_out residual_out"),
    (r"(out_proj)", "residual_out"),
    (r"(downsample\.0|shortcut(\.0)?)", "shortcut"),
    (r"(lm_head|head|classifier|fc|embed_out|heads\.head)", "head"),
    (r"(patch_embed\.proj|conv_stem|stem(\.\d+|\.conv)?|conv_proj)", "stem"),
)
_PATTERNS = [(re.compile(rf"(^|.*\.){words}"), tuple(roles.split())) for words, roles in _WORDS]
_NORM = re.compile(r"Norm")


def guessed_roles(model: nn.Module, names: Names, why: str) -> Roles:
    """The roles of tensors by what they and their modules are called; ``why`` there is nothing better."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in names.parameters:
        roles: dict[str, None] = {}
        for name in entry.names:
            module = names.module_of.get(name.rpartition(".")[0])
            roles.update(dict.fromkeys(_of_name(name, module, entry.tensor.dim())))
        if roles:
            found[entry.name] = tuple(sorted(roles, key=ROLE_NAMES.index))
    outs = [name for name, roles in found.items() if "residual_out" in roles]
    held = _layers(names.module_of, outs)
    within = {item: (stack, index) for stack, items in enumerate(held) for index, item in enumerate(items)}
    every = [entry.name for entry in names.parameters]
    place = {name: next((within[each] for each in parents(name) if each in within), None) for name in every}
    stacks = tuple(
        Stack(
            len(items), sum(name in outs and at is not None and at[0] == stack for name, at in place.items())
        )
        for stack, items in enumerate(held)
    )
    tensors: dict[str, TensorRole] = {}
    for name, at in place.items():
        if name in found or at is not None:
            stack, index = at or (None, None)
            tensors[name] = in_stack(TensorRole(found.get(name, ()), "guessed", index), stacks, stack)
    notes = (f"guessed from names: {why}",)
    return Roles(tensors, len(within) or None, len(outs) or None, None, notes, stacks)


def _of_name(name: str, module: nn.Module | None, axes: int) -> Iterable[str]:
    owner, _, attribute = name.rpartition(".")
    if module is not None and _NORM.search(type(module).__name__):
        return ("norm",)
    if axes < 2:
        return ()
    if isinstance(module, nn.MultiheadAttention) and attribute == "in_proj_weight":
        return ("attn_qkv",)
    text = owner if attribute == "weight" else name
    found = next((roles for pattern, roles in _PATTERNS if pattern.fullmatch(text)), None)
    if found is None and isinstance(module, nn.Embedding):
        return ("embedding",)
    return found or ()


def _layers(modules: Iterable[str], outs: list[str]) -> list[list[str]]:
    """The items of the lists that hold residual outputs, in their order; lists of one name are one stack."""
    stacks: dict[str, dict[str, None]] = {}
    for name in outs:
        within = [each for each in parents(name) if each.rpartition(".")[2].isdecimal() and each in modules]
        if within:
            stacks.setdefault(re.sub(r"\d+", "*", within[-1]), {})[within[-1]] = None
    return [list(items) for items in stacks.values()]
