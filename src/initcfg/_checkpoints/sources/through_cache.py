"""A file from elsewhere, by way of the cache, whoever fetches it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from initcfg._checkpoints.sources.address import file_name, scrubbed, shown
from initcfg._checkpoints.sources.cache import Cache, CacheEntry
from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.shard_index import gather, is_index, shard_names
from initcfg.errors import CheckpointError, CheckpointFetchError, InitcfgError

Fetch = Callable[[str, Cache, Expected, CacheEntry | None], CacheEntry]
"""Brings an address into the cache, while its lock is held; a cached version may still be the one."""


def through_cache(url: str, fetch: Fetch, *, sha256: str | None, offline: bool) -> Located:
    """A file, or an index with its shards."""
    located = file_through_cache(url, fetch, sha256=sha256, offline=offline)
    if not is_index(file_name(url)):
        return located
    assert located.path is not None
    address, _, query = url.partition("?")
    base, _, last = address.partition("#")[0].rpartition("/")
    files = {last: located}
    for name in shard_names(located.path, located.origin):
        shard = f"{base}/{name}" + (f"?{query}" if query else "")
        files[name] = file_through_cache(shard, fetch, sha256=None, offline=offline)
    return gather(files, located.origin)


def file_through_cache(url: str, fetch: Fetch, *, sha256: str | None, offline: bool) -> Located:
    """One file.

    Where the digest is known, a cached file that has it is the file: nothing is fetched. Otherwise
    ``fetch`` asks whether the cached version is still the one, unless the network is not to be used.
    """
    begun = time.time()
    origin = shown(url)
    try:
        cache = Cache(url)
    except InitcfgError:
        raise
    except ValueError as error:
        raise CheckpointError(
            f"{origin!r} is not a valid address: {scrubbed(error, url)}.", fix="Correct the address."
        ) from error
    expected = Expected.of(file_name(url), sha256)
    if found := cache.by_digest(expected):
        return Located(found, None, origin, expected.start)
    entry = cache.entry(expected)
    if entry is None or not (expected or offline):
        if found := _torch_hub(file_name(url), expected):
            return Located(found, None, origin, file_digest(found))
        if offline:
            raise CheckpointFetchError(
                f"The checkpoint {origin!r} was not fetched before, and the network is not to be used.",
                fix="Fetch it once with the network (without offline=True and INITCFG_OFFLINE), "
                "or give a path.",
            )
        with cache.locked(entry):
            entry = cache.entry(expected)
            # Another process may have fetched it, or asked for it, while this one waited.
            if entry is None or not (expected or entry.validated >= begun):
                entry = fetch(url, cache, expected, entry)
    return Located(cache.path(entry), None, origin, entry.sha256 if expected else None)


def _torch_hub(name: str, expected: Expected) -> Path | None:
    """What torch.hub fetched before, if its digest is known and right."""
    import torch.hub

    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        return path if expected and os.path.isfile(path) and expected.fits(file_digest(path)) else None
    except OSError:
        return None
