"""initcfg._stream"""

from initcfg._stream.torch_generator import lock, seeded

__all__ = ["lock", "seeded"]
