"""Models of transformers, timm and torchvision, and what their tensors that have a role are called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

SMALL = dict(
    hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4, vocab_size=100
)


@dataclass(frozen=True)
class Case:
    """A model, and for each role a regular expression that finds all that has it, and nothing else."""

    build: Callable[[], nn.Module]
    residual_out: str | None
    residuals: int | None
    layers: int | None
    roles: dict[str, str]


def transformers(
    name: str, config: str, /, attention: str | None = None, **settings: Any
) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import transformers as library

        made = getattr(library, config)(**settings)
        extra = {"attn_implementation": attention} if attention else {}
        return getattr(library, name)._from_config(made, **extra)

    return build


def timm(name: str, **settings: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm as library

        return library.create_model(name, **settings)

    return build


def torchvision(name: str, *args: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision.models

        return getattr(torchvision.models, name)(*args)

    return build


GPT2 = dict(n_layer=4, n_embd=64, n_head=4, vocab_size=100)
GPT2_ROLES = dict(
    attn_qkv=r"c_attn",
    attn_out=r"attn\.c_proj",
    mlp_in=r"c_fc",
    mlp_out=r"mlp\.c_proj",
    head=r"lm_head",
    embedding=r"lm_head",
    position=r"wpe",
)
LLAMA_ROLES = dict(
    attn_q=r"q_proj",
    attn_k=r"k_proj",
    attn_v=r"v_proj",
    attn_out=r"o_proj",
    mlp_in=r"up_proj",
    mlp_gate=r"gate_proj",
    mlp_out=r"down_proj",
    head=r"lm_head",
    embedding=r"embed_tokens",
    norm=r"norm",
)
VIT_ROLES = dict(
    attn_qkv=r"\.qkv\.",
    attn_out=r"attn\.proj",
    mlp_in=r"fc1",
    mlp_out=r"fc2",
    head=r"^head",
    stem=r"patch_embed\.",
)

TABLE: dict[str, Case] = {
    "gpt2": Case(transformers("GPT2LMHeadModel", "GPT2Config", **GPT2), r"c_proj", 8, 4, GPT2_ROLES),
    "gpt2 eager": Case(
        transformers("GPT2LMHeadModel", "GPT2Config", "eager", **GPT2), r"c_proj", 8, 4, GPT2_ROLES
    ),
    "llama": Case(
        transformers("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=2, **SMALL),
        r"o_proj|down_proj",
        8,
        4,
        LLAMA_ROLES,
    ),
    "qwen3": Case(
        transformers(
            "Qwen3ForCausalLM",
            "Qwen3Config",
            num_key_value_heads=2,
            head_dim=16,
            tie_word_embeddings=False,
            **SMALL,
        ),
        r"o_proj|down_proj",
        8,
        4,
        LLAMA_ROLES,
    ),
    "gemma2": Case(
        transformers("Gemma2ForCausalLM", "Gemma2Config", num_key_value_heads=2, head_dim=16, **SMALL),
        r"o_proj|down_proj",
        8,
        4,
        LLAMA_ROLES
        | dict(
            head=r"lm_head",
            embedding=r"lm_head",
            residual_norm=r"post_attention_layernorm|post_feedforward_layernorm",
        ),
    ),
    "mixtral": Case(
        transformers(
            "MixtralForCausalLM", "MixtralConfig", num_key_value_heads=2, num_local_experts=4, **SMALL
        ),
        r"o_proj|experts\.down_proj",
        8,
        4,
        dict(
            attn_q=r"q_proj",
            attn_k=r"k_proj",
            attn_v=r"v_proj",
            head=r"lm_head",
            router=r"gate\.weight",
            expert_in=r"experts\.gate_up_proj",
            expert_gate=r"experts\.gate_up_proj",
            expert_out=r"experts\.down_proj",
        ),
    ),
    "gpt_neox": Case(
        transformers("GPTNeoXForCausalLM", "GPTNeoXConfig", use_parallel_residual=True, **SMALL),
        r"attention\.dense|dense_4h_to_h",
        4,
        4,
        dict(
            attn_qkv=r"query_key_value",
            attn_out=r"attention\.dense",
            mlp_in=r"dense_h_to_4h",
            mlp_out=r"4h_to_h",
            head=r"embed_out|lm_head",
        ),
    ),
    "bert": Case(
        transformers("BertForMaskedLM", "BertConfig", **SMALL),
        r"layer\.\d+\..*output\.dense",
        8,
        4,
        dict(
            attn_q=r"query",
            attn_k=r"self\.key",
            attn_v=r"value",
            attn_out=r"attention\.output\.dense",
            mlp_in=r"intermediate\.dense",
            embedding=r"word_embeddings|token_type",
            position=r"position_embeddings",
            head=r"word_embeddings|decoder\.weight",
        ),
    ),
    "t5": Case(
        transformers(
            "T5ForConditionalGeneration",
            "T5Config",
            num_layers=3,
            d_model=64,
            d_ff=128,
            d_kv=16,
            num_heads=4,
            vocab_size=100,
        ),
        r"\.o\.|\.wo\.",
        15,
        6,
        dict(
            attn_q=r"\.q\.",
            attn_k=r"\.k\.",
            attn_v=r"\.v\.",
            mlp_in=r"\.wi\.",
            mlp_out=r"\.wo\.",
            head=r"decoder\.embed_tokens",
            position=r"relative_attention_bias",
        ),
    ),
    "mamba": Case(
        transformers(
            "MambaForCausalLM",
            "MambaConfig",
            hidden_size=32,
            num_hidden_layers=3,
            vocab_size=50,
            state_size=4,
        ),
        r"out_proj",
        3,
        3,
        dict(mlp_in=r"in_proj", head=r"embeddings|lm_head"),
    ),
    "hf vit": Case(
        transformers(
            "ViTForImageClassification",
            "ViTConfig",
            hidden_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=128,
        ),
        r"layers?\.\d+\..*(output\.dense|attention\.o_proj|mlp\.fc2)",
        6,
        3,
        dict(
            attn_q=r"query|q_proj",
            attn_k=r"\.key|k_proj",
            attn_v=r"value|v_proj",
            head=r"classifier",
            stem=r"projection",
            position=r"position_embeddings",
        ),
    ),
    "vit_tiny": Case(
        timm("vit_tiny_patch16_224", depth=4), r"attn\.proj|fc2", 8, 4, VIT_ROLES | dict(position="pos_embed")
    ),
    "deit3_small": Case(
        timm("deit3_small_patch16_224", depth=4),
        r"attn\.proj|fc2",
        8,
        4,
        VIT_ROLES | dict(gate=r"gamma", position="pos_embed"),
    ),
    "swin_tiny": Case(
        timm("swin_tiny_patch4_window7_224"),
        r"attn\.proj|fc2",
        24,
        12,
        VIT_ROLES | dict(stem=r"patch_embed\.proj", position="relative_position_bias_table"),
    ),
    "convnext_atto": Case(
        timm("convnext_atto"),
        r"fc2",
        12,
        12,
        dict(conv_in=r"conv_dw", mlp_in="fc1", head=r"^head\.fc", stem=r"^stem\.0", gate="gamma"),
    ),
    "resnet50": Case(
        timm("resnet50"),
        r"conv3",
        16,
        16,
        dict(
            conv_in=r"layer.*conv1",
            shortcut=r"downsample\.0",
            head=r"^fc",
            stem=r"^conv1",
            residual_norm=r"bn3\.weight",
        ),
    ),
    "mixer_s16": Case(
        timm("mixer_s16_224"),
        r"fc2",
        16,
        8,
        dict(mlp_in=r"fc1", mlp_out=r"fc2", head=r"^head", stem=r"stem\.proj"),
    ),
    "efficientnet_b0": Case(timm("efficientnet_b0"), None, 9, 9, dict(head=r"classifier", stem=r"conv_stem")),
    "resnet18": Case(
        torchvision("resnet18"),
        r"conv2",
        8,
        8,
        dict(
            conv_in=r"layer.*conv1",
            shortcut=r"downsample\.0",
            head=r"^fc",
            stem=r"^conv1",
            residual_norm=r"bn2\.weight",
        ),
    ),
    "torchvision vit": Case(
        torchvision("VisionTransformer", 32, 16, 3, 4, 64, 128),
        r"out_proj|mlp\.3",
        6,
        3,
        dict(
            attn_qkv=r"in_proj",
            attn_out="out_proj",
            mlp_in=r"mlp\.0",
            head=r"^heads",
            stem=r"conv_proj",
            position="pos_embedding",
        ),
    ),
    "gpt_oss": Case(
        transformers(
            "GptOssForCausalLM",
            "GptOssConfig",
            num_key_value_heads=2,
            num_local_experts=4,
            head_dim=16,
            **SMALL,
        ),
        r"o_proj|experts\.down_proj$",
        8,
        4,
        dict(
            router=r"router\.weight", expert_out=r"experts\.down_proj$", expert_in=r"experts\.gate_up_proj$"
        ),
    ),
    "falcon": Case(
        transformers(
            "FalconForCausalLM",
            "FalconConfig",
            hidden_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            vocab_size=120,
        ),
        r"self_attention\.dense|dense_4h_to_h",
        3,
        3,
        dict(attn_qkv=r"query_key_value", mlp_in=r"dense_h_to_4h", head=r"lm_head"),
    ),
    "beit": Case(
        timm("beit_base_patch16_224", depth=3),
        r"attn\.proj|fc2",
        6,
        3,
        dict(attn_qkv=r"qkv\.weight", gate=r"gamma_", position=r"relative_position_bias_table"),
    ),
    "cait": Case(
        timm("cait_xxs24_224", depth=3),
        r"attn\.proj\.|fc2",
        10,
        5,
        dict(attn_qkv=r"qkv", attn_out=r"attn\.proj\.", gate=r"gamma_", mlp_in=r"fc1"),
    ),
    "nf_resnet26": Case(
        timm("nf_resnet26"),
        r"conv3\.weight",
        8,
        8,
        dict(shortcut=r"downsample\.conv\.weight"),
    ),
    "dpn48b": Case(
        timm("dpn48b"), r"c1x1_c1", 16, 16, dict(shortcut=r"c1x1_w_s\d\.conv", head=r"classifier")
    ),
    "mvitv2": Case(timm("mvitv2_tiny"), r"attn\.proj|fc2", 20, 10, dict(mlp_in=r"fc1")),
    "regnet": Case(torchvision("regnet_y_400mf"), r"\.c\.0", 16, 16, dict(shortcut=r"\.proj\.0")),
    "densenet": Case(torchvision("densenet121"), r"$^", None, None, dict(head=r"classifier")),
}
