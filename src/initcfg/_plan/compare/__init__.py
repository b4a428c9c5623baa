"""initcfg._plan.compare"""

from initcfg._plan.compare.comparison import Comparison, compare, read_saved
from initcfg._plan.compare.view import diff_view
from initcfg._plan.compare.with_mmengine import Difference, differences

__all__ = ["Comparison", "Difference", "differences", "compare", "diff_view", "read_saved"]
