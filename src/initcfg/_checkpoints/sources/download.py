"""A download that ends with the right file, or with an error."""

from __future__ import annotations

import http.client
import random
import re
import time
import warnings
from typing import Any

from initcfg._checkpoints.sources.address import shown
from initcfg._checkpoints.sources.connection import TransientError, request
from initcfg._checkpoints.sources.digests import Expected, file_digest
from initcfg._checkpoints.sources.part import Part
from initcfg._checkpoints.sources.progress import watching
from initcfg._checkpoints.sources.settings import retries, timeout
from initcfg._checkpoints.sources.store import Record, Store
from initcfg.errors import CheckpointError

_BLOCK = 1 << 20
# Seconds before the first repetition; each next one waits twice as long.
BACKOFF = 1.0
_LONGEST_WAIT = 120.0


class Download:
    """Fetches one file while the lock of its address is held.

    Args:
        url: The address.
        name: The name of the file.
        store: The cache, seen from that address.
        expected: What is known of its digest.
        cached: A version that is there, and may still be the one.
    """

    def __init__(self, url: str, name: str, store: Store, expected: Expected, cached: Record | None) -> None:
        self._url = url
        self._name = name
        self._store = store
        self._expected = expected
        self._cached = cached
        self._timeout = timeout()
        self._resumed = False

    def run(self) -> Record:
        """Fetch, as often as it takes; what got through is not fetched again.

        Raises:
            CheckpointNotFoundError: The server has no such file.
            CheckpointError: It cannot be fetched or stored, or is not what its digest says.
        """
        # With a copy at hand, nobody should wait long for a network that is down.
        allowed = retries() if self._cached is None else min(1, retries())
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
            except OSError as error:
                if isinstance(error, CheckpointError):
                    raise
                raise self._store.cannot_write(error) from error

    def _wait(self, failures: int, error: TransientError) -> None:
        # Not all processes of a cluster at the same moment.
        delay = BACKOFF * 2 ** (failures - 1) * random.uniform(0.75, 1.25)
        if error.after is not None:
            if error.after > _LONGEST_WAIT:
                raise CheckpointError(
                    f"The checkpoint {shown(self._url)!r} cannot be fetched now: {error}, and asks to wait "
                    f"{error.after:.0f} seconds."
                ) from error
            delay = max(delay, error.after)
        time.sleep(delay)

    def _give_up(self, error: TransientError) -> Record:
        if self._cached is not None:
            warnings.warn(
                f"The copy of {shown(self._url)!r} in the cache is used, and was not compared with the "
                f"server's: {error}.",
                stacklevel=2,
            )
            return self._cached
        kept = f" {self._size():,} bytes are kept for the next time." if self._part() else ""
        raise CheckpointError(
            f"The checkpoint {shown(self._url)!r} cannot be fetched: {error}.{kept}",
            fix="Try again when the network and the server work, or give the path of a copy.",
        ) from error

    # -- one request -----------------------------------------------------------------------------

    def _attempt(self) -> Record:
        part = self._part()
        offset = self._size() if part else 0
        if part and offset == part["total"]:
            # Only the end of the process came between the last byte and the renaming.
            return self._finish(file_digest(self._store.partial), part)
        with request(self._url, self._headers(part, offset), self._timeout) as response:
            if response.status == 304 and self._cached is not None:
                self._store.validate(self._cached)
                return self._cached
            if response.status in (304, 416):
                self._store.drop_partial()
                raise TransientError(f"the server answers {response.status} {response.reason}")
            self._check_kind(response)
            if response.status == 206:
                self._check_continues(response, part, offset)
            elif self._is_cached(response):
                assert self._cached is not None
                self._store.validate(self._cached)
                return self._cached
            else:
                offset = 0
                part = {
                    "etag": response.headers.get("ETag"),
                    "last_modified": response.headers.get("Last-Modified"),
                    "total": response.length,
                }
                self._store.begin_part(**part)
            self._resumed = self._resumed or offset > 0
            if part["total"] is None and response.length is not None:
                part["total"] = offset + response.length
            digest = self._receive(response, offset, part["total"])
        return self._finish(digest, part)

    def _size(self) -> int:
        try:
            return self._store.partial.stat().st_size
        except OSError:
            return 0

    def _part(self) -> dict[str, Any]:
        """The part that is there, if more of the same version can be asked for."""
        part = self._store.part()
        if not part or not self._size():
            return {}
        # Without a version, only a digest can tell that the two parts belong together.
        return part if _strong(part) or self._expected else {}

    def _headers(self, part: dict[str, Any], offset: int) -> dict[str, str]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if part:
            headers["Range"] = f"bytes={offset}-"
            if version := _strong(part):
                headers["If-Range"] = version
        elif self._cached is not None:
            if self._cached.etag:
                headers["If-None-Match"] = self._cached.etag
            elif self._cached.last_modified:
                headers["If-Modified-Since"] = self._cached.last_modified
        return headers

    def _check_kind(self, response: http.client.HTTPResponse) -> None:
        kind = (response.headers.get_content_type() or "").lower()
        if kind == "text/html" and not self._name.endswith((".html", ".htm")):
            raise CheckpointError(
                f"The address {shown(self._url)!r} leads to a web page, not to a file.",
                fix="Give the address of the file itself.",
            )
        if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
            raise CheckpointError(
                f"The server sends {shown(self._url)!r} compressed, which was not asked for.",
                fix="Download the file otherwise, and give its path.",
            )

    def _check_continues(self, response: http.client.HTTPResponse, part: dict[str, Any], offset: int) -> None:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        etag = response.headers.get("ETag")
        fits = part and found and int(found[1]) == offset
        fits = fits and (part["total"] is None or found[3] in ("*", str(part["total"])))  # type: ignore[index]
        if not fits or (etag and part["etag"] and etag != part["etag"]):
            # It is a part of another version, or another part.
            self._store.drop_partial()
            raise TransientError("the server sent another part of the file than it was asked for")

    def _is_cached(self, response: http.client.HTTPResponse) -> bool:
        """Whether a server that does not know ``If-None-Match`` has the cached version still."""
        etag = response.headers.get("ETag")
        cached = self._cached
        return (
            cached is not None
            and etag is not None
            and etag == cached.etag
            and (response.length in (None, cached.size))
        )

    # -- bytes -----------------------------------------------------------------------------------

    def _receive(self, response: http.client.HTTPResponse, offset: int, total: int | None) -> str:
        """Append what comes to the part, and return the digest of the whole."""
        with Part(self._store, total, offset) as part, watching(self._name, total, offset) as advance:
            while block := self._read(response, part.size):
                part.append(block)
                advance(len(block))
            if total is not None and part.size < total:
                raise TransientError(f"the server sent {part.size:,} of {total:,} bytes")
            if part.size == 0:
                raise CheckpointError(f"The checkpoint {shown(self._url)!r} is an empty file.")
        return part.digest

    def _read(self, response: http.client.HTTPResponse, size: int) -> bytes:
        try:
            return response.read1(_BLOCK)
        except TimeoutError as error:
            raise TransientError(f"no byte came for {self._timeout:g} seconds, after {size:,}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = getattr(error, "strerror", None) or type(error).__name__
            raise TransientError(f"the connection broke after {size:,} bytes ({said})") from error

    def _finish(self, digest: str, part: dict[str, Any]) -> Record:
        if not self._expected.fits(digest):
            self._store.drop_partial()
            if self._resumed:
                # The parts may not have belonged together: once more, in one piece.
                self._resumed = False
                raise TransientError("the parts do not belong together")
            raise self._expected.error(
                shown(self._url), digest, "Check the address and the digest; nothing was kept of this file."
            )
        return self._store.adopt(self._name, digest, etag=part["etag"], last_modified=part["last_modified"])


def _strong(part: dict[str, Any]) -> str | None:
    """What ``If-Range`` may name: a strong ETag, or else the date."""
    etag = part.get("etag")
    if etag:
        return None if etag.startswith("W/") else etag
    return part.get("last_modified")
