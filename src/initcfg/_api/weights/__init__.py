"""Weights on disk: what is in a checkpoint, what became of it since, what differs from another.

In: a checkpoint (a path, an address, or tensors in memory); a plan, a ledger, or a second checkpoint.
Out: an account of every tensor, printable and JSON.

Read: `verifying.py` (against its plan).
"""

from initcfg._api.weights.verifying import verify

__all__ = ["verify"]
