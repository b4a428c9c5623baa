"""Any address of fsspec: ``s3://``, ``gs://``, ``memory://``, ..."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from initcfg._checkpoints.formats import METADATA, weights_among
from initcfg._checkpoints.sources.address import file_name, scheme_of, scrubbed, shown
from initcfg._checkpoints.sources.cache import Cache, CacheEntry
from initcfg._checkpoints.sources.digests import Expected
from initcfg._checkpoints.sources.local import from_path, no_checkpoint, refuse_digest
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.settings import is_offline
from initcfg._checkpoints.sources.shard_index import gather
from initcfg._checkpoints.sources.through_cache import file_through_cache, through_cache
from initcfg.errors import (
    CheckpointError,
    CheckpointFetchError,
    CheckpointImportError,
    CheckpointNotFoundError,
    nearest,
    warn,
)

_BLOCK = 4 << 20
_HERE = {None, "file", "local", "memory", "zip", "tar", "simplecache", "filecache", "blockcache", "dir"}


def from_file_system(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A file, an index with its shards, or a folder that is a checkpoint."""
    here = all((scheme_of(part) if "://" in part else None) in _HERE for part in source.split("::"))
    without_network = is_offline(offline) and not here
    if not without_network:
        system, path = _system(source)
        protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
        if protocols & {"file", "local"}:
            return from_path(path, sha256=sha256, offline=offline)
        is_folder = False
        # Not every file system can tell; the file itself will.
        with contextlib.suppress(Exception):
            is_folder = system.isdir(path)
        if is_folder:
            return _folder(system, path, source, sha256)
    return through_cache(source, _fetch, sha256=sha256, offline=without_network)


def _system(source: str) -> tuple[Any, str]:
    import fsspec

    try:
        return fsspec.core.url_to_fs(source)
    except ImportError as error:
        raise CheckpointImportError(
            f"The checkpoint {shown(source)!r} needs a package that is not installed.", fix=f"{error}."
        ) from error
    except Exception as error:
        # Each file system has its own errors, of its own classes.
        raise _failed(source, error) from error


def _failed(source: str, error: BaseException) -> CheckpointError:
    said = scrubbed(error, source).strip() or type(error).__name__
    return CheckpointFetchError(
        f"The checkpoint {shown(source)!r} cannot be fetched: {said.splitlines()[0]}."
    )


def _fetch(source: str, cache: Cache, expected: Expected, cached: CacheEntry | None) -> CacheEntry:
    system, path = _system(source)
    try:
        info = system.info(path)
        version = str(system.ukey(path))
        if cached is not None and cached.etag == version:
            return cache.confirm(cached)
        try:
            return _copied(system, path, source, cache, expected, info.get("size"), version)
        finally:
            cache.drop_partial()
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise _missing(system, path, cache.origin) from error
    except Exception as error:
        if cached is None:
            raise _failed(source, error) from error
        warn(
            f"The copy of {cache.origin!r} in the cache is used, and was not compared with the original: "
            f"{scrubbed(error, source)}.",
            stacklevel=2,
        )
        return cached


def _copied(
    system: Any, path: str, source: str, cache: Cache, expected: Expected, size: int | None, version: str
) -> CacheEntry:
    cache.begin_partial(version=version)
    with system.open(path, "rb") as remote:
        blocks = iter(functools.partial(remote.read, _BLOCK), b"")
        came = cache.receive(file_name(source), blocks, size)
    if size is not None and came != size:
        problem = f"The checkpoint {cache.origin!r} has {size:,} bytes, and {came:,} came."
        raise CheckpointFetchError(problem, fix="Try again.")
    return cache.adopt(file_name(source), expected, etag=version)


def _missing(system: Any, path: str, origin: str) -> CheckpointNotFoundError:
    parent, _, last = path.rstrip("/").rpartition("/")
    names: list[str] = []
    with contextlib.suppress(Exception):
        names = [str(item).rstrip("/").rpartition("/")[2] for item in system.ls(parent, detail=False)]
    base = origin.rpartition("/")[0]
    return CheckpointNotFoundError(
        f"There is no checkpoint {origin!r}.", meant=[f"{base}/{name}" for name in nearest(last, names)]
    )


def _folder(system: Any, path: str, source: str, sha256: str | None) -> Located:
    origin = shown(source)
    refuse_digest(sha256, origin)
    try:
        entries = system.ls(path, detail=True)
    except Exception as error:
        raise _failed(source, error) from error
    names = [str(entry["name"]).rpartition("/")[2] for entry in entries if entry.get("type") == "file"]
    base = source.rstrip("/")
    found = weights_among(names, origin, shown(base))
    if found is None:
        raise no_checkpoint(origin, [f"{shown(base)}/{name}" for name in sorted(names)])
    if found != METADATA:
        return through_cache(f"{base}/{found}", _fetch, sha256=None, offline=False)
    # A distributed checkpoint: its files know each other by name.
    files = {name: file_through_cache(f"{base}/{name}", _fetch, sha256=None, offline=False) for name in names}
    return gather(files, origin)
