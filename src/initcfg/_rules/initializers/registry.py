"""The registry of initializers; those of the package register when they are imported."""

from __future__ import annotations

from initcfg._config import Registry

INITIALIZERS = Registry("weight initializer", scope="initcfg")
"""Weight initializers."""

WEIGHT_INITIALIZERS = INITIALIZERS
"""The original's name of :data:`INITIALIZERS`."""
