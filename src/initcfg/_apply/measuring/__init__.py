"""Measuring: what a batch of data in the model makes of the values that wait for it.

In: a plan whose values are written, and the batches that its rules name.
Out: other values in their places, written again from the stream, and said in the account.

Read: `batches.py` (from start to end), then `batch.py` (what the model is called with), `running.py` (the
call, of which nothing stays), `uses.py` (where the model multiplies by a weight), `layers.py` (LSUV, and
weight norm's first batch) and `act_norm.py` (ActNorm's).
"""

from initcfg._apply.measuring.batches import Batches

__all__ = ["Batches"]
