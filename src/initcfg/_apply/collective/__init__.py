"""Orthogonal matrices made by all ranks together, each a part of the work, where that was asked for.

In: the values and the tensors that hold orthogonal matrices, on every rank of a mesh.
Out: each rank's blocks of them, with the bits that it would have made alone.

Read: `together.py` (from the first tensor to the last), then `wanted.py` (which matrices a value has, and who
holds what of them), `dealing.py` (who makes which), `exchange.py` (what is sent, and how).
"""

from initcfg._apply.collective.together import Together

__all__ = ["Together"]
