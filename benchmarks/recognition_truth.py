"""What the libraries' own code says of how it initializes: written from their source, not from what we find.

For each architecture the schemes of the catalogue that it amounts to, and the file and function that say so.
An architecture without one draws everything from one spread, or as Xavier or Kaiming have it, or does what no
scheme of the catalogue is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Truth(NamedTuple):
    """The schemes that an architecture amounts to; where its library says so; how it is built.

    Any of ``schemes`` counts as recognized. ``also`` are true too, but say little, and need not be found.
    """

    schemes: tuple[str, ...]
    source: str
    options: Mapping[str, Any]
    also: tuple[str, ...]


def _of(schemes: str, source: str, also: str = "", **options: Any) -> Truth:
    return Truth(tuple(schemes.split()), source, options, tuple(also.split()))


_VIT = "timm/models/vision_transformer.py:init_weights_vit_timm"
_GOOG = "timm/models/_efficientnet_builder.py:_init_weight_goog"
_ZERO = "timm/models/resnet.py:ResNet.init_weights, zero_init_last"
_GPT2 = "transformers gpt2:_init_weights, c_proj by sqrt(2 * n_layer)"
_T5 = "transformers t5:_init_weights, 'Mesh TensorFlow'"
_CLIP = "transformers clip:_init_weights, in_proj_std and out_proj_std"
_GEMMA = "transformers gemma:_init_weights, RMSNorm 0 since 1 + weight"
_W2V = "transformers wav2vec2:_init_weights"
_RING = "transformers deformable_detr:_init_weights, sampling_offsets"

#: By library/name of zoo.py, after a space what sets a variant apart.
TRUTH: dict[str, Truth] = {
    # Vision transformers of timm.
    "timm/vit_tiny_patch16_224": _of("ViTTimm", _VIT, depth=3),
    "timm/vit_base_patch32_clip_224": _of("ViTTimm", _VIT, depth=3),
    "timm/deit_tiny_distilled_patch16_224": _of(
        "ViTTimm", "timm/models/deit.py:VisionTransformerDistilled.init_weights", depth=3
    ),
    "timm/deit3_small_patch16_224": _of("ViTTimm LayerScale", _VIT + "; deit.py, init_values=1e-6", depth=3),
    "timm/test_vit4": _of("ViTTimm LayerScale", _VIT + ", init_values=1e-5"),
    "timm/flexivit_small": _of("ViTTimm", _VIT, depth=3),
    "timm/vit_tiny_patch16_224 jax": _of(
        "ViTJax", "timm/models/vision_transformer.py:init_weights_vit_jax", depth=3, weight_init="jax"
    ),
    "timm/vit_tiny_patch16_224 nlhb": _of(
        "ViTJax", "timm/models/vision_transformer.py:init_weights_vit_jax", depth=3, weight_init="jax_nlhb"
    ),
    "timm/vit_tiny_patch16_224 moco": _of(
        "ViTMoCo", "timm/models/vision_transformer.py:init_weights_vit_moco", depth=3, weight_init="moco"
    ),
    "timm/beit_base_patch16_224": _of(
        "DepthScaled", "timm/models/beit.py:fix_init_weight", "LayerScale", depth=3
    ),
    "timm/eva02_tiny_patch14_224": _of("DepthScaled", "timm/models/eva.py:fix_init_weight", depth=3),
    "timm/cait_xxs24_224": _of("LayerScale", "timm/models/cait.py, init_values=1e-5", depth=3),
    "timm/xcit_small_24_p16_224": _of("LayerScale", "timm/models/xcit.py, eta=1e-5", depth=3),
    "timm/vit_small_patch16_dinov3": _of(
        "LayerScale DepthScaled", "timm/models/eva.py:fix_init_weight, init_values=1e-5", depth=3
    ),
    "timm/hiera_tiny_224": _of("", "timm/models/hiera.py:_init_weights"),
    # Mixers.
    "timm/mixer_s16_224": _of("MLPMixer", "timm/models/mlp_mixer.py:_init_weights"),
    "timm/resmlp_12_224": _of("LayerScale MLPMixer", "timm/models/mlp_mixer.py:ResBlock, init_values=1e-4"),
    "timm/gmlp_ti16_224": _of("gMLP", "timm/models/mlp_mixer.py, timm/layers/mlp.py"),
    # ConvNeXt.
    "timm/convnext_atto": _of("ConvNeXt", "timm/models/convnext.py:_init_weights", "LayerScale"),
    "timm/edgenext_xx_small": _of("LayerScale", "timm/models/edgenext.py, ls_init_value=1e-6"),
    "timm/poolformer_s12": _of("LayerScale", "timm/models/metaformer.py, layer_scale_init_value=1e-5"),
    "timm/inception_next_atto": _of(
        "ConvNeXt", "timm/models/inception_next.py:_init_weights, ls_init_value=1e-6", "LayerScale"
    ),
    "torchvision/convnext_tiny": _of("ConvNeXt", "torchvision/models/convnext.py:ConvNeXt", "LayerScale"),
    # Residual networks.
    "timm/resnet10t": _of("ZeroResidual", _ZERO),
    "timm/resnet26": _of("ZeroResidual", _ZERO),
    "timm/resnet26d": _of("ZeroResidual", _ZERO),
    "timm/seresnet50": _of("ZeroResidual", _ZERO),
    "timm/resnest14d": _of("ZeroResidual", "timm/models/resnest.py:ResNestBottleneck.zero_init_last"),
    "timm/res2net50_14w_8s": _of("ZeroResidual", "timm/models/res2net.py:Bottle2neck.zero_init_last"),
    "timm/regnetx_002": _of("ZeroResidual", "timm/models/regnet.py:Bottleneck.zero_init_last"),
    "timm/resnetv2_18d zero": _of(
        "ZeroResidual", "timm/models/resnetv2.py:zero_init_last", zero_init_last=True
    ),
    "timm/cs3darknet_focus_s": _of("ZeroResidual", "timm/models/cspnet.py:DarkBlock.zero_init_last"),
    "timm/halonet26t": _of("ZeroResidual", "timm/models/byobnet.py:_init_weights, zero_init_last"),
    "timm/lambda_resnet26t": _of("ZeroResidual", "timm/models/byobnet.py:_init_weights, zero_init_last"),
    "timm/levit_128s": _of("ZeroResidual", "timm/models/levit.py, bn_weight_init=0"),
    "timm/efficientvit_m0": _of("ZeroResidual", "timm/models/efficientvit_msra.py, bn_weight_init=0"),
    "timm/shvit_s1": _of("ZeroResidual", "timm/models/shvit.py, bn_weight_init=0"),
    "torchvision/resnet18 zero": _of(
        "ZeroResidual", "torchvision/models/resnet.py, zero_init_residual", zero_init_residual=True
    ),
    "torchvision/resnext50_32x4d zero": _of(
        "ZeroResidual", "torchvision/models/resnet.py, zero_init_residual", zero_init_residual=True
    ),
    "timm/nf_resnet26": _of("NFNet", "timm/models/nfnet.py:NormFreeNet"),
    "timm/nfnet_l0": _of("NFNet", "timm/models/nfnet.py:NormFreeNet"),
    "timm/dm_nfnet_f0": _of("NFNet", "timm/models/nfnet.py:NormFreeNet"),
    # EfficientNet, and what its builder builds.
    "timm/efficientnet_b0": _of("EfficientNet", _GOOG),
    "timm/efficientnet_lite0": _of("EfficientNet", _GOOG),
    "timm/mnasnet_small": _of("EfficientNet", _GOOG),
    "timm/mobilenetv2_050": _of("EfficientNet", _GOOG),
    "timm/mobilenetv3_small_050": _of("EfficientNet", _GOOG),
    "timm/hardcorenas_a": _of("EfficientNet", _GOOG),
    "timm/lcnet_050": _of("EfficientNet", _GOOG),
    "timm/tinynet_e": _of("EfficientNet", _GOOG),
    "timm/fbnetc_100": _of("EfficientNet", _GOOG),
    "timm/rexnet_100": _of("EfficientNet", _GOOG),
    "torchvision/efficientnet_b0": _of(
        "", "torchvision/models/efficientnet.py, fan_out of all channels where the paper's code has a group's"
    ),
    "torchvision/efficientnet_v2_s": _of(
        "", "torchvision/models/efficientnet.py, fan_out of all channels where the paper's code has a group's"
    ),
    # Language models of transformers.
    "transformers/GPT2LMHeadModel": _of("GPT2", _GPT2),
    "transformers/GPTBigCodeForCausalLM": _of("GPT2", "transformers gpt_bigcode:_init_weights"),
    "transformers/DecisionTransformerModel": _of("GPT2", "transformers decision_transformer:_init_weights"),
    "transformers/T5ForConditionalGeneration": _of("T5", _T5),
    "transformers/UMT5ForConditionalGeneration": _of("T5", "transformers umt5:_init_weights"),
    "transformers/LongT5ForConditionalGeneration": _of("T5", "transformers longt5:_init_weights"),
    "transformers/SwitchTransformersForConditionalGeneration": _of(
        "Switch", "transformers switch_transformers:_init_weights"
    ),
    "transformers/GemmaForCausalLM": _of("Gemma", _GEMMA),
    "transformers/Gemma3ForCausalLM": _of("Gemma", "transformers gemma3:_init_weights"),
    "transformers/MambaForCausalLM": _of("Mamba", "transformers mamba:_init_weights"),
    "transformers/FalconMambaForCausalLM": _of("Mamba", "transformers falcon_mamba:_init_weights"),
    "transformers/Mamba2ForCausalLM": _of("Mamba", "transformers mamba2:_init_weights"),
    "transformers/PerceiverForMaskedLM": _of("Perceiver", "transformers perceiver:_init_weights"),
    # Sound, images, images with text.
    "transformers/Wav2Vec2ForPreTraining": _of("Wav2Vec2", _W2V),
    "transformers/HubertModel": _of(
        "", "transformers hubert:_init_weights, as wav2vec2's but for the projection of features", "Wav2Vec2"
    ),
    "transformers/WavLMModel": _of("Wav2Vec2", "transformers wavlm:_init_weights"),
    "transformers/Wav2Vec2ConformerModel": _of("Wav2Vec2", "transformers wav2vec2_conformer:_init_weights"),
    "transformers/CLIPModel": _of("CLIP", _CLIP),
    "transformers/AltCLIPModel": _of("CLIP", "transformers altclip:_init_weights"),
    "transformers/OwlViTModel": _of("CLIP", "transformers owlvit:_init_weights"),
    "transformers/SiglipModel": _of("SigLIP", "transformers siglip:_init_weights"),
    "transformers/ConvNextForImageClassification": _of(
        "ConvNeXt LayerScale", "transformers convnext:_init_weights, layer_scale_init_value=1e-6"
    ),
    "transformers/PoolFormerForImageClassification": _of(
        "LayerScale", "transformers poolformer:_init_weights, layer_scale_init_value=1e-5"
    ),
    "transformers/SwiftFormerForImageClassification": _of(
        "LayerScale", "transformers swiftformer:_init_weights, layer_scale_init_value=1e-5"
    ),
    "transformers/BeitForMaskedImageModeling": _of(
        "LayerScale", "transformers beit:_init_weights, layer_scale_init_value=0.1"
    ),
    "transformers/DeformableDetrForObjectDetection": _of("DeformableAttnOffsets", _RING),
    # None: one spread for all, or what torch, Xavier and Kaiming have.
    **{
        f"transformers/{name}": _of("", "one spread for all")
        for name in (
            "LlamaForCausalLM",
            "MistralForCausalLM",
            "Qwen2ForCausalLM",
            "OlmoForCausalLM",
            "GPTNeoXForCausalLM",
            "BloomForCausalLM",
            "OPTForCausalLM",
            "BertForPreTraining",
            "RobertaForMaskedLM",
            "ElectraForPreTraining",
            "DistilBertForMaskedLM",
            "DebertaV2ForMaskedLM",
            "BartForConditionalGeneration",
            "WhisperForConditionalGeneration",
            "ViTForImageClassification",
            "SwinForImageClassification",
            "ViltForMaskedLM",
            "TimeSeriesTransformerForPrediction",
        )
    },
    "timm/swin_tiny_patch4_window7_224": _of("", "one spread for all; timm/models/swin_transformer.py"),
    "timm/twins_svt_small": _of("", "one spread for all, convolutions Kaiming's; timm/models/twins.py"),
    "timm/vgg11_bn": _of("", "Kaiming's; timm/models/vgg.py"),
    "timm/densenet121": _of("", "Kaiming's; timm/models/densenet.py"),
    "timm/resnetv2_18d": _of("", "timm/models/resnetv2.py, zero_init_last=False"),
    "timm/hrnet_w18_small": _of("", "Kaiming's; timm/models/hrnet.py:init_weights"),
    "timm/dla46_c": _of("", "Kaiming's; timm/models/dla.py"),
    **{
        f"torchvision/{name}": _of("", "Kaiming's, N(0, 0.01²), or torch's")
        for name in (
            "alexnet",
            "vgg11",
            "squeezenet1_1",
            "resnet18",
            "densenet121",
            "mobilenet_v2",
            "mobilenet_v3_small",
            "shufflenet_v2_x0_5",
            "regnet_x_400mf",
            "swin_t",
        )
    },
}
