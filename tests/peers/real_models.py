"""Real models of mmdet, mmsegmentation and mmpretrain, built from the configs inside their wheels."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

PACKAGES = ("mmdet", "mmseg", "mmpretrain")


@dataclass(frozen=True)
class RealModel:
    """One config of one package.

    Args:
        package: The package whose wheel holds the config; also the registry's scope.
        config: Path of the config below the package's `configs`, without its `.py`.
    """

    package: str
    config: str

    @property
    def name(self) -> str:
        return f"{self.package}-{self.config.rpartition('/')[2]}"

    @property
    def key(self) -> tuple[str, str]:
        """Package and config: what the recorded truth calls it."""
        return self.package, f"{self.config}.py"


def _models(package: str, *configs: str) -> tuple[RealModel, ...]:
    return tuple(RealModel(package, config) for config in configs)


# Chosen for variety of the way in which they are initialized; of each family the smallest member.
MODELS: tuple[RealModel, ...] = (
    *_models(
        "mmdet",
        "atss/atss_r18_fpn_8xb8-amp-lsj-200e_coco",
        "autoassign/autoassign_r50-caffe_fpn_1x_coco",
        "carafe/faster-rcnn_r50_fpn-carafe_1x_coco",
        "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco",
        "cascade_rpn/cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco",
        "centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco",
        "conditional_detr/conditional-detr_r50_8xb2-50e_coco",
        "convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco",
        "cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco",
        "crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman",
        "dab_detr/dab-detr_r50_8xb2-50e_coco",
        "ddq/ddq-detr-4scale_r50_8xb2-12e_coco",
        "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco",
        "detectors/detectors_cascade-rcnn_r50_1x_coco",
        "detr/detr_r18_8xb2-500e_coco",
        "dino/dino-4scale_r50_8xb2-12e_coco",
        "double_heads/dh-faster-rcnn_r50_fpn_1x_coco",
        "dyhead/atss_r50_fpn_dyhead_1x_coco",
        "efficientnet/retinanet_effb3_fpn_8xb4-crop896-1x_coco",
        "empirical_attention/faster-rcnn_r50-attn1111-dcn_fpn_1x_coco",
        "faster_rcnn/faster-rcnn_r50_fpn_1x_coco",
        "fcos/fcos_r18_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco",
        "foveabox/fovea_r50_fpn_gn-head-align_4xb4-2x_coco",
        "fpg/retinanet_r50_fpg_crop640_50e_coco",
        "gcnet/mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco",
        "gfl/gfl_r50_fpn_1x_coco",
        "grid_rcnn/grid-rcnn_r50_fpn_gn-head_1x_coco",
        "guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco",
        "hrnet/faster-rcnn_hrnetv2p-w18-1x_coco",
        "htc/htc_r50_fpn_1x_coco",
        "libra_rcnn/libra-retinanet_r50_fpn_1x_coco",
        "mask2former/mask2former_r50_8xb2-lsj-50e_coco",
        "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
        "ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco",
        "nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco",
        "nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco",
        "pafpn/faster-rcnn_r50_pafpn_1x_coco",
        "panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco",
        "point_rend/point-rend_r50-caffe_fpn_ms-1x_coco",
        "pvt/retinanet_pvt-t_fpn_1x_coco",
        "pvt/retinanet_pvtv2-b0_fpn_1x_coco",
        "qdtrack/qdtrack_faster-rcnn_r50_fpn_4e_base",
        "queryinst/queryinst_r50_fpn_1x_coco",
        "regnet/mask-rcnn_regnetx-400MF_fpn_ms-poly-3x_coco",
        "regnet/retinanet_regnetx-800MF_fpn_1x_coco",
        "reid/reid_r50_8xb32-6e_mot15train80_test-mot15val20",
        "reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco",
        "res2net/faster-rcnn_res2net-101_fpn_2x_coco",
        "retinanet/retinanet_r18_fpn_1x_coco",
        "rtmdet/rtmdet-ins_tiny_8xb32-300e_coco",
        "rtmdet/rtmdet_tiny_8xb32-300e_coco",
        "scnet/scnet_r50_fpn_1x_coco",
        "solo/decoupled-solo-light_r50_fpn_3x_coco",
        "solov2/solov2-light_r18_fpn_ms-3x_coco",
        "sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco",
        "ssd/ssd300_coco",
        "ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco",
        "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
        "tood/tood_r50_fpn_1x_coco",
        "tridentnet/tridentnet_r50-caffe_1x_coco",
        "vfnet/vfnet_r50_fpn_1x_coco",
        "yolact/yolact_r50_1xb8-55e_coco",
        "yolo/yolov3_mobilenetv2_8xb24-320-300e_coco",
        "yolof/yolof_r50-c5_8xb8-1x_coco",
        "yolox/yolox_tiny_8xb8-300e_coco",
    ),
    *_models(
        "mmseg",
        "bisenetv1/bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024",
        "bisenetv2/bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
        "cgnet/cgnet_fcn_4xb8-60k_cityscapes-512x1024",
        "convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
        "danet/danet_r50-d8_4xb2-40k_cityscapes-512x1024",
        "ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024",
        "deeplabv3plus/deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024",
        "dnlnet/dnl_r50-d8_4xb2-40k_cityscapes-512x1024",
        "dpt/dpt_vit-b16_8xb2-160k_ade20k-512x512",
        "emanet/emanet_r50-d8_4xb2-80k_cityscapes-512x1024",
        "encnet/encnet_r50-d8_4xb2-40k_cityscapes-512x1024",
        "erfnet/erfnet_fcn_4xb4-160k_cityscapes-512x1024",
        "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024",
        "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024",
        "gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024",
        "hrnet/fcn_hr18_4xb2-160k_cityscapes-512x1024",
        "icnet/icnet_r18-d8_4xb2-80k_cityscapes-832x832",
        "knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512",
        "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512",
        "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024",
        "maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512",
        "mobilenet_v3/mobilenet-v3-d8-scratch_lraspp_4xb4-320k_cityscapes-512x1024",
        "ocrnet/ocrnet_hr18_4xb2-160k_cityscapes-512x1024",
        "pidnet/pidnet-s_2xb6-120k_1024x1024-cityscapes",
        "point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024",
        "poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512",
        "psanet/psanet_r50-d8_4xb2-40k_cityscapes-512x1024",
        "pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024",
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
        "segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512",
        "segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512",
        "sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024",
        "setr/setr_vit-l-mla_8xb1-160k_ade20k-512x512",
        "stdc/stdc1_4xb12-80k_cityscapes-512x1024",
        "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512",
        "twins/twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512",
        "unet/unet-s5-d16_deeplabv3_4xb4-40k_drive-64x64",
        "upernet/upernet_r18_4xb2-40k_cityscapes-512x1024",
    ),
    *_models(
        "mmpretrain",
        "barlowtwins/barlowtwins_resnet50_8xb256-coslr-300e_in1k",
        "beit/beit_beit-base-p16_8xb256-amp-coslr-300e_in1k",
        "byol/byol_resnet50_16xb256-coslr-200e_in1k",
        "conformer/conformer-tiny-p16_8xb128_in1k",
        "convmixer/convmixer-768-32_10xb64_in1k",
        "convnext/convnext-tiny_32xb128_in1k",
        "convnext_v2/convnext-v2-atto_32xb32_in1k",
        "cspnet/cspresnet50_8xb32_in1k",
        "davit/davit-tiny_4xb256_in1k",
        "deit/deit-tiny_4xb256_in1k",
        "densenet/densenet121_4xb256_in1k",
        "dinov2/vit-small-p14_dinov2-pre_headless",
        "edgenext/edgenext-xxsmall_8xb256_in1k",
        "efficientformer/efficientformer-l1_8xb128_in1k",
        "efficientnet/efficientnet-b0_8xb32_in1k",
        "eva02/eva02-tiny-p14_in1k",
        "hornet/hornet-tiny_8xb128_in1k",
        "inception_v3/inception-v3_8xb32_in1k",
        "lenet/lenet5_mnist",
        "levit/levit-128s_8xb256_in1k",
        "mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k",
        "maskfeat/maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k",
        "mixmim/mixmim_mixmim-base_16xb128-coslr-300e_in1k",
        "mlp_mixer/mlp-mixer-base-p16_64xb64_in1k",
        "mobilenet_v2/mobilenet-v2_8xb32_in1k",
        "mobilenet_v3/mobilenet-v3-small_8xb128_in1k",
        "mobileone/mobileone-s0_8xb32_in1k",
        "mobilevit/mobilevit-xxsmall_8xb128_in1k",
        "mocov3/mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k",
        "mvit/mvitv2-tiny_8xb256_in1k",
        "poolformer/poolformer-s12_32xb128_in1k",
        "regnet/regnetx-400mf_8xb128_in1k",
        "repmlp/repmlp-base_8xb64_in1k",
        "repvgg/repvgg-A0_8xb32_in1k",
        "res2net/res2net50-w14-s8_8xb32_in1k",
        "resnet/resnet18_8xb32_in1k",
        "riformer/riformer-s12_8xb128_in1k",
        "seresnet/seresnet50_8xb32_in1k",
        "shufflenet_v2/shufflenet-v2-1x_16xb64_in1k",
        "simmim/simmim_swin-base-w6_16xb128-amp-coslr-100e_in1k-192px",
        "spark/spark_sparse-convnextv2-tiny_16xb256-amp-coslr-800e_in1k",
        "swav/swav_resnet50_8xb32-mcrop-coslr-200e_in1k-224px-96px",
        "swin_transformer/swin-tiny_16xb64_in1k",
        "swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px",
        "t2t_vit/t2t-vit-t-14_8xb64_in1k",
        "tinyvit/tinyvit-5m_8xb256_in1k",
        "tnt/tnt-s-p16_16xb64_in1k",
        "twins/twins-svt-small_8xb128_in1k",
        "van/van-tiny_8xb128_in1k",
        "vgg/vgg11bn_8xb32_in1k",
        "vig/vig-tiny_8xb128_in1k",
        "vision_transformer/vit-base-p16_64xb64_in1k",
        "wrn/wide-resnet50_8xb32_in1k",
        "xcit/xcit-nano-12-p16_8xb128_in1k",
    ),
)


def build(real: RealModel) -> nn.Module:
    """Build a real model as its users do, with nothing to be downloaded.

    Warnings of the packages themselves are not this project's, and are not shown.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in PACKAGES:
            importlib.import_module(f"{package}.models")
        from mmengine.config import Config
        from mmengine.registry import MODELS as registry
        from mmengine.registry import init_default_scope

        root = importlib.import_module(real.package).__path__[0]
        configuration = Config.fromfile(Path(root) / ".mim" / "configs" / f"{real.config}.py")
        init_default_scope(real.package)
        model = configuration.model
        without_pretrained(model)
        with _memory_filled():
            return registry.build(model)


@contextmanager
def _memory_filled() -> Iterator[None]:
    """Let memory that nobody writes hold NaN: TridentNet leaves six weights as they are allocated."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def without_pretrained(model: Any) -> None:
    """Take out of a model's config what asks for a checkpoint."""
    for place, key in list(_pretrained(model)):
        place[key] = None


def _pretrained(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a config that asks for a checkpoint: (container, key)."""
    if isinstance(node, dict):
        for key, child in node.items():
            if (key == "pretrained" and isinstance(child, str)) or _is_pretrained(child):
                yield node, key
            else:
                yield from _pretrained(child)
    elif isinstance(node, (list, tuple)):
        for position, child in enumerate(node):
            if _is_pretrained(child):
                raise ValueError(
                    f"A checkpoint inside a list, at position {position}, cannot be removed in place."
                )
            yield from _pretrained(child)


def _is_pretrained(node: Any) -> bool:
    # The configs of PVT give only `checkpoint`; the class adds the type.
    return isinstance(node, dict) and (node.get("type") == "Pretrained" or set(node) == {"checkpoint"})
