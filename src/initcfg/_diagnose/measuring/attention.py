"""How wide the heads of an attention look."""

from __future__ import annotations

from typing import Any

import torch

_SAMPLES = 8
_FEWEST_KEYS = 4
# Masks add the lowest number there is, or -10000.
_MASKED = -9e3


def entropies(weights: torch.Tensor, scores: torch.Tensor) -> tuple[float, ...]:
    """Entropy of each head's weights, over the logarithm of the keys that it sees; () if there are too few.

    Of a tensor that has no axis of heads, one number. Which keys it sees is told by the scores: weights of
    sharp heads are 0, too.
    """
    if weights.dim() < 3 or weights.shape[-1] < _FEWEST_KEYS:
        return ()
    if weights.dim() == 4:
        weights, scores = weights[:_SAMPLES], scores[:_SAMPLES]
    weights = weights.detach().float()
    visible = (scores.detach() > _MASKED).sum(-1).float()
    enough = visible >= _FEWEST_KEYS
    if not bool(enough.any()):
        return ()
    entropy = -torch.special.xlogy(weights, weights).sum(-1) / visible.clamp_min(2).log()
    if weights.dim() != 4:
        return (entropy[enough].mean().item(),)
    # Rows that see few keys, as the first of a causal attention, say nothing.
    entropy = torch.where(enough, entropy, 0.0).sum((0, 2)) / enough.sum((0, 2)).clamp_min(1)
    seen = enough.any(2).any(0)
    return tuple(entropy[seen].tolist())


def scores_of_product(arguments: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor:
    """The scores of ``scaled_dot_product_attention``, from what it is called with."""
    order = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given = dict(zip(order, arguments, strict=False)) | named
    query, key = (given[name].detach()[:_SAMPLES].float() for name in ("query", "key"))
    if query.dim() == 4 and key.shape[1] != query.shape[1]:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    scale = given.get("scale") or query.shape[-1] ** -0.5
    scores = query @ key.transpose(-1, -2) * scale
    mask = given.get("attn_mask")
    if mask is not None:
        mask = mask[:_SAMPLES] if mask.dim() == scores.dim() and len(mask) > 1 else mask
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if given.get("is_causal"):
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    return scores


def scores_of_module(arguments: tuple[Any, ...], named: dict[str, Any]) -> torch.Tensor | None:
    """The scores of ``multi_head_attention_forward``; None where it adds keys of its own."""
    order = ("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias")
    given = dict(zip(order, arguments, strict=False)) | named
    query, key, heads = given["query"].detach(), given["key"].detach(), given["num_heads"]
    if query.dim() != 3:
        query, key = query.unsqueeze(1), key.unsqueeze(1)
    width = query.shape[-1]
    joined, bias = given.get("in_proj_weight"), given.get("in_proj_bias")
    if given.get("use_separate_proj_weight"):
        of_query, of_key = given["q_proj_weight"], given["k_proj_weight"]
    elif joined is not None:
        of_query, of_key = joined[:width], joined[width : 2 * width]
    else:
        return None
    query, key = (each[:, :_SAMPLES].float() for each in (query, key))
    query, key = query @ of_query.detach().float().T, key @ of_key.detach().float().T
    if bias is not None:
        query, key = query + bias.detach()[:width], key + bias.detach()[width : 2 * width]
    query, key = (each.unflatten(-1, (heads, width // heads)).permute(1, 2, 0, 3) for each in (query, key))
    scores = query @ key.transpose(-1, -2) * (width // heads) ** -0.5
    mask = given.get("attn_mask")
    if mask is not None and mask.dim() == 2:
        scores = scores.masked_fill(mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    hidden = given.get("key_padding_mask")
    if hidden is not None and hidden.dim() == 2:
        hidden = hidden[:_SAMPLES, None, None]
        scores = scores.masked_fill(hidden, -torch.inf) if hidden.dtype == torch.bool else scores + hidden
    return scores
