# initcfg plan examples/retinanet/retinanet_r50_fpn.py
# initcfg init examples/retinanet/retinanet_r50_fpn.py -o retinanet.safetensors --seed 0
# initcfg explain examples/retinanet/retinanet_r50_fpn.py bbox_head.retina_cls.bias
_base_ = ["_base_/retinanet.py", "_base_/detector.py"]
