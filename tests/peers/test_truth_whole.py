"""The plan of a whole real model against the record of what MMEngine did: every parameter, whoever wrote it.

The rules' writes are compared without the packages, in ``tests/truth``. Here the models are real and built
deferred, so that what their constructors and torch's layers wrote, and what their own ``init_weights``
writes, is in the plan as values too.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import pytest
from real_models import RealModel, build

import initcfg

pytestmark = [pytest.mark.peers, pytest.mark.mm]

TABLE = "Plans of whole models against what MMEngine did"
# Of each way in which such models are written, some; of 141 recorded ones.
MODELS = (
    RealModel("mmdet", "cornernet/cornernet_hourglass104_10xb5-crop511-210e-mstest_coco"),
    RealModel("mmdet", "dcn/cascade-mask-rcnn_r50-dconv-c3-c5_fpn_1x_coco"),
    RealModel("mmdet", "ddq/ddq-detr-4scale_r50_8xb2-12e_coco"),
    RealModel("mmdet", "deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco"),
    RealModel("mmdet", "dino/dino-4scale_r50_8xb2-12e_coco"),
    RealModel("mmdet", "double_heads/dh-faster-rcnn_r50_fpn_1x_coco"),
    RealModel("mmdet", "dyhead/atss_r50-caffe_fpn_dyhead_1x_coco"),
    RealModel("mmdet", "efficientnet/retinanet_effb3_fpn_8xb4-crop896-1x_coco"),
    RealModel("mmdet", "guided_anchoring/ga-fast-rcnn_r50-caffe_fpn_1x_coco"),
    RealModel("mmdet", "maskformer/maskformer_r50_ms-16xb1-75e_coco"),
    RealModel("mmdet", "nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco"),
    RealModel("mmdet", "paa/paa_r101_fpn_1x_coco"),
    RealModel("mmdet", "rtmdet/rtmdet-ins_l_8xb32-300e_coco"),
    RealModel("mmdet", "solo/decoupled-solo-light_r50_fpn_3x_coco"),
    RealModel("mmdet", "swin/mask-rcnn_swin-s-p4-w7_fpn_amp-ms-crop-3x_coco"),
    RealModel("mmdet", "tridentnet/tridentnet_r50-caffe_1x_coco"),
    RealModel("mmpretrain", "beitv2/beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k"),
    RealModel("mmpretrain", "convmixer/convmixer-1536-20_10xb64_in1k"),
    RealModel("mmpretrain", "davit/davit-base_4xb256_in1k"),
    RealModel("mmpretrain", "deit/deit-base-distilled_16xb64_in1k"),
    RealModel("mmpretrain", "efficientnet_v2/efficientnetv2-b0_8xb32_in1k"),
    RealModel("mmpretrain", "inception_v3/inception-v3_8xb32_in1k"),
    RealModel("mmpretrain", "mae/mae_hivit-base-p16_8xb512-amp-coslr-1600e_in1k"),
    RealModel("mmpretrain", "mlp_mixer/mlp-mixer-base-p16_64xb64_in1k"),
    RealModel("mmpretrain", "mocov3/mocov3_resnet50_8xb512-amp-coslr-100e_in1k"),
)
NUMBERS = {
    "aten.fill_.Scalar": ("Constant", ("val",)),
    "aten.normal_.default": ("Normal", ("mean", "std")),
    "aten.uniform_.default": ("Uniform", ("a", "b")),
}
NOUGHTS = ("aten.zero_.default", "aten.zeros.default")


@pytest.mark.parametrize("real", MODELS, ids=lambda real: real.name)
def test_every_parameter(real: RealModel, recorded: dict[Any, Any], tables: dict[str, Any]) -> None:
    if real.key not in recorded:
        pytest.fail(f"{real.key} is not among the recorded models")
    with initcfg.deferred():
        model = build(real)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plan = initcfg.plan(model, compat="mmengine")
    counts: Counter[str] = Counter()
    wrong = []
    for parameter in recorded[real.key].params:
        assignment = plan[parameter.name]
        verdict = _verdict(parameter, assignment)
        counts[parameter.source] += 1
        counts[verdict.partition(":")[0]] += 1
        if verdict.startswith("wrong"):
            wrong.append(f"{parameter.name} ({parameter.source}): {verdict}")
    assert wrong == []
    rows = tables.setdefault(TABLE, [])
    rows.append({"model": real.name, **{key: counts[key] for key in sorted(counts)}})


def _verdict(parameter: Any, assignment: Any) -> str:
    """``same``, ``said`` (a value that the one recorded operation cannot show), or what is wrong."""
    value = assignment.value
    if parameter.op == "aten.empty.memory_format":
        return "unwritten" if value.kind == "Keep" else f"wrong: {value}, but nobody wrote it"
    if value.kind in ("Keep", "Opaque", "Computed"):
        return f"wrong: {value}, but {parameter.op} wrote {parameter.op_args}"
    by_rule = assignment.rule is not None and not assignment.rule.endswith("init_weights")
    if by_rule != (parameter.source == "initializer"):
        return f"wrong: by {assignment.rule}"
    expected = _expected(parameter)
    if value.kind == "CopyOf":
        value = value.value
    # The last of several writes on one tensor is one of its parts.
    found = value.values if value.kind == "Parts" else (value,)
    if value.kind == "PaddingRow":
        found = (value.value,)
    if expected is None:
        return "said"
    return "same" if any(_equal(each, expected) for each in found) else f"wrong: {value}, but {expected}"


def _expected(parameter: Any) -> tuple[str, list[float]] | None:
    if parameter.op in NOUGHTS:
        return "Constant", [0.0]
    if parameter.op == "aten.ones.default":
        return "Constant", [1.0]
    if parameter.event == "trunc_normal_":
        return "TruncNormal", [parameter.args[key] for key in ("mean", "std", "a", "b")]
    if parameter.op in NUMBERS:
        kind, keys = NUMBERS[parameter.op]
        return kind, parameter.op_args[: len(keys)] or [0.0, 1.0]
    return None


def _equal(value: Any, expected: tuple[str, list[float]]) -> bool:
    kind, numbers = expected
    return value.kind == kind and list(value.args.values()) == pytest.approx(numbers, rel=1e-6, abs=1e-12)
