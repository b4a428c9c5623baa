"""Writing: values into the memory of tensors.

``stream`` turns values into jobs of the random stream, ``queue`` does these in batches, by the kernel or
by ``fallback``; ``whole`` and ``orthogonal`` make what is no matter of single elements, ``torch_draws``
draws from torch's own generator. ``blocks`` and ``memory`` say what of a tensor is where.
"""
