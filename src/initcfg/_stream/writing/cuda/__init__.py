"""Tensors of a CUDA device are filled where they are, by a kernel in Triton that is proved there first.

In: a recipe, a key, and a block of a tensor on a device.
Out: the stream's numbers in its memory; or word that they must be made elsewhere.

Read: `device.py` (whether the kernel is used, its proof, its launch), then `triton_kernel.py` (the kernel:
how it goes over a block), `triton_numbers.py` (from words to numbers, as the reference states it).
"""

from initcfg._stream.writing.cuda import device

__all__ = ["device"]
