"""Widths: which axes of a model's tensors grow with its width, found by comparing it with a smaller build.

In: a model, and the shapes of its base: the same model, narrower.
Out: for each parameter whether it is hidden, input, output, vector or fixed, and its fans here and there.

Read: `shapes.py` (what is remembered of a base), then `blocks.py` (which block a name is of), `compared.py`
(the comparison).
"""

from initcfg._model.widths.blocks import block_of, template
from initcfg._model.widths.compared import TensorWidth, Widths, compare_widths
from initcfg._model.widths.shapes import Shapes, shapes_of

__all__ = ["Shapes", "TensorWidth", "Widths", "block_of", "compare_widths", "shapes_of", "template"]
