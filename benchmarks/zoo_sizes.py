"""Sizes of small transformers, by the names that their configs give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Any]

SIGHT: Options = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SMALL: Options = {**SIGHT, "vocab_size": 256}
GROUPED: Options = {**SMALL, "num_key_value_heads": 2, "head_dim": 16}
EXPERTS: Options = {**GROUPED, "moe_intermediate_size": 32, "num_experts_per_tok": 2, "num_experts": 4}
LATENT: Options = {
    **SMALL,
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
GPT: Options = {"vocab_size": 256, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
MAMBA: Options = {"vocab_size": 256, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 16}
# An encoder and a decoder.
LAYERS: Options = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
}
SEQUENCES: Options = {**LAYERS, "vocab_size": 256}
T5: Options = {
    "vocab_size": 256,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
SOUND: Options = {**SMALL, "conv_dim": [32] * 7}
MASKED: Options = {
    **SIGHT,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 4,
    "decoder_intermediate_size": 64,
}
SERIES: Options = {"prediction_length": 4, "context_length": 8, "d_model": 32, "lags_sequence": [1, 2]}
# Four stages of an image.
STAGES: Options = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 64, 128]}
WINDOWS: Options = {"depths": [1, 1, 1, 1], "embed_dim": 32, "num_heads": [1, 2, 4, 8]}
FOUR = ["stage1", "stage2", "stage3", "stage4"]
RESNET: Options = {**STAGES, "model_type": "resnet", "embedding_size": 16, "out_features": FOUR}
SWIN: Options = {**WINDOWS, "model_type": "swin", "out_features": FOUR}
# Two towers.
WORDS: Options = {**SMALL, "max_position_embeddings": 32}
PICTURE: Options = {**SIGHT, "image_size": 32, "patch_size": 16}
TOWERS: Options = {"text_config": WORDS, "vision_config": PICTURE, "projection_dim": 32}
DETECTOR: Options = {**LAYERS, "use_timm_backbone": False, "backbone": None, "num_queries": 20}
