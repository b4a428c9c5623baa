"""What a pickle may name. Whatever is on these lists stays a name: nothing of it is looked up or run.

The lists say what is known to stand in checkpoints beside the weights: counters, settings, histories of a
training run. What is not on them is refused, since a file that names it was not made to hold weights alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Of each module: functions, and classes of torch, Python and NumPy.
_OF_MODULES = {
    "_codecs": "encode",
    "argparse": "Namespace",
    "builtins": "bool bytearray bytes complex dict float frozenset int list object range set slice str tuple "
    "xrange",
    "collections": "Counter",
    "copyreg": "_reconstructor",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID",
    "pathlib": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "pathlib._local": "Path PosixPath PurePath PurePosixPath PureWindowsPath WindowsPath",
    "types": "SimpleNamespace",
    "typing": "Any Dict List Optional Tuple Union",
    "numpy": "dtype ndarray bool bool_ bytes_ str_ float16 float32 float64 complex64 complex128 "
    "int8 int16 int32 int64 uint8 uint16 uint32 uint64",
    "numpy.core.multiarray": "scalar _reconstruct",
    "numpy._core.multiarray": "scalar _reconstruct",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "torch": "Tensor device memory_format strided sparse_coo contiguous_format channels_last preserve_format "
    "per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric "
    "per_channel_affine_float_qparams",
    "torch.nn.parameter": "Parameter Buffer",
    "torch.serialization": "_get_layout",
    "torch.torch_version": "TorchVersion",
    "torch.optim.lr_scheduler": "StepLR MultiStepLR LambdaLR CosineAnnealingLR OneCycleLR",
    "torch.optim.adam": "Adam",
    "torch.optim.adamw": "AdamW",
    "torch.optim.sgd": "SGD",
    "pytorch_lightning.utilities.argparse": "_gpus_arg_default",
}
_EXACT = frozenset(f"{module}.{name}" for module, names in _OF_MODULES.items() for name in names.split())

# Of these packages: classes, whose names begin with a capital letter, and what they own.
_CLASSES = re.compile(
    r"(addict|easydict|lightning|lightning_fabric|mmcls|mmcv|mmdet|mmengine|mmpretrain|mmseg|numpy\.dtypes"
    r"|omegaconf|pytorch_lightning|yacs)(\.\w+)*\.[A-Z]\w*"
)


def may_be_named(name: str, more: Collection[str] = ()) -> bool:
    """Whether a pickle may have a name in it; ``more`` are allowed besides.

    Example:
        >>> from initcfg._checkpoints.formats.allowed_names import may_be_named
        >>> may_be_named("mmengine.logging.history_buffer.HistoryBuffer"), may_be_named("os.system")
        (True, False)
    """
    return name in _EXACT or name in more or _CLASSES.fullmatch(name) is not None
