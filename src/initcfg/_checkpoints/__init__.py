"""Checkpoints: opened safely, read lazily. ``reader`` is what the rest of the package sees of any of them."""

from initcfg._checkpoints.opening import (
    OpenedCheckpoint as OpenedCheckpoint,
)
from initcfg._checkpoints.opening import (
    non_finite as non_finite,
)
from initcfg._checkpoints.opening import (
    open_mapping as open_mapping,
)
from initcfg._checkpoints.opening import (
    open_path as open_path,
)
from initcfg._checkpoints.opening import (
    verify_sha256 as verify_sha256,
)
