"""Which weights end a residual branch, in other people's models: written from each model's forward.

A pattern is matched against the whole name of a parameter of two axes and more, without ``.weight``. ``Last``
is the last such parameter within each module that its pattern matches; ``Flagged`` that of each module whose
own attribute says that it adds its input. An empty pattern: forward adds no branch to its skip.

Not here: cells that are searched (NASNet, PNASNet), codecs and flows (DAC, EnCodec, VITS, UnivNet), whose
adds are of other kinds; and what streams that are mixed by learned coefficients do (Gemma3n, TNT, iFormer).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from torch import nn


class Last(NamedTuple):
    """The last weight of each module with such a name."""

    pattern: str


class Flagged(NamedTuple):
    """The last weight of each module whose attribute says that it adds its input; and a pattern's."""

    attribute: str
    pattern: str = ""


Truth = str | Last | Flagged


def matrices_of(model: nn.Module) -> list[str]:
    """The parameters of two axes and more, by the name of the weight where weight norm computes one."""
    computed = ".parametrizations.weight.original1"
    named = ((name, each.dim()) for name, each in model.named_parameters() if not name.endswith(".original0"))
    return [name.replace(computed, ".weight") for name, axes in named if axes >= 2]


def ends_of_branches(model: nn.Module, truth: Truth) -> set[str]:
    """The names of the parameters that end a residual branch."""
    names = matrices_of(model)
    pattern = truth if isinstance(truth, str) else truth.pattern
    if isinstance(truth, Last):
        modules = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
        return set(_last_of(modules, names))
    found = {each for each in names if re.fullmatch(pattern, each.removesuffix(".weight"))}
    if isinstance(truth, Flagged):
        flagged = [name for name, each in model.named_modules() if getattr(each, truth.attribute, False)]
        found |= set(_last_of(flagged, names))
    return found


def _last_of(modules: Iterable[str], names: list[str]) -> Iterable[str]:
    """The last weight within each module, but for those that only gate (squeeze and excitation)."""
    for module in modules:
        inside = [each for each in names if each.startswith(f"{module}.")]
        inside = [each for each in inside if not re.search(r"\.(se|routing_fn|layer_scale|fc[12])\.", each)]
        yield from inside[-1:]


_VIT = r"blocks\.\d+\.(attn\.proj|mlp\.fc2)"
_STAGES = r".*blocks\.\d+\.(attn\.proj|mlp\.fc2)"
_BASIC = r"(backbone\.|backbone\.body\.)?layer\d\.\d+\.conv2"
_BOTTLENECK = r"(backbone\.|backbone\.body\.)?layer\d\.\d+\.conv3"
_LLAMA = r"model\.layers\.\d+\.(self_attn\.o_proj|mlp\.down_proj)"
_BERT = r".*\.?layer\.\d+\.(attention\.output\.dense|output\.dense)"
_BART = r"model\.(encoder|decoder)\.layers\.\d+\.(self_attn\.out_proj|encoder_attn\.out_proj|fc2)"
_T5 = r".*\.(SelfAttention|LocalSelfAttention|EncDecAttention)\.o|.*\.wo"
_EXPERTS = r"model\.layers\.\d+\.(self_attn\.o_proj|.*down_proj)"
_MIXER = r"backbone\.layers\.\d+\.mixer\.out_proj"
_SPEECH = r"(.*\.)?encoder\.layers\.\d+\.(attention\.out_proj|feed_forward\.output_dense)"
_POSITIONS = r"|(.*\.)?pos_conv_embed\.conv"
_DETR = (
    r"model\.(encoder|decoder)\.layers\.\d+\."
    r"((self_attn|encoder_attn)\.(o_proj|output_proj|out_proj)|mlp\.fc2)"
    r"|.*backbone.*layers\.\d+\.layer\.2\.convolution"
)

