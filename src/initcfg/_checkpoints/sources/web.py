"""``http://`` and ``https://``."""

from __future__ import annotations

from initcfg._checkpoints.sources.download import Download
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.settings import is_offline
from initcfg._checkpoints.sources.through_cache import through_cache


def from_web(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A file on the web; an index of shards, with its shards."""
    return through_cache(
        source, lambda *args: Download(*args).run(), sha256=sha256, offline=is_offline(offline)
    )
