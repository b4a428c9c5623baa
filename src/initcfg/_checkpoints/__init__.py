"""initcfg._checkpoints"""

from initcfg._checkpoints.opened import Opened, open_source

__all__ = ["Opened", "open_source"]
