"""Streaming: from a plan to a checkpoint on disk, piece by piece, whatever the model's size.

``items`` says what is stored and how each tensor is made, ``making`` makes it, ``pieces`` cuts it;
``shards`` and ``header`` say what lies where in safetensors files, ``writer`` writes these, ``folder`` knows
what was finished before; ``distributed`` does it all for ``torch.distributed.checkpoint``, and ``ranks``
splits the work.
"""

from initcfg._apply.streaming.folder import check_folder, seed_in
from initcfg._apply.streaming.items import outlined
from initcfg._apply.streaming.ranks import Ranks, launched_ranks
from initcfg._apply.streaming.save import Options, Saved, save_plan

__all__ = ["Options", "Ranks", "Saved", "check_folder", "launched_ranks", "outlined", "save_plan", "seed_in"]
