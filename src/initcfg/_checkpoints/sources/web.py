"""``http://`` and ``https://``."""

from __future__ import annotations

import time
from pathlib import Path

from initcfg._checkpoints.sources import address
from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.download import Download
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.settings import is_offline
from initcfg._checkpoints.sources.shards import is_index, with_shards
from initcfg._checkpoints.sources.store import Record, Store
from initcfg.errors import CheckpointError


def locate(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A file on the web, by way of the cache; an index of shards, with its shards.

    Raises:
        CheckpointNotFoundError: The server has no such file.
        CheckpointError: It cannot be fetched, or is not what its digest says.
    """
    located = fetch(source, sha256=sha256, offline=offline)
    if is_index(address.file_name(source)):
        return with_shards(located, source, lambda url: fetch(url, sha256=None, offline=offline))
    return located


def fetch(url: str, *, sha256: str | None, offline: bool | None) -> Located:
    """One file on the web, by way of the cache.

    Where the digest is known, a cached file that has it is the file: no request is made. Otherwise the
    server is asked whether the cached version is still the one.

    Raises:
        CheckpointNotFoundError: The server has no such file.
        CheckpointError: It cannot be fetched, or is not what its digest says.
    """
    begun = time.time()
    origin = address.shown(url)
    try:
        store = Store(address.key(url), origin)
    except ValueError as error:
        raise CheckpointError(f"{origin!r} is no valid address: {address.scrubbed(error, url)}.") from error
    name = address.file_name(url)
    expected = Expected.of(name, sha256)
    if found := store.by_digest(expected):
        return Located(found, None, origin, expected.start)
    record = store.usable(expected)
    if record is not None and (expected or is_offline(offline)):
        return _located(store, record, expected)
    if expected and (found := _torch_hub(name, expected)):
        return Located(found, None, origin, file_digest(found))
    if is_offline(offline):
        raise CheckpointError(
            f"The checkpoint {origin!r} was not fetched before, and the network is not to be used.",
            fix="Fetch it once with the network (without offline=True and INITCFG_OFFLINE), or give a path.",
        )
    with store.locked():
        record = store.usable(expected)
        # Another process may have fetched it, or asked for it, while this one waited.
        if record is None or not (expected or record.validated >= begun):
            record = Download(url, name, store, expected, record).run()
    return _located(store, record, expected)


def _located(store: Store, record: Record, expected: Expected) -> Located:
    return Located(store.path(record), None, store.origin, record.sha256 if expected else None)


def _torch_hub(name: str, expected: Expected) -> Path | None:
    """What torch.hub fetched before, if its digest is right."""
    import torch.hub

    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    try:
        return path if path.is_file() and expected.fits(file_digest(path)) else None
    except OSError:
        return None