TIMM: dict[str, Truth] = {
    **dict.fromkeys(
        (
            "vit_tiny_patch16_224",
            "vit_base_patch32_clip_224",
            "vit_base_patch16_rpn_224",
            "flexivit_small",
            "test_vit4",
            "vit_relpos_small_patch16_224",
            "vit_srelpos_small_patch16_224",
            "vit_tiny_r_s16_p8_224",
            "samvit_base_patch16_224",
            "deit_tiny_distilled_patch16_224",
            "deit3_small_patch16_224",
            "beit_base_patch16_224",
            "eva02_tiny_patch14_224",
            "vit_small_patch16_dinov3",
            "vit_small_patch16_rope_mixed_224",
            "naflexvit_base_patch16_gap",
            "convit_tiny",
            "hiera_tiny_224",
            "sam2_hiera_tiny",
        ),
        _VIT,
    ),
    **dict.fromkeys(
        (
            "pit_ti_224",
            "pvt_v2_b0",
            "mvitv2_tiny",
            "swin_tiny_patch4_window7_224",
            "swinv2_tiny_window8_256",
            "swinv2_cr_tiny_224",
            "qwen3_vit_88m",
        ),
        _STAGES,
    ),
    "vit_base_patch32_siglip_256": _VIT + r"|attn_pool\.mlp\.fc2",
    "cait_xxs24_224": r"blocks(_token_only)?\.\d+\.(attn\.proj|mlp\.fc2)",
    "xcit_nano_12_p16_224": r"(cls_attn_)?blocks\.\d+\.(attn\.proj|local_mp\.conv2|mlp\.fc2)",
    "crossvit_tiny_240": r"blocks\.\d+\.(blocks\.\d+\.\d+\.(attn\.proj|mlp\.fc2)|fusion\.\d+\.attn\.proj)",
    "volo_d1_224": r"(network\.\d+|post_network)\.\d+\.(attn\.proj|mlp\.fc2)",
    "levit_128s": r".*blocks\.\d+\.(attn\.proj\.ln|mlp\.ln2)\.linear|.*downsample\.mlp\.ln2\.linear",
    "levit_conv_128s": r".*blocks\.\d+\.(attn\.proj\.ln|mlp\.ln2)\.linear|.*downsample\.mlp\.ln2\.linear",
    "twins_svt_small": r"blocks\.\d+\.\d+\.(attn\.proj|mlp\.fc2)|pos_block\.\d+\.proj\.0",
    "twins_pcpvt_small": r"blocks\.\d+\.\d+\.(attn\.proj|mlp\.fc2)|pos_block\.\d+\.proj\.0",
    "coat_lite_tiny": r"cpe\d\.proj|serial_blocks\d\.\d+\.(factoratt_crpe\.proj|mlp\.fc2)",
    "visformer_tiny": r"stage\d\.\d+\.(attn\.proj|mlp\.conv3)",
    "davit_tiny": r"stages\.\d+\.blocks\.\d+\.\d+\.(cpe[12]\.proj|attn\.proj|mlp\.fc2)",
    "gcvit_xxtiny": r".*blocks\.\d+\.(attn\.proj|mlp\.fc2)|.*(conv_block|blocks\.conv\d)\.conv_pw",
    "focalnet_tiny_srf": r"layers\.\d+\.blocks\.\d+\.(modulation\.proj|mlp\.fc2)",
    "nest_tiny": r"levels\.\d+\.transformer_encoder\.\d+\.(attn\.proj|mlp\.fc2)",
    "maxvit_nano_rw_256": r".*(conv\.conv3_1x1|attn_(block|grid)\.(attn\.proj|mlp\.fc2))",
    "test_maxvit": r".*(conv\.conv3_1x1|attn_(block|grid)\.(attn\.proj|mlp\.fc2))",
    "coatnet_nano_rw_224": r"stages\.\d+\.blocks\.\d+\.(conv3_1x1|attn\.proj|mlp\.fc2)",
    "vitamin_small_224": r"blocks\.\d+\.(attn\.proj|mlp\.w2)|.*stages\.\d+\.\d+\.conv3_1x1",
    "tiny_vit_5m_224": r"stages\.\d+\.blocks\.\d+\.(conv3\.conv|attn\.proj|mlp\.fc2)",
    "efficientformer_l1": r"stages\.\d+\.blocks\.\d+\.(mlp\.fc2|token_mixer\.proj)",
    "efficientformerv2_s0": (
        r".*blocks\.\d+\.(mlp\.fc2|token_mixer\.proj)\.conv|.*downsample\.attn\.proj\.conv"
    ),
    "efficientvit_b0": (
        r"stem\.res0\.main\.point_conv\.conv|stages\.[01]\.blocks\.[1-9]\.main\.point_conv\.conv"
        r"|.*(context_module\.main\.proj|local_module\.main\.point_conv)\.conv"
    ),
    "efficientvit_m0": (
        r".*(dw[01]\.m|ffn[01]\.m\.pw2|mixer\.m\.attn\.proj\.\d|res[12]\.0\.m|res[12]\.1\.m\.pw2)\.conv"
    ),
    "efficientvim_m1": r".*(mixer\.out_proj|dwconv[12]|ffn\.fc2)\.conv",
    "swiftformer_xs": r".*blocks\.\d+\.(pwconv2|local_representation\.pwconv2|attn\.final|linear\.fc2)",
    "edgenext_xx_small": r".*blocks\.\d+\.(mlp\.fc2|xca\.proj)",
    "fastvit_t8": r".*blocks\.\d+\.(token_mixer\.mixer\.(conv_kxk\.0|conv_scale)\.conv|mlp\.fc2)",
    "nextvit_small": r".*blocks\.\d+\.(mhca\.projection|e_mhsa\.proj|mlp\.fc2)",
    "gemma4_vit_167m": r"encoder\.blocks\.\d+\.(attn\.o_proj|mlp\.down_proj)\.linear",
    "mixer_s16_224": r"blocks\.\d+\.mlp_(tokens|channels)\.fc2",
    "gmixer_12_224": r"blocks\.\d+\.mlp_(tokens|channels)\.fc2",
    "gmlp_ti16_224": r"blocks\.\d+\.mlp_channels\.fc2",
    "resmlp_12_224": r"blocks\.\d+\.(linear_tokens|mlp_channels\.fc2)",
    "sequencer2d_s": r"stages\.\d+\.blocks\.\d+\.(rnn_tokens\.fc|mlp_channels\.fc2)",
    "mambaout_femto": r"stages\.\d+\.blocks\.\d+\.fc2",
    "poolformer_s12": r"stages\.\d+\.blocks\.\d+\.mlp\.fc2",
    "caformer_s18": r"stages\.\d+\.blocks\.\d+\.(token_mixer\.(pwconv2|proj)|mlp\.fc2)",
    "convnext_atto": r"stages\.\d+\.blocks\.\d+\.mlp\.fc2",
    "convnextv2_atto": r"stages\.\d+\.blocks\.\d+\.mlp\.fc2",
    "inception_next_atto": r"stages\.\d+\.blocks\.\d+\.mlp\.fc2",
    "convmixer_768_32": r"blocks\.\d+\.0\.fn\.0",
    "starnet_s1": r"stages\.\d+\.\d+\.dwconv2\.conv",
    "resnet10t": _BASIC,
    "legacy_seresnet18": _BASIC,
    "skresnet18": r"layer\d\.\d+\.conv2\.conv",
    "resnet50_gn": _BOTTLENECK,
    "resnest14d": _BOTTLENECK,
    "res2net50_14w_8s": _BOTTLENECK,
    "resnetv2_50x1_bit": r"stages\.\d+\.blocks\.\d+\.conv3",
    "resnetv2_18d": r"stages\.\d+\.blocks\.\d+\.conv2",
    **dict.fromkeys(
        ("resnet50_clip", "botnet26t_256", "halonet26t", "lambda_resnet26t"),
        r"stages\.\d+\.\d+\.conv3_1x1\.conv",
    ),
    "bat_resnext26ts": r"stages\.\d+\.\d+\.(conv3_1x1|attn\.conv2)\.conv",
    **dict.fromkeys(("nf_resnet26", "nfnet_l0", "dm_nfnet_f0"), r"stages\.\d+\.\d+\.conv3"),
    "regnetx_002": r"s\d\.b\d+\.conv3\.conv",
    "regnetv_040": r"s\d\.b\d+\.conv3",
    # Without a shortcut where the width changes.
    "regnetz_005": r"s\d\.b([2-9]|1\d)\.conv3\.conv",
    # The stem and the first block of each stage have no identity.
    "repvgg_a0": r"stages\.\d\.([1-9]|1\d)\.conv_(kxk|1x1)\.conv",
    "dla46_c": r"level\d\..*tree\d\.conv3",
    "dpn48b": r"features\..*\.c1x1_c1",
    "darknet17": r"stages\.\d+\.blocks\.\d+\.conv2\.conv",
    "cs3darknet_focus_s": r"stages\.\d+\.blocks\.\d+\.conv2\.conv",
    "tresnet_m": r"body\.(layer[12]\.\d+\.conv2|layer[34]\.\d+\.conv3)\.conv",
    "hrnet_w18_small": r"layer1\.\d\.conv3|stage\d\.\d\.branches\.\d\.\d\.conv2|incre_modules\.\d\.\d\.conv3",
    "inception_resnet_v2": r"(repeat(_\d)?\.\d+|block8)\.conv2d",
    "legacy_xception": Last(r"block\d+"),
    "ghostnetv2_100": r"blocks\.\d+\.\d+\.ghost2\.(primary_conv|cheap_operation)\.0",
    "fasternet_t0": r"stages\.\d+\.blocks\.\d+\.mlp\.3",
    **dict.fromkeys(
        (
            "efficientnet_b0",
            "efficientnet_cc_b0_4e",
            "mnasnet_small",
            "mobilenetv3_small_050",
            "mobilenetv4_hybrid_medium",
            "hardcorenas_a",
        ),
        Flagged("has_skip"),
    ),
    **dict.fromkeys(
        (
            "vgg11_bn",
            "densenet121",
            "densenetblur121d",
            "rdnet_tiny",
            "selecsls42",
            "inception_v3",
            "inception_v4",
            "ese_vovnet19b_slim",
        ),
        "",
    ),
}

