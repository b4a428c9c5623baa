"""Streaming: from a plan to a checkpoint on disk, piece by piece, whatever the model's size.

``items`` says what is stored and how each tensor is made, ``making`` makes it, ``pieces`` cuts it;
``shards`` and ``header`` say what lies where in safetensors files, ``writer`` writes these, ``folder`` knows
what was finished before; ``distributed`` does it all for ``torch.distributed.checkpoint``, and ``ranks``
splits the work.
"""
