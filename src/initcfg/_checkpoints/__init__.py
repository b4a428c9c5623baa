"""Checkpoints: found wherever they are, fetched, and opened safely.

In: what a rule says in ``checkpoint=``: a path, an address with a scheme, a state_dict, a function.
Out: an ``OpenedCheckpoint``, which knows its tensors and reads them one by one.

Read: `from_source.py` (both steps as one), `whole_digest.py` (the digest of all its files), `source_state.py`
(whether they are still the same), `key_prefixes.py` (what stands before the keys of one and not of another),
`wrapper_names.py` (what DDP and others put between), then `sources/` (from the text to a file on this
machine) and `formats/` (from the file to its tensors).
"""

from initcfg._checkpoints.formats import ADAPTER_CONFIG, InMemory, OpenedCheckpoint, Stored, has_lora
from initcfg._checkpoints.from_source import Lora, open_source
from initcfg._checkpoints.key_prefixes import common_prefix, prefixes_of
from initcfg._checkpoints.source_state import SourceState
from initcfg._checkpoints.whole_digest import NotedFiles, files_of, whole_digest
from initcfg._checkpoints.wrapper_names import ANY_WRAPPER, LocalNames, unwrapped_name, without_wrappers

__all__ = [
    "ADAPTER_CONFIG",
    "ANY_WRAPPER",
    "InMemory",
    "LocalNames",
    "Lora",
    "NotedFiles",
    "OpenedCheckpoint",
    "SourceState",
    "Stored",
    "common_prefix",
    "files_of",
    "has_lora",
    "open_source",
    "prefixes_of",
    "unwrapped_name",
    "whole_digest",
    "without_wrappers",
]