TORCHVISION: dict[str, Truth] = {
    **dict.fromkeys(("resnet18", "r3d_18"), r"layer\d\.\d\.conv2(\.0)?"),
    "mc3_18": r"layer\d\.\d\.conv2\.0",
    "r2plus1d_18": r"layer\d\.\d\.conv2\.0\.3",
    **dict.fromkeys(
        (
            "resnext50_32x4d",
            "wide_resnet50_2",
            "fcn_resnet50",
            "deeplabv3_resnet50",
            "fasterrcnn_resnet50_fpn",
            "fasterrcnn_resnet50_fpn_v2",
            "maskrcnn_resnet50_fpn",
            "maskrcnn_resnet50_fpn_v2",
            "keypointrcnn_resnet50_fpn",
            "retinanet_resnet50_fpn",
            "retinanet_resnet50_fpn_v2",
            "fcos_resnet50_fpn",
        ),
        _BOTTLENECK,
    ),
    "mnasnet0_5": Flagged("apply_residual"),
    **dict.fromkeys(
        (
            "mobilenet_v2",
            "mobilenet_v3_small",
            "efficientnet_b0",
            "efficientnet_v2_s",
            "deeplabv3_mobilenet_v3_large",
            "lraspp_mobilenet_v3_large",
            "fasterrcnn_mobilenet_v3_large_fpn",
            "ssdlite320_mobilenet_v3_large",
        ),
        Flagged("use_res_connect"),
    ),
    "regnet_x_400mf": r"trunk_output\..*\.f\.c\.0",
    "regnet_y_400mf": r"trunk_output\..*\.f\.c\.0",
    "convnext_tiny": r"features\.\d\.\d\.block\.5",
    "vit_b_32": r"encoder\.layers\.\w+\.(self_attention\.out_proj|mlp\.3)",
    **dict.fromkeys(("swin_t", "swin_v2_t", "swin3d_t"), r"features\.\d\.\d\.(attn\.proj|mlp\.3)"),
    "maxvit_t": r".*(MBconv\.layers\.conv_c|attn_layer\.1\.merge|mlp_layer\.3)",
    "mvit_v1_b": r"blocks\.\d+\.(attn\.project\.0|mlp\.3)",
    "mvit_v2_s": r"blocks\.\d+\.(attn\.project\.0|mlp\.3)",
    # The flow is refined by what is added to it.
    "raft_small": r"(feature|context)_encoder\.layer\d\.\d\.convnormrelu3\.0|update_block\.flow_head\.conv2",
    "raft_large": r"(feature|context)_encoder\.layer\d\.\d\.convnormrelu2\.0|update_block\.flow_head\.conv2",
    **dict.fromkeys(
        (
            "alexnet",
            "vgg11",
            "vgg11_bn",
            "squeezenet1_1",
            "googlenet",
            "inception_v3",
            "densenet121",
            "shufflenet_v2_x0_5",
            "s3d",
            "ssd300_vgg16",
        ),
        "",
    ),
}

