"""Measuring: what one forward and one backward pass show of a model.

In: a model that may be run, and its task.
Out: what was seen: layers, blocks, attention, units, norms and the loss; gradients, in the parameters.

Read: `sizes.py` (how large a tensor is), then `seen.py` (what is kept), `functions.py` (what functions show)
with `ranges.py` (what torch would fail on), `attention.py` (how wide heads look) and `recurrent.py` (what is
inside of nn.GRU and nn.LSTM), `layers.py` (what multiplies by a weight), `modules.py` (what modules show),
`one_pass.py` (both, in one pass); `first_broken.py` (where numbers cease to be finite).
"""

from initcfg._diagnose.measuring.first_broken import Broken, first_broken
from initcfg._diagnose.measuring.one_pass import observed
from initcfg._diagnose.measuring.seen import LayerSeen, LossSeen, Seen
from initcfg._diagnose.measuring.sizes import largest, rms

__all__ = ["Broken", "LayerSeen", "LossSeen", "Seen", "first_broken", "largest", "observed", "rms"]
