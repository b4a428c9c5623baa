"""Any address of fsspec: ``s3://``, ``gs://``, ``memory://``, ..."""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any

from initcfg._checkpoints.sources import address, local
from initcfg._checkpoints.sources.address import scheme_of
from initcfg._checkpoints.sources.digests import Expected
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.part import Part
from initcfg._checkpoints.sources.progress import watching
from initcfg._checkpoints.sources.settings import is_offline
from initcfg._checkpoints.sources.shards import gather, is_index, with_shards
from initcfg._checkpoints.sources.store import Record, Store
from initcfg.errors import CheckpointError, CheckpointNotFoundError, nearest

_BLOCK = 4 << 20
_HERE = {None, "file", "local", "memory", "zip", "tar", "simplecache", "filecache", "blockcache", "dir"}


def locate(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A file, an index with its shards, or a folder that is a checkpoint, by way of the cache.

    Raises:
        CheckpointNotFoundError: There is no such file.
        CheckpointError: It cannot be had, or is not what its digest says.
    """
    without_network = is_offline(offline) and not _is_here(source)
    if without_network:
        return _finished(_cached(source, sha256), source, offline)
    system, path = _system(source)
    if set(_protocols(system)) & {"file", "local"}:
        return local.locate(path, sha256=sha256, offline=offline)
    if _is_folder(system, path):
        return _folder(system, path, source, sha256, offline)
    return _finished(_fetch(system, path, source, sha256), source, offline)


def _finished(located: Located, source: str, offline: bool | None) -> Located:
    if not is_index(address.file_name(source)):
        return located
    return with_shards(located, source, lambda other: locate(other, sha256=None, offline=offline))


def _is_here(source: str) -> bool:
    return all((scheme_of(part) if "://" in part else None) in _HERE for part in source.split("::"))


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _system(source: str) -> tuple[Any, str]:
    import fsspec

    origin = address.shown(source)
    try:
        return fsspec.core.url_to_fs(source)
    except ImportError as error:
        raise CheckpointError(
            f"The checkpoint {origin!r} needs a package that is not installed.", fix=f"{error}."
        ) from error
    except Exception as error:
        # Each file system has its own errors, of its own classes.
        raise _failed(origin, source, error) from error


def _failed(origin: str, source: str, error: BaseException) -> CheckpointError:
    said = address.scrubbed(error, source).strip() or type(error).__name__
    return CheckpointError(f"The checkpoint {origin!r} cannot be fetched: {said.splitlines()[0]}.")


# -- one file --------------------------------------------------------------------------------------


def _cached(source: str, sha256: str | None) -> Located:
    origin = address.shown(source)
    store = Store(address.key(source), origin)
    expected = Expected.of(address.file_name(source), sha256)
    if found := store.by_digest(expected):
        return Located(found, None, origin, expected.start)
    record = store.usable(expected)
    if record is None:
        raise CheckpointError(
            f"The checkpoint {origin!r} was not fetched before, and the network is not to be used.",
            fix="Fetch it once with the network (without offline=True and INITCFG_OFFLINE), or give a path.",
        )
    return _located(store, record, expected)


def _located(store: Store, record: Record, expected: Expected) -> Located:
    return Located(store.path(record), None, store.origin, record.sha256 if expected else None)


def _fetch(system: Any, path: str, source: str, sha256: str | None) -> Located:
    origin = address.shown(source)
    store = Store(address.key(source), origin)
    name = address.file_name(source)
    expected = Expected.of(name, sha256)
    if found := store.by_digest(expected):
        return Located(found, None, origin, expected.start)
    record = store.usable(expected)
    if record is not None and expected:
        return _located(store, record, expected)
    begun = time.time()
    with store.locked():
        record = store.usable(expected)
        if record is None or record.validated < begun:
            record = _current(system, path, source, store, name, expected, record)
    return _located(store, record, expected)


def _current(
    system: Any, path: str, source: str, store: Store, name: str, expected: Expected, cached: Record | None
) -> Record:
    try:
        info = system.info(path)
        version = str(system.ukey(path))
        if cached is not None and cached.etag == version:
            store.validate(cached)
            return cached
        return _copy(system, path, store, name, expected, info.get("size"), version)
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise _missing(system, path, store.origin) from error
    except Exception as error:
        if cached is None:
            raise _failed(store.origin, source, error) from error
        warnings.warn(
            f"The copy of {store.origin!r} in the cache is used, and was not compared with the original: "
            f"{address.scrubbed(error, source)}.",
            stacklevel=2,
        )
        return cached


def _copy(
    system: Any, path: str, store: Store, name: str, expected: Expected, size: int | None, version: str
) -> Record:
    try:
        store.begin_part(version=version)
        with Part(store, size) as part:
            with system.open(path, "rb") as remote, watching(name, size) as advance:
                while block := remote.read(_BLOCK):
                    part.append(block)
                    advance(len(block))
            if size is not None and part.size != size:
                raise CheckpointError(
                    f"The checkpoint {store.origin!r} has {size:,} bytes, and {part.size:,} came.",
                    fix="Try again.",
                )
            if part.size == 0:
                raise CheckpointError(f"The checkpoint {store.origin!r} is an empty file.")
        if not expected.fits(part.digest):
            raise expected.error(
                store.origin, part.digest, "Check the address and the digest; nothing was kept of this file."
            )
        return store.adopt(name, part.digest, etag=version, last_modified=None)
    finally:
        store.drop_partial()


def _missing(system: Any, path: str, origin: str) -> CheckpointNotFoundError:
    parent, _, last = path.rstrip("/").rpartition("/")
    names: list[str] = []
    with contextlib.suppress(Exception):
        names = [str(item).rstrip("/").rpartition("/")[2] for item in system.ls(parent, detail=False)]
    base = origin.rpartition("/")[0]
    return CheckpointNotFoundError(
        f"There is no checkpoint {origin!r}.", meant=[f"{base}/{name}" for name in nearest(last, names)]
    )


# -- folders ---------------------------------------------------------------------------------------


def _is_folder(system: Any, path: str) -> bool:
    try:
        return bool(system.isdir(path))
    except Exception:
        # Not every one can tell; the file itself will.
        return False


def _folder(system: Any, path: str, source: str, sha256: str | None, offline: bool | None) -> Located:
    origin = address.shown(source)
    if sha256 is not None:
        raise CheckpointError(
            f"sha256= is the digest of one file, and {origin!r} is a folder.",
            fix="Leave sha256= out, or name the file.",
        )
    try:
        entries = system.ls(path, detail=True)
    except Exception as error:
        raise _failed(origin, source, error) from error
    names = [str(entry["name"]).rpartition("/")[2] for entry in entries if entry.get("type") == "file"]
    base = source.rstrip("/")
    if ".metadata" in names:
        # A distributed checkpoint: its files know each other by name.
        files = {name: _fetch(system, f"{path.rstrip('/')}/{name}", f"{base}/{name}", None) for name in names}
        return gather(files, origin)
    for name in (*local.WHOLE_FOLDERS[1:], "pytorch_model.bin"):
        if name in names:
            return locate(f"{base}/{name}", sha256=None, offline=offline)
    raise CheckpointError(
        f"The folder {origin!r} holds no checkpoint that is a folder: neither .metadata (a distributed "
        "checkpoint) nor model.safetensors or an index of its shards.",
        meant=[f"{address.shown(base)}/{name}" for name in sorted(names)[:4]],
        fix="Name the file.",
    )
