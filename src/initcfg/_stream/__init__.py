"""The random stream, from seed, name and index to bits, and from values into memory.

In: seeds, names, and values.
Out: numbers, and tensors that hold them.

Read: `bits/` (what the numbers are, without torch), then `writing/` (how tensors are filled with them).
"""
