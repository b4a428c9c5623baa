"""The deferred build: what a model's constructor writes is recorded, and done when its plan is applied.

``content`` knows what recorded writes amount to, ``regions`` which part of a tensor they reach,
``recorder`` catches them, ``patches`` what no dispatch mode sees, ``context`` is the door.
"""

from initcfg._record.recording.aten import COMPUTED_OTHERWISE, is_plain
from initcfg._record.recording.code_recorder import CodeRecorder, WaitingWrite
from initcfg._record.recording.formula import FormulaDraft
from initcfg._record.recording.generator import OwnGenerator
from initcfg._record.recording.log import tensor_at
from initcfg._record.recording.naming import named_values
from initcfg._record.recording.outcome import Outcome, outcomes_of
from initcfg._record.recording.patches import current_session
from initcfg._record.recording.recorder import Recorder
from initcfg._record.recording.regions import Region, region_of
from initcfg._record.recording.session import Session
from initcfg._record.recording.storage import TrackedStorage

__all__ = [
    "CodeRecorder",
    "FormulaDraft",
    "TrackedStorage",
    "COMPUTED_OTHERWISE",
    "Outcome",
    "WaitingWrite",
    "Recorder",
    "Region",
    "Session",
    "is_plain",
    "current_session",
    "OwnGenerator",
    "named_values",
    "outcomes_of",
    "region_of",
    "tensor_at",
]
