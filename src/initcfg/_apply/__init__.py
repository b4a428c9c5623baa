"""initcfg._apply"""

from initcfg._apply.apply import agreeing_ranks, apply_plan
from initcfg._apply.checks import check_fits
from initcfg._apply.rehearsal import rehearsed
from initcfg._apply.verification import Verification, Verified, verified
from initcfg._apply.weights_file import check_output, is_folder, save_weights

__all__ = [
    "Verification",
    "Verified",
    "agreeing_ranks",
    "apply_plan",
    "check_fits",
    "check_output",
    "is_folder",
    "rehearsed",
    "save_weights",
    "verified",
]
