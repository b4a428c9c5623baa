"""Streaming: from a plan to a checkpoint on disk, piece by piece, whatever the model's size.

In: a plan, its model (pending or on the meta device), a folder, a seed.
Out: safetensors files in shards, or a folder of ``torch.distributed.checkpoint`` (DCP), and the ledger.

Read: `save.py` (from start to end), then `items.py` (what is stored, and how each tensor is made),
`making.py` (makes it, piece by piece), `shard_files.py` (what lies where in safetensors files), `writer.py`
(writes these), `output_file.py` (a file, past the system's own copy), `dcp_writer.py` (writes DCP),
`folder.py` (what an earlier run left), `world.py` (the ranks that share the work).
"""

from initcfg._apply.streaming.folder import check_folder, seed_in
from initcfg._apply.streaming.items import outlined
from initcfg._apply.streaming.making import pieces
from initcfg._apply.streaming.save import Options, Saved, save_plan, save_planned_weights
from initcfg._apply.streaming.world import launched_world

__all__ = [
    "Options",
    "Saved",
    "check_folder",
    "launched_world",
    "outlined",
    "pieces",
    "save_plan",
    "save_planned_weights",
    "seed_in",
]
