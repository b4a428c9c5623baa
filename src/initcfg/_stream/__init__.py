"""The random stream, from seed, name and index to bits, and from values into memory.

In: seeds, names, and values.
Out: numbers, and tensors that hold them.

Read: `environment.py` (what variables of the environment say), then `bits/` (what the numbers are, without
torch), `writing/` (how tensors are filled with them).
"""

from initcfg._stream.environment import check_settings, flag, flag_setting, number

__all__ = ["check_settings", "flag", "flag_setting", "number"]
