"""Checkpoints: opened safely, read lazily.

In: a file, a folder, or a mapping that is in memory; nobody vouches for what is in it.
Out: an ``OpenedCheckpoint``: names, shapes and types at once, numbers one tensor at a time.

Read: `checkpoint.py` (the way in, by content and not by name), `opened_checkpoint.py` (what comes out),
`stored.py` (a tensor that was not read yet), `into_memory.py` (its numbers, straight to where they are
needed), `spans.py` (stretches of a file), `open_files.py` (regular files that stay the same),
`mapped_file.py` (their pages as memory); the formats: `safetensors_file.py`, `torch_file.py` with
`archive.py` (zip), `pickled.py` (pickles as data), `torch_tensors.py` (the calls that mean something) and
`allowed_names.py`, `numpy_arrays.py`, `sharded_folder.py`, `distributed_folder.py`, `untrusted.py` (JSON,
names of files); `tables.py` (tensors by name, and what only stands beside them) and `unwrapping.py` (where
in it the weights are); `lora.py` (adapters, merged into weights).

No code that a file holds is run, and a damaged file ends in an error, not in wrong numbers.
"""

from initcfg._checkpoints.formats.checkpoint import open_mapping, open_path
from initcfg._checkpoints.formats.distributed_folder import METADATA
from initcfg._checkpoints.formats.lora import CONFIG as ADAPTER_CONFIG
from initcfg._checkpoints.formats.lora import has_lora, lora_config, lora_files, merged_lora
from initcfg._checkpoints.formats.open_files import open_regular
from initcfg._checkpoints.formats.opened_checkpoint import OpenedCheckpoint
from initcfg._checkpoints.formats.sharded_folder import (
    FOLDER_FILES,
    UNFINISHED,
    file_in_folder,
    weight_map,
    weights_among,
)
from initcfg._checkpoints.formats.stored import InMemory, Stored, TensorInfo

__all__ = [
    "ADAPTER_CONFIG",
    "FOLDER_FILES",
    "METADATA",
    "UNFINISHED",
    "InMemory",
    "OpenedCheckpoint",
    "Stored",
    "TensorInfo",
    "file_in_folder",
    "has_lora",
    "lora_config",
    "lora_files",
    "merged_lora",
    "open_mapping",
    "open_path",
    "open_regular",
    "weight_map",
    "weights_among",
]
