"""``http://`` and ``https://``: a download that ends with the right file, or with an error."""

from __future__ import annotations

import http.client
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from initcfg._checkpoints.sources.address import file_name
from initcfg._checkpoints.sources.cache import Cache, CacheEntry
from initcfg._checkpoints.sources.connection import TransientError, request
from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.located import Located
from initcfg._checkpoints.sources.settings import is_offline, retries, timeout
from initcfg._checkpoints.sources.through_cache import through_cache
from initcfg.errors import (
    CheckpointError,
    CheckpointFetchError,
    warn,
)

_BLOCK = 1 << 20
# Seconds before the first repetition; each next one waits twice as long.
BACKOFF = 1.0
_LONGEST_WAIT = 120.0


def from_web(source: str, *, sha256: str | None, offline: bool | None) -> Located:
    """A file on the web; an index of shards, with its shards."""
    return through_cache(
        source, lambda *args: Download(*args).run(), sha256=sha256, offline=is_offline(offline)
    )


@dataclass
class Download:
    """Fetches one file while the lock of its address is held; a ``cached`` version may still be the one."""

    url: str
    cache: Cache
    expected: Expected
    cached: CacheEntry | None
    _resumed: bool = False

    def run(self) -> CacheEntry:
        """Fetch, as often as it takes; what got through is not fetched again."""
        # With a copy at hand, nobody should wait long for a network that is down.
        allowed = retries() if self.cached is None else min(1, retries())
        failures, furthest = 0, self._size()
        while True:
            try:
                return self._attempt()
            except TransientError as error:
                if self._size() > furthest:
                    failures, furthest = 0, self._size()
                failures += 1
                if failures > (min(1, allowed) if error.hopeless else allowed):
                    return self._give_up(error)
                self._wait(failures, error)

    def _wait(self, failures: int, error: TransientError) -> None:
        if error.after > _LONGEST_WAIT:
            raise CheckpointFetchError(
                f"The checkpoint {self.cache.origin!r} cannot be fetched now: {error}, and asks to wait "
                f"{error.after:.0f} seconds."
            ) from error
        # Not all processes of a cluster at the same moment.
        delay = BACKOFF * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
        time.sleep(max(delay, error.after))

    def _give_up(self, error: TransientError) -> CacheEntry:
        if self.cached is not None:
            warn(
                f"The copy of {self.cache.origin!r} in the cache is used, and was not compared with the "
                f"server's: {error}.",
                stacklevel=2,
            )
            return self.cached
        kept = f" {self._size():,} bytes are kept for the next time." if self._resumable() else ""
        raise CheckpointFetchError(
            f"The checkpoint {self.cache.origin!r} cannot be fetched: {error}.{kept}",
            fix="Try again when the network and the server work, or give the path of a copy.",
        ) from error

    def _attempt(self) -> CacheEntry:
        version = self._resumable()
        offset = self._size() if version else 0
        if version and offset == version["total"]:
            # Only the end of the process came between the last byte and the renaming.
            return self._finish(version)
        with request(self.url, self._headers(version, offset), timeout()) as response:
            if self.cached is not None and (response.status == 304 or self._is_cached(response)):
                return self.cache.confirm(self.cached)
            if response.status in (304, 416):
                self.cache.drop_partial()
                raise TransientError(f"the server answers {response.status} {response.reason}")
            self._check_kind(response)
            if response.status == 206:
                self._check_continues(response, version, offset)
            else:
                offset = 0
                version = {
                    "etag": response.headers.get("ETag"),
                    "last_modified": response.headers.get("Last-Modified"),
                    "total": response.length,
                }
                self.cache.begin_partial(**version)
            self._resumed = self._resumed or offset > 0
            total = version["total"]
            if total is None and response.length is not None:
                total = offset + response.length
            size = self.cache.receive(file_name(self.url), self._blocks(response, offset), total, offset)
            if total is not None and size < total:
                raise TransientError(f"the server sent {size:,} of {total:,} bytes")
        return self._finish(version)

    def _size(self) -> int:
        try:
            return self.cache.partial.stat().st_size
        except OSError:
            return 0

    def _resumable(self) -> dict[str, Any]:
        """The version of the unfinished download, if more of that version can be asked for."""
        version = self.cache.partial_version()
        # Without a version, only a digest can tell that the two parts belong together.
        return version if _strong(version) or self.expected else {}

    def _headers(self, version: dict[str, Any], offset: int) -> dict[str, str]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if version:
            headers["Range"] = f"bytes={offset}-"
            if strong := _strong(version):
                headers["If-Range"] = strong
        elif self.cached is not None:
            if self.cached.etag:
                headers["If-None-Match"] = self.cached.etag
            elif self.cached.last_modified:
                headers["If-Modified-Since"] = self.cached.last_modified
        return headers

    def _check_kind(self, response: http.client.HTTPResponse) -> None:
        kind = response.headers.get_content_type().lower()
        if kind == "text/html" and not file_name(self.url).endswith((".html", ".htm")):
            raise CheckpointError(
                f"The address {self.cache.origin!r} leads to a web page, not to a file.",
                fix="Give the address of the file itself.",
            )
        if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise CheckpointError(
                f"The server sends {self.cache.origin!r} compressed, which was not asked for.",
                fix="Download the file otherwise, and give its path.",
            )

    def _check_continues(
        self, response: http.client.HTTPResponse, version: dict[str, Any], offset: int
    ) -> None:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        etag = response.headers.get("ETag")
        fits = version and found and int(found[1]) == offset
        fits = fits and (version["total"] is None or found[3] in ("*", str(version["total"])))  # type: ignore[index]
        if not fits or (etag and version["etag"] and etag != version["etag"]):
            self.cache.drop_partial()
            raise TransientError("the server sent another part of the file than it was asked for")

    def _is_cached(self, response: http.client.HTTPResponse) -> bool:
        """Whether a server that does not know ``If-None-Match`` has the cached version still."""
        etag, cached = response.headers.get("ETag"), self.cached
        if cached is None or etag is None or response.status != 200:
            return False
        return etag == cached.etag and response.length in (None, cached.size)

    def _blocks(self, response: http.client.HTTPResponse, size: int) -> Iterator[bytes]:
        """What comes; ``size`` bytes came before."""
        try:
            while block := response.read1(_BLOCK):
                size += len(block)
                yield block
        except TimeoutError as error:
            raise TransientError(f"no byte came for {timeout():g} seconds, after {size:,}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise TransientError(f"the connection broke after {size:,} bytes ({said})") from error

    def _finish(self, version: dict[str, Any]) -> CacheEntry:
        if self._resumed and not self.expected.fits(file_digest(self.cache.partial)):
            # The parts may not have belonged together: once more, in one piece.
            self._resumed = False
            self.cache.drop_partial()
            raise TransientError("the parts do not belong together")
        return self.cache.adopt(
            file_name(self.url), self.expected, etag=version["etag"], last_modified=version["last_modified"]
        )


def _strong(version: dict[str, Any]) -> str | None:
    """What ``If-Range`` may name: a strong ETag, or else the date."""
    etag = version.get("etag")
    if etag:
        return None if etag.startswith("W/") else etag
    return version.get("last_modified")
