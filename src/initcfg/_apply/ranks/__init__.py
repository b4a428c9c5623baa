"""initcfg._apply.ranks"""

from initcfg._apply.ranks.agreement import Agreement

__all__ = ["Agreement"]
