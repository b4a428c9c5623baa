"""initcfg._model"""

from initcfg._model import doors
from initcfg._model.base_module import BaseModule, ModuleDict, ModuleList, Sequential
from initcfg._model.copies import copied, holds_tensors
from initcfg._model.doors import active_run, running
from initcfg._model.fsdp import hold_shards, note_shards
from initcfg._model.names import (
    Entry,
    Names,
    child_items,
    named_tensors,
    relative_name,
    unwrapped,
    wrapper_attribute,
)
from initcfg._model.shards import is_sharded, local_of, pieces_of, rank_sets
from initcfg._model.storages import Observer, by_storage, storage_of, tensors_in, written
from initcfg._model.targets import Target, original_targets, targets

__all__ = [
    "BaseModule",
    "Entry",
    "ModuleDict",
    "ModuleList",
    "doors",
    "Names",
    "Observer",
    "Sequential",
    "Target",
    "active_run",
    "by_storage",
    "child_items",
    "copied",
    "hold_shards",
    "holds_tensors",
    "is_sharded",
    "local_of",
    "named_tensors",
    "note_shards",
    "original_targets",
    "pieces_of",
    "rank_sets",
    "relative_name",
    "running",
    "storage_of",
    "targets",
    "tensors_in",
    "unwrapped",
    "wrapper_attribute",
    "written",
]