TRANSFORMERS: dict[str, Truth] = {
    **dict.fromkeys(
        ("GPT2LMHeadModel", "GPTBigCodeForCausalLM", "OpenAIGPTLMHeadModel"), r".*\.(attn|mlp)\.c_proj"
    ),
    "DecisionTransformerModel": r"encoder\.h\.\d\.(attn|mlp)\.c_proj",
    "GPTJForCausalLM": r".*\.(attn\.out_proj|mlp\.fc_out)",
    "GPTNeoForCausalLM": r".*\.(attn\.attention\.out_proj|mlp\.c_proj)",
    "GPTNeoXForCausalLM": r".*\.(attention\.dense|dense_4h_to_h)",
    "CTRLLMHeadModel": r".*\.(multi_head_attention\.dense|ffn\.2)",
    **dict.fromkeys(
        (
            "LlamaForCausalLM",
            "MistralForCausalLM",
            "Qwen2ForCausalLM",
            "Qwen3ForCausalLM",
            "GemmaForCausalLM",
            "Gemma3ForCausalLM",
            "OlmoForCausalLM",
            "CohereForCausalLM",
            "StableLmForCausalLM",
            "DiffLlamaForCausalLM",
            "ApertusForCausalLM",
            "DogeForCausalLM",
        ),
        _LLAMA,
    ),
    **dict.fromkeys(
        (
            "MixtralForCausalLM",
            "Qwen2MoeForCausalLM",
            "Qwen3MoeForCausalLM",
            "OlmoeForCausalLM",
            "PhimoeForCausalLM",
            "DeepseekV2ForCausalLM",
            "DeepseekV3ForCausalLM",
            "GptOssForCausalLM",
            "Llama4ForCausalLM",
            "GraniteMoeForCausalLM",
        ),
        _EXPERTS,
    ),
    "Qwen3NextForCausalLM": _EXPERTS + r"|.*linear_attn\.out_proj",
    "MiniMaxForCausalLM": _EXPERTS + r"|.*self_attn\.out_proj",
    "JetMoeForCausalLM": r".*\.output_linear",
    "Starcoder2ForCausalLM": r".*\.(self_attn\.o_proj|mlp\.c_proj)",
    "PhiForCausalLM": r".*\.(self_attn\.dense|mlp\.fc2)",
    "FalconForCausalLM": r".*\.(self_attention\.dense|dense_4h_to_h)",
    "BloomForCausalLM": r".*\.(self_attention\.dense|dense_4h_to_h)",
    **dict.fromkeys(("MambaForCausalLM", "FalconMambaForCausalLM", "Mamba2ForCausalLM"), _MIXER),
    "FalconH1ForCausalLM": r".*\.(mamba\.out_proj|self_attn\.o_proj|feed_forward\.down_proj)",
    "JambaForCausalLM": r".*\.(mamba\.out_proj|self_attn\.o_proj|.*down_proj)",
    "Zamba2ForCausalLM": r".*\.mamba\.out_proj|model\.layers\.\d\.linear",
    "NemotronHForCausalLM": r".*\.mixer\.(out_proj|o_proj|.*down_proj)",
    "RecurrentGemmaForCausalLM": r".*\.(temporal_block\.(linear_out|o_proj)|mlp_block\.down_proj)",
    # Receptance multiplies the value of a feed-forward.
    "RwkvForCausalLM": r".*\.(attention\.output|feed_forward\.value)",
    "xLSTMForCausalLM": r".*\.(mlstm_layer\.out_proj|ffn\.proj_down)",
    "MptForCausalLM": r".*\.(attn\.out_proj|ffn\.down_proj)",
    "OPTForCausalLM": r".*\.(self_attn\.out_proj|fc2)",
    "XGLMForCausalLM": r".*\.(self_attn\.out_proj|fc2)",
    "Lfm2ForCausalLM": r".*\.(self_attn\.out_proj|conv\.out_proj|feed_forward\.w2)",
    **dict.fromkeys(
        (
            "BertForPreTraining",
            "RobertaForMaskedLM",
            "ElectraForPreTraining",
            "DebertaForMaskedLM",
            "DebertaV2ForMaskedLM",
            "NystromformerForMaskedLM",
            "RoFormerForMaskedLM",
            "LongformerForMaskedLM",
            "BigBirdForPreTraining",
            "EsmForMaskedLM",
            "LukeModel",
            "ConvBertModel",
            "IBertModel",
            "YosoModel",
            "CanineModel",
            "VisualBertForPreTraining",
            "ViltForMaskedLM",
            "YolosForObjectDetection",
        ),
        _BERT,
    ),
    # Fourier transforms have no weights.
    "FNetForPreTraining": r".*layer\.\d\.output\.dense",
    "AlbertForMaskedLM": r".*\.(attention\.dense|ffn_output)",
    "DistilBertForMaskedLM": r".*\.(attention\.out_lin|ffn\.lin2)",
    "MobileBertForPreTraining": (
        r".*layer\.\d\.(attention\.output\.dense|output\.dense|output\.bottleneck\.dense|ffn\.\d\.output\.dense)"
    ),
    "ModernBertForMaskedLM": r".*\.(attn|mlp)\.Wo",
    "XLMWithLMHeadModel": r".*\.(out_lin|lin2)",
    "XLNetLMHeadModel": r".*\.(rel_attn\.o|ff\.layer_2)",
    "ReformerModelWithLMHead": r".*\.(attention|feed_forward)\.output\.dense",
    "FunnelForPreTraining": r".*\.(post_proj|ffn\.linear_2)",
    "PerceiverForMaskedLM": (
        r"perceiver\.encoder\..*\.(attention\.output\.dense|mlp\.dense2)"
        r"|perceiver\.decoder\.decoding_cross_attention\.mlp\.dense2"
    ),
    **dict.fromkeys(
        (
            "T5ForConditionalGeneration",
            "UMT5ForConditionalGeneration",
            "LongT5ForConditionalGeneration",
            "SwitchTransformersForConditionalGeneration",
        ),
        _T5,
    ),
    **dict.fromkeys(
        (
            "BartForConditionalGeneration",
            "MarianMTModel",
            "M2M100ForConditionalGeneration",
            "WhisperForConditionalGeneration",
            "TimeSeriesTransformerForPrediction",
            "InformerForPrediction",
        ),
        _BART,
    ),
    "LEDForConditionalGeneration": (
        r"led\..*\.(self_attn\.output|self_attn\.out_proj|encoder_attn\.out_proj|fc2)"
    ),
    "Pix2StructForConditionalGeneration": r".*\.(attention\.output|mlp\.wo|DenseReluDense\.wo)",
    **dict.fromkeys(("Wav2Vec2ForPreTraining", "HubertModel", "WavLMModel"), _SPEECH + _POSITIONS),
    "Wav2Vec2ConformerModel": (
        r".*\.(ffn[12]\.output_dense|self_attn\.linear_out|conv_module\.pointwise_conv2)" + _POSITIONS
    ),
    "Data2VecAudioModel": _SPEECH + r"|encoder\.pos_conv_embed\.layers\.4\.conv",
    "SpeechT5ForTextToSpeech": (
        r".*\.(attention\.out_proj|self_attn\.out_proj|encoder_attn\.out_proj|feed_forward\.output_dense)"
        r"|speech_decoder_postnet\.layers\.4\.conv"
    ),
    "ASTModel": r"layers\.\d\.(attention\.o_proj|mlp\.fc2)",
    "ClapModel": r".*\.(attention\.output\.dense|(?<!attention\.)output\.dense)",
    "ViTForImageClassification": r"vit\.layers\.\d\.(attention\.o_proj|mlp\.fc2)",
    "ViTMAEForPreTraining": r".*layers\.\d\.(attention\.o_proj|mlp\.fc2)",
    "VideoMAEForPreTraining": r".*\.(attention\.output\.dense|(?<!attention\.)output\.dense)",
    "DeiTForImageClassificationWithTeacher": r"deit\.layers\.\d\.(attention\.o_proj|mlp\.fc2)",
    "BeitForMaskedImageModeling": r"beit\.layers\.\d\.(attention\.o_proj|mlp\.fc2)",
    "Dinov2WithRegistersModel": r"encoder\.layer\.\d\.(attention\.o_proj|mlp\.fc2)",
    "Dinov2ForImageClassification": r"dinov2\.encoder\.layer\.\d\.(attention\.o_proj|mlp\.fc2)",
    "DINOv3ViTModel": r"model\.layer\.\d\.(attention\.o_proj|mlp\.down_proj)",
    "VivitModel": r"layers\.\d\.(attention\.o_proj|mlp\.fc2)",
    "VJEPA2Model": r"(encoder|predictor)\.layer\.\d\.(attention\.proj|mlp\.fc2)",
    "IJepaModel": r"layers\.\d\.(attention\.o_proj|mlp\.fc2)",
    "SwinForImageClassification": r".*blocks\.\d\.(attention\.o_proj|mlp\.fc2)",
    "Swinv2ForImageClassification": r".*blocks\.\d\.(attention\.output\.dense|output\.dense)",
    "HieraForPreTraining": r".*layers\.\d\.(attn\.proj|mlp\.fc2)",
    "FocalNetForImageClassification": r".*layers\.\d\.(modulation\.projection_out|mlp\.fc2)",
    "ConvNextForImageClassification": r".*layers\.\d\.pwconv2",
    "ConvNextV2ForImageClassification": r".*layers\.\d\.pwconv2",
    "SegformerForSemanticSegmentation": r".*blocks\.\d\.(attention\.o_proj|mlp\.fc2)",
    "PoolFormerForImageClassification": r".*output\.conv2",
    "ResNetForImageClassification": r".*layers\.\d\.layer\.2\.convolution",
    "SwiftFormerForImageClassification": (
        r".*\.(local_representation\.point_wise_conv2|attn\.final|linear\.fc2|point_wise_conv2)"
    ),
    "UperNetForSemanticSegmentation": r"backbone\..*layers\.\d\.pwconv2",
    "Swin2SRForImageSuperResolution": (
        r".*layers\.\d\.(attention\.output\.dense|output\.dense)|.*stages\.\d\.patch_embed\.projection"
        r"|swin2sr\.conv_after_body"
    ),
    **dict.fromkeys(
        ("DetrForObjectDetection", "ConditionalDetrForObjectDetection", "DeformableDetrForObjectDetection"),
        _DETR,
    ),
    "MaskFormerForInstanceSegmentation": (
        r".*blocks\.\d\.(attention\.output\.dense|output\.dense)"
        r"|.*decoder\.layers\.\d\.((self_attn|encoder_attn)\.o_proj|mlp\.fc2)"
    ),
    **dict.fromkeys(("CLIPModel", "OwlViTModel"), r".*layers\.\d\.(self_attn\.out_proj|mlp\.fc2)"),
    "SiglipModel": r".*layers\.\d\.(self_attn\.out_proj|mlp\.fc2)|vision_model\.head\.mlp\.fc2",
    "AltCLIPModel": (
        r"vision_model.*layers\.\d\.(self_attn\.out_proj|mlp\.fc2)"
        r"|text_model.*layers\.\d\.(attention\.output\.dense|output\.dense)"
    ),
    "BlipForConditionalGeneration": (
        r"vision_model.*layers\.\d\.(self_attn\.projection|mlp\.fc2)"
        r"|text_decoder.*layer\.\d\.((attention|crossattention)\.output\.dense|output\.dense)"
    ),
    "LxmertForPreTraining": (
        r".*(layer|r_layers)\.\d\.(attention\.output|output)\.dense"
        r"|.*x_layers\.\d\.(visual_attention\.output|(lang|visn)_self_att\.output|(lang|visn)_output)\.dense"
    ),
    "PatchTSTForPretraining": r".*layers\.\d\.(self_attn\.out_proj|ff\.3)",
    "TimesFmModelForPrediction": (
        r".*layers\.\d\.(self_attn\.o_proj|mlp\.down_proj)|.*(input|horizon)_ff_layer\.output_layer"
    ),
}

TRUTH: dict[str, Truth] = {
    **{f"timm/{name}": each for name, each in TIMM.items()},
    **{f"torchvision/{name}": each for name, each in TORCHVISION.items()},
    **{f"transformers/{name}": each for name, each in TRANSFORMERS.items()},
}
