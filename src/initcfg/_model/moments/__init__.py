"""Moments: what a model does to the mean and the variance of a signal, from shapes alone.

In: a model, an example of its input, and the standard deviation that the output of each weight is to have.
Out: the standard deviation that each weight needs for that.

Read: `analysis.py` (from start to end), then `distribution.py` (what the elements of a tensor are like) on
`nodes.py` (where a function is known), `products.py` (sums of products), `operations.py` (softmax, means) and
`propagation.py` (what each operation makes of it).
"""

from initcfg._model.moments.analysis import analyzed
from initcfg._model.moments.products import ORTHOGONAL_UP_TO, Product, product_of
from initcfg._model.moments.propagation import Seen

__all__ = ["ORTHOGONAL_UP_TO", "Product", "Seen", "analyzed", "product_of"]
