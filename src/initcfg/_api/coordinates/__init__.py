"""The coordinate check: whether activations keep their size from width to width while a model trains.

In: what builds a model of each width, with its plan; an input.
Out: the size of each module's output at each width and step, and its slope; a picture.

Read: `measured.py` (the training, and what it shows), then `drawing.py` (the picture).
"""

from initcfg._api.coordinates.drawing import check_picture, draw_slopes
from initcfg._api.coordinates.measured import Coordinates, measure

__all__ = ["Coordinates", "check_picture", "draw_slopes", "measure"]
