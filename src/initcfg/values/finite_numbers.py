"""Numbers from outside: whether a float can hold them."""

from __future__ import annotations

import sys
from typing import Any, TypeGuard


def is_finite_number(item: Any) -> TypeGuard[int | float]:
    """Whether something is a number, and no truth value, that a float can hold: 10**400 is none.

    Example:
        >>> from initcfg.values import is_finite_number
        >>> [is_finite_number(each) for each in (1, 0.5, True, "1", float("nan"), float("inf"), 10**400)]
        [True, True, False, False, False, False, False]
    """
    # math.isfinite raises for the last.
    return isinstance(item, (int, float)) and not isinstance(item, bool) and abs(item) <= sys.float_info.max
