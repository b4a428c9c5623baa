"""Other people's architectures, each chosen for how its code initializes it; what builds each one.

Of each family the smallest member; transformers' classes with small configs of our own. Nothing is fetched.

    from zoo import ARCHITECTURES, prepare
    prepare()
    model = ARCHITECTURES["timm/vit_tiny_patch16_224"].build()

Needs the packages of tests/peers/requirements.txt.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_transformers import TRANSFORMERS, build_transformers

if TYPE_CHECKING:
    from torch import nn

PEERS = Path(__file__).parents[1] / "tests" / "peers"

TIMM = (
    # Vision transformers: the modes of one init function, and what grew from it.
    "vit_tiny_patch16_224",
    "vit_base_patch32_clip_224",
    "vit_base_patch32_siglip_256",
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
    "cait_xxs24_224",
    "xcit_nano_12_p16_224",
    "convit_tiny",
    "crossvit_tiny_240",
    "tnt_s_patch16_224",
    "volo_d1_224",
    "pit_ti_224",
    "levit_128s",
    "levit_conv_128s",
    "twins_svt_small",
    "twins_pcpvt_small",
    "pvt_v2_b0",
    "coat_lite_tiny",
    "visformer_tiny",
    "hiera_tiny_224",
    "sam2_hiera_tiny",
    "mvitv2_tiny",
    "davit_tiny",
    "gcvit_xxtiny",
    "focalnet_tiny_srf",
    "nest_tiny",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "swinv2_cr_tiny_224",
    "maxvit_nano_rw_256",
    "coatnet_nano_rw_224",
    "test_maxvit",
    "vitamin_small_224",
    "tiny_vit_5m_224",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvit_b0",
    "efficientvit_m0",
    "efficientvim_m1",
    "swiftformer_xs",
    "edgenext_xx_small",
    "mobilevit_xxs",
    "mobilevitv2_050",
    "fastvit_t8",
    "repvit_m0_9",
    "shvit_s1",
    "nextvit_small",
    "iformer_t",
    "csatv2",
    "gemma4_vit_167m",
    "qwen3_vit_88m",
    # Mixers and gated networks.
    "mixer_s16_224",
    "gmixer_12_224",
    "gmlp_ti16_224",
    "resmlp_12_224",
    "sequencer2d_s",
    "mambaout_femto",
    "poolformer_s12",
    "caformer_s18",
    # Convolutional networks.
    "convnext_atto",
    "convnextv2_atto",
    "convmixer_768_32",
    "inception_next_atto",
    "starnet_s1",
    "rdnet_tiny",
    "resnet10t",
    "resnet50_gn",
    "resnetv2_50x1_bit",
    "resnetv2_18d",
    "resnet50_clip",
    "skresnet18",
    "resnest14d",
    "res2net50_14w_8s",
    "legacy_seresnet18",
    "nf_resnet26",
    "nfnet_l0",
    "dm_nfnet_f0",
    "regnetx_002",
    "regnetv_040",
    "regnetz_005",
    "repvgg_a0",
    "mobileone_s0",
    "vgg11_bn",
    "densenet121",
    "densenetblur121d",
    "dla46_c",
    "dpn48b",
    "darknet17",
    "cs3darknet_focus_s",
    "cspnext_tiny",
    "tresnet_m",
    "selecsls42",
    "rexnet_100",
    "hrnet_w18_small",
    "inception_v3",
    "inception_v4",
    "inception_resnet_v2",
    "legacy_xception",
    "xception41",
    "nasnetalarge",
    "pnasnet5large",
    "ese_vovnet19b_slim",
    "hgnet_tiny",
    "hgnetv2_b0",
    "lcnetv2_small",
    "efficientnet_b0",
    "efficientnet_cc_b0_4e",
    "mnasnet_small",
    "mobilenetv3_small_050",
    "mobilenetv4_hybrid_medium",
    "mobilenetv5_base",
    "ghostnetv2_100",
    "ghostnetv3_050",
    "repghostnet_050",
    "fasternet_t0",
    "hardcorenas_a",
    "botnet26t_256",
    "halonet26t",
    "lambda_resnet26t",
    "bat_resnext26ts",
)

TORCHVISION = (
    "alexnet",
    "vgg11",
    "vgg11_bn",
    "squeezenet1_1",
    "googlenet",
    "inception_v3",
    "resnet18",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_32",
    "swin_t",
    "swin_v2_t",
    "maxvit_t",
    # Segmentation and optical flow.
    "fcn_resnet50",
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet50",
    "lraspp_mobilenet_v3_large",
    "raft_small",
    "raft_large",
    # Video.
    "r3d_18",
    "mc3_18",
    "r2plus1d_18",
    "s3d",
    "mvit_v1_b",
    "mvit_v2_s",
    "swin3d_t",
    # Detection.
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "fcos_resnet50_fpn",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)

OPENMMLAB = (
    ("mmdet", "atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco"),
    ("mmdet", "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco"),
    ("mmdet", "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco"),
    ("mmdet", "detr/detr_r18_8xb2-500e_coco"),
    ("mmdet", "dyhead/atss_r50_fpn_dyhead_1x_coco"),
    ("mmdet", "gcnet/mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco"),
    ("mmdet", "mask2former/mask2former_r50_8xb2-lsj-50e_coco"),
    ("mmdet", "pvt/retinanet_pvtv2-b0_fpn_1x_coco"),
    ("mmdet", "retinanet/retinanet_r18_fpn_1x_coco"),
    ("mmdet", "rtmdet/rtmdet_tiny_8xb32-300e_coco"),
    ("mmdet", "ssd/ssd300_coco"),
    ("mmdet", "tridentnet/tridentnet_r50-caffe_1x_coco"),
    ("mmdet", "yolox/yolox_tiny_8xb8-300e_coco"),
    ("mmseg", "bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024"),
    ("mmseg", "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024"),
    ("mmseg", "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512"),
    ("mmseg", "segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512"),
    ("mmseg", "segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512"),
    ("mmpretrain", "conformer/conformer-tiny-p16_8xb128_in1k"),
    ("mmpretrain", "convnext_v2/convnext-v2-atto_32xb32_in1k"),
    ("mmpretrain", "deit/deit-tiny_4xb256_in1k"),
    ("mmpretrain", "levit/levit-128s_8xb256_in1k"),
    ("mmpretrain", "mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k"),
    ("mmpretrain", "repvgg/repvgg-A0_8xb32_in1k"),
    ("mmpretrain", "swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px"),
    ("mmpretrain", "t2t_vit/t2t-vit-t-14_8xb64_in1k"),
    ("mmpretrain", "xcit/xcit-nano-12-p16_8xb128_in1k"),
)


@dataclass(frozen=True)
class Architecture:
    """One model of one library.

    Args:
        library: Its library.
        name: What the library calls it.
        build: Builds it, with all that the library does to initialize it. Takes no arguments.
    """

    library: str
    name: str
    build: Callable[[], nn.Module]

    @property
    def key(self) -> str:
        """Library and name: what the table calls it."""
        return f"{self.library}/{self.name}"


def prepare() -> None:
    """Let the libraries be imported without their compiled parts, offline, and without their talk."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", NO_ALBUMENTATIONS_UPDATE="1")
    if str(PEERS) not in sys.path:
        sys.path.insert(0, str(PEERS))
    importlib.import_module("openmmlab_stand_ins").install()


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name)


def _torchvision(name: str) -> nn.Module:
    import torchvision.models

    options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    builder = torchvision.models.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None
    return builder(weights=None, **options)


def _openmmlab(package: str, config: str) -> nn.Module:
    # Built and initialized: their constructors leave what they mean to do to init_weights().
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel(logging.CRITICAL)
    real_models = importlib.import_module("real_models")
    model = real_models.build(real_models.RealModel(package, config))
    model.init_weights()
    return model


_ALL = (
    *(Architecture("timm", name, partial(_timm, name)) for name in TIMM),
    *(Architecture("torchvision", name, partial(_torchvision, name)) for name in TORCHVISION),
    *(Architecture("transformers", name, partial(build_transformers, name)) for name in TRANSFORMERS),
    *(
        Architecture(package, config.rpartition("/")[2], partial(_openmmlab, package, config))
        for package, config in OPENMMLAB
    ),
)

#: Every architecture, by library and name.
ARCHITECTURES: dict[str, Architecture] = {each.key: each for each in _ALL}
