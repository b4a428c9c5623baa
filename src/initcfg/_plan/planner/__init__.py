"""initcfg._plan.planner"""

from initcfg._plan.planner.first_writes import ORDER, Defaults, MetaDefaults
from initcfg._plan.planner.make import make_plan

__all__ = ["Defaults", "MetaDefaults", "ORDER", "make_plan"]
